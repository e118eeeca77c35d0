r"""Tiles of one huge cell at work in several processes.

The calls of the denoiser are those of :mod:`diffxas.tiled`; here a tile's share of a layer is a
task of a Dask cluster (:mod:`samplers.cluster`). Edges and features of a tile stay with the worker
that made them, and go to others where a neighbouring tile asks for them; the command holds
positions alone. A worker that dies takes its share of one call with it, which others compute again
from the positions. Every task runs in one thread and reads its inputs in a fixed order: any number
of workers gives the same bits as none.

Gradients through tiles are computed by the command itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffxas.denoiser import PriorNetwork
from diffxas.lean import Edges, Features, Geometry
from diffxas.network import EquivariantNetwork
from diffxas.structure import Structure
from diffxas.tiled import Head, TiledNetwork, is_held
from diffxas.tiles import Outline, Tile

if TYPE_CHECKING:
    from distributed import Client

Blocks = tuple[np.ndarray, ...]
"""Features as they travel."""


def distributed(client: Client, prior: Path) -> Callable[..., TiledNetwork]:
    """A maker of tiled networks whose tiles the workers of ``client`` compute.

    Parameters
    ----------
    prior : folder of the prior; workers read it themselves
    """
    def make(network: EquivariantNetwork, head: Head, system: Structure, species: Tensor,
             atoms_per_tile: int | None = None) -> TiledNetwork:
        return DistributedNetwork(client, prior, network, head, system, species, atoms_per_tile)

    return make


class DistributedNetwork(TiledNetwork):
    """A :class:`diffxas.tiled.TiledNetwork` of the prior, whose tiles are tasks."""

    def __init__(self, client: Client, prior: Path, *network: Any) -> None:
        super().__init__(*network)
        self.client, self.prior = client, str(prior)

    def forward(self, positions: Tensor, condition: Tensor,
                before: list[Features] | None = None,
                tiles: list[Tile] | None = None) -> Tensor:
        """See :class:`diffxas.tiled.TiledNetwork`; with a gradient, by the command itself."""
        if before is not None:
            return super().forward(positions, condition, before, tiles)
        assert bool((condition == condition[:1]).all()), "atoms of one call share their condition"
        cut = self.partition.cut(positions.double().numpy())
        x, species, c = positions.numpy(), self.species.numpy(), condition[:1].numpy()
        submit, depth = self.client.submit, len(self.network.layers)
        outlines, edges, last = [], [], []
        for number in range(self.partition.n_tiles):  # workers begin while others are outlined
            one = cut.outline(number, self.network.cutoff)
            outlines.append(one)
            edges.append(submit(edges_of, self.prior, one, x[one.rows], self.cell,
                                is_held(len(x)), pure=False))
            last.append(submit(first_of, self.prior, edges[-1], species[one.rows], c, depth == 1,
                               pure=False))
        for k in range(1, depth):
            last = [submit(layer_of, self.prior, k, edges[one.number], c, k == depth - 1,
                           last[one.number], [last[u] for u, _ in one.parts],
                           [rows for _, rows in one.parts], pure=False) for one in outlines]
        said = positions.new_empty(0)
        for one, part in zip(outlines, self.client.gather(last), strict=True):
            said = said if len(said) else positions.new_empty(len(positions), part.shape[1])
            said[torch.from_numpy(one.owned)] = torch.from_numpy(part)
        return said


def edges_of(prior: str, outline: Outline, positions: np.ndarray, cell: np.ndarray,
             keep: bool) -> Blocks:
    """Edges of a tile, as they travel: start, neighbor, vectors and, if kept, the geometry."""
    edges = outline.tile().edges(torch.from_numpy(positions), cell)
    found = edges.start, edges.neighbor.numpy().astype(np.int32), edges.vectors.numpy()
    if not keep:
        return found
    geometry = read_prior(prior).trunk.lean.geometry(edges)
    return (*found, geometry.basis.numpy(), geometry.fade, geometry.harmonics)


def first_of(prior: str, edges: Blocks, species: np.ndarray, condition: np.ndarray,
             is_last: bool) -> Blocks | np.ndarray:
    """A tile's share of the first layer; ``species`` are those of all its rows."""
    lean = read_prior(prior).trunk.lean
    x, _ = lean.begin(torch.from_numpy(species), torch.from_numpy(condition).expand(
        len(species), -1))
    return _share(prior, 0, edges, condition, is_last, x)


def layer_of(prior: str, k: int, edges: Blocks, condition: np.ndarray, is_last: bool, own: Blocks,
             senders: Sequence[Blocks], rows: Sequence[np.ndarray]) -> Blocks | np.ndarray:
    """A tile's share of layer ``k``: from its own features, and some rows of its neighbours'."""
    parts = [own, *(tuple(block[some] for block in sender)
                    for sender, some in zip(senders, rows, strict=True))]
    x = Features(*(torch.from_numpy(np.concatenate(blocks))
                   for blocks in zip(*parts, strict=True)))
    return _share(prior, k, edges, condition, is_last, x)


@torch.no_grad()
def _share(prior: str, k: int, edges: Blocks, condition: np.ndarray, is_last: bool,
           x: Features) -> Blocks | np.ndarray:
    """Features of the tile's own atoms after layer ``k``, or what the head says of them."""
    network = read_prior(prior)
    lean = network.trunk.lean
    # What came from another worker is read-only, for which loops would be compiled once more.
    start, neighbor, vectors, *kept = (np.require(one, requirements="W") for one in edges)
    n = len(start) - 1
    geometry = Geometry(torch.from_numpy(kept[0]), kept[1], kept[2]) if kept else None
    whole = Edges(start, torch.from_numpy(np.repeat(np.arange(n), np.diff(start))),
                  torch.from_numpy(neighbor.astype(np.int64)), torch.from_numpy(vectors), geometry)
    given = torch.from_numpy(condition).expand(n, -1)
    found = lean.layers[k](x, whole, given)
    if is_last:
        return network.head(lean.end(found), given).numpy()
    return tuple(block.numpy() for block in found)


@cache
def read_prior(folder: str) -> PriorNetwork:
    """The prior of a folder, read once a process."""
    from diffxas.prior import load_prior

    torch.set_num_threads(1)
    return load_prior(Path(folder)).requires_grad_(False)
