"""What an evaluation is of: prior, data and settings, checked before anything is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.cutoffs import Cutoffs, choose_cutoffs
from diffxas.default_potential import default_potential
from diffxas.errors import InputError
from diffxas.networks import LOCAL
from diffxas.structure import Structure
from samplers import learning_curve
from samplers.evaluation_data import (
    EvaluationData,
    Known,
    check_densities,
    composition_text,
    read_data,
    split,
    usual_atoms,
    usual_densities,
)
from samplers.setup import GenerateOptions, Setup, set_up

if TYPE_CHECKING:
    from samplers.learning_curve import CurvePlan

CURVE_STEPS = 2000


@dataclass(frozen=True)
class EvaluationOptions:
    """What an evaluation is of; see ``diffxas evaluate prior --help``.

    Attributes
    ----------
    prior : shipped name or folder
    samples : at each density
    densities : g/cm3; up to five of the data's where empty
    atoms : of a sample; the median of the data's if None
    potentials : to relax with; the default one of the elements where empty
    kind : label that is sampled; that of ``diffxas generate --no-guidance`` if None
    curve_steps : training steps of each small prior of the learning curve; 0 for no curve
    quenched : files of melt-quenched cells, the ceiling row
    quench : make a cell a density for that row, with the elements' default potential, where no
        file is given
    cutoffs : longest bonds by pair, angstrom, such as ``{"Si-O": 2.2}``
    """

    prior: str
    samples: int = 4
    densities: tuple[float, ...] = ()
    atoms: int | None = None
    seed: int = 0
    potentials: tuple[str, ...] = ()
    kind: str | None = None
    curve_steps: int = CURVE_STEPS
    quenched: tuple[Path, ...] = ()
    quench: bool = True
    cutoffs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, lowest, usual in (("samples", 1, 4), ("seed", 0, 0),
                                    ("curve_steps", 0, CURVE_STEPS)):
            if getattr(self, name) < lowest:
                raise InputError(f"--{name.replace('_', '-')} must be {lowest} or more, received "
                                 f"{getattr(self, name)}: {usual} is the default")
        if self.atoms is not None and self.atoms < 1:
            raise InputError(f"--atoms must be 1 or more, received {self.atoms}: leave it out for "
                             f"the data's")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An evaluation's models, data and settings, all of them checked.

    Attributes
    ----------
    generate : how samples are drawn, by density
    setup : of the first density
    quenched : from files, by label
    cutoffs : what counts as a bond
    curve : None where none is asked for or DATA has too few networks
    """

    options: EvaluationOptions
    config: Mapping[str, Any]
    data: EvaluationData
    potentials: tuple[str, ...]
    generate: Mapping[float, GenerateOptions]
    setup: Setup
    quenched: Sequence[tuple[str, Structure]]
    cutoffs: Cutoffs
    curve: CurvePlan | None
    notes: tuple[str, ...]
    identity: Mapping[str, Any]

    @property
    def quenches(self) -> bool:
        """Whether quenched cells are to be made."""
        return self.options.quench and not self.quenched

    @property
    def quench_potential(self) -> str:
        """The usual one of the elements: melts take 10,000 times the steps of a relaxation."""
        try:
            return default_potential([element for element, _ in self.data.formula])
        except InputError:
            return self.potentials[0]

    @property
    def reference(self) -> list[Known]:
        """Reference structures that some local fit asks about, or the nearest ones."""
        densities = np.array(list(self.generate))
        return [one for one in self.data.reference
                if np.abs(densities - one.structure.density).min() <= 2 * LOCAL]


def prepare(paths: Sequence[Path], options: EvaluationOptions) -> Evaluation:
    """Check everything and load the models; nothing is written.

    Raises
    ------
    InputError
        For whatever cannot be used, before any long computation.
    """
    from diffxas.potentials import check_potential
    from diffxas.prior import data_hash, find_prior
    from diffxas.weights import read_config, weights_hash

    folder = find_prior(options.prior)
    config = read_config(folder, "prior")
    samples = read_data(paths, config)
    kind = options.kind or _sampled_kind(config)
    data = split(samples, config, kind)
    densities = options.densities or tuple(usual_densities(data.densities))
    check_densities(densities, data.densities)
    elements = [element for element, _ in data.formula]
    potentials = options.potentials or (default_potential(elements),)
    for one in potentials:
        check_potential(one, set(elements))
    atoms = options.atoms or usual_atoms(data)
    composition = composition_text(data, atoms)
    generate = {density: GenerateOptions(
        density=density, atoms=atoms, composition=composition, samples=options.samples,
        seed=options.seed, guidance=False, relax=False, prior=str(options.prior), kind=options.kind)
        for density in sorted(set(densities))}
    setup = set_up(None, next(iter(generate.values())))
    quenched = _read_quenched(options.quenched, elements)
    curve = learning_curve.plan(data) if options.curve_steps else None
    cutoffs = choose_cutoffs(elements, options.cutoffs, config.get("cutoffs"),
                             [one.structure for one in data.reference])
    notes = data.notes
    if options.curve_steps and curve is None:
        notes += (f"No learning curve: it takes {learning_curve.FEWEST} training networks and one "
                  f"more that they are asked about.",)
    identity = {
        **{k: v for k, v in asdict(options).items() if k != "quenched"},
        "command": "evaluate prior", "prior_hash": weights_hash(folder),
        "data_hash": data_hash(samples), "densities": list(generate), "atoms": atoms,
        "potentials": list(potentials), "composition": composition,
        "quenched": [digest(structure) for _, structure in quenched],
        "cutoffs": {name: one.length for name, one in cutoffs.items()}}
    return Evaluation(options, config, data, tuple(potentials), generate, setup, quenched, cutoffs,
                      curve, notes, identity)


def _sampled_kind(config: Mapping[str, Any]) -> str:
    """What ``diffxas generate --no-guidance`` samples."""
    from samplers.setup import default_kind

    return default_kind(config["model"]["kinds"], guidance=False)


def _read_quenched(paths: Sequence[Path], elements: Sequence[str]) -> list[tuple[str, Structure]]:
    from diffxas.structure_files import labelled_structures

    found = labelled_structures(paths) if paths else []
    for label, structure in found:
        if set(structure.symbols) != set(elements) or not structure.pbc.all():
            raise InputError(f"--quenched must hold periodic cells of {', '.join(elements)}, "
                             f"received {label} of {', '.join(sorted(set(structure.symbols)))}: "
                             f"give cells that `diffxas quench` made of this material")
    return found


def digest(structure: Structure) -> str:
    """Short hash of atoms and cell."""
    found = hashlib.sha256()
    for array in (structure.positions, structure.cell, structure.numbers):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]
