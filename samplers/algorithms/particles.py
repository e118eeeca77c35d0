r"""Particles: guided walks that are weighted by what they are, and resampled on the way.

The walk of the prior (:mod:`samplers.sampling`) has Gaussian steps p(x_{k+1} | x_k) = N(m_p, b^2),
its mean from the tempered denoised estimate. K particles take instead steps of a proposal q =
N(m_q, b^2), its mean from the guided one (:mod:`samplers.guidance`), and carry weights

    w_{k+1} = w_k p(x_{k+1} | x_k) psi_{k+1}(x_{k+1}) / (q(x_{k+1} | x_k) psi_k(x_k)),
    psi_k(x) = exp l(D(x; sigma_k); sigma_k) at noise sigma_k, exp l(x; 0) at the end.

Twisting functions psi telescope: as K grows the weighted ends follow p(x_0) exp(l(x_0)), p being
the law of the walk itself, whatever psi and q are. Both only say how many particles that takes.
L. Wu and others, Practical and asymptotically exact conditional sampling in diffusion models,
arXiv:2306.17775 (2023), algorithm 1. Guides without a gradient have q = p, which is Feynman-Kac
steering (R. Singhal and others, arXiv:2501.06848 (2025), with the difference of l as potential).

With x_{k+1} = m_q + b z and d = (m_q - m_p) / b, ln(p / q) = -(z d + |d|^2 / 2). The last step,
which has no noise, is the prior's. Particles are resampled (systematically) when their effective
number falls below half of K; the product over resamplings of mean weights estimates the evidence
p(y) without bias at any K. So the draw of a small K is biased to the proposal, but draws weighted
by their evidence are not (C. Andrieu and others, J. R. Stat. Soc. B 72, 269 (2010)).

Weights of paths pay for the guide's pull at every step, the square of d. On a cell of 216 atoms and
a spectrum (eta = 20) that is thousands: one particle has all weight from the first levels on, and
the evidence says nothing; the sample is a guided one. Trust either only where ``effective`` stays
above 1. Guides that pull little, and those without gradient, are what it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from diffxas import noise
from samplers.algorithms.base import Drawn, Problem, Watch
from samplers.algorithms.weights import chosen, effective_number, log_mean, walk_number
from samplers.guidance import GuidedDenoiser
from samplers.sampling import Step, transition
from samplers.start import STREAM_STEPS

Trace = tuple[tuple[float, float], ...]

LARGEST_PULL = 0.5
"""Of a proposal, in sigma: weights of paths pay for its square."""
RESAMPLE = 0.5
"""Share of the particles below which their effective number must fall before resampling."""


@dataclass(frozen=True, eq=False)
class Population:
    """Particles at their end.

    Attributes
    ----------
    positions : (n_particles, n_atoms, 3), angstrom
    log_weights : (n_particles,)
    log_evidence : estimate of ln p(y)
    effective : effective number of particles at every level and at the end, before resampling
    traces : of each particle: (noise level, l) on the way
    """

    positions: Tensor
    log_weights: np.ndarray
    log_evidence: float
    effective: np.ndarray
    traces: list[Trace]


class Particles:
    """See the module's docstring; an :class:`samplers.algorithms.base.Algorithm`.

    Parameters
    ----------
    walks : number of particles, K
    """

    name = "particles"
    needs_gradient = False
    sees_noised = False

    def __init__(self, walks: int = 4) -> None:
        assert walks > 0, "one particle is drawn"
        self.walks = walks

    def draw(self, problem: Problem, sample: int, watch: Watch | None = None) -> Drawn:
        """See :class:`samplers.algorithms.base.Algorithm`."""
        end = self.population(problem, sample, watch)
        (k,) = chosen(end.log_weights, 1, problem.seed, sample, problem.schedule.calls)
        return Drawn(end.positions[k], self.walks * problem.schedule.calls, np.array(end.traces[k]),
                     end.log_evidence, float(end.effective.min()))

    def population(self, problem: Problem, sample: int, watch: Watch | None = None) -> Population:
        """All particles at the end of their walks."""
        schedule, seed = problem.schedule, problem.seed
        numbers = [walk_number(sample, k) for k in range(self.walks)]
        x = torch.stack([problem.start(number) for number in numbers])
        traces: list[Trace] = [() for _ in numbers]
        log_weights, values = np.zeros(self.walks), np.zeros(self.walks)
        log_evidence, effective = 0.0, []
        steps: tuple[Step | None, Step | None] = (None, None)  # of the prior and of the proposal
        for index, (sigma, sigma_next) in enumerate(pairwise(schedule.levels())):
            prior, guided, new = estimates(problem, x, sigma)
            log_weights, values = log_weights + new - values, new
            if problem.guide is not None and sigma <= problem.guide.sigma_on:
                traces = [(*trace, (sigma, float(value)))
                          for trace, value in zip(traces, new, strict=True)]
            effective.append(effective_number(log_weights))
            if effective[-1] < RESAMPLE * self.walks:
                log_evidence += log_mean(log_weights)
                parents = chosen(log_weights, self.walks, seed, sample, index)
                x, prior, guided, values = x[parents], prior[parents], guided[parents], new[parents]
                steps = tuple(step and replace(step, x_0=step.x_0[parents])  # type: ignore
                              for step in steps)
                traces = [traces[k] for k in parents]
                log_weights = np.zeros(self.walks)
            x, ratio = proposed(problem, x, (prior, guided), (sigma, sigma_next), steps, index,
                                numbers)
            log_weights = log_weights + ratio
            steps = Step(index, sigma, prior, x), Step(index, sigma, guided, x)
            for k in range(self.walks if watch is not None else 0):
                watch(Step(index, sigma, guided[k], x[k]))  # type: ignore[misc]
        last = np.array([likelihood(problem, one, 0.0) for one in x])
        log_weights = log_weights + last - values
        effective.append(effective_number(log_weights))
        traces = [(*trace, (0.0, float(value)))
                  for trace, value in zip(traces, last, strict=True)]
        return Population(x, log_weights, log_evidence + log_mean(log_weights),
                          np.array(effective), traces)


def likelihood(problem: Problem, x_0: Tensor, sigma: float) -> float:
    """l, 0 where the guide is silent."""
    guide = problem.guide
    return 0.0 if guide is None or sigma > guide.sigma_on else float(guide(x_0, sigma))


def estimates(problem: Problem, x: Tensor, sigma: float) -> tuple[Tensor, Tensor, np.ndarray]:
    """The denoiser called once at every particle.

    Returns
    -------
    prior, guided : (n_particles, n_atoms, 3), angstrom, estimates of the prior and of the proposal
    values : (n_particles,), ln psi
    """
    rows = []
    for one in x:
        guide, shift = problem.guide, None
        if guide is not None and guide.differentiable:
            prior, shift, value = GuidedDenoiser(
                problem.denoiser, guide, problem.schedule, LARGEST_PULL).parts(one, sigma)
        else:
            x_0 = problem.denoiser(one, sigma).detach()
            value = likelihood(problem, x_0, sigma)
            prior = one + (x_0 - one) / problem.schedule.temperature_at(sigma)
        guided = prior if shift is None else prior + shift
        rows.append((confined(problem, prior, one, sigma), confined(problem, guided, one, sigma),
                     value))
    priors, guideds, values = zip(*rows, strict=True)
    return torch.stack(priors), torch.stack(guideds), np.array(values)


def confined(problem: Problem, estimate: Tensor, x: Tensor, sigma: float) -> Tensor:
    """An estimate with the known parts of the answer put in."""
    return problem.confined(lambda x_t, level: estimate)(x, sigma)


def proposed(problem: Problem, x: Tensor, estimate: tuple[Tensor, Tensor],
             levels: tuple[float, float], steps: tuple[Step | None, Step | None], index: int,
             numbers: Sequence[int]) -> tuple[Tensor, np.ndarray]:
    """Where the particles go, and ln p / q of that.

    Parameters
    ----------
    x : (n_particles, n_atoms, 3), angstrom, at the first of the ``levels``
    estimate, steps : there, and the steps before, of the prior and of the proposal
    index : of the step
    numbers : of the walks, keys of the noise
    """
    mean, width = transition(x, estimate[0], *levels, problem.schedule, steps[0])
    if width == 0:
        return mean, np.zeros(len(x))
    ours, _ = transition(x, estimate[1], *levels, problem.schedule, steps[1])
    z = torch.as_tensor(np.stack([
        noise.normal(problem.seed, number, index + 1, x.shape[1], stream=STREAM_STEPS)
        for number in numbers])).to(x)
    d = (ours - mean) / width
    ratio = -((d * z).sum((1, 2)) + 0.5 * d.square().sum((1, 2)))
    return ours + width * z, ratio.double().cpu().numpy()
