r"""Is a large structure as dense everywhere? Numbers of atoms in cubes.

Cubes of edge ``L`` with faces along x, y and z hold ``N`` atoms each. Their centres form a grid
along the lattice vectors; along vector ``k`` a cube covers

    w_k = L sum_j |(C^-1)_jk|

of the fractional coordinate, ``C`` the cell with vectors for rows. With ``floor(1 / w_k)`` centres
along ``k`` no two cubes overlap, in oblique cells too. The measure is

    var(N) / <N>,

the sample variance over the cubes of one structure: 1 for uniform random positions at any number of
cubes (what a fixed number of atoms takes from the variance, its correlation between cubes gives
back), and S(q -> 0) in large cubes (S. Torquato and F. H. Stillinger, "Local density fluctuations,
hyperuniformity, and order metrics", Phys. Rev. E 68, 041113 (2003), section II). Shifted copies of
the grid see what lies between its cubes: the measure is then the mean over grids. Two structures
are compared by the ratio of their variances, with a permutation test of the counts about their
means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure

LEAST_CUBES = 8
"""With fewer there is no variance to speak of."""


@dataclass(frozen=True, eq=False)
class NumberVariance:
    """Atoms in disjoint cubes.

    Attributes
    ----------
    edge : of the cubes, angstrom
    counts : (n_grids * n_cubes,) int64, atoms in each, grid by grid
    reduced : variance over mean, 1 for uniform random positions
    relative_error : of the variance in one grid, one standard deviation, were the counts Gaussian
    """

    edge: float
    counts: np.ndarray
    reduced: float
    relative_error: float


@dataclass(frozen=True)
class VarianceComparison:
    """Variance of one set of counts over that of another, 95 % interval by bootstrap, p-value."""

    ratio: float
    interval: tuple[float, float]
    p_value: float


def number_variance(structure: Structure, edge: float, grids: int = 1) -> NumberVariance:
    """Variance of the number of atoms in disjoint cubes, see the module's docstring.

    Parameters
    ----------
    edge : angstrom
    grids : so many copies of the grid of cubes, evenly shifted

    Raises
    ------
    InputError
        If the structure is not periodic in three directions or holds fewer than 8 such cubes.
    """
    from scipy.spatial import cKDTree
    from scipy.stats import qmc

    if grids < 1:
        raise InputError(f"grids must be at least 1, received {grids}: 1 is usual")
    if not structure.pbc.all():
        raise InputError(f"a number variance must have a structure periodic in three directions, "
                         f"received pbc {structure.pbc.tolist()}: give it a cell")
    inverse = np.linalg.inv(structure.cell)
    width = edge * np.abs(inverse).sum(axis=0)
    n_cubes = np.floor(1 / width + 1e-9).astype(int)
    if not edge > 0 or n_cubes.prod() < LEAST_CUBES:
        raise InputError(f"the cell must hold at least {LEAST_CUBES} cubes side by side, received "
                         f"{n_cubes.prod()} of {edge:g} angstrom: choose a smaller edge or a "
                         f"larger cell")
    fractional = (structure.positions @ inverse) % 1.0
    # Half a cube beyond each face of the cell, images stand in for atoms; a cube is no wider.
    images = []
    for shift in np.stack(np.meshgrid(*3 * [[-1, 0, 1]], indexing="ij"), -1).reshape(-1, 3):
        moved = fractional + shift
        images.append(moved[((moved >= -width / 2) & (moved <= 1 + width / 2)).all(axis=1)])
    centres = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n for n in n_cubes], indexing="ij"),
                       -1).reshape(-1, 3)
    shifts = qmc.Halton(3, scramble=False).random(grids) / n_cubes  # the first is none
    tree = cKDTree(np.concatenate(images) @ structure.cell)
    counts = np.array([tree.query_ball_point(((centres + shift) % 1.0) @ structure.cell, edge / 2,
                                             p=np.inf, return_length=True) for shift in shifts],
                      dtype=np.int64)
    reduced = counts.var(axis=1, ddof=1).mean() / max(counts.mean(), 1e-12)
    return NumberVariance(edge, counts.ravel(), float(reduced),
                          float(np.sqrt(2 / (counts.shape[1] - 1))))


def compare_variances(one: np.ndarray, other: np.ndarray, n_draws: int = 9999,
                      seed: int = 0) -> VarianceComparison:
    """Whether two sets of counts, each (n,), scatter alike about their own means."""
    rng = np.random.default_rng(seed)
    centred = [np.asarray(x, float) - np.mean(x) for x in (one, other)]
    together, n_one = np.concatenate(centred), len(centred[0])

    def log_ratio(rows: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(rows[..., :n_one].var(-1, ddof=1) + 1e-12)
                          - np.log(rows[..., n_one:].var(-1, ddof=1) + 1e-12))

    found = float(log_ratio(together))
    drawn = np.array([log_ratio(rng.permutation(together)) for _ in range(n_draws)])
    again = [log_ratio(np.concatenate([rng.choice(x, len(x)) for x in centred]))
             for _ in range(min(n_draws, 1999))]
    low, high = np.exp(np.percentile(again, [2.5, 97.5]))
    return VarianceComparison(float(np.exp(found)), (float(low), float(high)),
                              p_value_of(abs(found), np.abs(drawn)))


def p_value_of(found: float, drawn: np.ndarray) -> float:
    """Share of draws at least as far out, the true one among them (ties within rounding)."""
    return float((1 + (drawn >= found * (1 - 1e-9)).sum()) / (1 + len(drawn)))
