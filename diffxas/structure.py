"""A periodic arrangement of atoms: the one structure type that the three packages exchange.

Rows of ``cell`` are lattice vectors (ASE's convention), lengths are in angstrom. The object is
immutable; methods return new structures. Reading and writing files lives in
:mod:`diffxas.structure_files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure as PymatgenStructure

GRAMS_PER_CM3 = 1.66053906660
"""Mass density of 1 atomic mass unit per cubic angstrom, g/cm3."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms in a periodic cell.

    Attributes
    ----------
    positions : (n_atoms, 3) float64, angstrom, Cartesian, not necessarily wrapped
    numbers : (n_atoms,) int64, atomic numbers
    cell : (3, 3) float64, angstrom, rows are lattice vectors
    pbc : (3,) bool, periodic along each lattice vector
    info : whatever belongs to the whole structure (``energy``, ``name``, ...)
    arrays : per-atom columns, each ``(n_atoms, ...)`` (``coordination``, ``pi_star``, ``forces``)

    Raises
    ------
    InputError
        If shapes disagree, a number is not finite, or a periodic cell has no volume.
    """

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray = field(default_factory=lambda: np.ones(3, dtype=bool))
    info: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positions = np.array(self.positions, dtype=np.float64)
        numbers = np.array(self.numbers, dtype=np.int64)
        cell = np.array(self.cell, dtype=np.float64)
        pbc = np.broadcast_to(np.asarray(self.pbc, dtype=bool), (3,)).copy()
        if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions):
            raise InputError(
                f"positions must have shape (n_atoms, 3) with n_atoms > 0, "
                f"received {positions.shape}: give at least one atom"
            )
        if numbers.shape != (len(positions),) or numbers.min() < 1:
            raise InputError(
                f"numbers must be {len(positions)} atomic numbers above 0, "
                f"received {numbers.shape} with minimum {numbers.min(initial=0)}: one for each atom"
            )
        if cell.shape != (3, 3):
            raise InputError(f"cell must have shape (3, 3), rows lattice vectors, "
                             f"received {cell.shape}: give three lattice vectors")
        if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
            raise InputError("positions and cell must be finite, received NaN or infinity: "
                             "check the file that they come from")
        if pbc.all() and abs(np.linalg.det(cell)) < 1e-6:
            raise InputError("a periodic cell must have a volume, received three vectors in a "
                             "plane: give the structure a cell (for instance in its extxyz header)")
        for name, column in self.arrays.items():
            if len(column) != len(positions):
                raise InputError(f"column {name!r} must have {len(positions)} rows, "
                                 f"received {len(column)}: one row for each atom")
        for name, value in (("positions", positions), ("numbers", numbers),
                            ("cell", cell), ("pbc", pbc)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def volume(self) -> float:
        """Volume of the cell, angstrom^3."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def density(self) -> float:
        """Mass density, g/cm3."""
        from ase.data import atomic_masses

        return float(atomic_masses[self.numbers].sum() / self.volume * GRAMS_PER_CM3)

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols, one for each atom."""
        from ase.data import chemical_symbols

        return [chemical_symbols[z] for z in self.numbers]

    @property
    def formula(self) -> str:
        """Hill formula, such as ``C216``."""
        return self.to_atoms().get_chemical_formula()

    def with_positions(self, positions: np.ndarray) -> Structure:
        """The same atoms elsewhere; ``info`` and ``arrays`` belonged to the old place and go."""
        return replace(self, positions=positions, info={}, arrays={})

    def with_info(self, **info: Any) -> Structure:
        """The same structure with entries of ``info`` added or replaced."""
        return replace(self, info={**self.info, **info})

    def with_arrays(self, **arrays: np.ndarray) -> Structure:
        """The same structure with per-atom columns added or replaced."""
        return replace(self, arrays={**self.arrays, **arrays})

    def wrapped(self) -> Structure:
        """The same structure with the atoms moved into the cell along periodic directions."""
        from ase.geometry import wrap_positions

        positions = wrap_positions(self.positions, self.cell, pbc=self.pbc, eps=0.0)
        return replace(self, positions=positions)

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> Structure:
        """From ASE, with per-atom columns and, where a calculator holds them, energy and forces."""
        info = dict(atoms.info)
        arrays = {k: v for k, v in atoms.arrays.items() if k not in ("positions", "numbers")}
        if atoms.calc is not None:
            results = getattr(atoms.calc, "results", {})
            if "energy" in results:
                info["energy"] = float(results["energy"])
            if "forces" in results:
                arrays["forces"] = np.array(results["forces"])
        return cls(atoms.get_positions(), atoms.get_atomic_numbers(), atoms.cell.array,
                   atoms.get_pbc(), info, arrays)

    def to_atoms(self) -> Atoms:
        """To ASE; ``energy`` and ``forces`` become a single-point calculator."""
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        info, arrays = dict(self.info), dict(self.arrays)
        energy, forces = info.pop("energy", None), arrays.pop("forces", None)
        atoms.info.update(info)
        for name, column in arrays.items():
            atoms.set_array(name, np.asarray(column))
        if energy is not None or forces is not None:
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        return atoms

    @classmethod
    def from_pymatgen(cls, structure: PymatgenStructure) -> Structure:
        """From pymatgen; disordered sites are refused by pymatgen's own adaptor."""
        from pymatgen.io.ase import AseAtomsAdaptor

        return cls.from_atoms(AseAtomsAdaptor.get_atoms(structure, msonable=False))

    def to_pymatgen(self) -> PymatgenStructure:
        """To pymatgen; ``arrays`` become site properties."""
        from pymatgen.core import Lattice
        from pymatgen.core import Structure as PymatgenStructure

        a, b, c = (bool(periodic) for periodic in self.pbc)
        return PymatgenStructure(
            Lattice(self.cell, pbc=(a, b, c)), self.symbols,
            self.positions, coords_are_cartesian=True,
            site_properties={k: np.asarray(v).tolist() for k, v in self.arrays.items()},
        )
