"""Heads on frozen features: Cu's published validation split, amorphous carbon, gradients.

    python experiments/frozen/run.py

Features and heads are kept in runs/experiments/frozen; a second run takes a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.files import write_json  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from diffxas.prior import build_options, read_toml  # noqa: E402
from diffxas.training import Schedule  # noqa: E402
from experiments.common import (  # noqa: E402
    ROOT,
    RUNS,
    held_out,
    markdown,
    one_thread,
    write_numbers,
)
from experiments.surrogate.table import all_data  # noqa: E402
from surrogates.datasets import SiteSpectra, load_site_spectra  # noqa: E402
from surrogates.feature_table import FeatureTable  # noqa: E402
from surrogates.frozen import FrozenSurrogate  # noqa: E402
from surrogates.frozen_training import head_spectra, train_frozen  # noqa: E402
from surrogates.loading import load_surrogate  # noqa: E402
from surrogates.metrics import error_table, eta, scores  # noqa: E402
from surrogates.splits import HELD_OUT, TRAINING  # noqa: E402
from surrogates.training import SurrogateTraining, apart_by_edge  # noqa: E402
from surrogates.training_split import split  # noqa: E402

SHARED = ROOT.parent / "shared" / "data"
CU = SHARED / "cu-K-feff" / "cu_k_feff.npz"
KEPT = RUNS / "frozen"
NINETY = 1.645
"""Standard deviations of a central 90 % interval, if errors are normal."""
CU_MODELS = {
    "cu-m3gnet-last": "M3GNet's last node state (64), dense: OmniXAS's expert",
    "universal": "M3GNet, all layers (192), dense, one trunk for Cu, C FEFF, C DFT: universal",
    "cu-tuned": "universal, then tuned to Cu",
    "cu-m3gnet-dense": "M3GNet, all layers (192), dense",
    "cu-tensornet-dense": "TensorNet, all layers (1280), dense",
    "cu-tensornet-kernel": "TensorNet, all layers (1280), kernel",
    "cu-m3gnet-kernel": "**M3GNet, all layers (192), kernel**",
}
REFERENCES = (("OmniXAS, expert of Cu (its test split)", 5.19),
              ("OmniXAS, universal then tuned (its test split)", 4.81),
              ("kernel ridge on M3GNet features (validation, issue 5)", 3.6))
CARBON_HEADS: dict[str, dict[str, Any]] = {
    "kernel": {"head": "kernel", "n_members": 2, "length": 2.0, "ridge": 0.1, "n_components": 20},
    "dense": {"head": "dense", "n_members": 1, "n_components": 20},
}
DENSE = {"steps": 600, "learning_rate": 2e-3, "warmup": 100, "weight_decay": 0.05, "ema": 0.99}
TUNE = {**DENSE, "steps": 200, "learning_rate": 5e-4, "warmup": 30}


def options_of(name: str) -> SurrogateTraining:
    """A config of this folder; paths from the repository's root."""
    options: SurrogateTraining = build_options(
        SurrogateTraining, read_toml(HERE / f"{name}.toml"), f"{name}.toml")
    features = {key: str(ROOT / value) if key in ("path", "cache") else value
                for key, value in options.features.items()}
    return replace(options, features=features,
                   exclude=str(ROOT / options.exclude) if options.exclude else "",
                   start=str(ROOT / options.start) if options.start else "")


def trained(name: str, data: Sequence[SiteSpectra], options: SurrogateTraining) -> FrozenSurrogate:
    """Train, or take what an earlier run left; features of carbon and copper are shared."""
    schedule: Schedule = build_options(Schedule, options.schedule, "[schedule]")
    folder = KEPT / name
    if not (folder / "config.json").is_file():
        train_frozen(split(apart_by_edge(data), options), options, schedule, folder)
    surrogate = load_surrogate(folder)
    assert isinstance(surrogate, FrozenSurrogate)
    return surrogate


def predict(surrogate: FrozenSurrogate, items: Sequence[SiteSpectra],
            cache: str) -> list[np.ndarray]:
    """By every member, (n_members, n_sites, n_grid) for each item, from kept features."""
    table = FeatureTable(surrogate.features, Path(cache))
    return head_spectra(surrogate.members, items, table, surrogate.theory)


def join_caches() -> None:
    """The universal model's features are those of copper and of carbon."""
    from safetensors.torch import load_file, save_file

    parts = [KEPT / "cu-m3gnet.safetensors", KEPT / "carbon-m3gnet.safetensors"]
    if all(part.is_file() for part in parts) and not (KEPT / "universal.safetensors").is_file():
        save_file({k: v for part in parts for k, v in load_file(part).items()},
                  KEPT / "universal.safetensors")


def copper() -> tuple[list[dict[str, Any]], dict[str, Any], Figure]:
    """Every model on the published validation split."""
    data = load_site_spectra([CU])
    carbon = all_data()
    train, valid = ([d for d in data if d.part == part] for part in (TRAINING, HELD_OUT))
    mean = np.concatenate([d.spectra for d in train]).astype(float).mean(0)
    true = np.concatenate([d.spectra for d in valid]).astype(float)
    rows: list[dict[str, Any]] = [{"model": name, "eta": value, **dict.fromkeys(
        ("one member", "median_mse", "mse", "mae"))} for name, value in REFERENCES]
    found: dict[str, np.ndarray] = {}
    numbers: dict[str, Any] = {}
    for name, label in CU_MODELS.items():
        options = options_of(name)
        surrogate = trained(name, [*data, *carbon] if name == "universal" else data, options)
        seen = set(surrogate.record["training"]["parents"])
        assert not seen & {d.parent for d in valid}, "a validation material was trained on"
        members = np.concatenate(predict(surrogate, valid, options.features["cache"]), 1)
        found[label] = members.astype(float).mean(0)
        table = scores(found[label], true, mean)
        rows.append({"model": label, "eta": table["eta"],
                     "one member": float(np.mean([eta(m, true, mean) for m in members])),
                     **{key: table[key] for key in ("median_mse", "mse", "mae")}})
        if name == "cu-m3gnet-kernel":
            deviation = np.sqrt(members.astype(float).var(0, ddof=1) + surrogate.site_error**2)
            inside = np.abs(true - found[label]) <= NINETY * deviation
            numbers = {"coverage_of_90_percent": float(inside.mean()),
                       "left_out": surrogate.record["left_out"]["members"],
                       "gradients": gradients(surrogate, valid, mean)}
            energy = surrogate.energy
    both = [found[CU_MODELS[f"cu-{kind}-kernel"]] for kind in ("m3gnet", "tensornet")]
    table = scores(np.mean(both, 0), true, mean)
    rows.append({"model": "mean of both kernel rows", "eta": table["eta"], "one member": None,
                 **{key: table[key] for key in ("median_mse", "mse", "mae")}})
    labels = [f"{d.structure.formula} ({d.name}, atom {site})" for d in valid for site in d.sites]
    return rows, numbers, draw(energy, true, both[0], mean, deviation, labels)


def gradients(surrogate: FrozenSurrogate, valid: Sequence[SiteSpectra],
              mean: np.ndarray) -> dict[str, float]:
    """Largest relative errors of directional derivatives of a spectrum's loss, float64."""
    exact, target = surrogate.to(torch.float64), torch.tensor(mean, dtype=torch.float64)
    structure = next(d.structure for d in valid if 6 <= len(d.structure) <= 16)
    rng, h = np.random.default_rng(0), 1e-4
    shaken = structure.with_positions(
        structure.positions + 0.02 * rng.standard_normal(structure.positions.shape))
    start, box = torch.tensor(shaken.positions), torch.tensor(shaken.cell)

    def loss(x: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        return (exact.mean_spectrum(x, shaken, cell) - target).square().mean()

    x, cell = start.clone().requires_grad_(), box.clone().requires_grad_()
    by_atoms, by_cell = torch.autograd.grad(loss(x, cell), (x, cell))
    worst = {"positions": 0.0, "cell": 0.0}
    for _ in range(6):
        one, turn = (torch.tensor(rng.standard_normal(s.shape)) for s in (start, box))
        for key, slope, numeric in (
                ("positions", (by_atoms * one).sum(),
                 loss(start + h * one, box) - loss(start - h * one, box)),
                ("cell", (by_cell * turn).sum(),
                 loss(start, box + h * turn) - loss(start, box - h * turn))):
            number = float(numeric) / (2 * h)
            worst[key] = max(worst[key], abs(float(slope) - number) / abs(number))
    return worst


def carbon_feff(data: Sequence[SiteSpectra]) -> list[dict[str, Any]]:
    """FEFF on the networks of heldout.txt, their variants and pairs."""
    held = held_out()
    feff = [d for d in data if d.theory == "FEFF"]
    test = [d for d in feff if held & {d.name, d.parent}]
    true = np.concatenate([d.spectra for d in test]).astype(float)
    rows = []
    for kind in ("tensornet", "m3gnet"):
        for head in CARBON_HEADS:
            options = carbon_options(kind, head)
            surrogate = trained(f"carbon-feff-{kind}-{head}", feff, options)
            members = predict(surrogate, test, options.features["cache"])
            found = scores(np.concatenate([m.mean(0) for m in members]), true)
            rows.append({"features": kind, "head": head, "sites": len(true),
                         "site MSE": found["mse"],
                         "share of the variance": found["variance_share"]})
    return rows


def carbon_options(kind: str, head: str) -> SurrogateTraining:
    """``carbon.toml`` with another model or head."""
    base = options_of("carbon")
    model = {"tensornet": "TensorNet-MatPES-PBE-v2025.1-PES", "m3gnet": "M3GNet-MP-2021.2.8-PES"}
    features = {"path": str(SHARED / "matgl-models" / model[kind]), "layers": "all",
                "cache": str(KEPT / f"carbon-{kind}.safetensors")}
    return replace(base, features=features, model=CARBON_HEADS[head],
                   schedule=DENSE if head == "dense" else {},
                   batch={"FEFF": 32, "DFT": 4})


def carbon_dft(data: Sequence[SiteSpectra]) -> list[dict[str, Any]]:
    """DFT with a density left out, with and without FEFF."""
    rows = []
    for density in (2.0, 3.0):
        test = [d for d in data if d.theory == "DFT" and abs(d.structure.density - density) < 0.1]
        for head in CARBON_HEADS:
            options = replace(carbon_options("tensornet", head), leave_out_density=[density])
            name = f"carbon-{head}-without-{density}"
            dft, feff = ([d for d in data if d.theory == theory] for theory in ("DFT", "FEFF"))
            if head == "kernel":
                runs = {"DFT alone": trained(f"{name}-dft", dft, options),
                        "FEFF as low fidelity": trained(f"{name}-both", data, options)}
            else:
                first = trained(f"{name}-feff", feff, options)
                runs = {"DFT alone": trained(f"{name}-dft", dft, options),
                        "pretrained on FEFF": trained(f"{name}-tuned", dft, replace(
                            options, start=str(KEPT / f"{name}-feff"), schedule=TUNE))}
                assert first.record["training"]["sites"].keys() == {"FEFF"}
            for label, surrogate in runs.items():
                assert not set(surrogate.record["training"]["parents"]) & {d.parent for d in test}
                found = predict(surrogate, test, options.features["cache"])
                errors = error_table([m.mean(0) - d.spectra
                                      for m, d in zip(found, test, strict=True)])
                rows.append({"left out, g/cm3": str(density), "head": head, "trained on": label,
                             "site MSE": errors["site_mse"],
                             "cell-mean MAE": errors["cell_mean_mae"]})
    return rows


def draw(energy: np.ndarray, true: np.ndarray, predicted: np.ndarray, mean: np.ndarray,
         deviation: np.ndarray, labels: Sequence[str]) -> Figure:
    """Best, median and worst sites of the validation split."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    errors = np.square(predicted - true).mean(1)
    order = np.argsort(errors)
    for axis, word, place in zip(axes, ("best", "median", "worst"), (0, len(order) // 2, -1),
                                 strict=True):
        k = order[place]
        axis.fill_between(energy, *(predicted[k] + s * NINETY * deviation[k] for s in (-1, 1)),
                          color="#0072B2", alpha=0.2, lw=0)
        axis.plot(energy, mean, color="#999999", lw=1, label="mean of train")
        axis.plot(energy, true[k], color="black", lw=1.8, label="FEFF")
        axis.plot(energy, predicted[k], color="#0072B2", lw=1.3, label="predicted, 90 %")
        axis.set(xlabel="energy (eV)")
        axis.set_title(f"{word} of {len(order)} sites, MSE {errors[k]:.2g}\n{labels[k]}",
                       fontsize="medium")
    axes[0].set_ylabel("intensity (a.u.)")
    axes[0].legend(frameon=False)
    return figure


def main() -> None:
    """Run it."""
    one_thread()
    if not CU.is_file():
        raise SystemExit(f"needs {SHARED}, which is not carried along")
    join_caches()
    data = all_data()
    rows, numbers, figure = copper()
    print(markdown(rows))
    feff, dft = carbon_feff(data), carbon_dft(data)
    save_figure(figure, HERE / "expected" / "frozen.png")
    write_json(HERE / "expected" / "frozen.json",
               {"cu": rows, **numbers, "carbon_feff": feff, "carbon_dft": dft})
    slopes = numbers["gradients"]
    write_numbers(HERE / "README.md", f"""Cu K-edge, published validation split, 416 sites of 394 \
materials; eta against the mean of published train ("one member": mean over the members of theirs):

{markdown(rows)}
The M3GNet kernel's stated deviation (members' spread and error on left-out materials of train) \
covers {100 * numbers["coverage_of_90_percent"]:.0f} % at a nominal 90 %. Gradients of a \
spectrum's loss against finite differences, float64: largest relative error \
{slopes["positions"]:.1g} to positions, {slopes["cell"]:.1g} to the cell.

Amorphous carbon by FEFF, sites of held-out networks (kernel on hand-made invariants, \
`experiments/surrogate`: 0.21):

{markdown(feff)}
Amorphous carbon by DFT, TensorNet features, a density left out (`experiments/surrogate`: 0.0043 / \
0.0044 and 0.0039 / 0.0042):

{markdown(dft)}""")


if __name__ == "__main__":
    main()
