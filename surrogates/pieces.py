"""Predictions for some atoms of a structure, and for large structures piece by piece.

A site's spectrum depends on atoms within the reach of its model alone, so a box of the cell with
its surroundings (:mod:`diffxas.blocks`) predicts the sites of the box as the whole cell does, and
memory does not grow with the cell. Within a piece, only edges that end at the wanted sites, or at
atoms that these hear from, take part (:func:`receptive`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diffxas.blocks import MOST_ATOMS, pieces
from diffxas.graph import Graph
from diffxas.structure import Structure

if TYPE_CHECKING:
    from surrogates.base import Surrogate


def in_pieces(structure: Structure, wanted: np.ndarray, reach: float,
              ) -> Iterator[tuple[np.ndarray, Structure, np.ndarray]]:
    """Atoms with their surroundings: the whole structure, or its pieces where it is large.

    Parameters
    ----------
    wanted : (n_wanted,), indices of atoms, no index twice
    reach : of the surroundings, angstrom

    Yields
    ------
    rows, piece, local : places in ``wanted``, and the same atoms' indices in ``piece``
    """
    if len(structure) <= MOST_ATOMS:
        yield np.arange(len(wanted)), structure, wanted
        return
    place = np.zeros(len(structure), dtype=np.int64)
    place[wanted] = np.arange(len(wanted))
    for piece in pieces(structure, reach, MOST_ATOMS, wanted):
        yield place[piece.atoms[:piece.inside]], piece.cluster, np.arange(piece.inside)


def receptive(graph: Graph, sites: Tensor, hops: int = 1, along: Tensor | None = None) -> Graph:
    """The graph with the edges alone that ``sites`` depend on.

    Parameters
    ----------
    sites : (n_sites,) int64, atoms; all atoms leave the graph as it is
    hops : rounds in which an atom hears from its neighbours after their own first
    along : (n_edges,) bool, the edges that these rounds go along, all by default
    """
    if len(sites) == graph.n_atoms:
        return graph
    wanted = torch.zeros(graph.n_atoms, dtype=torch.bool, device=sites.device)
    wanted[sites] = True
    for _ in range(hops):
        heard = wanted[graph.center]
        wanted[graph.neighbor[heard if along is None else heard & along]] = True
    return graph.subset(wanted[graph.center].nonzero()[:, 0])


def spectra_by_pieces(surrogate: Surrogate, positions: Tensor, structure: Structure,
                      most_atoms: int = MOST_ATOMS) -> Tensor:
    """Spectra by every member, (n_members, n_absorbers, n_grid), differentiable in the positions.

    Pieces are computed again for the gradient, one at a time (gradient checkpoints: T. Chen and
    others, arXiv:1604.06174 (2016)): first what the mean needs of every piece, then the derivative
    of each. Memory is that of one piece and of the spectra.

    Parameters
    ----------
    surrogate : with a reach; one without is asked for the whole
    positions : (n_atoms, 3), angstrom
    structure : species and cell; its positions are not read
    """
    if len(positions) <= most_atoms or surrogate.reach is None:
        return surrogate.spectra(positions, structure)
    placed = structure.with_positions(positions.detach().double().cpu().numpy())
    absorbers = surrogate.absorbers(placed)
    found, order = [], []
    for piece in pieces(placed, surrogate.reach, most_atoms, absorbers):
        atoms = torch.as_tensor(piece.atoms)
        offset = torch.as_tensor(piece.cluster.positions - placed.positions[piece.atoms])
        here = positions.index_select(0, atoms) + offset.to(positions.dtype)
        inside = torch.arange(piece.inside)

        def predicted(x: Tensor, cluster: Structure = piece.cluster,
                      sites: Tensor = inside) -> Tensor:
            return surrogate.spectra(x, cluster, sites=sites)

        found.append(checkpoint(predicted, here, use_reentrant=False))
        order.append(piece.atoms[:piece.inside])
    rows = np.argsort(np.concatenate(order), kind="stable")  # absorbers rise
    return torch.cat(found, 1)[:, torch.as_tensor(rows)]
