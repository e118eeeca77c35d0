"""Calibration against denoisers and sites whose errors are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from analytic_denoisers import GaussianDenoiser
from linear_guide import SLOPES, LinearGuide
from torch import Tensor

from diffxas.denoiser import Denoiser
from diffxas.structure import Structure
from samplers.calibration import LEVELS, Calibration, calibrate

WIDTH = 0.4
PRIOR = GaussianDenoiser(0.0, WIDTH)
N = 100


def cell(seed: int, n_atoms: int = N, side: float = 9.0) -> Structure:
    """Independent sites of the prior's law."""
    rng = np.random.default_rng(seed)
    return Structure(WIDTH * rng.standard_normal((n_atoms, 3)), np.full(n_atoms, 6),
                     side * np.eye(3))


def table(error: list[float], spread: float = 0.1, bias: float = 0.0) -> Calibration:
    sigma, n = 0.1 * (1 + np.arange(len(error))), len(SLOPES)
    return Calibration(
        sigma, bias * np.outer(1 + np.arange(len(error)), np.ones(n)),
        np.array(error)[:, None, None] ** 2 * np.eye(n), np.array(error), np.array(error), spread,
        1e-4 * np.ones((n, n)))


def prior_of(_: Structure) -> Denoiser:
    return PRIOR


def test_guidance_sets_in_where_the_error_reaches_the_spread():
    assert table([0.02, 0.06, 0.14, 0.3]).sigma_on == pytest.approx(0.25)  # in between
    assert table([0.02, 0.1, 0.14]).sigma_on == pytest.approx(0.2)  # on a level
    assert table([0.02, 0.03, 0.04]).sigma_on == pytest.approx(0.3)  # never: the highest
    assert table([0.2, 0.3, 0.4]).sigma_on == pytest.approx(0.1)  # always: the lowest


def test_a_guide_without_calibration_is_never_silent_and_one_with_it_is_above_its_level():
    guide = LinearGuide(cell(0))
    assert guide.sigma_on == float("inf")
    guide.calibration = table([0.02, 0.06, 0.14, 0.3])
    assert guide.sigma_on == pytest.approx(0.25)
    assert guide.at(cell(1)).calibration is None


def test_the_bias_is_interpolated_falls_to_zero_with_the_noise_and_stays_beyond_the_last_level():
    found = table([0.02, 0.06, 0.14], bias=0.01)
    for sigma, factor in ((0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.17, 1.7), (0.3, 3.0), (9, 3.0)):
        np.testing.assert_allclose(found.bias_at(sigma), 0.01 * factor, atol=1e-15)
    assert found.error_at(0.15) == pytest.approx(0.04)
    assert found.error_at(0.05) == pytest.approx(0.01) and found.error_at(9) == 0.14


def test_the_covariance_is_interpolated_above_that_of_a_finite_cell():
    found = table([0.02, 0.06, 0.14])
    for sigma, variance in ((0.0, 0.0), (0.05, 0.0002), (0.1, 0.0004), (0.15, 0.002), (9, 0.0196)):
        np.testing.assert_allclose(found.covariance_at(sigma) - found.finite_cell,
                                   variance * np.eye(len(SLOPES)), atol=1e-15)


def test_a_calibrated_guide_adds_the_bias_and_the_covariance():
    guide = LinearGuide(cell(3))
    guide.calibration = table([0.02, 0.06, 0.14], bias=0.01)
    x = torch.tensor(guide.system.positions)
    values = SLOPES @ guide.system.positions.mean(0) + 0.015
    whole = (0.01 + 0.002) * np.eye(len(SLOPES)) + 1e-4
    assert float(guide(x, 0.15)) == pytest.approx(-0.5 * values @ np.linalg.solve(whole, values))


@pytest.fixture(scope="module")
def gaussian() -> Calibration:
    return calibrate(prior_of, LinearGuide(cell(0)), [cell(s) for s in range(60)], 0)


def test_the_scatter_of_a_finite_cell_is_the_covariance_of_its_sites_over_their_number(gaussian):
    expected = WIDTH**2 * SLOPES @ SLOPES.T / N
    np.testing.assert_allclose(gaussian.finite_cell, expected, atol=0.05 * expected.max())
    assert gaussian.spread == pytest.approx(np.sqrt(2 * np.diag(expected).mean()), rel=0.2)


def test_the_covariance_has_the_shape_of_the_sites_differences_and_the_size_of_the_cells(gaussian):
    """Independent Gaussian sites: x_0 about its estimate has w^2 sigma^2 / (w^2 + sigma^2)."""
    ratio = []
    for sigma, covariance in zip(LEVELS, gaussian.covariance, strict=True):
        expected = WIDTH**2 * sigma**2 / (WIDTH**2 + sigma**2) * SLOPES @ SLOPES.T / N
        ratio.append(np.trace(covariance) / np.trace(expected))
        np.testing.assert_allclose(covariance / np.trace(covariance),
                                   expected / np.trace(expected), atol=0.03)
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.12)
    assert np.ptp(ratio) < 0.7
    np.testing.assert_allclose(np.sqrt(np.einsum("kii->k", gaussian.covariance) / len(SLOPES)),
                               gaussian.error)


def test_where_sites_err_alike_the_covariance_is_that_of_whole_cells():
    """Every site of a sample moved together by 0.1 sigma: far more than independent sites give."""
    def together(structure: Structure) -> Denoiser:
        rng = np.random.default_rng(int(1e6 * abs(structure.positions[0, 0])))
        u, truth = torch.tensor(rng.standard_normal(3)), torch.tensor(structure.positions)

        def denoiser(x_t: Tensor, sigma: float) -> Tensor:
            return truth + sigma * (0.1 * u + 0.1 * torch.tensor(rng.standard_normal((N, 3))))
        return denoiser

    found = calibrate(together, LinearGuide(cell(0)), [cell(s) for s in range(60)], 0)
    alike = np.array(LEVELS)[:, None] ** 2 * 0.01 * np.diag(SLOPES @ SLOPES.T)
    trace = np.einsum("kii->k", found.covariance)
    np.testing.assert_allclose(trace, alike.sum(1) * (1 + 1 / N), rtol=0.4)
    shape = found.covariance[3] / trace[3]
    np.testing.assert_allclose(shape, SLOPES @ SLOPES.T / np.trace(SLOPES @ SLOPES.T), atol=0.03)


def test_the_systematic_part_of_the_error_is_taken_for_bias():
    samples = [cell(0), cell(1), cell(2)]

    def offset_of(structure: Structure) -> Denoiser:
        """Knows the sample, but for a shift along x that grows with the noise."""
        truth = torch.tensor(structure.positions)
        return lambda x_t, sigma: truth + torch.tensor([sigma, 0.0, 0.0])

    found = calibrate(offset_of, LinearGuide(samples[0]), samples, 0)
    np.testing.assert_allclose(found.bias, -np.outer(LEVELS, SLOPES[:, 0]), atol=1e-12)
    assert found.error.max() < 1e-12 < found.raw_error.min()
    assert np.all(np.diff(found.raw_error) > 0)
    assert found.sigma_on == LEVELS[-1]
    seen = [SLOPES @ s.positions.mean(0) for s in samples]
    pairs = [np.mean((a - b) ** 2) for k, a in enumerate(seen) for b in seen[:k]]
    assert found.spread >= np.sqrt(np.mean(pairs)) * (1 - 1e-9)


def test_a_denoiser_that_knows_nothing_sets_guidance_in_last():
    rng = np.random.default_rng(3)
    found = calibrate(lambda _: lambda x_t, sigma: torch.tensor(20 * rng.standard_normal((N, 3))),
                      LinearGuide(cell(0)), [cell(0), cell(1)], 0)
    assert found.sigma_on == LEVELS[0]


def test_another_size_of_system_scales_covariances_by_the_number_of_atoms():
    samples = [cell(0), cell(1), cell(2)]
    one = calibrate(prior_of, LinearGuide(cell(9, N)), samples, 0)
    four = calibrate(prior_of, LinearGuide(cell(9, 4 * N)), samples, 0)
    np.testing.assert_allclose(four.covariance, one.covariance / 4)
    np.testing.assert_allclose(four.finite_cell, one.finite_cell / 4)
    np.testing.assert_allclose(four.error, one.error / 2)
    np.testing.assert_allclose(four.bias, one.bias)
    assert four.spread == pytest.approx(one.spread / 2)
    assert four.sigma_on == pytest.approx(one.sigma_on)


def test_what_follows_the_density_of_the_samples_is_no_spread():
    """Sites moved in proportion to the density; the control moves them in another order."""
    sides = np.linspace(8.0, 9.0, 8)
    density = np.array([cell(0, side=side).density for side in sides])
    moves = density - density.mean()

    def moved(order: np.ndarray) -> float:
        samples = [replace(cell(k, side=side), positions=cell(k).positions + move)
                   for k, (side, move) in enumerate(zip(sides, moves[order], strict=True))]
        return calibrate(prior_of, LinearGuide(samples[0]), samples, 0).spread

    order = np.array([3, 0, 6, 2, 7, 1, 5, 4])
    still = np.sqrt(2 * WIDTH**2 * np.mean(np.diag(SLOPES @ SLOPES.T)) / N)
    assert moved(np.arange(8)) < 1.6 * still < moved(order)


def test_a_calibration_is_that_of_its_seed():
    samples = [cell(0), cell(1)]
    first, again, other = (calibrate(prior_of, LinearGuide(samples[0]), samples, seed)
                           for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.error, again.error)
    assert (first.error != other.error).all()
    assert np.all(np.diff(first.error) >= 0)
