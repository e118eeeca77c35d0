"""sp3 and sp2 against density, each potential against the networks near DFT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffxas.plots import DPI, sample_colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^v<>Pp"


@dataclass(frozen=True, eq=False)
class Series:
    """Networks of one potential: density (n,), g/cm3, and sp, sp2, sp3 (n, 3), percent."""

    name: str
    density: np.ndarray
    shares: np.ndarray


def draw(found: Sequence[Series], references: Sequence[Series]) -> Figure:
    """Two panels, four-fold and three-fold atoms; means of each density are joined."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 4.4), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, column, title in ((axes[0], 2, "sp3: four bonds"), (axes[1], 1, "sp2: three bonds")):
        for reference, marker, face in zip(references, "oD", ("black", "none"), strict=False):
            axis.plot(reference.density, reference.shares[:, column], marker, color="black",
                      mfc=face, ms=4, label=reference.name)
        for number, one in enumerate(found):
            at = np.unique(one.density.round(2))
            mean = [one.shares[np.abs(one.density - x) < 0.01, column].mean() for x in at]
            axis.plot(at, mean, marker=MARKERS[number % len(MARKERS)], ms=5, lw=1.1,
                      color=sample_colour(number), ls="-" if number < 6 else "--",
                      label=one.name)
        axis.set_title(title)
        axis.set_xlabel("density (g/cm³)")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of atoms (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False,
                  fontsize=8)
    return figure
