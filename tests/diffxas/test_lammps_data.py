"""LAMMPS data files with types in a given order and charges: read back by ASE and by LAMMPS."""

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from silica_examples import cristobalite

from diffxas.errors import InputError
from diffxas.lammps_data import (
    charge_note,
    check_lammps_options,
    parse_charges,
    parse_type_order,
)
from diffxas.lammps_library import load_lammps, open_lammps, potentials_folder
from diffxas.potentials import potential_energy
from diffxas.structure_files import read_structures, write_structures

CHARGES = {"Si": 2.4, "O": -1.2}
SMALL = cristobalite(1)


@pytest.fixture(params=[("Si", "O"), ("O", "Si")], ids="-".join)
def order(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


def test_ase_reads_back_elements_places_and_charges(order: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "glass.data"
    write_structures(path, SMALL, type_order=order, charges=CHARGES)
    atoms = ase.io.read(path, format="lammps-data")
    assert atoms.get_chemical_symbols() == SMALL.symbols
    np.testing.assert_allclose(atoms.get_initial_charges(), [CHARGES[s] for s in SMALL.symbols])
    np.testing.assert_allclose(atoms.get_all_distances(mic=True),
                               SMALL.to_atoms().get_all_distances(mic=True), atol=1e-5)
    (back,) = read_structures(path)
    assert back.symbols == SMALL.symbols


def test_lammps_reads_types_in_the_order_and_the_charges(order: tuple[str, ...],
                                                         tmp_path: Path) -> None:
    path = tmp_path / "glass.data"
    write_structures(path, SMALL, type_order=order, charges=CHARGES)
    file = potentials_folder() / "SiO.1994.vashishta"
    lmp = open_lammps(load_lammps())
    try:
        lmp.commands_list(["units metal", "atom_style charge", f'read_data "{path}"',
                           "pair_style vashishta",
                           f'pair_coeff * * "{file}" {" ".join(order)}', "run 0"])
        energy = lmp.get_thermo("pe") / len(SMALL)
        types = np.array(lmp.gather_atoms("type", 0, 1))
        charges = np.array(lmp.gather_atoms("q", 1, 1))
    finally:
        lmp.close()
    assert [order[t - 1] for t in types] == SMALL.symbols
    np.testing.assert_allclose(charges, [CHARGES[s] for s in SMALL.symbols])
    assert energy == pytest.approx(potential_energy(SMALL, "vashishta")[0], abs=1e-5)


def test_without_charges_the_style_stays_atomic(tmp_path: Path) -> None:
    write_structures(tmp_path / "a.data", SMALL, type_order=("Si", "O"))
    text = (tmp_path / "a.data").read_text()
    assert "Atoms # atomic" in text
    labels = text[text.index("Atom Type Labels"):]
    assert re.findall(r"^\s*(\d) (\w+)\s*$", labels, re.MULTILINE)[:2] == [("1", "Si"), ("2", "O")]


@pytest.mark.parametrize(("text", "told"), [
    ("Si=2.4,O", "Si=2.4,O=-1.2"), ("Si=a", "received 'Si=a'"), ("Xx=1", "received 'Xx=1'"),
    ("Si=1,Si=2", "received 'Si=1,Si=2'"), ("Si=nan", "received 'Si=nan'"), ("", "received ''")])
def test_charges_that_mean_nothing_are_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        parse_charges(text)


@pytest.mark.parametrize("text", ["Si,Xx", "Si,Si", "", "Si;O"])
def test_a_type_order_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--type-order Si,O"):
        parse_type_order(text)


def test_an_element_that_is_left_out_is_named() -> None:
    symbols = SMALL.symbols
    with pytest.raises(InputError, match=r"without O: add O=CHARGE to --charges"):
        check_lammps_options(symbols, None, {"Si": 2.4}, True, "")
    with pytest.raises(InputError, match=r"each of O, Si once, received Si"):
        check_lammps_options(symbols, ("Si",), None, True, "")
    with pytest.raises(InputError, match="add --format data"):
        check_lammps_options(symbols, ("Si", "O"), None, False, "add --format data")
    check_lammps_options(symbols, None, None, False, "")
    check_lammps_options(symbols, ("O", "C", "Si"), {"Si": 2, "O": -1, "C": 0}, True, "")


def test_a_cell_that_is_not_neutral_is_told() -> None:
    assert charge_note(SMALL.symbols, CHARGES) == "" == charge_note(SMALL.symbols, None)
    assert "+8 e" in charge_note(SMALL.symbols, {"Si": 3.0, "O": -1.0})
