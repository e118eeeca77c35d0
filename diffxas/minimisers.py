"""What a potential gives (energy, forces, stress), and minimisation with ASE's optimiser.

Stress follows ASE: sigma = (1 / V) dE / d(strain), positive under tension, so the pressure is
P = -tr(sigma) / 3. Fixed cells are minimised over the positions; with the cell free, over the
positions and the logarithm of the deformation gradient (ASE's ``FrechetCellFilter``), until the
largest force and the largest stress component are both small. L-BFGS: Liu and Nocedal, On the
limited memory BFGS method for large scale optimization, Mathematical Programming 45 (1989).

A restraint adds (K / 2) sum_i |r_i - r_i0|^2; it steers the search and is in no reported energy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError, RunError
from diffxas.structure import Structure

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

EV_PER_A3_IN_GPA = 160.21766208
STRESS_TOLERANCE = 0.05
"""Largest stress component left when the cell is free, GPa."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Energy and its derivatives at one place.

    Attributes
    ----------
    energy : eV, of the whole cell
    forces : (n_atoms, 3), eV/angstrom
    stress : (3, 3), eV/angstrom^3, ASE's sign; NaN where the potential has none
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray

    @property
    def fmax(self) -> float:
        """Largest force on an atom, eV/angstrom."""
        return float(np.linalg.norm(self.forces, axis=1).max())

    @property
    def pressure_gpa(self) -> float:
        """Pressure, GPa, positive under compression."""
        return float(-np.trace(self.stress) / 3 * EV_PER_A3_IN_GPA)

    @property
    def finite(self) -> bool:
        """Whether energy and forces are numbers."""
        return bool(np.isfinite(self.energy) and np.isfinite(self.forces).all())


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a minimiser stopped.

    Attributes
    ----------
    positions : (n_atoms, 3), angstrom, unwrapped: continuous with where they started
    cell : (3, 3), angstrom
    evaluation : the potential there, without the restraint
    converged : whether the forces (with the restraint's) fell below the threshold
    steps : iterations made
    """

    positions: np.ndarray
    cell: np.ndarray
    evaluation: Evaluation
    converged: bool
    steps: int


def evaluate_atoms(atoms: Atoms) -> Evaluation:
    """Energy, forces and stress of an ASE object with a calculator."""
    from ase.calculators.calculator import PropertyNotImplementedError

    energy = float(atoms.get_potential_energy())
    forces = np.array(atoms.get_forces(), dtype=np.float64)
    try:
        stress = np.array(atoms.get_stress(voigt=False), dtype=np.float64)
    except PropertyNotImplementedError:
        stress = np.full((3, 3), np.nan)
    return Evaluation(energy, forces, stress)


def minimise_with_ase(structure: Structure, calculator: Calculator, *, fmax: float, steps: int,
                      cell_too: bool = False, restraint: float | None = None,
                      fixed: Sequence[int] = ()) -> Minimum:
    """Minimise with ASE's L-BFGS; the arguments are those of ``Potential.minimise``.

    Raises
    ------
    InputError
        If the cell is to move and the calculator has no stress.
    RunError
        If energy or forces stop being numbers.
    """
    from ase.constraints import FixAtoms
    from ase.filters import FrechetCellFilter
    from ase.optimize import LBFGS

    atoms = structure.with_positions(structure.positions).to_atoms()
    atoms.calc = calculator
    if cell_too and not np.isfinite(evaluate_atoms(atoms).stress).all():
        raise InputError("a potential must have stresses to relax the cell, received one without: "
                         "relax at fixed cell")
    if restraint:
        atoms.calc = _restrained(calculator, structure.positions, restraint)
    if len(fixed):
        atoms.set_constraint(FixAtoms(indices=list(fixed)))
    target: Any = FrechetCellFilter(atoms) if cell_too else atoms
    optimiser = LBFGS(target, logfile=os.devnull, maxstep=0.1)
    converged = False
    for _ in optimiser.irun(fmax=0.0, steps=steps):  # our threshold also looks at the stress
        here = evaluate_atoms(atoms)
        if not here.finite:
            raise RunError("energy or forces are no longer finite numbers")
        stress = float(np.abs(here.stress).max()) * EV_PER_A3_IN_GPA if cell_too else 0.0
        converged = here.fmax <= fmax and stress <= STRESS_TOLERANCE
        if converged:
            break
    atoms.calc = calculator
    atoms.set_constraint()  # the forces reported are those of the potential
    return Minimum(atoms.get_positions(), atoms.cell.array.copy(), evaluate_atoms(atoms),
                   converged, optimiser.get_number_of_steps())


def _restrained(calculator: Calculator, reference: np.ndarray, stiffness: float) -> Calculator:
    """``calculator`` with (stiffness / 2) |r - reference|^2 added to energy and forces."""
    from ase.calculators.calculator import Calculator, all_changes

    class Restrained(Calculator):
        implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE wants a list

        def calculate(self, atoms: Any = None, properties: Any = ("energy",),
                      system_changes: Any = all_changes) -> None:
            super().calculate(atoms, properties, system_changes)
            bare = self.atoms.copy()
            bare.calc = calculator
            shift = bare.get_positions() - reference
            self.results = {
                "energy": bare.get_potential_energy() + 0.5 * stiffness * float((shift**2).sum()),
                "forces": bare.get_forces() - stiffness * shift,
            }

    return Restrained()
