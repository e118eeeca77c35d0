"""Relaxations end in minima, say what they did, and survive what cannot be relaxed."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones

from diffxas import lammps_session
from diffxas.errors import InputError
from diffxas.lammps_library import LammpsMissing
from diffxas.potentials import potential_energy
from diffxas.relaxation import (
    RelaxationOptions,
    relax,
    relax_file,
    relax_many,
    rms_displacement,
)
from diffxas.structure import Structure
from diffxas.structure_files import read_structures, write_structures


def diamond(repeat=(2, 2, 2), a=3.57, noise=0.1, seed=0):
    atoms = bulk("C", "diamond", a=a, cubic=True) * repeat
    atoms.positions += noise * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    return Structure.from_atoms(atoms)


class NotANumber(Calculator):
    """A calculator that loses itself after a few steps."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, good):
        super().__init__()
        self.good, self.calls = good, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        broken = self.calls > self.good
        self.results = {"energy": np.nan if broken else 1.0,
                        "forces": np.nan * atoms.positions if broken else -atoms.positions}


def test_noisy_diamond_returns_to_diamond():
    noisy = diamond()
    perfect = potential_energy(diamond(noise=0.0))[0]
    result = relax(noisy, RelaxationOptions(fmax=1e-3))
    assert result.converged and not result.failed and result.message == ""
    assert result.energy_before > perfect + 0.1
    assert result.energy_after == pytest.approx(perfect, abs=1e-6)
    assert result.fmax < 1e-3 < result.fmax_before
    assert 0.1 < result.rms_displacement < 0.25  # sqrt(3) x 0.1
    energy, forces, _ = potential_energy(result.structure)
    assert result.structure.info["energy"] == pytest.approx(energy * len(noisy), abs=1e-9)
    assert np.allclose(result.structure.arrays["forces"], forces, atol=1e-9)


def test_displacements_are_unwrapped_and_free_of_drift():
    noisy = diamond()
    outside = noisy.with_positions(noisy.positions + np.array([7.0, -20.0, 3.55]))
    first, second = relax(noisy), relax(outside)
    assert second.rms_displacement == pytest.approx(first.rms_displacement, rel=0.02)
    assert np.abs(second.structure.positions - outside.positions).max() < 1.0
    drifted = noisy.with_positions(noisy.positions + 5.0)
    assert rms_displacement(noisy, drifted) == pytest.approx(0.0, abs=1e-12)


def test_the_free_cell_finds_the_lattice_constant_from_an_oblique_left_handed_start():
    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    strain = np.array([[1.05, 0.03, 0.0], [0.0, 0.97, -0.04], [0.02, 0.0, 1.02]])
    atoms.set_cell(atoms.cell.array[[1, 0, 2]] @ strain, scale_atoms=True)
    atoms.positions += 0.05 * np.random.default_rng(0).normal(size=(8, 3))
    result = relax(Structure.from_atoms(atoms), RelaxationOptions(cell_too=True, fmax=1e-3))
    assert result.converged
    assert abs(result.pressure_gpa) < 0.05 < abs(result.pressure_before)
    lengths = np.linalg.norm(result.structure.cell, axis=1)
    reference = relax(diamond((1, 1, 1), a=3.5), RelaxationOptions(cell_too=True, fmax=1e-3))
    assert result.energy_after == pytest.approx(reference.energy_after, abs=1e-5)
    assert lengths == pytest.approx(reference.structure.volume ** (1 / 3), abs=5e-3)


def test_a_restraint_holds_the_atoms_and_is_in_no_energy():
    noisy = diamond()
    free, gentle, stiff = (relax(noisy, RelaxationOptions(restraint=k)) for k in (None, 5.0, 500.0))
    assert free.rms_displacement > gentle.rms_displacement > 4 * stiff.rms_displacement
    assert gentle.converged and stiff.converged
    assert stiff.energy_after == pytest.approx(potential_energy(stiff.structure)[0], abs=1e-9)
    pull = 5.0 * (gentle.structure.positions - noisy.positions)  # springs balance the potential
    assert np.abs(gentle.structure.arrays["forces"] - pull).max() < 0.011


def test_ase_and_lammps_minimisers_agree():
    """The same pair potential, once as an ASE calculator and once as the user's LAMMPS lines."""
    atoms = bulk("Ar", "fcc", a=5.2, cubic=True) * (2, 2, 2)
    atoms.positions += 0.05 * np.random.default_rng(0).normal(size=(32, 3))
    structure = Structure.from_atoms(atoms)
    calculator = LennardJones(epsilon=0.0104, sigma=3.4, rc=8.0, smooth=False)
    free = relax(structure, RelaxationOptions(potential=calculator, fmax=1e-4))
    held = relax(structure, RelaxationOptions(potential=calculator, fmax=1e-4, restraint=1.0))
    assert free.converged and held.converged and free.potential == "LennardJones"
    expected = bulk("Ar", "fcc", a=5.2)
    expected.calc = calculator
    assert free.energy_after == pytest.approx(expected.get_potential_energy(), abs=1e-5)
    pull = held.structure.positions - structure.positions
    assert np.allclose(held.structure.arrays["forces"], pull, atol=1e-4)


def test_the_users_lammps_lines_relax_like_the_ase_calculator(tmp_path):
    lines = tmp_path / "argon.lmp"
    lines.write_text("pair_style lj/cut 8.0\npair_coeff Ar Ar 0.0104 3.4\npair_modify shift yes\n")
    atoms = bulk("Ar", "fcc", a=5.2, cubic=True) * (2, 2, 2)
    atoms.positions += 0.05 * np.random.default_rng(0).normal(size=(32, 3))
    structure = Structure.from_atoms(atoms)
    ours = relax(structure, RelaxationOptions(potential=str(lines), fmax=1e-4))
    theirs = relax(structure, RelaxationOptions(
        potential=LennardJones(epsilon=0.0104, sigma=3.4, rc=8.0), fmax=1e-4))
    assert ours.energy_after == pytest.approx(theirs.energy_after, abs=1e-6)
    assert ours.pressure_gpa == pytest.approx(theirs.pressure_gpa, abs=1e-3)


@pytest.mark.parametrize("spec", ["rebo", "lj"])
def test_fixed_atoms_stay_to_the_last_digit_and_the_others_find_their_minimum(spec):
    if spec == "rebo":
        noisy, chosen = diamond(), "rebo"
    else:
        atoms = bulk("Ar", "fcc", a=5.2, cubic=True) * (2, 2, 2)
        atoms.positions += 0.05 * np.random.default_rng(0).normal(size=(32, 3))
        noisy, chosen = Structure.from_atoms(atoms), LennardJones(epsilon=0.0104, sigma=3.4, rc=8.0)
    outside = noisy.with_positions(noisy.positions + 100.0)  # wrapped and unwrapped on the way
    fixed = (0, 3, 4, 17)
    others = np.setdiff1d(np.arange(len(noisy)), fixed)
    result = relax(outside, RelaxationOptions(chosen, fixed=fixed, fmax=1e-3))
    assert result.converged and result.energy_after < result.energy_before
    np.testing.assert_array_equal(result.structure.positions[list(fixed)],
                                  outside.positions[list(fixed)])
    moved = result.structure.positions - outside.positions
    assert result.rms_displacement == pytest.approx(np.sqrt((moved[others]**2).sum(1).mean()))
    forces = np.linalg.norm(result.structure.arrays["forces"], axis=1)
    assert result.fmax == forces[others].max() < 1e-3 < forces[list(fixed)].max()
    free = relax(outside, RelaxationOptions(chosen, fmax=1e-3))
    assert free.energy_after < result.energy_after


def test_atoms_that_are_not_there_cannot_be_fixed():
    with pytest.raises(InputError, match="0 to 63"):
        relax(diamond(), RelaxationOptions(fixed=(64,)))


@pytest.mark.parametrize("height", [1.0, 40.0])
def test_a_slab_relaxes_within_vacuum_and_keeps_its_cell(height):
    """The height of the cell of a slab that is not periodic there does not count."""
    atoms = diamond((2, 2, 1), noise=0.05).to_atoms()
    atoms.set_cell(np.diag([7.14, 7.14, height]) + 0.2 * np.eye(3)[[2, 2, 2]] * [[0], [0], [1]])
    slab = Structure(atoms.positions, atoms.numbers, atoms.cell.array, (True, True, False))
    result = relax(slab)
    assert result.converged
    np.testing.assert_array_equal(result.structure.cell, slab.cell)
    assert result.structure.pbc.tolist() == [True, True, False]
    in_vacuum = Structure(slab.positions, slab.numbers, np.diag([7.14, 7.14, 30.0]))
    assert result.energy_after == pytest.approx(relax(in_vacuum).energy_after, abs=1e-4)
    periodic = relax(diamond((2, 2, 1), noise=0.05))
    assert periodic.energy_after < result.energy_after - 0.3  # dangling bonds
    with pytest.raises(InputError, match="fixed cell"):
        relax(slab, RelaxationOptions(cell_too=True))


def test_absent_lammps_is_not_a_failed_relaxation(monkeypatch):
    def absent(structure, style):
        raise LammpsMissing("LAMMPS must be importable")

    monkeypatch.setattr(lammps_session, "evaluate", absent)
    with pytest.raises(LammpsMissing):
        relax(diamond())


@pytest.mark.parametrize("good", [0, 3])
def test_a_relaxation_that_breaks_down_keeps_the_unrelaxed_structure(good):
    structure = diamond((1, 1, 1)).with_info(name="mine")
    result = relax(structure, RelaxationOptions(potential=NotANumber(good)))
    assert result.failed and not result.converged
    assert "unrelaxed structure kept" in result.message and "finite" in result.message
    assert np.array_equal(result.structure.positions, structure.positions)
    assert ("energy" in result.structure.info) == (good > 0)
    assert result.rms_displacement == 0.0


def test_coincident_atoms_do_not_raise_and_the_next_relaxation_works():
    positions = np.array(diamond((1, 1, 1)).positions)
    positions[1] = positions[0]
    result = relax(diamond((1, 1, 1)).with_positions(positions))
    assert result.failed and result.message
    assert relax(diamond((1, 1, 1))).converged


def test_too_few_steps_are_reported_and_not_called_a_failure():
    result = relax(diamond(), RelaxationOptions(steps=3))
    assert not result.converged and not result.failed
    assert "not converged after 3 steps" in result.message
    assert result.energy_after < result.energy_before


@pytest.mark.parametrize(("options", "reason"), [
    ({"fmax": 0.0}, "fmax"), ({"steps": 0}, "steps"), ({"restraint": -1.0}, "restraint"),
    ({"restraint": 1.0, "cell_too": True}, "fixed cell"),
    ({"fixed": (0,), "cell_too": True}, "fixed cell"), ({"fmax": float("nan")}, "fmax"),
])
def test_impossible_options_are_refused(options, reason):
    with pytest.raises(InputError, match=reason):
        RelaxationOptions(**options)


def test_every_frame_is_written_in_order_with_energy_and_forces(tmp_path):
    frames = [diamond((1, 1, 1), noise=noise, seed=1) for noise in (0.02, 0.12)]
    write_structures(tmp_path / "two.extxyz", frames)
    write_structures(tmp_path / "last.vasp", diamond((2, 1, 1)))
    out = tmp_path / "relaxed.extxyz"
    results = relax_file([tmp_path / "two.extxyz", tmp_path / "last.vasp"], out, progress=False)
    written = ase.io.read(out, index=":")
    assert [len(atoms) for atoms in written] == [8, 8, 16]
    assert [atoms.info["name"] for atoms in written] == ["two#0", "two#1", "last"]
    for atoms, result in zip(written, results, strict=True):
        assert atoms.get_potential_energy() == pytest.approx(result.energy_after * len(atoms))
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() == pytest.approx(result.fmax,
                                                                                 abs=1e-6)


def test_unusable_input_writes_nothing(tmp_path):
    write_structures(tmp_path / "two.extxyz", [diamond((1, 1, 1))] * 2)
    argon = Structure.from_atoms(bulk("Ar", "fcc", a=5.2))
    write_structures(tmp_path / "argon.cif", argon)
    for paths, out, reason in ((["two.extxyz"], "out.vasp", "one structure"),
                               (["argon.cif"], "out.extxyz", "received Ar"),
                               ([], "out.extxyz", "at least one")):
        with pytest.raises(InputError, match=reason):
            relax_file([tmp_path / path for path in paths], tmp_path / out, progress=False)
        assert not (tmp_path / out).exists()


def test_snapshots_of_one_network_relax_to_one_energy(shared_data):
    """DFT cells of 1.5 g/cm3 are snapshots of one network; those of 3.5 g/cm3 another's."""
    folder = shared_data / "a-C-K-edge/poscar"
    names = ("d1.5_1", "d1.5_2", "d1.5_5", "d1.5_8")
    labelled = [(name, read_structures(folder / f"{name}.vasp")[0]) for name in names]
    results = relax_many(labelled, progress=False)
    before = [result.energy_before for result in results]
    after = [result.energy_after for result in results]
    assert all(result.converged for result in results)
    assert np.ptp(after) < 0.005 < np.ptp(before)
    assert all(0.15 < result.rms_displacement < 0.35 for result in results)
    (other,) = read_structures(folder / "d0.0_18.vasp")
    assert relax(other).energy_after < min(after) - 0.2
