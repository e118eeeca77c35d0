"""The cells of an evaluation: samples, quenched cells, and what relaxing each of them gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffxas.errors import RunError
from diffxas.run_folder import Record, RunFolder
from diffxas.structure import Structure
from diffxas.structure_files import read_structures, write_structures
from samplers.evaluation_measures import Settled
from samplers.evaluation_setup import Evaluation, digest
from samplers.generation import run_in

SNAPSHOT_PS = 0.5
"""Time at 300 K before a quenched cell is looked at: samples and references are thermal too."""
QUENCHED_FILE = "quenched.extxyz"


@contextmanager
def counted(total: int, what: str, progress: bool) -> Iterator[Callable[[], None]]:
    """A progress bar; yields what advances it by one."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, disable=not progress) as bar:
        def advance() -> None:
            bar.update()

        yield advance


def _folder(out: Path, density: float) -> Path:
    return out / "samples" / f"{density:.3f}"


def draw_samples(evaluation: Evaluation, out: Path, progress: bool) -> dict[float, list[Structure]]:
    """Samples by density, each density a run of ``diffxas generate``, as its files hold them."""
    found = {}
    for density, options in evaluation.generate.items():
        folder = _folder(out, density)
        run_in(None, folder, options, "diffxas evaluate prior", progress)
        # In memory they have more digits, and would not be known again when a run resumes.
        found[density] = read_structures(folder / "structures.extxyz")
    return found


def seconds_a_sample(evaluation: Evaluation, out: Path) -> float:
    """Mean wall time of a sample."""
    times = [row["seconds_sampling"] for density in evaluation.generate for row in json.loads(
        (_folder(out, density) / "summary.json").read_text(encoding="utf-8"))["samples"]]
    return float(np.mean(times))


def quenched_cells(evaluation: Evaluation, folder: RunFolder, failed: list[str],
             progress: bool) -> list[tuple[str, Structure]]:
    """Quenched cells: those given, or one made for each density, at 300 K."""
    if not evaluation.quenches:
        return list(evaluation.quenched)
    found = []
    with counted(len(evaluation.generate), "quenching", progress) as advance:
        for density, options in evaluation.generate.items():
            record = folder.load(f"quenched-{density:.3f}")
            if record is None:
                record = _quench(evaluation, density, options.composition or "")
                folder.save(f"quenched-{density:.3f}", record)
            if record.values["message"]:
                failed.append(f"quench at {density:g}: {record.values['message']}")
            else:
                structure = Structure(record.arrays["positions"], record.arrays["numbers"],
                                      record.arrays["cell"])
                found.append((f"quenched at {density:g}", structure))
            advance()
    if found:
        write_structures(folder.path / QUENCHED_FILE,
                         [structure.with_info(name=label) for label, structure in found])
    return found


def _quench(evaluation: Evaluation, density: float, composition: str) -> Record:
    """One cell of the elements' default protocol, at 300 K."""
    from diffxas.composition import parse_composition
    from diffxas.melt_quench import default_protocol, quench

    counts = parse_composition(composition, None)
    protocol = replace(default_protocol(counts), snapshot_ps=SNAPSHOT_PS)
    try:
        made = quench(counts, density, evaluation.quench_potential, protocol,
                      evaluation.options.seed)
    except RunError as error:
        return Record(values={"message": str(error), "seconds": 0.0})
    cell = made.snapshot or made.network
    return Record({"positions": cell.positions, "numbers": cell.numbers, "cell": cell.cell},
                  {"message": "", "seconds": made.seconds})


def settle(folder: RunFolder, structure: Structure, potential: str, name: str,
           failed: list[str]) -> Settled:
    """What a relaxation gave; one that broke down is added to ``failed`` in words."""
    values = relaxed(folder, structure, potential).values
    if values["message"]:
        failed.append(f"{name} with {potential}: {values['message']}")
    return Settled(values["energy"], values["moved"])


def relaxed(folder: RunFolder, structure: Structure, potential: str) -> Record:
    """A relaxation at fixed cell, from the folder if it was done before.

    Returns
    -------
    record : ``energy`` (eV/atom), ``moved`` (rms, angstrom; both NaN if it broke down), ``message``
        (why it did), ``seconds``, ``steps``
    """
    from diffxas.relaxation import RelaxationOptions, relax

    name = f"relaxed-{hashlib.sha256(potential.encode()).hexdigest()[:8]}-{digest(structure)}"
    record = folder.load(name)
    if record is None:
        result = relax(structure, RelaxationOptions(potential))
        record = Record(values={
            "energy": float("nan") if result.failed else result.energy_after,
            "moved": float("nan") if result.failed else result.rms_displacement,
            "message": result.message if result.failed else "", "seconds": result.seconds,
            "steps": result.steps})
        folder.save(name, record)
    return record
