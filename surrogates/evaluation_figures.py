"""Pictures of an evaluation: parity with errors, and the worst, median and best spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from diffxas.plots import GREY, SAMPLE_COLOURS
from surrogates.evaluation import NINETY, Findings, Judged
from surrogates.metrics import mae, mse, rms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 20
"""Of the predicted absorption, for the mean and scatter of the truth."""
FEWEST_IN_BIN = 20
BLUE, ORANGE = SAMPLE_COLOURS[0], SAMPLE_COLOURS[1]


def parity_figure(found: Findings, judged: Sequence[Judged]) -> Figure:
    """Predicted against true absorption, errors of sites, errors along energy."""
    figure, axes = _figure(1)
    true = np.concatenate([one.true for one in judged]).astype(float)
    predicted = np.concatenate([one.predicted for one in judged])
    deviation = np.concatenate([one.deviation for one in judged])
    _parity(axes[0, 0], true, predicted)
    _errors(axes[0, 1], mse(predicted, true), mse(found.mean, true))
    along = axes[0, 2]
    along.plot(found.energy, rms(found.mean - true, 0), color=GREY, lw=1.2, label=found.mean_of)
    along.plot(found.energy, rms(predicted - true, 0), color=BLUE, lw=1.6, label="surrogate")
    along.plot(found.energy, rms(deviation, 0), color="black", lw=1.2, ls="--",
               label="stated deviation")
    along.set(xlabel="energy (eV)", ylabel="rms error of a site", ylim=(0, None))
    along.legend(frameon=False, fontsize=8.5)
    return figure


def _parity(axis: Axes, true: np.ndarray, predicted: np.ndarray) -> None:
    low, high = 0.0, float(max(true.max(), predicted.max()))
    *_, image = axis.hist2d(true.ravel(), predicted.ravel(), bins=90, range=[[low, high]] * 2,
                            norm="log", cmap="cividis", cmin=1)
    bar = axis.figure.colorbar(image, ax=axis, fraction=0.045, pad=0.02)
    bar.ax.set_title("points", fontsize=8.5)
    axis.plot([low, high], [low, high], color=ORANGE, lw=1)
    edges = np.linspace(low, high, BINS + 1)
    place = np.clip(np.digitize(true.ravel(), edges) - 1, 0, BINS - 1)
    held = [k for k in range(BINS) if (place == k).sum() >= FEWEST_IN_BIN]
    of_bin = [predicted.ravel()[place == k] for k in held]
    axis.errorbar((edges[:-1] + edges[1:])[held] / 2, [one.mean() for one in of_bin],
                  [one.std() for one in of_bin], fmt="o", ms=3, color=ORANGE, lw=1, mec="white",
                  mew=0.5, label="mean and scatter")
    axis.set(xlabel="true absorption", ylabel="predicted absorption", xlim=(low, high),
             ylim=(low, high), aspect="equal")
    axis.legend(frameon=False, fontsize=8.5, loc="upper left")


def _errors(axis: Axes, errors: np.ndarray, floor: np.ndarray) -> None:
    both = np.maximum(np.concatenate([errors, floor]), 1e-12)
    bins = np.geomspace(both.min() * 0.999, both.max() * 1.001, 40).tolist()
    for values, colour in ((floor, GREY), (errors, BLUE)):
        axis.hist(np.maximum(values, 1e-12), bins, color=colour, alpha=0.65)
        axis.axvline(np.median(values), color=colour, lw=1.4, ls="--")
    axis.set(xscale="log", xlabel="squared error of a site (median dashed)", ylabel="sites")


def spectra_figure(found: Findings, judged: Sequence[Judged]) -> Figure:
    """Best, median and worst site above, the same of structures' means below."""
    means = len(judged) > 1 and any(len(one.item.sites) > 1 for one in judged)
    figure, axes = _figure(2 if means else 1)
    of_sites = np.concatenate([mse(one.predicted, one.true) for one in judged])
    owner = np.concatenate([np.full(len(one.item.sites), k) for k, one in enumerate(judged)])
    first = np.concatenate([[0], np.cumsum([len(one.item.sites) for one in judged])])
    for axis, word, row in zip(axes[0], WORDS, ranked(of_sites), strict=True):
        one = judged[owner[row]]
        k = row - first[owner[row]]
        _spectrum(axis, found, one.true[k], one.predicted[k], one.deviation[k])
        axis.set_title(f"{word} of {len(of_sites)} sites, MSE {of_sites[row]:.2g}\n"
                       f"{_name(one)}, atom {one.item.sites[k]}", fontsize=9.5)
    if means:
        of_cells = np.array([float(mae(one.predicted.mean(0), one.true.mean(0)))
                             for one in judged])
        for axis, word, row in zip(axes[1], WORDS, ranked(of_cells), strict=True):
            one = judged[row]
            _spectrum(axis, found, one.true.mean(0), one.predicted.mean(0), found.mean_error)
            axis.set_title(f"{word} of {len(judged)} means, MAE {of_cells[row]:.2g}\n"
                           f"{_name(one)}, {len(one.item.sites)} sites", fontsize=9.5)
    for axis in axes[-1]:
        axis.set_xlabel("energy (eV)")
    for axis in axes[:, 0]:
        axis.set_ylabel("absorption")
    axes[0, 0].legend(frameon=False, fontsize=8.5)
    return figure


WORDS = ("best", "median", "worst")


def ranked(errors: np.ndarray) -> tuple[int, int, int]:
    """Places of the smallest, the middle and the largest error."""
    order = np.argsort(errors, kind="stable")
    return int(order[0]), int(order[len(order) // 2]), int(order[-1])


def _name(one: Judged) -> str:
    structure = one.item.structure
    return f"{one.item.name}, {structure.formula}, {structure.density:.2f} g/cm³"


def _spectrum(axis: Axes, found: Findings, true: np.ndarray, predicted: np.ndarray,
              deviation: np.ndarray) -> None:
    band = NINETY * deviation
    if band.any():
        axis.fill_between(found.energy, np.maximum(predicted - band, 0), predicted + band,
                          color=BLUE, alpha=0.18, lw=0, label="stated 90 % interval")
    axis.plot(found.energy, found.mean, color=GREY, lw=1, label=found.mean_of)
    axis.plot(found.energy, true, color="black", lw=1.7, label=found.theory.kind)
    axis.plot(found.energy, predicted, color=BLUE, lw=1.4, label="predicted")


def _figure(rows: int) -> tuple[Figure, np.ndarray]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 3.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 3, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes
