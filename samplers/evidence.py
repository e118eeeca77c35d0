r"""Which density the target speaks for: evidence, not the fit of guided samples.

A guided cell fits a spectrum at many densities, so its residual says nothing. The evidence does:
the probability of what is asked, averaged over what the prior holds at a density rho beforehand,

    Z(rho) = int p(y | x) p(x | rho) dx,     p(rho | y) ~ Z(rho) p(rho).

A bank of structures over densities (:mod:`samplers.prior_samples`) gives it. For a guide by means
over sites (:class:`samplers.guides.base.ObservedGuide`) their observed values v are taken as normal
about a smooth function of density,

    v | rho ~ N(m(rho), V),   m a polynomial, V the scatter of the samples about it,

so that Z is the guide's own likelihood at m(rho) with V added to its covariance: unguided
structures weighed by their likelihood, smoothed, since no single cell of a high-dimensional
spectrum would carry weight (S. N. Wood, Nature 466, 1102 (2010), synthetic likelihood). Other
guides weigh each structure by its likelihood, smoothed over density by a Gaussian kernel. Where
even the best density is missed by more than the covariance states, it is widened until it is not
(Birge's ratio).

What this cannot see: the prior ties bonds to density as its training networks do, so the posterior
is that of a material made as they were. ``CALIBRATION`` widens it by what is left of the error when
networks are left out of the bank (experiments/closed-loop).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.intervals import SHARES

if TYPE_CHECKING:
    from samplers.guides.base import Guide, ObservedGuide

DEGREE = 4
"""Of the polynomial m(rho)."""
KERNEL = 0.1
"""g/cm3, standard deviation of the kernel over density for guides that are no means over sites."""
POINTS = 241
"""Of the grid over density."""
CALIBRATION = 0.08
"""g/cm3, standard deviation by which the posterior is widened."""


@dataclass(frozen=True)
class DensityPrior:
    """What is known of the density beforehand, g/cm3: even from low to high, or mean +- width."""

    low: float
    high: float
    mean: float | None = None
    width: float | None = None

    @classmethod
    def parse(cls, text: str) -> DensityPrior | float:
        """``2.0`` (a number), ``1.5:3.5`` or ``2.1+-0.1``.

        Raises
        ------
        InputError
            If it is none of these.
        """
        try:
            if ":" in text:
                low, high = (float(part) for part in text.split(":"))
                if low < high:
                    return cls(low, high)
            elif "+-" in text or "\u00b1" in text:
                mean, width = (float(p) for p in text.replace("\u00b1", "+-").split("+-"))
                if width > 0:
                    return cls(max(mean - 4 * width, 0.05), mean + 4 * width, mean, width)
            else:
                return float(text)
        except ValueError:
            pass
        raise InputError(f"--density must be a number, LO:HI or V+-S in g/cm3, received {text!r}: "
                         f"write 2.0, 1.5:3.5 or 2.1+-0.1")

    def log_density(self, rho: np.ndarray) -> np.ndarray:
        """ln p(rho) without its constant."""
        if self.mean is None or self.width is None:
            return np.zeros(len(rho))
        return np.asarray(-0.5 * ((rho - self.mean) / self.width) ** 2)

    @property
    def text(self) -> str:
        """For reports."""
        if self.mean is None:
            return f"even from {self.low:g} to {self.high:g} g/cm3"
        return f"normal, {self.mean:g} +- {self.width:g} g/cm3"

    @property
    def middle(self) -> float:
        """Its mean."""
        return (self.low + self.high) / 2 if self.mean is None else self.mean


@dataclass(frozen=True, eq=False)
class DensityPosterior:
    """p(rho | y) on a grid.

    Attributes
    ----------
    density : (n,), g/cm3, evenly spaced
    prior, probability : (n,), each summing to 1
    log_evidence : (n,), ln Z without a constant
    said : the prior in words
    """

    density: np.ndarray
    prior: np.ndarray
    log_evidence: np.ndarray
    probability: np.ndarray
    said: str

    @property
    def mean(self) -> float:
        """Of the posterior, g/cm3."""
        return float((self.density * self.probability).sum())

    def quantile(self, share: float) -> float:
        """The density (g/cm3) that a share of the probability lies below."""
        cumulative = np.cumsum(self.probability) - 0.5 * self.probability
        return float(np.interp(share, cumulative, self.density))

    def interval(self, share: float) -> tuple[float, float]:
        """Central credible interval, g/cm3."""
        return self.quantile((1 - share) / 2), self.quantile((1 + share) / 2)

    def drawn(self, count: int) -> list[float]:
        """Densities of ``count`` samples: quantiles, evenly in probability."""
        return [self.quantile((k + 0.5) / count) for k in range(count)]

    def numbers(self) -> dict[str, Any]:
        """For ``summary.json``."""
        return {"mean": self.mean, "prior": self.said,
                **{name: list(self.interval(share)) for name, share in SHARES.items()}}


def density_posterior(guides: Sequence[Guide], bank: Sequence[Structure],
                      prior: DensityPrior) -> DensityPosterior:
    """p(rho | y) from unguided samples.

    Parameters
    ----------
    guides : what is asked, of any system
    bank : unguided samples of one size over the densities of the prior
    """
    from samplers.guides.base import ObservedGuide

    held = np.array([structure.density for structure in bank])
    low, high = max(prior.low, held.min()), min(prior.high, held.max())
    if len(bank) < 2 * DEGREE or low >= high:
        raise InputError(f"a density must be sought where the prior has samples, "
                         f"{held.min():.2f} to {held.max():.2f} g/cm3, received "
                         f"{prior.low:g}:{prior.high:g}: choose another --density")
    grid = np.linspace(low, high, POINTS)
    log_z = np.zeros(POINTS)
    for guide in guides:
        log_z += (_smooth_evidence(guide, bank, grid) if isinstance(guide, ObservedGuide)
                  else _weighed_evidence(guide, bank, grid))
    log_prior = prior.log_density(grid)
    probability = _widened(grid, _normalised(log_z + log_prior))
    return DensityPosterior(grid, _normalised(log_prior), log_z, probability, prior.text)


def _smooth_evidence(guide: ObservedGuide, bank: Sequence[Structure],
                     grid: np.ndarray) -> np.ndarray:
    """ln Z of a guide by means over sites, (n_grid,)."""
    import torch

    held = np.array([structure.density for structure in bank])
    with torch.no_grad():
        values = np.array([guide.at(s).sites(torch.tensor(s.positions)).mean(0).double().numpy()
                           for s in bank])
    middle, half = held.mean(), np.ptp(held) / 2
    design = np.vander((held - middle) / half, DEGREE + 1)
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    rest = values - design @ coefficients
    scatter = rest.T @ rest / (len(bank) - DEGREE - 1)
    means = np.vander((grid - middle) / half, DEGREE + 1) @ coefficients
    found = []
    for mean in means:
        one = guide.at(bank[0]).untempered()
        found.append(float(one.likelihood(torch.tensor(mean), scatter, 0.0)))
    log_z = np.array(found)
    return log_z / max(1.0, -2 * log_z.max() / guide.degrees)


def _weighed_evidence(guide: Guide, bank: Sequence[Structure], grid: np.ndarray) -> np.ndarray:
    """ln Z of any guide, (n_grid,)."""
    import torch
    from scipy.special import logsumexp

    held = np.array([structure.density for structure in bank])
    with torch.no_grad():
        value = np.array([float(guide.at(s)(torch.tensor(s.positions), 0.0)) for s in bank])
    near = -0.5 * ((grid[:, None] - held) / KERNEL) ** 2
    return np.asarray(logsumexp(near + value, axis=1) - logsumexp(near, axis=1))


def _normalised(log_p: np.ndarray) -> np.ndarray:
    p = np.exp(log_p - log_p.max())
    return np.asarray(p / p.sum())


def _widened(grid: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Convolved with a Gaussian of CALIBRATION."""
    if CALIBRATION <= 0:
        return probability
    kernel = np.exp(-0.5 * ((grid[:, None] - grid) / CALIBRATION) ** 2)
    wide = (kernel / kernel.sum(0)) @ probability
    return np.asarray(wide / wide.sum())
