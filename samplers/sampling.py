r"""Reverse diffusion: from noise to a structure, at most 64 calls of a denoiser.

The reverse process whose noise is put back eta times as fast as it is taken away,

    dx = (1 + eta) sigma s(x; sigma) |dsigma| + sqrt(2 eta sigma |dsigma|) z,
    s = (D - x) / sigma^2,

has at every level the law p(x; sigma) of the noised data, whatever eta >= 0 (0: the probability
flow; 1: the usual reverse process; more: corrector steps of Langevin's on the way). What an inexact
denoiser got wrong at one level is repaired at the next ones, and bonds are annealed: hence a large
eta. From level sigma to sigma', with h = log(sigma / sigma') and D taken as linear in log sigma,

    x' = e^-(1+eta)h x + (1 - e^-(1+eta)h) (D + (h / 2 h_last) (D - D_last))
         + sigma' sqrt(1 - e^(-2 eta h)) z.

C. Lu and others, DPM-Solver++, arXiv:2211.01095 (2022), SDE-DPM-Solver++(2M), there with eta = 1;
T. Karras and others, arXiv:2206.00364 (2022), section 4, on putting more noise back. The update is
``diffusers.EDMDPMSolverMultistepScheduler``'s between virtual levels that give it our eta. It is
taken on displacements from D, so that rounding acts on angstroms and not on coordinates of a large
cell. The noise is counter-based; where the walk is tempered (:mod:`samplers.tempered`) it is
multiplied by ``noise_scale``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffxas import noise
from diffxas.denoiser import Denoiser
from diffxas.errors import InputError
from samplers.start import STREAM_STEPS
from samplers.tempered import COLD_HIGH, COLD_LOW

if TYPE_CHECKING:
    from diffusers import EDMDPMSolverMultistepScheduler

MAXIMUM_STEPS = 64
LESS_NOISE = 0.14
"""By which share of itself the noise put back is less in a walk of hardly any steps; in proportion
where they are more, and not at all at MAXIMUM_STEPS."""


@dataclass(frozen=True)
class SamplingSchedule:
    """Noise levels (angstrom) and the noise put back in between.

    Levels fall from ``sigma_max`` to ``bond_high`` and from ``bond_low`` to ``sigma_min`` in equal
    ratios, and in between by equal steps: there bonds are made and broken, and ``bond_share`` of
    the calls are spent. ``eta`` is that of the module's text. From ``cold_low`` to ``cold_high``
    the walk is tempered: the prior's score is divided by ``temperature``, the noise multiplied by
    ``noise_scale`` (:mod:`samplers.tempered`). ``begin`` is the level at
    which the walk is entered, and above which it never rises; None for ``sigma_max``.
    """

    steps: int = 64
    sigma_max: float = 1.2
    sigma_min: float = 0.03
    bond_high: float = 0.5
    bond_low: float = 0.12
    bond_share: float = 0.64
    cold_low: float = COLD_LOW
    cold_high: float = COLD_HIGH
    eta: float = 20.0
    temperature: float = 1.0
    noise_scale: float = 1.0
    begin: float | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.steps <= MAXIMUM_STEPS:
            raise InputError(f"steps must be between 2 and {MAXIMUM_STEPS}, "
                             f"received {self.steps}: choose --steps in that range")
        if self.begin is not None and not self.sigma_min < self.begin < math.inf:
            raise InputError(f"the walk must be entered above its lowest level, {self.sigma_min:g} "
                             f"angstrom, received {self.begin:g}: raise it")

    def is_cold(self, sigma: float) -> bool:
        """Whether the walk is tempered at a level."""
        return self.cold_low < sigma < self.cold_high

    def temperature_at(self, sigma: float) -> float:
        """By which the prior's score is divided at a level."""
        return self.temperature if self.is_cold(sigma) else 1.0

    def noise_scale_at(self, sigma: float) -> float:
        """By which the noise put back is multiplied at a level."""
        return self.noise_scale if self.is_cold(sigma) else 1.0

    @property
    def calls(self) -> int:
        """Calls of the denoiser: ``steps``, less the levels at ``begin`` and above."""
        return len(self.levels()) - 1

    def levels(self) -> list[float]:
        """Noise levels of the walk: from ``sigma_max`` (``begin``) to ``sigma_min``, and 0."""
        done = np.linspace(0.0, 1.0, self.steps)
        first = 0.36 * (1 - self.bond_share)  # of the rest, the shares above and below the bonds
        last = first + self.bond_share
        high, middle, low = (
            (upper * (lower / upper) ** fraction if ratio else upper + fraction * (lower - upper))
            for upper, lower, fraction, ratio in (
                (self.sigma_max, self.bond_high, done / first, True),
                (self.bond_high, self.bond_low, (done - first) / self.bond_share, False),
                (self.bond_low, self.sigma_min, (done - last) / (1 - last), True)))
        levels = [*np.where(done < first, high, np.where(done < last, middle, low)).tolist(), 0.0]
        if self.begin is None:
            return levels
        return [self.begin, *(s for s in levels if s < self.begin)]


@cache
def _solver() -> EDMDPMSolverMultistepScheduler:
    """A solver that stands at the second of three levels, ``sigmas``."""
    from diffusers import EDMDPMSolverMultistepScheduler

    class Solver(EDMDPMSolverMultistepScheduler):  # type: ignore[misc]
        @property
        def step_index(self) -> int:
            return 1

    return Solver(algorithm_type="sde-dpmsolver++", solver_order=2)


def contract(x: Tensor, x_0: Tensor, sigma: float, sigma_next: float, eta: float,
             last: tuple[Tensor, float] | None = None) -> Tensor:
    """The step from ``sigma`` to ``sigma_next`` without its noise, (n_atoms, 3), angstrom.

    Parameters
    ----------
    x, x_0 : (n_atoms, 3), where the walk stands and the denoised estimate there
    last : the estimate of the step before and the level it was of; None for a step of first order
    """
    if sigma_next == 0:
        return x_0
    # Between sigma and this level the library's solver (eta = 1) contracts as much as ours does.
    virtual = (1 + eta) / 2
    target = sigma * (sigma_next / sigma) ** virtual
    before = sigma if last is None else sigma * (last[1] / sigma) ** virtual
    solver = _solver()
    solver.sigmas = torch.tensor((before, sigma, target), dtype=torch.float64)
    at_rest = torch.zeros_like(x)
    if last is None:
        moved = solver.dpm_solver_first_order_update(at_rest, x - x_0, at_rest)
    else:
        moved = solver.multistep_dpm_solver_second_order_update(
            [last[0] - x_0, at_rest], x - x_0, at_rest)
    return x_0 + moved.to(x.dtype)


@dataclass(frozen=True)
class Step:
    """One step of the walk: where it stands after ``index + 1`` calls.

    Attributes
    ----------
    sigma : level at which the denoiser was called, angstrom
    x_0, x : denoised estimate there, and the new positions, (n_atoms, 3), angstrom
    """

    index: int
    sigma: float
    x_0: Tensor
    x: Tensor


def transition(x: Tensor, x_0: Tensor, sigma: float, sigma_next: float,
               schedule: SamplingSchedule, last: Step | None) -> tuple[Tensor, float]:
    """Law of the next positions: Gaussian, its mean (n_atoms, 3) and its width, angstrom.

    Parameters
    ----------
    x, x_0 : (n_atoms, 3), where the walk stands at ``sigma`` and the denoised estimate there
    last : the step before; None at the first one
    """
    # Estimates on two sides of an end of the tempered range are not of one law.
    smooth = last is not None and schedule.is_cold(last.sigma) == schedule.is_cold(sigma)
    mean = contract(x, x_0, sigma, sigma_next, schedule.eta,
                    (last.x_0, last.sigma) if last is not None and smooth else None)
    if sigma_next == 0:
        return mean, 0.0
    h = math.log(sigma / sigma_next)
    scale = schedule.noise_scale_at(sigma)
    return mean, scale * sigma_next * math.sqrt(-math.expm1(-2 * schedule.eta * h))


def walk(denoiser: Denoiser, x: Tensor, schedule: SamplingSchedule, seed: int, sample: int,
         after: Step | None = None) -> Iterator[Step]:
    """Yield every step from noise to structure; the last ``x`` is the sample.

    Parameters
    ----------
    x : (n_atoms, 3), angstrom, at the first level of the schedule
    seed, sample : key of the counter-based noise
    after : a step of this walk to go on from (resume); ``x`` is then the step's
    """
    levels = schedule.levels()
    if after is not None:
        x = after.x
    last = after
    for index in range(0 if after is None else after.index + 1, len(levels) - 1):
        sigma, sigma_next = levels[index], levels[index + 1]
        x_0 = denoiser(x, sigma).detach()
        x, width = transition(x, x_0, sigma, sigma_next, schedule, last)
        if width > 0:
            z = noise.normal(seed, sample, index + 1, len(x), stream=STREAM_STEPS)
            x = x + width * torch.as_tensor(z, dtype=x.dtype, device=x.device)
        last = Step(index, sigma, x_0, x)
        yield last


def sample(denoiser: Denoiser, x: Tensor, schedule: SamplingSchedule, seed: int, number: int,
           watch: Callable[[Step], None] | None = None) -> Tensor:
    """The end of the walk, (n_atoms, 3), angstrom; ``watch`` sees every step."""
    for step in walk(denoiser, x, schedule, seed, number):
        x = step.x
        if watch is not None:
            watch(step)
    return x
