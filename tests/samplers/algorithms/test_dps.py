"""DPS against posteriors that are known (known_posteriors.py), each with controls that must fail.

Prior walks of the toy are right within 1 % of a width and 0.012 of Kolmogorov and Smirnov.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_posteriors import KS_LIMIT, LINE, LINE_WELLS, LONG, N_ATOMS, TOYS, ends
from scipy.stats import norm

from samplers.algorithms.base import Problem
from samplers.algorithms.dps import DPS


def test_the_toy_s_grid_has_the_posterior_of_the_formulae():
    """One well, a linear observation: Gaussian, and so is the evidence."""
    a, m = np.array((0.8, 0.6, 0.0)), np.array(LINE.prior.means[0])
    s, t = LINE.prior.width, LINE.error
    gain = s**2 * a / (s**2 + t**2)
    assert LINE.mean == pytest.approx((m + gain * (LINE.y - a @ m))[0], abs=1e-4)
    assert LINE.std == pytest.approx(s * np.sqrt(1 - gain[0] * a[0]), abs=1e-3)
    assert LINE.log_evidence == pytest.approx(
        norm(a @ m, np.hypot(s, t)).logpdf(LINE.y), abs=1e-4)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
def test_the_toy_s_denoiser_is_the_mean_of_what_may_be_behind_the_noise(sigma):
    x_t = torch.tensor([[0.3, -0.2, 0.4]], dtype=torch.float64)
    line = np.linspace(-2.4, 2.4, 97)
    x = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    p = LINE_WELLS.prior.density(x) * np.exp(
        -0.5 * np.square(x - x_t.numpy()).sum(1) / sigma**2)
    np.testing.assert_allclose(LINE_WELLS.prior(x_t, sigma)[0], p @ x / p.sum(), atol=1e-5)


@pytest.mark.parametrize("eta", [1.0, 20.0])
def test_dps_is_exact_for_a_gaussian_and_a_linear_observation(eta):
    x = ends(DPS(), LINE, LINE.guide(N_ATOMS), replace(LONG, eta=eta))
    assert x.mean() == pytest.approx(LINE.mean, abs=0.015)
    assert x.std() == pytest.approx(LINE.std, rel=0.03)
    assert LINE.misfit(x) < KS_LIMIT


@pytest.mark.parametrize("toy", ["line_wells", "square_wells"])
def test_dps_is_near_for_two_wells(toy):
    """Where the estimate lies between the wells the likelihood of either is not that of it."""
    toy = TOYS[toy]
    x = ends(DPS(), toy, toy.guide(N_ATOMS))
    assert x.mean() == pytest.approx(toy.mean, abs=0.05)
    assert x.std() == pytest.approx(toy.std, rel=0.05)
    assert (x > 0).mean() == pytest.approx(toy.right(), abs=0.05)
    assert toy.misfit(x) < 0.05


@pytest.mark.parametrize("toy", TOYS)
def test_the_unguided_walk_fails_these_laws(toy):
    assert TOYS[toy].misfit(ends(DPS(), TOYS[toy], None)) > 0.15


@pytest.mark.parametrize("toy", ["line", "line_wells"])
def test_a_guide_that_counts_twice_fails_them(toy):
    assert TOYS[toy].misfit(ends(DPS(), TOYS[toy], TOYS[toy].guide(N_ATOMS, 2.0))) > 0.06


def test_an_estimate_taken_for_the_structure_fails_where_the_walk_does_not_repair_it():
    """The published plug-in: what the estimate leaves open is left out (eta = 1)."""
    x = ends(DPS(), LINE, LINE.guide(N_ATOMS, knows_noise=False), replace(LONG, eta=1.0))
    assert LINE.misfit(x) > 2 * KS_LIMIT


def test_no_gradient_through_the_denoiser_fails_where_the_walk_does_not_repair_it():
    """The likelihood of the noisy positions themselves: the other published mistake."""
    class Unmoved:
        """The estimate, cut off from the positions but for a slope of one."""

        def __call__(self, x_t, sigma):
            return LINE.prior(x_t, sigma).detach() + (x_t - x_t.detach())

    problem = LINE.problem(N_ATOMS, LINE.guide(N_ATOMS), replace(LONG, eta=1.0))
    wrong = Problem(Unmoved(), problem.guide, problem.schedule, problem.start, problem.seed)
    assert LINE.misfit(DPS().draw(wrong, 0).positions[:, 0].numpy()) > 2 * KS_LIMIT
