"""Shortest-path rings of the bond network, through each atom.

A ring is a shortest-path ring if no two of its atoms are joined by a way through the network that
is shorter than the way along the ring (D. S. Franzblau, "Computation of ring statistics for network
models of solids", Phys. Rev. B 44, 4925 (1991), section II). It suffices to ask this of opposite
atoms: a shortcut between any two would shorten the way between two opposite ones.

Rings are those of the infinite solid: a vertex is an atom together with the image it stands in, so
a chain that closes on its own image across the cell is no ring, and small cells have the rings that
their repetition has. (matscipy 1.3.1's ``ring_statistics`` measures distances between atoms of one
cell: it finds no ring in the 8-atom cell of diamond, and its table of distances is quadratic.)

For each atom ``s`` and each size ``n`` two walks ``a_1 a_2 ...`` and ``b_1 b_2 ...`` leave ``s`` by
different bonds, away from it along shortest paths, until they meet: at one atom if ``n = 2 k``, at
the two ends of a bond if ``n = 2 k + 1``. Pairs of walks are dropped as soon as two of their atoms
are nearer in the network than along the ring. All of it is in numpy arrays, for blocks of atoms, at
a cost linear in the number of atoms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diffxas.blocks import pieces
from diffxas.errors import InputError
from diffxas.neighbourhood import Pairs, bonds
from diffxas.structure import Structure

SMALLEST_RING = 3
BLOCK = 256
"""Atoms that are walked from at once: bounds the memory."""
GROUP = 20_000
"""Atoms whose distances are held at once, about: bounds the memory of large structures."""


@dataclass(frozen=True, eq=False)
class RingStatistics:
    """Shortest-path rings of a structure.

    Attributes
    ----------
    sizes : (n_sizes,) 3, 4, ... the largest size that was looked for
    centres : (n_centres,) the atoms that were walked from
    through : (n_centres, n_sizes) int64, rings of each size through each of them
    """

    sizes: np.ndarray
    centres: np.ndarray
    through: np.ndarray

    @property
    def per_atom(self) -> np.ndarray:
        """Rings of each size in the solid, divided by its atoms, (n_sizes,).

        A ring of ``n`` atoms passes through ``n`` of them: diamond has two six-rings per atom.
        """
        return self.through.mean(axis=0) / self.sizes


def ring_statistics(structure: Structure, largest: int = 10, pairs: Pairs | None = None,
                    centres: np.ndarray | Sequence[int] | None = None) -> RingStatistics:
    """Count Franzblau's shortest-path rings.

    Parameters
    ----------
    largest : size of the largest rings looked for, 3 or more
    pairs : the bonds, if they are known already
    centres : atoms to walk from, all by default; a random part of a very large structure gives its
        statistics with a sampling error

    Raises
    ------
    InputError
        If ``largest`` is under 3.
    """
    if largest < SMALLEST_RING:
        raise InputError(f"the largest ring must have at least {SMALLEST_RING} atoms, received "
                         f"{largest}: such as 10")
    pairs = bonds(structure) if pairs is None else pairs
    start = np.arange(len(structure)) if centres is None else np.asarray(centres, np.int64)
    network = _Network.build(len(structure), pairs, largest)
    sizes = np.arange(SMALLEST_RING, largest + 1)
    through = np.zeros((len(start), len(sizes)), dtype=np.int64)
    for group in _groups(structure, start):
        distances = _Distances.around(network, start[group], largest)
        for first in range(0, len(group), BLOCK):
            rows = group[first:first + BLOCK]
            for column, size in enumerate(sizes):
                source = _ring_sources(network, distances, start[rows], int(size))
                through[rows, column] = np.bincount(source, minlength=len(rows))
    return RingStatistics(sizes, start, through)


def _groups(structure: Structure, start: np.ndarray) -> Iterator[np.ndarray]:
    """Places in ``start`` of atoms that are near each other: few distances serve a group."""
    if len(structure) <= GROUP:
        yield np.arange(len(start))
        return
    order = np.argsort(start, kind="stable")
    for piece in pieces(structure, 0.0, GROUP, start):
        atoms = np.sort(piece.atoms[:piece.inside])
        first, last = (np.searchsorted(start[order], atoms, side=side)
                       for side in ("left", "right"))
        yield np.sort(order[np.repeat(first, last - first) + _within(last - first)])


def _within(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... for each count in turn, (sum of counts,)."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


@dataclass(frozen=True, eq=False)
class _Network:
    """The infinite bond network. A vertex, atom ``i`` in image ``S``, is ``code(S) n_atoms + i``.

    ``code`` is linear in ``S``, so that bonds and differences of vertices are sums of integers; it
    is unique for the images within reach, of which no component exceeds ``(base - 1) / 2``.
    """

    n_atoms: int
    start: np.ndarray  # (n_atoms,) first bond of each atom
    degree: np.ndarray  # (n_atoms,)
    step: np.ndarray  # (n_bonds,) what a bond adds: code * n_atoms + second atom
    codes: int  # codes lie in -(codes - 1) / 2 ... (codes - 1) / 2

    @classmethod
    def build(cls, n_atoms: int, pairs: Pairs, largest: int) -> _Network:
        degree = np.bincount(pairs.first, minlength=n_atoms).astype(np.int64)
        start = np.concatenate([[0], np.cumsum(degree)[:-1]])
        # Two walks of half a ring leave one atom: their ends are at most `largest` bonds apart.
        reach = largest * int(np.abs(pairs.shift).max(initial=0)) + 1
        base = 2 * reach + 1
        code = pairs.shift @ np.array([base * base, base, 1])
        return cls(n_atoms, start, degree, code * n_atoms + pairs.second, base**3)

    def neighbours(self, vertex: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ``vertex`` (each repeated by its degree) and the vertices bonded to them."""
        atom = vertex % self.n_atoms
        degree = self.degree[atom]
        row = np.repeat(np.arange(len(vertex)), degree)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(degree) - degree, degree)
        bond = np.repeat(self.start[atom], degree) + offset
        return row, (vertex - atom)[row] + self.step[bond]


@dataclass(frozen=True, eq=False)
class _Distances:
    """Bonds along the shortest way from atoms to every vertex around them, up to ``radius``."""

    network: _Network
    radius: int
    key: np.ndarray  # sorted: atom and vertex in one integer
    bonds: np.ndarray  # (n_keys,) int8

    @classmethod
    def around(cls, network: _Network, centres: np.ndarray, largest: int) -> _Distances:
        radius = max(1, largest // 2 - 1)
        atoms = np.unique(centres)
        for _ in range(largest // 2):
            _, reached = network.neighbours(atoms)
            atoms = np.union1d(atoms, reached % network.n_atoms)
        keys, lengths = [], []
        for first in range(0, len(atoms), BLOCK):
            block = atoms[first:first + BLOCK]
            layers = _layers(network, block, radius)
            key = np.concatenate(layers)
            order = np.argsort(key)
            keys.append(key[order])
            lengths.append(np.repeat(np.arange(radius + 1, dtype=np.int8),
                                     [len(layer) for layer in layers])[order])
        return cls(network, radius, np.concatenate(keys), np.concatenate(lengths))

    def between(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Distance of two vertices in bonds, (n,); ``radius + 1`` stands for all larger ones."""
        atom = one % self.network.n_atoms
        key = _key(self.network, atom, other - (one - atom))
        place = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        return np.where(self.key[place] == key, self.bonds[place], self.radius + 1)


def _key(network: _Network, atom: np.ndarray, vertex: np.ndarray) -> np.ndarray:
    """One integer for an atom in the home cell and a vertex, in the order of the atoms."""
    return (atom * network.codes + (network.codes - 1) // 2) * network.n_atoms + vertex


def _layers(network: _Network, atoms: np.ndarray, radius: int) -> list[np.ndarray]:
    """Breadth-first search: sorted keys of the vertices 0, 1, ... ``radius`` bonds from atoms."""
    source, vertex = atoms, atoms
    layers = [np.sort(_key(network, source, vertex))]
    for _ in range(radius):
        row, reached = network.neighbours(vertex)
        key, where = np.unique(_key(network, source[row], reached), return_index=True)
        fresh = ~np.isin(key, np.concatenate(layers[-2:]))  # a bond leads at most one layer back
        layers.append(key[fresh])
        source, vertex = source[row][where[fresh]], reached[where[fresh]]
    return layers


def _ring_sources(network: _Network, distances: _Distances, atoms: np.ndarray, size: int,
                  ) -> np.ndarray:
    """For each ring of ``size`` through one of ``atoms``: that atom's place in ``atoms``."""
    half, odd = divmod(size, 2)
    source, one, other = _pairs_of_bonds(network, atoms)
    keep = distances.between(one, other) == min(2, size - 2)
    walk_a, walk_b, source = [one[keep]], [other[keep]], source[keep]
    for length in range(2, half + 1):
        source, walk_a, walk_b = _extend(network, distances, atoms, size, source, walk_a, walk_b)
        if not odd and length == half:  # they met: the end of one is bonded to the end of the other
            break
        source, walk_b, walk_a = _extend(network, distances, atoms, size, source, walk_b, walk_a)
    return source


def _pairs_of_bonds(network: _Network, atoms: np.ndarray,
                    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every two bonds of an atom once: its place in ``atoms`` and the two bonded vertices."""
    row, vertex = network.neighbours(atoms)
    degree = network.degree[atoms]
    later = np.repeat(np.cumsum(degree), degree) - np.arange(len(row)) - 1
    left = np.repeat(np.arange(len(row)), later)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(later) - later, later)
    return row[left], vertex[left], vertex[right]


def _extend(network: _Network, distances: _Distances, atoms: np.ndarray, size: int,
            source: np.ndarray, walk: list[np.ndarray], facing: list[np.ndarray],
            ) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Lengthen ``walk`` by every bond that can still lead to a shortest-path ring.

    The new vertex is ``length`` bonds from the source, and from ``facing[l - 1]`` as many as along
    the ring. Asked are the end of ``facing`` (which drops most) and the vertices opposite.
    """
    length, half = len(walk) + 1, size // 2
    row, vertex = network.neighbours(walk[-1])
    keep = distances.between(atoms[source[row]], vertex) == length
    row, vertex = row[keep], vertex[keep]
    opposite = {half - length, size - half - length}
    for place in sorted({len(facing)} | opposite, reverse=True):
        if not 1 <= place <= len(facing):
            continue
        along = min(length + place, size - length - place)
        keep = distances.between(facing[place - 1][row], vertex) == along
        row, vertex = row[keep], vertex[keep]
    return (source[row], [*(step[row] for step in walk), vertex],
            [step[row] for step in facing])
