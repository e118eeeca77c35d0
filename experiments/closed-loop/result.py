"""Tables, numbers and figures of what is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import table
from figures import draw_pairs, draw_recovered, draw_residuals
from measures import Case, truth_row
from stages import ASKED, SAMPLES, STAGES, UNGUIDED_SAMPLES
from truths import NETWORK_PART, Truth, floor, left_out_error, truths

from diffxas.files import write_json
from diffxas.plots import save_figure
from diffxas.prior import find_prior
from experiments.common import markdown, model_label, write_numbers
from samplers.algorithms import AUTO
from surrogates.loading import SHIPPED

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected"


def write(density: Sequence[Mapping[str, Any]]) -> None:
    """README, ``expected/*.json`` and the figures, of the cases that are finished."""
    cases = [case for name, make in STAGES.items() if name != "cost" for case in make()]
    costs = table.cost_lines(STAGES["cost"]())
    found = table.collected(cases)
    parts = {
        "verdicts": table.verdicts(found, ASKED, costs, density),
        "truths": table.truth_lines(found), "distances": table.distance_lines(found),
        "coverage": table.coverage_lines(found), "pairs": table.pair_lines(found),
        "coordination": table.coordination_lines(found, ASKED), "pdf": table.pdf_lines(found),
        "density": list(density), "sizes": table.size_lines(found), "cost": costs}
    write_json(EXPECTED / "tables.json", {"models": models(), **parts})
    write_json(EXPECTED / "rows.json", {
        "truths": {one.name: {**truth_row(one), "kind": one.kind, "density": one.density,
                              "floor": floor(one).residual, "floor_networks": floor(one).networks,
                              "distance_networks": floor(one).distance} for one in truths()},
        "samples": [row for by_truth in found.values() for rows in by_truth.values()
                    for row in rows]})
    draw(found)
    write_numbers(HERE / "README.md", text(parts, missing(cases), earlier(cases)))


def earlier(cases: Sequence[Case]) -> list[str]:
    """Jobs whose samples were made by an earlier state of the source."""
    return list(dict.fromkeys(case.job.name for case in cases if case.job.is_earlier))


def missing(cases: Sequence[Case]) -> list[str]:
    """Jobs that are not done."""
    return list(dict.fromkeys(case.job.name for case in cases if not case.job.done))


def models() -> dict[str, str]:
    """Name -> name and hash of weights, of every model that took part."""
    names = sorted({name for one in truths() for name in (one.surrogate, one.judge, one.maker)
                    if name and name != NETWORK_PART})
    found = {name: model_label(SHIPPED / name) for name in names}
    return found | {f"prior {name}": model_label(find_prior(name))
                    for name in sorted({one.prior for one in truths()})}


HEADS = {
    "verdicts": "What the issue asks, and what was reached (residuals as sampled, at 300 K like "
                "the truths, unless it says relaxed):",
    "truths": f"Every truth, by {AUTO}; residuals are rms over the whole grid, DFT units, by "
              "the judge unless another is named, means over samples. -2 l / n of the truth itself "
              "is about 1 where the target errs as the guide's likelihood says:",
    "distances": "Distances to the truth over those of networks among themselves (medians over "
                 "truths), and the mean absolute error of the samples' mean shares:",
    "coverage": "Truths whose share lies in the samples' interval (95 % interval of that rate):",
    "pairs": "Pairs of equal density, by every method (seconds on a busy machine; high / low):",
    "coordination": "sp3 asked without a spectrum:", "pdf": "g(r) asked without a spectrum:",
    "density": "Density unknown:", "sizes": "One target in cells of several sizes:",
    "cost": "Cost, guided and unguided samples in turn:"}


def text(parts: Mapping[str, Sequence[Mapping[str, object]]], undone: Sequence[str],
         old: Sequence[str]) -> str:
    """What stands between the markers of the README."""
    makers = sorted({one.maker for one in truths() if one.maker})
    counts = f"{SAMPLES} guided samples a truth, {UNGUIDED_SAMPLES} unguided. "
    lines = [counts + ", ".join(models().values()) + ".", "",
             "Left-out error of the target-makers (rms, DFT units): " + ", ".join(
                 f"{name} {left_out_error(name):.4f}" for name in makers) + ".", ""]
    for key, head in HEADS.items():
        if parts[key]:
            lines += [head, "", markdown(parts[key])]
    if undone:
        lines += [f"Not run: {', '.join(undone)}.", ""]
    if old:
        lines.append(f"Made by an earlier state of the source, or in another number than this run "
                     f"would: {', '.join(old)}.")
    return "\n".join(lines)


def draw(found: table.Found) -> None:
    """The figures, of what is there."""
    both = [one for one in truths() if one.name in found.get(AUTO, {})
            and one.name in found["unguided"]]
    if not both:
        return
    save_figure(draw_recovered([recovered_row(one, found) for one in truths()
                                if one.name in found["unguided"]]), EXPECTED / "recovered.png")
    save_figure(draw_residuals([residual_row(one, found) for one in sorted(
        both, key=lambda t: t.density)]), EXPECTED / "residuals.png")
    rows, shares = pair_rows(found)
    if rows:
        save_figure(draw_pairs(rows, shares), EXPECTED / "pairs.png")


def recovered_row(truth: Truth, found: table.Found) -> dict[str, Any]:
    """For :func:`figures.draw_recovered`."""
    line: dict[str, Any] = {"kind": truth.kind, "sp3": 100 * truth.sp3}
    for key, method in (("guided", AUTO), ("unguided", "unguided")):
        rows = found.get(method, {}).get(truth.name)
        line[key] = None if rows is None else {
            "mean": 100 * table.column(rows, "sp3").mean(),
            **{f"interval{share:.0f}": 100 * np.array(
                table.interval(rows, "sp3", share / 100, "sampled")) for share in (50, 90)}}
    return line


def residual_row(truth: Truth, found: table.Found) -> dict[str, Any]:
    """For :func:`figures.draw_residuals`."""
    rows, free = found[AUTO][truth.name], found["unguided"][truth.name]
    return {"name": truth.name, "density": truth.density, "floor": floor(truth).residual,
            "unguided": table.column(free, "judge"), "guided": table.column(rows, "judge"),
            "guided_relaxed": table.column(rows, "judge", "relaxed")}


def pair_rows(found: table.Found) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """For :func:`figures.draw_pairs`."""
    by_name = {one.name: one for one in truths()}
    shares = {pair: {"high": 100 * by_name[high].sp3, "low": 100 * by_name[low].sp3}
              for pair, (high, low) in table.PAIRS.items()}
    rows = [{"method": method, "pair": pair, "high": 100 * table.column(by_truth[high], "sp3"),
             "low": 100 * table.column(by_truth[low], "sp3")}
            for method, by_truth in found.items() for pair, (high, low) in table.PAIRS.items()
            if high in by_truth and low in by_truth and method not in ("coordination", "pdf")]
    return rows, shares
