r"""Does a structure that was made in tiles tell where they met? Borders against interiors.

Atoms within ``depth`` of a face between tiles are held against the others: shares of each
coordination number, bond lengths, and the density of atoms in a sphere around each.

Where the faces are known to be planes at equal steps (:func:`compare_borders`), the same difference
is measured with all planes shifted at random: a structure that is homogeneous does not know where
they were, so that the rank of the true difference among the shifted ones is a p-value, whatever the
correlations in space (the toroidal shift of H. W. Lotwick and B. W. Silverman, J. R. Stat. Soc. B
44, 406 (1982), section 3). Where only the tile of each atom is known (:func:`compare_tiles`), the
differences of the tiles get random signs; this takes tiles for independent, which neighbours are
only nearly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffxas.analysis import coordination
from diffxas.blocks import MOST_ATOMS, pieces
from diffxas.errors import InputError
from diffxas.homogeneity import p_value_of
from diffxas.neighbourhood import Pairs, bonds, neighbour_pairs
from diffxas.structure import Structure

LEAST_TILES = 6
"""With fewer, random signs reach no p-value below 0.05."""
COMMON = 0.005
"""Coordination numbers that fewer atoms have are not compared."""
LOCAL_RADIUS = 5.0
"""angstrom, of the sphere of the local density."""


@dataclass(frozen=True)
class BorderComparison:
    """One measure at tile borders and elsewhere.

    Attributes
    ----------
    name : ``4 bonds``, ``bond length`` (angstrom) or ``local density`` (1/angstrom^3)
    border, interior : means
    difference : border minus interior; over tiles, if these were compared
    spread : standard deviation of the difference where there is no border
    p_value : of no difference, two-sided
    """

    name: str
    border: float
    interior: float
    difference: float
    spread: float
    p_value: float


def compare_borders(structure: Structure, tiles: Sequence[int], depth: float,
                    pairs: Pairs | None = None, n_draws: int = 499,
                    seed: int = 0) -> list[BorderComparison]:
    """Atoms near the faces of a grid of tiles against all others, by shifted grids.

    Parameters
    ----------
    tiles : number of equal tiles along each lattice vector, the first one's corner at the cell's;
        where there is one, no face is counted
    depth : atoms nearer to a face are its border, angstrom
    pairs : the bonds, if they are known already

    Raises
    ------
    InputError
        If there are no two tiles, or no atoms on one side.
    """
    counts = np.asarray(tiles, dtype=int)
    if counts.shape != (3,) or counts.min() < 1 or counts.max() < 2:
        raise InputError(f"tiles must be three numbers of which one is above 1, received "
                         f"{list(tiles)}: say how often each lattice vector is cut")
    inverse = np.linalg.inv(structure.cell)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    cut = np.flatnonzero(counts > 1)
    place = (structure.positions @ inverse[:, cut]) * counts[cut]
    reach = depth * counts[cut] / heights[cut]

    def border(shift: np.ndarray) -> np.ndarray:
        within = (place + shift) % 1.0
        return np.asarray((np.minimum(within, 1 - within) < reach).any(axis=1))

    rng = np.random.default_rng(seed)
    masks = (border(shift) for shift in rng.uniform(0, 1, (n_draws, len(cut))))
    names, values = local_measures(structure, pairs)
    first = border(np.zeros(len(cut)))
    _require_both(first)
    known = np.isfinite(values)
    filled, known = np.where(known, values, 0.0), known.astype(float)
    true, sides = _difference(filled, known, first)
    drawn = np.array([_difference(filled, known, mask)[0] for mask in masks])
    return [BorderComparison(name, float(sides[0, k]), float(sides[1, k]), float(true[k]),
                             float(drawn[:, k].std()),
                             p_value_of(abs(true[k]), np.abs(drawn[:, k])))
            for k, name in enumerate(names)]


def compare_tiles(structure: Structure, labels: np.ndarray, border: np.ndarray,
                  pairs: Pairs | None = None, n_draws: int = 9999,
                  seed: int = 0) -> list[BorderComparison]:
    """Border atoms of each tile against the other atoms of that tile, by random signs.

    Parameters
    ----------
    labels : (n_atoms,) int, the tile of each atom
    border : (n_atoms,) bool, whether it is near another tile; chosen by place alone (an atom that
        is chosen for its neighbours is no fair sample of densities)
    pairs : the bonds, if they are known already

    Raises
    ------
    InputError
        If fewer than 6 tiles have atoms on both sides.
    """
    tile = np.unique(labels, return_inverse=True)[1]
    names, values = local_measures(structure, pairs)
    sides = []
    for mask in (border, ~np.asarray(border, bool)):
        known = np.isfinite(values) & mask[:, None]
        total = [np.bincount(tile, np.where(known[:, k], values[:, k], 0.0))
                 for k in range(len(names))]
        sides.append((np.array(total), np.array([np.bincount(tile, known[:, k])
                                                 for k in range(len(names))])))
    (at, n_at), (far, n_far) = sides
    both = (n_at > 0).all(axis=0) & (n_far > 0).all(axis=0)
    if both.sum() < LEAST_TILES:
        raise InputError(f"at least {LEAST_TILES} tiles must have atoms at their border and "
                         f"elsewhere, received {both.sum()}: choose a smaller border or a larger "
                         f"structure")
    weight = (n_at * n_far / np.maximum(n_at + n_far, 1))[:, both]
    each = at[:, both] / n_at[:, both] - far[:, both] / n_far[:, both]
    scaled = weight * each / weight.sum(axis=1, keepdims=True)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (n_draws, scaled.shape[1]))
    drawn, true = signs @ scaled.T, scaled.sum(axis=1)
    return [BorderComparison(name, float(at[k].sum() / n_at[k].sum()),
                             float(far[k].sum() / n_far[k].sum()), float(true[k]),
                             float(drawn[:, k].std()),
                             p_value_of(abs(true[k]), np.abs(drawn[:, k])))
            for k, name in enumerate(names)]


def distinguishable(found: Sequence[BorderComparison],
                    level: float = 0.05) -> list[BorderComparison]:
    """Those that differ, at a chance of ``level`` that any is named where none does.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6, 65
    (1979).
    """
    ranked = sorted(found, key=lambda one: one.p_value)
    named = []
    for k, one in enumerate(ranked):
        if one.p_value > level / (len(ranked) - k):
            break
        named.append(one)
    return named


def local_measures(structure: Structure,
                   pairs: Pairs | None = None) -> tuple[list[str], np.ndarray]:
    """What is compared, for every atom: names, and (n_atoms, n_measures), NaN where undefined."""
    pairs = bonds(structure) if pairs is None else pairs
    counts = coordination(structure, pairs)
    kinds = [n for n in range(counts.max() + 1) if (counts == n).mean() >= COMMON]
    together = np.bincount(pairs.first, pairs.distance, len(structure))
    length = together / np.where(counts > 0, counts, np.nan)
    near = _neighbour_counts(structure, LOCAL_RADIUS)
    density = near / (4 / 3 * np.pi * LOCAL_RADIUS**3)
    names = [f"{n} bonds" for n in kinds] + ["bond length", "local density"]
    return names, np.column_stack([*[(counts == n).astype(float) for n in kinds], length, density])


def _neighbour_counts(structure: Structure, radius: float) -> np.ndarray:
    """Atoms within ``radius`` of each, (n_atoms,)."""
    if len(structure) <= MOST_ATOMS:
        first = neighbour_pairs(structure, radius).first
        return np.bincount(first, minlength=len(structure)).astype(float)
    counts = np.zeros(len(structure))
    for piece in pieces(structure, radius):
        pairs = neighbour_pairs(piece.cluster, radius)
        inside = np.bincount(pairs.first, minlength=len(piece.atoms))[:piece.inside]
        counts[piece.atoms[:piece.inside]] = inside
    return counts


def _difference(values: np.ndarray, known: np.ndarray,
                border: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Border minus interior (n_measures,), and both means (2, n_measures).

    ``known`` (n_atoms, n_measures) is 1 where a value counts and 0 where the value is 0 for none.
    """
    sides = np.stack([mask @ values / np.maximum(mask @ known, 1)
                      for mask in (border.astype(float), (~border).astype(float))])
    return sides[0] - sides[1], sides


def _require_both(border: np.ndarray) -> None:
    if border.all() or not border.any():
        raise InputError(f"there must be atoms at the border of tiles and elsewhere, received "
                         f"{int(border.sum())} of {len(border)} at a border: choose another depth")
