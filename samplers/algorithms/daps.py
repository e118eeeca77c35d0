r"""Decoupled annealing: estimate, sample x_0 given estimate and likelihood, noise again.

Levels are coupled by their x_0 alone: if x_t follows p(x_t | y) and x_0 is drawn from

    p(x_0 | x_t, y) ~ p(x_0 | x_t) exp(l(x_0)),   p(x_0 | x_t) ~ N(D(x_t; sigma), r^2),

then x_0 + sigma' z follows p(x_t' | y): B. Zhang and others, Improving diffusion inverse problem
solving with decoupled noise annealing, arXiv:2407.01521 (2024), proposition 1 and algorithm 1. The
likelihood is that of a structure, at no noise; its gradient needs no pass through the denoiser.

They set r = sigma by hand, with which only a flat prior agrees. Here r is what the denoiser says,

    Cov(x_0 | x_t) = sigma^2 dD/dx,   r^2 = sigma^2 tr(dD/dx) / 3N,

its trace by one more call, at x + h z (M. F. Hutchinson, Commun. Stat. Simul. Comput. 18, 1059
(1989)); of 3N coordinates it needs no average. So levels are half as many as calls. It is exact for
a Gaussian prior of one width; the Gaussian knows nothing of bonds.

x_0 is drawn by Langevin's equation, in the scheme of B. Leimkuhler, C. Matthews, Appl. Math. Res.
Express 2013, 34 (2013), whose law is exact for Gaussians at any stable step:

    x <- x + h F + sqrt(h / 2) (z_n + z_{n+1}),   F = (D - x) / r^2 + grad l(x).

h is half of 1 / (1 / r^2 + L), L the largest curvature of l met so far at this level. Where a walk
is tempered (:mod:`samplers.tempered`) all widths carry s sqrt(T), as its law p^(1/(T s^2)) has it.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from diffxas import noise
from diffxas.denoiser import Denoiser
from diffxas.errors import RunError
from samplers.algorithms.base import Drawn, Problem, Watch
from samplers.guides.base import Guide
from samplers.sampling import Step
from samplers.start import STREAM_LANGEVIN, STREAM_STEPS

LANGEVIN_STEPS = 10
"""At every level where the guide speaks."""
STEP = 0.5
"""h over what the curvature allows; half of that is forgotten at every step."""
PROBE = 0.1
"""Displacement (sigma) over which the slope of the denoiser is taken."""


class DAPS:
    """See the module's docstring; an :class:`samplers.algorithms.base.Algorithm`."""

    name = "daps"
    needs_gradient = True
    sees_noised = False
    walks = 1

    def draw(self, problem: Problem, sample: int, watch: Watch | None = None) -> Drawn:
        """See :class:`samplers.algorithms.base.Algorithm`."""
        schedule, guide = problem.schedule, problem.guide
        levels = [*schedule.levels()[:-1:2], 0.0]
        x, trace, calls = problem.start(sample), [], 0
        for index, sigma in enumerate(levels[:-1]):
            cold = schedule.noise_scale_at(sigma) * math.sqrt(schedule.temperature_at(sigma))
            x_0 = problem.denoiser(x, sigma).detach()
            noises = [torch.as_tensor(noise.normal(
                problem.seed, sample, index * (LANGEVIN_STEPS + 3) + k, len(x),
                stream=STREAM_LANGEVIN)).to(x) for k in range(LANGEVIN_STEPS + 3)]
            width = cold * spread(problem.denoiser, x, x_0, sigma, noises[0])
            calls += 2
            heard = guide is not None and sigma <= guide.sigma_on
            if guide is not None and heard:
                drawn, value = langevin(guide, x_0, width, noises[1:])
                trace.append((sigma, value))
            else:
                drawn = x_0 + width * noises[1]
            drawn = problem.confined(lambda x_t, level, answer=drawn: answer)(x, sigma)
            z = noise.normal(problem.seed, sample, index + 1, len(x), stream=STREAM_STEPS)
            x = drawn + cold * levels[index + 1] * torch.as_tensor(z).to(x)
            for _ in range(2 if watch is not None else 0):
                watch(Step(index, sigma, drawn, x))  # type: ignore[misc]
        return Drawn(x, calls, np.array(trace).reshape(-1, 2))


def spread(denoiser: Denoiser, x: Tensor, x_0: Tensor, sigma: float, z: Tensor) -> float:
    """r of the module's docstring, angstrom, by one call; between 0.03 and 1 sigma."""
    h = PROBE * sigma
    moved = denoiser(x + h * z, sigma).detach() - x_0
    slope = float((z * moved).sum() / (h * z.square().sum()))
    return sigma * math.sqrt(min(max(slope, 1e-3), 1.0))


def langevin(guide: Guide, x_0: Tensor, width: float,
             noises: list[Tensor]) -> tuple[Tensor, float]:
    """A draw of N(x_0, width^2) exp(l), and l along the way, its last value.

    Parameters
    ----------
    x_0 : (n_atoms, 3), angstrom
    width : angstrom
    noises : standard normal, (n_atoms, 3) each: of the start, then one more than there are steps

    Raises
    ------
    RunError
        If the gradient is not finite.
    """
    x = x_0 + width * noises[0]
    curvature, last = 0.0, None
    value, gradient = slope_of(guide, x)
    # A first look at the curvature, along the gradient and far within the width.
    size = float(gradient.norm())
    if size > 0:
        step = 0.1 * width * gradient / size * math.sqrt(len(x))
        curvature = _secant(slope_of(guide, x + step)[1] - gradient, step)
    for z, z_next in pairwise(noises[1:]):
        if last is not None:
            value, gradient = slope_of(guide, x)
            curvature = max(curvature, _secant(gradient - last[1], x - last[0]))
        last = x, gradient
        h = STEP / (1 / width**2 + curvature)
        force = (x_0 - x) / width**2 + gradient
        x = x + h * force + math.sqrt(h / 2) * (z + z_next)
    return x, value


def _secant(change: Tensor, step: Tensor) -> float:
    return float(change.norm() / step.norm().clamp(min=1e-30))


def slope_of(guide: Guide, x: Tensor) -> tuple[float, Tensor]:
    """l and its gradient, (n_atoms, 3), of a structure."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        value = guide(x, 0.0)
        (gradient,) = torch.autograd.grad(value, x)
    if not torch.isfinite(gradient).all():
        raise RunError(f"the gradient of a guide must be finite, received NaN or infinity from "
                       f"{guide.label}: leave that guide out, or sample with --algorithm "
                       f"particles, which needs no gradient")
    return float(value.detach()), gradient
