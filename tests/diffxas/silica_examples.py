"""Silica whose bonds are known: ideal cristobalite, shaken."""

import numpy as np
from ase import Atoms
from ase.build import bulk

from diffxas.neighbourhood import bonds
from diffxas.structure import Structure

SI_O = 7.16 * np.sqrt(3) / 8
"""Bond length of the ideal crystal, angstrom."""


def cristobalite(repeat: int = 2, rattle: float = 0.05, seed: int = 1) -> Structure:
    """Si on the sites of diamond, O in the middle of its bonds: every Si has 4 O, every O 2 Si."""
    silicon = bulk("Si", "diamond", a=7.16, cubic=True)
    pairs = bonds(Structure.from_atoms(silicon), {("Si", "Si"): 3.3})
    once = [k for k, v in enumerate(np.round(pairs.vector, 6)) if tuple(v) > (0, 0, 0)]
    middles = silicon.positions[pairs.first[once]] + pairs.vector[once] / 2
    atoms = (silicon + Atoms(f"O{len(middles)}", middles)).repeat(repeat)
    atoms.rattle(rattle, seed=seed)
    return Structure.from_atoms(atoms[np.argsort(-atoms.numbers, kind="stable")])
