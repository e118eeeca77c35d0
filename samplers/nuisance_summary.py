"""What the experiment does not fix, as the samples of a run leave it.

A sample's fit gives every nuisance a normal about its most probable value (Laplace's
approximation), cut at the bounds. Over a run, a nuisance has the mixture of those of the samples,
which holds both what a fit leaves open and what the choice of the structure does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surrogates.nuisances import Nuisance
from surrogates.observation import Fit, MeasuredObservation, Observation

POINTS = 2001
"""Points between the bounds at which a density is tabulated."""
TAILS = (0.05, 0.95)


def nuisance_summary(observation: Observation | None,
                     fits: Sequence[Fit]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation and 90 % interval of every nuisance, by name and unit.

    Parameters
    ----------
    observation : of the target; None or a computed target has no nuisances
    fits : of the samples

    Returns
    -------
    such as ``{"shift_eV": {"mean": .., "sd": .., "interval90": [.., ..]}, ...}``
    """
    if not fits or not isinstance(observation, MeasuredObservation):
        return {}
    return {label(one): _moments(one, np.array([fit.theta[one.name] for fit in fits]),
                                 np.array([fit.theta_sigma[one.name] for fit in fits]))
            for one in observation.nuisances}


def label(nuisance: Nuisance) -> str:
    """Its name with its unit, such as ``shift_eV``; ``lifetime`` is a pure number."""
    return f"{nuisance.name}_eV" if nuisance.unit == "eV" else nuisance.name


def _moments(nuisance: Nuisance, values: np.ndarray, deviations: np.ndarray) -> dict[str, Any]:
    low = max(nuisance.lower, float(np.min(values - 6 * deviations)))
    high = min(nuisance.upper, float(np.max(values + 6 * deviations)))
    # Bounds at cell edges: a normal narrower than a cell still has its mass in one.
    edges = np.linspace(low, high, POINTS + 1)
    from scipy.special import ndtr

    cells = np.diff(ndtr((edges - values[:, None]) / deviations[:, None]), axis=1)
    weights = (cells / cells.sum(1, keepdims=True)).mean(0)
    centres = 0.5 * (edges[1:] + edges[:-1])
    mean = float(weights @ centres)
    sd = float(np.sqrt(weights @ (centres - mean) ** 2))
    interval = np.interp(TAILS, np.concatenate([[0.0], np.cumsum(weights)]), edges)
    return {"mean": mean, "sd": sd, "interval90": interval.tolist()}
