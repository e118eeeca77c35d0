"""What the observation model can and cannot take up: the film against DFT cells of each density.

Usage: python experiments/observation-film/run.py [--data experiments/data] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from diffxas.files import write_json
from diffxas.plots import save_figure
from diffxas.spectrum import Spectrum
from diffxas.structure_files import read_structures
from surrogates.nuisances import NuisanceOptions
from surrogates.observation import Fit
from surrogates.targets import observation_for

HERE = Path(__file__).parent
ENERGY = 274.4 + 0.40 * np.arange(100)
BASE = NuisanceOptions()
CASES: dict[str, dict] = {
    "default": {},
    "without 287-290 eV (C-H, C=O)": {"exclude": ((287.0, 290.0),)},
    "no envelope": {"options": replace(BASE, tilt_width=1e-3, curve_width=1e-3)},
    "envelope prior 3x wider": {"options": replace(BASE, tilt_width=2.1, curve_width=1.2)},
    "envelope from pi* on": {"options": replace(BASE, threshold=0.0)},
    "shift alone, no stretch": {"options": replace(BASE, stretch=(1.0, 1e-3))},
    "shift prior 3x wider": {"options": replace(BASE, shift_width=0.9)},
    "noise halved": {"noise": 0.055},
    "window 282-305 eV": {"window": (282.0, 305.0)},
}


def density_means(folder: Path) -> dict[float, np.ndarray]:
    """Mean spectrum of the DFT cells of each density, (100,)."""
    with np.load(folder / "xanes.npz", allow_pickle=False) as content:
        spectra = dict(zip(content["name"].tolist(), content["mu"].astype(float), strict=True))
    cells: dict[float, list[np.ndarray]] = {}
    for structure in read_structures(folder / "dft_cells.extxyz"):
        sites = spectra[str(structure.info["name"])]
        cells.setdefault(round(structure.density, 1), []).append(sites.mean(axis=0))
    return {density: np.mean(cells[density], axis=0) for density in sorted(cells)}


def closed_loop(means: dict[float, np.ndarray]) -> dict[str, dict[str, float]]:
    """Each density's mean as if measured, fitted with every density's: residual over spread."""
    from surrogates.nuisances import ForwardModel
    from surrogates.observation import MeasuredObservation

    theta = {"shift": 0.2, "stretch": 1.05, "resolution": 0.25, "lifetime": 0.06,
             "log_scale": 1.1, "tilt": 0.5, "curve": 0.2}
    energy = np.arange(274.4, 314.0, 0.2)
    window = (282.0, 300.0)
    table = {}
    for density, mean in means.items():
        target = ForwardModel(energy, ENERGY, window, BASE).matrix(theta) @ mean
        level = 0.1 * float(np.sqrt(np.mean(target[(energy > 282) & (energy < 300)]**2)))
        observation = MeasuredObservation(energy, target, ENERGY, window, level)
        table[f"{density}"] = {f"{other}": observation.fit(m).residual_rms / observation.spread
                               for other, m in means.items()}
    return table


def timings(target: Spectrum, means: dict[float, np.ndarray]) -> dict[str, float]:
    """Milliseconds of a fit from nothing and of one that starts at a neighbour's nuisances."""
    observation, _ = observation_for(target, ENERGY)
    start = observation.fit(means[2.0]).theta
    cold, warm = [], []
    for k in range(20):
        m = means[2.0] * (1 + 0.02 * np.sin(ENERGY + k))
        begin = time.perf_counter()
        observation.fit(m)
        middle = time.perf_counter()
        observation.fit(m, start=start)
        cold.append(middle - begin)
        warm.append(time.perf_counter() - middle)
    return {"cold_ms": 1e3 * float(np.median(cold)), "warm_ms": 1e3 * float(np.median(warm))}


def draw(target: np.ndarray, fits: dict[float, Fit]) -> Figure:
    """The film and each density's mean after the nuisances; below, the residuals."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    energy = next(iter(fits.values())).full_energy
    upper.axvspan(282, 300, color="0.94", lw=0)
    for (density, fit), colour in zip(fits.items(), ("#0072b2", "#e69f00", "#009e73", "#cc79a7"),
                                      strict=True):
        upper.plot(energy, fit.full_prediction, color=colour,
                   label=f"{density} g/cm³ ({fit.residual_rms:.3f})")
        lower.plot(fit.energy, fit.residual, color=colour)
    upper.plot(energy, target, "k", lw=1.8, label="film")
    lower.axhline(0, color="0.5", lw=1)
    upper.set(ylabel="absorption, edge steps", xlim=(278, 312))
    lower.set(xlabel="energy, eV", ylabel="film minus fit")
    upper.legend(frameon=False, title="DFT cells (residual, rms)")
    return figure


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parent / "data")
    parser.add_argument("--out", type=Path, default=HERE / "expected")
    options = parser.parse_args()
    means = density_means(options.data / "a-C-K-edge")
    film = Spectrum.read(options.data / "experimental" / "dlc_c_k_nexafs.csv", edge="C:K")
    table = {}
    for name, arguments in CASES.items():
        observation, _ = observation_for(film, ENERGY, **arguments)
        fits = {density: observation.fit(mean) for density, mean in means.items()}
        table[name] = {str(d): fit.residual_rms for d, fit in fits.items()}
        print(f"{name:32s}", *(f"{d}: {fit.residual_rms:.3f}" for d, fit in fits.items()))
        if name == "default":
            save_figure(draw(observation.target, fits), options.out / "film.png")
            nuisances = {str(d): {n: [v, fit.theta_sigma[n]] for n, v in fit.theta.items()}
                         | {"notes": list(fit.notes)} for d, fit in fits.items()}
            spread = observation.spread
    loop = closed_loop(means)
    for density, row in loop.items():
        print(f"{density} as if measured, over its spread", {k: round(v, 3)
                                                             for k, v in row.items()})
    speed = timings(film, means)
    print(speed)
    write_json(options.out / "film.json", {"target_spread": spread, "residuals": table,
                                           "nuisances": nuisances, "closed_loop": loop,
                                           "timings": speed})


if __name__ == "__main__":
    main()
