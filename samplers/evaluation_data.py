"""What a prior is held against: its own training networks, networks that it never saw, a reference.

A structure of DATA is a *training* structure if the prior's config lists its name, *held out* if
neither itself nor its network (``parent``) is listed, and *related* otherwise: it took no part, but
shares the bonds of a network that did. The *reference* is what the samples should resemble: the
structures of the kind that is sampled (all of them, if fewer than two are of it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.composition import parse_composition
from diffxas.errors import InputError
from diffxas.networks import NEAR
from diffxas.structure import Structure

if TYPE_CHECKING:
    from diffxas.prior import Sample

TRAINING, HELD_OUT, RELATED = "training", "held-out", "related"
FEWEST = 2
MOST_DENSITIES = 5
EDGE = 0.1
"""Default densities keep this share of the range from either end, where the reference thins out."""
APART = 0.2
"""Default densities lie at least so far apart, g/cm3."""

Formula = tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Known:
    """A structure of DATA: its name, kind, network (``parent``) and role."""

    structure: Structure
    name: str
    kind: str
    parent: str
    role: str


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """DATA, sorted by role.

    Attributes
    ----------
    known : every structure of DATA
    reference : those that samples should resemble, by increasing density
    formula : reduced composition of the reference, such as (("O", 2), ("Si", 1))
    notes : what a reader of the table should know of the data
    """

    known: tuple[Known, ...]
    reference: tuple[Known, ...]
    formula: Formula
    notes: tuple[str, ...]

    def of(self, role: str, reference: bool = False) -> list[Known]:
        """Structures of a role, of DATA or of the reference alone."""
        return [one for one in (self.reference if reference else self.known) if one.role == role]

    @property
    def densities(self) -> np.ndarray:
        """Of the reference, rising, (n_reference,), g/cm3."""
        return np.array([one.structure.density for one in self.reference])


def split(samples: Sequence[Sample], config: Mapping[str, Any], kind: str) -> EvaluationData:
    """Sort DATA by what the prior was trained on.

    Parameters
    ----------
    samples : as :func:`diffxas.prior.load_samples` reads them
    config : of the prior
    kind : label that is sampled

    Raises
    ------
    InputError
        If DATA has other elements than the prior's, or fewer than two structures.
    """
    elements = {e for s in samples for e in s.structure.symbols}
    if not elements <= set(config["elements"]):
        raise InputError(f"DATA must be of the prior's elements {', '.join(config['elements'])}, "
                         f"received {', '.join(sorted(elements))}: choose another prior, or DATA "
                         f"that it was trained for")
    trained = {str(name).split(":")[-1] for name in config["training"]["structures"]}
    networks = trained | {str(name) for name in config["training"]["parents"]}
    known = tuple(_known(sample, trained, networks) for sample in samples)
    reference, notes = _reference(known, kind)
    chosen = _most_common([formula_of(one.structure) for one in reference])
    if chosen is not None:
        fitting = [one for one in reference if formula_of(one.structure) == chosen]
        if len(fitting) < len(reference):
            notes.append(f"{len(reference) - len(fitting)} structures of another composition than "
                         f"{_text(chosen)} are no reference.")
        reference = fitting
    if len(reference) < FEWEST or chosen is None:
        raise InputError(f"DATA must hold at least {FEWEST} structures of one composition, "
                         f"received {len(reference)}: give the networks that the prior was trained "
                         f"on, and some that it was not")
    notes += _role_notes(known, trained)
    reference.sort(key=lambda one: one.structure.density)
    return EvaluationData(known, tuple(reference), chosen, tuple(notes))


def _known(sample: Sample, trained: set[str], networks: set[str]) -> Known:
    parent = str(sample.structure.info.get("parent", sample.name))
    role = (TRAINING if sample.name in trained
            else RELATED if {sample.name, parent} & networks else HELD_OUT)
    return Known(sample.structure, sample.name, sample.kind, parent, role)


def _reference(known: Sequence[Known], kind: str) -> tuple[list[Known], list[str]]:
    """Structures of the kind that is sampled, or all; and a note on what was left out."""
    from diffxas.denoiser import ANY

    own = [one for one in known if one.kind == kind]
    if kind == ANY or len(own) < FEWEST or len(own) == len(known):
        return list(known), []
    return own, [f"The reference are the {len(own)} structures of kind {kind}, which is what is "
                 f"sampled; {len(known) - len(own)} of other kinds count for memorisation only."]


def _role_notes(known: Sequence[Known], trained: set[str]) -> list[str]:
    count = Counter(one.role for one in known)
    notes = []
    if count[TRAINING] < len(trained):
        notes.append(f"DATA holds {count[TRAINING]} of the {len(trained)} structures that the "
                     f"prior was trained on: what it took from the others is not seen.")
    if not count[TRAINING]:
        notes.append("Memorisation cannot be judged: DATA holds nothing that the prior was trained "
                     "on. Add its training structures.")
    if not count[HELD_OUT]:
        notes.append("DATA holds no network that the prior never saw: each training network "
                     "against the others is the floor, and the prior's loss on unseen networks "
                     "is not known. Leave some networks out of a training to know it.")
    return notes


def formula_of(structure: Structure) -> Formula:
    """Reduced composition, elements in alphabetical order."""
    counts = Counter(structure.symbols)
    divisor = reduce(gcd, counts.values())
    return tuple((element, counts[element] // divisor) for element in sorted(counts))


def _most_common(formulas: Sequence[Formula]) -> Formula | None:
    return Counter(formulas).most_common(1)[0][0] if formulas else None


def _text(formula: Formula) -> str:
    return "".join(f"{element}{n if n > 1 else ''}" for element, n in formula)


def usual_atoms(data: EvaluationData) -> int:
    """Median number of atoms of the reference, a multiple of its formula's."""
    unit = sum(n for _, n in data.formula)
    median = float(np.median([len(one.structure) for one in data.reference]))
    return max(1, round(median / unit)) * unit


def composition_text(data: EvaluationData, atoms: int) -> str:
    """Counts as ``--composition`` takes them, such as ``O:144,Si:72``.

    Raises
    ------
    InputError
        If the reference's formula does not divide the atoms.
    """
    counts = parse_composition(_text(data.formula), atoms)
    return ",".join(f"{element}:{n}" for element, n in counts.items())


def usual_densities(densities: np.ndarray) -> list[float]:
    """Up to five densities of reference structures, spread over their range, g/cm3.

    Parameters
    ----------
    densities : of the reference, (n_reference,)
    """
    low, high = float(densities.min()), float(densities.max())
    margin = EDGE * (high - low)
    count = min(MOST_DENSITIES, 1 + int((high - low) / APART))
    wanted = (np.linspace(low + margin, high - margin, count) if count > 1
              else np.median(densities)[None])
    found = [float(densities[np.abs(densities - one).argmin()]) for one in wanted]
    return sorted({round(one, 3) for one in found})


def check_densities(chosen: Sequence[float], densities: np.ndarray) -> None:
    """Refuse a density where the reference has nothing.

    Raises
    ------
    InputError
        Naming the nearest density that has something.
    """
    for one in chosen:
        if not np.abs(densities - one).min() <= NEAR:
            nearest = float(densities[np.abs(densities - one).argmin()])
            raise InputError(f"--density must have a structure of DATA within {NEAR:g} g/cm3, "
                             f"received {one:g}: the nearest has {nearest:.2f}")


def read_data(paths: Sequence[Path], config: Mapping[str, Any]) -> list[Sample]:
    """Structures of files and folders, labelled as in the prior's training.

    Raises
    ------
    InputError
        If a file is missing or unreadable, or a structure is not periodic.
    """
    from diffxas.prior import PriorTraining, load_samples

    kinds = dict(config["training"].get("options", {}).get("kinds", {}))
    return load_samples(paths, PriorTraining(kinds=kinds, max_atoms=10**9))
