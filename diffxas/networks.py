r"""Bond networks against a reference set of networks: what a glass is judged by.

Whatever depends on density is held against a fit of the reference over density (a straight line
through what lies near); distributions are held one cell against one cell, since the mean over many
networks is smoother than any network. Two distributions differ by

    d(p, q) = sum |p - q| / sum q,

q being the reference's; where a structure has several partial curves, d is their mean. The floor of
every such number is the same number of one reference network against the others: a structure never
meets cells of its own network (``parent``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffxas.analysis import (
    angle_distribution,
    coordination_fractions,
    coordination_pairs,
    environment_hashes,
    partial_rdf,
)
from diffxas.errors import RunError
from diffxas.neighbourhood import Pairs, bond_cutoffs, neighbour_pairs
from diffxas.rings import ring_statistics
from diffxas.structure import Structure

WITHIN = 0.35
"""Networks this near in density (g/cm3) enter a straight-line reference of coordination."""
LOCAL = 0.25
"""Networks this near in density (g/cm3) enter a local reference of energies and displacements."""
NEAR = 0.10
"""Networks this near in density (g/cm3) are compared one by one."""
FEWEST = 3
"""Points of a straight line."""
ONE_DENSITY = 0.02
"""Densities (g/cm3) that span no more than this have a mean, not a line."""
R_MAX, R_BIN, ANGLE_BIN, LARGEST_RING = 6.0, 0.05, 5.0, 10
"""g(r) to so many angstrom in bins of so many, angles in bins of degrees, rings up to this size."""
CURVES = ("g(r)", "angles", "rings")
"""The distributions of a :class:`Profile` that are compared one by one."""


def near(structures: Sequence[Structure], density: float, within: float) -> list[Structure]:
    """Structures within ``within`` g/cm3 of ``density``."""
    return [s for s in structures if abs(s.density - density) <= within]


def straight_line(densities: np.ndarray, values: np.ndarray, density: float,
                  within: float = WITHIN) -> tuple[float, float]:
    """Value at ``density`` of a straight line through what lies near, and the scatter about it.

    Parameters
    ----------
    densities, values : (n,)
    density, within : g/cm3

    Returns
    -------
    value, and the standard deviation of single points about the line

    Raises
    ------
    RunError
        If fewer than three points lie near.
    """
    chosen = np.abs(densities - density) <= within
    if chosen.sum() < FEWEST:
        raise RunError(f"a straight line must have 3 points within {within} g/cm3 of {density}, "
                       f"received {chosen.sum()}: give more structures")
    x, y = densities[chosen] - density, values[chosen]
    slope, value = np.polyfit(x, y, 1)
    residual = y - (value + slope * x)
    return float(value), float(np.sqrt((residual**2).sum() / (len(y) - 2)))


def local_value(densities: np.ndarray, values: np.ndarray, density: float,
                within: float = WITHIN) -> float:
    """As :func:`straight_line`, and the best there is of few points.

    A mean takes the line's place where the near densities hardly differ, or where fewer than three
    points lie near (then of the three nearest); NaN without any point. Values that are not finite
    do not count.
    """
    known = np.isfinite(values)
    densities, values = densities[known], values[known]
    if not len(values):
        return float("nan")
    distance = np.abs(densities - density)
    chosen = distance <= within
    if chosen.sum() < FEWEST:
        return float(values[np.argsort(distance, kind="stable")[:FEWEST]].mean())
    if np.ptp(densities[chosen]) <= ONE_DENSITY:
        return float(values[chosen].mean())
    return straight_line(densities, values, density, within)[0]


@dataclass(frozen=True, eq=False)
class Profile:
    """What is compared of a network.

    Attributes
    ----------
    density : g/cm3
    shares : share of atoms by bonds: "0" to "6" of one element, else "Si-O 4" and the like
    curves : for each of :data:`CURVES` its partial curves by name (a pair of elements, the element
        in the middle of an angle, "all"), (n_bins,) each; g(r) from 0 to :data:`R_MAX`
    environments : depth-3 Weisfeiler-Lehman labels of the atoms
    """

    density: float
    shares: Mapping[str, float]
    curves: Mapping[str, Mapping[str, np.ndarray]]
    environments: tuple[str, ...]

    @classmethod
    def of(cls, structure: Structure,
           cutoffs: Mapping[tuple[str, str], float] | None = None) -> Profile:
        """Measure a structure that is periodic in three directions.

        Parameters
        ----------
        cutoffs : longest bonds, angstrom; see :func:`diffxas.neighbourhood.bond_cutoffs`
        """
        pairs = neighbour_pairs(structure, bond_cutoffs(structure.numbers, cutoffs))
        rings = ring_statistics(structure, LARGEST_RING, pairs).per_atom
        return cls(structure.density, bond_shares(structure, pairs), {
            "g(r)": partial_rdf(structure, R_MAX, R_BIN)[1], "angles": _angles(structure, pairs),
            "rings": {"all": rings}}, tuple(environment_hashes(structure, pairs=pairs)))


def difference(one: Profile, reference: Profile, curve: str) -> float:
    """d of the module's text: the mean over the reference's partial curves that are not empty."""
    found = [np.abs(one.curves[curve][name] - q).sum() / q.sum()
             for name, q in reference.curves[curve].items()
             if q.sum() > 0 and name in one.curves[curve]]
    return float(np.mean(found)) if found else float("nan")


def bond_shares(structure: Structure, pairs: Pairs) -> dict[str, float]:
    """Share of atoms by their number of bonds: of one element, or for each pair of elements.

    Returns
    -------
    shares : "0" to "6" (six or more) of one element; else "A-B n", the share of A's atoms that
        have n bonds to B, for the n that occur
    """
    if len(set(structure.symbols)) == 1:
        return coordination_fractions(structure, pairs)
    return {f"{pair} {n}": share for pair, found in coordination_pairs(structure, pairs).items()
            for n, share in found.items()}


def _angles(structure: Structure, pairs: Pairs) -> dict[str, np.ndarray]:
    """Distribution of bond angles by the element in the middle, per degree."""
    symbols = np.array(structure.symbols)
    found = {}
    for element in sorted(set(structure.symbols)):
        chosen = symbols[pairs.first] == element
        own = Pairs(pairs.first[chosen], pairs.second[chosen], pairs.vector[chosen],
                    pairs.shift[chosen])
        found[element] = angle_distribution(structure, ANGLE_BIN, own)[1]
    return found


def radii() -> np.ndarray:
    """Centres of the bins of g(r), (n_bins,), angstrom."""
    return (np.arange(round(R_MAX / R_BIN)) + 0.5) * R_BIN
