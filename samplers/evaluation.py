"""Is a prior fit for use? Its samples against the networks that it was trained on and others.

Order of work: everything is checked; ``run.json`` is written; samples are drawn at each density by
the code of ``diffxas generate`` and kept in ``samples``; samples, reference and quenched cells are
relaxed alike; the prior's losses are taken and small priors are trained for the learning curve;
tables, figures and the report are written, ``evaluation.json`` last. What is finished is kept, so
that the same command resumes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.default_potential import default_potential
from diffxas.errors import InputError
from diffxas.networks import LOCAL, Profile
from diffxas.run_folder import Record, RunFolder
from diffxas.structure import Structure
from samplers import learning_curve
from samplers.evaluation_data import (
    HELD_OUT,
    TRAINING,
    EvaluationData,
    Known,
    check_densities,
    composition_text,
    read_data,
    split,
    usual_atoms,
    usual_densities,
)
from samplers.evaluation_measures import Judge, Member, Row, Settled, table
from samplers.generation import GenerateOptions, run_in
from samplers.setup import Setup, set_up

if TYPE_CHECKING:
    from samplers.learning_curve import CurvePlan, Losses

RESULT = "evaluation.json"
CURVE_STEPS = 2000
NEW = "new"


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
    curve : None where none is asked for or DATA has too few networks
    """

    options: EvaluationOptions
    config: Mapping[str, Any]
    data: EvaluationData
    potentials: tuple[str, ...]
    generate: Mapping[float, GenerateOptions]
    setup: Setup
    quenched: Sequence[tuple[str, Structure]]
    curve: CurvePlan | None
    notes: tuple[str, ...]
    identity: Mapping[str, Any]

    @property
    def reference(self) -> list[Known]:
        """Reference structures that some local fit asks about, or the nearest ones."""
        densities = np.array(list(self.generate))
        return [one for one in self.data.reference
                if np.abs(densities - one.structure.density).min() <= 2 * LOCAL]


@dataclass(frozen=True, eq=False)
class Findings:
    """All that an evaluation measured; what the report is made of.

    Attributes
    ----------
    samples : by density
    structures : a sample of each density to look at
    whole, single : rows of the table over all densities, and of one density each
    prior_losses : of the prior itself; None without unseen networks
    curve : of the small priors, by rising number of networks; empty without a curve
    failed : relaxations that broke down, in words
    seconds : wall time of sampling, a sample
    """

    judge: Judge
    samples: Mapping[float, Sequence[Member]]
    quenched: Sequence[Member]
    structures: Mapping[float, Structure]
    whole: Sequence[Row]
    single: Sequence[Row]
    prior_losses: Losses | None
    curve: Sequence[Losses]
    failed: Sequence[str]
    seconds: float


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
    notes = data.notes
    if options.curve_steps and curve is None:
        notes += (f"No learning curve: it takes {learning_curve.FEWEST} training networks and one "
                  f"more that they are asked about.",)
    identity = {
        **{k: v for k, v in asdict(options).items() if k != "quenched"},
        "command": "evaluate prior", "prior_hash": weights_hash(folder),
        "data_hash": data_hash(samples), "densities": list(generate), "atoms": atoms,
        "potentials": list(potentials), "composition": composition,
        "quenched": [_digest(structure) for _, structure in quenched]}
    return Evaluation(options, config, data, tuple(potentials), generate, setup, quenched, curve,
                      notes, identity)


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


def _digest(structure: Structure) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(structure.positions).tobytes())
    digest.update(np.ascontiguousarray(structure.cell).tobytes())
    digest.update(np.ascontiguousarray(structure.numbers).tobytes())
    return digest.hexdigest()[:16]


def evaluate_prior(paths: Sequence[Path], out: Path, options: EvaluationOptions, *,
                   command: str = "", progress: bool = True) -> dict[str, Any]:
    """Evaluate a prior against structures, in the folder ``out``; the content of its JSON file.

    Raises
    ------
    InputError
        Before anything is computed or written.
    """
    from samplers.evaluation_report import content_of, text_of, write_evaluation

    evaluation = prepare(paths, options)
    folder = RunFolder(out, evaluation.identity)
    if (out / RESULT).is_file():
        content: dict[str, Any] = json.loads((out / RESULT).read_text(encoding="utf-8"))
        if progress:
            print(f"{text_of(content)}\n{out} holds this evaluation, finished: nothing to do. "
                  f"See {out / 'report.html'}")
        return content
    folder.begin(command=command)
    for note in evaluation.notes:
        print(f"Note: {note}")
    if progress:
        print(estimate(evaluation, folder))
    findings = measure(evaluation, folder, progress)
    content = content_of(evaluation, findings, command)
    write_evaluation(evaluation, findings, content, out)
    folder.finish()
    if progress:
        print(f"{text_of(content)}\nReport: {out / 'report.html'}")
    return content


def measure(evaluation: Evaluation, folder: RunFolder, progress: bool) -> Findings:
    """Sample, relax, compare; what was finished before is not done again."""
    sampled = _sample(evaluation, folder.path, progress)
    failed: list[str] = []
    cells = len(evaluation.reference) + len(evaluation.quenched) + sum(map(len, sampled.values()))
    with _bar(cells * len(evaluation.potentials), "relaxing", progress) as advance:
        def member(name: str, structure: Structure, network: str = "", role: str = NEW) -> Member:
            settled = {one: _settle(folder, structure, one, name, failed, advance)
                       for one in evaluation.potentials}
            return Member(name, network, role, _profile(evaluation, structure), settled)

        judge = Judge([member(one.name, one.structure, one.parent, one.role)
                       for one in evaluation.reference],
                      [(one.parent, _profile(evaluation, one.structure).environments)
                       for one in evaluation.data.of(TRAINING)])
        samples = {d: [member(f"sample {k} at {d:g}", s) for k, s in enumerate(structures)]
                   for d, structures in sampled.items()}
        quenched = [member(label, structure) for label, structure in evaluation.quenched]
    whole, single = table(judge, samples, quenched)
    prior_losses = _prior_losses(evaluation, folder, progress)
    curve = _curve(evaluation, folder, progress)
    return Findings(judge, samples, quenched, {d: found[0] for d, found in sampled.items()}, whole,
                    single, prior_losses, curve, failed, _seconds(evaluation, folder.path))


@contextmanager
def _bar(total: int, what: str, progress: bool) -> Iterator[Callable[[], None]]:
    from tqdm import tqdm

    with tqdm(total=total, desc=what, disable=not progress) as bar:
        def advance() -> None:
            bar.update()

        yield advance


def _folder(out: Path, density: float) -> Path:
    return out / "samples" / f"{density:.3f}"


def _sample(evaluation: Evaluation, out: Path, progress: bool) -> dict[float, list[Structure]]:
    """Samples by density, each density a run of ``diffxas generate``."""
    return {density: run_in(None, _folder(out, density), options, "diffxas evaluate prior",
                            progress)[0]
            for density, options in evaluation.generate.items()}


def _seconds(evaluation: Evaluation, out: Path) -> float:
    """Mean wall time of a sample."""
    times = [row["seconds_sampling"] for density in evaluation.generate for row in json.loads(
        (_folder(out, density) / "summary.json").read_text(encoding="utf-8"))["samples"]]
    return float(np.mean(times))


def _profile(evaluation: Evaluation, structure: Structure) -> Profile:
    return Profile.of(structure, cutoffs_of(evaluation.config))


def cutoffs_of(config: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Longest bonds that a prior's config records, as ``bond_cutoffs`` takes them."""
    found = {}
    for pair, length in config.get("cutoffs", {}).items():
        one, _, other = pair.partition("-")
        found[one, other] = float(length)
    return found


def _settle(folder: RunFolder, structure: Structure, potential: str, name: str,
            failed: list[str], advance: Callable[[], None]) -> Settled:
    """Energy and displacement of a relaxation at fixed cell, from the folder if it was done."""
    from diffxas.relaxation import RelaxationOptions, relax

    key = _relaxed_key(structure, potential)
    record = folder.load(key)
    if record is None:
        result = relax(structure, RelaxationOptions(potential))
        record = Record(values={
            "energy": float("nan") if result.failed else result.energy_after,
            "moved": float("nan") if result.failed else result.rms_displacement,
            "message": result.message if result.failed else "", "seconds": result.seconds})
        folder.save(key, record)
    if record.values["message"]:
        failed.append(f"{name} with {potential}: {record.values['message']}")
    advance()
    return Settled(record.values["energy"], record.values["moved"])


def _relaxed_key(structure: Structure, potential: str) -> str:
    return f"relaxed-{hashlib.sha256(potential.encode()).hexdigest()[:8]}-{_digest(structure)}"


def _prior_losses(evaluation: Evaluation, folder: RunFolder, progress: bool) -> Losses | None:
    """Losses of the prior on networks that it never saw and on training ones of like density."""
    data = evaluation.data
    unseen = learning_curve.thinned(data.of(HELD_OUT, reference=True) or data.of(HELD_OUT))
    seen = data.of(TRAINING)
    if not unseen or not seen:
        return None

    def compute(advance: Callable[[], None]) -> Losses:
        return learning_curve.pair_losses(
            evaluation.setup.prior, len({one.parent for one in seen}), unseen, seen,
            evaluation.options.seed, advance)

    with _bar(2 * len(unseen), "losses of the prior", progress) as advance:
        return _kept(folder, "losses", lambda: compute(advance))


def _curve(evaluation: Evaluation, folder: RunFolder, progress: bool) -> list[Losses]:
    """Losses of small priors on rising numbers of networks."""
    plan, options = evaluation.curve, evaluation.options
    if plan is None:
        return []
    config = learning_curve.small_model(evaluation.config["elements"],
                                        _degree(plan.part(len(plan.seen))))
    found = []
    for networks in plan.sizes:
        def compute(networks: int = networks) -> Losses:
            chosen = plan.part(networks)
            trained = learning_curve.train_part(
                chosen, config, options.curve_steps, options.seed,
                folder.path / "curve" / str(networks), f"prior on {networks} networks")
            return learning_curve.pair_losses(trained, networks, plan.unseen, chosen, options.seed)

        found.append(_kept(folder, f"curve-{networks}", compute))
    return found


def _degree(known: Sequence[Known]) -> float:
    from diffxas.prior import Sample, typical_degree

    return typical_degree([Sample(one.structure, one.name, one.kind) for one in known[:20]],
                          learning_curve.MODEL["cutoff"])


def _kept(folder: RunFolder, name: str, compute: Callable[[], Losses]) -> Losses:
    """Losses from the folder, or computed and kept there."""
    from samplers.learning_curve import Losses

    record = folder.load(name)
    if record is None:
        found = compute()
        folder.save(name, Record({"seen": found.seen, "unseen": found.unseen},
                                 {"networks": found.networks}))
        return found
    return Losses(record.values["networks"], record.arrays["seen"], record.arrays["unseen"])


def estimate(evaluation: Evaluation, folder: RunFolder) -> str:
    """About how long an evaluation takes from its beginning, by one step of each part."""
    import torch

    from diffxas.denoiser import PriorDenoiser, PriorNetwork
    from diffxas.prior import DenoisingLoss, PriorTraining, Sample

    options, plan, setup = evaluation.options, evaluation.curve, evaluation.setup
    reference = evaluation.reference
    middle = reference[len(reference) // 2]
    denoiser = PriorDenoiser(setup.prior, middle.structure, setup.kind)
    x = torch.tensor(middle.structure.positions)
    with torch.no_grad():
        call = _second_time(lambda: denoiser(x, 0.2))
    call *= setup.box.n_atoms / len(middle.structure)
    samples = len(evaluation.generate) * options.samples
    unseen = len(learning_curve.thinned(evaluation.data.of(HELD_OUT)))
    parts = {f"{samples} samples": samples * setup.schedule.steps * call,
             "the prior's losses": 2 * unseen * len(learning_curve.SIGMAS) * call}
    cells = samples + len(reference) + len(evaluation.quenched)
    for potential in evaluation.potentials:
        _settle(folder, middle.structure, potential, middle.name, [], lambda: None)
        record = folder.load(_relaxed_key(middle.structure, potential))
        parts[f"{cells} relaxations with {potential}"] = cells * float(
            record.values["seconds"] if record else 0)
    if plan is not None:
        config = learning_curve.small_model(evaluation.config["elements"], 20.0)
        network = PriorNetwork(config)
        loss = DenoisingLoss([Sample(middle.structure, middle.name, "any")], network,
                             PriorTraining(batch=1))
        step = _second_time(lambda: loss(network, 0).backward())  # type: ignore[no-untyped-call]
        parts[f"a learning curve of {len(plan.sizes)} x {options.curve_steps} steps"] = (
            len(plan.sizes) * options.curve_steps * step)
    return (f"About {_duration(sum(parts.values()))}: " + ", ".join(
        f"{what} {_duration(seconds)}" for what, seconds in parts.items() if seconds > 0))


def _second_time(work: Callable[[], object]) -> float:
    """Seconds that something takes once it is warm."""
    work()
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
