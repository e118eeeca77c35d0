"""Files, figure and page of a description."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError
from diffxas.files import write_json
from diffxas.spectrum import Spectrum
from surrogates.description import Description, DescriptionModel, Estimate
from surrogates.prediction import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORD = "description.json"
"""Marks a folder as a description's."""
OUTPUTS = (RECORD, "description.csv", "report.html", "figures/description.png")
NAMES = {"sp": "sp (two neighbours)", "sp2": "sp² (three)", "sp3": "sp³ (four)",
         "other": "other", "density": "density"}


def check_folder(out: Path) -> None:
    """Refuse a folder whose files another command wrote.

    Raises
    ------
    InputError
        If files of our names, or a run's, are there without :data:`RECORD`.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out must be a folder, received the file {out}: choose another")
    foreign = [name for name in ("run.json", "compare.json", *OUTPUTS) if (out / name).exists()]
    if foreign and not (out / RECORD).exists():
        raise InputError(f"--out must be a new folder or that of an earlier description, received "
                         f"{out} with another command's {foreign[0]}: choose another --out")


def write_description(out: Path, found: Description, model: DescriptionModel, target: Spectrum,
                      command: str = "") -> None:
    """Write :data:`OUTPUTS` into a folder."""
    from diffxas.plots import save_figure
    from diffxas.report.document import write_document

    write_json(out / RECORD, summary(found, model, target))  # first: it marks the folder as ours
    write_csv(out / "description.csv", ["quantity", "value", "low", "high", "unit"],
              ([one.quantity, one.value, one.low, one.high, one.unit] for one in found.estimates))
    save_figure(draw(found), out / "figures" / "description.png")
    write_document(document(found, model, target, command), out / "report.html")


def summary(found: Description, model: DescriptionModel, target: Spectrum) -> dict[str, Any]:
    """What description.json holds."""
    limits = model.record["calibration"][found.kind]
    return {
        "target": dict(target.meta), "target_kind": found.kind, "reason": found.reason,
        "window": list(found.observation.window), "model": model.name,
        "edge": f"{model.element}:{model.edge}", "level": model.record["model"]["level"],
        "estimates": [{**asdict(one), "training_5_to_95": list(one.prior)}
                      for one in found.estimates],
        "warnings": list(found.warnings), "notes": list(found.notes),
        "intervals_widened_by": found.widened,
        "nuisances": dict(found.fit.theta), "residual": found.fit.residual_rms,
        "unlike_training": {key: {"value": getattr(found.fit, key), "limit": limits[key]}
                            for key in ("residual_share", "misfit", "distance", "strain")},
        "pi_star": asdict(found.pi_star) if found.pi_star else None,
    }


def draw(found: Description) -> Figure:
    """Target and its most probable spectrum; each quantity with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(2.4, 1.3, 0.6))
    observation = found.observation
    left.axvspan(*observation.window, color="0.94", lw=0)
    left.plot(observation.energy, observation.target, color="black", lw=1.8, label="target")
    left.plot(observation.energy, found.fit.prediction, color="#D55E00", lw=1.3,
              label=f"nearest mixture (residual {found.fit.residual_rms:.3f})")
    unit = "edge steps" if found.kind == "measured" else "surrogate's units"
    low, high = observation.window
    left.set(xlabel="energy (eV)", ylabel=f"absorption ({unit})",
             xlim=(max(low - 4, observation.energy[0]), min(high + 12, observation.energy[-1])))
    left.legend(frameon=False, fontsize=8)
    _intervals(middle, [one for one in found.estimates if not one.unit], 100.0)
    middle.set(ylabel="share of atoms (%)", ylim=(-2, 102))
    _intervals(right, [one for one in found.estimates if one.unit], 1.0)
    right.set(ylabel="g/cm³", ylim=(0.5, 4))
    return figure


def _intervals(axis: Any, estimates: list[Estimate], scale: float) -> None:
    """Points with 90 % bars; grey behind them, the middle 90 % of the training."""
    x = np.arange(len(estimates))
    value, low, high = (scale * np.array([getattr(one, key) for one in estimates])
                        for key in ("value", "low", "high"))
    prior = scale * np.array([one.prior for one in estimates])
    axis.bar(x, prior[:, 1] - prior[:, 0], bottom=prior[:, 0], width=0.7, color="0.9",
             label="training")
    axis.errorbar(x, value, [value - low, high - value], fmt="o", color="#0072B2", capsize=4)
    axis.set_xticks(x, [NAMES[one.quantity].split(" (")[0] for one in estimates])
    axis.set_xlim(-0.6, len(estimates) - 0.4)


def document(found: Description, model: DescriptionModel, target: Spectrum, command: str) -> Any:
    """The page."""
    from diffxas.report.document import Document, FigureBlock, Section, Table

    path = target.meta.get("path")
    rows = []
    for one in found.estimates:
        scale, unit = (1.0, "g/cm³") if one.unit else (100.0, "%")
        rows.append((NAMES[one.quantity], round(scale * one.value, 2), round(scale * one.low, 2),
                     round(scale * one.high, 2), unit, round(scale * one.prior[0], 2),
                     round(scale * one.prior[1], 2)))
    table = Table("", ("quantity", "estimate", "low", "high", "unit", "training from", "to"),
                  tuple(rows), "Low to high is meant to hold the truth in nine cases of ten. The "
                  "last two columns are the middle 90 % of the mixtures that the model was made "
                  "from: what one would say without a spectrum.")
    sections = [Section("Estimates", found.notes, (table,), (FigureBlock(
        "description", "Target and estimates",
        "Left: the target, the window, and the most probable mixture through the fitted "
        "nuisances. Right: estimates with 90 % intervals, in grey the training.", draw(found)),))]
    if found.pi_star is not None:
        sections.append(Section("Classical π* estimate", (
            f"Share of π* ({found.pi_star.pi_star[0]:g} to {found.pi_star.pi_star[1]:g} eV) in "
            f"the absorption up to {found.pi_star.total[1]:g} eV: {found.pi_star.share:.3f}, "
            f"against {found.pi_star.reference_share:.3f} of the {found.pi_star.reference}: sp² "
            f"{found.pi_star.fraction:.2f}. Two-fold atoms count twice in it; sp² + 2 sp of the "
            f"estimates above is {found['sp2'].value + 2 * found['sp'].value:.2f}.",)))
    if found.fit.theta:
        sections.append(Section("What the experiment does not fix", (
            "Shift, stretch, broadening, scale and envelope were fitted along, with their priors.",
        ), (Table("", ("nuisance", "fitted"), tuple(found.fit.theta.items())),)))
    return Document(
        title=f"What {Path(str(path)).name if path else 'a spectrum'} says of its atoms",
        lead=(found.reason,), command=command, warnings=found.warnings,
        facts=(("model", model.name), ("edge", f"{model.element}:{model.edge}"),
               ("window", f"{found.observation.window[0]:g} to {found.observation.window[1]:g} eV"),
               ("residual (rms)", f"{found.fit.residual_rms:.4f}")),
        sections=tuple(sections))
