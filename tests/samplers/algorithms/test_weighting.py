"""Weighted walks, and the likelihood alone, against posteriors that are known."""

import numpy as np
import pytest
import torch
from known_posteriors import LINE_WELLS

from samplers.algorithms.base import Problem
from samplers.algorithms.weighting import Weighting
from samplers.algorithms.weights import chosen, effective_number, log_mean
from samplers.sampling import SamplingSchedule

AT_ONCE = SamplingSchedule(steps=2, sigma_max=0.031, sigma_min=1e-6, bond_high=0.03, bond_low=0.02)
"""Next to no walk: with a denoiser that leaves everything where it is, starts are the ends."""


def test_weights_of_unguided_walks_make_the_posterior_and_its_evidence():
    """From exact draws of the prior. Drawn among 8 the law is 0.037 off (bias of 1 / K)."""
    toy, count = LINE_WELLS, 150
    problem = Problem(lambda x_t, sigma: x_t, toy.guide(1), AT_ONCE,
                      lambda k: toy.prior.noised(1, 0.0, k), 3)
    drawn = [Weighting(8).draw(problem, n) for n in range(count)]
    x = np.array([float(one.positions[0, 0]) for one in drawn])
    evidence = np.exp([one.log_evidence for one in drawn])
    assert evidence.mean() == pytest.approx(
        np.exp(toy.log_evidence), abs=4 * evidence.std() / np.sqrt(count))
    assert all(1 <= one.effective <= 8 and one.calls == 8 * 2 for one in drawn)
    assert toy.misfit(x) < 0.037 + 1.63 / np.sqrt(count)
    alone = np.array([float(problem.start(n)[0, 0]) for n in range(count)])
    assert toy.misfit(alone) > 0.037 + 1.63 / np.sqrt(count)


def test_one_number_gives_one_sample():
    toy = LINE_WELLS
    problem = Problem(lambda x_t, sigma: x_t, toy.guide(1), AT_ONCE,
                      lambda k: toy.prior.noised(1, 0.0, k), 3)
    first, again, other = (Weighting(3).draw(problem, n).positions for n in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_systematic_resampling_keeps_shares_and_evidence_is_a_mean():
    weights = np.log([0.5, 0.3, 0.15, 0.05])
    found = np.array([chosen(weights, 4, 1, sample, 0) for sample in range(500)])
    shares = [(found == k).mean() for k in range(4)]
    np.testing.assert_allclose(shares, np.exp(weights), atol=0.02)
    for k, w in enumerate(np.exp(weights)):
        counts = (found == k).sum(1)
        assert set(counts) <= {int(4 * w), int(4 * w) + 1}
    assert log_mean(weights - 700) == pytest.approx(np.log(0.25) - 700)
    assert effective_number(weights) == pytest.approx(1 / (0.25 + 0.09 + 0.0225 + 0.0025))
    assert effective_number(np.full(5, -1e4)) == pytest.approx(5)
