"""Bonds and neighbour pairs of a periodic structure, every image counted.

Two atoms are bonded when they are nearer than a cutoff of their pair of elements. The search is
matscipy's cell list (P. Grigorev and others, "matscipy: materials science at the atomic scale with
Python", J. Open Source Softw. 9, 5668 (2024)): linear in the number of atoms, right in oblique
cells and in cells shorter than the cutoff, where one pair of atoms may be bonded several times
and an atom may be bonded to its own image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure

CARBON_CUTOFF = 1.85
"""C-C bonds, angstrom: the minimum between the first two shells of amorphous carbon."""

RADII_FACTOR = 1.3
"""Other bonds reach this multiple of the sum of covalent radii (the radii of ASE)."""

Cutoffs = Mapping[tuple[int, int], float]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Directed pairs, sorted by ``first``; each pair stands in both directions.

    Attributes
    ----------
    first, second : (n_pairs,) int64, atoms
    vector : (n_pairs, 3) float64, angstrom, from ``first`` to the image of ``second``
    shift : (n_pairs, 3) int64, the image, in lattice vectors of the wrapped structure
    """

    first: np.ndarray
    second: np.ndarray
    vector: np.ndarray
    shift: np.ndarray

    @property
    def distance(self) -> np.ndarray:
        """Lengths, (n_pairs,), angstrom."""
        return np.linalg.norm(self.vector, axis=1)


def bond_cutoffs(numbers: np.ndarray | Sequence[int],
                 overrides: Mapping[tuple[str, str], float] | None = None) -> Cutoffs:
    """Longest bond for each pair of the elements present.

    Parameters
    ----------
    numbers : (n_atoms,) atomic numbers
    overrides : such as ``{("C", "H"): 1.3}``, angstrom; the order of the two does not count

    Returns
    -------
    cutoffs : ``{(z1, z2): angstrom}`` with ``z1 <= z2``

    Raises
    ------
    InputError
        If an override names no element or is not a positive length.
    """
    from ase.data import atomic_numbers, covalent_radii

    elements = np.unique(np.asarray(numbers))
    cutoffs = {(int(a), int(b)): float(RADII_FACTOR * (covalent_radii[a] + covalent_radii[b]))
               for a in elements for b in elements if a <= b}
    if (6, 6) in cutoffs:
        cutoffs[6, 6] = CARBON_CUTOFF
    for (one, other), length in (overrides or {}).items():
        if one not in atomic_numbers or other not in atomic_numbers:
            raise InputError(f"a bond must join two elements, received {one}-{other}: "
                             f"write chemical symbols, such as C-H")
        if not 0 < length < np.inf:
            raise InputError(f"a bond cutoff must be a positive length in angstrom, received "
                             f"{length} for {one}-{other}: give the longest bond that counts")
        low, high = sorted((atomic_numbers[one], atomic_numbers[other]))
        if (low, high) in cutoffs:
            cutoffs[low, high] = float(length)
    return cutoffs


def neighbour_pairs(structure: Structure, cutoff: float | Cutoffs) -> Pairs:
    """All pairs nearer than ``cutoff`` (angstrom; one for all, or one for each pair of elements).

    Returns
    -------
    pairs : each in both directions, an atom's own images included
    """
    from matscipy.neighbours import neighbour_list

    inside = structure.wrapped() if structure.pbc.any() else structure
    search = cutoff if isinstance(cutoff, float | int) else dict(cutoff)
    first, second, vector, shift = neighbour_list(
        "ijDS", positions=np.array(inside.positions), cell=_searchable_cell(structure),
        pbc=structure.pbc, numbers=structure.numbers.astype(np.int32), cutoff=search)
    return Pairs(first.astype(np.int64), second.astype(np.int64), vector, shift.astype(np.int64))


def bonds(structure: Structure,
          overrides: Mapping[tuple[str, str], float] | None = None) -> Pairs:
    """Bonded pairs, both directions; ``overrides`` as in :func:`bond_cutoffs`."""
    return neighbour_pairs(structure, bond_cutoffs(structure.numbers, overrides))


def _searchable_cell(structure: Structure) -> np.ndarray:
    """The cell, (3, 3); a molecule's missing vectors are replaced by ones that span its atoms."""
    if structure.volume > 1e-6:
        return np.array(structure.cell)
    from ase.geometry import complete_cell

    completed = complete_cell(structure.cell)
    extent = max(1.0, float(np.ptp(structure.positions, axis=0).max()))
    missing = np.linalg.norm(structure.cell, axis=1) < 1e-9
    completed[missing] *= extent
    return np.asarray(completed)
