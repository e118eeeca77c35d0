"""DAPS against posteriors that are known, each with controls that must fail."""

import numpy as np
import pytest
import torch
from known_posteriors import KS_LIMIT, LINE, LONG, N_ATOMS, TOYS, ends

import samplers.algorithms.daps as module
from samplers.algorithms.daps import DAPS, langevin, spread


def test_daps_is_exact_for_a_gaussian_and_a_linear_observation():
    x = ends(DAPS(), LINE, LINE.guide(N_ATOMS))
    assert x.mean() == pytest.approx(LINE.mean, abs=0.015)
    assert x.std() == pytest.approx(LINE.std, rel=0.03)
    assert LINE.misfit(x) < KS_LIMIT


@pytest.mark.parametrize("name", ["line_wells", "square_wells"])
def test_daps_is_near_for_two_wells(name):
    """Between the wells p(x_0 | x_t) is no Gaussian: their shares are off by 0.10 and 0.02."""
    toy = TOYS[name]
    x = ends(DAPS(), toy, toy.guide(N_ATOMS))
    assert x.mean() == pytest.approx(toy.mean, abs=0.12)
    assert x.std() == pytest.approx(toy.std, rel=0.05)
    assert (x > 0).mean() == pytest.approx(toy.right(), abs=0.12)
    assert toy.misfit(x) < 0.13


def test_the_unguided_and_an_estimate_taken_for_the_structure_fail(monkeypatch):
    assert LINE.misfit(ends(DAPS(), LINE, None)) > 0.3
    monkeypatch.setattr(module, "spread", lambda denoiser, x, x_0, sigma, z: 0.01 * sigma)
    assert LINE.misfit(ends(DAPS(), LINE, LINE.guide(N_ATOMS))) > 2 * KS_LIMIT


def test_a_guide_that_counts_twice_fails():
    assert LINE.misfit(ends(DAPS(), LINE, LINE.guide(N_ATOMS, 2.0))) > 2 * KS_LIMIT


@pytest.mark.parametrize("sigma", [0.05, 0.4, 3.0])
def test_the_spread_is_that_of_the_posterior_of_a_gaussian(sigma):
    x = LINE.prior.noised(3, sigma, 0)
    z = torch.tensor(np.random.default_rng(0).standard_normal((3, 3)))
    found = spread(LINE.prior, x, LINE.prior(x, sigma), sigma, z)
    assert found == pytest.approx(LINE.prior.left(sigma) ** 0.5)


def test_langevin_draws_the_product_of_estimate_and_likelihood():
    """Along the observation the variances add inversely; across it the estimate's remains."""
    guide = LINE.guide(N_ATOMS)
    x_0 = torch.zeros(N_ATOMS, 3, dtype=torch.float64)
    rng = np.random.default_rng(4)
    noises = [torch.tensor(rng.standard_normal((N_ATOMS, 3))) for _ in range(12)]
    x, _ = langevin(guide, x_0, 0.5, noises)
    along, across = x.numpy() @ (0.8, 0.6, 0.0), x.numpy() @ (-0.6, 0.8, 0.0)
    variance = 1 / (1 / 0.5**2 + 1 / LINE.error**2)
    assert along.mean() == pytest.approx(variance * LINE.y / LINE.error**2, abs=0.015)
    assert along.std() == pytest.approx(variance**0.5, rel=0.03)
    assert across.std() == pytest.approx(0.5, rel=0.03)


def test_one_number_gives_one_sample():
    problem = LINE.problem(2, LINE.guide(2), LONG)
    first, again, other = (DAPS().draw(problem, n).positions for n in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
