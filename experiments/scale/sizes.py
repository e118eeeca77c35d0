"""Time and memory of whole commands against the number of atoms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.common import DATA
from experiments.scale.command import run_command
from experiments.scale.kept import SMALL, Row, measure, work_folder

ONE, EIGHT, TEN_THOUSAND, HUNDRED_THOUSAND, MILLION = (
    (64, 216, 512, 4400, 8800) if SMALL else (216, 1728, 10_000, 100_000, 1_000_000))
"""Numbers of atoms, for short."""
DENSITY = 2.0
DEFAULT, LARGE, HUGE, GPU = "default", "--large", "--huge", "--gpu"
FILM = DATA / "experimental" / "dlc_c_k_nexafs.csv"
FEW = 32
"""Denoiser calls of the largest cell."""
SHORT: tuple[object, ...] = ("--steps", 4) if SMALL else ()
BRIEF: tuple[object, ...] = ("--rate", 20_000, "--melt-ps", 0.05) if SMALL else ()


@dataclass(frozen=True)
class Job:
    """A command to measure.

    Attributes
    ----------
    kind : ``sampling``, ``end-to-end``, ``guided`` or ``melt-quench``
    workers : of Dask; None for the command's own process alone
    level : asked for by this flag
    steps : denoiser calls; None for the command's own number
    """

    kind: str
    atoms: int
    workers: int | None = None
    level: str = DEFAULT
    steps: int | None = None

    @property
    def name(self) -> str:
        """Of its row."""
        workers = "" if self.workers is None else f"-{self.workers}-workers"
        gpu = "-gpu" if self.level == GPU else ""
        steps = "" if self.steps is None else f"-{self.steps}-steps"
        return f"sizes-{self.kind}-{self.atoms}{workers}{steps}{gpu}"

    @property
    def words(self) -> list[object]:
        """The command."""
        size = ["--density", DENSITY, "--atoms", self.atoms]
        if self.kind == "melt-quench":
            return ["quench", *size, "--potential", "rebo", "--cells", 1, *BRIEF]
        more: list[object] = ["--samples", 1, *SHORT]
        if self.steps is not None and not SMALL:
            more += ["--steps", self.steps]
        if self.workers is not None:
            more += ["--workers", self.workers]
        if self.level == GPU:
            more += ["--device", "cuda"]
        if self.kind == "guided":
            return ["generate", FILM, *size, *more, "--no-relax"]
        if self.kind == "end-to-end":
            return ["generate", "--no-guidance", *size, *more, "--relax-ranks", 2]
        return ["generate", "--no-guidance", "--no-relax", *size, *more]


HUGE_JOB = Job("sampling", MILLION, 2, HUGE, FEW)


def jobs(levels: frozenset[str]) -> Iterator[Job]:
    """What is measured at these levels, short ones first."""
    found = [Job("sampling", ONE), Job("sampling", EIGHT), Job("sampling", TEN_THOUSAND),
             Job("sampling", TEN_THOUSAND, 1), Job("sampling", TEN_THOUSAND, 2),
             Job("melt-quench", ONE), Job("end-to-end", TEN_THOUSAND), Job("guided", TEN_THOUSAND),
             Job("melt-quench", EIGHT)]
    found += [Job("sampling", HUNDRED_THOUSAND, level=LARGE),
              *(Job("sampling", HUNDRED_THOUSAND, n, LARGE) for n in (1, 2)),
              Job("end-to-end", HUNDRED_THOUSAND, 2, LARGE),
              Job("melt-quench", TEN_THOUSAND, level=LARGE), HUGE_JOB,
              Job("sampling", MILLION, level=GPU)]
    return (job for job in found if job.level in levels)


def sizes_stage(levels: frozenset[str]) -> None:
    """All rows that these levels ask for."""
    for job in jobs(levels):
        measure(job.name, lambda: measured(job))  # noqa: B023 (called at once)


def measured(job: Job) -> Row:
    """Run a command; what it cost and what it left."""
    out = work_folder(job.name)
    cost = run_command(job.words, out)
    row: dict[str, Any] = {
        "kind": job.kind, "atoms": job.atoms, "workers": job.workers, **asdict(cost),
        "command": " ".join(["diffxas", *map(str, job.words)]),
        "disk_mib": sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 2**20,
        "report_mib": (out / "report.html").stat().st_size / 2**20}
    if job.kind == "melt-quench":
        return row
    (sample,) = json.loads((out / "summary.json").read_text(encoding="utf-8"))["samples"]
    seconds = {key: value for key, value in sample.items() if key.startswith("seconds")}
    return row | seconds | {"calls": sample["denoiser_calls"],
                            "sha256": digest(out / "structures.extxyz")}


def digest(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def structure_file(atoms: int) -> Path | None:
    """The structure of that many atoms, as sampled, that a stage before left, if it did."""
    for job in (*(Job("sampling", atoms, workers) for workers in (None, 2, 1)),
                Job("end-to-end", atoms, 2)):
        path = work_folder(job.name) / "structures.extxyz"
        if path.is_file():
            return path
    return None
