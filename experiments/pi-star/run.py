"""The classical pi* share against counted atoms on the shared DFT cells, then on the film.

Usage: python experiments/pi-star/run.py [--data experiments/data] [--out FOLDER]
                                         [--make-reference CSV]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from diffxas.analysis import coordination, coordination_fractions
from diffxas.files import write_json, write_text
from diffxas.plots import save_figure
from diffxas.spectrum import Spectrum
from diffxas.structure_files import read_structures
from surrogates.pi_star import pi_orbitals_per_atom, pi_star_fraction, pi_star_of_target
from surrogates.targets import observation_for

HERE = Path(__file__).parent
ENERGY = 274.4 + 0.40 * np.arange(100)
MID_RANGE = (286.0, 286.5, 287.0)


def read_cells(folder: Path) -> list[dict]:
    """Density, site spectra and coordination of each DFT cell."""
    with np.load(folder / "xanes.npz", allow_pickle=False) as content:
        spectra = dict(zip(content["name"].tolist(), content["mu"].astype(float), strict=True))
    cells = []
    for structure in read_structures(folder / "dft_cells.extxyz"):
        cells.append({
            "name": structure.info["name"], "density": round(structure.density, 1),
            "sites": spectra[str(structure.info["name"])],
            "neighbours": coordination(structure),
            "fractions": coordination_fractions(structure),
        })
    return cells


def reference(cells: list[dict], without: float | None = None) -> np.ndarray:
    """Mean of three-fold sites; densities weighed by three-fold sites a cell. (100,)"""
    means, weights = [], []
    for density in sorted({cell["density"] for cell in cells} - {without}):
        ours = [cell for cell in cells if cell["density"] == density]
        sites = np.concatenate([cell["sites"][cell["neighbours"] == 3] for cell in ours])
        means.append(sites.mean(axis=0))
        weights.append(len(sites) / len(ours))
    return np.average(means, axis=0, weights=weights)


def count_cells(cells: list[dict]) -> list[dict]:
    """One row a cell; the reference never holds sites of the cell's own density."""
    rows = []
    for cell in cells:
        left_out = reference(cells, without=cell["density"])
        mean = cell["sites"].mean(axis=0)
        estimate = {f"f_{mid:g}": pi_star_fraction(ENERGY, mean, ENERGY, left_out,
                                                   pi_star=(282.0, mid)).fraction
                    for mid in MID_RANGE}
        rows.append({"name": cell["name"], "density": cell["density"],
                     "sp2": cell["fractions"]["3"],
                     "pi_orbitals": pi_orbitals_per_atom(cell["fractions"]), **estimate})
    return rows


def film_rows(cells: list[dict], film: Path) -> list[dict]:
    """The estimate for the film, with the nuisances of each density's mean spectrum."""
    means = {density: np.mean([c["sites"].mean(axis=0) for c in cells
                               if c["density"] == density], axis=0)
             for density in sorted({cell["density"] for cell in cells})}
    observation, _ = observation_for(Spectrum.read(film, edge="C:K"), ENERGY)
    rows = []
    for density, mean in means.items():
        fit = observation.fit(mean)
        row: dict = {"nuisances_of": f"{density} g/cm3", "residual": fit.residual_rms}
        for mid in MID_RANGE:
            row[f"f_{mid:g}"] = pi_star_of_target(observation, fit, pi_star=(282.0, mid)).fraction
        rows.append(row)
    return rows


def draw(rows: list[dict]) -> Figure:
    """Estimate against count."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for axis, key, label in zip(figure.subplots(1, 2), ("sp2", "pi_orbitals"),
                                ("counted three-fold atoms", "pi orbitals per atom (sp2 + 2 sp)"),
                                strict=True):
        for density, colour in zip((1.5, 2.0, 3.0, 3.5),
                                   ("#0072b2", "#e69f00", "#009e73", "#cc79a7"), strict=True):
            ours = [row for row in rows if row["density"] == density]
            axis.plot([row[key] for row in ours], [row["f_286.5"] for row in ours], "o",
                      color=colour, label=f"{density} g/cm³")
        axis.plot([0, 1.4], [0, 1.4], color="0.5", lw=1)
        axis.set(xlabel=label, ylabel="classical π* estimate f", xlim=(0, 1.7), ylim=(0, 1.7))
    figure.axes[0].legend(frameon=False)
    return figure


def table(rows: list[dict]) -> str:
    """Rows as CSV."""
    keys = list(rows[0])
    lines = [",".join(f"{row[key]:.4f}" if isinstance(row[key], float) else str(row[key])
                      for key in keys) for row in rows]
    return ",".join(keys) + "\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parent / "data")
    parser.add_argument("--out", type=Path, default=HERE / "expected")
    parser.add_argument("--make-reference", type=Path, metavar="CSV")
    options = parser.parse_args()
    cells = read_cells(options.data / "a-C-K-edge")
    if options.make_reference:
        lines = [f"{e:.1f},{mu:.6f}" for e, mu in zip(ENERGY, reference(cells), strict=True)]
        write_text(options.make_reference, "energy,mu\n" + "\n".join(lines) + "\n")
        return
    rows = count_cells(cells)
    means = [{key: float(np.mean([row[key] for row in rows if row["density"] == density]))
              for key in rows[0] if key != "name"}
             for density in sorted({row["density"] for row in rows})]
    film = film_rows(cells, options.data / "experimental" / "dlc_c_k_nexafs.csv")
    write_text(options.out / "cells.csv", table(rows))
    write_json(options.out / "pi-star.json", {"densities": means, "film": film})
    save_figure(draw(rows), options.out / "pi-star.png")
    print(table(means) + "\n" + table(film))


if __name__ == "__main__":
    main()
