"""The table, the files and the page of a surrogate's evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.command_line import text_table
from diffxas.files import write_json
from surrogates.datasets import SiteSpectra
from surrogates.evaluation import (
    MEAN,
    NINETY,
    RESULT,
    EvaluationOptions,
    Findings,
    left_out,
    seen_sentence,
    table_rows,
)
from surrogates.evaluation_data import PARTS, RELATED, SEEN
from surrogates.metrics import cosine, mae, mse
from surrogates.prediction import write_csv

if TYPE_CHECKING:
    from diffxas.report import FigureBlock

COLUMNS = {"mse": "MSE", "mae": "MAE", "cell_mean_mae": "cell MAE", "spearman": "rho",
           "pearson": "r", "cosine": "cos", "eta": "eta", "variance_share": "/var",
           "coverage_90": "in 90%", "out_of_domain": "out"}
FORMS = {"mse": "{:.2g}", "mae": "{:.2g}", "cell_mean_mae": "{:.2g}", "spearman": "{:.3f}",
         "pearson": "{:.3f}", "cosine": "{:.3f}", "eta": "{:.2f}", "variance_share": "{:.2f}",
         "coverage_90": "{:.0%}", "out_of_domain": "{:.0%}"}
CAPTION = (
    "MSE, MAE: of a site, mean over sites, model units over the compared energies. Cell MAE: of "
    "the mean over a structure's labelled sites, mean over structures. rho, r, cos: Spearman, "
    "Pearson and cosine, means over sites. eta (OmniXAS, arXiv:2409.19552): median squared error "
    "of the mean predictor over that of the surrogate. /var: MSE over the variance of the row's "
    "sites. In 90%: share of sites and energies where the truth lies within "
    f"{NINETY:g} stated deviations. Out: share of sites that the surrogate flags as outside its "
    "training domain.")


def content_of(options: EvaluationOptions, record: Mapping[str, Any], found: Sequence[Findings],
               items: Sequence[SiteSpectra], command: str) -> dict[str, Any]:
    """The content of ``evaluation.json``."""
    notes = [note for one in found for note in one.notes]
    for name, sites in left_out(items, found).items():
        notes.append(f"{sites} sites of {name} in DATA are not compared: the surrogate was not "
                     f"asked for them")
    notes += [sentence for one in found if (sentence := seen_sentence(one))]
    related = {str(one.theory): sum(len(j.item.sites) for j in one.of_part(RELATED))
               for one in found}
    notes += [f"related: {n} sites of {name} are of networks, materials or structures that the "
              f"surrogate knows from other cells or another theory" for name, n in related.items()
              if n]
    for one in found:
        source = "training sites" if one.mean_of == MEAN else "sites of DATA (none in the weights)"
        notes.append(f"{one.theory}: the mean predictor is the mean of the {source}")
    return {
        "surrogate": options.surrogate, "family": record.get("family"),
        "theories": [one.theory.name for one in found],
        "rows": [row for one in found for row in table_rows(one)],
        "mean_predictor": {str(one.theory): one.mean_of for one in found},
        "energies": {str(one.theory): [one.energy[0], one.energy[-1], len(one.energy)]
                     for one in found},
        "notes": notes, "measures": CAPTION, "command": command,
        "model": {key: record.get(key) for key in ("version", "edge", "licence", "axis_note")},
        "data_hash": record.get("training", {}).get("data_hash"),
    }


def table_of(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows in words; a group or the mean predictor stands under its part."""
    header = ["", "sites", *COLUMNS.values()]
    return header, [[_what(row), str(row["sites"]),
                     *(_number(row[key], FORMS[key]) for key in COLUMNS)] for row in rows]


def _what(row: Mapping[str, Any]) -> str:
    return (f"{row['part']}, {row['theory']} {row['edge']}" if row["group"] == "all"
            else f"  {row['group']}")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or not np.isfinite(value) else form.format(value)


def text_of(content: Mapping[str, Any]) -> str:
    """Table and notes for the terminal."""
    return "\n".join([text_table(*table_of(content["rows"])), "", *content["notes"]])


def write_evaluation(found: Sequence[Findings], content: Mapping[str, Any], out: Path) -> None:
    """``evaluation.json``, which marks the folder as ours, tables, figures and ``report.html``."""
    from diffxas.plots import save_figure
    from diffxas.report import write_document

    write_json(out / RESULT, dict(content))
    rows = content["rows"]
    write_csv(out / "evaluation.csv", list(rows[0]),
              (["" if value is None else value for value in row.values()] for row in rows))
    write_csv(out / "sites.csv", SITE_COLUMNS, (line for one in found for line in site_lines(one)))
    blocks = figures_of(found)
    for block in blocks:
        save_figure(block.figure, out / "figures" / f"{block.name}.png")
    write_document(document_of(content, blocks), out / "report.html")


SITE_COLUMNS = ("theory", "edge", "part", "group", "structure", "parent", "atom", "mse", "mae",
                "cosine", "coverage_90", "domain_score", "isolated")


def site_lines(found: Findings) -> list[list[Any]]:
    """A line for each site."""
    lines = []
    for one in found.judged:
        errors, absolute = mse(one.predicted, one.true), mae(one.predicted, one.true)
        alike = cosine(one.predicted, one.true)
        inside = (np.abs(one.predicted - one.true) <= NINETY * one.deviation).mean(1)
        for k, atom in enumerate(one.item.sites):
            lines.append([
                found.theory.kind, f"{found.theory.element}:{found.theory.edge}", one.part,
                one.group, one.item.name, one.item.parent, int(atom), errors[k], absolute[k],
                alike[k], inside[k], "" if one.outside is None else one.outside[k],
                "isolated" if one.alone[k] else ""])
    return lines


def figures_of(found: Sequence[Findings]) -> list[FigureBlock]:
    """Two figures of every theory and part."""
    from diffxas.report import FigureBlock
    from surrogates.evaluation_figures import parity_figure, spectra_figure

    blocks = []
    for one in found:
        for part in PARTS:
            judged = one.of_part(part)
            if not judged:
                continue
            what = f"{one.theory}, {part}" + (" (memory, not skill)" if part == SEEN else "")
            end = "_".join([one.theory.kind, one.theory.element, one.theory.edge, part]).replace(
                ",", "").replace(" ", "_")
            blocks += [
                FigureBlock(f"parity_{end}", f"Parity and errors: {what}",
                            "All sites and energies; orange: mean and scatter of the prediction "
                            "in bins of the truth. Dashed lines: medians.",
                            parity_figure(one, judged)),
                FigureBlock(f"spectra_{end}", f"Best, median and worst: {what}",
                            "Single sites; below, if there are several structures, means over the "
                            "labelled sites, with the error of a mean that the surrogate's config "
                            "states (no band where it states none).",
                            spectra_figure(one, judged))]
    return blocks


def document_of(content: Mapping[str, Any], figures: Sequence[FigureBlock]) -> Any:
    """The page."""
    from diffxas.report import Document, Section, Table

    header, lines = table_of(content["rows"])
    strong = frozenset(k for k, row in enumerate(content["rows"]) if row["group"] == "all")
    model = content["model"]
    return Document(
        title=f"Surrogate {content['surrogate']} against computed spectra",
        lead=tuple(content["notes"]), command=content["command"],
        facts=(("family", str(content["family"])), ("theories", ", ".join(content["theories"])),
               ("compared", "; ".join(f"{name} {low:g} to {high:g} eV, {n} points"
                                      for name, (low, high, n) in content["energies"].items())),
               ("energies", str(model["axis_note"] or "as in the data")),
               ("licence", str(model["licence"] or "not stated"))),
        sections=(Section("Errors", tables=(Table("By part and group", tuple(header), tuple(
            tuple(line) for line in lines), CAPTION, strong),)),
                  Section("Figures", figures=tuple(figures))))
