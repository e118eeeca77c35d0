"""sp3 and sp2 against density, each potential against the networks near DFT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffxas.plots import DPI, sample_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SP2, SP3 = 1, 2
MARKERS = "osD^v<>Pp"
FILMS = ("films (XRR, EELS), Ferrari 2000", 1.92, 1.37)
"""Measured, hydrogen-free: density = 1.92 + 1.37 times the share of sp3, g/cm3; A. C. Ferrari and
others, Phys. Rev. B 62, 11089 (2000)."""
DFT = (("LDA, 54 atoms, Galli 1989", 2.0, 15.0), ("LDA, 64 atoms, Marks 1996", 2.9, 65.0))
"""Quenched liquids, density and percent of sp3: G. Galli and others, Phys. Rev. Lett. 62, 555
(1989); N. A. Marks and others, Phys. Rev. Lett. 76, 768 (1996)."""


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
    for axis, column, title in ((axes[0], SP3, "sp3: four bonds"),
                                (axes[1], SP2, "sp2: three bonds")):
        for reference, marker, face in zip(references, "oD", ("black", "none"), strict=False):
            axis.plot(reference.density, reference.shares[:, column], marker, color="black",
                      mfc=face, ms=4, label=reference.name)
        for number, one in enumerate(found):
            at = np.unique(one.density.round(2))
            mean = [one.shares[np.abs(one.density - x) < 0.01, column].mean() for x in at]
            axis.plot(at, mean, marker=MARKERS[number % len(MARKERS)], ms=5, lw=1.1,
                      color=sample_colour(number), ls="-" if number < 6 else "--",
                      label=one.name)
        if column == SP3:
            _published(axis)
        axis.set_title(title)
        axis.set_xlabel("density (g/cm³)")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of atoms (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False,
                  fontsize=8)
    return figure


def _published(axis: Axes) -> None:
    """What others measured and computed."""
    label, zero, slope = FILMS
    share = np.array([0.0, 0.88])
    axis.plot(zero + slope * share, 100 * share, color="0.45", lw=4, alpha=0.35, label=label)
    for (label, density, sp3), marker in zip(DFT, "*X", strict=True):
        axis.plot(density, sp3, marker, color="0.25", mfc="white", ms=9, label=label)
