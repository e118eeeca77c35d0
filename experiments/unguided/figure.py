"""Figure of the unguided samples: coordination, g(r) and energies against networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffxas.analysis import rdf
from diffxas.networks import NEAR, near
from diffxas.plots import COORDINATION_COLOURS
from diffxas.structure import Structure
from experiments.common import dft_cells, relaxed, shares, variants
from experiments.sampling import Samples

LABELS = {"2": "sp", "3": "sp²", "4": "sp³"}


def draw(samples: Mapping[float, Samples], networks: Sequence[Structure]) -> Figure:
    """Fractions and energies against density above, g(r) at each density below."""
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    grid = figure.add_gridspec(2, 5)
    _fractions(figure.add_subplot(grid[0, :3]), samples, networks)
    _energies(figure.add_subplot(grid[0, 3:]), samples, networks)
    for column, (density, ours) in enumerate(samples.items()):
        axis = figure.add_subplot(grid[1, column])
        r, g = rdf(near(networks, density, NEAR))
        axis.plot(r, g, color="black", lw=1.8, label="networks")
        axis.plot(r, rdf(ours.sampled)[1], color="#D55E00", lw=1.2, label="samples")
        axis.set(title=f"{density} g/cm³", xlabel="r (Å)", xlim=(1, 6), ylim=(0, None))
        if column == 0:
            axis.set_ylabel("g(r)")
            axis.legend(frameon=False)
    return figure


def _fractions(axis: Axes, samples: Mapping[float, Samples],
               networks: Sequence[Structure]) -> None:
    for structures, marker, face, alpha, label in (
            (networks, "o", None, 0.8, "networks"), (variants(), "x", None, 0.35, "variants"),
            (dft_cells(), "s", "none", 0.8, "DFT cells")):
        values = np.array([shares(s) for s in structures])
        for key, colour in _colours():
            axis.plot([s.density for s in structures], 100 * values[:, int(key)], marker,
                      ms=6 if marker == "s" else 3, color=colour, mfc=face, alpha=alpha,
                      label=label if key == "3" else None)
    for density, ours in samples.items():
        values = np.array([shares(s) for s in ours.sampled])
        for key, colour in _colours():
            column = 100 * values[:, int(key)]
            axis.errorbar(density, column.mean(), column.std(), fmt="D", ms=8, color=colour,
                          mec="black", label=f"samples, {LABELS[key]}"
                          if density == min(samples) else None)
    axis.set(xlabel="density (g/cm³)", ylabel="% of atoms",
             ylim=(-4, 140), yticks=range(0, 101, 20))
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")


def _energies(axis: Axes, samples: Mapping[float, Samples],
              networks: Sequence[Structure]) -> None:
    reference = [(s.density, relaxed(s)) for s in networks]
    for state, colour in (("before", "#9a9a9a"), ("after", "black")):
        axis.plot([d for d, _ in reference],
                  [r.energy_before if state == "before" else r.energy_after for _, r in reference],
                  ".", color=colour, label=f"networks, {state} relaxation")
        for density, ours in samples.items():
            values = ours.energy_before if state == "before" else ours.energy_after
            axis.plot(np.full(len(values), density), values, "D", ms=4, mfc="none",
                      color="#E69F00" if state == "before" else "#D55E00",
                      label=f"samples, {state}" if density == min(samples) else None)
    axis.set(xlabel="density (g/cm³)", ylabel="REBO energy (eV/atom)")
    axis.legend(frameon=False, fontsize=8)


def _colours() -> list[tuple[str, str]]:
    return [(key, COORDINATION_COLOURS[key]) for key in ("2", "3", "4")]
