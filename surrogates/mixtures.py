r"""Mixtures of sites: compositions between and beyond those of melt-quenched networks.

The spectrum of any set of atoms, its shares of two-, three- and four-fold atoms and its volume per
atom are means over atoms, so a mixture has the mixture of all of them:

    (m, f, v) = sum_i w_i (m_i, f_i, v_i),    sum_i w_i = 1,    density = atomic mass / v

with v_i the Voronoi volume of atom i. In melt-quenched networks density and sp3 rise together; a
model that has only seen those reads one off the other. Mixtures of a dense network with an open
one, and of balls cut out of their cells, break that tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffxas.analysis import coordination
from diffxas.errors import InputError
from diffxas.structure import Structure
from surrogates.volumes import atom_volumes

QUANTITIES = ("sp", "sp2", "sp3", "other", "density")
"""What is estimated: shares of atoms with 2, 3, 4 and other numbers of neighbours, and g/cm3."""
CARBON_MASS = 12.011 * 1.66053906660
"""g/cm3 angstrom^3: density = mass / volume per atom."""
BALL = (1 / 3, 2 / 3)
"""Share of a cell's atoms that a ball cut out of it holds, smallest and largest."""
BALLS = 0.5
"""How often a part is a ball instead of the whole cell."""
TRIES = 200


@dataclass(frozen=True, eq=False)
class CellSites:
    """What a mixture needs of a cell.

    Attributes
    ----------
    name, parent : of the cell and its bond network
    density : g/cm3
    spectra : (n_atoms, n_grid), model units
    values : (n_atoms, 5), what each atom adds: 1 to a share, and its volume, angstrom^3
    scaled, cell : positions in units of the cell (n_atoms, 3), and its vectors (3, 3), angstrom
    """

    name: str
    parent: str
    density: float
    spectra: np.ndarray
    values: np.ndarray
    scaled: np.ndarray
    cell: np.ndarray


def cell_sites(structure: Structure, spectra: np.ndarray) -> CellSites:
    """Count neighbours and measure volumes; ``spectra`` (n_atoms, n_grid) are of its atoms."""
    neighbours = coordination(structure)
    kinds = np.stack([neighbours == number for number in (2, 3, 4)], 1).astype(float)
    values = np.column_stack([kinds, 1 - kinds.sum(1), atom_volumes(structure)])
    name = str(structure.info["name"])
    return CellSites(name, str(structure.info.get("parent", name)), structure.density,
                     np.asarray(spectra, dtype=np.float64), values,
                     np.linalg.solve(structure.cell.T, structure.positions.T).T, structure.cell)


class Mixtures:
    """Draws mixtures; bond networks count alike, whatever the number of their cells.

    Parameters
    ----------
    cells : where from
    mass : of an atom, g/cm3 angstrom^3, so that density = mass / volume
    without : (lowest, highest) densities, g/cm3, that no mixture may have
    """

    def __init__(self, cells: Sequence[CellSites], mass: float = CARBON_MASS,
                 without: tuple[float, float] | None = None) -> None:
        self.mass, self.without = mass, without
        self.parents: dict[str, list[CellSites]] = {}
        for one in cells:
            self.parents.setdefault(one.parent, []).append(one)
        self.names = sorted(self.parents)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Spectra (n, n_grid) and quantities (n, 5) of mixtures.

        Raises
        ------
        InputError
            If the cells hardly mix to anything outside ``without``.
        """
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for _ in range(TRIES * n):
            spectrum, values = self._one(rng)
            density = self.mass / values[-1]
            if self.without is None or not self.without[0] <= density <= self.without[1]:
                found.append((spectrum, np.append(values[:-1], density)))
            if len(found) == n:
                return np.stack([s for s, _ in found]), np.stack([v for _, v in found])
        raise InputError(f"mixtures must be able to have densities outside {self.without}, "
                         f"received cells of {', '.join(self.names[:4])}, ...: leave out less")

    def _one(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A part of one cell, or of two, half of the time each."""
        first = self._part(rng)
        if rng.random() < 0.5:
            return first
        second, share = self._part(rng), rng.random()
        return (share * first[0] + (1 - share) * second[0],
                share * first[1] + (1 - share) * second[1])

    def _part(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A whole cell, or a ball of it."""
        cells = self.parents[self.names[rng.integers(len(self.names))]]
        cell = cells[rng.integers(len(cells))]
        n = len(cell.scaled)
        weights = np.ones(n)
        if rng.random() < BALLS:
            apart = cell.scaled - cell.scaled[rng.integers(n)]
            distance = np.linalg.norm((apart - np.round(apart)) @ cell.cell, axis=1)
            kept = rng.integers(round(BALL[0] * n), round(BALL[1] * n) + 1)
            weights[np.argsort(distance)[kept:]] = 0
        weights /= weights.sum()
        return weights @ cell.spectra, weights @ cell.values


def whole(cell: CellSites, mass: float = CARBON_MASS) -> np.ndarray:
    """The quantities of a cell, (5,)."""
    mean = cell.values.mean(0)
    return np.append(mean[:-1], mass / mean[-1])
