r"""How near two spectra are, as the field counts it; spectra of one grid stand in rows.

    MSE = mean_i (p_i - q_i)^2        MAE = mean_i |p_i - q_i|        cosine = p.q / (|p| |q|)

Pearson's correlation is the cosine about the means, Spearman's that of the ranks. A set of sites
is scored against a baseline by

    eta = median over sites of the baseline's MSE / median over sites of the model's MSE

(OmniXAS, "A universal deep-learning framework for materials X-ray absorption spectra",
arXiv:2409.19552; the baseline is the mean spectrum of the training sites). Medians forgive a few
bad sites, so the mean MSE belongs beside them.

Two codes do not share an energy zero. :func:`align` follows ``compare_utils`` of Lightshow
(M. R. Carbone and others, J. Open Source Softw. 8, 5182 (2023)), which comes from the comparison of
codes by F. Meng and others, Phys. Rev. Mater. 8, 013801 (2024): each spectrum is cut to 35 eV from
where it first exceeds 2 % of its maximum, both are put to a common start, and the second is moved
by what maximises the cosine on 300 points of the overlap, within 12 eV and in steps of 0.01 eV.
Where less than half of the shorter window overlaps, similarities are lowered by
0.9^(half / overlap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffxas.errors import InputError

WINDOW, THRESHOLD = 35.0, 0.02
"""eV that are compared, from where a spectrum exceeds this share of its maximum."""
LARGEST_SHIFT, SHIFT_STEP, GRID_POINTS = 12.0, 0.01, 300
"""eV, eV, and points of the overlap."""
LEAST_OVERLAP, DECAY = 0.5, 0.9
"""Share of the shorter window, and what similarities lose below it."""
FEWEST = 4
"""Points of a cubic spline."""


def mse(predicted: np.ndarray, true: np.ndarray | float) -> np.ndarray:
    """Mean squared error along the last axis: of rows (..., n_grid) gives (...,)."""
    return np.asarray(np.mean(np.square(_difference(predicted, true)), axis=-1))


def mae(predicted: np.ndarray, true: np.ndarray | float) -> np.ndarray:
    """Mean absolute error along the last axis: of rows (..., n_grid) gives (...,)."""
    return np.asarray(np.mean(np.abs(_difference(predicted, true)), axis=-1))


def rms(values: np.ndarray, axis: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Root mean square, of everything or along axes; units of ``values``."""
    return np.asarray(np.sqrt(np.mean(np.square(values), axis=axis)))


def cosine(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Cosine similarity along the last axis, (...,); NaN where a spectrum is zero."""
    predicted, true = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    norms = np.linalg.norm(predicted, axis=-1) * np.linalg.norm(true, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((predicted * true).sum(-1) / norms)


def pearson(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis, (...,); NaN where a spectrum is flat."""
    return cosine(_centred(predicted), _centred(true))


def spearman(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation along the last axis, (...,); NaN where a spectrum is flat."""
    from scipy.stats import rankdata

    return pearson(rankdata(predicted, axis=-1), rankdata(true, axis=-1))


def eta(predicted: np.ndarray, true: np.ndarray, baseline: np.ndarray) -> float:
    """OmniXAS' figure of merit; 1 is no better than the baseline.

    Parameters
    ----------
    predicted, true : (n_sites, n_grid)
    baseline : (n_grid,) or (n_sites, n_grid), the mean spectrum of the training sites
    """
    model = float(np.median(mse(predicted, true)))
    mean = float(np.median(mse(np.broadcast_to(baseline, np.shape(true)), true)))
    return mean / model if model > 0 else float("inf")


def scores(predicted: np.ndarray, true: np.ndarray,
           baseline: np.ndarray | None = None) -> dict[str, float]:
    """Every measure of a set of sites.

    Parameters
    ----------
    predicted, true : (n_sites, n_grid)
    baseline : (n_grid,) or (n_sites, n_grid); adds ``eta``

    Returns
    -------
    ``mse``, ``median_mse``, ``mae``, ``pearson``, ``spearman``, ``cosine`` (means over the sites
    but ``median_mse``), ``variance_share`` (MSE over the variance of the sites about their mean)
    and ``eta``
    """
    true = np.atleast_2d(np.asarray(true, dtype=float))
    predicted = np.atleast_2d(np.asarray(predicted, dtype=float))
    site = mse(predicted, true)
    variance = float(mse(true, np.broadcast_to(true.mean(0), true.shape)).mean())
    table = {
        "mse": float(site.mean()), "median_mse": float(np.median(site)),
        "mae": float(mae(predicted, true).mean()),
        "pearson": float(pearson(predicted, true).mean()),
        "spearman": float(spearman(predicted, true).mean()),
        "cosine": float(cosine(predicted, true).mean()),
        "variance_share": float(site.mean()) / variance if variance > 0 else float("nan"),
    }
    return table if baseline is None else table | {"eta": eta(predicted, true, baseline)}


def error_table(errors: Sequence[np.ndarray]) -> dict[str, float]:
    """Errors of structures, which weigh equally whatever their number of sites.

    Parameters
    ----------
    errors : predicted minus true, (n_sites, n_grid) for each structure

    Returns
    -------
    ``site_mse``, ``site_mae``, and ``cell_mean_mae`` of the mean over the sites
    """
    rows = [(mse(e, 0.0).mean(), mae(e, 0.0).mean(), mae(e.mean(0), 0.0)) for e in errors]
    site_mse, site_mae, mean_mae = np.mean(rows, axis=0)
    return {"site_mse": float(site_mse), "site_mae": float(site_mae),
            "cell_mean_mae": float(mean_mae)}


def error_along_energy(errors: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean squared errors at each energy of a site and of a structure's mean, each (n_grid,)."""
    site = np.mean([np.square(e).mean(0) for e in errors], axis=0)
    mean = np.mean([np.square(e.mean(0)) for e in errors], axis=0)
    return site, mean


@dataclass(frozen=True)
class Alignment:
    """Two spectra after the second was moved to the first.

    Attributes
    ----------
    shift : eV, to be added to the second's energies
    cosine, pearson, spearman : on the overlap of the windows
    overlap : eV
    """

    shift: float
    cosine: float
    pearson: float
    spearman: float
    overlap: float


def align(energy: np.ndarray, mu: np.ndarray, other_energy: np.ndarray, other_mu: np.ndarray,
          window: float = WINDOW) -> Alignment:
    """Move the second spectrum to the first by maximising their cosine; any two grids.

    Parameters
    ----------
    energy, mu : (n_points,), eV and any unit
    other_energy, other_mu : (n_others,), the one that is moved
    window : eV compared from the onset

    Raises
    ------
    InputError
        If a window holds fewer than four points, or a spectrum nowhere rises above zero.
    """
    from scipy.interpolate import make_interp_spline

    x, p, start = _cut(energy, mu, window)
    y, q, other_start = _cut(other_energy, other_mu, window)
    shifts = LARGEST_SHIFT - SHIFT_STEP * np.arange(round(2 * LARGEST_SHIFT / SHIFT_STEP))
    low = np.maximum(x[0], y[0] + shifts)
    high = np.minimum(x[-1], y[-1] + shifts)
    shifts, low, high = (values[high > low] for values in (shifts, low, high))
    grid = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, GRID_POINTS)
    first = make_interp_spline(x, p, k=3)(grid)
    second = make_interp_spline(y, q, k=3)(np.clip(grid - shifts[:, None], y[0], y[-1]))
    half = LEAST_OVERLAP * min(x[-1] - x[0], y[-1] - y[0])
    loss = np.where(high - low < half, DECAY ** (half / (high - low)), 1.0)
    similarity = np.nan_to_num(cosine(first, second) * loss, nan=-1.0)
    best = int(np.argmax(similarity))
    return Alignment(
        float(shifts[best] + start - other_start), float(similarity[best]),
        float(pearson(first[best], second[best]) * loss[best]),
        float(spearman(first[best], second[best]) * loss[best]), float((high - low)[best]))


def _cut(energy: np.ndarray, mu: np.ndarray, window: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Energies from the onset, absorption, and the onset's energy; the last point goes, as there.
    """
    energy, mu = np.asarray(energy, dtype=float), np.asarray(mu, dtype=float)
    if mu.max() <= 0:
        raise InputError(f"a spectrum must rise above zero to be aligned, received a maximum of "
                         f"{mu.max():g}: normalise it")
    first = int(np.argmax(mu / mu.max() > THRESHOLD))
    last = int(np.flatnonzero(energy < energy[first] + window)[-1])
    if last - first < FEWEST:
        raise InputError(f"{FEWEST} points or more must lie within {window:g} eV of the onset to "
                         f"align a spectrum, received {last - first}: give it to higher energies")
    return energy[first:last] - energy[first], mu[first:last], float(energy[first])


def _difference(predicted: np.ndarray, true: np.ndarray | float) -> np.ndarray:
    return np.asarray(predicted, dtype=float) - np.asarray(true, dtype=float)


def _centred(values: np.ndarray) -> np.ndarray:
    """Less the mean along the last axis; a flat spectrum is zero to the last digit."""
    values = np.asarray(values, dtype=float)
    flat = np.ptp(values, axis=-1, keepdims=True) == 0
    return np.where(flat, 0.0, values - values.mean(-1, keepdims=True))
