"""What a target file holds and how it will be read: ``diffxas inspect``.

Draws the raw data with pre-edge line, post-edge line and edge, and the normalised curve with the
fit window, writes every number, and returns the settings as flags to copy. Nothing here changes
what :func:`diffxas.normalise.normalise` and :func:`diffxas.spectrum_files.read_spectrum` do.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError
from diffxas.files import replacing, write_json, write_text
from diffxas.normalise import Normalisation, check_window, normalise
from diffxas.spectrum import Spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CARBON_WINDOW = (282.0, 300.0)
"""Default fit window for measured carbon K-edges, eV."""

OUTPUTS = ("inspect.json", "normalised.csv", "inspect.png")
_MADE_BY = "diffxas inspect"


def inspect_target(spectrum: Spectrum, out_dir: str | Path, *,
                   window: tuple[float, float] | None = None,
                   nominal_edge: float | None = None) -> dict[str, Any]:
    """Normalise a target, draw it, and write ``inspect.json``, ``normalised.csv``, ``inspect.png``.

    Parameters
    ----------
    spectrum : the target, as read
    out_dir : folder for the three files; made if missing
    window : fit window, eV; 282-300 for C:K, otherwise from 10 eV below e0 to 40 eV above
    nominal_edge : where to look for the edge, eV; from the table of elements if not given

    Returns
    -------
    dict
        What ``inspect.json`` holds; ``flags`` is the command-line text to copy.

    Raises
    ------
    InputError
        If the spectrum cannot be normalised, the window misses the edge or the data, or the folder
        holds files of these names that this function did not write.
    """
    out_dir = Path(out_dir)
    normalised = normalise(spectrum, nominal_edge=nominal_edge)
    window = window or default_window(spectrum, normalised)
    check_window(spectrum.energy, window, normalised.e0)
    _check_folder(out_dir)
    record = _record(spectrum, normalised, window)
    figure = inspection_figure(spectrum, normalised, window)
    write_json(out_dir / "inspect.json", record)  # first: it marks the folder as ours
    rows = np.column_stack([normalised.energy, normalised.mu, normalised.norm, normalised.flat])
    write_text(out_dir / "normalised.csv", "energy,mu,norm,flat\n" + "".join(
        ",".join(repr(float(v)) for v in row) + "\n" for row in rows))
    with replacing(out_dir / "inspect.png") as temporary:
        figure.savefig(temporary, dpi=120)
    return record


def default_window(spectrum: Spectrum, normalised: Normalisation) -> tuple[float, float]:
    """282-300 eV for C:K, otherwise from 10 eV below e0 to 40 eV above, inside the data."""
    if (spectrum.element, spectrum.edge) == ("C", "K"):
        return CARBON_WINDOW
    low, high = normalised.e0 - 10.0, normalised.e0 + 40.0
    return (round(max(low, float(spectrum.energy[0])), 1),
            round(min(high, float(spectrum.energy[-1])), 1))


def flags_of(spectrum: Spectrum, window: tuple[float, float]) -> str:
    """Settings as command-line flags, such as ``--edge C:K --window 282 300``."""
    words = []
    if spectrum.element:
        words += ["--edge", f"{spectrum.element}:{spectrum.edge}"]
    if spectrum.meta.get("columns_flag"):
        words += ["--columns", str(spectrum.meta["columns_flag"])]
    words += ["--window", f"{window[0]:.10g}", f"{window[1]:.10g}"]
    return shlex.join(words)


def _check_folder(out_dir: Path) -> None:
    """Replace our own earlier output only."""
    present = [name for name in OUTPUTS if (out_dir / name).exists()]
    if not present:
        return
    try:
        earlier = json.loads((out_dir / "inspect.json").read_text(encoding="utf-8"))
        ours = isinstance(earlier, dict) and earlier.get("made_by") == _MADE_BY
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise InputError(f"--out must be a new folder or one of an earlier inspect, received "
                         f"{out_dir} with a {present[0]} of other origin: choose another --out")


def _record(spectrum: Spectrum, normalised: Normalisation, window: tuple[float, float],
            ) -> dict[str, Any]:
    """All numbers, as ``inspect.json`` holds them."""
    arrays = ("energy", "mu", "pre_line", "post_line", "norm", "flat")
    numbers = {k: v for k, v in asdict(normalised).items() if k not in arrays}
    slope, intercept = numbers.pop("pre_edge")
    energy = spectrum.energy
    inside = (energy >= window[0]) & (energy <= window[1])
    peak = int(np.argmax(np.where(inside, normalised.norm, -np.inf)))
    return {
        "made_by": _MADE_BY, **{k: spectrum.meta.get(k) for k in (
            "path", "format", "hash", "columns", "columns_flag", "header")},
        "element": spectrum.element, "edge": spectrum.edge, "n_points": len(spectrum),
        "energy_range": [energy[0], energy[-1]],
        "energy_step": [float(np.diff(energy).min()), float(np.diff(energy).max())],
        **numbers, "pre_edge_slope": slope, "pre_edge_intercept": intercept,
        "signal_to_noise": normalised.edge_step / normalised.noise if normalised.noise else None,
        "window": list(window), "points_in_window": int(inside.sum()),
        "highest_in_window": {"energy": energy[peak], "norm": normalised.norm[peak]},
        "flags": flags_of(spectrum, window),
    }


def inspection_figure(spectrum: Spectrum, normalised: Normalisation,
                      window: tuple[float, float]) -> Figure:
    """Raw data with the fitted lines beside the normalised curve with the fit window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    raw, norm = figure.subplots(1, 2)
    _draw_raw(raw, normalised)
    _draw_norm(norm, normalised, window)
    whose = f"{spectrum.element} {spectrum.edge} edge, " if spectrum.element else ""
    figure.suptitle(f"{Path(str(spectrum.meta.get('path', 'spectrum'))).name}: {whose}"
                    f"e0 = {normalised.e0:.1f} eV, edge step {normalised.edge_step:.4g}"
                    .replace("$", r"\$"), fontsize=11)
    return figure


def _draw_raw(axes: Axes, normalised: Normalisation) -> None:
    energy = normalised.energy
    after = energy >= normalised.e0
    for span, label in ((normalised.pre_edge_range, "pre-edge"),
                        (normalised.norm_range, "post-edge")):
        colour = "#0072B2" if label == "pre-edge" else "#D55E00"
        axes.axvspan(*span, color=colour, alpha=0.12, lw=0, label=f"{label} range")
    axes.plot(energy, normalised.mu, color="black", lw=1.3, label="data")
    axes.plot(energy, normalised.pre_line, color="#0072B2", lw=1.2, ls="--", label="pre-edge line")
    axes.plot(energy[after], normalised.post_line[after], color="#D55E00", lw=1.2, ls="--",
              label="post-edge line")
    axes.axvline(normalised.e0, color="#009E73", lw=1.0, label="e0")
    axes.set(xlabel="energy / eV", ylabel="mu (as read)", title="raw")
    axes.margins(x=0.01)
    axes.legend(fontsize=8, frameon=False)


def _draw_norm(axes: Axes, normalised: Normalisation, window: tuple[float, float]) -> None:
    axes.axvspan(*window, color="#F0E442", alpha=0.3, lw=0,
                 label=f"fit window {window[0]:g}-{window[1]:g} eV")
    for level in (0.0, 1.0):
        axes.axhline(level, color="0.6", lw=0.8, ls=":")
    axes.axvline(normalised.e0, color="#009E73", lw=1.0, label=f"e0 = {normalised.e0:.1f} eV")
    axes.plot(normalised.energy, normalised.norm, color="black", lw=1.3, label="normalised")
    low = max(float(normalised.energy[0]), min(window[0], normalised.e0) - 25.0)
    high = min(float(normalised.energy[-1]), max(window[1], normalised.e0) + 60.0)
    axes.set(xlim=(low, high), xlabel="energy / eV", ylabel="normalised absorption",
             title="normalised: pre-edge 0, edge step 1")
    axes.legend(fontsize=8, frameon=False)
