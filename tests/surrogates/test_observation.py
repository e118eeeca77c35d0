import numpy as np
import pytest
from surrogate_fakes import GRID, carbon_like, dft_cells

from diffxas.errors import InputError, RunError
from diffxas.spectrum import Spectrum
from surrogates.calibration import correlated
from surrogates.nuisances import ForwardModel, NuisanceOptions
from surrogates.observation import ComputedObservation, MeasuredObservation
from surrogates.targets import observation_for

ENERGY = np.arange(270.0, 320.0, 0.2)
WINDOW = (282.0, 300.0)
TRUTH = {"shift": 0.25, "stretch": 1.05, "resolution": 0.35, "lifetime": 0.06,
         "log_scale": 1.1, "tilt": 0.5, "curve": 0.2}


def measured(theta=TRUTH, energy=ENERGY, m=None, noise=0.002):
    m = carbon_like() if m is None else m
    target = ForwardModel(energy, GRID, WINDOW, NuisanceOptions()).matrix(theta) @ m
    return MeasuredObservation(energy, target, GRID, WINDOW, noise)


def log_posterior(fit):
    return fit.log_likelihood + fit.log_prior


def test_known_nuisances_are_recovered():
    fit = measured().fit(carbon_like())
    tolerance = {"shift": 0.03, "stretch": 0.005, "resolution": 0.05, "lifetime": 0.01,
                 "log_scale": 0.02, "tilt": 0.05, "curve": 0.05}
    for name, value in TRUTH.items():
        assert fit.theta[name] == pytest.approx(value, abs=tolerance[name]), name
        assert 0 < fit.theta_sigma[name] < 0.2
    assert fit.residual_rms < 0.002
    assert fit.notes == ()


def test_prediction_is_linear_in_the_spectrum():
    observation = measured()
    a, b = carbon_like(), carbon_like(0.1, 290.0)
    fit = observation.fit(a)
    np.testing.assert_allclose(fit.matrix @ a + fit.offset, fit.prediction, atol=1e-12)
    np.testing.assert_allclose(
        observation.apply(0.3 * a + 0.7 * b, fit.theta),
        0.3 * observation.apply(a, fit.theta) + 0.7 * observation.apply(b, fit.theta), atol=1e-12)
    np.testing.assert_allclose(observation.apply(a, fit.theta), fit.full_prediction, atol=1e-12)
    np.testing.assert_allclose(fit.full_prediction[observation.mask], fit.prediction, atol=1e-12)


def test_gradient_at_fixed_nuisances_is_that_of_the_refitted_posterior():
    observation = measured(noise=0.02)
    m = carbon_like(0.18, 291.4)
    fit = observation.fit(m)
    direction = np.random.default_rng(0).normal(size=100)
    h = 1e-5
    numeric = (log_posterior(observation.fit(m + h * direction, start=fit.theta))
               - log_posterior(observation.fit(m - h * direction, start=fit.theta))) / (2 * h)
    assert fit.gradient() @ direction == pytest.approx(numeric, rel=1e-4)
    # the control: the truth of another fit's nuisances is not stationary
    assert observation.weights() @ (fit.target - observation.apply(m, TRUTH)[observation.mask])**2 \
        > 1.01 * observation.weights() @ fit.residual**2


def test_jacobian_of_the_forward_model_equals_finite_differences():
    model = ForwardModel(ENERGY, GRID, WINDOW, NuisanceOptions())
    values, h = np.array(list(TRUTH.values())), 1e-6
    _, jacobian = model.evaluate(values, carbon_like())
    for k in range(len(values)):
        step = h * np.eye(len(values))[k]
        numeric = (model.evaluate(values + step, carbon_like())[0]
                   - model.evaluate(values - step, carbon_like())[0]) / (2 * h)
        np.testing.assert_allclose(jacobian[:, k], numeric, atol=1e-6)


def test_the_scale_of_the_data_changes_only_the_scale():
    one = measured()
    other = MeasuredObservation(ENERGY, 1000 * one.target, GRID, WINDOW, 1000 * one.noise)
    m = carbon_like(0.2)
    a, b = one.fit(m), other.fit(m)
    assert b.residual_rms == pytest.approx(1000 * a.residual_rms, rel=1e-5)
    assert b.theta["log_scale"] == pytest.approx(a.theta["log_scale"] + np.log(1000), abs=1e-5)
    assert b.theta["shift"] == pytest.approx(a.theta["shift"], abs=1e-5)


def test_measuring_more_points_does_not_change_the_fit():
    m = carbon_like(0.2, 291.6)
    coarse = measured(energy=np.arange(270.0, 320.0, 0.2), noise=0.02).fit(m)
    fine = measured(energy=np.arange(270.0, 320.0, 0.05), noise=0.02).fit(m)
    uneven = measured(energy=np.concatenate([np.arange(270, 290, 0.1),
                                             np.arange(290, 320, 0.3)]), noise=0.02).fit(m)
    for name in TRUTH:
        assert fine.theta[name] == pytest.approx(coarse.theta[name], abs=0.03)
        assert uneven.theta[name] == pytest.approx(coarse.theta[name], abs=0.03)
        assert fine.theta_sigma[name] == pytest.approx(coarse.theta_sigma[name], rel=0.1)


def test_fits_are_repeatable_and_warm_starts_end_at_the_same_maximum():
    observation = measured(noise=0.05)
    m = carbon_like(0.22, 291.5)
    cold = observation.fit(m)
    assert observation.fit(m).theta == cold.theta
    warm = observation.fit(m, start=observation.fit(carbon_like()).theta)
    assert log_posterior(warm) == pytest.approx(log_posterior(cold), abs=1e-6)


def jagged(observation):
    """A covariance along the energy, (n_window, n_window), unlike the weights."""
    energy = observation.energy[observation.mask]
    return correlated(energy, np.linspace(0.01, 0.05, len(energy)))


def test_a_fit_with_covariance_solves_the_normal_equations_of_generalised_least_squares():
    """Linear about the maximum: (J^T C^-1 J + P) d = J^T C^-1 r - P (theta - mean) has d = 0."""
    observation, m = measured(noise=0.02), carbon_like(0.22, 292.2)
    covariance = jagged(observation)
    inverse, prior = np.linalg.inv(covariance), np.diag(observation.width**-2.0)
    model = ForwardModel(ENERGY[observation.mask], GRID, WINDOW, NuisanceOptions())

    def step(fit):
        """The step that is left, in standard deviations."""
        values = np.array([fit.theta[n.name] for n in observation.nuisances])
        prediction, jacobian = model.evaluate(values, m)
        precision = jacobian.T @ inverse @ jacobian + prior
        pull = jacobian.T @ inverse @ (fit.target - prediction) - prior @ (
            values - observation.mean)
        return np.linalg.solve(precision, pull) * np.sqrt(np.diag(precision)), precision

    fit = observation.fit(m, covariance=covariance)
    assert fit.notes == ()  # no bound holds it
    left, precision = step(fit)
    assert np.abs(left).max() < 0.01
    assert np.abs(step(observation.fit(m))[0]).max() > 0.1  # the control: points by their weights
    r = fit.residual
    assert fit.log_likelihood == pytest.approx(-0.5 * r @ inverse @ r, rel=1e-3)
    assert -2 * fit.log_likelihood < len(r)  # nothing widens the deviations
    np.testing.assert_allclose(list(fit.theta_sigma.values()),
                               np.sqrt(np.diag(np.linalg.inv(precision))), rtol=1e-2)


def test_with_a_covariance_too_the_gradient_is_that_of_the_refitted_posterior():
    observation, m = measured(noise=0.02), carbon_like(0.22, 291.5)
    covariance = jagged(observation)
    fit = observation.fit(m, covariance=covariance)
    direction, h = np.random.default_rng(0).normal(size=100), 1e-5
    ends = [log_posterior(observation.fit(m + sign * h * direction, start=fit.theta,
                                          covariance=covariance)) for sign in (1, -1)]
    assert fit.gradient() @ direction == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-3)


def test_a_covariance_of_the_weights_alone_changes_nothing():
    observation, m = measured(noise=0.02), carbon_like(0.2, 291.6)
    plain = observation.fit(m)
    same = observation.fit(m, covariance=np.diag(1 / observation.weights()))
    assert plain.log_likelihood == pytest.approx(
        -0.5 * np.sum(observation.weights() * plain.residual**2))
    assert log_posterior(same) == pytest.approx(log_posterior(plain), rel=1e-4)
    for name in TRUTH:
        assert same.theta[name] == pytest.approx(plain.theta[name], abs=1e-3)


def test_the_covariance_is_brought_to_the_target_as_the_spectrum_is():
    """Modes of the spectrum's error become those that the measurement shows; the data add noise."""
    observation = measured(noise=0.02)
    modes = np.random.default_rng(0).normal(size=(4, 100))
    seen = np.array([observation.apply(m, TRUTH)[observation.mask] for m in modes])
    found = observation.covariance(modes.T @ modes, TRUTH, 0.0)
    np.testing.assert_allclose(found, seen.T @ seen, atol=1e-12)
    energy = observation.energy[observation.mask]
    np.testing.assert_allclose(observation.covariance(modes.T @ modes, TRUTH, 2.0) - found,
                               2 * correlated(energy, np.full(len(energy), 0.02)), atol=1e-12)


def test_computed_targets_with_a_covariance_have_its_gaussian():
    m, target = carbon_like(), carbon_like(0.3)
    observation, _ = observation_for(Spectrum(GRID, target, "C", "K"), GRID)
    covariance = jagged(observation)
    fit = observation.fit(m, covariance=covariance)
    pull = np.linalg.solve(covariance, fit.residual)
    assert fit.log_likelihood == pytest.approx(-0.5 * fit.residual @ pull, rel=1e-3)
    np.testing.assert_allclose(fit.matrix.T @ pull, fit.gradient(), atol=1e-3 * np.abs(pull).max())


def test_a_nuisance_at_its_bound_is_named():
    fit = measured(TRUTH | {"shift": 1.4}).fit(carbon_like())
    assert any("shift is at its bound" in note for note in fit.notes)


def test_excluded_energies_do_not_count():
    base = measured()
    bump = base.target + 0.8 * np.exp(-0.5 * ((ENERGY - 288.0) / 0.4)**2)
    holed = MeasuredObservation(ENERGY, bump, GRID, WINDOW, 0.02, ((286.0, 290.0),))
    fit = holed.fit(carbon_like())
    assert fit.residual_rms < 0.01
    assert not ((fit.energy > 286) & (fit.energy < 290)).any()
    assert MeasuredObservation(ENERGY, bump, GRID, WINDOW, 0.02).fit(carbon_like()
                                                                    ).residual_rms > 0.1


def test_computed_targets_are_compared_exactly():
    m, target = carbon_like(), carbon_like(0.3)
    observation, reason = observation_for(Spectrum(GRID + 5e-4, target, "C", "K"), GRID)
    assert isinstance(observation, ComputedObservation) and "computed" in reason
    fit = observation.fit(m)
    np.testing.assert_array_equal(fit.prediction, m)
    np.testing.assert_array_equal(fit.matrix, np.eye(100))
    assert fit.residual_rms == pytest.approx(np.sqrt(np.mean((target - m)**2)))
    assert fit.theta == {} and fit.log_prior == 0
    step = np.zeros(100)
    step[30] = 1e-6
    numeric = (observation.fit(m + step).log_likelihood - fit.log_likelihood) / 1e-6
    assert fit.gradient()[30] == pytest.approx(numeric, rel=1e-3)


def test_computed_window_selects_rows():
    observation, _ = observation_for(Spectrum(GRID, carbon_like(), "C", "K"), GRID,
                                     window=(282.0, 300.0))
    fit = observation.fit(carbon_like())
    assert fit.matrix.shape == (46, 100) and len(fit.full_prediction) == 100


def stepped(energy=ENERGY):
    """A raw measurement: sloping background, pi*, edge step."""
    curve = (0.6 * np.exp(-0.5 * ((energy - 285.3) / 0.5)**2)
             + 1.0 / (1 + np.exp(-(energy - 291.0) / 0.7)))
    return Spectrum(energy, 3.0 * curve + 0.1 + 1e-4 * energy, "C", "K")


def test_other_grids_are_measured_and_keep_their_points():
    observation, reason = observation_for(stepped(), GRID)
    assert isinstance(observation, MeasuredObservation) and "measured" in reason
    assert observation.window == (282.0, 300.0)
    np.testing.assert_array_equal(observation.energy, ENERGY)
    assert observation.target[-1] == pytest.approx(1.0, abs=0.1)
    assert observation.target[0] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("arguments, words", [
    ({"window": (310.0, 318.0)}, "edge"),
    ({"window": (400.0, 420.0)}, "overlap"),
    ({"window": (300.0, 282.0)}, "increasing"),
    ({"window": (float("nan"), 300.0)}, "increasing"),
    ({"window": (282.0, 319.0)}, "within the surrogate's grid"),
    ({"target_kind": "computed"}, "surrogate's grid"),
    ({"target_kind": "guess"}, "auto, computed or measured"),
    ({"exclude": ((282.5, 299.5),)}, "20 points"),
])
def test_bad_windows_and_kinds_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        observation_for(stepped(), GRID, **arguments)


def test_a_spectrum_that_is_not_finite_fails():
    m = carbon_like()
    m[3] = np.nan
    with pytest.raises(RunError, match="NaN"):
        measured().fit(m)
    with pytest.raises(InputError, match="shape"):
        measured().fit(m[:50])


def test_the_film_tells_dense_from_light_carbon(shared_data):
    labelled, model = dft_cells(shared_data)
    film = Spectrum.read(shared_data / "experimental" / "dlc_c_k_nexafs.csv", edge="C:K")
    observation, _ = observation_for(film, GRID)
    means = {}
    for label, structure in labelled:
        means.setdefault(round(structure.density, 1), []).append(model.sites[label].mean(axis=0))
    residual = {d: observation.fit(np.mean(m, axis=0)).residual_rms for d, m in means.items()}
    assert residual[1.5] < 0.6 * residual[3.0]
    assert residual[2.0] < 0.6 * residual[3.5]
    assert residual[3.5] > 0.5 * observation.spread  # the envelope cannot make up for missing pi*
