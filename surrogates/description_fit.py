r"""A target spectrum in principal components of the training spectra, nuisances fitted along.

The cell spectrum is written m = mean + z C with rows of C scaled so that z has unit variance over
the training mixtures. With A(theta) of the observation (:mod:`surrogates.observation`),

    -log p(z, theta | y) = 1/2 sum_i w_i (y_i - A(theta) m)_i^2 + 1/2 |z|^2 + 1/2 |z(theta)|^2

is minimised over components and nuisances at once; the inverse of its Gauss-Newton Hessian is the
covariance (Laplace's approximation: C. M. Bishop, Pattern Recognition and Machine Learning,
Springer 2006, equations 4.131 to 4.138). A misfit above the noise widens it (Birge's ratio), as in
a fit of a single spectrum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from surrogates.metrics import rms
from surrogates.nuisances import ForwardModel
from surrogates.observation import CORRELATION_LENGTH, MeasuredObservation, Observation

FLOOR = 0.01
"""Share of a computed target's root mean square that is noise, beside the surrogate's error."""


@dataclass(frozen=True, eq=False)
class Basis:
    """Principal components of the training spectra.

    Attributes
    ----------
    energy : (n_grid,), eV
    mean : (n_grid,), model units
    components : (n_components, n_grid), each scaled by its standard deviation
    error : (n_grid,), rms error of the surrogate's cell means, model units
    """

    energy: np.ndarray
    mean: np.ndarray
    components: np.ndarray
    error: np.ndarray


@dataclass(frozen=True, eq=False)
class ComponentFit:
    """The most probable components of a target.

    Attributes
    ----------
    z, covariance : (n_components,) and (n_components, n_components)
    theta : fitted nuisances; empty for computed targets
    spectrum : (n_grid,), m at the maximum, model units
    prediction : (n_points,), at all points of the target
    residual_rms : over the window, target units
    residual_share : the same over the target's own root mean square
    misfit : mean square of the residual in units of the noise
    distance : |z|^2 over the number of components, 1 in the mean over the training
    strain : the same of the nuisances; 0 for computed targets
    """

    z: np.ndarray
    covariance: np.ndarray
    spectrum: np.ndarray
    prediction: np.ndarray
    residual_rms: float
    residual_share: float
    misfit: float
    distance: float
    theta: Mapping[str, float] = field(default_factory=dict)
    strain: float = 0.0


def fit_components(observation: Observation, basis: Basis) -> ComponentFit:
    """Components and nuisances of a target; see the module's docstring."""
    if isinstance(observation, MeasuredObservation):
        return _measured(observation, basis)
    mask = observation.mask
    spacing = np.gradient(observation.energy)[mask]
    variance = (FLOOR * rms(observation.target[mask]))**2 + basis.error[mask] ** 2
    weights = spacing / (CORRELATION_LENGTH * variance)
    design = basis.components.T[mask]
    difference = observation.target[mask] - basis.mean[mask]
    data = (design.T * weights) @ design
    unit = np.eye(len(basis.components))
    z = np.linalg.solve(data + unit, (design.T * weights) @ difference)
    residual = difference - design @ z
    misfit = _misfit(weights * residual**2, spacing)
    spectrum = basis.mean + z @ basis.components
    return ComponentFit(z, np.linalg.inv(data / max(1.0, misfit) + unit), spectrum, spectrum,
                        *_sizes(residual, observation), misfit, float(np.mean(z**2)))


def _misfit(squares: np.ndarray, spacing: np.ndarray) -> float:
    return float(squares.sum() / (spacing.sum() / CORRELATION_LENGTH))


def _sizes(residual: np.ndarray, observation: Observation) -> tuple[float, float]:
    size = float(rms(residual))
    return size, size / float(rms(observation.target[observation.mask]))


def _measured(observation: MeasuredObservation, basis: Basis) -> ComponentFit:
    from scipy.optimize import least_squares

    mask, n = observation.mask, len(observation.nuisances)
    target, root = observation.target[mask], np.sqrt(observation.weights())
    model = ForwardModel(observation.energy[mask], basis.energy, observation.window,
                         observation.options)
    k = len(basis.components)
    below = np.diag(np.concatenate([1 / observation.width, np.ones(k)]))

    @lru_cache(maxsize=2)  # the solver asks for residual and Jacobian of one point in turn
    def evaluate(key: bytes) -> tuple[np.ndarray, np.ndarray]:
        x = np.frombuffer(key)
        prediction, by_theta, matrix = model.evaluate_with_matrix(
            x[:n], basis.mean + x[n:] @ basis.components)
        return prediction, np.concatenate([by_theta, matrix @ basis.components.T], 1)

    def residuals(x: np.ndarray) -> np.ndarray:
        prediction, _ = evaluate(x.tobytes())
        return np.concatenate([root * (prediction - target),
                               (x[:n] - observation.mean) / observation.width, x[n:]])

    def jacobian(x: np.ndarray) -> np.ndarray:
        return np.concatenate([root[:, None] * evaluate(x.tobytes())[1], below])

    free = np.full(k, np.inf)
    bounds = (np.concatenate([observation.lower, -free]), np.concatenate([observation.upper, free]))
    found = [least_squares(residuals, np.concatenate([start, np.zeros(k)]), jacobian, bounds=bounds,
                           x_scale=np.concatenate([observation.width, np.ones(k)]),
                           xtol=1e-5, ftol=1e-6, gtol=1e-5, max_nfev=60)
             for start in observation.starts()]
    x = min(found, key=lambda one: float(one.cost)).x
    theta = {one.name: float(value)
             for one, value in zip(observation.nuisances, x[:n], strict=True)}
    spectrum = basis.mean + x[n:] @ basis.components
    prediction = observation.apply(spectrum, theta) + observation.offset(theta)
    residual = target - prediction[mask]
    misfit = _misfit(observation.weights() * residual**2, np.gradient(observation.energy)[mask])
    rows = jacobian(x)
    data = rows[:len(root)]
    prior = np.concatenate([observation.width**-2.0, np.ones(k)])
    covariance = np.linalg.inv(data.T @ data / max(1.0, misfit) + np.diag(prior))[n:, n:]
    strain = float(np.mean(((x[:n] - observation.mean) / observation.width) ** 2))
    return ComponentFit(x[n:], covariance, spectrum, prediction, *_sizes(residual, observation),
                        misfit, float(np.mean(x[n:] ** 2)), theta, strain)
