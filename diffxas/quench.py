"""A corpus of amorphous networks: many cells of :mod:`diffxas.melt_quench`, kept as they finish.

Cells are independent (:mod:`diffxas.quench_plan`). A finished one is ``cells/NNNN.extxyz``: the
relaxed network, then the 300 K snapshot if there is one. A cell that fails is listed with its
reason, the others go on; the same command takes up what is missing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.analysis import coordination_fractions, coordination_pairs, minimum_distance
from diffxas.cutoffs import Cutoffs, bond_lengths, choose_cutoffs
from diffxas.errors import RunError
from diffxas.melt_quench import quench
from diffxas.neighbourhood import bonds
from diffxas.quench_plan import Job, Plan, QuenchOptions, plan_quench, versions
from diffxas.run_folder import RunFolder
from diffxas.structure import Structure
from diffxas.structure_files import read_structures, write_structures

NETWORKS, SNAPSHOTS = "networks.extxyz", "networks_300K.extxyz"
REWRITE_SECONDS = 20.0
"""The collected files are written anew at most so often while cells finish, and at the end."""
SHOW_SECONDS = 1.0
MOST_REFERENCES = 24
"""Networks whose g(r) says where bonds end."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, eq=False)
class Corpus:
    """What a run has made.

    Attributes
    ----------
    networks : relaxed, in the order of their numbers
    snapshots : at 300 K, or none
    failures : reason of each cell that failed, by name
    rows : one for each network, see :func:`cell_row`
    cutoffs : longest bonds, by which atoms were counted
    """

    plan: Plan
    networks: list[Structure]
    snapshots: list[Structure]
    failures: dict[str, str]
    rows: list[dict[str, Any]]
    cutoffs: Cutoffs

    @property
    def per_core_hour(self) -> float:
        """Networks that one core makes in an hour of its time; NaN without networks."""
        spent = sum(float(row["cpu_seconds"]) for row in self.rows)
        return 3600 * len(self.rows) / spent if spent else float("nan")


def quench_to(out: str | Path, options: QuenchOptions, command: str = "", progress: bool = True,
              ) -> Corpus:
    """Make a corpus in a folder, or what an earlier run of the same options left undone.

    Writes ``cells/``, ``networks.extxyz``, ``networks_300K.extxyz`` (if asked for),
    ``quench.csv``, ``report.html``, ``figures/`` and, last, ``summary.json``.

    Raises
    ------
    InputError
        If an option is out of range, the potential unusable, or the folder of another run.
    RunError
        If LAMMPS cannot be loaded, or a worker process died.
    """
    from diffxas.quench_report import write_outputs

    out = Path(out)
    plan = plan_quench(out, options)
    folder = RunFolder(out, plan.identity)
    folder.begin(command=command, versions=versions())
    failures = _make(plan, out, options.workers, progress)
    corpus = _collect(plan, out, failures)
    write_outputs(corpus, out, command)
    return corpus


def _make(plan: Plan, out: Path, workers: int, progress: bool) -> dict[str, str]:
    """Make the cells that are not there; the reasons of those that failed, by name."""
    from tqdm import tqdm

    missing = [job for job in plan.jobs if not job.path.is_file()]
    failures: dict[str, str] = {}
    written = time.monotonic()
    with tqdm(total=len(plan.jobs), initial=len(plan.jobs) - len(missing), desc="quenching",
              unit="cell", disable=not progress) as bar:
        for job, reason in _outcomes(missing, workers, bar):
            bar.update()
            if reason:
                failures[job.name] = reason
                if progress:
                    bar.write(f"{job.name} failed: {reason}", file=sys.stderr)
            if time.monotonic() - written > REWRITE_SECONDS:
                _write_networks(out, *_finished(plan))
                written = time.monotonic()
    return failures


def _outcomes(jobs: Sequence[Job], workers: int, bar: Any) -> Iterator[tuple[Job, str]]:
    """Jobs as they end, with the reason of those that failed."""
    if min(workers, len(jobs)) <= 1:
        for job in jobs:
            yield job, make_cell(job, _told(job, bar))
        return
    with _single_threaded(), ProcessPoolExecutor(
            min(workers, len(jobs)), multiprocessing.get_context("spawn"), _ignore_interrupt,
    ) as pool:
        waiting = {pool.submit(make_cell, job): job for job in jobs}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BrokenProcessPool as error:
            raise RunError("a worker process was killed, perhaps for want of memory: the finished "
                           "cells stay, run the same command with fewer --workers") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def make_cell(job: Job, progress: Callable[[str, float], None] | None = None) -> str:
    """Make one cell and keep it; the reason if it failed."""
    try:
        made = quench(job.counts, job.density, job.potential, job.protocol, job.seed, progress)
    except RunError as error:
        return " ".join(str(error).split())
    label = job.potential if isinstance(job.potential, str) else type(job.potential).__name__
    info = {"name": job.name, "density": job.density, "potential": label, **job.protocol.info,
            "cell_seed": job.seed, **{f"{k}_version": v for k, v in versions().items()}}
    frames = [made.network.with_info(
        **info, pressure_GPa=made.pressure_gpa, relaxation=made.message or "converged",
        seconds=round(made.seconds, 3), cpu_seconds=round(made.cpu_seconds, 3))]
    if made.snapshot is not None:
        frames.append(made.snapshot.with_info(**info, temperature_K=300.0))
    write_structures(job.path, frames)
    return ""


def _told(job: Job, bar: Any) -> Callable[[str, float], None]:
    """Shows how far the cell is that this process is at."""
    total = sum(stage.ps for stage in job.protocol.stages())
    done, shown = 0.0, 0.0

    def tell(stage: str, ps: float) -> None:
        nonlocal done, shown
        done += ps
        if time.monotonic() - shown > SHOW_SECONDS:
            bar.set_postfix_str(f"{job.name}: {stage}, {done:.1f} of {total:.1f} ps")
            shown = time.monotonic()

    return tell


def _ignore_interrupt() -> None:
    """The parent ends its workers; they need not speak for themselves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Workers started within have one thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _finished(plan: Plan) -> tuple[list[Structure], list[Structure]]:
    """Networks and snapshots that are there, in the order of their numbers."""
    found = [read_structures(job.path) for job in plan.jobs if job.path.is_file()]
    return [frames[0] for frames in found], [frame for frames in found for frame in frames[1:]]


def _write_networks(out: Path, networks: Sequence[Structure],
                    snapshots: Sequence[Structure]) -> None:
    for name, structures in ((NETWORKS, networks), (SNAPSHOTS, snapshots)):
        if structures:
            write_structures(out / name, structures)


def _collect(plan: Plan, out: Path, failures: dict[str, str]) -> Corpus:
    networks, snapshots = _finished(plan)
    _write_networks(out, networks, snapshots)
    cutoffs = choose_cutoffs(plan.counts, reference=evenly(networks, MOST_REFERENCES))
    rows = [cell_row(one, cutoffs) for one in networks]
    return Corpus(plan, networks, snapshots, failures, rows, cutoffs)


def evenly(structures: Sequence[Structure], most: int) -> list[Structure]:
    """At most so many structures, spread evenly over all."""
    n = len(structures)
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    return [structures[k] for k in chosen]


def cell_row(network: Structure, cutoffs: Cutoffs) -> dict[str, Any]:
    """Numbers of one network for tables: energies in eV/atom, shares of atoms by their bonds.

    Shares are keyed ``share 4``, or for several elements ``share Si-O 4``; 6 stands for six or
    more.
    """
    pairs = bonds(network, bond_lengths(cutoffs))
    found = {"": coordination_fractions(network, pairs)} if len(set(network.symbols)) == 1 else {
        f"{pair} ": share for pair, share in coordination_pairs(network, pairs).items()}
    shares = {f"share {pair}{n}": sum(x for key, x in share.items() if min(int(key), 6) == n)
              for pair, share in found.items() for n in range(7)}
    info = network.info
    return {"name": info["name"], "density": network.density, "atoms": len(network),
            "energy_per_atom": float(info["energy"]) / len(network),
            "pressure_GPa": info["pressure_GPa"], "shortest": minimum_distance(network),
            "seconds": info["seconds"], "cpu_seconds": info["cpu_seconds"],
            "relaxation": info["relaxation"], "cell_seed": info["cell_seed"], **shares}
