"""Figures of experiments/scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffxas.analysis import coordination
from diffxas.structure import Structure
from experiments.scale.kept import Row

SERIES = {"sampling": ("sampling, one process", "#0072B2", "o"),
          "sampling 2": ("sampling, two workers", "#009E73", "^"),
          "end-to-end": ("with rebo relaxation", "#D55E00", "s"),
          "guided": ("guided", "#CC79A7", "D"),
          "melt-quench": ("melt-quench (LAMMPS, rebo)", "#555555", "v")}
COORDINATION = {2: ("sp (2 bonds)", "#009E73"), 3: ("sp² (3)", "#0072B2"),
                4: ("sp³ (4)", "#D55E00")}
OTHER = ("other", "#999999")
DENSITIES = {2.0: "#0072B2", 3.0: "#D55E00"}
THICKNESS = 5.0
"""angstrom, of the slice."""


def draw_sizes(rows: Sequence[Row]) -> Figure:
    """Wall time and peak memory of whole commands against atoms."""
    figure = Figure(figsize=(10.4, 4.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for key, (label, colour, marker) in SERIES.items():
        kind, _, workers = key.partition(" ")
        some = sorted((row["atoms"], row["wall"] / 60, row["peak"] / 1024) for row in rows
                      if row["kind"] == kind
                      and (kind != "sampling" or row["workers"] == (2 if workers else None)))
        if not some:
            continue
        atoms, minutes, memory = zip(*some, strict=True)
        for axis, values in zip(axes, (minutes, memory), strict=True):
            axis.plot(atoms, values, marker, ls="-", color=colour, lw=1.2, ms=5, label=label)
    for axis, what in zip(axes, ("wall time of the command (min)", "peak memory (GiB)"),
                          strict=True):
        axis.set(xscale="log", yscale="log", xlabel="atoms", ylabel=what)
        axis.grid(True, which="major", color="#dddddd", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def draw_quality(unguided: Sequence[Row], guided: Sequence[Row]) -> Figure:
    """Four measures against denoiser calls; dashed is what is asked, dotted the networks."""
    figure = Figure(figsize=(10.4, 7.2), layout="constrained")
    axes = figure.subplots(2, 2)
    panels = [("points", "sp, sp², sp³: most off\nthe networks' line (points)", 4.0),
              ("times g(r)", "distance of g(r) (solid), angles (thin)\nover networks' own", 1.5),
              ("energy_relaxed", "rebo energy, relaxed (eV/atom)", None)]
    for (key, what, asked), axis in zip(panels, axes.flat[:3], strict=True):
        for density, colour in DENSITIES.items():
            some = sorted((row for row in unguided if row["density"] == density),
                          key=lambda row: row["calls"])
            x = [row["calls"] for row in some]
            axis.plot(x, [row[key] for row in some], "o-", color=colour, ms=4,
                      label=f"{density:.1f} g/cm³")
            if key == "times g(r)":
                axis.plot(x, [row["times angles"] for row in some], "o-", color=colour, ms=3,
                          lw=0.7, alpha=0.6)
            if key == "energy_relaxed" and some:
                axis.axhline(some[0]["energy_networks"], color=colour, lw=1, ls=":")
        if asked is not None:
            axis.axhline(asked, color="black", lw=0.9, ls="--")
            axis.set_ylim(bottom=0)
        axis.set_ylabel(what)
    last = axes.flat[3]
    for density, colour in DENSITIES.items():
        some = sorted((row for row in guided if row["density"] == density),
                      key=lambda row: row["calls"])
        last.plot([row["calls"] for row in some], [row["over_truth"] for row in some], "s-",
                  color=colour, ms=5)
    last.axhline(1.5, color="black", lw=0.9, ls="--")
    last.set(ylabel="guided: judge's residual over the truth's", ylim=(0, None))
    for axis in axes.flat:
        axis.set(xlabel="denoiser calls")
        axis.set_xlim(0, 68)
        axis.spines[["top", "right"]].set_visible(False)
    axes.flat[0].legend(frameon=False)
    return figure


def draw_slice(structure: Structure, tiles: Sequence[int] = (1, 1, 1)) -> Figure:
    """A slice through the middle of a box, seen along z; bonds counted in the whole structure.

    Parameters
    ----------
    tiles : how often each edge was cut; the cuts are marked at the frame
    """
    counts = coordination(structure)
    x = structure.wrapped().positions
    edges = np.diag(structure.cell)
    inside = np.abs(x[:, 2] - edges[2] / 2) < THICKNESS / 2
    order = np.argsort(x[inside, 2])
    x, counts = x[inside][order], counts[inside][order]
    figure = Figure(figsize=(8.0, 8.0), layout="constrained")
    axis = figure.subplots()
    colours = np.array([COORDINATION.get(int(n), OTHER)[1] for n in counts])
    size = (1.25 * 72 * 7.2 / edges[0]) ** 2  # an atom of 1.25 angstrom across, in points^2
    axis.scatter(x[:, 0], x[:, 1], s=size, c=colours, edgecolors="white", linewidths=0.25)
    for axis_number, ticks in ((0, axis.axvline), (1, axis.axhline)):
        for k in range(1, tiles[axis_number]):
            span = {"ymax" if axis_number == 0 else "xmax": 0.012}
            ticks(k * edges[axis_number] / tiles[axis_number], color="black", lw=1.2, **span)
    axis.set(xlim=(0, edges[0]), ylim=(0, edges[1]), xlabel="x (Å)", ylabel="y (Å)", aspect="equal",
             title=f"{len(structure):,} atoms, {structure.density:.2f} g/cm³: a slice of "
                   f"{THICKNESS:g} Å")
    handles = [Line2D([], [], ls="", marker="o", color=colour, label=label)
               for label, colour in (*COORDINATION.values(), OTHER)]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure
