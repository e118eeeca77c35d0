"""What a corpus of networks shall be: options checked, and one job for each cell.

Each cell has its own seed, drawn from the run's seed and the cell's number, so that the number of
workers changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import diffxas
from diffxas.composition import composition_formula, parse_composition
from diffxas.default_potential import default_potential
from diffxas.errors import InputError
from diffxas.melt_quench import Protocol, check_density, default_protocol
from diffxas.potentials import PotentialSpec, check_potential, potential_hash

CELLS = "cells"
MOST_CELLS = 100_000
MOST_ATOMS = 1_000_000


@dataclass(frozen=True)
class QuenchOptions:
    """What to make.

    Attributes
    ----------
    densities : g/cm3, each a number or a range ``A:B``; ``cells`` are dealt to them in turn, and
        those of a range lie evenly from A to B
    atoms : in each cell; None where ``composition`` counts them
    composition : a formula or counts, see :mod:`diffxas.composition`
    potential : a name, an ASE calculator, or None for the elements' default
    cells : how many in all
    seed : one seed gives the same networks on one machine
    workers : processes, one thread each
    changes : fields of the default :class:`~diffxas.melt_quench.Protocol` to replace
    """

    densities: tuple[str, ...]
    atoms: int | None = None
    composition: str = "C"
    potential: PotentialSpec | None = None
    cells: int = 4
    seed: int = 0
    workers: int = 1
    changes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One cell to make; ``path`` is where it will lie."""

    number: int
    name: str
    counts: dict[str, int]
    density: float
    potential: PotentialSpec
    protocol: Protocol
    seed: int
    path: Path


@dataclass(frozen=True)
class Plan:
    """A checked request."""

    counts: dict[str, int]
    potential: PotentialSpec
    label: str
    protocol: Protocol
    jobs: tuple[Job, ...]
    identity: dict[str, Any]


def plan_quench(out: Path, options: QuenchOptions) -> Plan:
    """Check a request, and that the potential runs.

    Raises
    ------
    InputError
        As :func:`quench_to`.
    LammpsMissing
        If the potential needs LAMMPS and it cannot be loaded.
    """
    counts = parse_composition(options.composition, options.atoms)
    _check_numbers(options, sum(counts.values()))
    densities = spread_densities(options.densities, options.cells)
    for density in densities:
        check_density(counts, density)
    given = asdict(default_protocol(counts)) | dict(options.changes)
    protocol = Protocol(**given)
    spec = default_potential(counts) if options.potential is None else options.potential
    label = check_potential(spec, counts).label
    if not isinstance(spec, str) and options.workers > 1:
        raise InputError(f"an ASE calculator must go with one worker, received "
                         f"{options.workers}: give the name of a potential, or workers 1")
    used = label if isinstance(spec, str) else spec
    formula = composition_formula(counts)
    identity = {"command": "quench", "composition": counts, "densities": densities,
                "potential": label, **asdict(protocol), "seed": options.seed,
                "cells": options.cells}
    if isinstance(spec, str) and (found := potential_hash(label)) is not None:
        identity["potential_hash"] = found
    jobs = tuple(
        Job(number, f"{formula}_{density:.2f}_s{options.seed}_{number:04d}", counts, density, used,
            protocol, cell_seed(options.seed, number), out / CELLS / f"{number:04d}.extxyz")
        for number, density in enumerate(densities))
    return Plan(counts, used, label, protocol, jobs, identity)


def cell_seed(seed: int, number: int) -> int:
    """The seed of a cell: of the run's seed and the cell's number alone."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def spread_densities(texts: Sequence[str], cells: int) -> list[float]:
    """The density of each cell, g/cm3.

    Cells are dealt to the entries in turn (5 cells over 2 entries: 3 and 2); those of a range
    ``A:B`` lie evenly from A to B, one alone in the middle.

    Raises
    ------
    InputError
        If an entry is no positive number or range, or there are fewer cells than entries.
    """
    if not 1 <= cells <= MOST_CELLS:
        raise InputError(f"--cells must be 1 to {MOST_CELLS}, received {cells}: 4 is the default")
    if not texts:
        raise InputError("--density must be given, received none: such as --density 2.0 or "
                         "--density 1.2:3.6")
    if cells < len(texts):
        raise InputError(f"--cells must be at least the number of densities, {len(texts)}, "
                         f"received {cells}: it is the number of cells in all")
    per_entry = []
    for entry, text in enumerate(texts):
        low, high = _range(text)
        n = len(range(entry, cells, len(texts)))
        per_entry.append(np.linspace(low, high, n) if n > 1 else np.array([(low + high) / 2]))
    return [float(round(per_entry[k % len(texts)][k // len(texts)], 6)) for k in range(cells)]


def versions() -> dict[str, str]:
    """Of what computes."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"diffxas": diffxas.__version__}
    for package in ("lammps", "ase"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _range(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    try:
        pair = float(low), float(high or low)
    except ValueError:
        pair = (np.nan, np.nan)
    if not (0 < pair[0] <= pair[1] < np.inf) or text.endswith(":"):
        raise InputError(f"--density must be a number above 0 or a rising range A:B in g/cm3, "
                         f"received {text!r}: write it as --density 2.0 or --density 1.2:3.6")
    return pair


def _check_numbers(options: QuenchOptions, atoms: int) -> None:
    if atoms > MOST_ATOMS:
        raise InputError(f"--atoms must be at most {MOST_ATOMS}, received {atoms}: 216 is usual")
    if options.seed < 0:
        raise InputError(f"--seed must be 0 or more, received {options.seed}: 0 is the default")
    if not 1 <= options.workers <= 4096:
        raise InputError(f"--workers must be 1 or more processes, received {options.workers}: "
                         f"this machine has {os.cpu_count()} cores")
