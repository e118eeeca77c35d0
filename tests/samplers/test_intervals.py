"""Credible intervals of an ensemble cover the next draw as often as they say."""

import numpy as np
import pytest

from samplers.intervals import credible, predictive_interval


@pytest.mark.parametrize("n", [2, 4, 8])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_next_draw_lies_inside_as_often_as_is_said(n, share):
    rng = np.random.default_rng(n)
    draws = rng.normal(3.0, 0.7, (4000, n + 1))
    inside = [low <= row[-1] <= high for row in draws
              for low, high in [predictive_interval(row[:-1], share)]]
    assert np.mean(inside) == pytest.approx(share, abs=0.025)


def test_a_normal_interval_of_few_samples_would_be_too_narrow():
    draws = np.random.default_rng(0).normal(size=(4000, 5))
    naive = [abs(row[-1] - row[:-1].mean()) <= 1.645 * row[:-1].std(ddof=1) for row in draws]
    assert np.mean(naive) < 0.82


def test_shares_stay_shares():
    low, high = predictive_interval([0.01, 0.03, 0.0], 0.9, (0.0, 1.0))
    assert low == 0.0 and 0.03 < high < 0.2


def test_one_sample_says_nothing_of_its_scatter():
    found = credible([0.3], (0.0, 1.0))
    assert found["mean"] == 0.3 and found["interval90"] == [0.0, 1.0]
    assert credible([2.0])["interval90"] is None


def test_what_all_samples_err_by_together_widens():
    rng = np.random.default_rng(5)
    together, draws = 0.6 * rng.normal(size=6000), rng.normal(size=(6000, 8))
    for known, expected in ((0.6, 0.9), (0.0, 0.86)):
        inside = [low <= shift + truth <= high
                  for shift, truth, row in zip(together, rng.normal(size=6000), draws, strict=True)
                  for low, high in [predictive_interval(row, 0.9, systematic=known)]]
        assert np.mean(inside) == pytest.approx(expected, abs=0.02)
