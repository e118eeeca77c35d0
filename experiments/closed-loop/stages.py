"""The jobs of every stage of the benchmark."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jobs import (
    HOME,
    NOISED,
    SPECTRUM,
    Job,
    Outcome,
    algorithm_of,
    generate_job,
    key_of,
    settled_energy,
    unguided_job,
)
from measures import Case
from reverse import reverse_monte_carlo
from truths import Truth, guide, model, model_folder, target, truth_named, truths

from diffxas.analysis import rdf
from diffxas.files import write_text
from diffxas.networks import R_BIN, R_MAX
from diffxas.quench import quench_to
from diffxas.quench_plan import QuenchOptions
from diffxas.relaxation import relax
from diffxas.structure import Structure
from diffxas.structure_files import read_structures, write_structures
from experiments.common import refuse_known
from samplers.algorithms import AUTO, NAMES, find_algorithm
from samplers.setup import GenerateOptions
from surrogates.loading import SHIPPED

SAMPLES = int(os.environ.get("CLOSED_LOOP_SAMPLES", "8"))
"""Guided samples of a truth; fewer on a busy machine."""
UNGUIDED_SAMPLES = max(2, SAMPLES // 2)
PAIR_SAMPLES, WALKS, MELTS = min(4, SAMPLES), 2, 4
FEW = 2
"""Samples by algorithms that take several walks each."""
ASKED = {"low_2.40": 0.10, "high_2.40": 0.37, "low_3.10": 0.38, "high_3.10": 0.89}
"""Share of sp3 asked without a spectrum, at the density of a pair's member."""
ASKED_SAMPLES = min(10, SAMPLES + 2)
CURVES_OF = ("nep_112", "nep_101", "nep_111", "nep_142", "nep_147")
"""Networks whose g(r) is asked."""
CURVE_SAMPLES = 4
SIZED, SIZES = "nep_111", {216: SAMPLES, 1728: 2, 10_000: 1}
"""A truth, and samples of it by number of atoms."""
TIMED = {216: 2, 1728: 1}
"""Sizes at which the cost is taken, and samples."""
MELT = {"snapshot_ps": 0.5}


def unguided(truth: Truth) -> Job:
    """The prior alone at a truth's density."""
    return unguided_job(truth.prior, truth.density, 216, UNGUIDED_SAMPLES)


def _options(truth: Truth, samples: int, **more: object) -> GenerateOptions:
    return GenerateOptions(**{
        "density": truth.density, "samples": samples, "seed": truth.number, "prior": truth.prior,
        "surrogate": truth.surrogate, **more})  # type: ignore[arg-type]


def guided(truth: Truth, algorithm: str = AUTO, samples: int = SAMPLES, atoms: int = 216) -> Job:
    """Samples guided to a truth's spectrum."""
    if algorithm_of(algorithm, truth.surrogate) == "noise-aware":
        refuse_known(truth.structure, SHIPPED / NOISED)
    name = f"{algorithm}/{truth.name}-{atoms}-{samples}"
    return generate_job(name, target(truth), _options(truth, samples, algorithm=algorithm,
                                                      atoms=atoms))


def coordination(truth: Truth) -> Job:
    """Samples of which a share of sp3 is asked, no spectrum."""
    return generate_job(f"coordination/{truth.name}-{ASKED_SAMPLES}", None, _options(
        truth, ASKED_SAMPLES, guides=(f"coordination:4={ASKED[truth.name]:g}",)))


def curve_file(truth: Truth) -> Path:
    """g(r) of a truth as a file: r (angstrom), g."""
    path = HOME / "curves" / f"{truth.name}.csv"
    r, g = rdf(truth.structure, R_MAX, R_BIN)
    lines = "".join(f"{a:.4f},{b:.6g}\n" for a, b in zip(r, g, strict=True))
    if not path.is_file():
        write_text(path, "r,g\n" + lines)
    return path


def pdf(truth: Truth) -> Job:
    """Samples of which a g(r) is asked, no spectrum."""
    return generate_job(f"pdf/{truth.name}-{CURVE_SAMPLES}", None, _options(
        truth, CURVE_SAMPLES, guides=(f"pdf:{curve_file(truth)}",)))


def melts(density: float) -> Job:
    """REBO's melt-quenched networks of a density, at 300 K, with ``diffxas quench``'s protocol."""
    def make(work: Path) -> list[Outcome]:
        corpus = quench_to(work, QuenchOptions((f"{density:g}",), 216, "C", "rebo", MELTS, 0, 1,
                                               MELT), progress=False)
        return [_settled(snapshot, float(row["seconds"]))
                for snapshot, row in zip(corpus.snapshots, corpus.rows, strict=True)]

    return Job(f"melt-quench/{density:.4f}-{MELTS}",
               key_of(("diffxas/melt_quench.py", "diffxas/langevin.py"), [], density, MELTS,
                      tuple(MELT.items())), make)


def _settled(structure: Structure, seconds: float) -> Outcome:
    """A structure with its relaxation."""
    result = relax(structure)
    return Outcome(structure, result.structure, settled_energy(result), result.energy_before,
                   seconds, None)


def reverse(truth: Truth) -> Job | None:
    """Hybrid reverse Monte Carlo of the wall time of a guided sample, from a melt-quenched network.

    None until the guided samples, which give the time, and the networks are there.
    """
    timed, start = guided(truth), melts(truth.density)
    if not (timed.done and start.done):
        return None
    seconds = max(1, round(float(np.median([one.seconds for one in timed.outcomes()]))))

    def make(work: Path) -> list[Outcome]:
        found = []
        starts = [one.sampled for one in start.outcomes()]
        for k in range(WALKS):
            path = work / f"walk_{k}.extxyz"
            if not path.is_file():
                walk = reverse_monte_carlo(starts[k], _log_likelihood(truth, starts[k]), seconds, k)
                write_structures(path, [walk.structure.with_info(
                    seconds=walk.seconds, moves=walk.moves, accepted=walk.accepted,
                    blocks=walk.blocks, blocks_accepted=walk.blocks_accepted,
                    log_likelihood=walk.log_likelihood)])
            (end,) = read_structures(path)
            found.append(_settled(end, float(end.info["seconds"])))
        return found

    return Job(f"reverse-monte-carlo/{truth.name}-{WALKS}", key_of(
        (*SPECTRUM, "experiments/closed-loop/reverse.py"), [model_folder(truth.surrogate)],
        seconds, WALKS, target(truth).mu.tobytes()), make)


def _log_likelihood(truth: Truth, system: Structure) -> Callable[[np.ndarray], float]:
    """Positions -> log-likelihood of the truth's target by what guides."""
    import torch

    from samplers.guides.spectrum import SpectrumGuide
    from samplers.target import Target

    one = SpectrumGuide(guide(truth.surrogate), Target.of(target(truth), model(truth.surrogate)),
                        system)

    def value(x: np.ndarray) -> float:
        with torch.no_grad():
            return float(one(torch.tensor(x), 0.0))

    return value


def of_kind(*kinds: str) -> list[Truth]:
    """Truths of these kinds."""
    return [one for one in truths() if one.kind in kinds]


def unguided_stage() -> list[Case]:
    """The prior alone."""
    return [Case(one, "unguided", unguided(one)) for one in truths()]


def guided_stage() -> list[Case]:
    """The default algorithm on every truth; pairs first, then the dense ones, which take longest.
    """
    return [Case(one, AUTO, guided(one))
            for one in sorted(truths(), key=lambda t: (t.kind != "pair", -t.density))]


def melts_stage() -> list[Case]:
    """Melt-quench at the pairs' densities; reverse Monte Carlo begins there."""
    return [Case(one, "melt-quench", melts(one.density)) for one in of_kind("pair")]


def pairs_stage() -> list[Case]:
    """Reverse Monte Carlo, then the other algorithms, the costly ones last."""
    pairs = of_kind("pair")
    walks = [(one, reverse(one)) for one in pairs]
    found = [Case(one, "reverse Monte Carlo", job) for one, job in walks if job is not None]
    others = set(NAMES) - {algorithm_of(AUTO, pairs[0].surrogate)}
    names = sorted(others, key=lambda name: find_algorithm(name).walks)
    return found + [Case(one, name, guided(one, name, PAIR_SAMPLES if find_algorithm(name).walks
                                           == 1 else FEW)) for name in names for one in pairs]


def coordination_stage() -> list[Case]:
    """sp3 without a spectrum."""
    return [Case(truth_named(name), "coordination", coordination(truth_named(name)))
            for name in ASKED]


def pdf_stage() -> list[Case]:
    """g(r) without a spectrum."""
    return [Case(truth_named(name), "pdf", pdf(truth_named(name))) for name in CURVES_OF]


def sizes_stage() -> list[Case]:
    """One target in cells of three sizes."""
    truth = truth_named(SIZED)
    return [Case(truth, f"{atoms} atoms", guided(truth, AUTO, samples, atoms))
            for atoms, samples in SIZES.items()]


def cost_stage() -> list[Case]:
    """Unguided and guided samples in turn, unrelaxed: what guidance costs on one machine."""
    truth = truth_named(SIZED)
    found = []
    for atoms, samples in TIMED.items():
        for guidance in (False, True):
            name = f"cost/{'guided' if guidance else 'unguided'}-{atoms}-{samples}"
            options = _options(truth, samples, guidance=guidance, relax=False, atoms=atoms,
                               kind="any")
            found.append(Case(truth, name.rpartition("-")[0], generate_job(
                name, target(truth) if guidance else None, options)))
    return found


STAGES = {"unguided": unguided_stage, "guided": guided_stage, "melts": melts_stage,
          "pairs": pairs_stage, "coordination": coordination_stage, "pdf": pdf_stage,
          "sizes": sizes_stage, "cost": cost_stage}
"""Name -> cases."""
