"""The walk from noise to structure, against laws that are known; each has a control that fails.

With an exact denoiser the walk must end in the denoiser's distribution, but for steps of finite
length: its widths hold within 2 %, that is the tolerance of the laws here.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from analytic_denoisers import GaussianDenoiser, MixtureDenoiser
from scipy.stats import kstest, norm
from torch import Tensor

from diffxas import noise
from diffxas.denoiser import Denoiser, PriorConfig
from diffxas.errors import InputError
from samplers.sampling import (
    LESS_NOISE,
    MAXIMUM_STEPS,
    SamplingSchedule,
    Step,
    contract,
    sample,
    walk,
)
from samplers.setup import schedule_at

N_ATOMS = 6000
SCHEDULE = SamplingSchedule()
MEAN, WIDTH = 0.4, 0.4
EXACT = GaussianDenoiser(MEAN, WIDTH)
WELLS = MixtureDenoiser((-0.9, 0.7), (0.3, 0.7), 0.2)


def noised(x_0: np.ndarray) -> Tensor:
    """Exact draws at the first level of the schedule."""
    rng = np.random.default_rng(5)
    return torch.tensor(x_0 + SCHEDULE.sigma_max * rng.standard_normal(x_0.shape))


def gaussian_start(n_atoms: int = N_ATOMS) -> Tensor:
    rng = np.random.default_rng(6)
    return noised(MEAN + WIDTH * rng.standard_normal((n_atoms, 3)))


def wells_start(n_atoms: int = N_ATOMS) -> Tensor:
    rng = np.random.default_rng(7)
    well = rng.choice(WELLS.means, (n_atoms, 3), p=WELLS.weights)
    return noised(well + WELLS.width * rng.standard_normal(well.shape))


def coordinates(denoiser: Denoiser, start: Tensor) -> np.ndarray:
    """All coordinates of all atoms at the end of the walk: independent draws."""
    return sample(denoiser, start, SCHEDULE, 11, 0).numpy().ravel()


def law_of_wells(x: np.ndarray) -> np.ndarray:
    return np.sum([w * norm.cdf(x, m, WELLS.width)
                   for m, w in zip(WELLS.means, WELLS.weights, strict=True)], 0)


def misfit(x: np.ndarray, law: Callable[[np.ndarray], np.ndarray]) -> float:
    """The distance of Kolmogorov and Smirnov."""
    return float(kstest(x, law).statistic)


KS_LIMIT = 0.02
"""18,000 coordinates scatter by 0.01 in one case of twenty, and 2 % of width add 0.005."""


def test_a_gaussian_is_sampled_with_its_moments_and_its_law():
    x = coordinates(EXACT, gaussian_start())
    assert x.mean() == pytest.approx(MEAN, abs=4 * WIDTH / np.sqrt(len(x)))
    assert x.std() == pytest.approx(WIDTH, rel=0.02)
    assert misfit(x, norm(MEAN, WIDTH).cdf) < KS_LIMIT


@pytest.mark.parametrize("factor", [0.75, 1.33])
def test_a_denoiser_of_another_width_fails_that_law(factor):
    x = coordinates(GaussianDenoiser(MEAN, factor * WIDTH), gaussian_start())
    assert misfit(x, norm(MEAN, WIDTH).cdf) > 2 * KS_LIMIT


def test_steps_without_their_noise_fail_that_law():
    x, levels = gaussian_start(), SCHEDULE.levels()
    for sigma, sigma_next in pairwise(levels):
        x = contract(x, EXACT(x, sigma), sigma, sigma_next, SCHEDULE.eta)
    assert misfit(x.numpy().ravel(), norm(MEAN, WIDTH).cdf) > 2 * KS_LIMIT


@pytest.mark.parametrize("eta", [0.0, 1.0, 40.0])
def test_the_law_does_not_depend_on_how_much_noise_is_put_back(eta):
    x = sample(EXACT, gaussian_start(), SamplingSchedule(eta=eta), 11, 0).numpy().ravel()
    assert x.std() == pytest.approx(WIDTH, rel=0.02)
    assert misfit(x, norm(MEAN, WIDTH).cdf) < KS_LIMIT


def put_back(schedule: SamplingSchedule, sigma: float, sigma_next: float) -> float:
    """Standard deviation of a step's noise."""
    return sigma_next * (1 - (sigma_next / sigma) ** (2 * schedule.eta)) ** 0.5


def test_steps_of_first_order_are_farther_from_that_law():
    """What the second order is for."""
    widths, levels = [], SCHEDULE.levels()
    for order in (1, 2):
        x, last = gaussian_start(), None
        for index, (sigma, sigma_next) in enumerate(pairwise(levels)):
            x_0 = EXACT(x, sigma)
            x = contract(x, x_0, sigma, sigma_next, SCHEDULE.eta, last if order == 2 else None)
            x = x + put_back(SCHEDULE, sigma, sigma_next) * torch.tensor(
                noise.normal(1, 0, index, len(x), stream=9))
            last = x_0, sigma
        widths.append(float(x.std()) / WIDTH)
    assert abs(widths[0] - 1) > 3 * abs(widths[1] - 1)


def test_two_wells_are_filled_by_their_weights():
    x = coordinates(WELLS, wells_start())
    left = x < -0.2
    assert left.mean() == pytest.approx(WELLS.weights[0], abs=0.02)
    for mean, well in zip(WELLS.means, (x[left], x[~left]), strict=True):
        assert well.mean() == pytest.approx(mean, abs=0.02)
        assert well.std() == pytest.approx(WELLS.width, rel=0.03)
    assert misfit(x, law_of_wells) < KS_LIMIT


def test_wells_of_other_weights_fail_that_law():
    """Enough noise is put back that the denoiser decides, not the start."""
    x = coordinates(MixtureDenoiser(WELLS.means, (0.5, 0.5), WELLS.width), wells_start())
    assert misfit(x, law_of_wells) > 2 * KS_LIMIT


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_the_noise_of_every_step_has_its_width_and_is_scaled_where_the_walk_is_cold(scale):
    schedule = SamplingSchedule(noise_scale=scale)
    steps, levels = list(walk(WELLS, wells_start(), schedule, 1, 0)), schedule.levels()
    for last, step in pairwise(steps[:-1]):
        sigma, sigma_next = levels[step.index], levels[step.index + 1]
        assert step.sigma == sigma
        smooth = schedule.is_cold(last.sigma) == schedule.is_cold(sigma)
        before = (last.x_0, last.sigma) if smooth else None
        moved = contract(last.x, step.x_0, sigma, sigma_next, schedule.eta, before)
        width = put_back(schedule, sigma, sigma_next) * (scale if 0.1 < sigma < 0.5 else 1.0)
        assert float((step.x - moved).std()) == pytest.approx(width, rel=0.03)
    assert torch.equal(steps[-1].x, steps[-1].x_0)


def by_hand(x: Tensor, x_0: Tensor, sigma: float, sigma_next: float, eta: float,
            last: tuple[Tensor, float] | None) -> Tensor:
    """The equation of the module, float64."""
    if sigma_next == 0:
        return x_0
    h = float(np.log(sigma / sigma_next))
    kept = float(np.exp(-(1 + eta) * h))
    slope = 0.0 if last is None else (x_0 - last[0]) * h / (2 * np.log(last[1] / sigma))
    return kept * x + (1 - kept) * (x_0 + slope)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("levels", [(1.3, 1.2, 1.1), (0.31, 0.3, 0.05), (None, 0.3, 0.29),
                                    (0.04, 0.03, 0.0)])
def test_the_step_is_that_of_the_equation_wherever_the_atoms_are(levels, offset):
    before, sigma, sigma_next = levels
    rng = np.random.default_rng(8)
    x_0 = torch.tensor(offset + rng.standard_normal((500, 3)))
    x = x_0 + sigma * torch.tensor(rng.standard_normal((500, 3)))
    last = None if before is None else (x_0 + 0.1 * torch.tensor(rng.standard_normal((500, 3))),
                                        before)
    for eta in (0.0, 1.0, 20.0):
        stepped = contract(x, x_0, sigma, sigma_next, eta, last)
        expected = by_hand(x, x_0, sigma, sigma_next, eta, last)
        assert stepped.dtype == torch.float64
        assert (stepped - expected).abs().max() < 1e-12 * max(offset, 1.0)


def test_the_whole_walk_is_that_of_a_reference_loop():
    denoiser, x, schedule = EXACT, gaussian_start(n_atoms=40), SamplingSchedule(noise_scale=0.9)
    end = sample(denoiser, x, schedule, 3, 5)
    levels, last = schedule.levels(), None
    for index, (sigma, sigma_next) in enumerate(pairwise(levels)):
        x_0 = denoiser(x, sigma)
        if last is not None and (0.1 < last[1] < 0.5) != (0.1 < sigma < 0.5):
            last = None
        x = by_hand(x, x_0, sigma, sigma_next, schedule.eta, last)
        scale = 0.9 if 0.1 < sigma < 0.5 else 1.0
        x = x + scale * put_back(schedule, sigma, sigma_next) * torch.tensor(
            noise.normal(3, 5, index + 1, 40, stream=2))
        last = x_0, sigma
    assert (end - x).abs().max() < 1e-12


@pytest.mark.parametrize("steps", [2, 6, 48, 64])
def test_levels_fall_from_the_highest_to_zero(steps):
    schedule = SamplingSchedule(steps=steps)
    levels = schedule.levels()
    assert len(levels) == steps + 1
    assert levels[0] == pytest.approx(schedule.sigma_max, rel=1e-6)
    assert levels[-2] == pytest.approx(schedule.sigma_min, rel=1e-5) and levels[-1] == 0
    assert all(a > b for a, b in pairwise(levels))


def test_the_calls_are_spent_where_bonds_are_decided():
    schedule = SamplingSchedule()
    levels = np.array(schedule.levels()[:-1])
    inside = (levels <= schedule.bond_high) & (levels > schedule.bond_low)
    assert inside.mean() == pytest.approx(schedule.bond_share, abs=1 / 64)
    steps = -np.diff(levels[inside])
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-6)  # equal steps between bonds' levels
    for outside in (levels[levels > schedule.bond_high], levels[levels <= schedule.bond_low]):
        ratios = outside[1:] / outside[:-1]
        np.testing.assert_allclose(ratios, ratios.mean(), rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 0, -3, 65])
def test_too_few_or_too_many_steps_are_refused(steps):
    with pytest.raises(InputError, match=f"between 2 and 64, received {steps}"):
        SamplingSchedule(steps=steps)


@pytest.mark.parametrize("steps", [2, 48, 64])
def test_the_denoiser_is_called_once_a_step_at_levels_that_the_prior_knows(steps):
    schedule, asked = SamplingSchedule(steps=steps), []

    def denoiser(x_t: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return GaussianDenoiser(0, 0.3)(x_t, sigma)

    watched: list[Step] = []
    sample(denoiser, gaussian_start(n_atoms=4), schedule, 0, 0, watched.append)
    assert len(asked) == steps <= 64
    assert [step.index for step in watched] == list(range(steps))
    assert [step.sigma for step in watched] == asked
    known = PriorConfig(elements=["C"])
    assert known.sigma_min <= min(asked) and max(asked) <= known.sigma_max


def test_one_seed_gives_one_end_and_others_others():
    denoiser, start = EXACT, gaussian_start(n_atoms=30)
    end = sample(denoiser, start, SCHEDULE, 7, 2)
    assert torch.equal(sample(denoiser, start, SCHEDULE, 7, 2), end)
    for seed, number in ((8, 2), (7, 3), (2, 7)):
        assert (sample(denoiser, start, SCHEDULE, seed, number) - end).abs().min() > 1e-6


@pytest.mark.parametrize("first", [1, 20, SCHEDULE.steps - 1])
def test_a_walk_that_goes_on_from_a_step_ends_where_the_whole_one_does(first):
    denoiser, start = WELLS, wells_start()[:30]
    steps = list(walk(denoiser, start, SCHEDULE, 7, 2))
    again = list(walk(denoiser, start, SCHEDULE, 7, 2, after=steps[first - 1]))
    assert [step.index for step in again] == list(range(first, SCHEDULE.steps))
    assert torch.equal(again[-1].x, steps[-1].x)


def test_an_atom_s_end_does_not_depend_on_how_many_are_sampled_with_it():
    start = wells_start()[:40]
    together = sample(WELLS, start, SCHEDULE, 7, 2)
    alone = sample(WELLS, start[:9], SCHEDULE, 7, 2)
    torch.testing.assert_close(alone, together[:9], atol=1e-12, rtol=0)


def test_single_precision_stays_single():
    start = gaussian_start(n_atoms=8).float()
    end = sample(EXACT, start, SCHEDULE, 0, 0)
    assert end.dtype == torch.float32
    double = sample(EXACT, start.double(), SCHEDULE, 0, 0)
    assert (end - double).abs().max() < 1e-4


def rates(schedule: SamplingSchedule) -> list[float]:
    """2 eta h of every step: how much noise is put back, over how much is there."""
    return [2 * schedule.eta * math.log(a / b) for a, b in pairwise(schedule.levels()[:-1])]


def test_fewer_steps_put_back_as_much_a_step_and_are_a_little_colder():
    record = {"sampling": [[2.0, 0.8, 0.9]], "levels": {"eta": 10.0}}
    most, half = (schedule_at(record, 2.0, steps) for steps in (MAXIMUM_STEPS, MAXIMUM_STEPS // 2))
    assert (most.eta, most.noise_scale, most.temperature) == (10.0, 0.9, 0.8)
    assert half.temperature == 0.8
    assert 0.9 * (1 - LESS_NOISE) < half.noise_scale < 0.9
    assert np.median(rates(half)) == pytest.approx(np.median(rates(most)), rel=0.15)
    usual = replace(half, eta=most.eta)  # the control
    assert np.median(rates(usual)) > 1.7 * np.median(rates(most))
