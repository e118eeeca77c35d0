"""Guidance against posteriors that are known, its gradient, its bounds.

Guidance evaluates the likelihood at the denoised estimate (diffusion posterior sampling). For a
Gaussian prior and a linear observation that is exact when the error of the estimate joins the
variance of the likelihood, as a calibration has it; with the variance of the observation alone it
is too sure of itself at high noise. Both are tested; steps of finite length cost up to 5 %.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from analytic_denoisers import GaussianDenoiser
from torch import Tensor

from diffxas.denoiser import Denoiser
from diffxas.errors import RunError
from diffxas.structure import Structure
from samplers.guidance import LARGEST_SHIFT, GuidedDenoiser, guided_schedule
from samplers.guides.base import Guide, Guides
from samplers.sampling import SamplingSchedule, sample
from samplers.tempered import TemperedDenoiser

PRIOR = GaussianDenoiser(0.0, 0.4)
SLOPE, OBSERVED, NOISE = 1.0, 0.4, 0.5
"""The observation: y = SLOPE x_0 + noise, of every atom's x by itself; y and z are not observed."""
POSTERIOR_VARIANCE = 1 / (1 / PRIOR.width**2 + SLOPE**2 / NOISE**2)
POSTERIOR_MEAN = POSTERIOR_VARIANCE * SLOPE * OBSERVED / NOISE**2
SCHEDULE = SamplingSchedule()
COLD = replace(SCHEDULE, temperature=0.6, noise_scale=0.6**0.5, cold_low=0.0, cold_high=9.0)
"""Tempered at all levels: the prior is sharpened to the power of 1 / (T s^2) = 1 / 0.36."""


class Plain(Guide):
    """A function of estimate and noise level, silent above ``until``."""

    def __init__(self, value: Callable[[Tensor, float], Tensor], until: float = 100.0) -> None:
        self.value, self.until, self.label = value, until, "plain"
        self.system = Structure(np.zeros((1, 3)), np.array([6]), 9 * np.eye(3))

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        return self.value(x_0, sigma)

    def at(self, system: Structure) -> "Plain":
        return self

    @property
    def sigma_on(self) -> float:
        return self.until


def guided_by(value: Callable[[Tensor, float], Tensor], until: float = 100.0,
              schedule: SamplingSchedule = SCHEDULE) -> GuidedDenoiser:
    return GuidedDenoiser(PRIOR, Plain(value, until), schedule)


def estimate_variance(sigma: float) -> float:
    """Of x_0 about its denoised estimate."""
    return PRIOR.width**2 * sigma**2 / (PRIOR.width**2 + sigma**2)


def calibrated(x_0: Tensor, sigma: float) -> Tensor:
    variance = NOISE**2 + SLOPE**2 * estimate_variance(sigma)
    return -0.5 * ((OBSERVED - SLOPE * x_0[:, 0]) ** 2).sum() / variance


def certain(x_0: Tensor, sigma: float) -> Tensor:
    """The error of the estimate left out."""
    return -0.5 * ((OBSERVED - SLOPE * x_0[:, 0]) ** 2).sum() / NOISE**2


def drawn(denoiser: Denoiser, n_atoms: int = 18_000,
          schedule: SamplingSchedule = SCHEDULE) -> np.ndarray:
    """Ends of the walk, (n_atoms, 3)."""
    start = np.random.default_rng(0).standard_normal((n_atoms, 3))
    start *= np.hypot(SCHEDULE.sigma_max, PRIOR.width)
    return sample(denoiser, torch.tensor(start), schedule, 4, 0).numpy()


def test_a_calibrated_guide_samples_the_posterior_and_leaves_what_is_not_observed():
    x = drawn(guided_by(calibrated))
    assert x[:, 0].mean() == pytest.approx(POSTERIOR_MEAN, rel=0.05)
    assert x[:, 0].std() == pytest.approx(POSTERIOR_VARIANCE**0.5, rel=0.04)
    assert np.abs(x[:, 1:].mean(0)).max() < 0.01
    assert x[:, 1:].std() == pytest.approx(PRIOR.width, rel=0.04)


def test_without_guidance_the_posterior_is_missed():
    x = drawn(PRIOR)[:, 0]
    assert abs(x.mean()) < 0.1 * POSTERIOR_MEAN
    assert x.std() > 1.2 * POSTERIOR_VARIANCE**0.5


def test_a_guide_that_forgets_the_error_of_the_estimate_is_too_sure():
    """In the usual reverse process; at the default's eta low levels repair what high ones did."""
    guided, usual = guided_by(certain), SamplingSchedule(eta=1.0)
    x = drawn(guided, schedule=usual)[:, 0]
    assert 1.1 * POSTERIOR_MEAN < x.mean() < 1.3 * POSTERIOR_MEAN
    assert x.std() < 0.975 * POSTERIOR_VARIANCE**0.5
    assert drawn(guided_by(calibrated), schedule=usual)[:, 0].std() == (
        pytest.approx(POSTERIOR_VARIANCE**0.5, rel=0.02))
    assert drawn(guided)[:, 0].mean() == pytest.approx(POSTERIOR_MEAN, rel=0.05)


def test_beside_a_tempered_prior_the_guide_counts_once():
    """The law is p^(1/(T s^2)) times the likelihood, not the posterior to the same power."""
    share = COLD.temperature * COLD.noise_scale**2
    variance = 1 / (1 / (share * PRIOR.width**2) + SLOPE**2 / NOISE**2)
    mean = variance * SLOPE * OBSERVED / NOISE**2
    x = drawn(guided_by(calibrated, schedule=COLD), schedule=COLD)
    assert x[:, 0].mean() == pytest.approx(mean, rel=0.05)
    assert x[:, 0].std() == pytest.approx(variance**0.5, rel=0.04)
    assert x[:, 1:].std() == pytest.approx(PRIOR.width * share**0.5, rel=0.04)
    # The control: temper what is guided, and the guide is sharpened with the prior.
    both = TemperedDenoiser(guided_by(calibrated), COLD.temperature, 0.0, 9.0)
    x = drawn(both, schedule=COLD)[:, 0]
    assert x.mean() == pytest.approx(POSTERIOR_MEAN, rel=0.05) and x.mean() > 1.8 * mean
    assert x.std() < 0.9 * variance**0.5


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.9])
def test_the_prior_s_score_is_divided_by_the_temperature_and_the_shift_scaled_as_the_noise(sigma):
    schedule = replace(SCHEDULE, temperature=0.5, noise_scale=0.7)
    factor = 0.49 if schedule.is_cold(sigma) else 1.0
    temperature = 0.5 if schedule.is_cold(sigma) else 1.0
    assert schedule.is_cold(0.3) and not schedule.is_cold(0.9)
    x = torch.tensor(np.random.default_rng(1).standard_normal((8, 3)) * 0.05)
    shift = guided_by(calibrated)(x, sigma) - PRIOR(x, sigma)
    prior = x + (PRIOR(x, sigma) - x) / temperature
    assert shift.abs().max() > 1e-5
    guided = guided_by(calibrated, schedule=schedule)(x, sigma)
    torch.testing.assert_close(guided, prior + factor * shift, atol=1e-12, rtol=0)
    silent = guided_by(calibrated, 0.01, schedule)(x, sigma)
    torch.testing.assert_close(silent, prior, atol=1e-12, rtol=0)


def test_guidance_that_sets_in_late_goes_part_of_the_way():
    x = drawn(guided_by(calibrated, 0.08))[:, 0]
    assert 0.2 * POSTERIOR_MEAN < x.mean() < 0.9 * POSTERIOR_MEAN


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.9])
def test_the_gradient_passes_through_the_denoiser(sigma):
    """D + sigma^2 D' l'(D); at the noisy positions themselves it would be D + sigma^2 l'(x_t)."""
    x = torch.tensor(np.random.default_rng(1).standard_normal((8, 3)) * 0.05)
    x_0 = PRIOR(x, sigma)
    slope = PRIOR.width**2 / (PRIOR.width**2 + sigma**2)
    variance = NOISE**2 + SLOPE**2 * estimate_variance(sigma)
    shift = torch.zeros_like(x)
    shift[:, 0] = sigma**2 * slope * SLOPE * (OBSERVED - SLOPE * x_0[:, 0]) / variance
    assert shift.square().sum(1).mean().sqrt() < LARGEST_SHIFT * sigma
    guided = guided_by(calibrated)(x, sigma)
    torch.testing.assert_close(guided, x_0 + shift, atol=1e-12, rtol=0)
    assert not guided.requires_grad and not x.requires_grad


def test_above_its_level_guidance_is_silent():
    asked: list[float] = []

    def guide(x_0: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return x_0.sum()

    guided = guided_by(guide, 0.3)
    x = torch.ones(4, 3, dtype=torch.float64)
    assert torch.equal(guided(x, 0.31), PRIOR(x, 0.31)) and not asked
    assert not torch.equal(guided(x, 0.3), PRIOR(x, 0.3)) and asked == [0.3]


@pytest.mark.parametrize("strength", [1e2, 1e8, 1e20])
def test_the_shift_is_bounded_and_keeps_its_direction(strength):
    direction = torch.tensor(np.random.default_rng(3).standard_normal((20, 3)))
    guided = guided_by(lambda x_0, sigma: strength * (x_0 * direction).sum())
    x = torch.zeros(20, 3, dtype=torch.float64)
    shift = guided(x, 0.2) - PRIOR(x, 0.2)
    assert float(shift.square().sum(1).mean().sqrt()) == pytest.approx(LARGEST_SHIFT * 0.2)
    cosine = (shift * direction).sum() / shift.norm() / direction.norm()
    assert float(cosine) == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_guide_that_is_not_finite_is_an_error_that_says_where(bad):
    guided = guided_by(lambda x_0, sigma: (x_0 * bad).sum())
    with pytest.raises(RunError, match=r"finite, received NaN or infinity from plain at sigma "
                                       r"= 0\.250"):
        guided(torch.ones(3, 3), 0.25)


def test_guides_add_and_each_is_silent_above_its_own_level():
    low, high = Plain(lambda x_0, sigma: x_0.sum(), 0.2), Plain(lambda x_0, sigma: 2 * x_0.sum())
    guide = Guides([low, high])
    x = torch.ones(4, 3, dtype=torch.float64)
    assert float(guide(x, 0.2)) == 36.0 and float(guide(x, 0.3)) == 24.0
    assert guide.sigma_on == 100.0
    assert float(Guides([low])(x, 0.3)) == 0.0


def test_the_trace_holds_the_log_likelihoods_of_guided_calls():
    guided = guided_by(calibrated, 0.3)
    x = torch.ones(4, 3, dtype=torch.float64)
    for sigma in (0.5, 0.3, 0.1):
        guided(x, sigma)
    assert guided.trace == [(s, pytest.approx(float(calibrated(PRIOR(x, s), s))))
                            for s in (0.3, 0.1)]


def test_guided_walks_spend_as_many_calls_and_more_of_them_where_a_guide_tells():
    plain, guided = SCHEDULE.levels(), guided_schedule(SCHEDULE).levels()
    assert len(guided) == len(plain) and guided[0] == plain[0]
    assert guided[-2] == pytest.approx(plain[-2]) and np.all(np.diff(guided) < 0)
    told = [sum(0.12 <= s <= 0.35 for s in levels) for levels in (plain, guided)]
    assert told[1] > 1.5 * told[0]
