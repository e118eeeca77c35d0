r"""Where sampling begins: a jittered grid plus noise of sigma_max.

The cell is halved again and again, in proportion to the atoms on each side and across its longest
edge, until every box holds one atom; all boxes have the same volume. The atom lies anywhere in its
box with equal probability. Independent uniform positions would carry density fluctuations at long
wavelength (S(q -> 0) = 1) that a solid does not have and that a local denoiser cannot remove: large
cells would get false voids. Here S(q -> 0) -> 0, as in noised solids.
"""

from __future__ import annotations

import numpy as np

from diffxas import noise

STREAM_GRID, STREAM_NOISE, STREAM_CHURN, STREAM_CALIBRATION = 0, 1, 2, 4
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


def start_positions(n_atoms: int, cell: np.ndarray, sigma: float, seed: int,
                    sample: int) -> np.ndarray:
    """x_t at the highest noise level ``sigma`` (angstrom), (n_atoms, 3), angstrom."""
    z = noise.normal(seed, sample, 0, n_atoms, stream=STREAM_NOISE)
    return jittered_grid(n_atoms, cell, seed, sample) + sigma * z
