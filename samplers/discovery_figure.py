"""The figure of a discovery: asked against achieved, with the energy as colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samplers.guides.asked import Asked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 4
"""Quantities that are drawn; more stand in the tables alone."""


def figure_of(asked: Mapping[str, Mapping[str, Any]],
              lines: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Achieved values, a panel a quantity; None without samples.

    Parameters
    ----------
    asked : ask's name -> name of a quantity -> what is asked
    lines : rows of ``ranking.csv``
    """
    names = [name for name in dict.fromkeys(n for one in asked.values() for n in one)
             if any(f"{name} asked" in line for line in lines)][:MOST_PANELS]
    if not names:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from diffxas.plots import DPI, GREY

    figure = Figure(figsize=(1.4 + 4.0 * len(names), 3.8), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    energies = [line["energy_per_atom"] for line in lines if line["energy_per_atom"] is not None]
    norm = Normalize(min(energies), max(energies)) if energies else None
    shades = None
    for axis, name in zip(axes, names, strict=True):
        axis.spines[["top", "right"]].set_visible(False)
        rows = [line for line in lines if f"{name} asked" in line]
        x, x_label = _places(axis, name, rows)
        sampled = _numbers(line[f"{name} sampled"] for line in rows)
        final = _numbers(line[f"{name} relaxed"] if line[f"{name} judged"] is None else
                         line[f"{name} judged"] for line in rows)
        energy = _numbers(line["energy_per_atom"] for line in rows)
        known = np.isfinite(energy)
        axis.plot(x, sampled, ls="", marker="o", ms=5, mfc="none", mec=GREY, zorder=2)
        axis.plot(x[~known], final[~known], ls="", marker="o", ms=6, color=GREY, zorder=3)
        shades = axis.scatter(x[known], final[known], c=energy[known], norm=norm, cmap="viridis",
                              s=42, zorder=4, edgecolors="black", linewidths=0.4)
        axis.set_xlabel(x_label)
        axis.set_ylabel(f"{name}, achieved")
    if norm is not None and shades is not None:
        figure.colorbar(shades, ax=list(axes), label="energy per atom, relaxed (eV)")
    return figure


def _places(axis: Axes, name: str, rows: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, str]:
    """Where the rows stand along x, and what x is; draws what was asked."""
    requests = [_request(row[f"{name} asked"]) for row in rows]
    first = requests[0]
    if any(one != first for one in requests):
        x = np.array([_middle(one) for one in requests])
        ends = [float(np.nanmin(x)), float(np.nanmax(x))]
        axis.plot(ends, ends, color="black", lw=1.0, zorder=1)
        return x, f"{name}, asked"
    if first is not None and first.value is not None:
        axis.axhline(first.value, color="black", lw=1.0, zorder=1)
    elif first is not None:
        for bound in (first.low, first.high):
            if math.isfinite(bound):
                axis.axhline(bound, color="black", lw=1.0, ls="--", zorder=1)
    return np.array([row["density"] for row in rows]), "density (g/cm³)"


def _request(asked: Any) -> Asked | None:
    """What is asked; None where it is no value."""
    return None if asked is None else Asked.parse(f"={asked}", 1.0, "asked")


def _middle(one: Asked | None) -> float:
    """The value, the middle of an interval, or its one bound."""
    bounds = [] if one is None else [x for x in (one.low, one.high) if math.isfinite(x)]
    return sum(bounds) / len(bounds) if bounds else math.nan


def _numbers(values: Any) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=float)
