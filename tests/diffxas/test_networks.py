"""Networks against a reference: fits over density, distances one by one, partial curves."""

import ase.build
import numpy as np
import pytest

from diffxas.analysis import rdf, rdf_distance
from diffxas.errors import RunError
from diffxas.networks import Profile, difference, local_value, radii, straight_line
from diffxas.structure import Structure


def rattled(atoms: ase.Atoms, seed: int, size: float = 0.05) -> Structure:
    atoms = atoms.copy()
    atoms.rattle(size, seed=seed)
    return Structure.from_atoms(atoms)


DIAMOND = ase.build.bulk("C", "diamond", a=3.57, cubic=True) * (2, 2, 2)
CARBIDE = ase.build.bulk("SiC", "zincblende", a=4.36, cubic=True) * (2, 2, 2)


def test_a_straight_line_is_found_exactly_and_far_points_do_not_count() -> None:
    density = np.array([1.8, 1.9, 2.0, 2.1, 3.0])
    values = np.array([0.1, 0.2, 0.3, 0.4, 100.0])
    value, scatter = straight_line(density, values, 2.05)
    assert value == pytest.approx(0.35)
    assert scatter == pytest.approx(0.0, abs=1e-12)
    assert local_value(density, values, 2.05) == pytest.approx(0.35)


def test_two_points_give_no_line_but_a_mean_of_the_nearest() -> None:
    with pytest.raises(RunError, match="3 points"):
        straight_line(np.array([1.9, 2.0]), np.array([0.1, 0.2]), 2.0)
    density, values = np.array([1.9, 2.0, 2.6, 3.4]), np.array([0.1, 0.2, 0.6, 9.0])
    assert local_value(density, values, 2.0) == pytest.approx(0.3)
    assert np.isnan(local_value(np.zeros(0), np.zeros(0), 2.0))


def test_cells_of_one_density_have_a_mean_and_no_slope() -> None:
    density = 2.2 + 1e-9 * np.arange(4)
    assert local_value(density, np.array([1.0, 2.0, 3.0, 4.0]), 2.2) == pytest.approx(2.5)
    assert local_value(density, np.array([1.0, np.nan, 3.0, 5.0]), 2.2) == pytest.approx(3.0)


def test_a_profile_differs_from_itself_by_nothing_and_from_another_crystal_by_much() -> None:
    one, other = (Profile.of(rattled(DIAMOND, seed)) for seed in (0, 1))
    sheets = ase.build.graphene(size=(4, 4, 1), vacuum=1.7)
    sheets.pbc = True
    strange = Profile.of(rattled(sheets * (1, 1, 2), 0))
    for curve in ("g(r)", "angles", "rings"):
        assert difference(one, one, curve) == 0
        assert difference(strange, one, curve) > 3 * difference(other, one, curve)
    assert difference(one, other, "g(r)") == pytest.approx(
        rdf_distance(one.curves["g(r)"]["C-C"], other.curves["g(r)"]["C-C"]))
    np.testing.assert_allclose(radii(), rdf(rattled(DIAMOND, 0))[0])
    assert one.shares["4"] == 1 and strange.shares["3"] == 1
    assert set(one.environments) == set(other.environments) != set(strange.environments)


def test_bonds_of_several_elements_are_counted_by_pair() -> None:
    profile = Profile.of(rattled(CARBIDE, 0, 0.02))
    assert profile.shares["Si-C 4"] == profile.shares["C-Si 4"] == 1
    assert profile.shares["Si-Si 0"] == profile.shares["C-C 0"] == 1
    assert set(profile.curves["angles"]) == {"C", "Si"}
    assert set(profile.curves["g(r)"]) == {"Si-Si", "Si-C", "C-C"}
    assert radii()[profile.curves["g(r)"]["Si-C"].argmax()] == pytest.approx(1.89, abs=0.08)
    # A shorter longest bond leaves none.
    assert Profile.of(rattled(CARBIDE, 0, 0.02), {("C", "Si"): 1.2}).shares["Si-C 0"] == 1
