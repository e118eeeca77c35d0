"""What the experiments share: the data carried along, cached relaxations, references, tables.

Only ``experiments/data`` is read, so that every experiment runs from a clone. What takes long is
kept under the git-ignored ``runs/experiments`` and found again by content: a cache is named after a
hash of what it was made from, so new weights or a changed sampler never meet old results.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from diffxas.analysis import coordination_fractions
from diffxas.errors import InputError, RunError
from diffxas.files import write_text
from diffxas.structure import Structure
from diffxas.structure_files import read_structures, write_structures

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "experiments" / "data"
RUNS = ROOT / "runs" / "experiments"
SAMPLER_SOURCES = ("samplers/sampling.py", "samplers/start.py", "samplers/guidance.py",
                   "samplers/tempered.py", "samplers/temperature.py", "samplers/calibration.py",
                   "samplers/guides/base.py", "samplers/guides/spectrum.py",
                   "diffxas/denoiser.py", "diffxas/network.py", "diffxas/noise.py")
BEGIN, END = "<!-- last run -->", "<!-- end of last run -->"


def one_thread() -> None:
    """Keep torch to one thread: systems of 216 atoms gain nothing from more."""
    import torch

    torch.set_num_threads(1)


def networks() -> list[Structure]:
    """The 58 melt-quenched networks at 300 K, by increasing density."""
    return _by_density(DATA / "a-C-NEP" / "networks_300K.extxyz")


def variants() -> list[Structure]:
    """Their descendants at other densities, 300 K, by increasing density."""
    return _by_density(DATA / "a-C-NEP" / "variants_300K.extxyz")


def dft_cells() -> list[Structure]:
    """The 21 DFT cells, by increasing density; ``info["parent"]`` names the bond network."""
    return _by_density(DATA / "a-C-K-edge" / "dft_cells.extxyz")


def held_out() -> frozenset[str]:
    """Names of the networks that are in no shipped training."""
    return frozenset((DATA / "a-C-NEP" / "heldout.txt").read_text(encoding="utf-8").split())


def dft_means() -> dict[str, np.ndarray]:
    """Mean DFT spectrum of every DFT cell by name, (n_grid,)."""
    with np.load(DATA / "a-C-K-edge" / "xanes.npz", allow_pickle=False) as content:
        return {str(name): mu.mean(0).astype(float)
                for name, mu in zip(content["name"], content["mu"], strict=True)}


def _by_density(path: Path) -> list[Structure]:
    return sorted(read_structures(path), key=lambda structure: structure.density)


def shares(structure: Structure) -> np.ndarray:
    """Fractions of atoms with 0, 1, ... 5 and with six or more neighbours, (7,)."""
    return np.array(list(coordination_fractions(structure).values()))


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A relaxed structure; energies in eV per atom, displacement in angstrom."""

    structure: Structure
    energy_before: float
    energy_after: float
    rms_displacement: float


def relaxed(structure: Structure) -> Relaxed:
    """REBO's nearest minimum at fixed cell, from the cache if it was found before.

    Raises
    ------
    RunError
        If the relaxation breaks down.
    """
    from diffxas.relaxation import relax

    digest = hashlib.sha256(np.ascontiguousarray(structure.positions).tobytes())
    digest.update(np.ascontiguousarray(structure.cell).tobytes())
    path = RUNS / "relaxed" / f"{digest.hexdigest()[:16]}.extxyz"
    if not path.is_file():
        result = relax(structure)
        if result.failed:
            raise RunError(f"a relaxation must end, received {result.message}")
        write_structures(path, [result.structure.with_info(
            energy_before=result.energy_before, energy_after=result.energy_after,
            rms_displacement=result.rms_displacement)])
    (found,) = read_structures(path)
    return Relaxed(found, *(float(found.info[key]) for key in
                            ("energy_before", "energy_after", "rms_displacement")))


def sampler_key(*models: Path, more: Sequence[str] = ()) -> str:
    """Short hash of weights and of the sampler's source: names a cache of samples.

    Parameters
    ----------
    more : further source files that decide what is kept, relative to the repository
    """
    from diffxas.weights import weights_hash

    digest = hashlib.sha256()
    for source in (*SAMPLER_SOURCES, *more):
        digest.update((ROOT / source).read_bytes())
    for folder in models:
        digest.update(weights_hash(folder).encode())
    return digest.hexdigest()[:10]


def model_label(folder: Path) -> str:
    """Name of a model's folder and the beginning of its weights' hash."""
    from diffxas.weights import weights_hash

    return f"{folder.name} (weights {weights_hash(folder)[:10]})"


def refuse_known(truth: Structure, folder: Path) -> None:
    """Refuse a truth that a model was trained on, itself or another cell of its network.

    Raises
    ------
    InputError
        Naming truth and model.
    """
    from diffxas.weights import read_config

    training = read_config(folder)["training"]
    known = {str(name).split(":")[-1] for name in training["structures"]} | set(training["parents"])
    name, parent = str(truth.info["name"]), str(truth.info.get("parent", ""))
    if known & {name, parent}:
        raise InputError(f"the truth must be unknown to the model, received {name} of {parent}, "
                         f"in the training of {folder}: choose leave-out weights")


def machine() -> str:
    """Date and kind of machine, one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    version = ".".join(map(str, sys.version_info[:2]))
    return f"{date.today().isoformat()}, {model}, {os.cpu_count()} cores, no GPU, Python {version}"


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows of equal keys as a table; floats in three significant digits."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([_cell(row[key]) for key in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "**no**"
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def write_numbers(readme: Path, text: str) -> None:
    """Replace what stands between the two markers of a README by the last run's numbers."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise RunError(f"{readme} must hold the lines {BEGIN} and {END}: put them back")
    write_text(readme, f"{before}{BEGIN}\n{machine()}\n\n{text.strip()}\n{END}{after}")
    print(text)
