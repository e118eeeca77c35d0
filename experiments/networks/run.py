"""Are samples of the prior glass that a glass physicist accepts?

``diffxas evaluate prior`` at eight densities (coordination, g(r), angles, rings, energy and
displacement by rebo, memorisation), then what it does not do: energies by a second potential that
took no part, 10 ps at 300 K, and the time of a sample beside a melt-quench. A run that was
interrupted goes on where it stopped (under ``runs/experiments``).

    python experiments/networks/run.py [SAMPLES_PER_DENSITY] [--relax-with-tensornet]

The second potential is TensorNet-MatPES of ``../shared/data/matgl-models``; without that folder its
rows are left out, which is said. It gives energies at rebo's minima; relaxing with it takes minutes
a cell, hence the flag.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.dynamics import run_dynamics  # noqa: E402
from diffxas.files import write_json  # noqa: E402
from diffxas.networks import LOCAL, local_value  # noqa: E402
from diffxas.potentials import potential_energy  # noqa: E402
from diffxas.prior import find_prior  # noqa: E402
from diffxas.quench import quench_to  # noqa: E402
from diffxas.quench_plan import QuenchOptions  # noqa: E402
from diffxas.relaxation import RelaxationOptions, relax  # noqa: E402
from diffxas.run_folder import Record, RunFolder  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from diffxas.structure_files import read_structures  # noqa: E402
from experiments.common import (  # noqa: E402
    DATA,
    ROOT,
    RUNS,
    markdown,
    model_label,
    networks,
    one_thread,
    relaxed,
    sampler_key,
    shares,
    write_numbers,
)
from samplers.evaluation_setup import digest  # noqa: E402

DENSITIES = (1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5)
SAMPLES, PRIOR = 20, "a-C"
MATGL = ROOT.parent / "shared" / "data" / "matgl-models" / "TensorNet-MatPES-PBE-v2025.1-PES"
JUDGED, FEW, RELAXED = 5, 3, 1
"""Samples a density judged by the second potential, kept at 300 K, relaxed with the second one."""
HELD_DENSITIES = (1.5, 2.0, 2.5, 3.0, 3.5)
TENSORNET_DENSITIES = (2.0, 3.0)
"""Where cells are also relaxed with the second potential: minutes a cell."""
TENSORNET_FMAX = 0.05
QUENCHED_CELLS = 2
"""A density, with rebo and its default protocol: the ceiling."""
NEP_QUENCH_SECONDS = (40, 150)
"""Core seconds of a quench of 216 atoms at NEP's quality, from the issue."""
HOLD = ((300.0, 300.0, 10.0),)


class Kept:
    """Numbers that took long, by content, in a folder."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path, {"kept": "numbers of experiments/networks"})
        self.folder.begin(command="experiments/networks/run.py")

    def number(self, what: str, structure: Structure, compute: Callable[[], float]) -> float:
        """One number of one structure."""
        return self.numbers(what, structure, lambda: np.array([compute()])).item()

    def numbers(self, what: str, structure: Structure,
                compute: Callable[[], np.ndarray]) -> np.ndarray:
        """An array of numbers of one structure."""
        name = f"{what}-{digest(structure)}"
        record = self.folder.load(name)
        if record is None:
            record = Record({"numbers": compute()}, {"what": what})
            self.folder.save(name, record)
        return np.array(record.arrays["numbers"])


def evaluate(samples: int, folder: Path) -> Mapping[str, Any]:
    """``diffxas evaluate prior`` at the eight densities."""
    from samplers.evaluation import evaluate_prior
    from samplers.evaluation_setup import EvaluationOptions

    return evaluate_prior([DATA / "a-C-NEP" / "networks_300K.extxyz"], folder, EvaluationOptions(
        PRIOR, samples, DENSITIES, potentials=("rebo",),
        quenched=(quenched() / "networks_300K.extxyz",)), command="experiments/networks/run.py")


def quenched() -> Path:
    """Networks of rebo, melt-quenched by ``diffxas quench``'s default for carbon."""
    folder = RUNS / "networks" / "quenched-rebo"
    quench_to(folder, QuenchOptions(
        tuple(f"{d:g}" for d in DENSITIES), 216, "C", "rebo", QUENCHED_CELLS * len(DENSITIES), 0, 1,
        {"snapshot_ps": 0.5}))
    return folder


def row_of(row: Mapping[str, Any]) -> dict[str, object]:
    """A row of the evaluation in words."""
    def triple(shares_: Mapping[str, float]) -> str:
        return "/".join(f"{100 * shares_.get(k, 0.0):.1f}" for k in "234")

    return {"": row["what"], "g/cm3": f"{row['density']:g}", "cells": row["cells"],
            "sp/sp2/sp3 %": triple(row["shares"]), "fit": triple(row["line"]),
            "off, points": float(row["coordination"]),
            **{f"{curve}, times": float(row["ratio"][curve]) for curve in row["ratio"]},
            "eV/atom over fit": f"{row['energy']['rebo']:+.3f}",
            "moved, times": float(row["moved"]["rebo"]),
            "known": float(row["known"]), "expected": float(row["expected"])}


def near_density(structures: Sequence[Structure], density: float, count: int) -> list[Structure]:
    """The ``count`` nearest."""
    return sorted(structures, key=lambda one: abs(one.density - density))[:count]


def second_rows(kept: Kept, samples: Mapping[float, Sequence[Structure]],
                melts: Sequence[Structure]) -> list[dict[str, object]]:
    """Energies by the second potential of what rebo relaxed, over the networks' local fit."""
    spec = f"matgl:{MATGL}"

    def energy(structure: Structure) -> float:
        end = relaxed(structure).structure
        return kept.number("tensornet", end, lambda: potential_energy(end, spec)[0])

    found = networks()
    line = np.array([energy(one) for one in found])
    density = np.array([one.density for one in found])
    rows: list[dict[str, object]] = []
    for rho, cells in samples.items():
        values = np.array([energy(one) for one in cells[:JUDGED]])
        rebo = np.array([energy(one) for one in near_density(melts, rho, QUENCHED_CELLS)])
        fit = local_value(density, line, rho, LOCAL)
        rows.append({"g/cm3": f"{rho:g}", "samples": len(values),
                     "samples over networks": f"{values.mean() - fit:+.3f}",
                     "standard error": float(values.std(ddof=1) / len(values) ** 0.5),
                     "rebo quenches over networks": f"{rebo.mean() - fit:+.3f}",
                     "below rebo quenches": bool(values.mean() < rebo.mean())})
    return rows


def relaxed_rows(kept: Kept, samples: Mapping[float, Sequence[Structure]],
                 melts: Sequence[Structure]) -> list[dict[str, object]]:
    """Energies after relaxing with the second potential itself, few cells."""
    options = RelaxationOptions(f"matgl:{MATGL}", fmax=TENSORNET_FMAX, steps=200)

    def energy(structure: Structure) -> float:
        return kept.number("tensornet-relaxed", structure,
                           lambda: relax(relaxed(structure).structure, options).energy_after)

    rows = []
    for rho in TENSORNET_DENSITIES:
        groups = {"samples": samples[rho][:RELAXED],
                  "networks": near_density(networks(), rho, RELAXED),
                  "rebo quenches": near_density(melts, rho, 1)}
        means = {name: float(np.mean([energy(one) for one in group]))
                 for name, group in groups.items()}
        rows.append({"g/cm3": f"{rho:g}",
                     **{f"{name} ({len(group)}), eV/atom": f"{means[name]:.3f}"
                        for name, group in groups.items()},
                     "samples over networks": f"{means['samples'] - means['networks']:+.3f}"})
    return rows


def held_rows(kept: Kept, samples: Mapping[float, Sequence[Structure]]) -> list[dict[str, object]]:
    """Change of coordination in 10 ps at 300 K, samples beside networks."""
    def change(structure: Structure) -> np.ndarray:
        start = relaxed(structure).structure

        def compute() -> np.ndarray:
            end = relax(run_dynamics(start, "rebo", HOLD, 0.5)).structure
            return 100 * (shares(end) - shares(start))[2:5]

        return kept.numbers("held", start, compute)

    rows = []
    for rho, cells in ((d, samples[d]) for d in HELD_DENSITIES):
        ours = np.mean([np.abs(change(one)) for one in cells[:FEW]], 0)
        theirs = np.mean([np.abs(change(one)) for one in near_density(networks(), rho, FEW)], 0)
        rows.append({"g/cm3": f"{rho:g}",
                     f"samples ({FEW}), points of sp/sp2/sp3": "/".join(f"{x:.2f}" for x in ours),
                     f"networks ({FEW})": "/".join(f"{x:.2f}" for x in theirs),
                     "largest excess": float((ours - theirs).max()),
                     "at most 1": bool((ours - theirs).max() <= 1.0)})
    return rows


def time_row(folder: Path, samples: Mapping[float, Sequence[Structure]],
             melts: Path) -> list[dict[str, object]]:
    """Seconds of a relaxed sample and of a rebo quench."""
    import csv
    import json

    sampling = [row["seconds_sampling"] for density in DENSITIES for row in json.loads(
        (folder / "samples" / f"{density:.3f}" / "summary.json").read_text())["samples"]]
    relaxing = [relax(cells[0]).seconds for cells in samples.values()]
    with (melts / "quench.csv").open(encoding="utf-8") as file:
        quench = [float(row["cpu_seconds"]) for row in csv.DictReader(file)]
    ours = float(np.mean(sampling) + np.mean(relaxing))
    low, high = NEP_QUENCH_SECONDS
    return [{"sampling, s": float(np.mean(sampling)), "relaxing, s": float(np.mean(relaxing)),
             "rebo quench, 1000 K/ps, s": float(np.mean(quench)),
             "NEP quench over ours": f"{low / ours:.1f} to {high / ours:.1f}",
             "less than rebo's": bool(ours < np.mean(quench))}]


def main(samples: int = SAMPLES, relax_too: bool = False) -> None:
    """All of it, then figures, numbers and README."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    one_thread()
    folder = RUNS / sampler_key(find_prior(PRIOR)) / f"networks-{samples}"
    content = evaluate(samples, folder)
    kept = Kept(RUNS / "networks" / "kept")
    drawn = {d: read_structures(folder / "samples" / f"{d:.3f}" / "structures.extxyz")
             for d in DENSITIES}
    melts = read_structures(quenched() / "networks_300K.extxyz")
    by_density = [row_of(row) for row in content["by_density"]]
    text = [f"{samples} samples of 216 atoms a density, {model_label(find_prior(PRIOR))}.", "",
            content["sentence"], "", markdown(by_density), "10 ps at 300 K with rebo, then relaxed "
            "(mean change of a share, without sign):", ""]
    held, times = held_rows(kept, drawn), time_row(folder, drawn, quenched())
    text += [markdown(held), "Time of one 216-atom sample, one thread of this machine:", "",
             markdown(times)]
    second: list[dict[str, object]] = []
    third: list[dict[str, object]] = []
    if MATGL.is_dir():
        second = second_rows(kept, drawn, melts)
        text += ["TensorNet-MatPES at rebo's minima, eV/atom:", "", markdown(second)]
        if relax_too:
            third = relaxed_rows(kept, drawn, melts)
            text += ["Relaxed with TensorNet-MatPES (to 0.05 eV/angstrom, at most 200 steps):", "",
                     markdown(third)]
    else:
        text.append(f"No rows by TensorNet-MatPES: {MATGL} is not here.")
    for name in sorted((folder / "figures").glob("*.png")):
        (HERE / "expected" / name.name).write_bytes(name.read_bytes())
    write_json(HERE / "expected" / "numbers.json", {
        "samples": samples, "by_density": content["by_density"], "whole": content["rows"],
        "sentence": content["sentence"], "held": held, "times": times,
        "tensornet_at_rebo_minima": second, "tensornet_relaxed": third})
    write_numbers(HERE / "README.md", "\n".join(text))


if __name__ == "__main__":
    flags = [word for word in sys.argv[1:] if word == "--relax-with-tensornet"]
    main(*(int(word) for word in sys.argv[1:] if word not in flags), relax_too=bool(flags))
