"""Does `compare` find the network behind a spectrum, with a surrogate that never saw it?

The target is the mean DFT spectrum of a cell of a density that the surrogate was trained without;
all 21 DFT cells are ranked against it by their predicted spectra, as ``diffxas compare`` does.

    python experiments/compare/run.py
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.files import write_json  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from diffxas.spectrum import Spectrum  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from experiments.common import (  # noqa: E402
    dft_cells,
    dft_means,
    markdown,
    networks,
    one_thread,
    refuse_known,
    write_numbers,
)
from surrogates.comparison import ComparisonRow, rank_structures  # noqa: E402
from surrogates.loading import SHIPPED, load_surrogate  # noqa: E402
from surrogates.prediction import predict_table  # noqa: E402
from surrogates.targets import observation_for  # noqa: E402

LEFT_OUT = (2.0, 3.0)
COLOURS = {"dft_1.5": "#0072B2", "dft_2.0": "#E69F00", "dft_3.0": "#009E73", "dft_3.5": "#CC79A7"}


@dataclass(frozen=True, eq=False)
class Ranking:
    """All cells against the spectrum of one; ``parents`` of the rows' labels.

    ``networks`` are the densities (g/cm3) of the melt-quenched networks, ranked alike.
    """

    truth: Structure
    model: str
    rows: list[ComparisonRow]
    parents: dict[str, str]
    spread: float
    networks: list[float]

    def numbers(self) -> dict[str, object]:
        """One line of the table."""
        own = self.truth.info["parent"]
        ours = [row for row in self.rows if self.parents[row.label] == own]
        others = [row for row in self.rows if self.parents[row.label] != own]
        return {
            "target, DFT mean of": f"{self.truth.info['name']} ({self.truth.density:.2f})",
            "surrogate": self.model,
            "own density first": max(r.rank for r in ours) == len(ours),
            "ranks of own": ", ".join(str(row.rank) for row in ours),
            "residuals of own": ", ".join(f"{row.residual:.4f}" for row in ours),
            "best other": f"{others[0].label} ({others[0].density:.2f})",
            "its residual": f"{others[0].residual:.4f}",
            "target's spread": f"{self.spread:.4f}",
            "best five NEP networks, g/cm3": ", ".join(f"{d:.2f}" for d in self.networks[:5]),
        }


def rank_left_out(density: float) -> list[Ranking]:
    """A ranking for each cell of a density, by the surrogate without it."""
    name = f"a-C-without-{density}"
    model = load_surrogate(name)
    labelled = [(str(cell.info["name"]), cell) for cell in dft_cells()]
    parents = {label: str(cell.info["parent"]) for label, cell in labelled}
    predicted = predict_table(labelled, model).columns
    quenched = [(str(cell.info["name"]), cell) for cell in networks()]
    predicted_quenched = predict_table(quenched, model).columns
    means = dft_means()
    rankings = []
    for label, cell in labelled:
        if abs(cell.density - density) < 0.1:
            refuse_known(cell, SHIPPED / name)
            target = Spectrum(model.energy, means[label], model.element, model.edge)
            observation, _ = observation_for(target, model.energy)
            rows, _ = rank_structures(observation, labelled, predicted)
            beside, _ = rank_structures(observation, quenched, predicted_quenched)
            rankings.append(Ranking(cell, name, rows, parents, observation.spread,
                                    [row.density for row in beside]))
    return rankings


def draw(rankings: list[Ranking]) -> Figure:
    """Residuals by rank, coloured by bond network."""
    figure = Figure(figsize=(2.9 * len(rankings), 3.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(rankings), sharey=True))
    for axis, ranking in zip(axes, rankings, strict=True):
        for parent, colour in COLOURS.items():
            ours = [row for row in ranking.rows if ranking.parents[row.label] == parent]
            axis.bar([row.rank for row in ours], [row.residual for row in ours], color=colour,
                     label=f"{ours[0].density:.1f} g/cm³")
        axis.axhline(ranking.spread / 2, color="0.4", lw=1, ls=":")
        axis.set(title=f"target {ranking.truth.info['name']}, {ranking.truth.density:.1f} g/cm³",
                 xlabel="rank")
    axes[0].set_ylabel("residual (DFT units)")
    axes[0].legend(frameon=False, title="dotted: out of reach", fontsize=8)
    return figure


def main() -> None:
    """Run it."""
    one_thread()
    rankings = [ranking for density in LEFT_OUT for ranking in rank_left_out(density)]
    rows = [ranking.numbers() for ranking in rankings]
    write_json(HERE / "expected" / "compare.json", {
        "table": rows,
        "rankings": {f"{r.truth.info['name']} by {r.model}":
                     [{"rank": row.rank, "label": row.label, "density": round(row.density, 2),
                       "residual": round(row.residual, 5)} for row in r.rows] for r in rankings}})
    save_figure(draw(rankings), HERE / "expected" / "compare.png")
    write_numbers(HERE / "README.md", markdown(rows))


if __name__ == "__main__":
    main()
