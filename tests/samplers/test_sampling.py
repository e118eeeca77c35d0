"""The walk from noise to structure, against laws that are known; each has a control that fails.

With an exact denoiser the walk must end in the denoiser's distribution, but for steps of finite
length: Euler's step contracts too much, by an error of first order. ``FINE`` puts little noise back
and keeps widths within 4 %; that is the tolerance of the laws here. The default schedule puts much
back, which serves a denoiser that is not exact, and narrows by 10 to 15 % (tested as such).
"""

from collections.abc import Callable
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
from samplers.sampling import MAXIMUM_STEPS, SamplingSchedule, Step, euler_step, sample, walk

N_ATOMS = 6000
SCHEDULE = SamplingSchedule(noise_scale=1.0)
FINE = SamplingSchedule(steps=MAXIMUM_STEPS, sigma_max=1.2, sigma_min=0.03, churn=0.05,
                        churn_low=0.06, churn_high=1.2, noise_scale=1.0)
MEAN, WIDTH = 0.4, 0.4
EXACT = GaussianDenoiser(MEAN, WIDTH)
WELLS = MixtureDenoiser((-0.9, 0.7), (0.3, 0.7), 0.2)


def noised(x_0: np.ndarray) -> Tensor:
    """Exact draws at the first level of the schedules."""
    assert FINE.sigma_max == SCHEDULE.sigma_max
    rng = np.random.default_rng(5)
    return torch.tensor(x_0 + FINE.sigma_max * rng.standard_normal(x_0.shape))


def gaussian_start(n_atoms: int = N_ATOMS) -> Tensor:
    rng = np.random.default_rng(6)
    return noised(MEAN + WIDTH * rng.standard_normal((n_atoms, 3)))


def wells_start(n_atoms: int = N_ATOMS) -> Tensor:
    rng = np.random.default_rng(7)
    well = rng.choice(WELLS.means, (n_atoms, 3), p=WELLS.weights)
    return noised(well + WELLS.width * rng.standard_normal(well.shape))


def coordinates(denoiser: Denoiser, start: Tensor) -> np.ndarray:
    """All coordinates of all atoms at the end of the fine walk: independent draws."""
    return sample(denoiser, start, FINE, 11, 0).numpy().ravel()


def law_of_wells(x: np.ndarray) -> np.ndarray:
    return np.sum([w * norm.cdf(x, m, WELLS.width)
                   for m, w in zip(WELLS.means, WELLS.weights, strict=True)], 0)


def misfit(x: np.ndarray, law: Callable[[np.ndarray], np.ndarray]) -> float:
    """The distance of Kolmogorov and Smirnov."""
    return float(kstest(x, law).statistic)


KS_LIMIT = 0.02
"""18,000 coordinates scatter by 0.01 in one case of twenty, and 4 % of width add 0.01."""


def test_a_gaussian_is_sampled_with_its_moments_and_its_law():
    x = coordinates(EXACT, gaussian_start())
    assert x.mean() == pytest.approx(MEAN, abs=4 * WIDTH / np.sqrt(len(x)))
    assert x.std() == pytest.approx(WIDTH, rel=0.04)
    assert misfit(x, norm(MEAN, WIDTH).cdf) < KS_LIMIT


@pytest.mark.parametrize("factor", [0.75, 1.33])
def test_a_denoiser_of_another_width_fails_that_law(factor):
    x = coordinates(GaussianDenoiser(MEAN, factor * WIDTH), gaussian_start())
    assert misfit(x, norm(MEAN, WIDTH).cdf) > 2 * KS_LIMIT


def test_a_raised_level_without_its_noise_fails_that_law():
    x = gaussian_start()
    levels = FINE.levels()
    for sigma, sigma_next in pairwise(levels):
        raised = FINE.raised(sigma)
        x = euler_step(x, EXACT(x, raised), raised, sigma_next)
    assert misfit(x.numpy().ravel(), norm(MEAN, WIDTH).cdf) > 2 * KS_LIMIT


def test_noise_that_the_denoiser_is_not_told_of_fails_that_law():
    """At the default's churn, where the two levels differ by half."""
    lower = {SCHEDULE.raised(sigma): sigma for sigma in SCHEDULE.levels()}
    told, untold = (float(sample(d, gaussian_start(), SCHEDULE, 11, 0).std()) for d in (
        EXACT, lambda x_t, sigma: EXACT(x_t, lower[sigma])))
    assert told == pytest.approx(WIDTH, rel=0.15)
    assert abs(untold / WIDTH - 1) > 0.3


def test_two_wells_are_filled_by_their_weights():
    x = coordinates(WELLS, wells_start())
    left = x < -0.2
    assert left.mean() == pytest.approx(WELLS.weights[0], abs=0.02)
    for mean, well in zip(WELLS.means, (x[left], x[~left]), strict=True):
        assert well.mean() == pytest.approx(mean, abs=0.02)
        assert well.std() == pytest.approx(WELLS.width, rel=0.08)
    assert misfit(x, law_of_wells) < KS_LIMIT


def test_wells_of_other_weights_fail_that_law():
    """Enough noise is put back that the denoiser decides, not the start."""
    x = coordinates(MixtureDenoiser(WELLS.means, (0.5, 0.5), WELLS.width), wells_start())
    assert misfit(x, law_of_wells) > 2 * KS_LIMIT


@pytest.mark.parametrize("schedule", [SCHEDULE, FINE, SamplingSchedule()],
                         ids=["full noise", "fine", "shipped"])
def test_the_variance_of_every_step_is_the_one_of_the_equations(schedule):
    """For a Gaussian each step is linear: its variance follows by hand, at every level."""
    variance = WIDTH**2 + schedule.sigma_max**2
    start, levels = gaussian_start(n_atoms=20_000), schedule.levels()
    for step in walk(EXACT, start, schedule, 1, 0):
        sigma, sigma_next = levels[step.index], levels[step.index + 1]
        raised = schedule.raised(sigma)
        assert step.sigma == raised
        slope = (sigma_next - raised) / raised * raised**2 / (raised**2 + WIDTH**2)
        added = schedule.noise_scale**2 * (raised**2 - sigma**2)
        variance = (variance + added) * (1 + slope) ** 2
        assert float(step.x.var()) == pytest.approx(variance, rel=0.03)
    assert variance**0.5 == pytest.approx(WIDTH, rel={
        SCHEDULE: 0.15, FINE: 0.04, SamplingSchedule(): 0.45}[schedule])


def euler(x: Tensor, x_0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """The reference: the step as it is written, float64."""
    return x + (sigma_next - sigma) * (x - x_0) / sigma


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("pair", [(1.2, 1.1), (0.3, 0.05), (0.031, 0.03), (0.03, 0.0)])
def test_the_step_is_euler_s_to_single_precision_of_the_displacement(pair, offset):
    """The scheduler casts to float32: on displacements that costs 2e-6 of sigma, wherever they are.

    On coordinates it would cost 0.06 angstrom at 1e6 angstrom.
    """
    sigma, sigma_next = pair
    rng = np.random.default_rng(8)
    x_0 = torch.tensor(offset + rng.standard_normal((500, 3)))
    x = x_0 + sigma * torch.tensor(rng.standard_normal((500, 3)))
    stepped = euler_step(x, x_0, sigma, sigma_next)
    assert stepped.dtype == torch.float64
    rounding = 1e-15 * max(offset, 1.0)
    assert (stepped - euler(x, x_0, sigma, sigma_next)).abs().max() < 2e-6 * sigma + rounding
    if offset == 1e6:
        coarse = euler(x.float(), x_0.float(), sigma, sigma_next).double()
        assert (coarse - euler(x, x_0, sigma, sigma_next)).abs().max() > 1e-2  # the control


def test_the_whole_walk_is_that_of_a_reference_loop():
    denoiser, x, schedule = EXACT, gaussian_start(n_atoms=40), SamplingSchedule()
    end = sample(denoiser, x, schedule, 3, 5)
    levels = schedule.levels()
    for index in range(schedule.steps):
        sigma, sigma_next = levels[index], levels[index + 1]
        raised = sigma
        if schedule.churn_low <= sigma <= schedule.churn_high:
            raised = sigma * (1 + schedule.churn)
            z = torch.tensor(noise.normal(3, 5, index + 1, 40, stream=2))
            x = x + schedule.noise_scale * (raised**2 - sigma**2) ** 0.5 * z
        x = euler(x, denoiser(x, raised), raised, sigma_next)
    assert (end - x).abs().max() < 1e-5


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
    again = list(walk(denoiser, steps[first - 1].x, SCHEDULE, 7, 2, first=first))
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
