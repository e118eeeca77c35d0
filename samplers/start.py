r"""Where sampling begins: a jittered grid plus noise of sigma_max.

The cell is halved again and again, in proportion to the atoms on each side and across its longest
edge, until every box holds one atom; all boxes have the same volume. The atom lies anywhere in its
box with equal probability. Independent uniform positions would carry density fluctuations at long
wavelength (S(q -> 0) = 1) that a solid does not have and that a local denoiser cannot remove: large
cells would get false voids. Here S(q -> 0) -> 0, as in noised solids.

Elements are given to boxes in the order of the halving, in which boxes that follow one another are
neighbours: every run of them holds each element in its proportion, to an atom or two. Elements
drawn independently would carry the same false waves in the composition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffxas import noise

STREAM_GRID, STREAM_NOISE, STREAM_STEPS, STREAM_SPECIES, STREAM_CALIBRATION = 0, 1, 2, 3, 4
STREAM_CHOICE, STREAM_LANGEVIN = 5, 6
"""Streams of counter-based noise, so that no two uses share numbers."""


def equal_boxes(n_atoms: int, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower corners and sizes (fractional) of ``n_atoms`` boxes of equal volume, (n_atoms, 3)."""
    lengths = np.linalg.norm(cell, axis=1)
    corners, sizes = np.empty((n_atoms, 3)), np.empty((n_atoms, 3))
    stack = [(0, n_atoms, np.zeros(3), np.ones(3))]
    while stack:
        first, count, corner, size = stack.pop()
        if count == 1:
            corners[first], sizes[first] = corner, size
            continue
        axis = int(np.argmax(size * lengths))
        left = count // 2
        cut = size[axis] * left / count
        small, large = size.copy(), size.copy()
        small[axis], large[axis] = cut, size[axis] - cut
        beyond = corner.copy()
        beyond[axis] += cut
        stack.append((first, left, corner, small))
        stack.append((first + left, count - left, beyond, large))
    return corners, sizes


def jittered_grid(n_atoms: int, cell: np.ndarray, seed: int, sample: int) -> np.ndarray:
    """One atom in each of ``n_atoms`` equal sub-volumes, (n_atoms, 3), angstrom.

    Parameters
    ----------
    cell : (3, 3), angstrom, rows are lattice vectors
    seed, sample : key of the counter-based noise
    """
    corners, sizes = equal_boxes(n_atoms, cell)
    u = noise.uniform(seed, sample, 0, n_atoms, stream=STREAM_GRID)
    return (corners + u * sizes) @ cell


def boxes_of_atoms(counts: Sequence[int], seed: int, sample: int) -> np.ndarray:
    """The box of each atom, (n_atoms,) int64; atoms of one element follow one another.

    Blocks of boxes as long as the rarest element has one of get the elements in proportion, in an
    order that is random within the block.

    Parameters
    ----------
    counts : atoms of each element
    seed, sample : key of the counter-based noise
    """
    n_atoms = sum(counts)
    if len(counts) == 1:
        return np.arange(n_atoms)
    share = np.array(counts) / n_atoms
    # Element k takes its n-th place at (n + 1/2) / share: places of all elements, sorted.
    species = np.repeat(np.arange(len(counts)), counts)
    place = np.concatenate([(np.arange(n) + 0.5) / s for n, s in zip(counts, share, strict=True)])
    in_proportion = species[np.argsort(place, kind="stable")]
    block = np.arange(n_atoms) // -(-n_atoms // min(counts))
    u = noise.uniform(seed, sample, 0, n_atoms, stream=STREAM_SPECIES)[:, 0]
    shuffled = in_proportion[np.lexsort((u, block))]
    return np.argsort(shuffled, kind="stable")


def start_positions(n_atoms: int, cell: np.ndarray, sigma: float, seed: int, sample: int,
                    counts: Sequence[int] | None = None) -> np.ndarray:
    """x_t at the highest noise level ``sigma`` (angstrom), (n_atoms, 3), angstrom.

    ``counts`` are the atoms of each element, which follow one another; None for one element.
    """
    z = noise.normal(seed, sample, 0, n_atoms, stream=STREAM_NOISE)
    boxes = boxes_of_atoms([n_atoms] if counts is None else counts, seed, sample)
    return jittered_grid(n_atoms, cell, seed, sample)[boxes] + sigma * z
