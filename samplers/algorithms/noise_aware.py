r"""Guidance by surrogates of noised structures.

    grad log p(x_t | y) = grad log p(x_t) + grad log p(y | x_t),

with p(y | x_t) from a model of noised structures (:mod:`samplers.guides.noised`), as classifiers
guide images: P. Dhariwal, A. Nichol, arXiv:2105.05233 (2021), algorithm 1 and section 4.1. It is
exact where that model is: there is no plug-in of a denoised estimate, whose blur at high noise is
outside what a surrogate of structures knows, and no gradient through the denoiser, which is most of
what :mod:`samplers.algorithms.dps` costs.

Below a guide's ``sigma_low`` the estimate is a structure, of which the teacher knows more than its
pupil: there l(D(x_t)) is taken, with dD/dx = 1 (what noise is left is about the width of thermal
vibrations, hence D moves with x). Guides without a noise-aware form act as in
:mod:`samplers.algorithms.dps`, gradient through the denoiser included; all of them add.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diffxas.denoiser import Denoiser
from samplers.algorithms.base import Drawn, Problem, Watch
from samplers.algorithms.dps import DPS
from samplers.guidance import bounded_shift
from samplers.guides.base import Guide, Guides
from samplers.guides.noised import NoisedGuide, each, noised_form
from samplers.sampling import SamplingSchedule, walk


class NoiseAwareDenoiser:
    """A guided denoiser: a :class:`diffxas.denoiser.Denoiser`.

    Parameters
    ----------
    denoiser : what is guided, neither guided nor tempered before
    guides : their likelihoods add
    schedule : temperature and scale of the noise of the walk

    Attributes
    ----------
    trace : (noise level, log-likelihood) of every call that was guided
    """

    def __init__(self, denoiser: Denoiser, guides: Sequence[Guide],
                 schedule: SamplingSchedule) -> None:
        self.denoiser, self.schedule = denoiser, schedule
        self.guides = Guides(guides)
        self.trace: list[tuple[float, float]] = []

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        """See :class:`diffxas.denoiser.Denoiser`."""
        direct, clean, through = self._awake(sigma)
        x = x_t.detach().requires_grad_(True)
        with torch.set_grad_enabled(bool(through)):
            x_0 = self.denoiser(x, sigma)
        temperature = self.schedule.temperature_at(sigma)
        tempered = (x + (x_0 - x) / temperature).detach()
        if not (direct or clean or through):
            return tempered
        with torch.enable_grad():
            terms = [guide.noised(x, sigma) for guide in direct]
            terms += [guide(x_0, sigma) for guide in through]
            value, gradient = _summed(terms, x)
            estimate = x_0.detach().requires_grad_(True)
            of_estimate, more = _summed([guide(estimate, sigma) for guide in clean], estimate)
        self.trace.append((sigma, value + of_estimate))
        return tempered + bounded_shift(gradient + more, sigma,
                                        self.schedule.noise_scale_at(sigma), self.guides)

    def _awake(self, sigma: float) -> tuple[list[NoisedGuide], list[Guide], list[Guide]]:
        """Guides that see x_t, those that see the estimate, and those through the denoiser."""
        direct: list[NoisedGuide] = []
        clean: list[Guide] = []
        through: list[Guide] = []
        for guide in self.guides.guides:
            if not isinstance(guide, NoisedGuide):
                if sigma <= guide.sigma_on:
                    through.append(guide)
            elif sigma < guide.sigma_low:
                clean.append(guide)
            elif sigma <= guide.sigma_high:
                direct.append(guide)
        return direct, clean, through


def _summed(terms: Sequence[Tensor], x: Tensor) -> tuple[float, Tensor]:
    """The sum of log-likelihoods and its gradient in ``x``."""
    if not terms:
        return 0.0, torch.zeros_like(x)
    total = torch.stack([term.to(x.dtype).reshape(()) for term in terms]).sum()
    (gradient,) = torch.autograd.grad(total, x)
    return float(total.detach()), gradient


class NoiseAware:
    """See the module's docstring; an :class:`samplers.algorithms.base.Algorithm`."""

    name = "noise-aware"
    needs_gradient = True
    sees_noised = True
    walks = 1

    def draw(self, problem: Problem, sample: int, watch: Watch | None = None) -> Drawn:
        """See :class:`samplers.algorithms.base.Algorithm`."""
        if problem.guide is None:
            return DPS().draw(problem, sample, watch)
        guided = NoiseAwareDenoiser(problem.denoiser, [noised_form(g) for g in each(problem.guide)],
                                    problem.schedule)
        step = problem.after
        for step in walk(problem.confined(guided), problem.start(sample), problem.schedule,
                         problem.seed, sample, problem.after):
            if watch is not None:
                watch(step)
        assert step is not None, "a schedule has two levels at least"
        return Drawn(step.x, problem.schedule.calls, np.array(guided.trace).reshape(-1, 2))
