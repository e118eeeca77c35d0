"""Energies, forces and stresses are consistent; unusable potentials are refused beforehand."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from diffxas import lammps_library
from diffxas.errors import InputError
from diffxas.lammps_library import LammpsMissing
from diffxas.lammps_session import PairStyle, lammps_calculator
from diffxas.potentials import (
    available_potentials,
    check_potential,
    potential,
    potential_energy,
)
from diffxas.structure import Structure

STRAIN = np.array([[1.02, 0.03, -0.01], [0.0, 0.98, 0.02], [-0.02, 0.01, 1.03]])
OBLIQUE = np.array([[3.57, 0, 0], [3.57, 3.57, 0], [-3.57, 0, 3.57]]) @ STRAIN
LAMMPS_NAMES = ["rebo", "airebo", "airebo-m", "lcbop", "tersoff:BNC.tersoff"]


def distorted(cell=OBLIQUE, seed=1):
    """Strained and shaken diamond; ``cell`` is one of the many of its lattice."""
    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    atoms.positions = atoms.positions @ STRAIN
    atoms.cell = cell
    atoms.positions += 0.05 * np.random.default_rng(seed).normal(size=(8, 3))
    return Structure.from_atoms(atoms)


@pytest.mark.parametrize("spec", LAMMPS_NAMES)
def test_a_cell_shorter_than_the_cutoff_is_its_supercell(spec):
    atoms = bulk("C", "diamond", a=3.57)  # vectors of 2.52 angstrom
    atoms.positions[1] += (0.1, -0.2, 0.05)
    small, large = Structure.from_atoms(atoms), Structure.from_atoms(atoms * (4, 4, 4))
    e_small, f_small, s_small = potential_energy(small, spec)
    e_large, f_large, s_large = potential_energy(large, spec)
    assert e_small == pytest.approx(e_large, abs=1e-9)
    assert np.abs(f_small).max() > 0.5
    assert np.allclose(np.tile(f_small, (64, 1)), f_large, atol=1e-8)
    assert np.allclose(s_small, s_large, atol=1e-8)


@pytest.mark.parametrize("spec", ["rebo", "lcbop", "tersoff:BNC.tersoff"])
@pytest.mark.parametrize("cell", [OBLIQUE, OBLIQUE[[1, 0, 2]]], ids=["oblique", "left-handed"])
def test_forces_and_stress_are_the_numeric_derivatives(spec, cell):
    structure = distorted(cell)
    _, forces, stress = potential_energy(structure, spec)
    h = 1e-5

    def energy(positions, cell=cell):
        moved = replace(structure, positions=positions, cell=cell)
        return potential_energy(moved, spec)[0] * len(structure)

    for atom, axis in ((0, 0), (3, 1), (7, 2)):
        move = np.zeros((8, 3))
        move[atom, axis] = h
        numeric = (energy(structure.positions - move) - energy(structure.positions + move)) / 2 / h
        assert forces[atom, axis] == pytest.approx(numeric, abs=1e-5)
    for i, j in ((0, 0), (0, 1), (1, 2), (2, 2)):
        strain = np.zeros((3, 3))
        strain[i, j] += h / 2
        strain[j, i] += h / 2
        up, down = np.eye(3) + strain, np.eye(3) - strain
        numeric = (energy(structure.positions @ up, cell @ up)
                   - energy(structure.positions @ down, cell @ down)) / 2 / h / structure.volume
        assert stress[i, j] == pytest.approx(numeric, abs=1e-6)


def test_energy_knows_no_orientation_image_or_order():
    structure = distorted()
    energy, forces, _ = potential_energy(structure)
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    shifts = rng.integers(-3, 4, size=(8, 3)) @ OBLIQUE
    order = rng.permutation(8)
    other = Structure((structure.positions + shifts)[order] @ turn, structure.numbers,
                      OBLIQUE @ turn)
    e_other, f_other, _ = potential_energy(other)
    assert e_other == pytest.approx(energy, abs=1e-9)
    assert np.allclose(f_other, forces[order] @ turn, atol=1e-8)


def test_moved_atoms_have_the_energy_of_atoms_built_there():
    """Also when LAMMPS served another structure in between, and when the cell changes its tilt."""
    structure, turns = distorted(), np.array([[1, 0, 0], [2, 1, 0], [0, -3, 1]])
    rebo = f'pair_coeff * * "{lammps_library.potentials_folder() / "CH.rebo"}" C'
    calculator = lammps_calculator(structure, PairStyle(("pair_style rebo", rebo), ("C",)))
    for step, cell in enumerate((structure.cell, turns @ structure.cell, structure.cell * 1.02)):
        here = replace(structure, cell=cell, positions=structure.positions * (1 + 0.01 * step))
        atoms = here.to_atoms()
        atoms.calc = calculator
        energy, forces, stress = potential_energy(here)  # uses the same LAMMPS
        assert atoms.get_potential_energy() / 8 == pytest.approx(energy, abs=1e-9)
        assert np.allclose(atoms.get_forces(), forces, atol=1e-7)
        assert np.allclose(atoms.get_stress(voigt=False), stress, atol=1e-9)
        moved = here.with_positions(here.positions + 0.01 * np.sin(np.arange(24)).reshape(8, 3))
        atoms.positions = moved.positions
        from_calculator = atoms.get_potential_energy() / 8
        assert from_calculator == pytest.approx(potential_energy(moved)[0], abs=1e-9)


def test_far_separated_copies_add():
    """Two dimers in one box have twice the energy of one."""
    one = Structure(np.array([[1.0, 1, 1], [2.3, 1, 1]]), np.array([6, 6]), 20 * np.eye(3))
    two = Structure(np.concatenate([one.positions, one.positions + 10]), np.full(4, 6), one.cell)
    assert potential_energy(one)[0] < -1
    assert potential_energy(two)[0] == pytest.approx(potential_energy(one)[0], abs=1e-10)


@pytest.mark.parametrize(("spec", "elements", "reason"), [
    ("rebo", {"C", "Si"}, r"C, H.*received Si.*--potential matgl:FOLDER"),
    ("lcbop", {"H"}, "received H"),
    ("rebo", {"O", "Si"}, r"received O, Si: .*tersoff:SiO\.tersoff.*vashishta:SiO\.1994"),
    ("snap", {"C", "H"}, "received H: choose one that has them, rebo, airebo, airebo-m"),
    ("tersoff", {"Cu"}, r"B C N \(BNC\.tersoff\).*received Cu.*tersoff:FILE"),
    ("vashishta", {"C", "O"}, r"C Si \(SiC\.vashishta\).*received C, O"),
    ("vashishta:absent", {"Si"}, r"absent.*SiO\.1994\.vashishta"),
    ("vashishta:SiO.1990.vashishta", {"C"}, "among O, Si .*received C"),
    ("tersoff:absent.tersoff", {"C"}, r"absent\.tersoff"),
    ("tersoff:BNC.tersoff", {"Cu"}, "received Cu"),
    ("rbo", {"C"}, "received 'rbo'"),
    ("absent.lmp", {"C"}, r"absent\.lmp"),
    ("matgl:/absent", {"C"}, r"model\.json"),
    (3.0, {"C"}, "received float"),
])
def test_unusable_potentials_are_refused_in_one_line(spec, elements, reason):
    with pytest.raises(InputError, match=reason) as caught:
        check_potential(spec, elements)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("lines", "reason"), [
    ("pair_coeff * * CH.rebo {elements}\n", "must have a pair_style"),
    ("pair_style rebo\npair_coeff * * CH.rebo H C\n", r"C H, received H C.*\{elements\}"),
    ("pair_style rebo\nshell rm -r x\n", "received 'shell rm -r x'"),
    ("units real\npair_style rebo\n", "received 'units real'"),
    ("pair_style nonsense\n", "Unrecognized pair style 'nonsense'.*pip install"),
    ("pair_style pace\n", "ML-PACE package which is not enabled.*pip install"),
    ("pair_style rebo\n", "from LAMMPS"),
    ("pair_style rebo\npair_coeff * * absent.rebo {elements}\n", "from LAMMPS"),
])
def test_wrong_lines_of_the_users_are_refused_before_work(tmp_path, lines, reason):
    path = tmp_path / "mine.lmp"
    path.write_text(lines)
    with pytest.raises(InputError, match=reason) as caught:
        check_potential(str(path), {"C", "H"})
    assert "\n" not in str(caught.value)
    assert potential_energy(distorted())[0] < -5  # LAMMPS serves on after its error


def test_the_users_lines_give_the_named_potential(tmp_path):
    path = tmp_path / "mine.lmp"
    path.write_text("# mine\nunits metal\npair_style rebo\npair_coeff * * &\nCH.rebo {elements}\n")
    check_potential(str(path), {"C", "H"})
    assert potential_energy(distorted(), str(path))[0] == potential_energy(distorted(), "rebo")[0]


def test_files_and_labels_of_the_users_are_found(tmp_path):
    text = (lammps_library.potentials_folder() / "BNC.tersoff").read_text()
    folder = tmp_path / "with blank"
    folder.mkdir()
    (folder / "own.tersoff").write_text(text)
    (folder / "own.lmp").write_text("pair_style tersoff\npair_coeff * * own.tersoff {elements}\n")
    expected = potential_energy(distorted(), "tersoff:BNC.tersoff")[0]
    assert potential_energy(distorted(), str(folder / "own.lmp"))[0] == expected
    assert potential_energy(distorted(), f"tersoff:{folder / 'own.tersoff'}")[0] == expected
    (folder / "lj.lmp").write_text("pair_style lj/cut 3.0\npair_coeff C C 0.01 1.5\n")
    lennard_jones = LennardJones(epsilon=0.01, sigma=1.5, rc=3.0)
    found = potential(str(folder / "lj.lmp"), {"C"}).evaluate(distorted())
    from_ase = potential(lennard_jones, {"C"}).evaluate(distorted())
    assert np.allclose(found.forces, from_ase.forces, atol=1e-9)
    assert np.allclose(found.stress, from_ase.stress, atol=1e-9)


def test_the_names_are_listed():
    names = available_potentials()
    assert names[0] == "rebo" and "tersoff:BNC.tersoff" in names and "matgl:FOLDER" in names
    for name in names[:4]:
        assert check_potential(name, {"C"}).label == name


@pytest.mark.parametrize(("name", "elements", "label"), [
    ("tersoff", {"C"}, "tersoff:SiC_Erhart-Albe.tersoff"),
    ("tersoff", {"C", "Si"}, "tersoff:SiC_Erhart-Albe.tersoff"),
    ("tersoff", {"Si"}, "tersoff:Si.tersoff"),
    ("tersoff", {"O", "Si"}, "tersoff:SiO.tersoff"),
    ("tersoff", {"B", "N"}, "tersoff:BNC.tersoff"),
    ("vashishta", {"O", "Si"}, "vashishta:SiO.1994.vashishta"),
    ("vashishta", {"C", "Si"}, "vashishta:SiC.vashishta"),
    ("edip", {"C", "Si"}, "edip"),
    ("snap", {"C"}, "snap"),
])
def test_a_bare_name_takes_the_usual_file_and_says_so(name, elements, label):
    assert check_potential(name, elements).label == label
    assert name in available_potentials()


@pytest.mark.parametrize(("name", "phase", "lattice", "energy"), [
    ("snap", "diamond", 3.55, None),
    ("tersoff", "diamond", 3.566, -7.37),  # Erhart and Albe, Phys. Rev. B 71, 035211 (2005)
])
def test_diamond_lies_where_its_potential_puts_it(name, phase, lattice, energy):
    """Energies fall towards the lattice constant from both sides."""
    cells = [Structure.from_atoms(bulk("C", phase, a=lattice * scale))
             for scale in (0.98, 1.0, 1.02)]
    found = [potential_energy(cell, name)[0] for cell in cells]
    assert found[1] < min(found[0], found[2])
    assert energy is None or found[1] == pytest.approx(energy, abs=0.02)


@pytest.mark.parametrize(("name", "numbers"), [("vashishta", [14, 8]), ("snap", [6, 6]),
                                               ("edip", [14, 6])])
def test_forces_of_further_potentials_are_the_numeric_derivatives(name, numbers):
    """Also where elements are named in another order than the atoms'."""
    atoms = bulk("C", "diamond", a=4.6 if 14 in numbers else 3.57, cubic=True)
    atoms.numbers = np.resize(numbers, 8)
    atoms.positions += 0.05 * np.random.default_rng(0).normal(size=(8, 3))
    here, h = Structure.from_atoms(atoms), 1e-4
    forces = potential_energy(here, name)[1]
    for atom in (0, 1):
        move = np.zeros((8, 3))
        move[atom, 1] = h
        down, up = (8 * potential_energy(replace(here, positions=here.positions + sign * move),
                                         name)[0] for sign in (-1, 1))
        assert forces[atom, 1] == pytest.approx((down - up) / 2 / h, abs=1e-4)


def test_lammps_prints_nothing():
    code = ("from diffxas.potentials import check_potential, potential_energy\n"
            "check_potential('rebo', {'C', 'H'})\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_where_lammps_does_not_load_the_way_round_is_named(monkeypatch):
    def broken(module):
        raise OSError("libmpi.so.12: cannot open shared object file")

    monkeypatch.setattr(lammps_library, "open_lammps", broken)
    lammps_library.load_lammps.cache_clear()
    try:
        with pytest.raises(LammpsMissing, match=r"libmpi\.so\.12.*--potential matgl:FOLDER"):
            check_potential("rebo", {"C"})
    finally:
        lammps_library.load_lammps.cache_clear()


def test_a_plain_import_that_works_needs_no_mpich(monkeypatch):
    monkeypatch.setattr(lammps_library, "mpich_library",
                        lambda: pytest.fail("mpich was looked for although LAMMPS opens"))
    lammps_library.load_lammps.cache_clear()
    lammps_library.load_lammps.__wrapped__()  # an earlier test loaded libmpi
    lammps_library.load_lammps.cache_clear()


@pytest.mark.slow
def test_matgl_forces_and_pressure_are_numeric_derivatives(shared_data):
    spec = f"matgl:{shared_data / 'matgl-models/TensorNet-MatPES-PBE-v2025.1-PES'}"
    structure = distorted()
    found = check_potential(spec, {"C"})
    here, h = found.evaluate(structure), 5e-3
    move = np.zeros((8, 3))
    move[0, 0] = h
    down, up = (found.evaluate(structure.with_positions(structure.positions + sign * move)).energy
                for sign in (-1, 1))
    assert here.forces[0, 0] == pytest.approx((down - up) / 2 / h, abs=0.02)
    smaller, larger = (found.evaluate(replace(structure, positions=structure.positions * scale,
                                              cell=structure.cell * scale)).energy
                       for scale in (1 - 1e-3, 1 + 1e-3))
    numeric = (smaller - larger) / (2e-3 * 3 * structure.volume) * 160.21766
    assert here.pressure_gpa == pytest.approx(numeric, rel=0.02, abs=0.5)
    with pytest.raises(InputError, match="received Po"):
        potential(spec, {"Po"})
