"""Jobs: samples of one truth by one method, kept, claimed by one process at a time.

A job leaves ``samples.json`` and the structures in a folder of ``runs/experiments/closed-loop``
that is named after a hash of the weights and of the source that decides its samples; a later run
finds it there. Any number of processes can work on one list: a job is claimed by an exclusive lock
on a file (``flock``), which the system gives back when the process ends, however it ends.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from diffxas.errors import InputError, RunError
from diffxas.files import write_json, write_text
from diffxas.prior import find_prior
from diffxas.relaxation import Relaxation, relax
from diffxas.spectrum import Spectrum
from diffxas.structure import Structure
from diffxas.structure_files import read_structures, write_structures
from diffxas.weights import weights_hash
from experiments.common import ROOT, RUNS
from samplers.algorithms import AUTO, NAMES
from samplers.generation import run_in
from samplers.guides.kinds import KINDS
from samplers.prior_samples import BANK
from samplers.setup import GenerateOptions
from surrogates.loading import SHIPPED, load_surrogate
from surrogates.noised import noised_name

HOME = RUNS / "closed-loop"
WALK = ("samplers/sampling.py", "samplers/start.py", "samplers/tempered.py",
        "diffxas/denoiser.py", "diffxas/network.py", "diffxas/noise.py")
"""Source that decides an unguided sample."""
NOISED = "a-C-noised"
"""Surrogate of noised structures, of the algorithm noise-aware."""
PROBED = 8
"""Atoms of the walk that tells whether it still does so alike."""
PULL = (*WALK, "samplers/guidance.py", "samplers/calibration.py", "samplers/guides/base.py",
        "samplers/algorithms/base.py")
"""And one that is pulled."""
SPECTRUM = ("samplers/guides/spectrum.py", "samplers/target.py", "surrogates/base.py",
            "surrogates/kernel.py", "surrogates/descriptor.py", "surrogates/calibration.py",
            "surrogates/observation.py", "samplers/temperature.py")
ASKED = tuple(f"samplers/guides/{name}.py" for name in ("asked", "pairs", "curve_files"))
"""And one that is pulled by what was asked in words."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One sample.

    Attributes
    ----------
    energy : after relaxation, eV/atom; NaN if it failed
    seconds, cpu_seconds : of sampling (NaN where not known)
    calls : of the denoiser; None where there is none
    """

    sampled: Structure
    relaxed: Structure
    energy: float
    energy_sampled: float
    seconds: float
    calls: int | None


class Keep:
    """Whether samples of an earlier state of the source, or another number of them, count where
    there are no others."""

    earlier = False


@dataclass(frozen=True, eq=False)
class Job:
    """A folder of samples to make.

    Attributes
    ----------
    name : unique; the folder's, before the key; ends with the number of samples
    key : hash of what decides the samples
    make : folder -> samples
    """

    name: str
    key: str
    make: Callable[[Path], list[Outcome]]

    @property
    def own(self) -> Path:
        """Where its samples will lie."""
        return HOME / f"{self.name}-{self.key}"

    @property
    def folder(self) -> Path:
        """Where samples of it are found."""
        own = self.own
        if not Keep.earlier or (own / "samples.json").is_file():
            return own
        stem = own.name.removesuffix(f"-{self.key}").rpartition("-")[0]
        pattern = re.compile(rf"{re.escape(stem)}-(\d+)-\w{{{len(self.key)}}}")
        others = [(int(found[1]), (path / "samples.json").stat().st_mtime, path)
                  for path in own.parent.glob(f"{stem}-*")
                  if (found := pattern.fullmatch(path.name)) and (path / "samples.json").is_file()]
        return max(others)[2] if others else own

    @property
    def is_earlier(self) -> bool:
        """Whether what is found was made by an earlier state of the source."""
        return self.done and not self.folder.name.endswith(self.key)

    @property
    def done(self) -> bool:
        """Whether they do."""
        return (self.folder / "samples.json").is_file()

    def outcomes(self) -> list[Outcome]:
        """What it made."""
        content = json.loads((self.folder / "samples.json").read_text(encoding="utf-8"))
        pairs = zip(read_structures(self.folder / "sampled.extxyz"),
                    read_structures(self.folder / "relaxed.extxyz"), content["samples"],
                    strict=True)
        return [Outcome(a, b, **_numbers(row)) for a, b, row in pairs]

    def run(self) -> None:
        """Make them; ``samples.json`` is written last."""
        found = self.make(self.own / "work")
        write_structures(self.own / "sampled.extxyz", [_bare(one.sampled) for one in found])
        write_structures(self.own / "relaxed.extxyz", [_bare(one.relaxed) for one in found])
        write_json(self.own / "samples.json", {"samples": [
            {key: value for key, value in asdict_shallow(one).items()} for one in found]})


def _bare(structure: Structure) -> Structure:
    return Structure(structure.positions, structure.numbers, structure.cell, structure.pbc)


def asdict_shallow(one: Outcome) -> dict[str, Any]:
    """The numbers of a sample."""
    return {"energy": one.energy, "energy_sampled": one.energy_sampled, "seconds": one.seconds,
            "calls": one.calls}


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: (float("nan") if value is None and key != "calls" else value)
            for key, value in row.items()}


def key_of(sources: Sequence[str], models: Sequence[Path], *facts: object) -> str:
    """Short hash of source files, weights and anything else that decides a job's samples."""
    digest = hashlib.sha256(repr(facts).encode())
    for source in sources:
        digest.update(meaning(ROOT / source).encode())
    for folder in models:
        digest.update(weights_hash(folder).encode())
    return digest.hexdigest()[:10]


@lru_cache
def meaning(path: Path) -> str:
    """A source file without its comments and strings that stand alone (docstrings)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [one for one in node.body if not (  # type: ignore[attr-defined]
                isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    return ast.dump(tree)


@contextmanager
def claimed(name: str) -> Iterator[bool]:
    """Whether this process has what bears the name; another one may."""
    path = HOME / "claims" / name.replace("/", "-")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def work_through(jobs: Sequence[Job], what: str) -> list[str]:
    """Make what is missing; returned is what is not done, and why."""
    missing = []
    bar = tqdm(jobs, desc=what, unit="job")
    for job in bar:
        bar.set_postfix_str(job.name)
        with claimed(f"{job.name}-{job.key}") as mine:
            if job.done:
                continue
            if not mine:
                missing.append(f"{job.name}: another process is at it")
                continue
            try:
                job.run()
            except (InputError, RunError) as error:  # the other jobs go on
                missing.append(f"{job.name}: {error}")
                bar.write(missing[-1])
    return missing


@lru_cache
def walk_key(prior: Path, density: float) -> str:
    """Short hash of where the walk of eight atoms ends: the same as long as samples are.

    Source that was only put in order keeps what took hours.
    """
    from diffxas.denoiser import ANY
    from diffxas.prior import load_prior
    from diffxas.weights import read_config
    from samplers.geometry import resolve_box
    from samplers.prior_samples import draw_one
    from samplers.setup import system_of

    path = HOME / "probes" / key_of(WALK, [prior], density)
    if not path.is_file():
        system = system_of(resolve_box("C", density, PROBED, None))
        end = draw_one(load_prior(prior), read_config(prior), system, ANY, 0, 0)
        write_text(path, hashlib.sha256(np.round(end, 2).tobytes()).hexdigest()[:10])
    return path.read_text(encoding="utf-8")


def unguided_job(prior: str, density: float, atoms: int, samples: int) -> Job:
    """Samples of the prior alone, kind "any", relaxed."""
    folder = find_prior(prior)

    def make(work: Path) -> list[Outcome]:
        return [_unguided(folder, density, atoms, k, work) for k in range(samples)]

    return Job(f"unguided/{prior}-{density:.4f}-{atoms}-{samples}",
               key_of((), [folder], walk_key(folder, density), atoms, samples), make)


def _unguided(prior: Path, density: float, atoms: int, number: int, work: Path) -> Outcome:
    """One sample; kept under ``work`` until the job is done."""
    from diffxas.denoiser import ANY
    from diffxas.prior import load_prior
    from diffxas.weights import read_config
    from samplers.geometry import resolve_box
    from samplers.prior_samples import draw_one
    from samplers.setup import system_of

    path, relaxed_path = (work / f"{what}_{number}.extxyz" for what in ("sampled", "relaxed"))
    if not relaxed_path.is_file():
        system = system_of(resolve_box("C", density, atoms, None))
        begun = time.perf_counter()
        positions = draw_one(load_prior(prior), read_config(prior), system, ANY, 0, number)
        seconds = time.perf_counter() - begun
        drawn = system.with_positions(positions)
        result = relax(drawn)
        write_structures(path, [drawn])
        write_structures(relaxed_path, [_bare(result.structure).with_info(
            e0=result.energy_before, e1=settled_energy(result), seconds=seconds)])
    (drawn,), (end,) = read_structures(path), read_structures(relaxed_path)
    return Outcome(drawn, end, float(end.info["e1"]), float(end.info["e0"]),
                   float(end.info["seconds"]), 64)


def settled_energy(result: Relaxation) -> float:
    """After relaxation, eV/atom; NaN if it failed."""
    return float("nan") if result.failed else result.energy_after


def algorithm_of(name: str, surrogate: str | None) -> str:
    """What ``auto`` stands for with a spectrum by a surrogate, or (None) without one."""
    if name != AUTO:
        return name
    found = None if surrogate is None else noised_name(load_surrogate(surrogate))
    return "dps" if found is None else "noise-aware"


def generate_job(name: str, target: Spectrum | None, options: GenerateOptions) -> Job:
    """Samples by ``diffxas generate``."""
    options = replace(options, algorithm=algorithm_of(
        options.algorithm, None if target is None else options.surrogate))
    kinds = [f"samplers/guides/{KINDS[text.partition(':')[0]][0]}.py" for text in options.guides]
    sources = [*PULL, f"samplers/algorithms/{NAMES[options.algorithm][0]}.py", *kinds,
               *(ASKED if kinds else ()), *(SPECTRUM if target is not None else ())]
    models = [find_prior(options.prior)]
    if options.algorithm == "noise-aware":
        sources += ["samplers/guides/noised.py", "surrogates/noised.py"]
        models.append(SHIPPED / NOISED)
    if target is not None:
        models.append(SHIPPED / options.surrogate)
    chosen = {k: v for k, v in asdict(options).items() if k in (
        "density", "atoms", "samples", "seed", "steps", "algorithm", "guides", "kind", "potential",
        "guidance", "relax", "guide_temperature")}
    named = [Path(text.partition(":")[2].partition("@")[0]) for text in options.guides]
    files = [path.read_bytes() for path in named if path.is_file()]
    # A file counts by what it holds, wherever it lies.
    chosen["guides"] = [f"{kind}:{rest.rpartition('/')[2]}" for kind, _, rest in
                        (text.partition(":") for text in options.guides)]
    bank = find_prior(options.prior) / BANK  # guides are calibrated on it
    files += [bank.read_bytes()] if bank.is_file() else []
    key = key_of(sources, models, sorted(chosen.items()),
                 [hashlib.sha256(content).hexdigest() for content in files],
                 None if target is None else target.mu.tobytes())

    def make(work: Path) -> list[Outcome]:
        return generated(target, options, work)

    return Job(name, key, make)


def generated(target: Spectrum | None, options: GenerateOptions, work: Path) -> list[Outcome]:
    """Run (or resume) ``generate`` in a folder of this kind of run."""
    # A run knows itself by all options; new ones of a later version are another run.
    mark = hashlib.sha256(repr(sorted(asdict(options))).encode()).hexdigest()[:6]
    folder = work / mark
    run_in(target, folder, options, "experiments/closed-loop", progress=False)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    sampled = read_structures(folder / "structures.extxyz")
    relaxed = read_structures(folder / "relaxed.extxyz") if options.relax else sampled
    rows = summary["samples"]
    if not len(rows) == len(sampled) == len(relaxed) == options.samples:
        raise InputError(f"{folder} must hold {options.samples} samples, received {len(rows)}: "
                         f"remove it and run again")
    return [Outcome(a, b, _number(row["energy_relaxed"]), _number(row["energy_sampled"]),
                    float(row["seconds_sampling"]), row.get("calls"))
            for a, b, row in zip(sampled, relaxed, rows, strict=True)]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
