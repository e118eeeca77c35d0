r"""Reverse diffusion: from noise to a structure, at most 64 calls of a denoiser.

    sigma_hat = sigma_i (1 + churn) while sigma_i is within the churned range, else sigma_i
    x_hat     = x_i + s sqrt(sigma_hat^2 - sigma_i^2) z        (fresh noise, counter-based)
    x_0       = D(x_hat; sigma_hat)
    x_i+1     = x_hat + (sigma_i+1 - sigma_hat) (x_hat - x_0) / sigma_hat        (Euler's step)

T. Karras and others, Elucidating the design space of diffusion-based generative models,
arXiv:2206.00364 (2022), algorithm 2 without its second-order correction; s is their S_noise, here
below one for the reason given in :mod:`samplers.tempered`. The step is that of
``diffusers.EDMEulerScheduler``. It is taken on the displacement x_hat - x_0, because the
scheduler computes in single precision: rounding then acts on angstroms of displacement, not on
coordinates of a large cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffxas import noise
from diffxas.denoiser import Denoiser
from diffxas.errors import InputError
from samplers.start import STREAM_CHURN

if TYPE_CHECKING:
    from diffusers import EDMEulerScheduler

MAXIMUM_STEPS = 64


@dataclass(frozen=True)
class SamplingSchedule:
    """Noise levels (angstrom) and the noise put back in between.

    Levels fall from ``sigma_max`` to ``bond_high`` and from ``bond_low`` to ``sigma_min`` in equal
    ratios, and in between by equal steps: there bonds are made and broken, ``bond_share`` of the
    calls are spent there, and the noise put back makes them corrector steps. ``churn`` is the
    relative rise of the level before a call, applied between ``churn_low`` and ``churn_high``;
    ``noise_scale`` multiplies the noise put back. ``begin`` is the level at which the walk is
    entered, and above which it never rises; None for ``sigma_max``.
    """

    steps: int = 64
    sigma_max: float = 1.2
    sigma_min: float = 0.03
    bond_high: float = 0.5
    bond_low: float = 0.12
    bond_share: float = 0.64
    churn: float = 0.5
    churn_low: float = 0.03
    churn_high: float = 1.0
    noise_scale: float = 1.0
    begin: float | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.steps <= MAXIMUM_STEPS:
            raise InputError(f"steps must be between 2 and {MAXIMUM_STEPS}, "
                             f"received {self.steps}: choose --steps in that range")
        if self.begin is not None and not self.sigma_min < self.begin < math.inf:
            raise InputError(f"the walk must be entered above its lowest level, {self.sigma_min:g} "
                             f"angstrom, received {self.begin:g}: raise it")

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

    def raised(self, sigma: float) -> float:
        """The level at which the denoiser is called when the walk stands at ``sigma``."""
        if self.churn_low <= sigma <= self.churn_high:
            raised = sigma * (1 + self.churn)
            return raised if self.begin is None else min(raised, self.begin)
        return sigma


def _scheduler(sigma_min: float, sigma_max: float) -> EDMEulerScheduler:
    from diffusers import EDMEulerScheduler

    return EDMEulerScheduler(sigma_min=sigma_min, sigma_max=sigma_max, num_train_timesteps=2)


def euler_step(x: Tensor, x_0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """x at ``sigma_next`` from x at ``sigma`` and its denoised estimate, (n_atoms, 3)."""
    scheduler = _scheduler(max(sigma_next, 1e-6), sigma)
    scheduler.set_timesteps(2 if sigma_next > 0 else 1)
    displacement = x - x_0
    scheduler.scale_model_input(displacement, scheduler.timesteps[0])
    moved = scheduler.step(
        displacement, scheduler.timesteps[0], displacement, s_churn=0.0,
        pred_original_sample=torch.zeros_like(displacement, dtype=torch.float32),
    ).prev_sample
    return x_0 + moved.to(x.dtype)


@dataclass(frozen=True)
class Step:
    """One step of the walk: where it stands after ``index + 1`` calls."""

    index: int
    sigma: float
    x_0: Tensor
    x: Tensor


def walk(denoiser: Denoiser, x: Tensor, schedule: SamplingSchedule, seed: int, sample: int,
         first: int = 0) -> Iterator[Step]:
    """Yield every step from noise to structure; the last ``x`` is the sample.

    Parameters
    ----------
    x : (n_atoms, 3), angstrom, at level ``first`` of the schedule
    seed, sample : key of the counter-based noise
    first : index to go on from (resume)
    """
    levels = schedule.levels()
    for index in range(first, len(levels) - 1):
        sigma, sigma_next = levels[index], levels[index + 1]
        sigma_hat = schedule.raised(sigma)
        if sigma_hat > sigma:
            z = noise.normal(seed, sample, index + 1, len(x), stream=STREAM_CHURN)
            added = schedule.noise_scale * (sigma_hat**2 - sigma**2) ** 0.5
            x = x + added * torch.as_tensor(z, dtype=x.dtype)
        x_0 = denoiser(x, sigma_hat).detach()
        x = euler_step(x, x_0, sigma_hat, sigma_next)
        yield Step(index, sigma_hat, x_0, x)


def sample(denoiser: Denoiser, x: Tensor, schedule: SamplingSchedule, seed: int, number: int,
           watch: Callable[[Step], None] | None = None) -> Tensor:
    """The end of the walk, (n_atoms, 3), angstrom; ``watch`` sees every step."""
    for step in walk(denoiser, x, schedule, seed, number):
        x = step.x
        if watch is not None:
            watch(step)
    return x
