"""Coordination, g(r), angles, S(Q) and environments against what is known or summed by hand."""

import csv
import itertools
import json

import numpy as np
import pytest
from ase.build import bulk, graphene
from ase.io import read

from diffxas.analyse import AnalysisOptions, analyse, analyse_structure
from diffxas.analysis import (
    angle_distribution,
    bond_angles,
    coordination,
    coordination_fractions,
    coordination_shares,
    environment_hashes,
    environment_overlap,
    minimum_distance,
    rdf,
    rdf_distance,
)
from diffxas.errors import InputError
from diffxas.neighbourhood import bond_cutoffs, neighbour_pairs
from diffxas.structure import Structure
from diffxas.structure_factor import structure_factor

OBLIQUE = np.array([[3.1, 0.0, 0.0], [1.9, 2.7, 0.0], [-1.2, 0.8, 2.9]])


def diamond(repeat: int = 1, cubic: bool = True) -> Structure:
    return Structure.from_atoms(bulk("C", "diamond", a=3.567, cubic=cubic).repeat(repeat))


def gas(n_atoms: int, cell: np.ndarray, seed: int = 0) -> Structure:
    """Uniform random positions: no correlation at all."""
    rng = np.random.default_rng(seed)
    return Structure(rng.random((n_atoms, 3)) @ cell, np.full(n_atoms, 6), cell)


def all_distances(structure: Structure, r_max: float) -> np.ndarray:
    """Every pair with every image within reach, by brute force; both directions."""
    heights = 1 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
    reach = np.ceil(r_max / heights).astype(int) + 1
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    difference = structure.positions[None] - structure.positions[:, None]
    distance = np.linalg.norm(difference[:, :, None] + shifts @ structure.cell, axis=-1).ravel()
    return np.sort(distance[(distance < r_max) & (distance > 0)])


@pytest.mark.parametrize("cell", [OBLIQUE, OBLIQUE[[1, 0, 2]], np.diag([2.0, 3.0, 9.0])],
                         ids=["oblique", "left-handed", "thin"])
def test_every_image_counts_in_cells_shorter_than_the_cutoff(cell):
    structure = gas(5, cell)
    found = np.sort(neighbour_pairs(structure, 6.0).distance)
    np.testing.assert_allclose(found, all_distances(structure, 6.0), atol=1e-10)


def test_pairs_do_not_change_when_atoms_leave_the_cell():
    structure = gas(6, OBLIQUE)
    far = np.random.default_rng(1).integers(-4, 5, (6, 3)) @ structure.cell
    moved = structure.with_positions(structure.positions + far)
    np.testing.assert_allclose(np.sort(neighbour_pairs(moved, 5.0).distance),
                               np.sort(neighbour_pairs(structure, 5.0).distance), atol=1e-9)


@pytest.mark.parametrize("structure", [diamond(cubic=False), diamond(2)], ids=["2", "64 atoms"])
def test_diamond_is_fourfold_and_tetrahedral_in_any_cell(structure):
    assert (coordination(structure) == 4).all()
    np.testing.assert_allclose(bond_angles(structure), np.degrees(np.arccos(-1 / 3)), atol=1e-6)
    assert minimum_distance(structure) == pytest.approx(3.567 * np.sqrt(3) / 4)


def test_graphene_is_threefold_with_angles_of_120_degrees():
    sheet = graphene(vacuum=6)
    sheet.pbc = True
    structure = Structure.from_atoms(sheet)
    assert coordination_fractions(structure)["3"] == 1.0
    angle, density = angle_distribution(structure, 5.0)
    assert (density > 0).sum() == 1
    assert abs(angle[density.argmax()] - 120) <= 2.5
    assert density.sum() * 5.0 == pytest.approx(1.0)


def test_angles_agree_with_a_sum_over_triples():
    structure = gas(30, 6.5 * np.eye(3))
    pairs = neighbour_pairs(structure, 1.85)
    expected = []
    for atom in range(30):
        mine = pairs.vector[pairs.first == atom]
        for a, b in itertools.combinations(mine, 2):
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            expected.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    np.testing.assert_allclose(np.sort(bond_angles(structure)), np.sort(expected), atol=1e-5)


def test_dft_cells_have_the_coordination_that_is_known_for_them(shared_data):
    known = {"d1.5_1": (32.4, 64.8, 2.8), "d2.0_1": (11.6, 76.9, 11.6)}
    for name, expected in known.items():
        path = shared_data / "a-C-K-edge" / "poscar" / f"{name}.vasp"
        fractions = coordination_fractions(Structure.from_atoms(read(path)))
        assert [round(100 * fractions[k], 1) for k in "234"] == list(expected)
        assert sum(fractions.values()) == pytest.approx(1.0)


def test_six_or_more_neighbours_stand_together():
    crystal = Structure.from_atoms(bulk("Cu", "fcc", a=3.6))
    assert coordination(crystal).tolist() == [12]
    assert coordination_fractions(crystal)["6"] == 1.0


def test_bond_cutoffs_take_overrides_in_either_order_and_refuse_nonsense():
    cutoffs = bond_cutoffs([6, 1, 6], {("C", "H"): 1.3})
    assert cutoffs[6, 6] == 1.85
    assert cutoffs[1, 6] == 1.3
    with pytest.raises(InputError, match="two elements, received C-Xx"):
        bond_cutoffs([6], {("C", "Xx"): 1.0})
    with pytest.raises(InputError, match="positive length"):
        bond_cutoffs([6], {("C", "C"): -1.0})


def test_rdf_counts_neighbours_and_tends_to_one_beyond_half_the_cell():
    structure = gas(400, np.diag([9.0, 9.0, 9.0]))
    r, g = rdf(structure, r_max=12.0, bin_width=0.5)
    np.testing.assert_allclose(g[4:], 1.0, atol=0.12)
    assert g[8:].mean() == pytest.approx(1.0, abs=0.01)
    counts, _ = np.histogram(all_distances(gas(5, OBLIQUE), 6.0), bins=np.arange(121) * 0.05)
    r, g = rdf(gas(5, OBLIQUE))
    shells = 4 / 3 * np.pi * np.diff((np.arange(121) * 0.05) ** 3)
    np.testing.assert_allclose(g * shells * 5 * 5 / abs(np.linalg.det(OBLIQUE)), counts, atol=1e-6)
    assert r[0] == pytest.approx(0.025)


def test_rdf_of_several_structures_is_their_mean():
    one, other = gas(20, 4 * np.eye(3), 1), gas(30, 5 * np.eye(3), 2)
    np.testing.assert_allclose(rdf([one, other])[1], (rdf(one)[1] + rdf(other)[1]) / 2)


def test_rdf_distance_is_zero_for_equal_and_two_for_separate_curves():
    g = np.array([0.0, 1.0, 2.0, 1.0])
    assert rdf_distance(g, g) == 0
    assert rdf_distance(np.array([4.0, 0.0, 0.0, 0.0]), g) == pytest.approx(2.0)
    with pytest.raises(InputError, match="same bins"):
        rdf_distance(g, g[:2])


def test_structure_factor_agrees_with_the_sum_over_all_wave_vectors():
    structure = gas(12, 1.6 * OBLIQUE)
    reciprocal = 2 * np.pi * np.linalg.inv(structure.cell).T
    miller = np.array(list(itertools.product(range(-12, 13), repeat=3)))
    q = miller @ reciprocal
    modulus = np.linalg.norm(q, axis=1)
    power = abs(np.exp(1j * q @ structure.positions.T).sum(axis=1)) ** 2 / 12
    centre, s = structure_factor(structure, q_max=4.0, bin_width=0.25)
    for c, value in zip(centre, s, strict=True):
        here = (np.abs(modulus - c) < 0.125) & (modulus > 0)
        if here.any():
            assert value == pytest.approx(power[here].mean(), rel=1e-5)
        else:
            assert np.isnan(value)


def test_sampled_shells_are_unbiased():
    """Large shells are drawn, not summed: their mean must agree within 1 / sqrt(vectors)."""
    structure = diamond(3)
    rattled = structure.with_positions(
        structure.positions + np.random.default_rng(0).normal(0, 0.3, (216, 3)))
    reciprocal = 2 * np.pi / rattled.cell[0, 0]
    n = np.array(list(itertools.product(range(-14, 15), repeat=3)))
    modulus = np.linalg.norm(n, axis=1) * reciprocal
    shell = n[(modulus >= 6.5) & (modulus < 8.0)] * reciprocal
    exact = (abs(np.exp(1j * shell @ rattled.positions.T).sum(axis=1)) ** 2 / 216).mean()
    q, s = structure_factor(rattled, q_max=9.0)
    drawn = np.average(s[(q > 6.5) & (q < 8.0)], weights=q[(q > 6.5) & (q < 8.0)] ** 2)
    assert len(shell) > 4000
    assert drawn == pytest.approx(exact, rel=0.06)


def test_low_q_tells_a_jittered_grid_from_random_positions():
    """One atom per sub-volume has no long-wave density fluctuations; a gas has S = 1."""
    rng = np.random.default_rng(0)
    edge = 14.0
    corner = np.array(list(itertools.product(range(10), repeat=3)))
    cells = [Structure((corner + rng.random((1000, 3))) * edge / 10, np.full(1000, 6),
                       edge * np.eye(3)) for _ in range(2)]
    q, grid = structure_factor(cells, q_max=3.0)
    _, random = structure_factor([gas(1000, edge * np.eye(3), k) for k in range(8)], q_max=3.0)
    low = q < 1.0
    assert np.nanmean(grid[low]) < 0.15
    assert np.nanmean(random[low]) == pytest.approx(1.0, abs=0.3)


def test_environments_do_not_depend_on_order_place_or_repetition(shared_data):
    cell = read(shared_data / "a-C-K-edge" / "poscar" / "d2.0_1.vasp")
    structure = Structure.from_atoms(cell)
    order = np.random.default_rng(0).permutation(len(cell))
    shuffled = Structure.from_atoms(cell[order])
    hashes = environment_hashes(structure)
    assert environment_hashes(shuffled) == [hashes[n] for n in order]
    assert environment_hashes(Structure.from_atoms(cell.repeat((2, 1, 1)))) == hashes * 2


def test_environments_know_copies_of_a_network_from_other_networks(shared_data):
    folder = shared_data / "a-C-K-edge" / "poscar"
    one, copy, other = (Structure.from_atoms(read(folder / f"{name}.vasp"))
                        for name in ("d1.5_1", "d1.5_2", "d2.0_1"))
    assert environment_overlap(one, one) == 1.0
    assert environment_overlap(one, copy) > 0.9
    assert environment_overlap(one, other) < 0.1


def test_shares_of_absorbers_sum_to_the_mean_spectrum():
    mu = np.random.default_rng(0).random((9, 20))
    shares = coordination_shares(mu, np.array([1, 2, 2, 3, 3, 3, 4, 5, 6]))
    np.testing.assert_allclose(sum(shares.values()), mu.mean(axis=0))
    np.testing.assert_allclose(shares["2"], mu[1:3].sum(axis=0) / 9)


def test_a_molecule_has_bonds_but_no_density():
    ethyne = Structure([[0, 0, 0], [1.2, 0, 0]], [6, 6], np.zeros((3, 3)), np.zeros(3, bool))
    assert coordination(ethyne).tolist() == [1, 1]
    numbers = analyse_structure(ethyne)
    assert numbers["rdf"] is None
    assert numbers["minimum_distance"] == pytest.approx(1.2)
    with pytest.raises(InputError, match="periodic in three directions"):
        rdf(ethyne)


def test_analyse_writes_its_files_and_replaces_only_its_own(tmp_path):
    labelled = [("diamond", diamond(2)), ("gas", gas(40, 7 * np.eye(3)))]
    options = AnalysisOptions(q_max=6.0)
    out = tmp_path / "out"
    for _ in range(2):
        content = analyse(labelled, out, [("a", diamond(1)), ("b", diamond(2))], options)
    assert json.loads((out / "analysis.json").read_text()) == json.loads(json.dumps(content))
    with (out / "analysis.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["diamond", "gas", "a", "b"]
    assert float(rows[0]["density"]) == pytest.approx(3.51, abs=0.01)
    assert float(rows[0]["distance_rdf"]) < 1e-6 < float(rows[1]["distance_rdf"])
    frames = read(out / "structures.extxyz", index=":")
    assert frames[0].arrays["coordination"].tolist() == [4] * 64
    assert sorted(p.name for p in (out / "figures").iterdir()) == [
        "angles.png", "coordination.png", "rdf.png", "rings_per_atom.png", "structure_factor.png"]
    assert (out / "report.html").read_text().count("data:image/png;base64,") == 5
    (out / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run\.json"):
        analyse(labelled, out)
