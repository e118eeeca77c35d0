r"""A denoiser that is pulled by a guide.

With l(x_0; sigma) the log-likelihood of what is asked given the estimate D(x; sigma), Tweedie's
formula makes the posterior's score a denoiser again,

    D_guided(x; sigma) = x + (D(x; sigma) - x) / T + s^2 sigma^2 grad_x l(D(x; sigma); sigma),

with T and s the temperature and the scale of the noise of the walk (:mod:`samplers.tempered`): they
sharpen the prior, and leave the guide as it is (:mod:`samplers.algorithms.base`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffxas.denoiser import Denoiser
from diffxas.errors import RunError
from samplers.guides.base import Guide
from samplers.sampling import SamplingSchedule

LARGEST_SHIFT = 1.5
"""Guidance moves the denoised estimate of an atom by at most this many sigma (rms over atoms)."""
BOND_HIGH, BOND_LOW, BOND_SHARE = 0.35, 0.12, 0.75
"""Where guided walks spend their calls: the spectrum of a cell is knowable from an estimate below
0.35 angstrom (its first component correlates with that of the structure by 0.1 at 0.4, by 0.8 at
0.3, by 0.97 at 0.2), and bonds change down to 0.12."""


class GuidedDenoiser:
    """D_guided of the module's docstring: a :class:`diffxas.denoiser.Denoiser`.

    Parameters
    ----------
    denoiser : what is guided, neither guided nor tempered before
    guide : log-likelihood of a denoised estimate; silent above its ``sigma_on``
    schedule : temperature and scale of the noise of the walk
    largest_shift : see :func:`bounded_shift`

    Attributes
    ----------
    trace : (noise level, log-likelihood of the estimate) of every call that was guided
    """

    def __init__(self, denoiser: Denoiser, guide: Guide, schedule: SamplingSchedule,
                 largest_shift: float = LARGEST_SHIFT) -> None:
        self.denoiser, self.guide, self.schedule = denoiser, guide, schedule
        self.largest_shift = largest_shift
        self.trace: list[tuple[float, float]] = []

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        """See :class:`diffxas.denoiser.Denoiser`."""
        prior, shift, _ = self.parts(x_t, sigma)
        return prior if shift is None else prior + shift

    def parts(self, x_t: Tensor, sigma: float) -> tuple[Tensor, Tensor | None, float]:
        """What the prior says, what the guide adds (None where it is silent), and l.

        Returns
        -------
        x + (D - x) / T and s^2 sigma^2 grad l, (n_atoms, 3), angstrom; log-likelihood of the
        estimate, 0 where the guide is silent
        """
        temperature = self.schedule.temperature_at(sigma)
        if sigma > self.guide.sigma_on:
            with torch.no_grad():
                return x_t + (self.denoiser(x_t, sigma) - x_t) / temperature, None, 0.0
        x = x_t.detach().requires_grad_(True)
        with torch.enable_grad():
            x_0 = self.denoiser(x, sigma)
            value = self.guide(x_0, sigma)
            (gradient,) = torch.autograd.grad(value, x)
        likelihood = float(value.detach())
        self.trace.append((sigma, likelihood))
        shift = bounded_shift(gradient, sigma, self.schedule.noise_scale_at(sigma), self.guide,
                              self.largest_shift)
        prior: Tensor = (x + (x_0 - x) / temperature).detach()
        return prior, shift, likelihood


def guided_schedule(schedule: SamplingSchedule) -> SamplingSchedule:
    """The walk of samples guided by denoised estimates: as many calls, where these tell."""
    return replace(schedule, bond_high=BOND_HIGH, bond_low=BOND_LOW, bond_share=BOND_SHARE)


def bounded_shift(gradient: Tensor, sigma: float, noise_scale: float, guide: Guide,
                  largest: float = LARGEST_SHIFT) -> Tensor:
    """s^2 sigma^2 grad l, (n_atoms, 3), angstrom, of rms over atoms ``largest`` sigma at most.

    Far from what is asked the linear estimate overshoots; a bounded step is taken again.

    Raises
    ------
    RunError
        If the gradient is not finite.
    """
    if not torch.isfinite(gradient).all():
        raise RunError(f"the gradient of a guide must be finite, received NaN or infinity from "
                       f"{guide.label} at sigma = {sigma:.3f}: leave that guide out, or sample "
                       f"with --algorithm particles, which needs no gradient")
    shift = noise_scale**2 * sigma**2 * gradient
    size = float(shift.square().sum(1).mean().sqrt())
    return shift * min(1.0, largest * sigma / max(size, 1e-30))
