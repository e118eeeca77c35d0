"""Structures survive their files; bad files are refused in one line."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from diffxas.errors import InputError
from diffxas.lammps_library import lammps_box, load_lammps, open_lammps, potentials_folder
from diffxas.potentials import potential_energy
from diffxas.structure import Structure
from diffxas.structure_files import labelled_structures, read_structures, write_structures


def rattled(atoms, seed=0, scale=0.1):
    moves = scale * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    atoms.positions += moves
    return Structure.from_atoms(atoms)


STRAIN = np.array([[1.02, 0.03, -0.01], [0.0, 0.98, 0.02], [-0.02, 0.01, 1.03]])
CELLS = {  # of the lattice of strained diamond
    "cubic": np.diag([3.57, 3.57, 3.57]),
    "oblique": 3.57 * np.array([[1, 0, 0], [1, 1, 0], [-1, 0, 1]]) @ STRAIN,
    "left-handed": 3.57 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]) @ STRAIN,
    "strongly tilted": 3.57 * np.array([[1, 0, 0], [3, 1, 0], [-2, 4, 1]]) @ STRAIN,
}


def in_cell(cell, seed=0):
    """Shaken diamond whose 8 atoms repeat with ``cell``."""
    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    if np.abs(np.tril(cell, -1)).any():
        atoms.positions = atoms.positions @ STRAIN
    atoms.cell = cell
    return rattled(atoms, seed, 0.05)


@pytest.fixture
def structure():
    return in_cell(CELLS["oblique"]).with_info(
        energy=-12.5, name="a b", density=2.25, flag=True, energy_per_atom=-1.5,
    ).with_arrays(forces=np.arange(24.0).reshape(8, 3), coordination=np.arange(8),
                  pi_star=np.linspace(0, 1, 8))


def test_extended_xyz_keeps_columns_energy_and_forces(tmp_path, structure):
    path = tmp_path / "out.extxyz"
    write_structures(path, [structure, structure.with_info(name="second")])
    frames = ase.io.read(path, index=":")
    assert frames[0].get_potential_energy() == pytest.approx(-12.5)
    assert np.allclose(frames[0].get_forces(), structure.arrays["forces"])
    first, second = read_structures(path)
    assert second.info["name"] == "second"
    assert first.info == structure.info
    assert set(first.arrays) == {"forces", "coordination", "pi_star"}
    assert first.arrays["coordination"].dtype.kind == "i"
    assert np.allclose(first.positions, structure.positions, atol=1e-7)


def test_awkward_columns_and_header_entries_survive(tmp_path, structure):
    tensors = np.random.default_rng(0).normal(size=(8, 3, 3))
    awkward = structure.with_info(nothing=None, empty="", note="two\nlines", after="kept",
                                  settings={"fmax": 0.01}, stress=np.eye(3)).with_arrays(
        charges=np.arange(8.0), born=tensors)
    write_structures(tmp_path / "out.extxyz", awkward)
    (back,) = read_structures(tmp_path / "out.extxyz")
    assert back.info["note"] == "two lines" and back.info["after"] == "kept"
    assert back.info["settings"] == {"fmax": 0.01}
    assert "nothing" not in back.info and "empty" not in back.info
    assert np.allclose(back.arrays["charges"], np.arange(8.0))
    assert np.allclose(back.arrays["born"].reshape(8, 3, 3), tensors, atol=1e-7)
    assert back.info["energy"] == pytest.approx(-12.5)
    assert np.asarray(back.info["stress"]).shape in ((3, 3), (6,))


@pytest.mark.parametrize("suffix", [".extxyz", ".cif", ".vasp", ".data"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_format_keeps_the_energy(tmp_path, suffix, cell):
    structure = in_cell(CELLS[cell])
    path = tmp_path / f"one{suffix}"
    write_structures(path, structure)
    (back,) = read_structures(path)
    assert back.symbols == structure.symbols
    expected, found = potential_energy(structure)[0], potential_energy(back)[0]
    assert found == pytest.approx(expected, abs=1e-6)
    shifted = structure.with_positions(structure.positions * 1.01)  # the comparison can fail
    assert abs(potential_energy(shifted)[0] - expected) > 1e-4


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("order", [None, ["H", "C"]])
def test_lammps_reads_its_data_file_to_the_same_energy(tmp_path, cell, order):
    atoms = in_cell(CELLS[cell]).to_atoms()
    atoms.symbols[0] = "H"
    structure = Structure.from_atoms(atoms)
    path = tmp_path / "cell.data"
    write_structures(path, structure, type_order=order)
    text = path.read_text()
    assert "Atom Type Labels" in text and "Masses" in text
    names = " ".join(order or ["C", "H"])
    lmp = open_lammps(load_lammps())
    try:
        lmp.commands_list(["units metal", "atom_style atomic", f'read_data "{path}"',
                           "pair_style rebo",
                           f'pair_coeff * * "{potentials_folder() / "CH.rebo"}" {names}',
                           "run 0"])
        energy = lmp.get_thermo("pe") / len(structure)
        assert lmp.get_natoms() == len(structure)
    finally:
        lmp.close()
    assert energy == pytest.approx(potential_energy(structure)[0], abs=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_lammps_box_is_the_same_lattice_turned(cell):
    cell = CELLS[cell]
    box = lammps_box(cell)
    assert np.linalg.det(box.rotation) == pytest.approx(1.0)
    assert np.allclose(box.rotation @ box.rotation.T, np.eye(3))
    multiples = box.back(box.matrix) @ np.linalg.inv(cell)
    assert np.allclose(multiples, np.round(multiples), atol=1e-9)
    assert abs(np.linalg.det(multiples)) == pytest.approx(1.0)
    lx, ly, lz, xy, xz, yz = box.numbers
    assert min(lx, ly, lz) > 0
    assert max(abs(xy) / lx, abs(xz) / lx, abs(yz) / ly) <= 0.5 + 1e-9


def test_labels_name_the_stem_and_the_frame(tmp_path, structure):
    write_structures(tmp_path / "many.extxyz", [structure] * 2)
    write_structures(tmp_path / "one.cif", structure)
    labels = [label for label, _ in labelled_structures([tmp_path / "many.extxyz",
                                                         tmp_path / "one.cif"])]
    assert labels == ["many#0", "many#1", "one"]


def test_two_inputs_of_one_stem_are_refused(tmp_path, structure):
    write_structures(tmp_path / "one.cif", structure)
    write_structures(tmp_path / "one.vasp", structure)
    with pytest.raises(InputError, match=r"different stems.*one\.cif.*one\.vasp"):
        labelled_structures([tmp_path / "one.cif", tmp_path / "one.vasp"])


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("missing.cif", None, "no such file"),
    ("empty.extxyz", "", "format that ASE reads"),
    ("noise.vasp", "not a structure\nat all\n", "format that ASE reads"),
    ("unknown.qqq", "1 2 3\n", "format that ASE reads"),
    ("molecule.xyz", "1\n\nC 0 0 0\n", "a cell of three vectors"),
    ("nan.extxyz", '1\nLattice="3 0 0 0 3 0 0 0 3"\nC nan 0 0\n', "finite"),
])
def test_bad_files_are_refused_in_one_line(tmp_path, name, content, reason):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_structures(path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_partly_occupied_crystal_is_refused(tmp_path):
    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    atoms.info["occupancy"] = {"0": {"C": 0.5, "Si": 0.5}}
    atoms.set_array("spacegroup_kinds", np.zeros(8, dtype=int))
    ase.io.write(tmp_path / "mixed.cif", atoms)
    with pytest.raises(InputError, match="fully occupied"):
        read_structures(tmp_path / "mixed.cif")


@pytest.mark.parametrize("suffix", [".vasp", ".data"])
def test_formats_of_one_frame_refuse_several_and_write_nothing(tmp_path, structure, suffix):
    path: Path = tmp_path / f"two{suffix}"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"\.extxyz"):
        write_structures(path, [structure, structure])
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_suffixes_and_incomplete_type_orders_are_refused(tmp_path, structure):
    with pytest.raises(InputError, match=r"\.extxyz, \.cif, \.vasp, \.data"):
        write_structures(tmp_path / "out.pdb", structure)
    with pytest.raises(InputError, match="type-order"):
        write_structures(tmp_path / "out.data", structure, type_order=["H"])
    assert not list(tmp_path.iterdir())


def test_shared_cells_and_networks_read(shared_data):
    (cell,) = read_structures(shared_data / "a-C-K-edge/poscar/d2.0_1.vasp")
    assert cell.formula == "C216"
    networks = read_structures(shared_data / "a-C-NEP/networks.extxyz")
    assert len(networks) == 58
    assert all(network.density == pytest.approx(network.info["density"], abs=2e-3)
               for network in networks)
