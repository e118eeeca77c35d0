"""Intervals that cover what they state, where errors are what left-out errors were."""

import numpy as np
import pytest

from surrogates.calibration import calibrated_factor, coverage, site_deviation

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
