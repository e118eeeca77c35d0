"""Composition and density from spectra alone: the model, and its errors where it was not trained.

    python experiments/describe/run.py            the tables and figures
    python experiments/describe/run.py --train    also makes surrogates/weights/describe-a-C
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.files import write_json  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from diffxas.spectrum import Spectrum  # noqa: E402
from diffxas.weights import save_model  # noqa: E402
from experiments.common import DATA, markdown, one_thread, write_numbers  # noqa: E402
from experiments.describe import models  # noqa: E402
from experiments.describe.errors import (  # noqa: E402
    SHOWN,
    Row,
    coverage,
    density_rows,
    film_rows,
    held_out_rows,
    mean_errors,
    pair_rows,
)
from surrogates.description import DEFAULT, describe, load_description  # noqa: E402
from surrogates.loading import SHIPPED  # noqa: E402

COLOURS = {1.5: "#0072B2", 2.0: "#E69F00", 3.0: "#009E73", 3.5: "#CC79A7"}
LICENCE = "MIT; made from DFT of LLNL/graphite (MIT) and networks of this project (CC0)"


def train() -> None:
    """Make the shipped model."""
    record, tensors = models.fit()
    errors = {f"dft_{row.density}": row.mean_errors() for density in models.DENSITIES
              for row in density_rows(density) if row.kind == "computed"}
    record["training"]["data_hash"] = models.source_hash()
    save_model(SHIPPED / DEFAULT, {
        **record, "licence": LICENCE, "left_out": {"networks": errors},
        "axis_note": models.surrogate_without(()).record["axis_note"]}, tensors)


def draw(rows: list[Row]) -> Figure:
    """Estimate with interval against count; above computed targets, below measured ones."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    for axes, kind in zip(figure.subplots(2, 4), ("computed", "measured"), strict=True):
        for axis, name in zip(axes, SHOWN, strict=True):
            scale, unit, top = (1, "g/cm³", 4.2) if name == "density" else (100, "%", 104)
            for row in (row for row in rows if row.kind == kind):
                for truth, value, low, high in row.points(name):
                    axis.plot([scale * truth] * 2, [scale * low, scale * high], lw=1,
                              color=COLOURS[row.density], alpha=0.6)
                    axis.plot(scale * truth, scale * value, "o", ms=4, color=COLOURS[row.density])
            low = 0.8 if name == "density" else -4
            axis.plot([low, top], [low, top], color="0.5", lw=1, zorder=0)
            axis.set(title=f"{name}, {kind} targets", xlim=(low, top), ylim=(low, top),
                     xlabel=f"counted ({unit})")
        axes[0].set_ylabel("estimate, 90 % interval")
    for density, colour in COLOURS.items():
        figure.axes[0].plot([], [], "o", color=colour, label=f"{density} g/cm³ left out")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true", help="make the shipped model anew")
    options = parser.parse_args()
    one_thread()
    if options.train:
        train()
    rows = [row for density in models.DENSITIES for row in density_rows(density)]
    held, pairs = held_out_rows(), pair_rows()
    film = describe(Spectrum.read(DATA / "experimental" / "dlc_c_k_nexafs.csv", edge="C:K"),
                    load_description())
    table = [row.table() for row in rows]
    write_json(HERE / "expected" / "describe.json", {
        "left_out": table, "coverage": coverage(rows), "held_out": held, "pairs": pairs,
        "film": film_rows(film), "film_warnings": film.warnings,
        "transfer": load_description().record["transfer"]})
    save_figure(draw(rows), HERE / "expected" / "describe.png")
    from surrogates.description_report import draw as draw_film

    save_figure(draw_film(film), HERE / "expected" / "film.png")
    write_numbers(HERE / "README.md", f"""DFT spectra of cells whose density was left out \
(absolute errors of cells' means; points, g/cm3; pi*: against sp2, and against sp2 + 2 sp):

{markdown(table)}
Mean over the four densities:

{markdown(mean_errors(rows))}
Share of true values inside the 90 % intervals, over these cells:

{markdown(coverage(rows))}
NEP networks in no training, spectra predicted by other surrogates, or FEFF:

{markdown(held)}
The two pairs of equal density and unlike sp3 (computed targets by the shipped surrogate):

{markdown(pairs)}
The measured film:

{markdown(film_rows(film))}
{" ".join(film.warnings) or "It is not flagged."}""")


if __name__ == "__main__":
    main()
