"""What ``diffxas quench`` says of a corpus: table, CSV, figures, report and summary."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.analyse import AnalysisOptions, analyse_structure
from diffxas.command_line import text_table
from diffxas.composition import composition_formula
from diffxas.cutoffs import cutoff_record, cutoff_text
from diffxas.files import replacing, write_json
from diffxas.plots import COORDINATION_COLOURS, plot_points, save_figure
from diffxas.quench_plan import versions
from diffxas.report.analysed import analysis_figures
from diffxas.report.document import Document, FigureBlock, Section, Table, View, write_document
from diffxas.run_folder import SUMMARY

if TYPE_CHECKING:
    from diffxas.quench import Corpus

MOST_ANALYSED = 24
"""g(r), angles and rings are drawn of so many networks, spread evenly over the corpus."""
Row = Mapping[str, Any]


def write_outputs(corpus: Corpus, out: Path, command: str = "") -> None:
    """Write ``quench.csv``, ``figures/``, ``report.html`` and, last, ``summary.json``."""
    if corpus.rows:
        _write_csv(out / "quench.csv", corpus.rows)
        figures = [*density_figures(corpus.rows), *_curve_figures(corpus)]
        for block in figures:
            save_figure(block.figure, out / "figures" / f"{block.name}.png")
        write_document(_document(corpus, figures, command), out / "report.html")
    write_json(out / SUMMARY, summary(corpus, command))


def summary(corpus: Corpus, command: str = "") -> dict[str, Any]:
    """The content of ``summary.json``."""
    plan = corpus.plan
    numbers = ("energy_per_atom", "pressure_GPa", "seconds", "cpu_seconds")
    shares = [key for key in (corpus.rows[0] if corpus.rows else {}) if key.startswith("share ")]
    return {
        "command": command, "versions": versions(),
        "composition": composition_formula(plan.counts), "atoms": sum(plan.counts.values()),
        "potential": plan.label, "protocol": asdict(plan.protocol),
        "asked": len(plan.jobs), "networks": len(corpus.rows), "failed": corpus.failures,
        "networks_per_core_hour": corpus.per_core_hour, **cutoff_record(corpus.cutoffs),
        "mean": {key: float(np.mean([row[key] for row in corpus.rows]))
                 for key in (*numbers, *shares)} if corpus.rows else {},
        "cells": list(corpus.rows),
    }


def corpus_table(corpus: Corpus) -> str:
    """A row a network, and below what one core makes in an hour."""
    header = ["network", "g/cm3", "2/3/4-fold %" if len(corpus.plan.counts) == 1 else "bonds %",
              "eV/atom", "GPa", "s", ""]
    rows = [[str(row["name"]), f"{row['density']:.3f}", coordination_text(row),
             f"{row['energy_per_atom']:.4f}", f"{row['pressure_GPa']:.1f}",
             f"{row['cpu_seconds']:.1f}",
             "" if row["relaxation"] == "converged" else str(row["relaxation"])]
            for row in corpus.rows]
    lines = [text_table(header, rows)] if rows else []
    if rows:
        lines.append(f"bonds up to {cutoff_text(corpus.cutoffs)}")
        lines.append(f"{len(rows)} networks, {corpus.per_core_hour:.3g} networks per core-hour")
    lines += [f"failed: {name}: {reason}" for name, reason in corpus.failures.items()]
    return "\n".join(lines)


def coordination_text(row: Row) -> str:
    """``8/84/8``, or for several elements the commonest number of bonds to each other element."""
    shares = {key.removeprefix("share "): float(value) for key, value in row.items()
              if key.startswith("share ")}
    if "3" in shares:
        return "/".join(f"{100 * shares[key]:.0f}" for key in "234")
    best: dict[str, tuple[float, str]] = {}
    for key, share in shares.items():
        pair, _, number = key.partition(" ")
        one, _, other = pair.partition("-")
        if one != other:
            best[pair] = max(best.get(pair, (-1.0, "")), (share, number))
    return ", ".join(f"{pair} {number}: {100 * share:.0f}"
                     for pair, (share, number) in best.items())


def protocol_text(corpus: Corpus) -> str:
    """One line on how the networks were made."""
    p = corpus.plan.protocol
    text = (f"melt at {p.melt:g} K for {p.melt_ps:g} ps, cooled at {p.rate:g} K/ps to 300 K, "
            f"timestep {p.timestep_fs:g} fs")
    if p.anneal is not None:
        text += f", held at {p.anneal:g} K for {p.anneal_ps:g} ps and cooled again"
    if p.snapshot_ps is not None:
        text += f", {p.snapshot_ps:g} ps at 300 K before the snapshot"
    return text + ", then relaxed"


def density_figures(rows: Sequence[Row]) -> list[FigureBlock]:
    """Shares of atoms by their bonds, and energy, against density."""
    density = np.array([row["density"] for row in rows])
    keys = [key for key in rows[0] if key.startswith("share ")
            and any(row[key] > 0.02 for row in rows)]
    shares = {key.removeprefix("share "): 100 * np.array([row[key] for row in rows])
              for key in keys}
    energy = {"": np.array([row["energy_per_atom"] for row in rows])}
    return [
        FigureBlock("coordination_density", "Coordination against density",
                    "Share of atoms by their number of bonds; a point a network.",
                    plot_points(density, shares, "density (g/cm³)", "share of atoms (%)",
                                COORDINATION_COLOURS)),
        FigureBlock("energy_density", "Energy against density",
                    "Of the relaxed networks, by the potential that made them.",
                    plot_points(density, energy, "density (g/cm³)", "energy (eV/atom)"))]


def _curve_figures(corpus: Corpus) -> list[FigureBlock]:
    from diffxas.quench import evenly

    options = AnalysisOptions(cutoffs={name: one.length for name, one in corpus.cutoffs.items()})
    numbers = [{"label": str(one.info["name"]), **analyse_structure(one, options)}
               for one in evenly(corpus.networks, MOST_ANALYSED)]
    return analysis_figures(numbers, [])


def _document(corpus: Corpus, figures: Sequence[FigureBlock], command: str) -> Document:
    plan, rows = corpus.plan, corpus.rows
    formula = composition_formula(plan.counts)
    table = Table("", ("network", "density (g/cm³)", "coordination (%)", "energy (eV/atom)",
                       "pressure (GPa)", "processor time (s)", "relaxation"),
                  tuple((str(r["name"]), r["density"], coordination_text(r), r["energy_per_atom"],
                         r["pressure_GPa"], r["cpu_seconds"], str(r["relaxation"]))
                        for r in rows),
                  "Coordination: two-, three- and four-fold atoms, or for several elements the "
                  "commonest number of bonds to each other element.")
    analysed = min(len(rows), MOST_ANALYSED)
    return Document(
        title=f"{len(rows)} networks of {formula}",
        lead=(f"{plan.label}: {protocol_text(corpus)}.",), command=command,
        facts=(("potential", plan.label), ("atoms", str(sum(plan.counts.values()))),
               ("networks", f"{len(rows)} of {len(plan.jobs)}"),
               ("bonds up to", cutoff_text(corpus.cutoffs)),
               ("networks per core-hour", f"{corpus.per_core_hour:.3g}")),
        warnings=tuple(f"{name} failed: {reason}" for name, reason in corpus.failures.items()),
        sections=(Section("Networks", tables=(table,)),
                  Section("Figures", (f"Curves, angles and rings are of {analysed} networks.",)
                          if analysed < len(rows) else (), figures=tuple(figures))),
        views=tuple(View(str(one.info["name"]), "relaxed", one) for one in corpus.networks))


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
