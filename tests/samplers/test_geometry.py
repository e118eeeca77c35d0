"""Density, number of atoms and cell: any two give the third, three must agree."""

import re

import numpy as np
import pytest
from ase import Atoms

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.geometry import DEFAULT_ATOMS, Box, resolve_box


def density_of(box: Box, symbol: str = "C") -> float:
    """By the density of a structure, another way than the box's own."""
    atoms = Atoms(f"{symbol}{box.n_atoms}", np.random.default_rng(0).random((box.n_atoms, 3)),
                  cell=box.cell, pbc=True)
    return Structure.from_atoms(atoms).density


def test_density_and_atoms_give_a_cube():
    box = resolve_box("C", 2.0, 100, None)
    np.testing.assert_allclose(box.cell, box.cell[0, 0] * np.eye(3))
    assert box.n_atoms == 100 and box.density == 2.0
    assert density_of(box) == pytest.approx(2.0)


def test_density_alone_takes_the_default_number_of_atoms():
    box = resolve_box("C", 3.0, None, None)
    assert box.n_atoms == DEFAULT_ATOMS == 216
    assert density_of(box) == pytest.approx(3.0)


def test_density_and_cell_give_the_number_of_atoms_and_the_density_that_it_comes_to():
    box = resolve_box("C", 2.0, None, (12.0, 13.0, 14.0))
    assert box.n_atoms == 219  # 2 g/cm3 is 0.10028 atoms / angstrom^3
    np.testing.assert_allclose(box.cell, np.diag([12.0, 13.0, 14.0]))
    assert density_of(box) == pytest.approx(box.density)
    assert box.density == pytest.approx(2.0, rel=0.005)


def test_atoms_and_cell_give_the_density():
    box = resolve_box("C", None, 216, (12.0, 13.0, 14.0))
    assert box.n_atoms == 216 and box.density == pytest.approx(density_of(box))


def test_other_elements_have_other_masses():
    assert density_of(resolve_box("Cu", 8.9, 108, None), "Cu") == pytest.approx(8.9)


def test_three_that_agree_within_a_percent_are_taken():
    edge = resolve_box("C", 2.0, 216, None).cell[0, 0]
    box = resolve_box("C", 2.015, 216, (edge, edge, edge))
    assert box.density == pytest.approx(2.0)  # the atoms in the cell decide


def test_three_that_disagree_are_refused_with_choices_that_agree():
    edges = (12.0, 13.0, 14.0)
    with pytest.raises(InputError, match="must agree within 1 %") as refusal:
        resolve_box("C", 2.2, 216, edges)
    text = str(refusal.value)
    assert "\n" not in text
    density = float(re.search(r"--density ([\d.]+)", text).group(1))
    atoms = int(re.search(r"--atoms (\d+)", text).group(1))
    cell = tuple(map(float, re.search(r"--cell ([\d.]+) ([\d.]+) ([\d.]+)", text).groups()))
    for choice in ((density, 216, edges), (2.2, atoms, edges), (2.2, 216, cell)):
        resolve_box("C", *choice)  # is taken


def test_a_cell_too_small_for_the_density_is_refused_without_a_number_of_atoms():
    """Three atoms in 30 cubic angstrom cannot come near 1.8 g/cm3 to one percent."""
    with pytest.raises(InputError, match="must agree within 1 %") as refusal:
        resolve_box("C", 1.8, None, (3.0, 3.0, 3.3))
    assert "--atoms" not in str(refusal.value)


REFUSED = {
    "nothing": ((None, None, None), "neither density nor cell"),
    "atoms alone": ((None, 100, None), "neither density nor cell"),
    "cell alone": ((None, None, (9.0, 9.0, 9.0)), "only the cell"),
    "density 0": ((0.0, 100, None), "received 0"),
    "density below 0": ((-1.0, 100, None), "received -1"),
    "nearly empty": ((1e-9, 100, None), "0.05 to at most 4 g/cm3 for C, received 1e-09"),
    "too few atoms": ((None, 1, (90.0, 90.0, 90.0)), "at least 0.05 g/cm3 for C"),
    "density NaN": ((float("nan"), 100, None), "received nan"),
    "denser than diamond": ((4.1, 100, None), "at most 4 g/cm3 for C, received 4.1"),
    "no atoms": ((2.0, 0, None), "received 0"),
    "too many atoms": ((None, 500, (9.0, 9.0, 9.0)), "received 13.7 from 500 atoms"),
    "edge 0": ((2.0, None, (9.0, 0.0, 9.0)), "three lengths above 0"),
    "edge NaN": ((2.0, None, (9.0, float("nan"), 9.0)), "three lengths above 0"),
    "two edges": ((2.0, None, (9.0, 9.0)), "three lengths above 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_by_its_value(case):
    request, told = REFUSED[case]
    with pytest.raises(InputError, match=re.escape(told)) as refusal:
        resolve_box("C", *request)
    assert ": " in str(refusal.value) and "\n" not in str(refusal.value)


def test_copper_may_be_denser_than_carbon_but_nothing_denser_than_matter():
    resolve_box("Cu", 8.9, 50, None)
    with pytest.raises(InputError, match=r"at most 21\.1 g/cm3 for Cu"):
        resolve_box("Cu", 30.0, 50, None)
    with pytest.raises(InputError, match="at most 25 g/cm3 for Os"):
        resolve_box("Os", 26.0, 50, None)


def silica(box: Box) -> Structure:
    symbols = [s for s, n in box.composition.items() for _ in range(n)]
    places = np.random.default_rng(0).random((box.n_atoms, 3))
    return Structure.from_atoms(Atoms(symbols, places, cell=box.cell, pbc=True))


@pytest.mark.parametrize("composition", ["SiO2", "Si:72,O:144", "O2Si"])
def test_a_compound_has_the_mass_of_all_its_elements(composition):
    box = resolve_box(composition, 2.2, 216, None)
    assert dict(box.composition) == {"Si": 72, "O": 144} and box.n_atoms == 216
    assert list(box.composition) == (["O", "Si"] if composition == "O2Si" else ["Si", "O"])
    assert silica(box).density == pytest.approx(2.2)


def test_a_formula_gets_the_nearest_number_of_atoms_that_it_divides():
    assert resolve_box("Si3N4", 2.9, None, None).n_atoms == 217  # 216 is no multiple of seven
    box = resolve_box("SiO2", 2.2, None, (13.0, 13.0, 13.0))
    assert box.n_atoms % 3 == 0 and box.density == pytest.approx(2.2, rel=0.01)
    assert silica(box).density == pytest.approx(box.density)
    assert resolve_box("Si:10,O:20", 2.2, None, None).n_atoms == 30


@pytest.mark.parametrize(("composition", "atoms", "told"), [
    ("SiO2", 100, "the nearest are 99 and 102"), ("Si:10,O:20", 31, "leave --atoms out"),
    ("Si:10,O:20", None, "--cell")])
def test_atoms_that_the_composition_cannot_have_are_refused(composition, atoms, told):
    with pytest.raises(InputError, match=told):
        resolve_box(composition, 2.2, atoms, None if atoms else (13.0, 13.0, 13.0))
