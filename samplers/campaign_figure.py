"""The trend of a campaign: sp3, density and pi* with their intervals against the user's labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from samplers.campaign_plan import Label
from samplers.campaign_rows import FINISHED, OUT_OF_REACH
from samplers.csv_lines import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"sp3": ("sp3 (%)", 100.0), "density": ("density (g/cm³)", 1.0),
          "pi_star_sp2": ("pi orbitals an atom, by pi*", 1.0)}
"""Column of ``campaign.csv`` -> label of the ordinate, and what a number is multiplied by."""
APART, APART_IN_CATEGORY = 0.012, 0.12
"""Distance between series at one label: in spans of a number axis, and in categories."""


def figure_of(rows: Sequence[Line], label_name: str) -> Figure | None:
    """Mean, 50 % (thick) and 90 % (thin) intervals of what is finished; None if nothing is.

    Labels that all are numbers are a number axis, other labels are categories in the order of the
    rows. Members without a label stand under the name of their target where no member has one, and
    are left out where others have.
    """
    points = [(row, label) for row, label in zip(rows, labels_of(rows), strict=True)
              if label is not None and row["state"] in (FINISHED, OUT_OF_REACH)]
    names = [name for name in PANELS if any(row[name] is not None for row, _ in points)]
    if not points or not names:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from diffxas.plots import DPI, sample_colour

    places, ticks = _places([label for _, label in points])
    series = list(dict.fromkeys(row["series"] for row, _ in points))
    figure = Figure(figsize=(max(6.5, 0.45 * len(ticks)), 0.9 + 2.1 * len(names)), dpi=DPI,
                    layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
    step = APART_IN_CATEGORY if ticks else APART * (float(np.ptp(places)) or 1.0)
    for axis, name in zip(axes, names, strict=True):
        axis.spines[["top", "right"]].set_visible(False)
        for number, one in enumerate(series):
            chosen = [k for k, (row, _) in enumerate(points)
                      if row["series"] == one and row[name] is not None]
            shift = step * (number - (len(series) - 1) / 2)
            _draw(axis, places[chosen] + shift, [points[k][0] for k in chosen], name,
                  sample_colour(number), one)
        axis.set_ylabel(PANELS[name][0])
    bottom = axes[-1]
    bottom.set_xlabel(label_name)
    if ticks:
        bottom.set_xticks(range(len(ticks)), ticks, rotation=30 if len(ticks) > 4 else 0,
                          ha="right" if len(ticks) > 4 else "center")
        bottom.set_xlim(-0.5, len(ticks) - 0.5)
    if len(series) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center",
                      ncols=min(len(series), 4), frameon=False)
    return figure


def labels_of(rows: Sequence[Line]) -> list[Label | None]:
    """Where each row stands in the trend; None for a row that does not."""
    if any(row["label"] is not None for row in rows):
        return [row["label"] for row in rows]
    return [row["name"] if row["target"] is None else PurePath(row["target"]).stem for row in rows]


def _places(labels: Sequence[Label]) -> tuple[np.ndarray, list[str]]:
    """Where points stand, and the names of categories; no names where labels are numbers."""
    if all(not isinstance(label, str) for label in labels):
        return np.array(labels, dtype=float), []
    names = list(dict.fromkeys(str(label) for label in labels))
    return np.array([float(names.index(str(label))) for label in labels]), names


def _draw(axis: Axes, x: np.ndarray, rows: Sequence[Line], name: str, colour: str,
          series: str) -> None:
    """One series: intervals, means, and a line through them where each label is there once."""
    unit = PANELS[name][1]
    mean = unit * np.array([row[name] for row in rows], dtype=float)
    order = np.argsort(x, kind="stable")
    if len(set(x.tolist())) == len(x) > 1:
        axis.plot(x[order], mean[order], color=colour, lw=0.8, alpha=0.6, zorder=1)
    for share, width, alpha in (("90", 1.2, 1.0), ("50", 4.5, 0.45)):
        ends = np.array([[row[f"{name}_{share}_{end}"] for end in ("low", "high")]
                         for row in rows], dtype=float).reshape(-1, 2)
        known = np.isfinite(ends).all(axis=1)
        axis.vlines(x[known], *(unit * ends[known].T), color=colour, lw=width, alpha=alpha,
                    zorder=2)
    reached = np.array([row["state"] == FINISHED for row in rows], dtype=bool)
    for chosen, face in ((reached, colour), (~reached, "white")):
        axis.plot(x[chosen], mean[chosen], ls="", marker="o", ms=6, mec=colour, mfc=face, zorder=3,
                  label=series if face != "white" or not reached.any() else None)
