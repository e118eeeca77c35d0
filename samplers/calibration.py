r"""How well a denoised estimate stands for the structure behind it, as a guide sees them.

A guide observes means over sites, v = 1/N sum_i v_i (:class:`samplers.guides.base.ObservedGuide`).
At noise sigma it sees those of the denoised estimate D. On unguided samples, noised and denoised
once, the difference d = v(x_0) - v(D(x_0 + sigma z)) has a mean, the bias, which is added to what
an estimate shows, and a covariance, which joins that of the likelihood:

    C_sigma = f cov_sites(d_i) / N,

the covariance of the sites' own differences, of which there are many, over their number; f makes
its trace that of the scatter of whole cells, left out one at a time, since neighbours err alike.

The likelihood of an asked y is Gaussian with

    C(sigma) = (N_REFERENCE / N) C_systematic + S / N + C_sigma.

C_systematic is what noise of the measurement and error of a surrogate leave open; it does not
average out over atoms, while the prior grows with N: dividing it by N / N_REFERENCE keeps the
balance that a cell of N_REFERENCE has, so that guidance neither fades in large cells nor rules
small ones. This is a modelling choice. S / N is the scatter of a finite cell: S the covariance of
the sites of unguided samples. A guide sets in below the noise level at which the scatter of an
estimate falls under the spread of unguided samples: above, it would follow a blur.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diffxas import noise
from diffxas.denoiser import Denoiser
from diffxas.structure import Structure
from samplers.guides.base import ObservedGuide
from samplers.start import STREAM_CALIBRATION
from surrogates.metrics import rms

LEVELS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
"""Noise levels of the table, angstrom."""
DRAWS = 1
"""Noises of each sample and level."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """The error of denoised estimates, and the scatter of cells, in a guide's own units.

    Attributes
    ----------
    sigma : (n_levels,), angstrom, increasing
    bias : (n_levels, n_values), mean of structure minus estimate
    covariance : (n_levels, n_values, n_values), C_sigma of the module's docstring
    raw_error : (n_levels,), rms difference before the bias is added
    error : (n_levels,), and after, with the bias taken from the other samples; never falling
    spread : rms difference of two unguided samples, at least that of two cells of independent sites
    finite_cell : (n_values, n_values), S / N
    """

    sigma: np.ndarray
    bias: np.ndarray
    covariance: np.ndarray
    raw_error: np.ndarray
    error: np.ndarray
    spread: float
    finite_cell: np.ndarray

    @property
    def sigma_on(self) -> float:
        """The noise level (angstrom) at which the error reaches the spread."""
        above = np.flatnonzero(self.error >= self.spread)
        if not len(above):
            return float(self.sigma[-1])
        k = int(above[0])
        if k == 0:
            return float(self.sigma[0])
        fraction = (self.spread - self.error[k - 1]) / (self.error[k] - self.error[k - 1])
        return float(self.sigma[k - 1] + fraction * (self.sigma[k] - self.sigma[k - 1]))

    def error_at(self, sigma: float) -> float:
        """The error at a noise level, interpolated, falling to 0 at sigma = 0."""
        return float(np.interp(sigma, [0.0, *self.sigma], [0.0, *self.error]))

    def bias_at(self, sigma: float) -> np.ndarray:
        """The bias at a noise level, interpolated and falling to 0 at sigma = 0, (n_values,)."""
        return _interpolated(sigma, self.sigma, self.bias)

    def covariance_at(self, sigma: float) -> np.ndarray:
        """S / N and C_sigma together, interpolated likewise, (n_values, n_values)."""
        return self.finite_cell + _interpolated(sigma, self.sigma, self.covariance)


def _interpolated(sigma: float, levels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """A table over noise levels, linear in between, zero at sigma = 0, constant beyond the last."""
    levels = np.concatenate([[0.0], levels])
    k = int(np.clip(np.searchsorted(levels, sigma), 1, len(levels) - 1))
    w = float(np.clip((sigma - levels[k - 1]) / (levels[k] - levels[k - 1]), 0, 1))
    low = np.zeros_like(table[0]) if k == 1 else table[k - 2]
    return np.asarray((1 - w) * low + w * table[k - 1])


def calibrate(denoiser_of: Callable[[Structure], Denoiser], guide: ObservedGuide,
              samples: Sequence[Structure], seed: int) -> Calibration:
    """Noise unguided samples, denoise them once, and compare what the guide sees.

    Parameters
    ----------
    denoiser_of : system -> its denoiser
    guide : of the system to be sampled
    samples : at least two unguided structures, about as dense; what they show is taken for a system
        of the guide's size
    seed : key of the noise
    """
    assert len(samples) > 1, "a bias is left out by sample"
    seen = [_Seen.of(denoiser_of(structure), guide.at(structure), structure, seed, number)
            for number, structure in enumerate(samples)]
    difference = np.array([one.difference for one in seen])  # (n_samples, n_levels, n_draws, n)
    by_sample = difference.mean(2)
    n = len(samples)
    others = (by_sample.sum(0) - by_sample) / (n - 1)
    # The mean of the others has its own error, 1 / (n - 1) of the scatter that is sought.
    left_out = (difference - others[:, :, None]) * np.sqrt((n - 1) / n)
    size = len(samples[0]) / len(guide.system)
    error = np.maximum.accumulate(rms(left_out, (0, 2, 3))) * np.sqrt(size)
    finite_cell = np.mean([one.finite_cell for one in seen], 0) * size
    # Two samples may be alike by chance; cells of independent sites would scatter by this much.
    cells = np.array([one.mean for one in seen])
    between = max(size * _scatter(cells, samples), float(np.diag(finite_cell).mean()))
    covariance = np.stack([
        _scaled(np.mean([one.shapes[k] for one in seen], 0), error[k])
        for k in range(len(LEVELS))])
    return Calibration(np.array(LEVELS), by_sample.mean(0), covariance,
                       rms(difference, (0, 2, 3)), error, float(np.sqrt(2 * between)), finite_cell)


def _scatter(cells: np.ndarray, samples: Sequence[Structure]) -> float:
    """Mean variance of cells' means (n_samples, n_values) about their linear trend with density."""
    density = np.array([s.density for s in samples])
    design = np.stack([np.ones(len(cells)), density - density.mean()], 1)
    if len(cells) < 4 or density.std() < 1e-6:
        design = design[:, :1]
    rest = cells - design @ np.linalg.lstsq(design, cells, rcond=None)[0]
    return float((rest**2).sum() / (len(cells) - design.shape[1]) / cells.shape[1])


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a guide sees of one sample: the mean over its sites, and how estimates differ."""

    mean: np.ndarray
    finite_cell: np.ndarray
    difference: np.ndarray
    shapes: list[np.ndarray]

    @classmethod
    def of(cls, denoiser: Denoiser, guide: ObservedGuide, structure: Structure, seed: int,
           number: int) -> _Seen:
        """Noise at every level, denoise, compare."""
        positions = torch.tensor(structure.positions)
        differences, shapes = [], []
        with torch.no_grad():
            truth = guide.sites(positions).double().cpu().numpy()
            for k, sigma in enumerate(LEVELS):
                rows = []
                for draw in range(DRAWS):
                    z = noise.normal(seed, number, k * DRAWS + draw, len(structure),
                                     stream=STREAM_CALIBRATION)
                    x_0 = denoiser(positions + sigma * torch.tensor(z), sigma)
                    seen = guide.estimated_sites(x_0, sigma).double().cpu().numpy()
                    rows.append(truth - seen)
                shapes.append(np.mean([_covariance(r) for r in rows], 0) / len(truth))
                differences.append([r.mean(0) for r in rows])
        return cls(truth.mean(0), _covariance(truth) / len(truth), np.array(differences), shapes)


def _covariance(rows: np.ndarray) -> np.ndarray:
    """Covariance of the rows about their mean, (n_values, n_values); zero for one row."""
    if len(rows) < 2:
        return np.zeros((rows.shape[1],) * 2)
    return np.atleast_2d(np.cov(rows.T))


def _scaled(shape: np.ndarray, error: float) -> np.ndarray:
    """A covariance of this shape whose mean variance is error^2; diagonal where it has no shape."""
    mean = float(np.diag(shape).mean())
    return shape * (error**2 / mean) if mean > 0 else np.eye(len(shape)) * error**2
