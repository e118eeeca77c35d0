"""Learning curves: what FEFF spectra of many networks are worth to DFT spectra of few.

    python experiments/transfer/run.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.files import write_json  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from experiments.common import markdown, one_thread, write_numbers  # noqa: E402
from experiments.surrogate.table import all_data, settings, split  # noqa: E402
from surrogates.datasets import SiteSpectra  # noqa: E402
from surrogates.kernel import KernelConfig, KernelSurrogate, fit_kernel  # noqa: E402
from surrogates.metrics import error_table, mse  # noqa: E402
from surrogates.training import configure, structure_spectra, training_record  # noqa: E402

DENSITIES = (2.0, 3.0)
SITES = (10, 50, 250)
"""DFT sites of each network."""


def kinds(data: Sequence[SiteSpectra]) -> dict[str, list[SiteSpectra]]:
    """The data with the FEFF spectra of many networks, and without."""
    return {"FEFF, then DFT": list(data), "DFT alone": [d for d in data if d.theory == "DFT"]}


def error(train: Sequence[SiteSpectra], test: Sequence[SiteSpectra],
          sites: int) -> dict[str, float]:
    """Errors on ``test`` of a fit to ``train`` with so many DFT sites of each network."""
    options = replace(settings(), model={"sites_per_network": sites, "n_members": 2,
                                         "relevance_steps": 0})
    config = configure(train, options)
    assert isinstance(config, KernelConfig)
    model = KernelSurrogate("curve", training_record(train, options, config),
                            fit_kernel(train, config, options.seed))
    return error_table([structure_spectra(model, d) - d.spectra for d in test])


def curves(data: Sequence[SiteSpectra], density: float) -> list[dict[str, Any]]:
    """Errors at a left-out density against sites of each network, and against networks."""
    rest = split(data, replace(settings(), leave_out_density=[density]))
    test = [d for d in data if d.theory == "DFT" and abs(d.structure.density - density) < 0.1]
    parents = sorted({d.parent for d in rest if d.theory == "DFT"})
    assert not set(parents) & {d.parent for d in test}
    choices = [(parents, n) for n in SITES]
    choices += [(list(some), SITES[-1]) for n in (1, 2) for some in combinations(parents, n)]
    rows: list[dict[str, Any]] = []
    for chosen, n in choices:
        kept = [d for d in rest if d.theory != "DFT" or d.parent in chosen]
        for name, train in kinds(kept).items():
            found = error(train, test, n)
            rows.append({"left out": density, "networks": len(chosen), "sites of each": n,
                         "trained on": name, **found})
            print(rows[-1], flush=True)
    mean = np.concatenate([d.spectra for d in rest if d.theory == "DFT"]).mean(0)
    floor = float(np.mean([mse(mean, d.spectra).mean() for d in test]))
    rows.append({"left out": density, "networks": len(parents), "sites of each": 0,
                 "trained on": "mean of the sites", "site_mse": floor,
                 "site_mae": float("nan"), "cell_mean_mae": float("nan")})
    return rows


def summed(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each number of networks and sites: means over the choices of networks."""
    keys = list(dict.fromkeys((r["left out"], r["networks"], r["sites of each"]) for r in rows))
    table = []
    for key in keys:
        some = [r for r in rows if (r["left out"], r["networks"], r["sites of each"]) == key]
        line: dict[str, Any] = {"left out, g/cm³": key[0], "networks": key[1],
                                "sites of each": key[2]}
        if key[2] == 0:
            continue
        for name in kinds([]):
            of = [r for r in some if r["trained on"] == name]
            line[f"site MSE, {name}"] = float(np.mean([r["site_mse"] for r in of]))
            line[f"cell MAE, {name}"] = float(np.mean([r["cell_mean_mae"] for r in of]))
        table.append(line)
    return table


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Error against sites above, against networks below, a column for each density."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, len(DENSITIES), sharey=True)
    most = max(r["networks"] for r in rows)
    for column, density in enumerate(DENSITIES):
        for name, colour in zip(kinds([]), ("#0072B2", "#D55E00"), strict=True):
            mine = [r for r in rows if r["left out"] == density and r["trained on"] == name]
            by_sites = [r for r in mine if r["networks"] == most]
            axes[0, column].plot([r["sites of each"] for r in by_sites],
                                 [r["site_mse"] for r in by_sites], "o-", color=colour, label=name)
            full = [r for r in mine if r["sites of each"] == SITES[-1]]
            numbers = sorted({r["networks"] for r in full})
            axes[1, column].plot(numbers, [np.mean([r["site_mse"] for r in full
                                                    if r["networks"] == n]) for n in numbers],
                                 "-", color=colour)
            axes[1, column].plot([r["networks"] for r in full], [r["site_mse"] for r in full], "o",
                                 color=colour, ms=4)
        floor = next(r["site_mse"] for r in rows if r["left out"] == density
                     and r["trained on"] == "mean of the sites")
        for axis in axes[:, column]:
            axis.axhline(floor, color="0.6", lw=1, label="mean of the sites")
        axes[0, column].set(xscale="log", title=f"{density} g/cm³ left out",
                            xlabel=f"DFT sites of each of {most} networks")
        axes[1, column].set(xlabel=f"DFT networks ({SITES[-1]} sites of each)", xticks=(1, 2, 3))
    for axis in axes[:, 0]:
        axis.set(ylabel="site MSE", ylim=(0, None))
    axes[0, 0].legend(frameon=False)
    return figure


def main() -> None:
    """Run it."""
    one_thread()
    data = all_data()
    rows = [row for density in DENSITIES for row in curves(data, density)]
    table = summed(rows)
    save_figure(draw(rows), HERE / "expected" / "transfer.png")
    write_json(HERE / "expected" / "transfer.json", {"rows": rows})
    helped = [line["site MSE, FEFF, then DFT"] < line["site MSE, DFT alone"] for line in table]
    write_numbers(HERE / "README.md", f"""FEFF first lowers the site MSE at {sum(helped)} of \
{len(helped)} points.

{markdown(table)}""")


if __name__ == "__main__":
    main()
