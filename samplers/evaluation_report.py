"""The table, the files and the page of an evaluation, from what it measured."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.command_line import text_table
from diffxas.cutoffs import cutoff_record, cutoff_text
from diffxas.files import replacing, write_json
from diffxas.networks import CURVES
from samplers.evaluation_measures import (
    COORDINATION,
    ENERGY,
    EXCESS,
    MOVED,
    NETWORKS,
    QUENCHED,
    RATIO,
    SAMPLES,
    UNSEEN,
    Row,
    trivial,
)
from samplers.evaluation_verdict import Evidence, thresholds, verdict
from samplers.learning_curve import SIGMAS, Losses, fall

if TYPE_CHECKING:
    from diffxas.report import Document, FigureBlock, Section
    from samplers.evaluation import Findings
    from samplers.evaluation_setup import Evaluation

NAMES = {SAMPLES: "samples", UNSEEN: "held-out networks (floor)", NETWORKS: "networks (floor)",
         QUENCHED: "quenched (ceiling)"}
SHOWN_SHARE = 0.005
"""Smaller shares of the atoms have no column."""


def content_of(evaluation: Evaluation, findings: Findings, command: str) -> dict[str, Any]:
    """The content of ``evaluation.json``."""
    from samplers.report_content import versions

    evidence = evidence_of(findings)
    word, sentence = verdict(evidence)
    data = evaluation.data
    return {
        "prior": evaluation.options.prior, "verdict": word, "sentence": sentence,
        "evidence": asdict(evidence), "thresholds": thresholds(), "asked": ASKED,
        "rows": [_plain(row) for row in findings.whole],
        "by_density": [_plain(row) for row in findings.single],
        "potentials": list(evaluation.potentials),
        "data": {"structures": len(data.known), "reference": len(data.reference),
                 **{role: len(data.of(role)) for role in ("training", "held-out", "related")},
                 "networks": len({one.parent for one in data.known})},
        **cutoff_record(evaluation.cutoffs), "kind": evaluation.setup.kind,
        "atoms": evaluation.setup.box.n_atoms,
        "prior_losses": _losses(findings.prior_losses),
        "learning_curve": [_losses(one) for one in findings.curve],
        "learning_curve_note": _curve_note(evaluation),
        "seconds_a_sample": findings.seconds, "notes": list(evaluation.notes),
        "failed_relaxations": list(findings.failed), "command": command, "versions": versions(),
        "identity": dict(evaluation.identity),
    }


ASKED = {"coordination": COORDINATION, "ratio": RATIO, "energy": ENERGY, "moved": MOVED,
         "excess": EXCESS}


def evidence_of(findings: Findings) -> Evidence:
    """What the verdict is drawn from."""
    (samples,) = [row for row in findings.whole if row.what == SAMPLES]
    prior, curve = findings.prior_losses, findings.curve
    fallen = fall(curve[-2], curve[-1]) if len(curve) > 1 else (np.nan, np.nan)
    return Evidence(
        known=samples.known, expected=samples.expected, excess_error=samples.excess_error,
        gap=prior.gap if prior else np.nan, gap_error=prior.gap_error if prior else np.nan,
        curve_gap=curve[-1].gap if curve else np.nan,
        curve_gap_error=curve[-1].gap_error if curve else np.nan,
        fall=fallen[0], fall_error=fallen[1], ratio=samples.ratio,
        ratio_error=samples.ratio_error, beyond=_beyond(samples))


def _beyond(row: Row) -> tuple[str, ...]:
    """What of the samples misses the figures asked, other than what the verdict is drawn from."""
    found = []
    if row.coordination > COORDINATION:
        found.append(f"coordination {row.coordination:.1f} points (asked {COORDINATION:g})")
    found += [f"{curve} {ratio:.2f} times (asked {RATIO:g})" for curve, ratio in row.ratio.items()
              if ratio > RATIO]
    for potential, energy in row.energy.items():
        if energy > ENERGY:
            found.append(f"energy {energy:+.3f} eV by {potential} (asked {ENERGY:g})")
    for potential, moved in row.moved.items():
        if moved > MOVED:
            found.append(f"moved {moved:.2f} times by {potential} (asked {MOVED:g})")
    return tuple(found)


def _plain(row: Row) -> dict[str, Any]:
    return {**asdict(row), "excess": row.excess}


def _losses(found: Losses | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"networks": found.networks, "sigma": list(SIGMAS), "pairs": len(found.unseen),
            "seen": found.seen.mean(0), "unseen": found.unseen.mean(0), "gap": found.gap,
            "gap_error": found.gap_error}


def _curve_note(evaluation: Evaluation) -> str:
    from samplers.learning_curve import MODEL

    if evaluation.curve is None:
        return ""
    size = ", ".join(f"{key} {value}" for key, value in MODEL.items())
    return (f"Small priors from nothing ({size}), {evaluation.options.curve_steps} steps of one "
            f"structure each; asked about {len(evaluation.curve.unseen)} structures of "
            f"{evaluation.curve.note}.")


def table_of(content: Mapping[str, Any],
             rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows in words, what is asked last."""
    potentials = content["potentials"]
    dense = any(row["density"] is not None for row in rows)
    keys = [key for key in sorted({key for row in rows for key in row["shares"]})
            if not trivial(key) and any(
        max(row["shares"].get(key) or 0, row["line"].get(key) or 0) > SHOWN_SHARE for row in rows)]
    header = ["", *(["g/cm3"] if dense else []), "cells",
              *([f"{_bonds(keys)} %", "fit"] if dense else []), "off, points", *CURVES,
              *(f"eV/atom {_short(one)}" for one in potentials),
              *(f"moved {_short(one)}" for one in potentials), "known %", "expected"]
    found = [[
        NAMES[row["what"]], *([f"{row['density']:g}"] if dense else []), str(row["cells"]),
        *(["/".join(_number(100 * row[which].get(key, 0), "{:.0f}") for key in keys)
           for which in ("shares", "line")] if dense else []),
        _number(row["coordination"], "{:.1f}"),
        *(f"{_number(row['distance'][c], '{:.3f}')} (x{_number(row['ratio'][c], '{:.2f}')})"
          for c in CURVES),
        *(_number(row["energy"][one], "{:+.3f}") for one in potentials),
        *(f"x{_number(row['moved'][one], '{:.2f}')}" for one in potentials),
        _number(row["known"], "{:.1%}").rstrip("%"),
        _number(row["expected"], "{:.1%}").rstrip("%")] for row in rows]
    asked = ["asked of samples", *([""] if dense else []), "", *(["", ""] if dense else []),
             f"{COORDINATION:.1f}", *[f"x{RATIO:g}"] * len(CURVES),
             *[f"{ENERGY:.3f}"] * len(potentials), *[f"x{MOVED:g}"] * len(potentials),
             f"+{100 * EXCESS:g}", ""]
    return header, [*found, asked]


def _bonds(keys: Sequence[str]) -> str:
    """What the shares of a column are, such as ``2/3/4 bonds`` or ``O-Si 2/Si-O 4``."""
    return f"{'/'.join(keys)}{'' if any('-' in key for key in keys) else ' bonds'}"


def _short(potential: str) -> str:
    return potential.rpartition("/")[2] or potential


def _number(value: float | None, form: str) -> str:
    """A number, or a dash for one that is not known (null in JSON)."""
    return "-" if value is None or not np.isfinite(value) else form.format(value)


def text_of(content: Mapping[str, Any]) -> str:
    """Tables and sentence for the terminal."""
    return "\n".join([
        text_table(*table_of(content, content["rows"])), "",
        text_table(*table_of(content, [row for row in content["by_density"]
                                       if row["what"] == SAMPLES])), "", content["sentence"]])


def write_evaluation(evaluation: Evaluation, findings: Findings, content: Mapping[str, Any],
                     out: Path) -> None:
    """``evaluation.csv``, figures, ``report.html`` and last ``evaluation.json``."""
    from diffxas.plots import save_figure
    from diffxas.report import write_document
    from samplers.evaluation import RESULT

    lines = [_flat(row) for row in (*content["rows"], *content["by_density"])]
    header = list(dict.fromkeys(key for line in lines for key in line))
    with replacing(out / "evaluation.csv") as temporary, temporary.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, header, restval="")
        writer.writeheader()
        writer.writerows(lines)
    figures = figures_of(evaluation, findings)
    for block in figures:
        save_figure(block.figure, out / "figures" / f"{block.name}.png")
    write_document(document_of(evaluation, findings, content, figures), out / "report.html")
    write_json(out / RESULT, dict(content))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{key} {name}": _blank(x) for name, x in value.items()}
        else:
            flat[key] = _blank(value)
    return flat


def _blank(value: Any) -> Any:
    missing = value is None or (isinstance(value, float) and not np.isfinite(value))
    return "" if missing else value


def figures_of(evaluation: Evaluation, findings: Findings) -> list[FigureBlock]:
    """All figures with their captions."""
    from diffxas.report import FigureBlock
    from samplers import evaluation_figures as draw

    judge, samples, quenched = findings.judge, findings.samples, findings.quenched
    found = [
        FigureBlock("coordination", "Coordination against density",
                    "Dots: structures of the reference, lines their straight-line fits over "
                    "0.35 g/cm³ to either side; diamonds: samples with their scatter.",
                    draw.coordination_figure(judge, samples, quenched)),
        FigureBlock("energy", "Energy and displacement of the same relaxation",
                    "Lines: the reference's local fits over 0.25 g/cm³ to either side; orange: "
                    "single samples.",
                    draw.energy_figure(judge, samples, quenched, evaluation.potentials))]
    titles = {"g(r)": ("rdf", "Radial distribution functions"),
              "angles": ("angles", "Bond angles"), "rings": ("rings", "Shortest-path rings")}
    for curve, figure in draw.distribution_figures(judge, samples, quenched).items():
        name, title = titles[curve]
        found.append(FigureBlock(name, title, "The reference is what lies within 0.1 g/cm³: its "
                                              "mean, and the range of its structures.", figure))
    if np.isfinite([row.known for row in findings.single]).any():
        found.append(FigureBlock(
            "memorisation", "Environments that the training set holds",
            "Depth-3 Weisfeiler-Lehman environments; a network of the training set is held "
            "against the others. Samples that know more than unseen networks are copies.",
            draw.memorisation_figure(findings.single)))
    if findings.curve or findings.prior_losses:
        found.append(FigureBlock(
            "learning_curve", "Losses on seen and unseen networks",
            f"{_curve_note(evaluation)} Horizontal: the prior itself. Seen and unseen structures "
            f"are pairs of about one density.",
            draw.curve_figure(findings.curve, findings.prior_losses)))
    return found


def document_of(evaluation: Evaluation, findings: Findings, content: Mapping[str, Any],
                figures: Sequence[FigureBlock]) -> Document:
    """The page."""
    from diffxas.report import Document, Section, Table, View

    def table(title: str, rows: Sequence[Mapping[str, Any]], caption: str) -> Table:
        header, lines = table_of(content, rows)
        return Table(title, tuple(header), tuple(tuple(line) for line in lines), caption,
                     frozenset(n for n, row in enumerate(rows) if row["what"] == SAMPLES))

    losses = _loss_table(findings)
    data = content["data"]
    sections: tuple[Section, ...] = (
        Section("Figures asked and reached", tables=(
            table("Over all densities", content["rows"], CAPTION),
            table("By density", content["by_density"], ""), *([losses] if losses else []))),
        Section("What the verdict is drawn from", text=(content["thresholds"],)),
        Section("Figures", figures=tuple(figures)))
    return Document(
        title=f"Prior {evaluation.options.prior}: {content['verdict']}",
        lead=(content["sentence"],), command=content["command"],
        facts=(("data", f"{data['structures']} structures of {data['networks']} networks: "
                        f"{data['training']} of the training, {data['held-out']} held out, "
                        f"{data['related']} related to the training"),
               ("samples", f"{evaluation.options.samples} of {content['atoms']} atoms a density, "
                           f"kind {content['kind']}, seed {evaluation.options.seed}, "
                           f"{content['seconds_a_sample']:.1f} s each"),
               ("bonds up to", cutoff_text(evaluation.cutoffs)),
               ("weights", str(evaluation.identity["prior_hash"])[:16]),
               *content["versions"].items()),
        warnings=(*content["notes"], *(f"Relaxation failed: {one}" for one in findings.failed)),
        sections=sections,
        views=tuple(View(f"sample 0 at {density:g} g/cm³", "as sampled", structure)
                    for density, structure in findings.structures.items()))


CAPTION = (
    "Each cell is held against the reference at its own density, its own network left out. Off: "
    "the largest difference of a share by bonds to its straight-line fit, group mean, worst "
    "density. g(r), angles, rings: integral of the absolute difference over that of the reference, "
    "one cell against one cell within 0.1 g/cm³, median; in brackets over that of networks among "
    "themselves. eV/atom: after the same relaxation, minus the reference's fit. Moved: rms "
    "displacement in it over the reference's. Known: share of depth-3 environments that occur in "
    "the training set; expected: that of networks that took no part, at the same densities.")


def _loss_table(findings: Findings) -> Any:
    from diffxas.report import Table

    rows: list[tuple[str | float | int | None, ...]] = []
    named = [*((f"small prior, {one.networks} networks", one) for one in findings.curve),
             *([("the prior", findings.prior_losses)] if findings.prior_losses else [])]
    for name, one in named:
        rows.append((name, *(x for k in range(len(SIGMAS)) for x in
                             (float(one.seen.mean(0)[k]), float(one.unseen.mean(0)[k]))),
                     f"{1 + one.gap:.3f} ± {one.gap_error:.3f}"))
    if not rows:
        return None
    header = ("", *(f"{which}, {s:g} Å" for s in SIGMAS for which in ("seen", "unseen")),
              "unseen over seen")
    return Table("Denoising losses", header, tuple(rows),
                 "On the same noise; seen and unseen structures are pairs of about one density.")
