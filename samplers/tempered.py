r"""A denoiser sampled at a lower temperature where bonds are decided.

A network that is trained for finite time blurs what it has not learned: its law at noise sigma is
broader than the data's, and walks that equilibrate to it break bonds that the data do not have.
Between two noise levels the score is therefore divided by a temperature T <= 1, that is, the walk
follows p(x; sigma)^(1/T):

    D_T(x; sigma) = x + (D(x; sigma) - x) / T.

T = 1 outside. The range ends above the thermal vibrations (about 0.05 angstrom), which keep their
width. A modelling choice, tuned on coordination against density (experiments/unguided). Scaling
the score to sample at low temperature: P. Dhariwal, A. Nichol, Diffusion models beat GANs on image
synthesis, arXiv:2105.05233 (2021), appendix G.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from diffxas.denoiser import Denoiser
from diffxas.errors import InputError


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
    temperature: float = 0.5
    low: float = 0.1
    high: float = 0.6

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
