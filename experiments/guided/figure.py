"""Figure of the guided samples: spectra against the target, residuals of all structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from experiments.guided.run import Case

COLOURS = {"guided": "#D55E00", "unguided, any": "#9a9a9a", "unguided, quenched": "#56B4E9",
           "quenched": "#0072B2", "truth": "black", "copy": "#CC79A7"}


def draw(cases: Sequence[Case]) -> Figure:
    """A row a density: spectra by the guide, by the judge, and residuals by both."""
    figure = Figure(figsize=(13, 3.9 * len(cases)), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(cases), 3))
    for line, case in zip(axes, cases, strict=True):
        for axis, key in zip(line, ("guide", "judge"), strict=False):
            _spectra(axis, case, key)
        _residuals(line[2], case)
    return figure


def _spectra(axis: Axes, case: Case, key: str) -> None:
    if key not in case.models:
        axis.text(0.5, 0.5, "no judge", ha="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    model = case.models[key]
    for name in ("unguided, any", "guided", "truth"):
        for k, structure in enumerate(case.groups[name].sampled):
            axis.plot(model.energy, model.predict_sites(structure).mean(0), lw=1.2,
                      ls="--" if name == "truth" else "-", color=COLOURS[name],
                      label=None if k else f"{name}, predicted")
    axis.plot(case.target.energy, case.target.mu, color="black", lw=1.9, label="target (DFT)")
    axis.set(title=f"{case.density} g/cm³, by {model.name}", xlabel="energy (eV)",
             ylabel="cell mean (DFT units)", xlim=(281, 314))
    axis.legend(frameon=False, fontsize=8)


def _residuals(axis: Axes, case: Case) -> None:
    names = list(case.groups)
    for offset, key in zip((-0.2, 0.2), case.models, strict=False):
        for place, name in enumerate(names):
            for state, face in (("sampled", COLOURS[name]), ("relaxed", "none")):
                values = case.groups[name].residuals[f"{key} {state}"]
                x = place + offset + (0.08 if state == "relaxed" else 0)
                axis.plot(np.full(len(values), x), values, "o" if key == "guide" else "D", ms=5,
                          color=COLOURS[name], mfc=face)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axis.set(ylabel="residual (DFT units)", ylim=(0, None),
             title="circles: guide, diamonds: judge\nopen: relaxed")
