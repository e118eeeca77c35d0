r"""Credible intervals from an ensemble of samples.

Samples x_1 ... x_n of a posterior and the truth are draws of one law. If that is about normal, the
next draw lies with probability p within

    mean +- t s sqrt(1 + 1/n),

t being the (1 + p)/2 quantile of Student's distribution with n - 1 degrees of freedom and s the
standard deviation of the samples (the predictive interval; W. Q. Meeker, G. J. Hahn, L. A. Escobar,
Statistical Intervals (Wiley, 2017), section 4.8). It is wide for few samples, as it must be. What
all samples err by together (of surrogate, prior, and walks that lag) is not in their scatter; its
deviation, measured on truths that no model knew, adds in quadrature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SHARES = {"interval50": 0.5, "interval90": 0.9}


def predictive_interval(values: Sequence[float] | np.ndarray, share: float,
                        bounds: tuple[float, float] = (-np.inf, np.inf),
                        systematic: float = 0.0) -> tuple[float, float]:
    """The interval of the module's docstring, cut to ``bounds``; all of them for one value.

    Parameters
    ----------
    values : (n,), samples
    share : probability, above 0 and below 1
    systematic : standard deviation of what all samples err by
    """
    from scipy.stats import norm, t

    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return bounds
    quantile = (1 + share) / 2
    half = float(np.hypot(t.ppf(quantile, len(x) - 1) * x.std(ddof=1) * np.sqrt(1 + 1 / len(x)),
                          norm.ppf(quantile) * systematic))
    return (float(np.clip(x.mean() - half, *bounds)), float(np.clip(x.mean() + half, *bounds)))


def credible(values: Sequence[float] | np.ndarray,
             bounds: tuple[float, float] = (-np.inf, np.inf),
             systematic: float = 0.0) -> dict[str, Any]:
    """``mean``, ``interval50`` and ``interval90``, for ``summary.json``; null where unbounded."""
    found: dict[str, Any] = {"mean": float(np.mean(values))}
    for name, share in SHARES.items():
        interval = predictive_interval(values, share, bounds, systematic)
        found[name] = [float(v) for v in interval] if np.isfinite(interval).all() else None
    return found
