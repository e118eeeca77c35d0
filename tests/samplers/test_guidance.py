"""Guidance against posteriors that are known, gradients against finite differences, its bounds.

Guidance evaluates the likelihood at the denoised estimate (diffusion posterior sampling). For a
Gaussian prior and a linear observation that is exact when the error of the estimate joins the
variance of the likelihood, as a calibration has it; with the variance of the observation alone it
is too sure of itself at high noise. Both are tested; steps of finite length cost up to 5 %.
"""

import numpy as np
import pytest
import torch
from analytic_denoisers import GaussianDenoiser
from position_surrogate import GRID, PositionSurrogate
from torch import Tensor

from diffxas.denoiser import Denoiser
from diffxas.errors import RunError
from diffxas.spectrum import Spectrum
from diffxas.structure import Structure
from samplers.guidance import (
    LARGEST_SHIFT,
    LEVELS,
    N_REFERENCE,
    TEMPERATURE,
    Calibration,
    GuidedDenoiser,
    SpectrumGuide,
    calibrate,
)
from samplers.sampling import SamplingSchedule, sample
from surrogates.observation import Observation
from surrogates.targets import observation_for

PRIOR = GaussianDenoiser(0.0, 0.4)
SLOPE, OBSERVED, NOISE = 1.0, 0.4, 0.5
"""The observation: y = SLOPE x_0 + noise, of every atom's x by itself; y and z are not observed."""
POSTERIOR_VARIANCE = 1 / (1 / PRIOR.width**2 + SLOPE**2 / NOISE**2)
POSTERIOR_MEAN = POSTERIOR_VARIANCE * SLOPE * OBSERVED / NOISE**2
SCHEDULE = SamplingSchedule()
ALWAYS = 100.0


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
    x = drawn(GuidedDenoiser(PRIOR, calibrated, ALWAYS))
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
    guided, usual = GuidedDenoiser(PRIOR, certain, ALWAYS), SamplingSchedule(eta=1.0)
    x = drawn(guided, schedule=usual)[:, 0]
    assert 1.1 * POSTERIOR_MEAN < x.mean() < 1.3 * POSTERIOR_MEAN
    assert x.std() < 0.975 * POSTERIOR_VARIANCE**0.5
    assert drawn(GuidedDenoiser(PRIOR, calibrated, ALWAYS), schedule=usual)[:, 0].std() == (
        pytest.approx(POSTERIOR_VARIANCE**0.5, rel=0.02))
    assert drawn(guided)[:, 0].mean() == pytest.approx(POSTERIOR_MEAN, rel=0.05)


def test_guidance_that_sets_in_late_goes_part_of_the_way():
    x = drawn(GuidedDenoiser(PRIOR, calibrated, 0.08))[:, 0]
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
    guided = GuidedDenoiser(PRIOR, calibrated, ALWAYS)(x, sigma)
    torch.testing.assert_close(guided, x_0 + shift, atol=1e-12, rtol=0)
    assert not guided.requires_grad and not x.requires_grad


def test_above_its_level_guidance_is_silent():
    asked: list[float] = []

    def guide(x_0: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return x_0.sum()

    guided = GuidedDenoiser(PRIOR, guide, 0.3)
    x = torch.ones(4, 3, dtype=torch.float64)
    assert torch.equal(guided(x, 0.31), PRIOR(x, 0.31)) and not asked
    assert not torch.equal(guided(x, 0.3), PRIOR(x, 0.3)) and asked == [0.3]


@pytest.mark.parametrize("strength", [1e2, 1e8, 1e20])
def test_the_shift_is_bounded_and_keeps_its_direction(strength):
    direction = torch.tensor(np.random.default_rng(3).standard_normal((20, 3)))
    guided = GuidedDenoiser(PRIOR, lambda x_0, sigma: strength * (x_0 * direction).sum(), ALWAYS)
    x = torch.zeros(20, 3, dtype=torch.float64)
    shift = guided(x, 0.2) - PRIOR(x, 0.2)
    assert float(shift.square().sum(1).mean().sqrt()) == pytest.approx(LARGEST_SHIFT * 0.2)
    cosine = (shift * direction).sum() / shift.norm() / direction.norm()
    assert float(cosine) == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_guide_that_is_not_finite_is_an_error_that_says_where(bad):
    guided = GuidedDenoiser(PRIOR, lambda x_0, sigma: (x_0 * bad).sum(), ALWAYS)
    with pytest.raises(RunError, match=r"finite, received NaN or infinity at sigma = 0\.250"):
        guided(torch.ones(3, 3), 0.25)


def calibration(error: list[float], spread: float = 0.1, bias: float = 0.0) -> Calibration:
    sigma = 0.1 * (1 + np.arange(len(error)))
    table = bias * np.outer(1 + np.arange(len(error)), np.ones(len(GRID)))
    return Calibration(sigma, table, np.array(error), np.array(error), spread)


def test_guidance_sets_in_where_the_error_reaches_the_spread():
    assert calibration([0.02, 0.06, 0.14, 0.3]).sigma_on == pytest.approx(0.25)  # in between
    assert calibration([0.02, 0.1, 0.14]).sigma_on == pytest.approx(0.2)  # on a level
    assert calibration([0.02, 0.03, 0.04]).sigma_on == pytest.approx(0.3)  # never: the highest
    assert calibration([0.2, 0.3, 0.4]).sigma_on == pytest.approx(0.1)  # always: the lowest


def test_the_bias_is_interpolated_falls_to_zero_with_the_noise_and_stays_beyond_the_last_level():
    table = calibration([0.02, 0.06, 0.14], bias=0.01)
    for sigma, factor in ((0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.17, 1.7), (0.3, 3.0), (9, 3.0)):
        np.testing.assert_allclose(table.bias_at(sigma), 0.01 * factor, atol=1e-15)
    assert table.error_at(0.15) == pytest.approx(0.04)
    assert table.error_at(0.01) == 0.02 and table.error_at(9) == 0.14


SURROGATE = PositionSurrogate()


def cell(seed: int, n_atoms: int = 12) -> Structure:
    rng = np.random.default_rng(seed)
    return Structure(rng.standard_normal((n_atoms, 3)), np.full(n_atoms, 6), 6 * np.eye(3))


def offset(x_t: Tensor, sigma: float) -> Tensor:
    """A denoiser that knows the sample, but for a shift along x that grows with the noise."""
    return cells_by_call.pop(0) + torch.tensor([sigma, 0.0, 0.0])


cells_by_call: list[Tensor] = []


def calibrated_with(denoiser: Denoiser, samples: list[Structure], draws: int = 2) -> Calibration:
    cells_by_call[:] = [torch.tensor(s.positions) for s in samples
                        for _ in range(len(LEVELS) * draws)]
    return calibrate(denoiser, SURROGATE, samples, 0)


def test_calibration_takes_the_systematic_part_of_the_error_for_bias():
    samples = [cell(0), cell(1), cell(2)]
    found = calibrated_with(offset, samples)
    mu = [SURROGATE.mean_spectrum(torch.tensor(s.positions), s).numpy() for s in samples]
    moved = SURROGATE.mean_spectrum(torch.tensor(samples[0].positions) + torch.tensor([1., 0, 0]),
                                    samples[0]).numpy()
    np.testing.assert_allclose(found.bias, -np.outer(LEVELS, moved - mu[0]), atol=1e-12)
    assert found.error.max() < 1e-12 < found.raw_error.min()
    assert np.all(np.diff(found.raw_error) > 0)
    assert found.sigma_on == LEVELS[-1]
    pairs = [np.mean((a - b) ** 2) for k, a in enumerate(mu) for b in mu[:k]]
    assert found.spread >= np.sqrt(np.mean(pairs)) * (1 - 1e-9)


def test_calibration_of_a_denoiser_that_knows_nothing_sets_guidance_in_last():
    rng = np.random.default_rng(3)
    found = calibrated_with(lambda x_t, sigma: torch.tensor(20 * rng.standard_normal((12, 3))),
                            [cell(0), cell(1)])
    assert found.sigma_on == LEVELS[0]


def test_calibration_is_that_of_its_seed():
    samples = [cell(0), cell(1)]
    first, again, other = (calibrate(PRIOR, SURROGATE, samples, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.error, again.error)
    assert (first.error != other.error).all()
    assert np.all(np.diff(first.error) >= 0)


def observation(kind: str, noise: float | None = None) -> Observation:
    """A target near to what the surrogate says, on its grid or on that of an instrument."""
    truth = cell(7)
    mu = SURROGATE.mean_spectrum(torch.tensor(truth.positions), truth).numpy()
    if kind == "computed":
        return observation_for(Spectrum(GRID, mu, "C", "K"), GRID, noise=noise)[0]
    energy = np.arange(272.0, 318.0, 0.25)
    curve = 100 + 1300 * np.interp(energy - 0.2, GRID, mu) + 250 / (1 + np.exp(-(energy - 290)))
    return observation_for(Spectrum(energy, curve, "C", "K"), GRID, noise=noise)[0]


@pytest.mark.parametrize("kind", ["computed", "measured"])
def test_the_gradient_through_the_fit_is_the_numeric_one(kind):
    """Of the likelihood profiled over the nuisances (envelope theorem), at a fixed noise level."""
    system, seen = cell(5), observation(kind)
    guide = SpectrumGuide(SURROGATE, seen, system, calibration([0.0, 0.0]))
    x = torch.tensor(system.positions, requires_grad=True)
    (gradient,) = torch.autograd.grad(guide(x, 0.15), x)
    theta = dict(guide.theta)
    x = x.detach()

    def profiled(positions: Tensor) -> float:
        mu = SURROGATE.mean_spectrum(positions, system).numpy()
        fit = seen.fit(mu, start=theta or None)
        return (fit.log_likelihood + fit.log_prior) * len(system) / N_REFERENCE / TEMPERATURE

    h = 1e-4
    for seed in range(4):
        d = torch.tensor(np.random.default_rng(seed).standard_normal(x.shape))
        numeric = (profiled(x + h * d) - profiled(x - h * d)) / (2 * h)
        assert float((gradient * d).sum()) == pytest.approx(numeric, rel=1e-3)


def test_the_guide_s_value_is_the_likelihood_and_its_trace_the_residual():
    system, seen = cell(5), observation("computed")
    guide = SpectrumGuide(SURROGATE, seen, system, calibration([0.0, 0.0]))
    x = torch.tensor(system.positions)
    fit = seen.fit(SURROGATE.mean_spectrum(x, system).numpy())
    value = float(guide(x, 0.15))
    assert value == pytest.approx(
        fit.log_likelihood * len(system) / N_REFERENCE / TEMPERATURE)
    assert guide.trace == [(0.15, pytest.approx(fit.residual_rms))]


def test_the_likelihood_grows_with_the_number_of_atoms_as_the_prior_does():
    """Twice the cell: the same spectrum, twice the log-likelihood, the same force on an atom."""
    system, seen = cell(5), observation("computed")
    double = Structure.from_atoms(system.to_atoms().repeat((2, 1, 1)))
    double = double.with_positions(np.tile(system.positions, (2, 1)))
    values, forces = [], []
    for one in (system, double):
        guide = SpectrumGuide(SURROGATE, seen, one, calibration([0.02, 0.02]))
        x = torch.tensor(one.positions, requires_grad=True)
        value = guide(x, 0.15)
        values.append(float(value.detach()))
        forces.append(torch.autograd.grad(value, x)[0])
    assert values[1] == pytest.approx(2 * values[0])
    torch.testing.assert_close(forces[1][:12], forces[0], atol=1e-12, rtol=1e-9)


def test_the_error_of_the_estimate_weakens_the_guide_and_its_bias_is_added():
    system, seen = cell(5), observation("computed")
    x = torch.tensor(system.positions)
    values = [float(SpectrumGuide(SURROGATE, seen, system, calibration([e, e]))(x, 0.15))
              for e in (0.0, 0.05, 0.5)]
    assert values[0] < values[1] < values[2] < 0
    # The wider the less it says: the likelihood goes as 1 / (noise^2 + error^2).
    mu = SURROGATE.mean_spectrum(x, system).numpy()
    error = 0.05 * seen.spread / mu.std()
    assert values[1] / values[0] == pytest.approx(seen.noise**2 / (seen.noise**2 + error**2))
    biased = SpectrumGuide(SURROGATE, seen, system, calibration([0.0, 0.0], bias=0.01))
    biased(x, 0.15)
    fit = seen.fit(mu + 0.015)
    assert biased.trace[0][1] == pytest.approx(fit.residual_rms)


def test_a_guided_walk_meets_the_spectrum_that_an_unguided_one_misses():
    """Start to end with the parts that ``generate`` uses, an analytic prior and surrogate."""
    prior, seen = GaussianDenoiser(-0.6, 0.5), observation("computed", noise=0.002)
    system = cell(5, 200)
    guide = SpectrumGuide(SURROGATE, seen, system, calibration([0.0005, 0.001, 0.002, 0.004]))
    start = torch.tensor(1.3 * np.random.default_rng(0).standard_normal((200, 3)))

    def residual(denoiser: Denoiser) -> float:
        end = sample(denoiser, start, SCHEDULE, 0, 0)
        return seen.fit(SURROGATE.mean_spectrum(end, system).numpy()).residual_rms

    assert residual(GuidedDenoiser(prior, guide, 0.5)) < 0.5 * residual(prior)
    assert len(guide.trace) > 20 and guide.trace[-1][1] < 0.5 * guide.trace[0][1]


class Disagreeing(PositionSurrogate):
    """Two members of equal mean, apart by a constant."""

    def __init__(self, apart: float) -> None:
        super().__init__()
        self.apart = apart

    def spectra(self, positions, structure):
        one = super().spectra(positions, structure)
        return torch.cat([one + self.apart, one - self.apart])


def test_where_members_disagree_the_target_pulls_less():
    system, seen = cell(5), observation("computed")
    forces = []
    for surrogate in (Disagreeing(0.0), Disagreeing(0.05)):
        x = torch.tensor(system.positions, requires_grad=True)
        guide = SpectrumGuide(surrogate, seen, system, calibration([0.0, 0.0]))
        (gradient,) = torch.autograd.grad(guide(x, 0.15), x)
        forces.append(float(gradient.norm()))
    assert 0 < forces[1] < 0.8 * forces[0]
