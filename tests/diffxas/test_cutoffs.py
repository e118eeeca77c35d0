"""Longest bonds: minima of known curves, the order of the rules, and what is refused."""

import numpy as np
import pytest
from ase.build import bulk
from silica_examples import SI_O, cristobalite

from diffxas.analysis import (
    bonding,
    coordination_pairs,
    like_bonds,
    pair_name,
    partial_rdf,
    rdf,
)
from diffxas.cutoffs import (
    CARBON,
    GIVEN,
    RADII,
    RECORDED,
    REFERENCE,
    bond_lengths,
    choose_cutoffs,
    cutoff_record,
    first_minimum,
    parse_cutoffs,
)
from diffxas.errors import InputError
from diffxas.neighbourhood import bonds, neighbour_pairs
from diffxas.structure import Structure

R = (np.arange(200) + 0.5) * 0.02


def shells(*peaks: tuple[float, float, float]) -> np.ndarray:
    """g(r) of Gaussian shells: place, width, height."""
    return np.sum([h * np.exp(-0.5 * ((R - at) / width) ** 2) for at, width, h in peaks], axis=0)


@pytest.mark.parametrize("seed", range(5))
def test_the_minimum_between_two_shells_is_found_under_noise(seed):
    clean = shells((1.6, 0.15, 6.0), (2.6, 0.2, 3.0))
    between = (R > 1.6) & (R < 2.6)
    minimum = R[between][np.argmin(clean[between])]
    noisy = np.random.default_rng(seed).poisson(clean * 20) / 20
    assert first_minimum(R, clean, 2.3) == pytest.approx(minimum, abs=0.06)
    assert first_minimum(R, noisy, 2.3) == pytest.approx(minimum, abs=0.12)


def test_a_gap_is_cut_in_its_middle_but_not_beyond_what_elements_reach():
    found = first_minimum(R, shells((1.6, 0.03, 20.0), (2.3, 0.03, 20.0)), 2.3)
    assert found == pytest.approx(1.95, abs=0.03)
    wide = first_minimum(R, shells((1.6, 0.03, 20.0), (3.6, 0.03, 20.0)), 2.3)
    assert 1.8 < wide < 2.3


def test_a_stray_pair_is_no_shell_and_a_shoulder_no_minimum():
    stray = shells((1.2, 0.02, 0.2), (1.6, 0.15, 6.0), (2.6, 0.2, 3.0))
    assert first_minimum(R, stray, 2.3) == pytest.approx(
        first_minimum(R, shells((1.6, 0.15, 6.0), (2.6, 0.2, 3.0)), 2.3), abs=0.03)
    assert first_minimum(R, shells((3.1, 0.2, 5.0)), 2.3) is None  # beyond the bonds
    assert first_minimum(R, np.zeros(200), 2.3) is None
    assert first_minimum(R, np.where(R > 1.5, 1.0, 0.0), 2.3) is None  # never falls


def test_silica_is_bonded_between_its_elements_and_not_across_an_atom():
    found = choose_cutoffs({"Si", "O"}, reference=[cristobalite(seed=k) for k in range(3)])
    assert found["Si-O"].source == REFERENCE
    assert SI_O + 0.2 < found["Si-O"].length < 2.3
    assert found["Si-Si"].source == found["O-O"].source == RADII  # 3.1 and 2.5 angstrom apart
    unlike = neighbour_pairs(cristobalite(), {(8, 14): found["Si-O"].length})
    assert len(unlike.first) == 2 * 4 * 64


def test_the_rules_follow_one_another():
    reference, recorded = [cristobalite()], {"O-Si": 2.05, "Ge-O": 2.4}
    by_rule = [choose_cutoffs({"Si", "O"}, *rules)["Si-O"] for rules in (
        ({"O-Si": 2.2}, recorded, reference), (None, recorded, reference), (None, recorded))]
    assert [one.source for one in by_rule] == [GIVEN, REFERENCE, RECORDED]
    assert by_rule[0].length == 2.2 and by_rule[2].length == 2.05
    carbon = Structure.from_atoms(bulk("C", "diamond", a=3.567).repeat(3))
    assert choose_cutoffs({"C"}, recorded={"C-C": 1.7}, reference=[carbon])["C-C"].source == CARBON
    assert choose_cutoffs({"C"})["C-C"].length == 1.85
    assert choose_cutoffs({"C"}, {"C-C": 1.9})["C-C"].length == 1.9
    record = cutoff_record(choose_cutoffs({"Si", "O"}, {"Si-Si": 2.6}))
    assert record["cutoffs"]["Si-Si"] == 2.6 and record["cutoffs_from"]["Si-Si"] == GIVEN


def test_a_cutoff_is_parsed_in_either_order():
    assert parse_cutoffs(["O-Si=2.2", "C-C=1.9"]) == {"Si-O": 2.2, "C-C": 1.9}
    assert parse_cutoffs([]) == {}
    assert pair_name("O", "Si") == pair_name("Si", "O") == "Si-O"


@pytest.mark.parametrize(("texts", "told"), [
    (["Si-O"], "Si-O=2.2"), (["Si=2"], "received 'Si'"), (["Si-Xx=2"], "received 'Si-Xx'"),
    (["Si-O=two"], "received 'Si-O=two'"), (["Si-O=0"], "above 0"), (["Si-O=nan"], "above 0"),
    (["Si-O=2", "O-Si=2.1"], "Si-O twice")])
def test_a_cutoff_that_means_nothing_is_refused(texts, told):
    with pytest.raises(InputError, match=told):
        parse_cutoffs(texts)


def test_a_pair_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(InputError, match=r"O-O, Si-O, Si-Si, received Ge-O"):
        choose_cutoffs({"Si", "O"}, {"Ge-O": 2.2})


def test_bonds_are_counted_for_each_two_elements():
    structure = cristobalite()
    pairs = bonds(structure, {("Si", "O"): 2.1, ("Si", "Si"): 2.6})
    assert coordination_pairs(structure, pairs) == {
        "Si-Si": {"0": 1.0}, "Si-O": {"4": 1.0}, "O-Si": {"2": 1.0}, "O-O": {"0": 1.0}}
    assert like_bonds(structure, pairs) == {"Si-Si": 0.0, "O-O": 0.0}
    assert bonding(structure, pairs)["coordination"]["4"] == pytest.approx(1 / 3)
    across = bonds(structure, {("Si", "O"): 2.1, ("Si", "Si"): 3.4})  # 4 second neighbours each
    assert coordination_pairs(structure, across)["Si-Si"] == {"4": 1.0}
    # 64 Si: 256 bonds to O, 128 among Si
    assert like_bonds(structure, across)["Si-Si"] == pytest.approx(1 / 3)


def test_defects_are_seen_from_both_ends():
    whole = cristobalite()
    atoms = whole.to_atoms()
    del atoms[-1]  # an oxygen
    structure = Structure.from_atoms(atoms)
    pairs = bonds(structure, {("Si", "O"): 2.1, ("Si", "Si"): 2.6})
    found = coordination_pairs(structure, pairs)
    assert found["Si-O"] == {"3": pytest.approx(2 / 64), "4": pytest.approx(62 / 64)}
    assert found["O-Si"] == {"2": 1.0}


def test_carbon_has_one_pair():
    carbon = Structure.from_atoms(bulk("C", "diamond", a=3.567).repeat(2))
    assert coordination_pairs(carbon) == {"C-C": {"4": 1.0}}
    assert like_bonds(carbon) == {"C-C": 1.0}
    lone = carbon.with_positions(carbon.positions[:]).to_atoms()[:1]
    assert like_bonds(Structure.from_atoms(lone), bonds(Structure.from_atoms(lone))) == {"C-C": 0.0}


def test_partial_curves_make_up_the_whole_and_tend_to_one():
    structure = cristobalite()
    r, whole = rdf(structure)
    r_partial, partial = partial_rdf(structure)
    np.testing.assert_array_equal(r, r_partial)
    assert list(partial) == ["Si-Si", "Si-O", "O-O"]
    share = {"Si": 1 / 3, "O": 2 / 3}
    parts = sum((1 if a == b else 2) * share[a] * share[b] * partial[f"{a}-{b}"]
                for a, b in (("Si", "Si"), ("Si", "O"), ("O", "O")))
    np.testing.assert_allclose(parts, whole, atol=1e-12)
    rng = np.random.default_rng(0)
    gas = Structure(rng.random((300, 3)) * 12, np.repeat([14, 8], [100, 200]), 12 * np.eye(3))
    for g in partial_rdf(gas, 6.0, 0.5)[1].values():
        assert g[6:].mean() == pytest.approx(1.0, abs=0.05)
    both = partial_rdf([structure, gas], 4.0)[1]
    np.testing.assert_allclose(both["Si-O"], (partial_rdf(structure, 4.0)[1]["Si-O"]
                                              + partial_rdf(gas, 4.0)[1]["Si-O"]) / 2)


def test_lengths_are_as_the_neighbour_search_takes_them():
    chosen = choose_cutoffs({"Si", "O"}, {"Si-O": 2.0})
    assert bond_lengths(chosen)["Si", "O"] == 2.0
    assert len(bonds(cristobalite(), bond_lengths(chosen)).first) >= 512
