"""Cell, number of atoms and density: any two give the third; the composition gives the mass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffxas.composition import composition_formula, formula_unit, parse_composition
from diffxas.errors import InputError
from diffxas.structure import GRAMS_PER_CM3

DEFAULT_ATOMS = 216
AGREEMENT = 0.01
"""Largest relative disagreement of density, atoms and cell when all three are given."""
DENSEST = {"C": 4.0}
"""Density (g/cm3) beyond which a request is a slip; diamond has 3.52."""
MOST_ATOMS_PER_VOLUME = 0.2
"""Atoms per cubic angstrom beyond which a request is a slip; diamond, with 0.176, has most."""
DENSEST_OF_ALL = 25.0
"""g/cm3; no element is denser at ambient pressure (osmium 22.6)."""
LOOSEST = 0.05
"""Density (g/cm3) below which a request is a slip; carbon aerogels begin there."""


@dataclass(frozen=True, eq=False)
class Box:
    """What a run fills with atoms: ``cell`` (3, 3) angstrom, ``n_atoms``, ``density`` g/cm3.

    ``composition`` holds the atoms of each element, in the order that they have in structures.
    """

    cell: np.ndarray
    n_atoms: int
    density: float
    composition: Mapping[str, int]

    @property
    def counts(self) -> str:
        """``composition`` as it is written for :func:`resolve_box`, such as ``Si:72,O:144``."""
        return ",".join(f"{element}:{n}" for element, n in self.composition.items())


def resolve_box(composition: str, density: float | None, atoms: int | None,
                cell: Sequence[float] | None) -> Box:
    """The box from any two of density (g/cm3), atoms and cell (three edges, angstrom).

    Parameters
    ----------
    composition : a formula, or counts, which give the number of atoms
        (:mod:`diffxas.composition`); without ``atoms``, a formula gets the nearest number that it
        divides

    Raises
    ------
    InputError
        If too little is given, a number is out of range, the formula does not divide ``atoms``, or
        three disagree by more than 1 %.
    """
    unit = formula_unit(composition)
    element, size, mass = composition_formula(unit), sum(unit.values()), mean_mass(unit)
    limit = densest(unit)
    counted = ":" in composition
    if atoms is not None or counted:
        atoms = sum(parse_composition(composition, atoms).values())
    if density is not None and not LOOSEST <= density <= limit:
        raise InputError(f"density must be {LOOSEST:g} to at most {limit:.3g} g/cm3 for {element}, "
                         f"received {density:g}: choose --density in that range")
    if atoms is not None and atoms < 1:
        raise InputError(f"atoms must be at least 1, received {atoms}: choose another --atoms")
    if cell is None:
        if density is None:
            raise InputError("two of density, atoms and cell must be given, received neither "
                             "density nor cell: add --density")
        n_atoms = _nearest(DEFAULT_ATOMS, size) if atoms is None else atoms
        edge = (n_atoms * mass / density) ** (1 / 3)
        return Box(np.eye(3) * edge, n_atoms, density, parse_composition(composition, n_atoms))
    edges = np.array(cell, dtype=float)
    if edges.shape != (3,) or not (np.isfinite(edges).all() and (edges > 0).all()):
        raise InputError(f"cell must be three lengths above 0 angstrom, received {list(cell)}: "
                         f"write --cell A B C")
    volume = float(edges.prod())
    n_atoms = atoms if atoms is not None else _nearest((density or 0) * volume / mass, size)
    if atoms is None and density is None:
        raise InputError("two of density, atoms and cell must be given, received only the cell: "
                         "add --density or --atoms")
    actual = n_atoms * mass / volume
    if actual > limit:
        raise InputError(f"density must be at most {limit:.3g} g/cm3 for {element}, received "
                         f"{actual:.3g} from {n_atoms} atoms in {volume:.0f} angstrom^3: "
                         f"enlarge --cell or lower --atoms")
    if density is not None and abs(actual / density - 1) > AGREEMENT:
        raise InputError(_disagreement(density, n_atoms, edges, mass,
                                       size if atoms is not None and not counted else None))
    if actual < LOOSEST:
        raise InputError(f"density must be at least {LOOSEST:g} g/cm3 for {element}, received "
                         f"{actual:.3g} from {n_atoms} atoms in {volume:.3g} angstrom^3: "
                         f"shrink --cell or raise --atoms")
    return Box(np.diag(edges), n_atoms, actual, parse_composition(composition, n_atoms))


def densest(unit: Mapping[str, int]) -> float:
    """Density (g/cm3) of a composition beyond which a request is a slip."""
    return DENSEST.get(composition_formula(unit),
                       min(DENSEST_OF_ALL, MOST_ATOMS_PER_VOLUME * mean_mass(unit)))


def mean_mass(unit: Mapping[str, int]) -> float:
    """Mean mass of an atom in g/cm3 angstrom^3."""
    from ase.data import atomic_masses, atomic_numbers

    whole = sum(n * atomic_masses[atomic_numbers[symbol]] for symbol, n in unit.items())
    return float(whole / sum(unit.values()) * GRAMS_PER_CM3)


def _nearest(number: float, size: int) -> int:
    """The multiple of ``size``, one at least, that is nearest to ``number``."""
    return size * max(1, round(number / size))


def _disagreement(density: float, atoms: int, edges: np.ndarray, mass: float,
                  size: int | None) -> str:
    """``size`` is that of the formula's unit where the number of atoms can be chosen."""
    volume = float(edges.prod())
    factor = math.cbrt(atoms * mass / density / volume)
    fitting = " ".join(f"{e:.3f}" for e in edges * factor)
    received = f"{density:g} g/cm3, {atoms} atoms and a cell of {volume:.1f} angstrom^3"
    choices = [f"--density {atoms * mass / volume:.4g}", f"--cell {fitting}"]
    if size is not None:
        choices.insert(1, f"--atoms {_nearest(density * volume / mass, size)}")
    return (f"density, atoms and cell must agree within 1 %, received {received} "
            f"({atoms * mass / volume:.3g} g/cm3): use one of {', '.join(choices)}")
