from dataclasses import replace

import numpy as np
import pytest
from surrogate_fakes import GRID, carbon_like

from diffxas.errors import InputError
from diffxas.spectrum import Spectrum
from surrogates.nuisances import ADSORBATES, ForwardModel, NuisanceOptions
from surrogates.observation import MeasuredObservation
from surrogates.targets import observation_for

ENERGY = np.arange(270.0, 320.0, 0.2)
WINDOW = (282.0, 300.0)
WITH = NuisanceOptions(adsorbates=ADSORBATES)
PLAIN = {"shift": 0.15, "stretch": 1.05, "resolution": 0.3, "lifetime": 0.06,
         "log_scale": 1.1, "tilt": 0.3, "curve": 0.1}
BANDS = {"area_CH": 0.5, "position_CH": 287.4, "width_CH": 0.35,
         "area_CO": 0.8, "position_CO": 288.6, "width_CO": 0.45}
CLEAN = {**BANDS, "area_CH": 0.0, "area_CO": 0.0}


def observed(theta, options=WITH, noise=0.01):
    model = ForwardModel(ENERGY, GRID, WINDOW, WITH)
    target = model.matrix(theta) @ carbon_like() + model.offset(theta)
    return MeasuredObservation(ENERGY, target, GRID, WINDOW, noise, (), options)


def film_like(exclude=(), **arguments):
    curve = (0.6 * np.exp(-0.5 * ((ENERGY - 285.3) / 0.5)**2)
             + 1.0 / (1 + np.exp(-(ENERGY - 291.0) / 0.7)))
    spectrum = Spectrum(ENERGY, 3.0 * curve + 0.1, "C", "K")
    return observation_for(spectrum, GRID, exclude=exclude, **arguments)


def test_areas_positions_and_widths_of_adsorbates_are_recovered():
    observation = observed({**PLAIN, **BANDS})
    fit = observation.fit(carbon_like())
    for name, value in BANDS.items():
        assert fit.theta[name] == pytest.approx(value, abs=0.06), name
        assert 0 < fit.theta_sigma[name] < 0.2
    assert fit.residual_rms < 0.005
    without = observed({**PLAIN, **BANDS}, NuisanceOptions()).fit(carbon_like())
    assert without.residual_rms > 0.05


def test_a_clean_sample_has_no_adsorbates():
    fit = observed({**PLAIN, **CLEAN}).fit(carbon_like())
    assert 0 <= fit.theta["area_CH"] < 0.02 and 0 <= fit.theta["area_CO"] < 0.02


def test_adsorbates_do_not_fill_a_hole():
    theta = {**PLAIN, **BANDS, "area_CH": -0.5, "area_CO": 0.0}
    fit = observed(theta).fit(carbon_like())
    assert 0 <= fit.theta["area_CH"] < 0.02
    assert fit.residual_rms > 0.03


def test_jacobian_and_gradient_with_adsorbates():
    model = ForwardModel(ENERGY, GRID, WINDOW, WITH)
    theta = {**PLAIN, **BANDS}
    values, h = np.array(list(theta.values())), 1e-6
    prediction, jacobian, matrix = model.evaluate_with_matrix(values, carbon_like())
    np.testing.assert_allclose(prediction, matrix @ carbon_like() + model.offset(theta),
                               atol=1e-12)
    assert jacobian.shape == (len(ENERGY), 13)
    for k in range(len(values)):
        step = h * np.eye(len(values))[k]
        numeric = (model.evaluate(values + step, carbon_like())[0]
                   - model.evaluate(values - step, carbon_like())[0]) / (2 * h)
        np.testing.assert_allclose(jacobian[:, k], numeric, atol=1e-6)


def test_the_gradient_needs_no_pass_through_the_fitted_adsorbates():
    observation = observed({**PLAIN, **BANDS}, noise=0.02)
    m = carbon_like(0.18, 291.6)
    fit = observation.fit(m)
    np.testing.assert_allclose(fit.matrix @ m + fit.offset, fit.prediction, atol=1e-12)
    direction, h = np.random.default_rng(0).normal(size=100), 1e-5
    up, down = (observation.fit(m + s * h * direction, start=fit.theta) for s in (1, -1))
    numeric = (up.log_likelihood + up.log_prior - down.log_likelihood - down.log_prior) / (2 * h)
    assert fit.gradient() @ direction == pytest.approx(numeric, rel=1e-3)


def test_adsorbates_keep_their_distance_to_the_structure_when_the_axis_moves():
    model = ForwardModel(ENERGY, GRID, WINDOW, WITH)
    here = model.offset({**PLAIN, **BANDS})
    there = model.offset({**PLAIN, **BANDS, "shift": PLAIN["shift"] + 0.4})
    np.testing.assert_allclose(there[2:], here[:-2], atol=1e-12)


def test_only_measured_carbon_has_adsorbates():
    observation, _ = film_like(adsorbates=True)
    assert {"area_CH", "area_CO"} <= {one.name for one in observation.nuisances}
    with pytest.raises(InputError, match="--adsorbates must go with a measured C:K"):
        observation_for(Spectrum(GRID, carbon_like(), "C", "K"), GRID, adsorbates=True)
    copper = replace(Spectrum(ENERGY, film_like()[0].target, "C", "K"), element="Cu")
    with pytest.raises(InputError, match="Cu:K"):
        observation_for(copper, GRID, adsorbates=True)


@pytest.mark.parametrize("ranges, words", [
    (((282.5, 299.5),), "20 points"),
    (((283.0, 293.0),), "part of the edge, which rises"),
    (((310.0, 318.0),), "overlap the window"),
    (((289.0, 286.5),), "increasing"),
    (((float("nan"), 289.0),), "increasing"),
])
def test_bad_exclusions_are_refused(ranges, words):
    with pytest.raises(InputError, match=words):
        film_like(ranges)


def test_excluding_a_part_of_the_edge_is_allowed():
    observation, _ = film_like(((286.5, 289.0), (295.0, 296.0)))
    inside = observation.energy[observation.mask]
    assert not ((inside > 286.5) & (inside < 289.0)).any()
    assert not ((inside > 295.0) & (inside < 296.0)).any()
    assert len(inside) == film_like()[0].mask.sum() - 13 - 6
