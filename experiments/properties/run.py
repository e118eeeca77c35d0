"""Energy per atom of networks that no model has seen: table, intervals and parity plot.

    python experiments/properties/run.py
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.analysis import coordination_fractions  # noqa: E402
from diffxas.files import write_json  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from experiments.common import (  # noqa: E402
    DATA,
    ROOT,
    RUNS,
    held_out,
    markdown,
    one_thread,
    write_numbers,
)
from surrogates.properties import load_property  # noqa: E402
from surrogates.property_training import Trained, train_property  # noqa: E402

KEY = "energy_eV_per_atom"
PATH = DATA / "a-C-energies" / "relaxed.extxyz"
NINETY = 1.645
"""Standard deviations of a central 90 % interval, if errors are normal."""
RIDGES = np.geomspace(1e-4, 1.0, 9)
FOLDS = 5


def parent(structure: Structure) -> str:
    """Network of a structure."""
    return str(structure.info.get("parent", structure.info["name"]))


def features(structure: Structure) -> list[float]:
    """Density and the shares of two-, three- and four-fold atoms (bonds below 1.85 angstrom)."""
    found = coordination_fractions(structure)
    return [structure.density, found["2"], found["3"], found["4"]]


def ridge(x: np.ndarray, y: np.ndarray, weight: float) -> tuple[np.ndarray, float]:
    """Coefficients and constant of ridge regression on standardised columns."""
    mean, spread = x.mean(0), x.std(0)
    z = (x - mean) / spread
    w = np.linalg.solve(z.T @ z + weight * len(z) * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    return w / spread, float(y.mean() - mean @ (w / spread))


def ridge_baseline(x: np.ndarray, y: np.ndarray, networks: list[str],
                   new: np.ndarray) -> np.ndarray:
    """Predictions for ``new``; the weight has the smallest error on networks left out in turn."""
    names = sorted(set(networks))
    fold = np.array([names.index(name) % FOLDS for name in networks])
    errors = []
    for weight in RIDGES:
        left = [y[fold == k] - (x[fold == k] @ w + b) for k in range(FOLDS)
                for w, b in [ridge(x[fold != k], y[fold != k], weight)]]
        errors.append(np.square(np.concatenate(left)).mean())
    w, b = ridge(x, y, float(RIDGES[int(np.argmin(errors))]))
    return np.asarray(new @ w + b)


def measures(name: str, told: np.ndarray, true: np.ndarray) -> dict[str, object]:
    """A row of the table, meV an atom."""
    error = 1000 * (told - true)
    correlation = float(np.corrcoef(told, true)[0, 1]) if np.ptp(told) else float("nan")
    return {"model": name, "MAE (meV/atom)": float(np.abs(error).mean()),
            "RMSE (meV/atom)": float(np.sqrt((error**2).mean())), "Pearson": correlation}


def draw(true: np.ndarray, told: dict[str, tuple[np.ndarray, np.ndarray | None]]) -> Figure:
    """Parity of each model, with 90 % intervals."""
    figure = Figure(figsize=(3.6 * len(told), 3.7), layout="constrained")
    axes = figure.subplots(1, len(told), sharex=True, sharey=True, squeeze=False)[0]
    ends = [true.min() - 0.02, true.max() + 0.02]
    for axis, (name, (values, deviation)) in zip(axes, told.items(), strict=True):
        axis.plot(ends, ends, color="#999999", lw=1)
        axis.errorbar(true, values, None if deviation is None else NINETY * deviation, fmt="o",
                      ms=3.5, lw=0.8, color="#D55E00")
        axis.set_title(f"{name}\nMAE {1000 * np.abs(values - true).mean():.1f} meV/atom",
                       fontsize="medium")
        axis.set_xlabel("energy (eV/atom)")
        axis.set_aspect("equal")
    axes[0].set_ylabel("predicted (eV/atom)")
    return figure


def trained(folder: Path, config: Path) -> tuple[Trained, float]:
    """The model, trained unless it is there, and the seconds of one core that it took once."""
    clock = folder / "seconds.json"
    begun = time.process_time()
    done = train_property([PATH], folder, KEY, config)
    if not clock.is_file():
        write_json(clock, time.process_time() - begun)
    return done, float(json.loads(clock.read_text(encoding="utf-8")))


def main() -> None:
    """Train (or go on training) both families, then compare."""
    from diffxas.structure_files import read_structures

    one_thread()
    structures = read_structures(PATH)
    known, new = ([s for s in structures if (parent(s) in held_out()) is side]
                  for side in (False, True))
    y, true = (np.array([s.info[KEY] for s in group]) for group in (known, new))
    x, x_new = (np.array([features(s) for s in group]) for group in (known, new))
    linear = ridge_baseline(x, y, [parent(s) for s in known], x_new)
    table = [measures("mean of the training networks", np.full_like(true, y.mean()), true),
             measures("ridge on density, sp, sp2, sp3", linear, true)]
    told: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        "ridge on density, sp, sp2, sp3": (linear, None)}
    intervals = []
    for family in ("kernel", "equivariant"):
        folder = RUNS / f"energy-{family}"
        done, seconds = trained(folder, HERE / f"{family}.toml")
        model = load_property(folder)
        assert not set(model.record["training"]["parents"]) & held_out()
        estimates = [model.predict(s) for s in new]
        values = np.array([e.value[0] for e in estimates])
        deviation = np.array([e.deviation[0] for e in estimates])
        inside = np.abs(values - true) <= NINETY * deviation
        table.append(measures(f"**{family}**, {model.n_members} members", values, true))
        told[family] = values, deviation
        intervals.append({"model": family, "covered at 90 %": float(inside.mean()),
                          "deviation (meV/atom)": 1000 * float(deviation.mean()),
                          "left-out RMSE in training (meV/atom)": 1000 * done.left_out["rmse"],
                          "training (s of one core)": round(seconds)})
    write_json(HERE / "expected" / "properties.json", {
        "structures": {"trained": len(known), "tested": len(new)}, "errors": table,
        "intervals": intervals})
    save_figure(draw(true, told), HERE / "expected" / "parity.png")
    write_numbers(HERE / "README.md", f"""Tested: {len(new)} structures of {len(held_out())} \
networks that took no part; trained: {len(known)} structures of \
{len({parent(s) for s in known})} networks.

{markdown(table)}
Intervals of the stated deviation:

{markdown(intervals)}""")
    print(f"models: {(RUNS / 'energy-kernel').relative_to(ROOT)}, energy-equivariant")


if __name__ == "__main__":
    main()
