r"""A large structure in pieces: what depends on an atom's surroundings alone, in constant memory.

The cell is cut into ``n_1 n_2 n_3`` equal boxes along its lattice vectors. The surroundings of a
box are the atoms, images included, that are nearer than ``reach`` to it: with the fractional
coordinate ``f_k`` of an atom, and ``h_k`` the height of the cell over the face of the other two
vectors, a box ``b_k`` takes in

    b_k / n_k - reach / h_k  <=  f_k  <  (b_k + 1) / n_k + reach / h_k        for k = 1, 2, 3,

which holds every point within ``reach`` of the box, in oblique cells and in cells thinner than
``reach`` too (an atom then comes in several images). Only the boxes around are searched, so all
pieces together cost a time linear in the number of atoms. Which boxes there are depends on the
structure alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diffxas.structure import Structure

MOST_ATOMS = 4000
"""Atoms of a box, about; structures of no more are one piece to most callers."""
CROWDED = 1.5
"""Boxes are made smaller until none holds more than this multiple of what was asked for."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Some atoms and everything around them, as a cluster that is not periodic.

    Attributes
    ----------
    atoms : (n_around,) int64, index in the whole structure of each atom of ``cluster``; an atom
        may stand there several times, as an image
    inside : number of the box's own atoms, the first of ``cluster``; the rest is within reach
    cluster : positions as they are around the box, in angstrom, shifted as a whole
    """

    atoms: np.ndarray
    inside: int
    cluster: Structure


def pieces(structure: Structure, reach: float, most_atoms: int = MOST_ATOMS,
           chosen: np.ndarray | Sequence[int] | None = None) -> Iterator[Piece]:
    """Every atom once, box by box, each box with its surroundings.

    Parameters
    ----------
    reach : angstrom
    most_atoms : of a box, about
    chosen : indices of the only atoms that are wanted ``inside``, each once, all by default; boxes
        without one are left out
    """
    lattice, fractional = _lattice(structure)
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    counts = _box_counts(fractional, heights, most_atoms)
    place = np.minimum((fractional * counts).astype(np.int64), counts - 1)
    box = np.ravel_multi_index(tuple(place.T), tuple(counts))
    order = np.argsort(box, kind="stable")
    start = np.searchsorted(box[order], np.arange(np.prod(counts) + 1))
    wanted = np.ones(len(structure), dtype=bool)
    if chosen is not None:
        wanted[:] = False
        wanted[np.asarray(chosen, dtype=np.int64)] = True
    margin = reach / heights
    for number in range(int(np.prod(counts))):
        own = order[start[number]:start[number + 1]]
        if not wanted[own].any():
            continue
        here = np.array(np.unravel_index(number, tuple(counts)))
        low, high = here / counts - margin, (here + 1) / counts + margin
        first, last = np.floor(low * counts).astype(int), np.floor(high * counts).astype(int)
        found, images = [own[wanted[own]], own[~wanted[own]]], [np.zeros((len(own), 3))]
        for at in itertools.product(*map(range, first, last + 1)):
            image, other = np.divmod(at, counts)
            if (image != 0)[~structure.pbc].any() or (not image.any() and (other == here).all()):
                continue
            neighbour = int(np.ravel_multi_index(tuple(other), tuple(counts)))
            atoms = order[start[neighbour]:start[neighbour + 1]]
            f = fractional[atoms] + image
            near = atoms[((f >= low) & (f < high)).all(axis=1)]
            found.append(near)
            images.append(np.broadcast_to(image, (len(near), 3)))
        atoms = np.concatenate(found)
        positions = (fractional[atoms] + np.concatenate(images)) @ lattice
        yield Piece(atoms, int(wanted[own].sum()), _cluster(positions, structure.numbers[atoms]))


def _lattice(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Vectors that span the atoms (3, 3), and fractional coordinates in them, from 0 to 1.

    They are the cell's along periodic directions; along others the atoms' extent.
    """
    from ase.geometry import complete_cell

    lattice = np.array(complete_cell(structure.cell))
    fractional = np.linalg.solve(lattice.T, structure.positions.T).T
    fractional[:, structure.pbc] %= 1.0
    fractional[fractional == 1.0] = 0.0  # a tiny negative number modulo 1 is rounded up
    for k in np.flatnonzero(~structure.pbc):
        low, extent = fractional[:, k].min(), np.ptp(fractional[:, k])
        extent = max(extent, 1e-3 / np.linalg.norm(lattice[k]))
        fractional[:, k] = (fractional[:, k] - low) / extent
        lattice[k] *= extent
    return lattice, fractional


def _box_counts(fractional: np.ndarray, heights: np.ndarray, most_atoms: int) -> np.ndarray:
    """Boxes along each vector, (3,) int64: about cubes, none with many more than ``most_atoms``."""
    n_boxes = len(fractional) / most_atoms
    while True:
        edge = (heights.prod() / n_boxes) ** (1 / 3)
        counts = np.maximum(1, np.ceil(heights / edge - 1e-9)).astype(np.int64)
        place = np.minimum((fractional * counts).astype(np.int64), counts - 1)
        box = np.ravel_multi_index(tuple(place.T), tuple(counts))
        fullest = np.bincount(box, minlength=int(counts.prod())).max()
        # Atoms that share a place cannot be parted; boxes without end would help no one.
        if fullest <= CROWDED * most_atoms or counts.prod() > 8 * len(fractional):
            return counts
        n_boxes *= 1.5


def _cluster(positions: np.ndarray, numbers: np.ndarray) -> Structure:
    """Atoms alone in a box that holds them."""
    low = positions.min(axis=0)
    span = np.ptp(positions, axis=0) + 1.0
    return Structure(positions - low + 0.5, numbers, np.diag(span), np.zeros(3, dtype=bool))
