import numpy as np
import pytest

from samplers.nuisance_summary import nuisance_summary
from surrogates.nuisances import ADSORBATES, NuisanceOptions
from surrogates.observation import ComputedObservation, Fit, MeasuredObservation

ENERGY = np.arange(280.0, 302.0, 0.2)
CURVE = 1 / (1 + np.exp(-(ENERGY - 291)))
MEASURED = MeasuredObservation(ENERGY, CURVE, ENERGY, (282.0, 300.0), 0.1, (),
                               NuisanceOptions(adsorbates=ADSORBATES))


def fit(**changed):
    """A fit whose nuisances are at their means, 0.01 wide, except for ``name=(value, sigma)``."""
    theta = {n.name: (n.mean, 0.01) for n in MEASURED.nuisances} | changed
    none = np.empty(0)
    return Fit(none, none, none, none, none, none, none, none,
               {k: v for k, (v, _) in theta.items()}, {k: s for k, (_, s) in theta.items()})


def test_one_sample_has_the_deviation_of_its_fit():
    found = nuisance_summary(MEASURED, [fit(shift=(0.2, 0.05))])["shift_eV"]
    assert found["mean"] == pytest.approx(0.2, abs=1e-4)
    assert found["sd"] == pytest.approx(0.05, rel=1e-3)
    assert found["interval90"] == pytest.approx([0.2 - 1.645 * 0.05, 0.2 + 1.645 * 0.05], abs=1e-4)


def test_scatter_of_samples_and_deviation_of_a_fit_add_in_squares():
    shifts = np.array([-0.3, 0.0, 0.3])
    found = nuisance_summary(MEASURED, [fit(shift=(s, 0.1)) for s in shifts])["shift_eV"]
    assert found["mean"] == pytest.approx(0.0, abs=1e-4)
    assert found["sd"] == pytest.approx(np.hypot(shifts.std(), 0.1), rel=1e-2)


def test_an_area_at_zero_is_cut_there():
    found = nuisance_summary(MEASURED, [fit(area_CH=(0.0, 0.1))])["area_CH_eV"]
    assert found["mean"] == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=1e-3)
    assert found["interval90"][0] >= 0
    assert found["interval90"][1] == pytest.approx(1.96 * 0.1, rel=1e-2)


def test_names_carry_units_and_computed_targets_have_none():
    names = set(nuisance_summary(MEASURED, [fit()]))
    assert {"shift_eV", "stretch", "resolution_eV", "lifetime", "log_scale", "tilt", "curve",
            "area_CH_eV", "area_CO_eV"} <= names
    computed = ComputedObservation(ENERGY, CURVE, ENERGY, (282.0, 300.0), 0.1)
    assert nuisance_summary(computed, [fit()]) == {} == nuisance_summary(None, [])
