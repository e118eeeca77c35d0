"""Fitting a description model to the sites of networks, and calibrating its intervals.

Networks are dealt into folds with all their cells. The map of a fold is fitted to mixtures of the
other folds' sites; mixtures of its own sites, whose spectra get an error of the surrogate's size,
are then described as computed targets, and as measured ones with nuisances drawn from their priors
and a misfit of the size that theory has with experiment. The errors of these make the intervals,
and what they leave the limits beyond which a target is unlike the training; ``residual_share``, the
residual over the target's root mean square, is taken without the misfit with experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import diffxas
from surrogates.description import KIND, LEVEL, DescriptionModel
from surrogates.description_fit import Basis, ComponentFit, fit_components
from surrogates.metrics import rms
from surrogates.mixtures import QUANTITIES, CellSites, Mixtures, whole
from surrogates.nuisances import ForwardModel, NuisanceOptions
from surrogates.observation import (
    CORRELATION_LENGTH,
    ComputedObservation,
    MeasuredObservation,
    Observation,
)
from surrogates.targets import CARBON_WINDOW, COMPUTED_NOISE, MEASURED_NOISE

RARE = 0.99
"""Quantile of the simulated targets beyond which a residual is called unlike the training."""
CLEAN = 3
"""Every so many simulated measurements is described without misfit too."""
SMALLEST_DEVIATION = 0.002
"""Share of atoms; what a share is never known better than (half an atom in 216)."""


@dataclass(frozen=True)
class DescriptionOptions:
    """Sizes of a fit.

    Attributes
    ----------
    n_mixtures : mixtures that the map is fitted to
    n_components : principal components of their spectra
    n_folds : of networks, for the calibration
    n_simulated : targets of each kind that are described in the calibration
    spacing : eV, between points of simulated measurements
    without : densities, g/cm3, that no mixture may have (lowest and highest)
    seed : of mixtures, folds and noise
    """

    n_mixtures: int = 4000
    n_components: int = 16
    n_folds: int = 6
    n_simulated: int = 360
    spacing: float = 0.2
    without: tuple[float, float] | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Basis and map of a set of mixtures."""

    basis: Basis
    slopes: np.ndarray
    intercept: np.ndarray

    def values(self, spectra: np.ndarray) -> np.ndarray:
        """Quantities (n, 5) of spectra (n, n_grid) without noise."""
        c = self.basis.components
        z = (spectra - self.basis.mean) @ c.T / np.sum(c**2, 1)
        return self.intercept + z @ self.slopes


def fit_description(cells: Sequence[CellSites], energy: np.ndarray, error: np.ndarray,
                    transfer: np.ndarray | None = None,
                    options: DescriptionOptions | None = None,
                    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A description model of carbon's K edge.

    Parameters
    ----------
    cells : networks with the spectra of all their sites
    energy : (n_grid,), eV
    error : (n_grid,), rms error of these cells' mean spectra, model units
    transfer : (n_networks, 5), errors on networks of another making; see :func:`transfer_error`
    options : sizes

    Returns
    -------
    ``config.json`` without what only the caller knows (licence, data), and the tensors
    """
    o = options or DescriptionOptions()
    rng = np.random.default_rng(o.seed)
    everything = Mixtures(cells, without=o.without)
    spectra, values = everything.draw(o.n_mixtures, rng)
    everywhere = fit_map(spectra, values, energy, error, o.n_components)
    folds = [everything.names[k::o.n_folds] for k in range(o.n_folds)]
    parts, errors = [], []
    for names in folds:
        rest = Mixtures([c for c in cells if c.parent not in names], without=o.without)
        part = fit_map(*rest.draw(o.n_mixtures // 2, rng), energy, error, o.n_components)
        own = Mixtures([c for c in cells if c.parent in names], without=o.without)
        test, truth = own.draw(max(60, o.n_simulated // o.n_folds), rng)
        parts.append((part, own))
        errors.append(part.values(test) - truth)
    rest_error = np.maximum(rms(np.concatenate(errors), 0),
                            SMALLEST_DEVIATION)
    moved = np.zeros((0, len(QUANTITIES))) if transfer is None else transfer
    n_transfer = len(moved)
    moved = rms(moved, 0) if n_transfer else np.zeros(len(QUANTITIES))
    record = {
        "kind": KIND, "family": "linear", "version": diffxas.__version__, "elements": ["C"],
        "edge": "C:K", "energy_range": [float(energy[0]), float(energy[-1])],
        "density_range": [min(c.density for c in cells), max(c.density for c in cells)],
        "model": {"absorber": "C", "edge": "K", "elements": ["C"], "energy": energy.tolist(),
                  "quantities": list(QUANTITIES), "level": LEVEL},
        "prior": dict(zip(QUANTITIES, np.quantile(values, [0.05, 0.95], 0).T.tolist(),
                          strict=True)),
        "transfer": {"networks": n_transfer, "factor": student_factor(n_transfer)},
        "theory": {"targets": 0, "factor": 0.0},
        "options": asdict(o),
        "calibration": {kind: _calibrate(kind, parts, rest_error, o, rng)
                        for kind in ("computed", "measured")},
        "training": {"structures": sorted(c.name for c in cells),
                     "parents": sorted({c.parent for c in cells})},
    }
    return record, {key: torch.tensor(value, dtype=torch.float32)
                    for key, value in _tensors(everywhere, rest_error, moved).items()}


def fit_map(spectra: np.ndarray, values: np.ndarray, energy: np.ndarray, error: np.ndarray,
            n_components: int) -> LinearMap:
    """Principal components of mixtures, and least squares on them.

    Parameters
    ----------
    spectra, values : (n, n_grid) and (n, 5)
    energy, error : (n_grid,)
    """
    mean = spectra.mean(0)
    _, s, v = np.linalg.svd(spectra - mean, full_matrices=False)
    components = s[:n_components, None] / np.sqrt(len(spectra)) * v[:n_components]
    z = (spectra - mean) @ (v[:n_components].T / (s[:n_components] / np.sqrt(len(spectra))))
    slopes = z.T @ (values - values.mean(0)) / len(z)  # the columns of z are orthonormal
    return LinearMap(Basis(energy, mean, components, error), slopes, values.mean(0))


def student_factor(n: int) -> float:
    """Standard deviations, estimated from n errors, of a two-sided interval; 0 for none."""
    from scipy.stats import t as student_t

    return float(student_t.ppf((1 + LEVEL) / 2, n)) if n else 0.0


def with_theory(record: Mapping[str, Any], tensors: Mapping[str, Tensor],
                targets: Sequence[tuple[Observation, np.ndarray]],
                ) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The model with the error that measured targets of another theory show.

    Parameters
    ----------
    record, tensors : of :func:`fit_description`
    targets : observations and their true quantities (5,)
    """
    model = DescriptionModel("", record, {key: value.double().numpy()
                                          for key, value in tensors.items()})
    errors = []
    for observation, truth in targets:
        values, _ = model.moments(fit_components(observation, model.basis))
        errors.append(np.append(np.clip(values[:-1], 0, 1), values[-1]) - truth)
    size = torch.tensor(rms(np.stack(errors), 0), dtype=torch.float32)
    return ({**record, "theory": {"targets": len(errors), "factor": student_factor(len(errors)),
                                  "bias": np.mean(errors, axis=0).tolist()}},
            {**tensors, "theory": size})


def transfer_error(cells: Sequence[CellSites], energy: np.ndarray, error: np.ndarray,
                   others: Sequence[CellSites],
                   options: DescriptionOptions | None = None) -> np.ndarray:
    """Error of the map on cells of another making (DFT spectra, a network left out), (5,).

    Parameters
    ----------
    cells : what the map is fitted to, spectra by a surrogate that has not seen ``others``
    energy, error : of :func:`fit_description`
    others : cells of one network with their true spectra, described as computed targets

    Returns
    -------
    mean error over the cells: of one network they err alike
    """
    o = options or DescriptionOptions()
    rng = np.random.default_rng(o.seed)
    one = fit_map(*Mixtures(cells, without=o.without).draw(o.n_mixtures, rng), energy, error,
                  o.n_components)
    found = []
    for cell in others:
        fit = fit_components(simulated("computed", cell.spectra.mean(0), energy, o.spacing, rng),
                             one.basis)
        found.append(one.intercept + fit.z @ one.slopes - whole(cell))
    mean: np.ndarray = np.mean(found, axis=0)
    return mean


def _tensors(one: LinearMap, rest: np.ndarray, transfer: np.ndarray) -> dict[str, np.ndarray]:
    return {"mean": one.basis.mean, "components": one.basis.components, "error": one.basis.error,
            "theory": np.zeros_like(rest), "slopes": one.slopes, "intercept": one.intercept,
            "rest": rest, "transfer": transfer}


def _calibrate(kind: str, parts: Sequence[tuple[LinearMap, Mixtures]], rest: np.ndarray,
               o: DescriptionOptions, rng: np.random.Generator) -> dict[str, Any]:
    """Quantiles of the standardised errors and of the residuals on left-out networks."""
    scores: list[np.ndarray] = []
    fits: list[ComponentFit] = []
    clean: list[float] = []
    for part, own in parts:
        model = DescriptionModel("fold", {}, _tensors(part, rest, np.zeros_like(rest)))
        spectra, values = own.draw(o.n_simulated // len(parts), rng)
        for spectrum, truth in zip(spectra, values, strict=True):
            noisy = spectrum + correlated(part.basis.energy, rng) * part.basis.error
            fit = fit_components(simulated(kind, noisy, part.basis.energy, o.spacing, rng),
                                 part.basis)
            found, deviation = model.moments(fit)
            scores.append(np.abs(found - truth) / deviation)
            fits.append(fit)
            if kind == "computed":
                clean.append(fit.residual_share)
            elif len(fits) % CLEAN == 0:
                clean.append(fit_components(simulated(kind, noisy, part.basis.energy, o.spacing,
                                                      rng, 0.0), part.basis).residual_share)
    n = len(scores)
    rank = min(n, int(np.ceil((n + 1) * LEVEL))) - 1
    return {"factors": dict(zip(QUANTITIES, np.sort(scores, axis=0)[rank].tolist(), strict=True)),
            **{key: float(np.quantile([getattr(fit, key) for fit in fits], RARE))
               for key in ("misfit", "distance", "strain")},
            "residual_share": float(np.quantile(clean, RARE)), "targets": n}


def correlated(energy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unit Gaussian noise whose correlation along energy has the integral xi, (n_points,)."""
    length = CORRELATION_LENGTH / np.sqrt(2 * np.pi)
    apart = energy[:, None] - energy
    covariance = np.exp(-0.5 * (apart / length) ** 2) + 1e-6 * np.eye(len(energy))
    noise: np.ndarray = np.linalg.cholesky(covariance) @ rng.standard_normal(len(energy))
    return noise


def simulated(kind: str, spectrum: np.ndarray, energy: np.ndarray, spacing: float,
              rng: np.random.Generator, noise: float | None = None) -> Observation:
    """A target made from a spectrum (n_grid,): computed, or measured with drawn nuisances.

    Nuisances are drawn from their priors within the bounds; the misfit between theory and
    experiment is correlated noise of ``noise`` (by default :data:`MEASURED_NOISE`) times the
    curve's root mean square.
    """
    if kind == "computed":
        return ComputedObservation(energy, spectrum, energy, (float(energy[0]), float(energy[-1])),
                                   COMPUTED_NOISE * float(rms(spectrum)))
    options = NuisanceOptions()
    axis = np.arange(energy[0] + 2, energy[-1] - 2, spacing)
    inside = (axis >= CARBON_WINDOW[0]) & (axis <= CARBON_WINDOW[1])
    theta = {one.name: float(np.clip(rng.normal(one.mean, one.width), one.lower, one.upper))
             for one in options.table(options.level)}
    curve = ForwardModel(axis, energy, CARBON_WINDOW, options).matrix(theta) @ spectrum
    level = float(rms(curve[inside]))
    share = MEASURED_NOISE if noise is None else noise
    target = curve + share * level * correlated(axis, rng)
    return MeasuredObservation(axis, target, energy, CARBON_WINDOW, MEASURED_NOISE * level,
                               options=options)

