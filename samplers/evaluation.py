"""Is a prior fit for use? Its samples against the networks that it was trained on and others.

Order of work: everything is checked; ``run.json`` is written; samples are drawn at each density by
the code of ``diffxas generate`` and kept in ``samples``; samples, reference and quenched cells are
relaxed alike; the prior's losses are taken and small priors are trained for the learning curve;
tables, figures and the report are written, ``evaluation.json`` last. What is finished is kept, so
that the same command resumes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffxas.cutoffs import bond_lengths
from diffxas.networks import Profile
from diffxas.run_folder import WORK, Record, RunFolder
from diffxas.structure import Structure
from samplers import learning_curve
from samplers.evaluation_cells import (
    counted,
    draw_samples,
    quenched_cells,
    seconds_a_sample,
    settle,
)
from samplers.evaluation_data import HELD_OUT, TRAINING, Known
from samplers.evaluation_estimate import estimate
from samplers.evaluation_measures import Judge, Member, Row, table
from samplers.evaluation_setup import Evaluation, EvaluationOptions, prepare

if TYPE_CHECKING:
    from samplers.learning_curve import Losses

RESULT = "evaluation.json"
NEW = "new"


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
    sampled = draw_samples(evaluation, folder.path, progress)
    failed: list[str] = []
    ceiling = quenched_cells(evaluation, folder, failed, progress)
    cells = len(evaluation.reference) + len(ceiling) + sum(map(len, sampled.values()))
    with counted(cells * len(evaluation.potentials), "relaxing", progress) as advance:
        def member(name: str, structure: Structure, network: str = "", role: str = NEW) -> Member:
            settled = {}
            for potential in evaluation.potentials:
                settled[potential] = settle(folder, structure, potential, name, failed)
                advance()
            return Member(name, network, role, _profile(evaluation, structure), settled)

        judge = Judge([member(one.name, one.structure, one.parent, one.role)
                       for one in evaluation.reference],
                      [(one.parent, _profile(evaluation, one.structure).environments)
                       for one in evaluation.data.of(TRAINING)])
        samples = {d: [member(f"sample {k} at {d:g}", s) for k, s in enumerate(structures)]
                   for d, structures in sampled.items()}
        quenched = [member(label, structure) for label, structure in ceiling]
    whole, single = table(judge, samples, quenched)
    prior_losses = _prior_losses(evaluation, folder, progress)
    curve = _curve(evaluation, folder, progress)
    return Findings(judge, samples, quenched, {d: found[0] for d, found in sampled.items()}, whole,
                    single, prior_losses, curve, failed, seconds_a_sample(evaluation, folder.path))


def _profile(evaluation: Evaluation, structure: Structure) -> Profile:
    return Profile.of(structure, bond_lengths(evaluation.cutoffs))


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

    with counted(2 * len(unseen), "losses of the prior", progress) as advance:
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
                folder.path / WORK / f"curve-{networks}", f"prior on {networks} networks")
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


