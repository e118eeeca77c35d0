"""A target spectrum as a guide: its value, its gradient, its weight, the pull it gives."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from analytic_denoisers import GaussianDenoiser
from position_surrogate import GRID, PositionSurrogate
from scipy.stats import multivariate_normal
from torch import Tensor

from diffxas.denoiser import Denoiser
from diffxas.spectrum import Spectrum
from diffxas.structure import Structure
from samplers.calibration import Calibration
from samplers.guidance import GuidedDenoiser, guided_schedule
from samplers.guides.base import N_REFERENCE
from samplers.guides.spectrum import TEMPERATURE, SpectrumGuide
from samplers.sampling import SamplingSchedule, sample
from samplers.target import Target
from surrogates.calibration import correlated, mean_covariance

SURROGATE = PositionSurrogate()


class Sure(PositionSurrogate):
    """Left-out means erred by 0.001."""

    def __init__(self) -> None:
        super().__init__()
        self.record = {**self.record, "left_out": {
            "site_error": [0.01] * len(GRID), "networks": {"one": {"cell_mean_mae": 0.001}}}}


class Disagreeing(PositionSurrogate):
    """Two members of equal mean, apart by a constant."""

    def __init__(self, apart: float) -> None:
        super().__init__()
        self.apart = apart

    def spectra(self, positions, structure, cell=None):
        one = super().spectra(positions, structure)
        return torch.cat([one + self.apart, one - self.apart])


def cell(seed: int, n_atoms: int = 12) -> Structure:
    rng = np.random.default_rng(seed)
    return Structure(rng.standard_normal((n_atoms, 3)), np.full(n_atoms, 6), 6 * np.eye(3))


def mean_spectrum(structure: Structure) -> np.ndarray:
    return SURROGATE.mean_spectrum(torch.tensor(structure.positions), structure).numpy()


def target(kind: str = "computed") -> Target:
    """Near to what the surrogate says, on its grid or on that of an instrument."""
    mu = mean_spectrum(cell(7))
    if kind == "computed":
        return Target.of(Spectrum(GRID, mu, "C", "K"), SURROGATE)
    energy = np.arange(272.0, 318.0, 0.25)
    curve = 100 + 1300 * np.interp(energy - 0.2, GRID, mu) + 250 / (1 + np.exp(-(energy - 290)))
    return Target.of(Spectrum(energy, curve, "C", "K"), SURROGATE)


def calibration(error: Sequence[float], bias: float = 0.0) -> Calibration:
    """At 0.1, 0.2, ... angstrom; never silent below the last level."""
    levels, n = 1 + np.arange(len(error)), len(GRID)
    return Calibration(0.1 * levels, bias * np.outer(levels, np.ones(n)),
                       np.array(error)[:, None, None] ** 2 * np.eye(n), np.array(error),
                       np.array(error), 1.0, np.zeros((n, n)))


def guide_of(system: Structure, error: Sequence[float] = (0.0, 0.0), bias: float = 0.0,
             kind: str = "computed", surrogate: PositionSurrogate = SURROGATE,
             temperature: float = TEMPERATURE) -> SpectrumGuide:
    guide = SpectrumGuide(surrogate, target(kind), system, temperature=temperature)
    guide.calibration = calibration(error, bias)
    return guide


def pulled(guide: SpectrumGuide, sigma: float = 0.15) -> tuple[float, Tensor]:
    """Value and force at the guide's own system."""
    x = torch.tensor(guide.system.positions, requires_grad=True)
    value = guide(x, sigma)
    return float(value.detach()), torch.autograd.grad(value, x)[0]


def test_the_value_is_the_log_likelihood_of_a_gaussian():
    system, seen = cell(5), target()
    guide = guide_of(system, (0.02, 0.02))
    mask, n = seen.observation.mask, len(GRID)
    share = N_REFERENCE / len(system)
    data = correlated(GRID, np.full(n, seen.observation.data_noise))
    whole = (share * (mean_covariance(SURROGATE) + data) + 0.02**2 * np.eye(n))[mask][:, mask]
    mean, y = mean_spectrum(system)[mask], seen.spectrum.mu[mask]
    gaussian = multivariate_normal(mean, whole, allow_singular=True)
    value, _ = pulled(guide)
    assert value == pytest.approx((gaussian.logpdf(y) - gaussian.logpdf(mean)) / TEMPERATURE,
                                  rel=1e-3)
    assert value < -0.01
    assert guide.trace == [(0.15, pytest.approx(np.sqrt(np.mean((y - mean) ** 2))))]


@pytest.mark.parametrize("kind", ["computed", "measured"])
def test_the_gradient_through_the_fit_is_the_numeric_one(kind):
    """Of the likelihood profiled over the nuisances (envelope theorem), its covariance fixed."""
    system = cell(5)
    guide = guide_of(system, (0.01, 0.01), kind=kind)
    seen = guide.target.observation
    theta = dict(seen.fit(mean_spectrum(system)).theta)
    share = N_REFERENCE / len(system)
    covariance = seen.covariance(share * mean_covariance(SURROGATE) + 0.01**2 * np.eye(len(GRID)),
                                 theta, share)
    value, gradient = pulled(guide)
    x, after = torch.tensor(system.positions), dict(guide.theta)
    assert (kind == "measured") == bool(after)

    def profiled(positions: Tensor) -> float:
        mu = SURROGATE.mean_spectrum(positions, system).numpy()
        fit = seen.fit(mu, start=after or None, covariance=covariance)
        return (fit.log_likelihood + fit.log_prior) / TEMPERATURE

    assert value == pytest.approx(profiled(x), rel=1e-6)
    h = 1e-4
    for seed in range(3):
        d = torch.tensor(np.random.default_rng(seed).standard_normal(x.shape))
        numeric = (profiled(x + h * d) - profiled(x - h * d)) / (2 * h)
        assert float((gradient * d).sum()) == pytest.approx(numeric, rel=2e-3)


def test_the_likelihood_grows_with_the_number_of_atoms_as_the_prior_does():
    """Twice the cell: the same spectrum, twice the log-likelihood, the same force on an atom."""
    system = cell(5)
    double = Structure.from_atoms(system.to_atoms().repeat((2, 1, 1)))
    double = double.with_positions(np.tile(system.positions, (2, 1)))
    value, force = pulled(guide_of(system, (0.02, 0.02)))
    # The scatter of estimates halves with twice the sites, as a calibration has it.
    twice, forces = pulled(guide_of(double, (0.02 / 2**0.5,) * 2))
    assert twice == pytest.approx(2 * value)
    torch.testing.assert_close(forces[:12], force, atol=1e-12, rtol=1e-6)


def test_the_error_of_the_estimate_weakens_the_guide():
    values, forces = zip(*(pulled(guide_of(cell(5), (e, e))) for e in (0.0, 0.05, 0.5)),
                         strict=True)
    assert values[0] < values[1] < values[2] < 0
    sizes = [float(f.norm()) for f in forces]
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_the_bias_of_estimates_is_added():
    system = cell(5)
    guide = guide_of(system, bias=0.01)
    pulled(guide)
    fit = guide.target.observation.fit(mean_spectrum(system) + 0.015)
    assert guide.trace[0][1] == pytest.approx(fit.residual_rms)
    assert guide.trace[0][1] != pytest.approx(
        guide.target.observation.fit(mean_spectrum(system)).residual_rms, rel=1e-3)


def test_where_members_disagree_the_target_pulls_less():
    """Their spread, 0.05 sqrt(2), joins the 0.03 that an untested surrogate is taken to err by."""
    forces = [float(pulled(guide_of(cell(5), surrogate=Disagreeing(apart)))[1].norm())
              for apart in (0.0, 0.05)]
    assert 0 < forces[1] < 0.3 * forces[0]


def test_the_temperature_divides_the_log_likelihood_and_evidence_knows_none():
    system = cell(5)
    value, force = pulled(guide_of(system))
    plain, weaker = pulled(guide_of(system, temperature=1.0))
    assert plain == pytest.approx(TEMPERATURE * value)
    torch.testing.assert_close(weaker, TEMPERATURE * force)
    assert guide_of(system).untempered().temperature == 1.0


def test_for_another_system_it_asks_the_same_uncalibrated():
    guide, other = guide_of(cell(5)), cell(6, 20)
    moved = guide.at(other)
    assert moved.system is other and moved.target is guide.target
    assert moved.label == guide.label and moved.temperature == guide.temperature
    assert moved.calibration is None and not moved.trace


def test_what_a_structure_has_reached_is_its_residual_and_its_log_likelihood():
    guide = guide_of(cell(5))
    met, missed = guide.reached(cell(7)), guide.reached(cell(5))
    assert met["residual"] < 1e-9 < missed["residual"] == pytest.approx(
        np.sqrt(np.mean((mean_spectrum(cell(5)) - guide.target.spectrum.mu)[
            guide.target.observation.mask] ** 2)))
    assert met["log_likelihood"] == pytest.approx(0, abs=1e-9)
    assert guide.distance(cell(5)) == pytest.approx((-2 * missed["log_likelihood"]) ** 0.5)
    assert not guide.trace  # a look leaves no trace


def test_a_guided_walk_meets_the_spectrum_that_an_unguided_one_misses():
    """Start to end with the parts that ``generate`` uses, an analytic prior and surrogate."""
    prior, system = GaussianDenoiser(-0.6, 0.5), cell(5, 200)
    guide = guide_of(system, (0.0005, 0.001, 0.002, 0.004), surrogate=Sure())
    start = torch.tensor(1.3 * np.random.default_rng(0).standard_normal((200, 3)))
    schedule = guided_schedule(SamplingSchedule())

    def residual(denoiser: Denoiser) -> float:
        end = sample(denoiser, start, schedule, 0, 0)
        return guide.reached(replace(system, positions=end.numpy()))["residual"]

    assert residual(GuidedDenoiser(prior, guide, schedule)) < 0.5 * residual(prior)
    assert len(guide.trace) > 20 and guide.trace[-1][1] < 0.5 * guide.trace[0][1]
