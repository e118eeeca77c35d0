"""What a structure looks like: coordination, pair distances and bond angles.

The radial distribution function of ``N`` atoms at number density ``rho`` is

    g(r) = n(r) / (N rho V(r)),

``n(r)`` the directed pairs in a bin and ``V(r)`` the volume of its spherical shell (M. P. Allen and
D. J. Tildesley, "Computer Simulation of Liquids", 2nd ed., Oxford, 2017, section 2.6). Every image
counts, so ``r`` may exceed half the cell. Two g(r) are compared by the integral of their absolute
difference over the integral of the reference.

Environments are labelled by Weisfeiler-Lehman colour refinement of the bond graph (N. Shervashidze
and others, "Weisfeiler-Lehman Graph Kernels", J. Mach. Learn. Res. 12, 2539 (2011), algorithm 1):
it starts from the element and the coordination of an atom, so that a label of depth ``k`` knows
the coordination of the neighbours ``k`` bonds away, and nothing of distances.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from diffxas.blocks import MOST_ATOMS, pieces
from diffxas.errors import InputError
from diffxas.neighbourhood import Pairs, bonds, neighbour_pairs
from diffxas.structure import Structure

COORDINATION_KEYS = ("0", "1", "2", "3", "4", "5", "6")
"""Keys of coordination fractions; "6" stands for six or more."""


def coordination(structure: Structure, pairs: Pairs | None = None) -> np.ndarray:
    """Number of bonds of each atom, (n_atoms,) int64; ``pairs`` if the bonds are known already."""
    pairs = bonds(structure) if pairs is None else pairs
    return np.bincount(pairs.first, minlength=len(structure)).astype(np.int64)


def coordination_fractions(structure: Structure, pairs: Pairs | None = None) -> dict[str, float]:
    """Share of atoms with 0, 1, ... 5 and with six or more bonds, keyed "0" to "6"; sums to 1."""
    counts = np.bincount(np.minimum(coordination(structure, pairs), 6), minlength=7)
    return {key: float(counts[int(key)] / len(structure)) for key in COORDINATION_KEYS}


def coordination_pairs(structure: Structure, pairs: Pairs | None = None,
                       ) -> dict[str, dict[str, float]]:
    """For each two elements the share of atoms of the first by their bonds to the second.

    Returns
    -------
    shares : such as ``{"Si-O": {"3": 0.02, "4": 0.98}, "O-Si": {...}, "Si-Si": {"0": 1.0}, ...}``;
        numbers of bonds that no atom has are left out
    """
    pairs = bonds(structure) if pairs is None else pairs
    numbers, found = structure.numbers, {}
    for one, other in pairs_of_elements(structure, both_ways=True):
        to_other = pairs.first[numbers[pairs.second] == other]
        counts = np.bincount(to_other, minlength=len(structure))[numbers == one]
        kinds, atoms = np.unique(counts, return_counts=True)
        found[f"{chemical_symbol(one)}-{chemical_symbol(other)}"] = {
            str(n): float(share) for n, share in zip(kinds, atoms / len(counts), strict=True)}
    return found


def like_bonds(structure: Structure, pairs: Pairs | None = None) -> dict[str, float]:
    """Share of all bonds that join two atoms of one element, such as ``{"Si-Si": 0.01, ...}``."""
    pairs = bonds(structure) if pairs is None else pairs
    first, second = structure.numbers[pairs.first], structure.numbers[pairs.second]
    return {f"{chemical_symbol(z)}-{chemical_symbol(z)}":
            float(((first == z) & (second == z)).sum() / max(1, len(first)))
            for z in np.unique(structure.numbers)[::-1]}


def bonding(structure: Structure, pairs: Pairs | None = None) -> dict[str, Any]:
    """``coordination``, ``coordination_pairs`` and ``like_bonds`` of one structure."""
    pairs = bonds(structure) if pairs is None else pairs
    return {"coordination": coordination_fractions(structure, pairs),
            "coordination_pairs": coordination_pairs(structure, pairs),
            "like_bonds": like_bonds(structure, pairs)}


def pair_name(one: str, other: str) -> str:
    """The name of a pair of elements, the heavier first: "Si-O" for O and Si."""
    from ase.data import atomic_numbers

    return "-".join(sorted((one, other), key=lambda symbol: -atomic_numbers[symbol]))


def pairs_of_elements(structure: Structure, both_ways: bool = False) -> list[tuple[int, int]]:
    """Atomic numbers of every pair of elements present, the heavier first unless both ways."""
    elements = [int(z) for z in np.unique(structure.numbers)[::-1]]
    return [(a, b) for a in elements for b in elements if both_ways or a >= b]


def chemical_symbol(number: int) -> str:
    """Of an atomic number."""
    from ase.data import chemical_symbols

    return str(chemical_symbols[number])


def minimum_distance(structure: Structure) -> float:
    """Shortest distance between two atoms or an atom and its own image, angstrom.

    Infinite for a single atom that is not periodic.
    """
    if len(structure) == 1 and not structure.pbc.any():
        return float("inf")
    # Grow the search until it finds a pair: no search is much larger than it needs to be.
    reach = 1.0
    while True:
        distance = neighbour_pairs(structure, reach).distance
        if len(distance):
            return float(distance.min())
        reach *= 1.6


def rdf(structures: Structure | Sequence[Structure], r_max: float = 6.0,
        bin_width: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Radial distribution function, the mean over ``structures``, all elements together.

    Parameters
    ----------
    structures : one or several periodic structures
    r_max : angstrom; may exceed half the cell
    bin_width : angstrom

    Returns
    -------
    r : (n_bins,) centres of the bins, angstrom
    g : (n_bins,) without unit, 1 where distances are uncorrelated

    Raises
    ------
    InputError
        If a structure is not periodic (it has no density), or a length is not positive.
    """
    several = [structures] if isinstance(structures, Structure) else list(structures)
    edges = _edges(several, r_max, bin_width)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    g = np.zeros(len(shells))
    for structure in several:
        counts = sum(_pair_counts(structure, edges).values())
        n_atoms = len(structure)
        g += counts * structure.volume / (n_atoms * n_atoms * shells) / len(several)
    return (edges[:-1] + edges[1:]) / 2, g


def partial_rdf(structures: Structure | Sequence[Structure], r_max: float = 6.0,
                bin_width: float = 0.05) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """g_AB(r) = n_AB(r) V / (N_A N_B V(r)) of every pair of elements, as :func:`rdf`.

    Returns
    -------
    r : (n_bins,) centres of the bins, angstrom
    g : by the name of the pair, such as "Si-O", (n_bins,) each: the mean over the structures that
        hold both elements

    Raises
    ------
    InputError
        As :func:`rdf`.
    """
    several = [structures] if isinstance(structures, Structure) else list(structures)
    edges = _edges(several, r_max, bin_width)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    found: dict[str, list[np.ndarray]] = {}
    for structure in several:
        counts, numbers = _pair_counts(structure, edges), structure.numbers
        for one, other in pairs_of_elements(structure):
            product = float((numbers == one).sum()) * float((numbers == other).sum())
            name = pair_name(chemical_symbol(one), chemical_symbol(other))
            found.setdefault(name, []).append(
                counts[one, other] * structure.volume / (product * shells))
    r: np.ndarray = (edges[:-1] + edges[1:]) / 2
    return r, {name: np.mean(curves, axis=0) for name, curves in found.items()}


def _pair_counts(structure: Structure, edges: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Directed pairs in bins of their distance for every two elements, (n_bins,) each.

    Large structures are gone through piece by piece: their pairs never stand in memory together.
    """
    elements = [int(z) for z in np.unique(structure.numbers)]
    found = {(a, b): np.zeros(len(edges) - 1) for a in elements for b in elements}
    for numbers, pairs in _pairs_by_piece(structure, float(edges[-1])):
        distance = pairs.distance
        for one, other in found:
            chosen = distance if len(elements) == 1 else distance[
                (numbers[pairs.first] == one) & (numbers[pairs.second] == other)]
            found[one, other] += np.histogram(chosen, bins=edges)[0]
    return found


def _pairs_by_piece(structure: Structure, cutoff: float) -> Iterator[tuple[np.ndarray, Pairs]]:
    """Every directed pair once: atomic numbers of a piece's atoms, and its pairs from inside."""
    if len(structure) <= MOST_ATOMS:
        yield structure.numbers, neighbour_pairs(structure, cutoff)
        return
    for piece in pieces(structure, cutoff):
        pairs = neighbour_pairs(piece.cluster, cutoff)
        own = pairs.first < piece.inside
        yield piece.cluster.numbers, Pairs(pairs.first[own], pairs.second[own], pairs.vector[own],
                                           pairs.shift[own])


def rdf_distance(g: np.ndarray, g_reference: np.ndarray) -> float:
    """Integral of ``|g - g_reference|`` over the integral of ``g_reference`` (equal bins).

    0 for equal curves; about 0.1 between two independent networks of 216 atoms.
    """
    g, g_reference = np.asarray(g, float), np.asarray(g_reference, float)
    if g.shape != g_reference.shape:
        raise InputError(f"two g(r) must have the same bins, received {g.shape} and "
                         f"{g_reference.shape}: compute both with one r_max and bin_width")
    return float(np.abs(g - g_reference).sum() / g_reference.sum())


def angle_distribution(structure: Structure, bin_width: float = 5.0, pairs: Pairs | None = None,
                       ) -> tuple[np.ndarray, np.ndarray]:
    """Distribution of the angles between bonds that share an atom.

    Returns
    -------
    angle : (n_bins,) centres of the bins, degrees, from 0 to 180
    density : (n_bins,) per degree; integrates to 1, or 0 everywhere where no two bonds meet
    """
    n_bins = round(180.0 / bin_width)
    edges = np.linspace(0.0, 180.0, n_bins + 1)
    counts, _ = np.histogram(bond_angles(structure, pairs), bins=edges)
    width = 180.0 / n_bins
    return (edges[:-1] + edges[1:]) / 2, counts / max(1, counts.sum()) / width


def bond_angles(structure: Structure, pairs: Pairs | None = None) -> np.ndarray:
    """Every angle between two bonds of one atom, (n_angles,), degrees."""
    pairs = bonds(structure) if pairs is None else pairs
    unit = pairs.vector / pairs.distance[:, None]
    degree = np.bincount(pairs.first, minlength=len(structure))
    start = np.concatenate([[0], np.cumsum(degree)[:-1]])
    angles = []
    for n_bonds in np.unique(degree[degree > 1]):  # atoms of one degree form a full array
        rows = start[degree == n_bonds][:, None] + np.arange(n_bonds)
        one, other = np.triu_indices(n_bonds, k=1)
        cosine = np.einsum("apx,apx->ap", unit[rows[:, one]], unit[rows[:, other]])
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).ravel())
    return np.concatenate(angles) if angles else np.zeros(0)


def coordination_shares(site_mu: np.ndarray, coordination_numbers: np.ndarray,
                        ) -> dict[str, np.ndarray]:
    """What absorbers of each coordination add to the mean spectrum.

    Parameters
    ----------
    site_mu : (n_absorbers, n_points), one spectrum for each absorber
    coordination_numbers : (n_absorbers,)

    Returns
    -------
    shares : "2", "3", "4" and "other" to (n_points,); their sum is the mean over all absorbers
    """
    site_mu, numbers = np.asarray(site_mu), np.asarray(coordination_numbers)
    named = {key: site_mu[numbers == int(key)].sum(axis=0) for key in ("2", "3", "4")}
    named["other"] = site_mu[~np.isin(numbers, (2, 3, 4))].sum(axis=0)
    return {key: mu / len(site_mu) for key, mu in named.items()}


def environment_hashes(structure: Structure, depth: int = 3,
                       pairs: Pairs | None = None) -> list[str]:
    """Weisfeiler-Lehman label of each atom: its element and its bonded surroundings.

    Parameters
    ----------
    depth : rounds of refinement; two atoms share a label of depth ``k`` if the trees of bonds
        around them agree ``k`` bonds far, the coordination of the farthest atoms included
    pairs : the bonds, if they are known already

    Returns
    -------
    labels : ``n_atoms`` strings of 16 hexadecimal digits, the same in every run
    """
    pairs = bonds(structure) if pairs is None else pairs
    degree = np.bincount(pairs.first, minlength=len(structure))
    neighbours = np.split(pairs.second, np.cumsum(degree)[:-1])
    labels = [f"{z}:{n}" for z, n in zip(structure.numbers, degree, strict=True)]
    for _ in range(depth):
        labels = [_digest(labels[atom] + "|" + ",".join(sorted(labels[j] for j in around)))
                  for atom, around in enumerate(neighbours)]
    return labels


def environment_overlap(one: Structure, other: Structure, depth: int = 3) -> float:
    """Share of the environments of ``one`` that ``other`` holds too, between 0 and 1.

    Multisets are compared: an environment that ``one`` has twice and ``other`` once counts once.
    Near 1: one bond network (a copy); below about 0.1: independent networks.
    """
    ours = Counter(environment_hashes(one, depth))
    theirs = Counter(environment_hashes(other, depth))
    return sum((ours & theirs).values()) / len(one)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _edges(structures: Sequence[Structure], r_max: float, bin_width: float) -> np.ndarray:
    """Edges of the bins of g(r), angstrom; the request is checked."""
    if not structures:
        raise InputError("rdf must have at least one structure, received none: give one")
    if not (0 < bin_width <= r_max < np.inf):
        raise InputError(f"r_max and bin_width must be lengths with bin_width <= r_max, received "
                         f"{r_max} and {bin_width}: such as 6 and 0.05 angstrom")
    for structure in structures:
        _require_periodic(structure, "g(r)")
    return np.asarray(np.arange(round(r_max / bin_width) + 1) * bin_width)


def _require_periodic(structure: Structure, what: str) -> None:
    if not structure.pbc.all():
        raise InputError(f"{what} must have a structure periodic in three directions, received "
                         f"pbc {structure.pbc.tolist()}: give it a cell, it has no density")
