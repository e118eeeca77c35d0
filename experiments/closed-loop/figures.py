"""Figures of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

KINDS = {"DFT": ("#0072B2", "s"), "pair": ("#D55E00", "D"), "network": ("#009E73", "o")}
GUIDED, UNGUIDED, FLOOR = "#D55E00", "#8a8a8a", "#0072B2"


def draw_recovered(rows: Sequence[Mapping[str, object]]) -> Figure:
    """sp3 asked against reached, with the 50 % and 90 % intervals; unguided beside it.

    Parameters
    ----------
    rows : ``kind``, ``sp3`` (of the truth), and for ``guided`` and ``unguided`` ``mean``,
        ``interval50``, ``interval90``, all in percent
    """
    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, method in zip(axes, ("guided", "unguided"), strict=True):
        axis.plot([0, 100], [0, 100], color="black", lw=0.8)
        for row in rows:
            if row[method] is not None:
                _interval(axis, row, method)
        axis.set(title=method, xlabel="sp³ of the truth (%)", xlim=(-3, 103), ylim=(-8, 108))
        axis.set_aspect("equal")
    axes[0].set_ylabel("sp³ of the samples (%)")
    for kind, (colour, marker) in KINDS.items():
        axes[0].plot([], [], marker, color=colour, label=kind)
    axes[0].plot([], [], color="#555555", lw=4, label="50 % interval")
    axes[0].plot([], [], color="#555555", lw=1, label="90 % interval")
    axes[0].legend(frameon=False, loc="upper left")
    return figure


def _interval(axis: Axes, row: Mapping[str, object], method: str) -> None:
    found, (colour, marker) = row[method], KINDS[str(row["kind"])]
    assert isinstance(found, Mapping)
    x = float(row["sp3"])  # type: ignore[arg-type]
    axis.plot([x, x], found["interval90"], color=colour, lw=1)
    axis.plot([x, x], found["interval50"], color=colour, lw=4, alpha=0.5, solid_capstyle="butt")
    axis.plot(x, found["mean"], marker, color=colour, ms=5, mec="white", mew=0.5)


def draw_residuals(rows: Sequence[Mapping[str, object]]) -> Figure:
    """Residuals by the judge of every truth: unguided, guided (open: relaxed), and the floor.

    Parameters
    ----------
    rows : ``name``, ``density``, ``floor``, and ``unguided``, ``guided``, ``guided_relaxed``: a
        list of residuals each, DFT units
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    axis = figure.subplots()
    for place, row in enumerate(rows):
        for key, offset, colour, face in (("unguided", -0.22, UNGUIDED, UNGUIDED),
                                          ("guided", 0.0, GUIDED, GUIDED),
                                          ("guided_relaxed", 0.22, GUIDED, "none")):
            values = np.asarray(row[key], dtype=float)
            axis.plot(np.full(len(values), place + offset), values, "o", ms=4, color=colour,
                      mfc=face, alpha=0.8, label=key.replace("_", ", ") if place == 0 else None)
        axis.hlines(float(row["floor"]), place - 0.38, place + 0.38, color=FLOOR, lw=2,  # type: ignore[arg-type]
                    label="floor" if place == 0 else None)
    axis.set_xticks(range(len(rows)), [f"{row['name']}\n{row['density']:.2f}" for row in rows],
                    rotation=60, fontsize=8)
    axis.set(ylabel="residual by the judge (DFT units)", ylim=(0, None),
             xlim=(-0.6, len(rows) - 0.4))
    axis.legend(frameon=False, loc="upper left")
    return figure


def draw_pairs(rows: Sequence[Mapping[str, object]], truths: Mapping[str, Mapping[str, float]],
               ) -> Figure:
    """sp3 of both members of each pair by method.

    Parameters
    ----------
    rows : ``method``, ``pair`` (density), ``high`` and ``low``: sp3 of the samples, percent
    truths : pair -> ``high`` and ``low``, percent
    """
    pairs = list(truths)
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    for axis, pair in zip(np.atleast_1d(figure.subplots(1, len(pairs))), pairs, strict=True):
        for which, colour in (("high", GUIDED), ("low", FLOOR)):
            axis.axhline(truths[pair][which], color=colour, lw=1, ls="--", label=f"{which}, truth")
            for row in (one for one in rows if one["pair"] == pair):
                place = methods.index(str(row["method"]))
                values = np.asarray(row[which], dtype=float)
                axis.plot(np.full(len(values), place), values, "o", ms=3.5, color=colour, alpha=0.5)
                if len(values):
                    axis.plot([place - 0.25, place + 0.25], [values.mean()] * 2, color=colour,
                              lw=2.5)
        axis.set_xticks(range(len(methods)), methods, rotation=40, ha="right")
        axis.set(title=f"{pair} g/cm³", ylabel="sp³ (%)", ylim=(0, 100))
        axis.legend(frameon=False)
    return figure
