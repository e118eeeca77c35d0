r"""Guidance by a likelihood: a denoiser that wraps a denoiser.

With y the target and l(x_0) its log-likelihood given a structure, the posterior's score is

    grad log p(x_t | y) = grad log p(x_t) + grad log p(y | x_t),
    log p(y | x_t) ~ l(D(x_t; sigma); sigma),

the likelihood at the denoised estimate, its gradient taken through the denoiser (H. Chung and
others, Diffusion posterior sampling for general noisy inverse problems, arXiv:2209.14687 (2022),
theorem 1). By Tweedie's formula that is a denoiser again:

    D_guided(x_t; sigma) = D(x_t; sigma) + sigma^2 grad_{x_t} l(D(x_t; sigma); sigma).

The denoised estimate is a blur at high noise, whose spectrum differs from that of the structure
behind it. The difference is measured on unguided samples (:func:`calibrate`): its mean at a noise
level is added to the spectrum of an estimate, and what it scatters beyond that mean, left out one
sample at a time, joins the variance of the likelihood, as does the spread of the surrogate's
members at the estimate: where they disagree, the target pulls less. Guidance sets in only below the
noise level where that scatter falls under the spread of unguided samples.

The systematic part of the error is one number for the whole cell whatever its size, while the prior
grows with the number of atoms N: l is multiplied by N / N_REFERENCE, so that guidance neither fades
in large cells nor rules small ones. This is a modelling choice. So is TEMPERATURE, by which l is
divided: at 1 the walk samples the posterior that the calibrated error states, which leaves 1.5
times the residual of the true structure (experiments/guided). The calibration is taken on samples
far from the target, which may overstate it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from diffxas import noise
from diffxas.denoiser import Denoiser
from diffxas.errors import RunError
from diffxas.structure import Structure
from samplers.start import STREAM_CALIBRATION
from surrogates.base import Surrogate
from surrogates.metrics import rms
from surrogates.observation import Fit, Observation

N_REFERENCE = 216
TEMPERATURE = 0.2
"""Of the likelihood; 1 is the posterior by the calibrated error."""
LARGEST_SHIFT = 0.5
"""Guidance moves the denoised estimate of an atom by at most this many sigma (rms over atoms)."""


class Guide(Protocol):
    """Any structure -> log-likelihood, differentiable in the positions."""

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        """``x_0`` (n_atoms, 3), angstrom, estimated at noise ``sigma`` -> scalar."""
        ...


class GuidedDenoiser:
    """D_guided of the module's docstring: a :class:`diffxas.denoiser.Denoiser`.

    Parameters
    ----------
    denoiser : what is guided
    guide : log-likelihood of a denoised estimate
    sigma_on : angstrom, guidance is silent above
    """

    def __init__(self, denoiser: Denoiser, guide: Guide, sigma_on: float) -> None:
        self.denoiser, self.guide, self.sigma_on = denoiser, guide, sigma_on

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        """See :class:`diffxas.denoiser.Denoiser`."""
        if sigma > self.sigma_on:
            with torch.no_grad():
                return self.denoiser(x_t, sigma)
        x = x_t.detach().requires_grad_(True)
        with torch.enable_grad():
            x_0 = self.denoiser(x, sigma)
            (gradient,) = torch.autograd.grad(self.guide(x_0, sigma), x)
        if not torch.isfinite(gradient).all():
            raise RunError(f"the guide's gradient must be finite, received NaN or infinity at "
                           f"sigma = {sigma:.3f}: sample with --no-guidance, or report this")
        shift = sigma**2 * gradient
        size = float(shift.square().sum(1).mean().sqrt())
        # Far from the target the linear estimate overshoots; a bounded step is taken again.
        shift = shift * min(1.0, LARGEST_SHIFT * sigma / max(size, 1e-30))
        guided: Tensor = (x_0 + shift).detach()
        return guided


@dataclass(frozen=True, eq=False)
class Calibration:
    """How well the spectrum of a denoised estimate stands for that of the structure behind it.

    Attributes
    ----------
    sigma : (n_levels,), angstrom, increasing
    bias : (n_levels, n_grid), mean of structure minus estimate, model units
    raw_error : (n_levels,), rms difference of cell spectra before the bias is added
    error : (n_levels,), and after, with the bias taken from the other samples; never falling
    spread : rms difference of the cell spectra of two unguided samples, at least that of two cells
        of independent sites, model units
    """

    sigma: np.ndarray
    bias: np.ndarray
    raw_error: np.ndarray
    error: np.ndarray
    spread: float

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
        """The error at a noise level, interpolated; model units."""
        return float(np.interp(sigma, self.sigma, self.error))

    def bias_at(self, sigma: float) -> np.ndarray:
        """The bias at a noise level, interpolated and falling to 0 at sigma = 0, (n_grid,)."""
        levels = np.concatenate([[0.0], self.sigma])
        table = np.concatenate([np.zeros((1, self.bias.shape[1])), self.bias])
        k = int(np.clip(np.searchsorted(levels, sigma), 1, len(levels) - 1))
        w = np.clip((sigma - levels[k - 1]) / (levels[k] - levels[k - 1]), 0, 1)
        result: np.ndarray = (1 - w) * table[k - 1] + w * table[k]
        return result


def doubt(members: Tensor) -> float:
    """Rms over energies of the spread of the members' cell spectra, (n_members, n_grid)."""
    if len(members) < 2:
        return 0.0
    return float(members.detach().std(0).square().mean().sqrt())


LEVELS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
DRAWS = 2


def calibrate(denoiser: Denoiser, surrogate: Surrogate, samples: Sequence[Structure],
              seed: int) -> Calibration:
    """Noise unguided samples, denoise them once, and compare cell spectra.

    Parameters
    ----------
    denoiser : of the samples' system
    samples : at least two unguided structures of one system
    seed : key of the noise
    """
    difference = np.zeros((len(samples), len(LEVELS), DRAWS, len(surrogate.energy)))
    spectra, scatter_of_cell = [], []
    with torch.no_grad():
        for number, structure in enumerate(samples):
            positions = torch.tensor(structure.positions)
            sites = surrogate.spectra(positions, structure).mean(0)
            truth = sites.mean(0)
            spectra.append(truth.double().cpu().numpy())
            if len(sites) > 1:  # one site has no scatter
                scatter_of_cell.append(float(sites.var(0).mean()) / len(sites))
            for k, sigma in enumerate(LEVELS):
                for draw in range(DRAWS):
                    z = noise.normal(seed, number, k * DRAWS + draw, len(structure),
                                     stream=STREAM_CALIBRATION)
                    x_0 = denoiser(positions + sigma * torch.tensor(z), sigma)
                    estimate = surrogate.mean_spectrum(x_0, structure)
                    difference[number, k, draw] = (truth - estimate).double().cpu().numpy()
    by_sample = difference.mean(2)
    n = len(samples)
    others = (by_sample.sum(0) - by_sample) / (n - 1)
    scatter = difference - others[:, :, None]
    # Two samples may be alike by chance; cells of independent sites would scatter by this much.
    between = max(float(np.var(spectra, axis=0, ddof=1).mean()),
                  float(np.mean(scatter_of_cell or [0.0])))
    error = np.maximum.accumulate(rms(scatter, (0, 2, 3)))
    return Calibration(
        np.array(LEVELS), by_sample.mean(0), rms(difference, (0, 2, 3)),
        error, float(np.sqrt(2 * between)),
    )


@dataclass
class SpectrumGuide:
    """Log-likelihood of a target spectrum at a denoised estimate: a :class:`Guide`.

    The nuisances of a measured target are fitted anew at every call, starting from the last; the
    gradient needs no pass through that fit (envelope theorem, :mod:`surrogates.observation`).

    Attributes
    ----------
    trace : (sigma, residual rms over the window) of every call, target units
    """

    surrogate: Surrogate
    observation: Observation
    system: Structure
    calibration: Calibration
    trace: list[tuple[float, float]] = field(default_factory=list)
    theta: dict[str, float] = field(default_factory=dict)

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        """See :class:`Guide`."""
        members = self.surrogate.spectra(x_0, self.system).mean(1)
        mu = members.mean(0) + torch.as_tensor(self.calibration.bias_at(sigma),
                                               dtype=members.dtype)
        fit = self.fit(mu.detach().double().cpu().numpy(), sigma, doubt(members))
        self.trace.append((sigma, fit.residual_rms))
        gradient = torch.as_tensor(fit.gradient(), dtype=mu.dtype, device=mu.device)
        # The value is the log-likelihood, the gradient that of the profiled one.
        value = fit.log_likelihood + ((mu - mu.detach()) * gradient).sum()
        return value * (len(self.system) / N_REFERENCE) / TEMPERATURE

    def fit(self, mu: np.ndarray, sigma: float, spread: float = 0.0) -> Fit:
        """The target fitted by a cell spectrum (n_grid,) that was estimated at ``sigma``.

        ``spread`` is that of the surrogate's members, model units.
        """
        scale = self.observation.spread / max(float(mu.std()), 1e-12)
        blur = self.calibration.error_at(sigma)
        level = float(np.hypot(self.observation.noise, scale * np.hypot(blur, spread)))
        fit = self.observation.fit(mu, start=self.theta or None, noise=level)
        self.theta = dict(fit.theta)
        return fit
