import numpy as np
import pytest
from surrogate_fakes import GRID, carbon_like

from surrogates.nuisances import ForwardModel, NuisanceOptions
from surrogates.observation import ComputedObservation, MeasuredObservation
from surrogates.unexplained import unexplained_peak

ENERGY = np.arange(270.0, 320.0, 0.2)
WINDOW = (282.0, 300.0)
THETA = {"shift": 0.1, "stretch": 1.04, "resolution": 0.25, "lifetime": 0.05, "log_scale": 1.1,
         "tilt": 0.1, "curve": 0.1}


def target(height=0.0, position=287.6, width=0.35, seed=0):
    """As measured, with one peak beside the structure and a little noise."""
    noise = 0.01 * np.random.default_rng(seed).normal(size=len(ENERGY))
    return (ForwardModel(ENERGY, GRID, WINDOW, NuisanceOptions()).matrix(THETA) @ carbon_like()
            + height * np.exp(-0.5 * ((ENERGY - position) / width) ** 2) + noise)


def found(curve, m=None, noise=0.05):
    observation = MeasuredObservation(ENERGY, curve, GRID, WINDOW, noise)
    m = carbon_like() if m is None else m
    return unexplained_peak(observation, observation.fit(m), m)


def test_a_peak_beside_the_structure_is_found():
    peak = found(target(0.6))
    assert peak is not None
    assert peak.position == pytest.approx(287.6, abs=0.1)
    assert peak.full_width == pytest.approx(2.355 * 0.35, rel=0.15)
    assert peak.area == pytest.approx(0.6 * 0.35 * np.sqrt(2 * np.pi), rel=0.15)
    assert peak.after < 0.5 * peak.before and 0.009 < peak.after < 0.02
    assert "one peak at 287.6 eV of width 0.8 eV would lower the residual" in peak.sentence()
    assert "--adsorbates or --exclude" in peak.sentence()


def test_noise_alone_is_not_a_peak():
    assert found(target(), noise=0.01) is None


def test_a_wrong_structure_is_not_a_peak():
    wrong = carbon_like(0.1, 290.5)
    assert found(target(), wrong) is None


def test_a_missing_band_is_not_filled_with_a_negative_peak():
    assert found(target(-0.3)) is None


def test_a_peak_far_below_the_noise_expected_is_left_alone():
    assert found(target(0.2), noise=0.05) is not None
    assert found(target(0.2), noise=0.5) is None


def test_computed_targets_have_no_peak():
    observation = ComputedObservation(GRID, carbon_like() + 0.3, GRID, WINDOW, 0.01)
    assert unexplained_peak(observation, observation.fit(carbon_like()), carbon_like()) is None
