"""The page and the figures of ``diffxas analyse``, drawn from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffxas import plots
from diffxas.cutoffs import Cutoffs, bond_lengths, cutoff_text
from diffxas.report.document import Cell, Document, FigureBlock, Section, Table, View
from diffxas.report.generated import pair_tables
from diffxas.structure import Structure

Numbers = Mapping[str, Any]
Curve = tuple[np.ndarray, np.ndarray]

MAXIMUM_REFERENCES = 4
"""With more references than this, their mean alone is drawn."""

CURVES = (
    ("rdf", "r", "g", "distance (Å)", "g(r)", "Radial distribution function",
     "Every periodic image counts."),
    ("structure_factor", "q", "s", "q (1/Å)", "S(Q)", "Structure factor",
     "On the wave vectors that the cell allows, all atoms weighted alike; averaged over "
     "directions."),
    ("angles", "angle", "density", "angle between bonds (°)", "share per degree", "Bond angles",
     "Angles between the bonds of one atom; 120° in graphite, 109.5° in diamond."),
)


def analysis_figures(structures: Sequence[Numbers], references: Sequence[Numbers],
                     ) -> list[FigureBlock]:
    """Coordination, rings, g(r), S(Q) and angles, with the references in black."""
    figures = [_bars(structures, references, "coordination", "number of bonds", "share of atoms",
                     "Coordination", "Atoms by their number of bonds; 6 stands for six or more."),
               _bars(structures, references, "rings_per_atom", "atoms in the ring",
                     "rings per atom", "Shortest-path rings",
                     "Franzblau's rings: no two of their atoms have a shorter way through the "
                     "network than along the ring.")]
    for key, x, y, x_label, y_label, title, caption in CURVES:
        found = {one["label"]: _curve(one, key, x, y) for one in structures if one[key] is not None}
        if not found:
            continue
        known = {one["label"]: _curve(one, key, x, y) for one in references if one[key] is not None}
        figure = plots.plot_curves({"": found}, x_label, y_label, _reference(known),
                                   baseline=1.0 if key != "angles" else None)
        figures.append(FigureBlock(key, title, caption, figure))
    return figures + _partial_figures(structures, references)


def _partial_figures(structures: Sequence[Numbers], references: Sequence[Numbers],
                     ) -> list[FigureBlock]:
    """g(r) of each pair of elements, where there are several."""
    figures = []
    for pair in dict.fromkeys(pair for one in structures for pair in one["partial_rdf"]):
        found, known = ({one["label"]: _curve(one["partial_rdf"], pair, "r", "g")
                         for one in group if pair in one["partial_rdf"]}
                        for group in (structures, references))
        figure = plots.plot_curves({"": found}, "distance (Å)", f"g(r), {pair}", _reference(known),
                                   baseline=1.0)
        figures.append(FigureBlock(
            f"rdf_{pair}", f"Partial radial distribution function, {pair}",
            "Every periodic image counts.", figure))
    return figures


def analysis_document(structures: Sequence[Numbers], references: Sequence[Numbers],
                      labelled: Sequence[tuple[str, Structure]], figures: Sequence[FigureBlock],
                      command: str, cutoffs: Cutoffs | None = None) -> Document:
    """The page: a table, the structures, the figures."""
    everything = [*structures, *references]
    tables = [_table(everything, len(references))]
    tables += pair_tables([one["label"] for one in everything], everything)
    if references:
        tables.append(_distance_table(everything))
    n = len(structures)
    return Document(
        title="Analysis of " + (structures[0]["label"] if n == 1 else f"{n} structures"),
        lead=(f"{len(references)} reference structure{'s' if len(references) > 1 else ''} for "
              f"comparison, black in the figures.",) if references else (),
        command=command,
        facts=(("longest bonds", cutoff_text(cutoffs)),) if cutoffs else (),
        cutoffs=bond_lengths(cutoffs or {}),
        sections=(Section("Numbers", tables=tuple(tables)),
                  Section("Figures", figures=tuple(figures))),
        views=tuple(View(label, "as given", structure) for label, structure in labelled))


def _curve(one: Numbers, key: str, x: str, y: str) -> Curve:
    """Points of a curve; bins without a value are left out."""
    ordinate = np.array(one[key][y], float)
    known = np.isfinite(ordinate)
    return np.array(one[key][x], float)[known], ordinate[known]


def _reference(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The references' curves by name, or their mean if there are many."""
    if len(curves) <= MAXIMUM_REFERENCES:
        return {f"{label} (reference)": curve for label, curve in curves.items()}
    abscissa = np.unique(np.concatenate([np.round(x, 9) for x, _ in curves.values()]))
    total, count = np.zeros(len(abscissa)), np.zeros(len(abscissa))
    for x, y in curves.values():
        place = np.searchsorted(abscissa, np.round(x, 9))
        total[place] += y
        count[place] += 1
    return {f"mean of {len(curves)} references": (abscissa, total / count)}


def _bars(structures: Sequence[Numbers], references: Sequence[Numbers], key: str, x_label: str,
          y_label: str, title: str, caption: str) -> FigureBlock:
    groups = ({one["label"]: [one[key]] for one in structures}
              if len(structures) <= plots.MANY // 2
              else {f"{len(structures)} structures": [one[key] for one in structures]})
    colours = {}
    if references:
        name = "reference" if len(references) == 1 else f"{len(references)} references"
        groups[name], colours[name] = [one[key] for one in references], "black"
    figure = plots.plot_bars(groups, x_label, y_label, colours)
    many = any(len(members) > 1 for members in groups.values())
    return FigureBlock(key, title, caption + (" Bars are means, dots single structures."
                                              if many else ""), figure)


def _table(everything: Sequence[Numbers], n_references: int) -> Table:
    used = [key for key in everything[0]["coordination"]
            if any(one["coordination"][key] > 0 for one in everything)]
    columns: dict[str, list[Cell]] = {
        "structure": [one["label"] for one in everything],
        "formula": [one["formula"] for one in everything],
        "density (g/cm³)": [one["density"] for one in everything],
        "shortest distance (Å)": [one["minimum_distance"] for one in everything],
        "energy (eV/atom)": [one["energy_per_atom"] for one in everything],
        "mean angle (°)": [one["mean_angle"] for one in everything],
        **{f"{key} bonds (%)": [round(100 * one["coordination"][key], 1) for one in everything]
           for key in used},
    }
    shown = {k: v for k, v in columns.items() if any(x is not None for x in v)}
    last = f" The last {n_references} are references." if n_references else ""
    return Table("", tuple(shown), tuple(zip(*shown.values(), strict=True)), last.strip())


def _distance_table(everything: Sequence[Numbers]) -> Table:
    names = {"rdf": "g(r)", "structure_factor": "S(Q)", "angles": "angles",
             "coordination": "coordination", "rings_per_atom": "rings"}
    names |= {key: f"g(r), {key.removeprefix('rdf_')}" for one in everything
              for key in one.get("distances", {}) if key.startswith("rdf_")}
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (one["label"], *(one["distances"].get(key) for key in names))
        for one in everything if "distances" in one)
    return Table("Distance to the references", ("structure", *names.values()), rows,
                 "Integral of the absolute difference to the mean of the references, over the "
                 "integral of that mean. References are held against the mean of the others: "
                 "differences of that size mean nothing.")
