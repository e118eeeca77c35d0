"""Intervals that cover what they state, where errors are what left-out errors were."""

import numpy as np
import pytest
from position_surrogate import GRID as SITE_GRID
from position_surrogate import PositionSurrogate

from surrogates.calibration import (
    CORRELATION_LENGTH,
    LEAST_SHAPE,
    NUGGET,
    UNKNOWN_ERROR,
    calibrated_factor,
    correlated,
    coverage,
    mean_covariance,
    site_deviation,
)

GRID = np.linspace(0, 1, 40)
ERROR = 0.01 + 0.02 * GRID


def heavy(rng: np.random.Generator, n: int) -> np.ndarray:
    """Errors with heavy tails, (n, 40)."""
    return 2.5 * ERROR * rng.standard_t(3, (n, len(GRID)))


def test_calibrated_intervals_cover_nine_of_ten_new_errors_and_plain_ones_do_not():
    rng = np.random.default_rng(0)
    seen, new = [heavy(rng, 300) for _ in range(4)], heavy(rng, 2000)
    factor = calibrated_factor(seen, [np.zeros_like(e) for e in seen], ERROR)
    members = np.zeros((1, 2000, len(GRID)))
    covered = coverage(new, site_deviation(members, ERROR, factor))
    assert covered.mean() == pytest.approx(0.9, abs=0.01)
    assert abs(covered - 0.9).max() < 0.04
    plain = coverage(new, site_deviation(members, ERROR, np.ones(len(GRID))))
    assert plain.mean() < 0.7


def test_structures_weigh_alike_however_many_sites_they_have():
    many, few = np.full((900, 40), 0.1), np.full((100, 40), 10.0)
    zero = [np.zeros_like(many), np.zeros_like(few)]
    factor = calibrated_factor([many, few], zero, np.ones(40))
    np.testing.assert_allclose(factor, 10.0 / 1.6448536)  # half of the weight is the few's


def test_where_members_disagree_or_the_site_is_strange_the_deviation_is_larger():
    members = np.zeros((3, 2, 40))
    members[:, 1] = np.array([-0.1, 0.0, 0.1])[:, None]
    one = np.ones(40)
    plain = site_deviation(members, ERROR, one)
    np.testing.assert_allclose(plain[0], ERROR)
    np.testing.assert_allclose(plain[1], np.hypot(ERROR, 0.1))
    scored = site_deviation(members, ERROR, one, np.array([3.0, 0.5]))
    np.testing.assert_allclose(scored[0], 3 * plain[0])
    np.testing.assert_allclose(scored[1], plain[1])


def test_one_member_has_no_spread():
    np.testing.assert_allclose(site_deviation(np.ones((1, 5, 40)), ERROR, np.full(40, 2.0)),
                               np.tile(2 * ERROR, (5, 1)))


def test_errors_of_a_mean_are_correlated_over_the_length_and_positive_definite():
    energy = 280 + 0.05 * np.arange(200)
    deviation = 0.01 + 0.02 * np.linspace(0, 1, 200)
    found = correlated(energy, deviation)
    np.testing.assert_allclose(np.diag(found), deviation**2)
    correlation = found / np.outer(deviation, deviation)
    at_length = correlation[0, round(CORRELATION_LENGTH / 0.05)]
    assert at_length == pytest.approx((1 - NUGGET) * np.exp(-0.5))
    assert correlation[0, -1] < 1e-6
    np.testing.assert_array_equal(found, found.T)
    assert np.linalg.eigvalsh(found).min() > 0.5 * NUGGET * deviation.min() ** 2


class LeftOut(PositionSurrogate):
    """States errors of sites, and of the means of networks."""

    def __init__(self, shape: np.ndarray, maes: list[float]) -> None:
        super().__init__()
        self.record = {**self.record, "left_out": {"site_error": shape.tolist(), "networks": {
            str(k): {"cell_mean_mae": one} for k, one in enumerate(maes)}}}


def test_the_error_of_a_mean_has_the_shape_of_the_sites_and_the_size_of_the_median_network():
    shape = np.where(SITE_GRID < 284, 0.0, 0.05)
    one = mean_covariance(LeftOut(shape, [0.01, 0.004, 0.006]))
    far = mean_covariance(LeftOut(shape, [0.01, 0.004, 0.006, 0.005, 0.5]))
    deviation = np.sqrt(np.diag(one))
    size = 0.006 * np.sqrt(np.pi / 2)  # of a Gaussian whose mean absolute value is 0.006
    unit = shape / np.sqrt(np.mean(shape**2))
    np.testing.assert_allclose(deviation, size * np.hypot(unit, LEAST_SHAPE))
    assert deviation.min() == pytest.approx(LEAST_SHAPE * size)  # where sites do not err
    np.testing.assert_allclose(far, one)
    wider = np.sqrt(np.diag(mean_covariance(LeftOut(shape, [0.006]), doubt=0.01)))
    np.testing.assert_allclose(wider / deviation, np.hypot(size, 0.01) / size)


def test_a_surrogate_that_states_no_error_is_taken_to_err_by_a_share():
    plain = PositionSurrogate()
    np.testing.assert_allclose(np.diag(mean_covariance(plain)), UNKNOWN_ERROR**2)
    np.testing.assert_allclose(np.diag(mean_covariance(plain, 0.04)), UNKNOWN_ERROR**2 + 0.04**2)
