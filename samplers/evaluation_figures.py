"""Figures of an evaluation: reference black, samples in colour, quenched cells grey."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from diffxas.networks import ANGLE_BIN, LOCAL, NEAR, WITHIN, local_value, radii
from diffxas.plots import COORDINATION_COLOURS, DPI, GREY, SAMPLE_COLOURS
from diffxas.rings import SMALLEST_RING
from samplers.evaluation_measures import Judge, Member, Row, trivial
from samplers.learning_curve import SIGMAS, Losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

By = Mapping[float, Sequence[Member]]
COLUMNS = 5
LEAST_SHARE = 0.02
"""Kinds of bonding that no cell has in a larger share of its atoms are not drawn."""


def _axes(rows: int, columns: int, width: float, height: float,
          share: bool = True) -> tuple[Figure, np.ndarray]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex="col" if share else False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def coordination_figure(judge: Judge, samples: By, quenched: Sequence[Member]) -> Figure:
    """Shares by bonds against density: reference as dots with its fit, samples as diamonds."""
    everything = [*judge.reference, *quenched, *(one for group in samples.values()
                                                 for one in group)]
    keys = [key for key in sorted({key for one in everything for key in one.profile.shares})
            if not trivial(key)
            and max(one.profile.shares.get(key, 0) for one in everything) > LEAST_SHARE]
    pairs = list(dict.fromkeys(key.rpartition(" ")[0] for key in keys))
    figure, axes = _axes(1, max(1, len(pairs)), 7.2 if len(pairs) < 2 else 4.0 * len(pairs), 4.2)
    for axis, pair in zip(axes[0], pairs, strict=False):
        for key in (key for key in keys if key.rpartition(" ")[0] == pair):
            number = key.rpartition(" ")[2]
            _against_density(axis, judge.reference, samples, quenched,
                             lambda one, key=key: 100 * one.profile.shares.get(key, 0.0),  # type: ignore[misc]
                             COORDINATION_COLOURS.get(number, GREY), f"{number} bonds", WITHIN)
        axis.set(xlabel="density (g/cm³)", ylim=(-3, None), title=pair)
    axes[0, 0].set_ylabel("% of atoms")
    _key(axes[0, 0], bool(quenched))
    return figure


def _against_density(axis: Axes, reference: Sequence[Member], samples: By,
                     quenched: Sequence[Member], value: Callable[[Member], float], colour: str,
                     label: str | None, within: float) -> None:
    density = np.array([one.density for one in reference])
    values = np.array([value(one) for one in reference])
    axis.plot(density, values, ".", ms=4, color=colour, alpha=0.55)
    # The fit is shown where it is used: a line at the edge of the data has few points to hold it.
    grid = np.linspace(density.min(), density.max(), 80)
    axis.plot(grid, [local_value(density, values, x, within) for x in grid], color=colour, lw=1.0,
              label=label)
    if np.ptp(density) < NEAR:
        axis.set_xlim(density.min() - NEAR, density.max() + NEAR)
    for rho, members in samples.items():
        found = np.array([value(one) for one in members])
        axis.errorbar(rho, np.nanmean(found), np.nanstd(found), fmt="D", ms=6.5, color=colour,
                      mec="black", zorder=4)
    axis.plot([one.density for one in quenched], [value(one) for one in quenched], "s", ms=5,
              mfc="white", mec=colour, zorder=3)


def _key(axis: Axes, quenched: bool) -> None:
    """What the symbols are, below the names of the colours."""
    axis.plot([], [], ".", color="black", label="reference, and its fit")
    axis.plot([], [], "D", color="white", mec="black", label="samples")
    if quenched:
        axis.plot([], [], "s", mfc="white", mec="black", label="quenched")
    handles = {label: handle for one in axis.figure.axes for handle, label in
               zip(*one.get_legend_handles_labels(), strict=True)}
    axis.figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False,
                       fontsize=8)


def energy_figure(judge: Judge, samples: By, quenched: Sequence[Member],
                  potentials: Sequence[str]) -> Figure:
    """Relaxed energy above, displacement in the relaxation below, against density."""
    figure, axes = _axes(2, len(potentials), max(6.4, 4.6 * len(potentials)), 6.0)
    for column, potential in enumerate(potentials):
        def energy(one: Member, potential: str = potential) -> float:
            return one.settled[potential].energy

        def moved(one: Member, potential: str = potential) -> float:
            return one.settled[potential].moved

        for axis, value, name in zip(axes[:, column], (energy, moved),
                                     ("energy, relaxed (eV/atom)", "rms displacement (Å)"),
                                     strict=True):
            _against_density(axis, judge.reference, {}, (), value, "black", None, LOCAL)
            for rho, members in samples.items():
                axis.plot([rho] * len(members), [value(one) for one in members], "D", ms=4,
                          mfc=SAMPLE_COLOURS[1], mec="none", zorder=5)
            axis.plot([one.density for one in quenched], [value(one) for one in quenched], "s",
                      ms=5, mfc="white", mec=GREY, zorder=3)
            axis.set_ylabel(name if column == 0 else "")
        axes[0, column].set_title(_short(potential))
        axes[1, column].set(xlabel="density (g/cm³)", ylim=(0, None))
    axes[0, 0].plot([], [], ".", color="black", label="reference, and its fit")
    axes[0, 0].plot([], [], "D", ms=4, mfc=SAMPLE_COLOURS[1], mec="none", label="samples")
    if quenched:
        axes[0, 0].plot([], [], "s", ms=5, mfc="white", mec=GREY, label="quenched")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _short(potential: str) -> str:
    """A potential's name without the folders of its file."""
    return potential.rpartition("/")[2] or potential


def distribution_figures(judge: Judge, samples: By, quenched: Sequence[Member],
                         ) -> dict[str, Figure]:
    """g(r), angles and rings at each density: mean of the reference black, each sample thin."""
    return {curve: _distribution(judge, samples, quenched, curve)
            for curve in ("g(r)", "angles", "rings")}


def _distribution(judge: Judge, samples: By, quenched: Sequence[Member], curve: str) -> Figure:
    parts = list(judge.reference[0].profile.curves[curve])
    columns = min(COLUMNS, len(samples))
    blocks = -(-len(samples) // columns)
    figure, axes = _axes(blocks * len(parts), columns, max(5.0, 2.6 * columns),
                         2.7 * blocks * len(parts), share=False)
    for number, (density, members) in enumerate(samples.items()):
        block, column = divmod(number, columns)
        close = [one for one in judge.reference if abs(one.density - density) <= NEAR]
        near_quenched = [one for one in quenched if abs(one.density - density) <= LOCAL]
        for row, part in enumerate(parts):
            axis = axes[block * len(parts) + row, column]
            _overlay(axis, curve, part, close, members, near_quenched)
            named = "" if part == "all" or len(parts) == 1 else f"{part}, "
            axis.set_title(f"{named}{density:g} g/cm³", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    for axis in axes.flat[len(samples) * len(parts):] if len(parts) == 1 else ():
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel({"g(r)": "g(r)", "angles": "share per degree",
                         "rings": "rings per atom"}[curve])
    for axis in axes[-1]:
        axis.set_xlabel({"g(r)": "distance (Å)", "angles": "angle (°)",
                         "rings": "atoms in the ring"}[curve])
    return figure


def _overlay(axis: Axes, curve: str, part: str, reference: Sequence[Member],
             samples: Sequence[Member], quenched: Sequence[Member]) -> None:
    def curves(members: Sequence[Member]) -> list[np.ndarray]:
        return [one.profile.curves[curve][part] for one in members
                if part in one.profile.curves[curve]]

    known = curves(reference)
    if known:
        low, high = np.min(known, 0), np.max(known, 0)
        x = _abscissa(curve, len(low))
        axis.fill_between(x, low, high, color="black", alpha=0.12, lw=0, label="reference, range")
        axis.plot(x, np.mean(known, 0), color="black", lw=1.4, label="its mean")
    for members, colour, label in ((quenched, GREY, "quenched"),
                                   (samples, SAMPLE_COLOURS[1], "samples, mean")):
        found = curves(members)
        if found:
            axis.plot(_abscissa(curve, len(found[0])), np.mean(found, 0), color=colour, lw=1.2,
                      marker="." if curve == "rings" else "", label=label)
    if curve == "g(r)":
        axis.set_xlim(0.9, None)
    if curve == "angles":
        axis.set_xlim(40, 180)
    axis.set_ylim(bottom=0)


def _abscissa(curve: str, count: int) -> np.ndarray:
    if curve == "g(r)":
        return radii()
    if curve == "angles":
        return (np.arange(count) + 0.5) * ANGLE_BIN
    return np.arange(count) + SMALLEST_RING


def memorisation_figure(single: Sequence[Row]) -> Figure:
    """Share of environments in the training set, bars by density and group."""
    groups = list(dict.fromkeys(row.what for row in single))
    densities = sorted({row.density for row in single if row.density is not None})
    colours = dict(zip(groups, (SAMPLE_COLOURS[1], "black", "#777777", GREY), strict=False))
    figure, axes = _axes(1, 1, 7.2, 3.6)
    axis, width = axes[0, 0], 0.8 / len(groups)
    for number, what in enumerate(groups):
        rows = {row.density: row for row in single if row.what == what}
        place = np.arange(len(densities)) + (number - (len(groups) - 1) / 2) * width
        axis.bar(place, [100 * rows[d].known if d in rows else np.nan for d in densities],
                 0.9 * width, color=colours[what], label=what)
    axis.plot([], [], "_", color="#0072B2", ms=12, mew=2, label="expected of unseen networks")
    for number, density in enumerate(densities):
        expected = next(row.expected for row in single if row.density == density)
        axis.plot([number - 0.42, number + 0.42], [100 * expected] * 2, color="#0072B2", lw=1.8)
    axis.set_xticks(range(len(densities)), [f"{d:g}" for d in densities])
    axis.set(xlabel="density (g/cm³)", ylabel="% of environments known")
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def curve_figure(curve: Sequence[Losses], prior: Losses | None) -> Figure:
    """Losses on seen and on unseen networks against their number, a panel a noise level."""
    figure, axes = _axes(1, len(SIGMAS), 9.0, 3.4)
    for column, (axis, sigma) in enumerate(zip(axes[0], SIGMAS, strict=True)):
        for name, style in (("seen", "--"), ("unseen", "-")):
            points = [(one.networks, getattr(one, name)[:, column]) for one in curve]
            axis.errorbar([n for n, _ in points], [v.mean() for _, v in points],
                          [v.std() / max(1, len(v)) ** 0.5 for _, v in points], ls=style,
                          marker="o", ms=4, color=SAMPLE_COLOURS[0],
                          label=f"small priors, {name} networks")
            if prior is not None:
                axis.axhline(getattr(prior, name)[:, column].mean(), color=SAMPLE_COLOURS[1],
                             ls=style, lw=1.2, label=f"the prior, {name} networks")
        axis.set(xlabel="networks", title=f"noise {sigma:g} Å", ylim=(0, None))
    axes[0, 0].set_ylabel("denoising loss")
    axes[0, 0].legend(frameon=False, fontsize=7)
    return figure
