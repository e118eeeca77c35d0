r"""What every algorithm of posterior sampling is given, and what it returns.

The posterior of structures x_0 given what is asked is p(x_0 | y) ~ p(x_0) exp(l(x_0)), with p the
prior (a denoiser, tempered as its config says) and l the guide. An algorithm draws from it. One
file each:

    weighting     l alone: unguided walks, one of them drawn in proportion to exp(l)
    dps           gradient of l at the denoised estimate, through the denoiser
    noise_aware   gradient of a surrogate of noised structures, not through the denoiser
    particles     twisted walks that are weighted and resampled on the way
    daps          estimate, sample x_0 given estimate and l, noise again

The walk of the tempered prior has the law p^(1/(T s^2)) at a level, T being the temperature by
which the score is divided and s the scale of the noise (:mod:`samplers.tempered`). That law stands
for the prior; a guide must count once beside it. The gradient of l is therefore not divided by T,
and it is multiplied by s^2, which the scaled noise divides it by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from diffxas.denoiser import Denoiser
from samplers.guides.base import Guide
from samplers.sampling import SamplingSchedule, Step
from samplers.tempered import TemperedDenoiser


@dataclass(frozen=True, eq=False)
class Problem:
    """A posterior to draw from.

    Attributes
    ----------
    denoiser : of the prior, neither guided nor tempered
    guide : what pulls; None for the prior alone
    schedule : noise levels, temperature and noise of the walk
    start : number of a walk -> (n_atoms, 3), angstrom, at the first level
    seed : key of the counter-based noise
    after : step of an earlier draw of the same sample, to go on from; algorithms of one walk only
    confine : wraps the denoiser outermost (:mod:`samplers.confined`); None without known parts
    """

    denoiser: Denoiser
    guide: Guide | None
    schedule: SamplingSchedule
    start: Callable[[int], Tensor]
    seed: int
    confine: Callable[[Denoiser], Denoiser] | None = None
    after: Step | None = None

    def confined(self, denoiser: Denoiser) -> Denoiser:
        """A denoiser with the known parts of the answer put in."""
        return denoiser if self.confine is None else self.confine(denoiser)

    def unguided(self) -> Denoiser:
        """The prior as its walk takes it: tempered, with the known parts put in."""
        schedule = self.schedule
        return self.confined(TemperedDenoiser(
            self.denoiser, schedule.temperature, schedule.cold_low, schedule.cold_high))


@dataclass(frozen=True, eq=False)
class Drawn:
    """One sample.

    Attributes
    ----------
    positions : (n_atoms, 3), angstrom, not wrapped
    calls : of the denoiser, all particles counted
    trace : (n, 2), noise level (angstrom) and log-likelihood of the estimate there
    log_evidence : estimate of ln p(y), None where the algorithm gives none
    effective : effective number of walks behind the sample, the lowest on the way; None where the
        algorithm weights none
    """

    positions: Tensor
    calls: int
    trace: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    log_evidence: float | None = None
    effective: float | None = None


Watch = Callable[[Step], None]


class Algorithm(Protocol):
    """A way to draw from a posterior.

    Attributes
    ----------
    name : as ``--algorithm`` takes it
    needs_gradient : whether guides must be differentiable
    walks : walks of the denoiser that one sample takes (progress and cost)
    sees_noised : whether guides tell from noised structures, at any level; else calls are best
        spent where denoised estimates tell (:func:`samplers.guidance.guided_schedule`)
    """

    name: str
    needs_gradient: bool
    walks: int
    sees_noised: bool

    def draw(self, problem: Problem, sample: int, watch: Watch | None = None) -> Drawn:
        """Sample number ``sample``; one seed and number give the same one.

        ``watch`` sees every step of every walk.
        """
        ...
