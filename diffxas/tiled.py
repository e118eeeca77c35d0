r"""A network over a cell of any size: layer by layer, tile by tile.

Every layer needs the features of atoms within one cutoff. All tiles take a layer, then all take the
next: features of other tiles' atoms are read from where those tiles left them, so no work is done
twice (a halo of all layers would be ten times the cell for tiles of some thousand atoms and five
layers of 3.7 angstrom). What is held is the features of two layers, and the edges; the radial part
of the edges, ten times as much, is held up to KEPT_ATOMS and computed again in every layer beyond.
The result is that of the whole cell, to rounding.

On a GPU the tiles are larger, and their layers those of e3nn (:mod:`diffxas.plain`).

The gradient takes the features before every layer, which are kept, and goes through layers and
tiles in the reverse order, each computed again: its memory is that of the features and one tile.
Sums over tiles run in their order, so the result does not depend on who computed them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffxas.atom_products import DIMS
from diffxas.lean import Edges, Features, LeanLayer, LeanNetwork
from diffxas.network import EquivariantNetwork
from diffxas.plain import PlainLayer, PlainNetwork
from diffxas.structure import Structure
from diffxas.tiles import ATOMS_PER_TILE, Partition, Tile

ATOMS_PER_GPU_TILE = 20_000
"""A tile's messages then take about a gigabyte."""
KEPT_ATOMS = 120_000
"""So many atoms have their radial part held: some 2.5 kB each, 0.3 GB at most."""
Head = Callable[[Tensor, Tensor], Tensor]
"""Features of atoms (n, irreps_out.dim) and their conditions (n, n_condition) -> (n, n_out)."""


class TiledNetwork:
    """What a network says of every atom of a system.

    Parameters
    ----------
    network : not in training
    head : what is made of the last features of an atom
    system : cell; its positions are not read
    species : (n_atoms,) int64
    atoms_per_tile : about so many; None for what suits the network's device
    """

    def __init__(self, network: EquivariantNetwork, head: Head, system: Structure,
                 species: Tensor, atoms_per_tile: int | None = None) -> None:
        assert not network.is_trained, "a network in training is not tiled"
        self.network, self.head = network, head
        self.device = species.device
        self.species, self.cell = species, np.asarray(system.cell)
        self.partition = Partition.of(system.cell, system.pbc, len(species),
                                      atoms_per_tile or usual_tile(network))

    def __call__(self, positions: Tensor, condition: Tensor) -> Tensor:
        """What the head says, (n_atoms, n_out).

        Parameters
        ----------
        positions : (n_atoms, 3), angstrom; differentiable
        condition : (n_atoms, n_condition)
        """
        if torch.is_grad_enabled() and positions.requires_grad:
            out: Tensor = _Tiled.apply(positions, condition, self)
            return out
        return self.forward(positions, condition)

    def forward(self, positions: Tensor, condition: Tensor,
                before: list[Features] | None = None,
                tiles: list[Tile] | None = None) -> Tensor:
        """The same without a gradient; features before every layer are left in ``before``."""
        if tiles is None:
            tiles = self.tiles(positions)
        layered, n = self.layered(), len(positions)
        x, c = layered.begin(self.species, condition)
        said = positions.new_empty(0)
        layers: Sequence[LeanLayer | PlainLayer] = layered.layers
        edges_of = _EdgesOfTiles(layered, positions, self.cell)
        spare: Features | None = None
        for k, layer in enumerate(layers):
            if before is not None:
                before.append(x)
            is_last = k == len(layers) - 1
            after = _room(0 if is_last else n, layer.repeats, positions, spare)
            for tile in tiles:
                rows, owned = self._indices(tile)
                found = layer(x.rows(rows), edges_of(tile, rows), c.index_select(0, owned))
                if is_last:
                    part = self.head(layered.end(found), condition.index_select(0, owned))
                    said = said if len(said) else positions.new_empty(n, part.shape[1])
                    said[owned] = part
                    continue
                for whole, block in zip(after, found, strict=True):
                    whole[owned] = block
            x, spare = after, x if before is None else None
        return said

    def tiles(self, positions: Tensor) -> list[Tile]:
        """Cut the cell as its atoms lie, (n_atoms, 3) angstrom."""
        cut = self.partition.cut(positions.detach().cpu().double().numpy())
        return [cut.tile(k, self.network.cutoff) for k in range(self.partition.n_tiles)]

    def layered(self) -> LeanNetwork | PlainNetwork:
        """The layers that do the work: compiled loops on a CPU, e3nn's elsewhere."""
        return self.network.lean if self.network.is_lean else PlainNetwork(self.network)

    def _indices(self, tile: Tile) -> tuple[Tensor, Tensor]:
        """Atoms that a tile looks at, and its own."""
        return (torch.from_numpy(tile.rows).to(self.device),
                torch.from_numpy(tile.owned).to(self.device))

    def pull_back(self, gradient: Tensor, before: Sequence[Features], positions: Tensor,
                  condition: Tensor, tiles: Sequence[Tile]) -> Tensor:
        """The gradient in the positions, given that in what the head says."""
        layered = self.layered()
        _, c = layered.begin(self.species, condition)
        of_positions = torch.zeros_like(positions)
        of_after: Features | None = None
        for k in reversed(range(len(layered.layers))):
            of_before = Features(*(torch.zeros_like(block) for block in before[k]))
            for tile in tiles:
                rows, owned = self._indices(tile)
                with torch.enable_grad():
                    x = Features(*(block.requires_grad_(True) for block in before[k].rows(rows)))
                    some = positions.index_select(0, rows).requires_grad_(True)
                    edges: Edges = tile.edges(some, self.cell)
                    found = layered.layers[k](x, edges, c.index_select(0, owned))
                    if of_after is None:
                        outputs = [self.head(layered.end(found), condition.index_select(0, owned))]
                        given = [gradient.index_select(0, owned)]
                    else:
                        outputs = list(found)
                        given = [block.index_select(0, owned) for block in of_after]
                parts = torch.autograd.grad(outputs, [some, *x], given, allow_unused=True)
                for whole, part in zip((of_positions, *of_before), parts, strict=True):
                    if part is not None:
                        whole.index_add_(0, rows, part)
            of_after = of_before
        return of_positions


class _EdgesOfTiles:
    """Edges of one tile after another, layer after layer; held where atoms are few."""

    def __init__(self, layered: LeanNetwork | PlainNetwork, positions: Tensor,
                 cell: np.ndarray) -> None:
        self.positions, self.cell = positions, cell
        held = is_held(len(positions))
        self.keep = layered.keep_geometry if held and isinstance(layered, LeanNetwork) else None
        self.kept: dict[int, Edges] = {}

    def __call__(self, tile: Tile, rows: Tensor) -> Edges:
        """Of a tile that looks at ``rows``."""
        if tile.number in self.kept:
            return self.kept[tile.number]
        edges: Edges = tile.edges(self.positions.index_select(0, rows), self.cell)
        if self.keep is not None:
            self.kept[tile.number] = edges = self.keep(edges)
        return edges


def _room(n: int, repeats: Sequence[int], like: Tensor, spare: Features | None) -> Features:
    """For the features of ``n`` atoms: those that are not needed any more, if they have its shape.

    Memory that was touched before is the faster one.
    """
    shapes = [(n, *shape) for shape in zip(DIMS, repeats, strict=True)]
    if spare is not None and [tuple(block.shape) for block in spare] == shapes:
        return spare
    return Features(*map(like.new_empty, shapes))


class _Tiled(torch.autograd.Function):
    """The head's words, with the gradient in the positions tile by tile."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, condition: Tensor, tiled: TiledNetwork) -> Tensor:
        before: list[Features] = []
        tiles = tiled.tiles(positions)
        said = tiled.forward(positions, condition, before, tiles)
        ctx.save_for_backward(positions, condition)
        ctx.rest = tiled, tiles, before
        return said

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        positions, condition = ctx.saved_tensors
        tiled, tiles, before = ctx.rest
        found = tiled.pull_back(gradients[0], before, positions.detach(), condition.detach(), tiles)
        return found, None, None


def usual_tile(network: EquivariantNetwork) -> int:
    """About so many where nothing else is asked: few on a CPU, for its caches."""
    on_cpu = next(network.layers.parameters()).device.type == "cpu"
    return ATOMS_PER_TILE if on_cpu else ATOMS_PER_GPU_TILE


def is_held(n_atoms: int) -> bool:
    """Whether lean layers of so many atoms hold the radial part of their edges."""
    return n_atoms <= KEPT_ATOMS


def is_tiled(network: EquivariantNetwork, n_atoms: int) -> bool:
    """Whether a system of so many atoms is taken in tiles."""
    return not network.is_trained and n_atoms > usual_tile(network)
