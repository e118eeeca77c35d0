r"""The likelihood alone: unguided walks, one of them drawn.

With x_k, k = 1 ... K, independent draws of the prior, one of them is taken with a chance in
proportion to exp(l(x_k)). As K grows that is a draw of the posterior (D. B. Rubin, J. Am. Stat.
Assoc. 82, 543 (1987), sampling importance resampling), and

    p(y) ~ 1/K sum_k exp(l(x_k))

is an unbiased estimate of the evidence at any K. No gradient, and no step of the walk is changed:
what the others are judged by. It is of use where the prior often meets what is asked: the number of
walks needed grows as exp of the information in y. Every sample has walks of its own, so that
samples are independent.
"""

from __future__ import annotations

import numpy as np

from samplers.algorithms.base import Drawn, Problem, Watch
from samplers.algorithms.weights import chosen, effective_number, log_mean, walk_number
from samplers.sampling import sample as end_of_walk


class Weighting:
    """See the module's docstring; an :class:`samplers.algorithms.base.Algorithm`.

    Parameters
    ----------
    walks : K
    """

    name = "weighting"
    needs_gradient = False
    sees_noised = False

    def __init__(self, walks: int = 16) -> None:
        assert walks > 0, "one walk is drawn"
        self.walks = walks

    def draw(self, problem: Problem, sample: int, watch: Watch | None = None) -> Drawn:
        """See :class:`samplers.algorithms.base.Algorithm`."""
        denoiser = problem.unguided()
        ends, values = [], []
        for k in range(self.walks):
            number = walk_number(sample, k)
            end = end_of_walk(denoiser, problem.start(number), problem.schedule, problem.seed,
                              number, watch)
            ends.append(end)
            values.append(0.0 if problem.guide is None else float(problem.guide(end, 0.0)))
        weights = np.array(values)
        (k,) = chosen(weights, 1, problem.seed, sample, 0)
        return Drawn(ends[k], self.walks * problem.schedule.calls,
                     np.array([[0.0, values[k]]]), log_mean(weights), effective_number(weights))
