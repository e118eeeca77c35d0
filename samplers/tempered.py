r"""A denoiser sampled at a lower temperature where bonds are decided.

A network that is trained for finite time blurs what it has not learned: its law at noise sigma is
broader than the data's, and walks that equilibrate to it break bonds that the data do not have.
Between two noise levels the score is therefore divided by a temperature T <= 1, that is, the walk
follows p(x; sigma)^(1/T):

    D_T(x; sigma) = x + (D(x; sigma) - x) / T,

and the noise put back is multiplied by a scale, sqrt(T) in the shipped tables: both make the walk
colder, together as p^(1/T^2). T = 1 outside. The range ends above the thermal vibrations (about
0.05 angstrom), which keep their width. How much a prior blurs depends on the density (dense
networks have more bonds to get right), so T and the scale are a table over density in the prior's
config, found by comparing coordination and energies with those of networks (experiments/networks):
a calibration of the prior, not a law of nature. Scaling the score to sample at low temperature:
P. Dhariwal, A. Nichol, Diffusion models beat GANs on image synthesis, arXiv:2105.05233 (2021),
appendix G.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from diffxas.denoiser import Denoiser
from diffxas.errors import InputError

COLD_LOW, COLD_HIGH = 0.1, 0.5
"""Angstrom: between these levels walks are tempered, unless the prior's config says otherwise."""


@dataclass(frozen=True)
class TemperedDenoiser:
    """D_T of the module's docstring: a :class:`diffxas.denoiser.Denoiser`.

    Parameters
    ----------
    denoiser : what is tempered
    temperature : T, above 0 and at most 1
    low, high : noise levels (angstrom) between which it holds
    """

    denoiser: Denoiser
    temperature: float = 1.0
    low: float = COLD_LOW
    high: float = COLD_HIGH

    def __post_init__(self) -> None:
        if not 0 < self.temperature <= 1:
            raise InputError(f"temperature must be above 0 and at most 1, "
                             f"received {self.temperature}: 1 leaves the prior as it is")

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        """See :class:`diffxas.denoiser.Denoiser`; differentiable in ``x_t``."""
        x_0 = self.denoiser(x_t, sigma)
        if not self.low < sigma < self.high:
            return x_0
        return x_t + (x_0 - x_t) / self.temperature


def tempering(table: Sequence[Sequence[float]], density: float) -> tuple[float, float]:
    """Temperature and noise scale at a density, interpolated and constant beyond the ends.

    Parameters
    ----------
    table : rows of density (g/cm3, rising), temperature, noise scale; empty for 1, 1
    """
    if not len(table):
        return 1.0, 1.0
    densities, temperatures, scales = np.array(table, dtype=float).T
    return (float(np.interp(density, densities, temperatures)),
            float(np.interp(density, densities, scales)))
