"""The demo: a measured diamond-like carbon film in, structures at four densities out.

    python experiments/demo/run.py [FOLDER]

Runs `diffxas generate` on the film at 1.8, 2.2, 2.6 and 3.0 g/cm3 into FOLDER/DENSITY (default
demo/), resumes what was interrupted, and writes FOLDER/report.html over all four: which density the
spectrum prefers, what fits and what does not.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from diffxas import Spectrum
from diffxas.errors import InputError
from diffxas.files import write_json
from diffxas.plots import plot_density_preference, plot_spectra, save_figure
from diffxas.report.document import Document, FigureBlock, Section, Table, View, write_document
from diffxas.structure_files import read_structures
from samplers.generation import GenerateOptions, run_in

HERE = Path(__file__).parent
FILM = HERE.parent / "data" / "experimental" / "dlc_c_k_nexafs.csv"
DENSITIES = (1.8, 2.2, 2.6, 3.0)
SAMPLES = 2


def main(folder: Path) -> None:
    """Run the four densities and compare them."""
    begun = time.monotonic()
    film = Spectrum.read(FILM, edge="C:K")
    print(f"Target: {film.meta['columns']}")
    summaries = []
    for density in DENSITIES:
        print(f"{density:.1f} g/cm3", flush=True)
        options = GenerateOptions(density=density, samples=SAMPLES)
        out = folder / f"{density:.1f}"
        command = f"diffxas generate {FILM.relative_to(HERE.parents[1])} " \
                  f"--density {density} --samples {SAMPLES} --out {out}"
        run_in(film, out, options, command, progress=True)
        summaries.append(json.loads((out / "summary.json").read_text()))
    rows = compare(summaries)
    write_json(folder / "densities.json", rows)
    write_page(folder, film, summaries, rows)
    print(f"{time.monotonic() - begun:.0f} s. Open {folder / 'report.html'}")


def offered(sample: dict) -> float:
    """Residual of the structure that is a sample's answer."""
    return sample[f"residual_{sample['answer']}"]


def compare(summaries: list[dict]) -> list[dict]:
    """One row a density: residuals, coordination, the classical pi* share."""
    rows = []
    for density, summary in zip(DENSITIES, summaries, strict=True):
        samples = summary["samples"]
        mean = {k: float(np.mean([s["coordination"][k] for s in samples])) for k in "234"}
        rows.append({
            "density": density, "guided": [offered(s) for s in samples],
            "guided_sampled": [s["residual_sampled"] for s in samples],
            "unguided": [s["residual"] for s in summary["unguided"]],
            "reach": summary["target_spread"] / 2, "sp": mean["2"], "sp2": mean["3"],
            "sp3": mean["4"], "pi_star": summary["pi_star"]["sp2_fraction"],
            "energy": float(np.mean([s["energy_relaxed"] or np.nan for s in samples])),
        })
    return rows


def write_page(folder: Path, film: Spectrum, summaries: list[dict], rows: list[dict]) -> None:
    """The page over the four densities."""
    best = min(rows, key=lambda row: min(row["guided"]))
    density = np.array([row["density"] for row in rows])
    preference = plot_density_preference(
        density, [np.array(row["guided"]) for row in rows],
        np.array([np.mean(row["unguided"]) for row in rows]), "rms residual (units of the file)")
    curves, views = {}, []
    for row, summary in zip(rows, summaries, strict=True):
        run = folder / f"{row['density']:.1f}"
        table = np.genfromtxt(run / "spectra.csv", delimiter=",", names=True)
        sample = summary["samples"][summary["best"]]
        column = f"{sample['answer']}_{sample['number']}"
        curves[f"{row['density']:.1f} g/cm3"] = table[column]
        file = "relaxed" if sample["answer"] == "relaxed" else "structures"
        views.append(View(f"{row['density']:.1f} g/cm3", sample["answer"],
                          read_structures(run / f"{file}.extxyz")[sample["number"]]))
    spectra = plot_spectra(film.energy, film.mu, {"best sample of each density": curves},
                           window=tuple(summaries[0]["window"]), unit="absorption")
    for name, figure in (("density_preference", preference), ("spectra", spectra)):
        save_figure(figure, folder / "figures" / f"{name}.png")
    warnings = dict.fromkeys(f"{row['density']:.1f} g/cm3: {w}"
                             for row, s in zip(rows, summaries, strict=True)
                             for w in s["warnings"])
    columns = ("density (g/cm3)", "guided, best", "guided, mean", "unguided, mean", "sp (%)",
               "sp2 (%)", "sp3 (%)", "pi orbitals an atom, by pi* share", "energy (eV/atom)")
    lines = tuple((row["density"], min(row["guided"]), float(np.mean(row["guided"])),
                   float(np.mean(row["unguided"])), 100 * row["sp"], 100 * row["sp2"],
                   100 * row["sp3"], row["pi_star"], row["energy"]) for row in rows)
    document = Document(
        title="A measured diamond-like carbon film at four densities",
        lead=(f"Of the four densities the spectrum is met best at {best['density']:.1f} g/cm3. "
              "A small residual says that a structure is compatible with the spectrum, "
              "not that it is the only one: guidance fits at many densities.",
              "Not in pure carbon, and so not fitted: surface C-H and C=O states near 287 to "
              "289 eV."),
        command="make demo", warnings=tuple(warnings),
        facts=(("target", str(FILM.name)), ("columns", film.meta["columns"]),
               ("fit window", "{} to {} eV".format(*summaries[0]["window"])),
               ("out of reach above", f"{rows[0]['reach']:.4g} (half the target's deviation)")),
        sections=(
            Section("Densities", ("Residuals are rms over the window after the nuisances, in the "
                                  "units of the file. Each density has its own report: "
                                  + ", ".join(f"{d:.1f}/report.html" for d in DENSITIES) + ".",),
                    (Table("Guided and unguided samples", columns, lines),),
                    (FigureBlock("density_preference", "Which density the spectrum prefers",
                                 "Dots are samples, lines means.", preference),
                     FigureBlock("spectra", "Target and best sample of each density",
                                 "Shaded: the window in which the fit counts.", spectra))),),
        views=tuple(views))
    write_document(document, folder / "report.html")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo"))
    except InputError as error:
        sys.exit(f"Error: {error}")
