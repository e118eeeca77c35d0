"""Observation models: what stands between a computed cell spectrum and the data.

For nuisances theta the prediction is linear in the cell spectrum m, ``A(theta) @ m + b``. A fit
maximises over theta

    log p(y | m, theta) + log p(theta) = -1/2 sum_i w_i (y_i - A m - b)_i^2 - 1/2 |z(theta)|^2

with z the distance of theta from its prior mean in standard deviations. Points of a spectrum are
not independent: theory and experiment disagree over whole features. So a point weighs its share of
the energy axis, w_i = dE_i / (xi noise^2) with xi = 1 eV: measuring twice as many points changes
nothing. A covariance C of the residual (:meth:`Observation.covariance`) takes the place of the
weights where it is given: -1/2 r^T C^-1 r, with r = y - A m - b.

Because theta maximises this, the gradient of the profiled likelihood with respect to m is the
partial one at fixed theta, A^T (w r) or A^T C^-1 r: the envelope theorem, as in variable
projection (G. H. Golub, V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973)). A guide therefore needs
no gradient through the fit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from diffxas.errors import InputError, RunError
from surrogates.calibration import correlated
from surrogates.metrics import rms
from surrogates.nuisances import ForwardModel, Nuisance, NuisanceOptions

CORRELATION_LENGTH = 1.0
"""eV, xi: residuals closer than this are one observation."""
WINDOW_TOLERANCE = 1e-3
"""eV; a point this close to the end of a window is in it (files round their energies)."""
BOUND_TOLERANCE = 0.01
"""A nuisance within this share of its range of a bound is reported as being at it."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A cell spectrum fitted to a target.

    Attributes
    ----------
    energy : (n_window,), eV, the target's points in the window
    target : (n_window,), target units (measured: edge step 1)
    matrix, offset : A (n_window, n_grid) and b (n_window,) at the fitted nuisances
    prediction : (n_window,), ``matrix @ m + offset``, target units
    whitening : W (n_window, n_window), 1 / target units, with W^T W = C^-1, or diag(w)
    theta, theta_sigma : nuisances and one standard deviation (prior and data together)
    log_likelihood, log_prior : without their constants
    full_energy, full_prediction : (n_points,), all points of the target; outside the window the
        prediction is an extrapolation
    notes : sentences for the user, such as a nuisance at its bound
    """

    energy: np.ndarray
    target: np.ndarray
    matrix: np.ndarray
    offset: np.ndarray
    prediction: np.ndarray
    whitening: np.ndarray
    full_energy: np.ndarray
    full_prediction: np.ndarray
    theta: Mapping[str, float] = field(default_factory=dict)
    theta_sigma: Mapping[str, float] = field(default_factory=dict)
    log_prior: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def residual(self) -> np.ndarray:
        """Target minus prediction, (n_window,), target units."""
        return self.target - self.prediction

    @property
    def residual_rms(self) -> float:
        """Root mean square of the residual over the window, target units."""
        return float(rms(self.residual))

    @property
    def log_likelihood(self) -> float:
        """-1/2 |W r|^2."""
        return float(-0.5 * np.sum((self.whitening @ self.residual)**2))

    def gradient(self) -> np.ndarray:
        """Gradient of log_likelihood + log_prior, profiled over theta, by m: (n_grid,)."""
        return np.asarray(self.matrix.T @ (self.whitening.T @ (self.whitening @ self.residual)))


class Observation(ABC):
    """A target, its window, and how a cell spectrum is brought to it.

    Parameters
    ----------
    energy, target : (n_points,), eV and target units
    grid : (n_grid,), eV, the model's energies
    window : eV, lowest and highest energy that count
    noise : disagreement expected of theory and data, target units
    exclude : ranges (eV) inside the window that do not count
    """

    kind: str

    def __init__(self, energy: np.ndarray, target: np.ndarray, grid: np.ndarray,
                 window: tuple[float, float], noise: float,
                 exclude: tuple[tuple[float, float], ...] = ()) -> None:
        self.energy, self.target, self.grid = energy, target, grid
        self.window, self.noise, self.exclude = window, noise, exclude
        self.mask = window_mask(energy, window, exclude)
        self._spacing = np.gradient(energy)[self.mask]

    @property
    def spread(self) -> float:
        """Standard deviation of the target over the window, target units."""
        return float(self.target[self.mask].std())

    def weights(self, noise: float | None = None) -> np.ndarray:
        """w of the module's docstring, (n_window,); ``noise`` replaces the observation's own."""
        return self._spacing / (CORRELATION_LENGTH * (self.noise if noise is None else noise)**2)

    def covariance(self, of_mean: np.ndarray, theta: Mapping[str, float],
                   share: float = 1.0) -> np.ndarray:
        """Covariance of the residual, (n_window, n_window), target units.

        Parameters
        ----------
        of_mean : (n_grid, n_grid), of the cell spectrum, model units
        theta : nuisances at which it is brought to the target
        share : of the data's own noise, which is correlated along the energy as the surrogate's is
        """
        matrix = self.linear(theta)[self.mask]
        energy = self.energy[self.mask]
        data = correlated(energy, np.full(len(energy), self.data_noise))
        return np.asarray(matrix @ of_mean @ matrix.T + share * data)

    @property
    def data_noise(self) -> float:
        """Noise of the data, and disagreement with theory beyond the surrogate's, target units."""
        return self.noise

    def _whitening(self, covariance: np.ndarray | None) -> np.ndarray:
        if covariance is None:
            return np.diag(np.sqrt(self.weights()))
        # A floor far below any error: a covariance of few sites is singular.
        floor = 1e-6 * float(np.trace(covariance)) / len(covariance)
        root = np.linalg.cholesky(covariance + floor * np.eye(len(covariance)))
        return np.asarray(np.linalg.inv(root))

    @abstractmethod
    def fit(self, mu_grid: np.ndarray, *, start: Mapping[str, float] | None = None,
            covariance: np.ndarray | None = None) -> Fit:
        """Fit the nuisances to a cell spectrum.

        Parameters
        ----------
        mu_grid : (n_grid,), model units
        start : nuisances of an earlier fit; the search then begins (and stays) nearby
        covariance : (n_window, n_window), of the residual; by default the points have their weights
        """

    @abstractmethod
    def linear(self, theta: Mapping[str, float]) -> np.ndarray:
        """A(theta) at all points of the target, (n_points, n_grid)."""

    def offset(self, theta: Mapping[str, float]) -> np.ndarray:
        """b(theta) at all points of the target, (n_points,): what absorbs beside the structure."""
        return np.zeros(len(self.energy))

    @abstractmethod
    def apply(self, mu_grid: np.ndarray, theta: Mapping[str, float]) -> np.ndarray:
        """A m at all points of the target for given nuisances, (n_points,); without the offset b.

        Linear in ``mu_grid``: shares of absorbers that add to the cell's spectrum stay so.
        """


class ComputedObservation(Observation):
    """A target on the model's own grid and in its units: nothing is fitted."""

    kind = "computed"

    @property
    def data_noise(self) -> float:
        """None to speak of: what a computed target and a surrogate disagree by is the latter's."""
        return 0.1 * self.noise

    def linear(self, theta: Mapping[str, float]) -> np.ndarray:
        """One, (n_points, n_grid)."""
        return np.eye(len(self.grid))

    def fit(self, mu_grid: np.ndarray, *, start: Mapping[str, float] | None = None,
            covariance: np.ndarray | None = None) -> Fit:
        """The target against the spectrum itself; see :meth:`Observation.fit`."""
        mu_grid = _checked(mu_grid, self.grid)
        matrix = np.eye(len(self.grid))[self.mask]
        return Fit(self.energy[self.mask], self.target[self.mask], matrix,
                   np.zeros(len(matrix)), mu_grid[self.mask], self._whitening(covariance),
                   self.energy, mu_grid.copy())

    def apply(self, mu_grid: np.ndarray, theta: Mapping[str, float]) -> np.ndarray:
        """The spectrum itself."""
        return _checked(mu_grid, self.grid).copy()


class MeasuredObservation(Observation):
    """A measured target, normalised to an edge step of one; nuisances are fitted.

    Parameters beyond those of :class:`Observation`
    -----------------------------------------------
    options : priors; see :class:`surrogates.nuisances.NuisanceOptions`
    """

    kind = "measured"

    def __init__(self, energy: np.ndarray, target: np.ndarray, grid: np.ndarray,
                 window: tuple[float, float], noise: float,
                 exclude: tuple[tuple[float, float], ...] = (),
                 options: NuisanceOptions | None = None) -> None:
        super().__init__(energy, target, grid, window, noise, exclude)
        self.options = options or NuisanceOptions()
        level = float(rms(target[self.mask]))
        self.nuisances: tuple[Nuisance, ...] = self.options.table(level)
        self.mean = np.array([n.mean for n in self.nuisances])
        self.width = np.array([n.width for n in self.nuisances])
        self.lower = np.array([n.lower for n in self.nuisances])
        self.upper = np.array([n.upper for n in self.nuisances])
        self._inside = ForwardModel(energy[self.mask], grid, window, self.options)
        self._everywhere = ForwardModel(energy, grid, window, self.options)

    def linear(self, theta: Mapping[str, float]) -> np.ndarray:
        """See :meth:`Observation.linear`."""
        return self._everywhere.matrix(theta)

    def offset(self, theta: Mapping[str, float]) -> np.ndarray:
        """See :meth:`Observation.offset`."""
        return self._everywhere.offset(theta)

    def fit(self, mu_grid: np.ndarray, *, start: Mapping[str, float] | None = None,
            covariance: np.ndarray | None = None) -> Fit:
        """Maximum a posteriori; deterministic. See :meth:`Observation.fit`."""
        mu_grid = _checked(mu_grid, self.grid)
        root = self._whitening(covariance)
        values, jacobian = self._maximise(mu_grid, root, start)
        theta = {n.name: float(v) for n, v in zip(self.nuisances, values, strict=True)}
        full, offset = self._everywhere.matrix(theta), self._everywhere.offset(theta)
        matrix, beside = full[self.mask], offset[self.mask]
        fit = Fit(
            self.energy[self.mask], self.target[self.mask], matrix, beside,
            matrix @ mu_grid + beside, root, self.energy, full @ mu_grid + offset, theta,
            log_prior=float(-0.5 * np.sum(((values - self.mean) / self.width)**2)),
            notes=tuple(self._bound_notes(values)))
        effective = (self._spacing.sum() / CORRELATION_LENGTH if covariance is None
                     else len(covariance))
        return replace(fit, theta_sigma=self._sigma(jacobian, fit, float(effective)))

    def apply(self, mu_grid: np.ndarray, theta: Mapping[str, float]) -> np.ndarray:
        """See :meth:`Observation.apply`."""
        return self._everywhere.matrix(theta) @ _checked(mu_grid, self.grid)

    def _maximise(self, m: np.ndarray, root: np.ndarray,
                  start: Mapping[str, float] | None) -> tuple[np.ndarray, np.ndarray]:
        """Nuisances and the prediction's Jacobian at the maximum."""
        from scipy.optimize import least_squares

        target = self.target[self.mask]
        prior = np.diag(1.0 / self.width)

        @lru_cache(maxsize=2)  # the solver asks for residual and Jacobian of one point in turn
        def evaluate(key: bytes) -> tuple[np.ndarray, np.ndarray]:
            return self._inside.evaluate(np.frombuffer(key), m)

        def residuals(values: np.ndarray) -> np.ndarray:
            prediction, _ = evaluate(values.tobytes())
            return np.concatenate([root @ (prediction - target),
                                   (values - self.mean) / self.width])

        def jacobian(values: np.ndarray) -> np.ndarray:
            _, by_theta = evaluate(values.tobytes())
            return np.concatenate([root @ by_theta, prior])

        results = [least_squares(residuals, x, jacobian, bounds=(self.lower, self.upper),
                                 x_scale=self.width, xtol=1e-8, ftol=1e-10, gtol=1e-8,
                                 max_nfev=100)
                   for x in self.starts(start)]
        best = min(results, key=lambda result: float(result.cost))
        return best.x, self._inside.evaluate(best.x, m)[1]

    def starts(self, start: Mapping[str, float] | None = None) -> list[np.ndarray]:
        """Where a search begins, (n_nuisances,) each: the start given, or shifts of both signs."""
        if start is not None:
            margin = 1e-3 * (self.upper - self.lower)
            values = np.array([start[n.name] for n in self.nuisances])
            return [np.clip(values, self.lower + margin, self.upper - margin)]
        # A spectrum with two peaks has a false maximum where one peak sits on the other; a search
        # that begins on a bound (an area of zero) leaves it slowly.
        margin = 0.05 * (self.upper - self.lower)
        starts = []
        for shift in (0.0, -2.0, 2.0):
            values = self.mean.copy()
            values[0] += shift * self.width[0]
            starts.append(np.clip(values, self.lower + margin, self.upper - margin))
        return starts

    def _sigma(self, jacobian: np.ndarray, fit: Fit, effective: float) -> dict[str, float]:
        """Standard deviations; a misfit above the noise stated widens them (Birge's ratio).

        ``effective`` is the number of independent observations in the window.
        """
        excess = max(1.0, -2.0 * fit.log_likelihood / effective)
        slopes = fit.whitening @ jacobian
        precision = slopes.T @ slopes / excess + np.diag(self.width**-2.0)
        deviations = np.sqrt(np.diag(np.linalg.inv(precision)))
        return {n.name: float(d) for n, d in zip(self.nuisances, deviations, strict=True)}

    def _bound_notes(self, values: np.ndarray) -> list[str]:
        notes = []
        for nuisance, value in zip(self.nuisances, values, strict=True):
            close = BOUND_TOLERANCE * (nuisance.upper - nuisance.lower)
            absent = nuisance.name.startswith("area_") and value - nuisance.lower < close
            at_bound = value - nuisance.lower < close or nuisance.upper - value < close
            if at_bound and not absent:
                unit = f" {nuisance.unit}" if nuisance.unit else ""
                notes.append(f"{nuisance.name} is at its bound, {value:.4g}{unit} in "
                             f"{nuisance.lower:.4g} to {nuisance.upper:.4g}{unit}")
        return notes


def window_mask(energy: np.ndarray, window: tuple[float, float],
                exclude: tuple[tuple[float, float], ...] = ()) -> np.ndarray:
    """Which points count, (n_points,) bool; both ends of the window do."""
    mask = (energy >= window[0] - WINDOW_TOLERANCE) & (energy <= window[1] + WINDOW_TOLERANCE)
    for low, high in exclude:
        mask &= (energy < low - WINDOW_TOLERANCE) | (energy > high + WINDOW_TOLERANCE)
    return mask


def _checked(mu_grid: np.ndarray, grid: np.ndarray) -> np.ndarray:
    mu_grid = np.asarray(mu_grid, dtype=np.float64)
    if mu_grid.shape != grid.shape:
        raise InputError(f"a cell spectrum must have shape {grid.shape}, received "
                         f"{mu_grid.shape}: predict it on the surrogate's grid")
    if not np.isfinite(mu_grid).all():
        raise RunError("the predicted cell spectrum holds NaN or infinity: the structure is "
                       "outside what the surrogate can predict")
    return mu_grid
