"""Figures: one function each, plain arrays in, a matplotlib ``Figure`` out.

Colours are those of M. Okabe and K. Ito, "Color Universal Design" (2008), told apart by people who
are colour-blind. Everywhere the target or reference is black, unguided samples are grey, and a
sample keeps the colour of its number. Figures are drawn through matplotlib's object interface on
the Agg canvas: no window, no state shared between figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffxas.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
GREY = "#9a9a9a"
SAMPLE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COORDINATION_COLOURS = {"0": "#4d4d4d", "1": "#8c6d46", "2": "#E69F00", "3": "#0072B2",
                        "4": "#009E73", "5": "#CC79A7", "6": "#882255"}
MANY = 8
"""More curves than this are drawn alike and thin, without names of their own."""

Curves = Mapping[str, np.ndarray]


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a PNG atomically, 120 dots per inch."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")


def sample_colour(number: int) -> str:
    """The colour of a sample in every figure."""
    return SAMPLE_COLOURS[number % len(SAMPLE_COLOURS)]


def plot_spectra(energy: np.ndarray, target: np.ndarray | None, panels: Mapping[str, Curves],
                 unguided: Sequence[np.ndarray] = (), window: tuple[float, float] | None = None,
                 unit: str = "absorption", best: str | None = None,
                 exclude: Sequence[tuple[float, float]] = ()) -> Figure:
    """Target and achieved spectra, with their differences below.

    Parameters
    ----------
    energy : (n_points,) eV
    target : (n_points,) or None
    panels : one column each, such as ``{"as sampled": {"sample 0": mu}, "relaxed": {...}}``
    unguided : spectra of unguided samples of the same density
    window : eV, where the fit is judged; shaded
    unit : label of the ordinate
    best : name of the sample to draw strongest
    exclude : ranges (eV) of the window where it is not judged; grey
    """
    rows = 1 if target is None else 2
    figure, axes = _figure(5.4 * max(1, len(panels)), 3.4 + (1.4 if rows == 2 else 0.2), rows,
                           len(panels), [3, 1][:rows])
    numbers = _numbers(panels)
    for column, (name, curves) in enumerate(panels.items()):
        top = axes[0, column]
        for axis in axes[:, column]:
            if window is not None:
                axis.axvspan(*window, color="#f4ecd8", lw=0, zorder=0)
            for low, high in exclude:
                axis.axvspan(low, high, color="#d9d9d9", lw=0, zorder=0)
        for k, mu in enumerate(unguided):
            top.plot(energy, mu, color=GREY, lw=1.1, zorder=1, label=None if k else "unguided")
        _draw(top, energy, curves, best, numbers)
        if target is not None:
            top.plot(energy, target, color="black", lw=1.8, label="target", zorder=4)
            below = axes[1, column]
            for mu in unguided:
                below.plot(energy, mu - target, color=GREY, lw=0.9, zorder=1)
            _draw(below, energy, {k: mu - target for k, mu in curves.items()}, best, numbers)
            below.axhline(0, color="black", lw=0.8)
        top.set_title(name)
        axes[-1, column].set_xlabel("energy (eV)")
    axes[0, 0].set_ylabel(unit)
    if target is not None:
        axes[1, 0].set_ylabel("difference")
    _legend(axes[0, 0])
    return figure


def plot_shares(energy: np.ndarray, panels: Mapping[str, Curves],
                target: np.ndarray | None = None, unit: str = "absorption",
                window: tuple[float, float] | None = None) -> Figure:
    """Spectra split into the shares of absorbers of each coordination; the shares sum to the whole.

    Parameters
    ----------
    energy : (n_points,) eV
    panels : such as ``{"sample 0": {"2": mu, "3": mu, "4": mu, "other": mu}}``
    target : (n_points,) drawn over every panel, or None
    """
    figure, axes = _figure(5.4 * len(panels), 3.6, 1, len(panels))
    for axis, (name, shares) in zip(axes[0], panels.items(), strict=True):
        if window is not None:
            axis.axvspan(*window, color="#f4ecd8", lw=0, zorder=0)
        whole = np.sum(list(shares.values()), axis=0)
        axis.plot(energy, whole, color="#555555", lw=1.6, label="sum")
        for key, mu in shares.items():
            if not np.any(mu):
                continue
            colour = COORDINATION_COLOURS.get(key, GREY)
            axis.fill_between(energy, mu, color=colour, alpha=0.18, lw=0)
            axis.plot(energy, mu, color=colour, lw=1.6,
                      label=f"{key}-coordinated" if key.isdigit() else key)
        if target is not None:
            axis.plot(energy, target, color="black", lw=1.2, ls="--", label="target")
        axis.set_title(name)
        axis.set_xlabel("energy (eV)")
        axis.axhline(0, color="black", lw=0.6)
        _legend(axis)
    axes[0, 0].set_ylabel(unit)
    return figure


def plot_convergence(traces: Mapping[str, tuple[np.ndarray, np.ndarray]],
                     unguided: Sequence[tuple[np.ndarray, np.ndarray]] = (),
                     guided_below: float | None = None, unit: str = "residual") -> Figure:
    """Residual of the denoised estimate against the noise level, which falls from left to right.

    Parameters
    ----------
    traces : name to ``(sigma, residual)``, angstrom and the target's unit
    unguided : the same for unguided samples
    guided_below : noise level at which guidance sets in, angstrom
    """
    figure, axes = _figure(6.4, 3.8)
    axis = axes[0, 0]
    for k, (sigma, residual) in enumerate(unguided):
        axis.plot(sigma, residual, color=GREY, lw=1.1, label=None if k else "unguided")
    many = len(traces) > MANY
    for number, (name, (sigma, residual)) in enumerate(traces.items()):
        axis.plot(sigma, residual, color=sample_colour(number), lw=0.8 if many else 1.6,
                  marker="." if not many else "", ms=4, label=None if many else name)
    axis.set_xscale("log")
    if any((curve > 0).any() for _, curve in [*unguided, *traces.values()]):
        axis.set_yscale("log")  # which needs something to show
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter(_plain_number)
        scale.set_minor_formatter(_plain_number)
    axis.invert_xaxis()
    if guided_below is not None:
        axis.axvline(guided_below, color="black", lw=0.9, ls=":", label="guidance sets in")
    axis.set_xlabel(r"noise level $\sigma$ (Å)")
    axis.set_ylabel(unit)
    _legend(axis)
    return figure


def plot_calibration(sigma: np.ndarray, raw_error: np.ndarray, error: np.ndarray, spread: float,
                     sigma_on: float) -> Figure:
    """Error of the spectrum of denoised estimates against the noise level.

    Parameters
    ----------
    sigma : (n_levels,), angstrom
    raw_error, error : (n_levels,), before and after the mean difference is added; model units
    spread : of unguided samples, model units
    sigma_on : angstrom, where guidance sets in
    """
    figure, axes = _figure(6.4, 3.8)
    axis = axes[0, 0]
    axis.plot(sigma, raw_error, color=GREY, marker="o", label="as predicted")
    axis.plot(sigma, error, color=sample_colour(0), marker="o", label="mean difference added")
    axis.axhline(spread, color="black", lw=1.0, ls="--", label="between unguided samples")
    axis.axvline(sigma_on, color="black", lw=0.9, ls=":", label="guidance sets in")
    axis.set_xscale("log")
    if max(np.max(raw_error), np.max(error), spread) > 0:  # one atom: all spectra are equal
        axis.set_yscale("log")
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter(_plain_number)
        scale.set_minor_formatter(_plain_number)
    axis.set_xlabel(r"noise level $\sigma$ (Å)")
    axis.set_ylabel("rms error of the cell spectrum")
    _legend(axis)
    return figure


def plot_curves(panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
                x_label: str, y_label: str, reference: Mapping[str, tuple[np.ndarray, np.ndarray]]
                | None = None, unguided: Sequence[tuple[np.ndarray, np.ndarray]] = (),
                baseline: float | None = None) -> Figure:
    """Curves of several structures, such as g(r): one panel for each stage, references in black.

    Parameters
    ----------
    panels : such as ``{"as sampled": {"sample 0": (r, g)}, "relaxed": {...}}``
    reference : name to ``(x, y)``, drawn black in every panel
    unguided : ``(x, y)``, drawn grey in every panel
    baseline : height of a thin horizontal line, such as 1 for g(r)
    """
    figure, axes = _figure(5.4 * max(1, len(panels)), 3.6, 1, len(panels))
    numbers = _numbers(panels)
    for axis, (title, curves) in zip(axes[0], panels.items(), strict=False):
        if baseline is not None:
            axis.axhline(baseline, color="#cccccc", lw=0.8)
        for k, (x, y) in enumerate(unguided):
            axis.plot(x, y, color=GREY, lw=1.1, label=None if k else "unguided")
        many = len(curves) > MANY
        for name, (x, y) in curves.items():
            axis.plot(x, y, color=sample_colour(numbers[name]), lw=0.7 if many else 1.3,
                      label=None if many else name)
        for style, (name, (x, y)) in zip(("-", "--", ":", "-.") * len(reference or {}),
                                         (reference or {}).items(), strict=False):
            axis.plot(x, y, color="black", lw=1.3, ls=style, label=name)
        axis.set_title(title)
        axis.set_xlabel(x_label)
    axes[0, 0].set_ylabel(y_label)
    _legend(axes[0, 0])
    return figure


def plot_bars(groups: Mapping[str, Sequence[Mapping[str, float]]], x_label: str, y_label: str,
              colours: Mapping[str, str] | None = None) -> Figure:
    """Bars side by side: the mean of each group, and its members as dots.

    Parameters
    ----------
    groups : such as ``{"as sampled": [{"3": 0.6, "4": 0.4}, ...], "relaxed": [...]}``; categories
        that are nowhere above zero are left out
    colours : of the groups, by name
    """
    keys = _categories(groups)
    figure, axes = _figure(6.4, 3.8)
    axis = axes[0, 0]
    width = 0.8 / max(2, len(groups))
    for number, (name, members) in enumerate(groups.items()):
        place = np.arange(len(keys)) + (number - (len(groups) - 1) / 2) * width
        values = np.array([[member.get(key, 0.0) for key in keys] for member in members])
        colour = (colours or {}).get(name, sample_colour(number))
        axis.bar(place, values.mean(axis=0), width * 0.92, color=colour, label=name)
        if len(members) > 1:
            axis.plot(np.tile(place, len(members)), values.ravel(), ls="", marker="o", ms=3,
                      mfc="white", mec="black", mew=0.6)
    axis.set_xticks(np.arange(len(keys)), keys)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.set_ylim(bottom=0)
    _legend(axis)
    return figure


def plot_points(x: np.ndarray, series: Mapping[str, np.ndarray], x_label: str, y_label: str,
                colours: Mapping[str, str] | None = None) -> Figure:
    """Points of several quantities against one, such as shares of atoms against density.

    Parameters
    ----------
    x : (n_points,)
    series : name to (n_points,)
    colours : of the series, by name
    """
    figure, axes = _figure(5.4, 3.6)
    for number, (name, y) in enumerate(series.items()):
        axes[0, 0].plot(x, y, ls="", marker="o", ms=4, label=name or None,
                        color=(colours or {}).get(name, sample_colour(number)))
    axes[0, 0].set_xlabel(x_label)
    axes[0, 0].set_ylabel(y_label)
    _legend(axes[0, 0])
    return figure


def plot_density_preference(density: np.ndarray, residuals: Sequence[np.ndarray],
                            unguided: np.ndarray | None = None, unit: str = "residual") -> Figure:
    """Residual against density: which density the spectrum prefers.

    Parameters
    ----------
    density : (n_densities,) g/cm3
    residuals : for each density the residuals of its samples, in the target's unit
    unguided : (n_densities,) mean residual of unguided samples, or None
    """
    figure, axes = _figure(5.6, 3.6)
    axis = axes[0, 0]
    axis.plot(density, [float(np.mean(r)) for r in residuals], color=SAMPLE_COLOURS[0], lw=1.5,
              marker="o", ms=6, label="guided, mean")
    for rho, values in zip(density, residuals, strict=True):
        axis.plot(np.full(len(values), rho), values, ls="", marker="o", ms=3.5, mfc="white",
                  mec=SAMPLE_COLOURS[0], mew=0.9)
    if unguided is not None:
        axis.plot(density, unguided, color=GREY, lw=1.3, marker="s", ms=4, label="unguided, mean")
    axis.set_xlabel("density (g/cm³)")
    axis.set_ylabel(unit)
    axis.set_ylim(bottom=0)
    _legend(axis)
    return figure


def plot_density_posterior(density: np.ndarray, prior: np.ndarray, posterior: np.ndarray,
                           samples: Sequence[float] = ()) -> Figure:
    """What is known of a density before and after.

    Parameters
    ----------
    density : (n,), g/cm3, evenly spaced
    prior, posterior : (n,), each summing to 1
    samples : densities of samples, ticks
    """
    figure, axes = _figure(6.4, 3.4)
    axis, step = axes[0, 0], float(density[1] - density[0])
    axis.fill_between(density, prior / step, color=GREY, alpha=0.35, label="beforehand")
    axis.plot(density, posterior / step, color=sample_colour(0), lw=1.8, label="posterior")
    low, high = np.interp((0.05, 0.95), np.cumsum(posterior), density)
    inside = (density >= low) & (density <= high)
    axis.fill_between(density[inside], posterior[inside] / step, color=sample_colour(0), alpha=0.2,
                      label="90 %")
    axis.plot(samples, np.zeros(len(samples)), "|", color="black", ms=12, label="samples")
    axis.set_xlabel("density (g/cm\u00b3)")
    axis.set_ylabel("probability density (cm\u00b3/g)")
    axis.set_ylim(bottom=0)
    _legend(axis)
    return figure


def loss_figure(history: Sequence[Mapping[str, float]], title: str) -> Figure:
    """What a training logged against its step: the loss, and whatever a monitor measured.

    Parameters
    ----------
    history : rows such as ``{"step": 100, "loss": 0.3, "seconds": 12.0, "left_out": 0.5}``; a
        column may be missing from some; a value that is not positive has no place on a logarithm
    title : what was trained
    """
    figure, axes = _figure(6.4, 3.8)
    axis = axes[0, 0]
    names = dict.fromkeys(k for row in history for k in row if k not in ("step", "seconds"))
    for number, name in enumerate(names):
        points = [(row["step"], row[name]) for row in history if row.get(name, 0.0) > 0]
        if points:
            axis.plot(*zip(*points, strict=True), color=sample_colour(number), lw=1.4,
                      marker="." if len(points) < 30 else "", label=name)
    axis.set_yscale("log")
    axis.set_xlabel("step")
    axis.set_ylabel("loss")
    axis.set_title(title)
    _legend(axis)
    return figure


def _figure(width: float, height: float, rows: int = 1, columns: int = 1,
            height_ratios: Sequence[float] | None = None) -> tuple[Figure, np.ndarray]:
    """A figure (inches) and its axes (rows, columns): x is shared, y is shared along rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, max(1, columns), sharex=True, sharey="row", squeeze=False,
                           height_ratios=height_ratios)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _numbers(panels: Mapping[str, Mapping[str, object]]) -> dict[str, int]:
    """Names in their first order: a name has one colour in all panels."""
    names = dict.fromkeys(name for curves in panels.values() for name in curves)
    return {name: number for number, name in enumerate(names)}


def _draw(axis: Axes, x: np.ndarray, curves: Curves, best: str | None,
          numbers: Mapping[str, int]) -> None:
    """Curves of samples, each in its colour; the best one strongest."""
    many = len(curves) > MANY
    for name, y in curves.items():
        strong = name == best
        axis.plot(x, y, color=sample_colour(numbers[name]), zorder=3 if strong else 2,
                  lw=2.0 if strong else (0.7 if many else 1.2), alpha=1.0 if strong else 0.8,
                  label=name + (" (best)" if strong else "") if strong or not many else None)


def _plain_number(value: float, _place: int | None = None) -> str:
    """Label of a logarithmic axis: 0.02 rather than a power of ten; 1, 2 and 5 of each decade."""
    if value <= 0:  # the axis fell back to a linear one
        return f"{value:g}"
    mantissa = value / 10.0 ** np.floor(np.log10(value) + 1e-9)
    return f"{value:g}" if round(mantissa, 6) in (1, 2, 5) else ""


def _categories(groups: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """Keys in their first order, without leading and trailing ones that are zero everywhere."""
    keys = list(dict.fromkeys(key for members in groups.values() for m in members for key in m))
    used = [n for n, key in enumerate(keys)
            if any(m.get(key, 0.0) > 0 for members in groups.values() for m in members)]
    return keys[min(used):max(used) + 1] if used else keys


def _legend(axis: Axes) -> None:
    if axis.get_legend_handles_labels()[1]:
        axis.legend(frameon=False, fontsize=8.5)
