"""The tables, the trend and the page of a campaign."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from diffxas.files import write_json
from diffxas.report.document import (
    Cell,
    Document,
    FigureBlock,
    Link,
    Section,
    Table,
    write_document,
)
from samplers.campaign_figure import PANELS, figure_of, labels_of
from samplers.campaign_rows import FAILED, FINISHED, OUT_OF_REACH
from samplers.campaign_setup import Campaign
from samplers.csv_lines import Line, write_lines

CAPTION = (
    "Mean, and the 90 % interval in brackets: of the posterior over the samples that a member "
    "offers, as its report has it. A density that was given has no width; few samples make wide "
    "intervals. pi* is the classical estimate (an sp2 fraction where there is no sp), its interval "
    "the scatter over the fits of the samples. Residuals are means over samples, as sampled and "
    "relaxed; the judge did not guide.")
TREND = (
    "Point: mean; thick: 50 % interval; thin: 90 % interval. Open: the target is out of reach. "
    "{}Members of one colour differ in their target alone.")


def write_tables(found: Campaign) -> None:
    """``campaign.csv``, and ``campaign.json`` with the same and the plan."""
    rows = list(found.rows.values())
    write_lines(found.out / "campaign.csv", rows)
    write_json(found.out / "campaign.json", summary(found))


def write_all(found: Campaign) -> None:
    """The tables, the figure and ``report.html``."""
    from diffxas.plots import save_figure

    write_tables(found)
    page = document_of(found)
    for section in page.sections:
        for block in section.figures:
            save_figure(block.figure, found.out / "figures" / f"{block.name}.png")
    write_document(page, found.out / "report.html")


def summary(found: Campaign) -> dict[str, Any]:
    """The content of ``campaign.json``."""
    import diffxas

    members = [{**row, "command": found.tasks[name].command} for name, row in found.rows.items()]
    return {"members": members, "label_name": found.plan.label_name,
            "states": dict(Counter(row["state"] for row in found.rows.values())),
            "warnings": list(found.warnings), "models": found.models,
            "plan": dict(found.plan.content), "command": found.command,
            "version": diffxas.__version__}


def document_of(found: Campaign) -> Document:
    """The page."""
    rows = list(found.rows.values())
    counts = Counter(row["state"] for row in rows)
    failed = [f"Failed: {row['name']}: {row['reason']}" for row in rows if row["state"] == FAILED]
    missed = found.in_state(OUT_OF_REACH)
    warnings = [*failed, *((f"Out of reach: the targets of {', '.join(missed)}.",) if missed
                           else ()), *found.warnings]
    figure = figure_of(rows, found.plan.label_name)
    left_out = sum(label is None for label in labels_of(rows))
    caption = TREND.format(f"{left_out} members without a label are left out. " if left_out else "")
    trend = () if figure is None else (FigureBlock("trend", "", caption, figure),)
    return Document(
        f"Campaign: {len(rows)} members", command=found.command,
        lead=("; ".join(f"{state}: {count}" for state, count in counts.items())
              + ". Names lead to the members' own reports.",),
        warnings=tuple(warnings),
        sections=(Section("Trend", figures=trend),
                  Section("Members", tables=(_members(rows, found.plan.label_name),)),
                  Section("Fit and cost", tables=(_costs(rows),))))


def _members(rows: list[Line], label_name: str) -> Table:
    """What each member is of, and what it says of the material."""
    names = ["density", "sp", "sp2", "sp3", "pi_star_sp2"]
    heads = {"density": "density (g/cm³)", "pi_star_sp2": PANELS["pi_star_sp2"][0]}
    lines = [(_name(row), row["label"], row["target"], row["series"] or None, row["state"],
              *(_interval(row, name, 1.0 if name in heads else 100.0) for name in names))
             for row in rows]
    return Table("", ("member", label_name, "target", "varied", "state",
                      *(heads.get(name, f"{name} (%)") for name in names)), tuple(lines), CAPTION)


def _costs(rows: list[Line]) -> Table:
    """Residuals, energy, seconds."""
    lines = [(row["name"], row["residual_sampled"], row["residual_relaxed"], row["judge_sampled"],
              row["judge_relaxed"], row["residual_best"],
              None if row["energy_per_atom"] is None else f"{row['energy_per_atom']:.3f}",
              row["samples"], row["seconds"], row["warnings"]) for row in rows]
    return Table("", ("member", "residual, sampled", "relaxed", "judge, sampled", "relaxed",
                      "best answer", "energy (eV/atom)", "samples", "seconds", "warnings"),
                 tuple(lines), "Seconds are of sampling and relaxing. Warnings stand in the "
                 "member's own report.")


def _name(row: Line) -> Cell:
    if row["state"] not in (FINISHED, OUT_OF_REACH):
        return str(row["name"])
    return Link(row["name"], f"{row['folder']}/report.html")


def _interval(row: Mapping[str, Any], name: str, unit: float) -> Cell:
    mean, low, high = row[name], row[f"{name}_90_low"], row[f"{name}_90_high"]
    if mean is None:
        return None
    digits = 2 if unit == 1.0 else 0
    text = f"{unit * mean:.{digits}f}"
    return text if low is None or low == high else (
        f"{text} ({unit * low:.{digits}f} to {unit * high:.{digits}f})")
