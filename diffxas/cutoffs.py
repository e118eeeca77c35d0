r"""Which atoms are bonded: the longest bond of each pair of elements, and where it comes from.

For each pair, the first of these that there is:

1. what the user gives (``--cutoff Si-O=2.2``);
2. C-C: 1.85 angstrom, the minimum between the first two shells of amorphous carbon;
3. the first minimum of the partial g(r) of reference structures;
4. what the prior's config records of the structures that it was trained on (``cutoffs``);
5. 1.3 times the sum of the covalent radii.

A first minimum ends a shell of *bonds* only if its peak lies where the elements can be bonded, that
is, below the length of rule 5: silicon atoms of silica have their first peak at 3.1 angstrom,
across an oxygen, and their pair stays with rule 5. g(r) is smoothed by a Gaussian; a peak counts
once the curve has fallen to half of it, a minimum once the curve has risen again by a tenth of the
peak. Where the curve is flat between two shells, the middle of the flat stretch is taken, as far as
it lies below the length of rule 5.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffxas.analysis import pair_name, partial_rdf
from diffxas.errors import InputError
from diffxas.neighbourhood import bond_cutoffs
from diffxas.structure import Structure

BIN, SMOOTHING = 0.02, 0.05
"""Width of the bins and of the Gaussian, angstrom."""
LOWEST_PEAK = 0.3
"""A smaller smoothed g(r) is a stray pair or two."""
FALL, RISE, FLAT = 0.5, 0.1, 0.01
"""Shares of the peak: what a peak falls by, a minimum rises by, a flat stretch differs by."""
REACH = 1.5
"""A minimum is looked for up to this multiple of the covalent length."""
GIVEN, CARBON, REFERENCE, RECORDED, RADII = (
    "given", "amorphous carbon", "first minimum of the reference's g(r)",
    "recorded with the prior", "1.3 times the covalent radii")
EXAMPLE = "write it as --cutoff Si-O=2.2"


@dataclass(frozen=True)
class BondCutoff:
    """The longest bond of a pair of elements, angstrom, and the rule that gave it."""

    length: float
    source: str


Cutoffs = Mapping[str, BondCutoff]
"""By the name of the pair, such as "Si-O" (the heavier element first)."""


def parse_cutoffs(texts: Iterable[str]) -> dict[str, float]:
    """``Si-O=2.2`` and the like: lengths in angstrom by the name of the pair.

    Raises
    ------
    InputError
        If one is written otherwise, names an unknown element, is no length, or a pair comes twice.
    """
    found: dict[str, float] = {}
    for text in texts:
        pair, _, number = text.partition("=")
        try:
            length = float(number)
        except ValueError as error:
            raise InputError(f"--cutoff must be a pair of elements and a length in angstrom, "
                             f"received {text!r}: {EXAMPLE}") from error
        name = _checked_name(pair.strip())
        if not 0 < length < np.inf:
            raise InputError(f"--cutoff must be a length above 0 angstrom, received {text!r}: "
                             f"{EXAMPLE}")
        if name in found:
            raise InputError(f"--cutoff must name each pair once, received {name} twice: "
                             f"leave one out")
        found[name] = length
    return found


def choose_cutoffs(elements: Collection[str], given: Mapping[str, float] | None = None,
                   recorded: Mapping[str, float] | None = None,
                   reference: Sequence[Structure] = ()) -> dict[str, BondCutoff]:
    """The longest bond of every pair of ``elements``, by the rules of the module's text.

    Parameters
    ----------
    elements : chemical symbols
    given : the user's, angstrom by the name of the pair in either order; each pair must be one of
        ``elements``
    recorded : the prior's; pairs of other elements do not count
    reference : structures whose g(r) is looked at, where they are periodic in three directions

    Raises
    ------
    InputError
        If a name is no pair of elements, or a given pair is not of ``elements``.
    """
    from ase.data import atomic_numbers

    numbers = sorted(atomic_numbers[symbol] for symbol in set(elements))
    lengths = {name: BondCutoff(length, RADII) for name, length in by_name(
        bond_cutoffs(numbers)).items()}
    kept = {_checked_name(pair): float(length) for pair, length in (recorded or {}).items()}
    minima = first_minima(reference, lengths)
    asked = {_checked_name(pair): float(length) for pair, length in (given or {}).items()}
    strange = [name for name in asked if name not in lengths]
    if strange:
        raise InputError(f"a bond cutoff must be of a pair of the elements present, "
                         f"{', '.join(lengths)}, received {', '.join(strange)}: {EXAMPLE}, or "
                         f"leave it out")
    for rule, found in ((RECORDED, kept), (REFERENCE, minima)):
        lengths |= {name: BondCutoff(x, rule) for name, x in found.items() if name in lengths}
    if "C-C" in lengths:
        lengths["C-C"] = BondCutoff(bond_cutoffs([6])[6, 6], CARBON)
    return lengths | {name: BondCutoff(x, GIVEN) for name, x in asked.items()}


def bond_lengths(cutoffs: Cutoffs) -> dict[tuple[str, str], float]:
    """As :func:`diffxas.neighbourhood.bond_cutoffs` takes them."""
    return {_split(name): one.length for name, one in cutoffs.items()}


def cutoff_record(cutoffs: Cutoffs) -> dict[str, dict[str, float | str]]:
    """For JSON: ``cutoffs`` (angstrom) and ``cutoffs_from`` (the rule), by the name of the pair."""
    return {"cutoffs": {name: round(one.length, 4) for name, one in cutoffs.items()},
            "cutoffs_from": {name: one.source for name, one in cutoffs.items()}}


def from_record(content: Mapping[str, Any]) -> dict[str, BondCutoff]:
    """What :func:`cutoff_record` wrote."""
    return {name: BondCutoff(length, content["cutoffs_from"][name])
            for name, length in content["cutoffs"].items()}


def cutoff_text(cutoffs: Cutoffs, unit: str = "Å") -> str:
    """For people: ``Si-O 2.20 Å (given), ...``; for terminals ``unit`` is ``A``."""
    return ", ".join(f"{name} {one.length:.2f} {unit} ({one.source})"
                     for name, one in cutoffs.items())


def first_minima(structures: Sequence[Structure], longest: Cutoffs) -> dict[str, float]:
    """First minimum of the partial g(r) of each pair that is bonded, angstrom, by name.

    Parameters
    ----------
    structures : g(r) is their mean; those that are not periodic in three directions do not count
    longest : for each pair the length that its first peak must not exceed; others are left out
    """
    bulk = [structure for structure in structures if structure.pbc.all()]
    if not bulk:
        return {}
    reach = REACH * max(one.length for one in longest.values())
    r, curves = partial_rdf(bulk, reach, BIN)
    found = {}
    for name, g in curves.items():
        if name in longest:
            minimum = first_minimum(r, g, longest[name].length)
            if minimum is not None:
                found[name] = round(minimum, 3)
    return found


def first_minimum(r: np.ndarray, g: np.ndarray, longest: float) -> float | None:
    """Where the first shell of g(r) ends, angstrom; None if that is not clear.

    Parameters
    ----------
    r, g : (n_bins,), centres of equal bins, angstrom
    longest : the first peak lies below, angstrom
    """
    smooth = _smoothed(g, r[1] - r[0])
    peak = _first_peak(smooth)
    if peak is None or r[peak] > longest:
        return None
    height, after = smooth[peak], smooth[peak:]
    floor = np.minimum.accumulate(after)
    risen = np.flatnonzero(after > floor + RISE * height)
    within = slice(0, int(risen[0]) if len(risen) else int((r[peak:] < REACH * longest).sum()))
    lowest = int(np.argmin(after[within]))
    if after[lowest] > (1 - FALL) * height:
        return None
    higher = np.flatnonzero(after[within] > after[lowest] + FLAT * height)
    before, beyond = higher[higher < lowest], higher[higher > lowest]  # the peak is before
    last = int(beyond[0]) - 1 if len(beyond) else len(after[within]) - 1
    last = max(lowest, min(last, int((r[peak:] <= longest).sum()) - 1))
    return float((r[peak + before[-1] + 1] + r[peak + last]) / 2)


def _first_peak(g: np.ndarray) -> int | None:
    """Index of the first maximum that the curve falls to half of; None if there is none."""
    highest = 0
    for k, value in enumerate(g):
        if value > g[highest]:
            highest = k
        elif g[highest] >= LOWEST_PEAK and value < (1 - FALL) * g[highest]:
            return highest
    return None


def _smoothed(g: np.ndarray, width: float) -> np.ndarray:
    """g convolved with a Gaussian of :data:`SMOOTHING`; zero before, constant beyond the end."""
    half = int(np.ceil(4 * SMOOTHING / width))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) * width / SMOOTHING) ** 2)
    padded = np.concatenate([np.zeros(half), g, np.full(half, g[-1])])
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def by_name(lengths: Mapping[tuple[int, int], float]) -> dict[str, float]:
    """Lengths by the name of the pair, from those by atomic numbers."""
    from ase.data import chemical_symbols

    return {pair_name(chemical_symbols[a], chemical_symbols[b]): length
            for (a, b), length in lengths.items()}


def _split(name: str) -> tuple[str, str]:
    one, _, other = name.partition("-")
    return one, other


def _checked_name(pair: str) -> str:
    from ase.data import atomic_numbers

    one, other = _split(pair)
    if one not in atomic_numbers or other not in atomic_numbers or "X" in (one, other):
        raise InputError(f"a bond must join two elements, received {pair!r}: {EXAMPLE}")
    return pair_name(one, other)
