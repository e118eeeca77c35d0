"""The structure factor of a periodic cell, averaged over directions.

    S(q) = |sum_j exp(i q . r_j)|^2 / N        on q = 2 pi (h, k, l) C^-T, q != 0,

the wave vectors that the periodic cell with rows ``C`` allows (J.-P. Hansen and I. R. McDonald,
"Theory of Simple Liquids", 4th ed., Academic Press, 2013, section 4.1). There the sum is exact, at
low q too, where S(q -> 0) tells density fluctuations from a uniform solid and where a Fourier
transform of g(r) cut at half the cell only shows its window. All atoms weigh the same unless a
weighting is asked for; then, with form factors f and <> the mean over atoms,

    S(q) = (|sum_j f_j exp(i q . r_j)|^2 / N - <f^2> + <f>^2) / <f>^2

(Faber and Ziman's normalisation; D. A. Keen, J. Appl. Cryst. 34, 172 (2001), equations 19-20).

A shell of q holds ``4 pi q^2 dq V / (2 pi)^3`` allowed vectors. Full shells up to a few hundred
vectors are summed; larger shells are sampled at random allowed vectors. A single vector scatters
around S(q) by S(q) itself, so ``M`` vectors leave a relative error of ``1 / sqrt(M)``. The cost is
atoms times vectors, and ``MAXIMUM_TERMS`` bounds it: above about 13,000 atoms fewer vectors are
drawn, down to 24 per bin, from where on the cost grows with the number of atoms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffxas.errors import InputError
from diffxas.scattering import form_factors
from diffxas.structure import Structure

VECTORS_PER_BIN = 200
MINIMUM_VECTORS_PER_BIN = 24
MAXIMUM_TERMS = 4e8
"""Atoms times wave vectors: about five seconds on one core."""


def structure_factor(structures: Structure | Sequence[Structure], q_max: float = 16.0,
                     bin_width: float = 0.1, seed: int = 0, weighting: str = "atoms",
                     ) -> tuple[np.ndarray, np.ndarray]:
    """Isotropic structure factor, the mean over ``structures``.

    Parameters
    ----------
    structures : one or several periodic structures
    q_max : 1/angstrom
    bin_width : 1/angstrom
    seed : of the draw of wave vectors in shells that are too large to be summed
    weighting : "atoms" (all alike), "xray" or "neutron" (:mod:`diffxas.scattering`)

    Returns
    -------
    q : (n_bins,) centres of the bins, 1/angstrom
    s : (n_bins,) without unit, 1 at large q; NaN in a bin where no cell allows a wave vector

    Raises
    ------
    InputError
        If a structure is not periodic, or ``q_max`` or ``bin_width`` is not positive.
    """
    several = [structures] if isinstance(structures, Structure) else list(structures)
    if not several:
        raise InputError("structure_factor must have a structure, received none: give one")
    if not (0 < bin_width <= q_max < np.inf):
        raise InputError(f"q_max and bin_width must be positive with bin_width <= q_max, received "
                         f"{q_max} and {bin_width}: such as 16 and 0.1 per angstrom")
    n_bins = round(q_max / bin_width)
    edges = np.arange(n_bins + 1) * bin_width
    total, weight = np.zeros(n_bins), np.zeros(n_bins)
    for structure in several:
        if not structure.pbc.all():
            raise InputError(f"S(q) must have a structure periodic in three directions, received "
                             f"pbc {structure.pbc.tolist()}: give it a cell")
        per_bin = int(np.clip(MAXIMUM_TERMS / (len(structure) * n_bins),
                              MINIMUM_VECTORS_PER_BIN, VECTORS_PER_BIN))
        miller, index = _wave_vectors(structure.cell, edges, per_bin, seed)
        power = _power(structure, miller, weighting)
        total += np.bincount(index, weights=power, minlength=n_bins)
        weight += np.bincount(index, minlength=n_bins)
    s = np.full(n_bins, np.nan)
    np.divide(total, weight, out=s, where=weight > 0)
    return (edges[:-1] + edges[1:]) / 2, s


def _wave_vectors(cell: np.ndarray, edges: np.ndarray, per_bin: int, seed: int,
                  ) -> tuple[np.ndarray, np.ndarray]:
    """Miller indices (n, 3) of one half space and the bin of each, (n,).

    Low q, where shells are small, is enumerated; ``q`` and ``-q`` scatter alike, so one of the two
    is kept.
    """
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    volume = abs(np.linalg.det(cell))
    width = edges[1] - edges[0]
    # Half of a shell of this radius holds about per_bin vectors.
    radius = np.sqrt(2 * per_bin * (2 * np.pi) ** 3 / (4 * np.pi * width * volume))
    n_full = min(len(edges) - 1, int(np.ceil(radius / width)))
    miller = _half_ball(cell, reciprocal, edges[n_full])
    modulus = np.linalg.norm(miller @ reciprocal, axis=1)
    index = np.floor(modulus / width).astype(np.int64)
    keep = index < n_full
    found, bins = [miller[keep]], [index[keep]]
    random = np.random.default_rng(seed)
    for b in range(n_full, len(edges) - 1):
        drawn = _draw_shell(random, cell, reciprocal, (edges[b], edges[b + 1]), per_bin)
        found.append(drawn)
        bins.append(np.full(len(drawn), b))
    return np.concatenate(found), np.concatenate(bins)


def _half_ball(cell: np.ndarray, reciprocal: np.ndarray, q_max: float) -> np.ndarray:
    """Every allowed vector with 0 < q < q_max, one of each pair (q, -q), as Miller indices."""
    # |q . a_i| = 2 pi |h_i| bounds each index by the length of its lattice vector.
    limit = np.floor(q_max * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
    h, k, m = (np.arange(-n, n + 1) for n in limit)
    grid = np.stack(np.meshgrid(h[h >= 0], k, m, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[_leading_sign(grid) > 0]
    return grid[np.linalg.norm(grid @ reciprocal, axis=1) < q_max]


def _draw_shell(random: np.random.Generator, cell: np.ndarray, reciprocal: np.ndarray,
                shell: tuple[float, float], count: int) -> np.ndarray:
    """Up to ``count`` different allowed vectors of a shell, (n, 3) Miller indices.

    Points drawn uniformly in the shell are rounded to the reciprocal lattice; those that leave the
    shell are dropped, which thins its rim a little and no direction.
    """
    direction = random.normal(size=(3 * count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    modulus = np.cbrt(random.uniform(shell[0] ** 3, shell[1] ** 3, size=(3 * count, 1)))
    miller = np.rint(modulus * direction @ cell.T / (2 * np.pi)).astype(np.int64)
    rounded = np.linalg.norm(miller @ reciprocal, axis=1)
    inside = miller[(rounded >= shell[0]) & (rounded < shell[1])]
    different = np.unique(inside * _leading_sign(inside)[:, None], axis=0)
    return random.permutation(different)[:count]


def _leading_sign(miller: np.ndarray) -> np.ndarray:
    """Sign of the first index that is not zero, (n,): it picks one of q and -q."""
    first = np.where(miller[:, 0] != 0, miller[:, 0],
                     np.where(miller[:, 1] != 0, miller[:, 1], miller[:, 2]))
    return np.sign(first)


def _power(structure: Structure, miller: np.ndarray, weighting: str) -> np.ndarray:
    """S of the module's docstring for each row of Miller indices, (n,)."""
    numbers, counts = np.unique(structure.numbers, return_counts=True)
    if weighting == "atoms":
        return np.asarray((_amplitude(structure, miller)**2).sum(axis=0) / len(structure))
    reciprocal = 2 * np.pi * np.linalg.inv(structure.cell).T
    f = form_factors(numbers, np.linalg.norm(miller @ reciprocal, axis=1), weighting)
    amplitude = sum(f[k] * _amplitude(structure, miller, structure.numbers == z)
                    for k, z in enumerate(numbers))
    share = counts / len(structure)
    mean, square = share @ f, share @ f**2
    power = (amplitude**2).sum(axis=0) / len(structure)
    return np.asarray((power - square + mean**2) / mean**2)


def _amplitude(structure: Structure, miller: np.ndarray,
               chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Real and imaginary part of ``sum_j exp(i q . r_j)`` over the chosen atoms, (2, n)."""
    fractional = structure.positions[chosen] @ np.linalg.inv(structure.cell)
    amplitude = np.zeros((2, len(miller)))
    block = max(1, int(4e6 // max(1, len(miller))))
    for start in range(0, len(fractional), block):
        phase = miller @ fractional[start:start + block].T
        # Whole turns are removed in double precision; the rest is safe, and fast, in single.
        turn = ((phase - np.rint(phase)) * (2 * np.pi)).astype(np.float32)
        amplitude[0] += np.cos(turn).sum(axis=1, dtype=np.float64)
        amplitude[1] += np.sin(turn).sum(axis=1, dtype=np.float64)
    return amplitude
