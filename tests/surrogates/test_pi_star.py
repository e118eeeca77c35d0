import numpy as np
import pytest
from surrogate_fakes import GRID, carbon_like, dft_cells

from diffxas.analysis import coordination_fractions
from diffxas.errors import InputError
from surrogates.nuisances import ForwardModel, NuisanceOptions
from surrogates.observation import MeasuredObservation
from surrogates.pi_star import (
    pi_orbitals_per_atom,
    pi_star_fraction,
    pi_star_of_target,
    pi_star_per_atom,
    pi_star_share,
    threefold_reference,
)


def test_a_mixture_gives_its_share_of_pi_absorption():
    x = np.linspace(280, 305, 2501)
    pi, sigma = np.exp(-0.5 * ((x - 285) / 0.3)**2), np.where(x > 288, 1.0, 0.0)
    graphite = pi / 4 + sigma
    for sp2 in (0.2, 0.7, 1.0):
        estimate = pi_star_fraction(x, 7 * (sp2 * pi / 4 + sigma), x, graphite)
        area = np.trapezoid(pi / 4, x)
        whole = np.trapezoid(sigma[x <= 300], x[x <= 300])
        expected = sp2 * (area + whole) / (sp2 * area + whole)
        assert estimate.fraction == pytest.approx(expected, abs=1e-3)


def test_share_is_exact_for_straight_lines_off_the_grid():
    x = np.array([280.0, 301.0])
    assert pi_star_share(x, np.array([1.0, 1.0]), (282.0, 286.5), (282.0, 300.0)) \
        == pytest.approx(4.5 / 18)


def test_bad_ranges_are_refused():
    x = np.linspace(280, 295, 50)
    with pytest.raises(InputError, match="cover 282 to 300"):
        pi_star_share(x, np.ones(50))
    with pytest.raises(InputError, match="positive"):
        pi_star_share(np.linspace(280, 305, 50), -np.ones(50))
    wide = np.linspace(280, 305, 500)
    with pytest.raises(InputError, match="reference"):
        pi_star_fraction(wide, np.ones(500), wide, np.where(wide > 290, 1.0, 0.0))


def test_the_reference_seen_through_the_experiment_is_pure_sp2():
    energy, mu = threefold_reference()
    np.testing.assert_allclose(energy, GRID)
    theta = {"shift": 0.2, "stretch": 1.05, "resolution": 0.3, "lifetime": 0.08,
             "log_scale": 1.0, "tilt": 0.4, "curve": 0.2}
    points = np.arange(272.0, 318.0, 0.2)
    target = ForwardModel(points, GRID, (282.0, 300.0), NuisanceOptions()).matrix(theta) @ mu
    observation = MeasuredObservation(points, target, GRID, (282.0, 300.0), 0.01)
    estimate = pi_star_of_target(observation, observation.fit(mu))
    assert estimate.fraction == pytest.approx(1.0, abs=0.01)


def test_pi_star_column_is_absorption_at_285():
    sites = np.stack([carbon_like(0.1), carbon_like(0.4)])
    column = pi_star_per_atom(sites, GRID)
    np.testing.assert_allclose(column, [np.interp(285.0, GRID, s) for s in sites])
    assert column[1] > 2 * column[0]


def test_two_fold_atoms_count_twice():
    assert pi_orbitals_per_atom({"2": 0.3, "3": 0.6, "4": 0.1}) == pytest.approx(1.2)


def test_the_estimate_follows_counted_pi_orbitals_on_the_dft_cells(shared_data):
    labelled, model = dft_cells(shared_data)
    energy, reference = threefold_reference()
    counted, estimated = [], []
    for label, structure in labelled:
        counted.append(pi_orbitals_per_atom(coordination_fractions(structure)))
        estimated.append(pi_star_fraction(GRID, model.sites[label].mean(axis=0), energy,
                                          reference).fraction)
    assert np.corrcoef(counted, estimated)[0, 1] > 0.98
    assert np.abs(np.subtract(estimated, counted)).max() < 0.25


def test_the_shipped_reference_is_the_mean_of_three_fold_sites(shared_data):
    labelled, model = dft_cells(shared_data)
    from diffxas.analysis import coordination

    groups: dict[float, list[np.ndarray]] = {}
    for label, structure in labelled:
        sites = model.sites[label][coordination(structure) == 3]
        groups.setdefault(round(structure.density, 1), []).append(sites)
    means = [np.concatenate(group).mean(axis=0) for group in groups.values()]
    weights = [np.mean([len(sites) for sites in group]) for group in groups.values()]
    np.testing.assert_allclose(threefold_reference()[1],
                               np.average(means, axis=0, weights=weights), atol=1e-5)
