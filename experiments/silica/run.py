"""How slowly must silica be cooled, and does its prior make the same glass?

First quenches at several rates and counts defects: what chose the rate of the corpus here. Then the
shipped prior ``sio2`` against that corpus: coordination of each pair, like bonds, g(r), energies.
A run that was interrupted goes on where it stopped (per cell, under ``runs/experiments/silica``).

    python experiments/silica/run.py [SAMPLES]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.analysis import bonding, partial_rdf, rdf_distance  # noqa: E402
from diffxas.files import write_json  # noqa: E402
from diffxas.neighbourhood import bonds  # noqa: E402
from diffxas.plots import plot_points, save_figure  # noqa: E402
from diffxas.quench import quench_to  # noqa: E402
from diffxas.quench_plan import QuenchOptions  # noqa: E402
from diffxas.relaxation import RelaxationOptions, relax_many  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from diffxas.structure_files import read_structures  # noqa: E402
from experiments.common import RUNS, markdown, one_thread, write_numbers  # noqa: E402

DENSITY, POTENTIAL = 2.2, "vashishta:SiO.1994.vashishta"
RATES = {3000.0: 4, 1000.0: 4, 300.0: 4, 100.0: 4, 30.0: 2}
"""K/ps -> cells."""
LONGEST = {("Si", "O"): 2.3, ("Si", "Si"): 2.6, ("O", "O"): 1.75}
"""Bonds, angstrom: the gap after the first peak of Si-O; true Si-Si and O-O bonds only."""
NEAR = 0.1
"""g/cm3: cells of the corpus that are compared with."""
SAMPLES = 10


def shares(structure: Structure) -> dict[str, float]:
    """Percent of Si with four O, of O with two Si, and of bonds between like atoms."""
    found = bonding(structure, bonds(structure, LONGEST))
    like = sum(found["like_bonds"].values())
    return {"Si with 4 O": 100 * found["coordination_pairs"]["Si-O"].get("4", 0.0),
            "O with 2 Si": 100 * found["coordination_pairs"]["O-Si"].get("2", 0.0),
            "like bonds": 100 * like}


def means(structures: Sequence[Structure]) -> dict[str, object]:
    """Mean over structures, with the error of the mean of the defects."""
    rows = [shares(one) for one in structures]
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def energies(structures: Sequence[Structure]) -> list[float]:
    """Energy after relaxation with the corpus' potential, eV/atom."""
    found = relax_many([(str(k), one) for k, one in enumerate(structures)],
                       RelaxationOptions(POTENTIAL), progress=False)
    return [one.energy_after for one in found]


def rate_rows() -> list[dict[str, object]]:
    """A row a rate: defects and energy of relaxed networks, and what one costs."""
    rows = []
    for rate, cells in RATES.items():
        options = QuenchOptions((str(DENSITY),), 216, "SiO2", POTENTIAL, cells, 0, 1,
                                {"rate": rate})
        corpus = quench_to(RUNS / "silica" / f"{rate:g}_K_per_ps", options)
        found = read_structures(RUNS / "silica" / f"{rate:g}_K_per_ps" / "networks.extxyz")
        rows.append({"K/ps": f"{rate:g}", "cells": len(found), **means(found),
                     "eV/atom": float(np.mean([row["energy_per_atom"] for row in corpus.rows])),
                     "CPU s a network": float(np.mean([row["cpu_seconds"]
                                                       for row in corpus.rows]))})
    return rows


def distances(these: Sequence[Structure], those: Sequence[Structure]) -> dict[str, float]:
    """Median over pairs of cells of the distance of each partial g(r)."""
    def curves(cell: Structure) -> dict[str, np.ndarray]:
        return partial_rdf(cell, 6.0, 0.05)[1]

    one, other = [curves(c) for c in these], [curves(c) for c in those]
    return {pair: float(np.median([rdf_distance(a[pair], b[pair]) for a in one for b in other
                                   if a is not b and not np.array_equal(a[pair], b[pair])]))
            for pair in one[0]}


def prior_rows(samples: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Corpus and samples at one density; then the distances of their g(r)."""
    from samplers.generation import GenerateOptions, run_in

    folder = RUNS / "silica" / f"samples-{samples}"
    run_in(None, folder, GenerateOptions(density=DENSITY, atoms=216, composition="SiO2",
                                         prior="sio2", samples=samples, guidance=False,
                                         potential=POTENTIAL), "experiments", progress=True)
    sampled = read_structures(folder / "structures.extxyz")
    corpus = [one for one in read_structures(HERE / "networks_300K.extxyz")
              if abs(one.density - DENSITY) < NEAR]
    rows: list[dict[str, object]] = []
    for name, group in (("corpus, 300 K", corpus), ("samples of sio2", sampled)):
        rows.append({"": name, "cells": len(group), **means(group),
                     "relaxed eV/atom": float(np.mean(energies(group)))})
    curves: list[dict[str, object]] = [
        {"g(r) distance": "corpus against corpus", **distances(corpus, corpus)},
        {"g(r) distance": "samples against corpus", **distances(sampled, corpus)}]
    return rows, curves


def main(samples: int = SAMPLES) -> None:
    """Rates, then the prior; figure, numbers and README."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    one_thread()
    rates = rate_rows()
    rows, curves = prior_rows(samples)
    figure = plot_points(
        np.array([float(str(row["K/ps"])) for row in rates]),
        {key: np.array([100 - float(str(row[key])) for row in rates])
         for key in ("Si with 4 O", "O with 2 Si")},
        "cooling rate (K/ps)", "other coordination (%)")
    figure.axes[0].set_xscale("log")
    save_figure(figure, HERE / "expected" / "defects_against_rate.png")
    write_json(HERE / "expected" / "numbers.json",
               {"rates": rates, "prior": rows, "distances": curves})
    write_numbers(HERE / "README.md", "\n".join([
        f"Networks of 216 atoms at {DENSITY} g/cm3 by cooling rate (percent; relaxed):", "",
        markdown(rates), f"The prior `sio2` at {DENSITY} g/cm3, as sampled, against the corpus "
        f"within {NEAR} g/cm3 of it:", "", markdown(rows), markdown(curves)]))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
