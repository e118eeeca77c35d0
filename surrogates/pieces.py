"""Predictions for some atoms of a structure, and for large structures piece by piece.

A site's spectrum depends on atoms within the reach of its model alone, so a box of the cell with
its surroundings (:mod:`diffxas.blocks`) predicts the sites of the box as the whole cell does, and
memory does not grow with the cell. Within a piece, only edges that end at the wanted sites, or at
atoms that these hear from, take part (:func:`receptive`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from diffxas.blocks import MOST_ATOMS, pieces
from diffxas.graph import Graph
from diffxas.structure import Structure


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
