r"""Diffusion posterior sampling: the likelihood at the denoised estimate.

    grad log p(x_t | y) = grad log p(x_t) + grad log p(y | x_t),
    log p(y | x_t) ~ l(D(x_t; sigma); sigma),

its gradient taken through the denoiser (H. Chung and others, Diffusion posterior sampling for
general noisy inverse problems, arXiv:2209.14687 (2022), theorem 1). Unlike theirs, l knows the
noise level: what the estimate leaves open is in its covariance (:mod:`samplers.calibration`), as in
J. Song and others, Pseudoinverse-guided diffusion models, ICLR 2023. For a Gaussian prior and a
linear observation that is exact.
"""

from __future__ import annotations

import numpy as np

from samplers.algorithms.base import Drawn, Problem, Watch
from samplers.guidance import GuidedDenoiser
from samplers.sampling import walk


class DPS:
    """See the module's docstring; an :class:`samplers.algorithms.base.Algorithm`."""

    name = "dps"
    needs_gradient = True
    sees_noised = False
    walks = 1

    def draw(self, problem: Problem, sample: int, watch: Watch | None = None) -> Drawn:
        """See :class:`samplers.algorithms.base.Algorithm`."""
        schedule = problem.schedule
        if problem.guide is None:
            guided = None
            denoiser = problem.unguided()
        else:
            guided = GuidedDenoiser(problem.denoiser, problem.guide, schedule)
            denoiser = problem.confined(guided)
        step = problem.after
        for step in walk(denoiser, problem.start(sample), schedule, problem.seed, sample,
                         problem.after):
            if watch is not None:
                watch(step)
        assert step is not None, "a schedule has two levels at least"
        trace = np.array(guided.trace if guided else []).reshape(-1, 2)
        return Drawn(step.x, schedule.calls, trace)
