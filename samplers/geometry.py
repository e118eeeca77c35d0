"""Cell, number of atoms and density: any two give the third."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import GRAMS_PER_CM3

DEFAULT_ATOMS = 216
AGREEMENT = 0.01
"""Largest relative disagreement of density, atoms and cell when all three are given."""
DENSEST = {"C": 4.0}
"""Density (g/cm3) beyond which a request is a slip; diamond has 3.52."""
DENSEST_OF_ALL = 25.0
"""g/cm3; no element is denser at ambient pressure (osmium 22.6)."""
LOOSEST = 0.05
"""Density (g/cm3) below which a request is a slip; carbon aerogels begin there."""


@dataclass(frozen=True, eq=False)
class Box:
    """What a run fills with atoms: ``cell`` (3, 3) angstrom, ``n_atoms``, ``density`` g/cm3."""

    cell: np.ndarray
    n_atoms: int
    density: float


def resolve_box(element: str, density: float | None, atoms: int | None,
                cell: Sequence[float] | None) -> Box:
    """The box from any two of density (g/cm3), atoms and cell (three edges, angstrom).

    Raises
    ------
    InputError
        If too little is given, a number is out of range, or three disagree by more than 1 %.
    """
    mass = _mass(element)
    limit = DENSEST.get(element, DENSEST_OF_ALL)
    if density is not None and not LOOSEST <= density <= limit:
        raise InputError(f"density must be {LOOSEST:g} to at most {limit:g} g/cm3 for {element}, "
                         f"received {density:g}: choose --density in that range")
    if atoms is not None and atoms < 1:
        raise InputError(f"atoms must be at least 1, received {atoms}: choose another --atoms")
    if cell is None:
        if density is None:
            raise InputError("two of density, atoms and cell must be given, received neither "
                             "density nor cell: add --density")
        n_atoms = DEFAULT_ATOMS if atoms is None else atoms
        edge = (n_atoms * mass / density) ** (1 / 3)
        return Box(np.eye(3) * edge, n_atoms, density)
    edges = np.array(cell, dtype=float)
    if edges.shape != (3,) or not (np.isfinite(edges).all() and (edges > 0).all()):
        raise InputError(f"cell must be three lengths above 0 angstrom, received {list(cell)}: "
                         f"write --cell A B C")
    volume = float(edges.prod())
    n_atoms = atoms if atoms is not None else max(1, round((density or 0) * volume / mass))
    if atoms is None and density is None:
        raise InputError("two of density, atoms and cell must be given, received only the cell: "
                         "add --density or --atoms")
    actual = n_atoms * mass / volume
    if actual > limit:
        raise InputError(f"density must be at most {limit:g} g/cm3 for {element}, received "
                         f"{actual:.3g} from {n_atoms} atoms in {volume:.0f} angstrom^3: "
                         f"enlarge --cell or lower --atoms")
    if density is not None and abs(actual / density - 1) > AGREEMENT:
        raise InputError(_disagreement(density, n_atoms, edges, mass, atoms is not None))
    if actual < LOOSEST:
        raise InputError(f"density must be at least {LOOSEST:g} g/cm3 for {element}, received "
                         f"{actual:.3g} from {n_atoms} atoms in {volume:.3g} angstrom^3: "
                         f"shrink --cell or raise --atoms")
    return Box(np.diag(edges), n_atoms, actual)


def _mass(element: str) -> float:
    """Mass of an atom in g/cm3 angstrom^3."""
    from ase.data import atomic_masses, atomic_numbers

    return float(atomic_masses[atomic_numbers[element]] * GRAMS_PER_CM3)


def _disagreement(density: float, atoms: int, edges: np.ndarray, mass: float,
                  atoms_given: bool) -> str:
    volume = float(edges.prod())
    factor = math.cbrt(atoms * mass / density / volume)
    fitting = " ".join(f"{e:.3f}" for e in edges * factor)
    received = f"{density:g} g/cm3, {atoms} atoms and a cell of {volume:.1f} angstrom^3"
    choices = [f"--density {atoms * mass / volume:.4g}", f"--cell {fitting}"]
    if atoms_given:
        choices.insert(1, f"--atoms {max(1, round(density * volume / mass))}")
    return (f"density, atoms and cell must agree within 1 %, received {received} "
            f"({atoms * mass / volume:.3g} g/cm3): use one of {', '.join(choices)}")
