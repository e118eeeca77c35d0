r"""One standard deviation of a predicted spectrum, from what was left out.

With m_k the members of an ensemble and s(E) the spread of their predictions for a site, and a(E)
the rms error of left-out sites at energy E, the stated deviation is

    d(E) = c(E) max(1, q) sqrt(a(E)^2 + s(E)^2),

where q is the site's distance from the training domain (:mod:`surrogates.domain`; 1 at its edge)
and c(E) makes nine of ten left-out errors fall within 1.645 d(E), as they would were they Gaussian:

    c(E) = Q_90 [ |error(E)| / sqrt(a(E)^2 + s(E)^2) ] / 1.645,

smoothed along the energy. Scaling the spread of an ensemble by a quantile of left-out errors is
conformal calibration with normalised scores (H. Papadopoulos, A. Gammerman, V. Vovk, Normalized
nonconformity measures for regression conformal prediction, AIA 2008); the left-out sites are of
whole networks and densities, since that is how new structures differ.

The mean spectrum of a cell errs with the covariance

    C(E, E') = a(E) a(E') [ (1 - NUGGET) exp(-(E - E')^2 / 2 l^2) + NUGGET delta(E, E') ],

l = CORRELATION_LENGTH: errors of left-out cell means lose half of their correlation over 0.75 eV
(kernels, network and committee alike, at 2.0 and at 3.0 g/cm3; experiments/uncertainty). a(E) has
the shape of the left-out sites' error and the median size of the mean errors of left-out networks:
the one that is extrapolated farthest does not rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from surrogates.base import Surrogate

COVERED, QUANTILE = 0.9, 1.6448536269514722
"""What share of a Gaussian lies within so many standard deviations."""
CORRELATION_LENGTH = 0.65
"""eV, l: errors of cell means at energies closer than this are one error."""
NUGGET = 0.02
"""Share of the variance of a mean spectrum that is not correlated along the energy."""
LEAST_SHAPE = 0.1
"""Least a(E), share of its rms: before the edge sites do not err, and 0 would rule a likelihood."""
MEAN_OF_ABSOLUTE = 1.2533141373155003
"""Standard deviation over mean absolute value of a Gaussian."""
UNKNOWN_ERROR = 0.03
"""Error of a cell's mean spectrum, share of its rms, of a surrogate that states none."""
SMOOTHED = 5
"""Energies over which c(E) is averaged."""


def spread_of_members(members: np.ndarray) -> np.ndarray:
    """s(E) of the module's docstring, (n_sites, n_grid); zero where there is one member."""
    return (np.asarray(members.std(0, ddof=1)) if len(members) > 1
            else np.zeros(members.shape[1:]))


def site_deviation(members: np.ndarray, error: np.ndarray, factor: np.ndarray,
                   score: np.ndarray | None = None) -> np.ndarray:
    """d(E) of the module's docstring, (n_sites, n_grid).

    Parameters
    ----------
    members : (n_members, n_sites, n_grid)
    error, factor : a and c, (n_grid,)
    score : q, (n_sites,); inside the domain where it is not given
    """
    deviation = factor * np.hypot(spread_of_members(members), error)
    if score is not None:
        deviation = deviation * np.maximum(score, 1.0)[:, None]
    assert deviation.shape == members.shape[1:]
    return np.asarray(deviation)


def calibrated_factor(errors: Sequence[np.ndarray], spreads: Sequence[np.ndarray],
                      error: np.ndarray) -> np.ndarray:
    """c(E) of the module's docstring, (n_grid,).

    Parameters
    ----------
    errors, spreads : (n_sites, n_grid) of each left-out structure; structures weigh alike
    error : a, (n_grid,)
    """
    ratio = [np.abs(e) / np.maximum(np.hypot(s, error), 1e-12)
             for e, s in zip(errors, spreads, strict=True)]
    weight = np.concatenate([np.full(len(r), 1 / len(r)) for r in ratio])
    rows = np.concatenate(ratio)
    order = np.argsort(rows, axis=0)
    share = np.cumsum(weight[order], axis=0) / weight.sum()
    first = (share >= COVERED - 1e-9).argmax(0)
    quantile = np.take_along_axis(np.take_along_axis(rows, order, 0), first[None], 0)[0]
    width = min(SMOOTHED, len(quantile)) // 2
    padded = np.pad(quantile, width, mode="edge")
    return np.asarray(np.convolve(padded, np.full(2 * width + 1, 1 / (2 * width + 1)), "valid")
                      / QUANTILE)


def coverage(errors: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Share of the sites within the 90 % interval at each energy, (n_grid,)."""
    return np.asarray((np.abs(errors) <= QUANTILE * deviation).mean(0))


def correlated(energy: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """C(E, E') of the module's docstring for deviations a(E), (n, n)."""
    distance = energy[:, None] - energy[None, :]
    shape = (1 - NUGGET) * np.exp(-0.5 * (distance / CORRELATION_LENGTH) ** 2)
    return np.asarray(deviation[:, None] * deviation * (shape + NUGGET * np.eye(len(energy))))


def mean_covariance(surrogate: Surrogate, doubt: float = 0.0) -> np.ndarray:
    """Covariance of the error of a cell's mean spectrum, (n_grid, n_grid), model units.

    Parameters
    ----------
    doubt : rms over energies of the spread of the members about the cell at hand
    """
    shape, networks = surrogate.site_error, surrogate.left_out_networks
    if not (shape.any() and networks):
        mean = surrogate.training_mean()
        level = 1.0 if mean is None else float(np.sqrt(np.mean(mean**2)))
        return correlated(surrogate.energy, np.full(len(surrogate.energy),
                                                    np.hypot(UNKNOWN_ERROR * level, doubt)))
    size = MEAN_OF_ABSOLUTE * float(np.median([one["cell_mean_mae"] for one in networks]))
    unit = np.hypot(shape / np.sqrt(np.mean(shape**2)), LEAST_SHAPE)
    return correlated(surrogate.energy, unit * np.hypot(size, doubt))
