r"""A cell cut into tiles, and the edges that each of them needs.

A partition cuts the cell parallel to its faces into equal boxes. How many follows from the cell and
the number of atoms alone, never from the machine: the same run has the same tiles anywhere. An atom
belongs to the box that its wrapped position lies in. The neighbours of a tile's atoms are found
among those within one cutoff of its box, periodic images included, which works for oblique and
for thin cells: where the box is all of a direction, a tile meets its own images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from diffxas.errors import InputError
from diffxas.graph import neighbors
from diffxas.lean import Edges

ATOMS_PER_TILE = 4000
"""Features and edges of a tile take some 30 MB, and its halo of one cutoff as many atoms again."""


@dataclass(frozen=True, eq=False)
class Partition:
    """Equal boxes parallel to the faces of a cell.

    Attributes
    ----------
    cell : (3, 3), angstrom, rows are lattice vectors
    pbc : (3,) bool
    counts : boxes along each lattice vector
    """

    cell: np.ndarray
    pbc: np.ndarray
    counts: tuple[int, int, int]

    @classmethod
    def of(cls, cell: np.ndarray, pbc: np.ndarray, n_atoms: int,
           atoms_per_tile: int = ATOMS_PER_TILE) -> Partition:
        """Boxes of at most about ``atoms_per_tile`` atoms, as near to cubes as halving allows."""
        if atoms_per_tile < 1:
            raise InputError(f"atoms per tile must be at least 1, received {atoms_per_tile}: "
                             f"{ATOMS_PER_TILE} is usual")
        counts = np.ones(3, dtype=int)
        size = heights(cell)
        while counts.prod() * atoms_per_tile < n_atoms:
            counts[int(np.argmax(size / counts))] += 1
        return cls(np.asarray(cell, dtype=float), np.asarray(pbc, dtype=bool),
                   (int(counts[0]), int(counts[1]), int(counts[2])))

    @property
    def n_tiles(self) -> int:
        """Number of boxes."""
        return int(np.prod(self.counts))

    def cut(self, positions: np.ndarray) -> CutCell:
        """The atoms of every tile, (n_atoms, 3) angstrom."""
        return CutCell(self, positions)


def heights(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces, (3,), angstrom."""
    return np.asarray(1 / np.linalg.norm(np.linalg.inv(cell), axis=0))


class CutCell:
    """Positions of one moment, sorted into tiles."""

    def __init__(self, partition: Partition, positions: np.ndarray) -> None:
        self.partition = partition
        fractional = np.linalg.solve(partition.cell.T, positions.T).T
        self.home = np.where(partition.pbc, np.floor(fractional), 0.0)
        self.fractional = fractional - self.home
        counts = np.array(partition.counts)
        box = np.clip((self.fractional * counts).astype(np.int64), 0, counts - 1)
        self.tile_of = np.ravel_multi_index(tuple(box.T), partition.counts)
        order = np.argsort(self.tile_of, kind="stable")
        bounds = np.searchsorted(self.tile_of[order], np.arange(partition.n_tiles + 1))
        self.members = [order[a:b] for a, b in pairwise(bounds)]

    def tile(self, number: int, cutoff: float) -> Tile:
        """A tile with the edges that end at its atoms."""
        return self.outline(number, cutoff).tile()

    def outline(self, number: int, cutoff: float) -> Outline:
        """The atoms of a tile and those around it, without their edges."""
        owned = self.members[number]
        around, shift = self._around(number, cutoff)
        atoms = np.concatenate([owned, around])
        images = np.concatenate([np.zeros((len(owned), 3)), shift])
        places = (self.fractional[atoms] + images) @ self.partition.cell
        foreign = np.unique(around[self.tile_of[around] != number])
        senders = self.tile_of[foreign]
        order = np.argsort(senders, kind="stable")
        rank = np.empty(len(foreign), dtype=np.int64)
        rank[order] = np.arange(len(foreign))
        own = self.tile_of[around] == number
        row = np.empty(len(around), dtype=np.int64)
        row[own] = np.searchsorted(owned, around[own])  # owned rises: the sorting is stable
        row[~own] = len(owned) + rank[np.searchsorted(foreign, around[~own])]
        parts = tuple((int(u), np.searchsorted(self.members[u], foreign[senders == u]))
                      for u in np.unique(senders))
        return Outline(number, owned, foreign[order], parts, places,
                       np.concatenate([np.arange(len(owned)), row]),
                       (images - self.home[atoms]).astype(np.int16), cutoff)

    def _around(self, number: int, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
        """Atoms within ``cutoff`` of a box, and the cells that their images lie in."""
        partition = self.partition
        counts = np.array(partition.counts)
        index = np.array(np.unravel_index(number, partition.counts))
        reach = cutoff / heights(partition.cell) + 1e-9
        low, high = index / counts - reach, (index + 1) / counts + reach
        first, last = np.floor(low * counts).astype(int), np.floor(high * counts).astype(int)
        first = np.where(partition.pbc, first, np.maximum(first, 0))
        last = np.where(partition.pbc, last, np.minimum(last, counts - 1))
        # Atoms beyond a face that is not periodic belong to the box at that face.
        low = np.where(~partition.pbc & (index == 0), -np.inf, low)
        high = np.where(~partition.pbc & (index == counts - 1), np.inf, high)
        atoms, shifts = [], []
        for place in _grid(first, last):
            shift = np.floor_divide(place, counts)
            if (place == index).all():
                continue  # the tile itself
            box = place - shift * counts
            members = self.members[int(np.ravel_multi_index(tuple(box), partition.counts))]
            at = self.fractional[members] + shift
            near = ((at >= low) & (at <= high)).all(1)
            atoms.append(members[near])
            shifts.append(np.broadcast_to(shift, (int(near.sum()), 3)))
        if not atoms:
            return np.empty(0, dtype=np.int64), np.empty((0, 3))
        return np.concatenate(atoms), np.concatenate(shifts).astype(float)


def _grid(first: np.ndarray, last: np.ndarray) -> Iterator[np.ndarray]:
    for a in range(first[0], last[0] + 1):
        for b in range(first[1], last[1] + 1):
            for c in range(first[2], last[2] + 1):
                yield np.array([a, b, c])


@dataclass(frozen=True, eq=False)
class Outline:
    """The atoms that a tile looks at; all that its edges are found from.

    Attributes
    ----------
    number, owned, foreign : see :class:`Tile`
    parts : tile and rows of its own atoms that ``foreign`` is made of, in its order
    places : (n, 3), angstrom, of the owned atoms and of the images around
    row : (n,) int64, of ``owned`` followed by ``foreign``
    shift : (n, 3) int16, cells from the atom's position as given to the place
    cutoff : angstrom
    """

    number: int
    owned: np.ndarray
    foreign: np.ndarray
    parts: tuple[tuple[int, np.ndarray], ...]
    places: np.ndarray
    row: np.ndarray
    shift: np.ndarray
    cutoff: float

    @property
    def rows(self) -> np.ndarray:
        """As of :class:`Tile`."""
        return np.concatenate([self.owned, self.foreign])

    def tile(self) -> Tile:
        """Find the edges."""
        n = len(self.owned)
        i, j, _ = neighbors(self.places, np.eye(3), np.zeros(3, dtype=bool), self.cutoff)
        inside = i < n
        i, j = i[inside], j[inside]
        order = np.argsort(i, kind="stable")
        i, j = i[order], j[order]
        start = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(np.bincount(i, minlength=n), out=start[1:])
        return Tile(self.number, self.owned, self.foreign, start, self.row[j].astype(np.int32),
                    self.shift[j] - self.shift[i])


@dataclass(frozen=True, eq=False)
class Tile:
    """Atoms of a box, and the edges that end there; small, since all tiles are kept for a call.

    Attributes
    ----------
    number : of the tile
    owned : (n_owned,) int64, atoms of the cell, rising
    foreign : (n_foreign,) int64, atoms of other tiles that send, tile by tile
    start : (n_owned + 1,) int64; edges of owned atom i are ``start[i]:start[i + 1]``
    neighbor : (n_edges,) int32, rows of ``owned`` followed by ``foreign``
    shift : (n_edges, 3) int16, multiples of the lattice vectors
    """

    number: int
    owned: np.ndarray
    foreign: np.ndarray
    start: np.ndarray
    neighbor: np.ndarray
    shift: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """Atoms of the cell that the tile looks at, (n_owned + n_foreign,) int64."""
        return np.concatenate([self.owned, self.foreign])

    def edges(self, positions: Tensor, cell: np.ndarray) -> Edges:
        """Edges for the network, differentiable in the positions.

        Parameters
        ----------
        positions : (n_owned + n_foreign, 3), angstrom, of ``rows``, as the tile was cut
        cell : (3, 3), angstrom
        """
        device = positions.device
        centers = np.repeat(np.arange(len(self.owned)), np.diff(self.start))
        center = torch.from_numpy(centers).to(device)
        neighbor = torch.from_numpy(self.neighbor.astype(np.int64)).to(device)
        image = torch.from_numpy(self.shift.astype(float) @ cell).to(device)
        vectors = positions.index_select(0, neighbor) - positions.index_select(0, center)
        return Edges(self.start, center, neighbor, vectors + image.to(positions.dtype))
