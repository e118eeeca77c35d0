r"""Where sampling begins: does it look like a noised solid?

Noise z of standard deviation sigma on every coordinate of a structure with structure factor S_0
leaves, in the mean over z,

    S(q) = 1 + exp(-q^2 sigma^2) (S_0(q) - 1)

(the Debye-Waller factor; B. E. Warren, "X-ray Diffraction", Dover, 1990, chapter 11), so S(q -> 0)
is that of the structure itself: near 0 in a solid, 1 for independent uniform positions. Three sets
of equal cells are compared: noised networks, the sampler's start, uniform positions.

    python experiments/start/run.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas import noise  # noqa: E402
from diffxas.analysis import rdf, rdf_distance  # noqa: E402
from diffxas.files import write_json  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from diffxas.structure_factor import structure_factor  # noqa: E402
from experiments.common import held_out, markdown, networks, write_numbers  # noqa: E402
from samplers.sampling import SamplingSchedule  # noqa: E402
from samplers.start import start_positions  # noqa: E402

SEED = 0
STREAM = 100
"""Of this experiment's own noise; the sampler's streams are below."""
LARGE_DENSITIES = (1.5, 2.0, 2.5, 3.0, 3.5)
LARGE = "5,832 atoms, 1.5-3.5 g/cm³"
DENSITY_RANGES = ((1.2, 2.0), (2.0, 2.8), (2.8, 3.6))
DRAWS = 6
LOW_Q = 1.5
"""1/angstrom; S(q -> 0) is fitted below."""
NAMES = ("noised networks", "start of the sampler", "uniform random")


@dataclass(frozen=True, eq=False)
class Curves:
    """g(r) and S(q) of a set of structures, and S(q) of each."""

    r: np.ndarray
    g: np.ndarray
    q: np.ndarray
    s: np.ndarray
    each: np.ndarray
    draws: int

    def limit(self, sigma: float) -> tuple[float, float]:
        """S(q -> 0), and its standard error by leaving out one cell, all its draws, at a time."""
        cell = np.arange(len(self.each)) // self.draws
        n = cell[-1] + 1
        without = [at_zero(self.q, self.each[cell != k], sigma) for k in range(n)]
        return at_zero(self.q, self.each, sigma), float(np.std(without) * np.sqrt(n - 1))


def at_zero(q: np.ndarray, s: np.ndarray, sigma: float) -> float:
    """a of S(q) = 1 + exp(-q^2 sigma^2) (a + b q^2 - 1), fitted below LOW_Q.

    ``s`` (n_structures, n_bins); a shell holds wave vectors in proportion to q^2, which weigh it.
    """
    q = np.broadcast_to(q, s.shape)
    low = (q < LOW_Q) & np.isfinite(s)
    q, s = q[low], s[low]
    debye_waller = np.exp(-((q * sigma) ** 2))
    design = np.stack([debye_waller, debye_waller * q**2], 1)
    fitted, *_ = np.linalg.lstsq(design * q[:, None], (s - 1 + debye_waller) * q, rcond=None)
    return float(fitted[0])


def tiled(structure: Structure, times: int) -> Structure:
    """The structure repeated along each lattice vector."""
    return Structure.from_atoms(structure.to_atoms().repeat(times))


def sets(solids: Sequence[Structure], sigma: float, draws: int) -> dict[str, list[Structure]]:
    """The three sets, ``draws`` cells for each of ``solids``, all at noise ``sigma`` (angstrom)."""
    found: dict[str, list[Structure]] = {name: [] for name in NAMES}
    for k in range(len(solids) * draws):
        solid = solids[k // draws]
        n = len(solid)
        z = noise.normal(SEED, k, 0, n, stream=STREAM)
        u = noise.uniform(SEED, k, 1, n, stream=STREAM)
        for name, x in zip(NAMES, (solid.positions + sigma * z,
                                   start_positions(n, solid.cell, sigma, SEED, k),
                                   u @ solid.cell), strict=True):
            found[name].append(solid.with_positions(x))
    return found


def curves(structures: Sequence[Structure], draws: int) -> Curves:
    """g(r) to 6 angstrom, S(q) to 4 per angstrom, in bins of 0.1; ``draws`` cells in a row are of
    one solid.
    """
    bin_width, q_max = 0.1, 4.0
    r, g = rdf(structures, 6.0, 0.1)
    q = (np.arange(round(q_max / bin_width)) + 0.5) * bin_width
    each = np.array([structure_factor(s, q_max, bin_width)[1] for s in structures])
    known = np.isfinite(each)
    mean = np.full(len(q), np.nan)
    np.divide(np.where(known, each, 0).sum(0), known.sum(0), out=mean, where=known.any(0))
    return Curves(r, g, q, mean, each, draws)


def fluctuation(structure: Structure) -> float:
    """Relative standard deviation of the number of atoms in the eight octants of the cell."""
    fractional = structure.wrapped().positions @ np.linalg.inv(structure.cell)
    octant = np.minimum((2 * fractional).astype(int), 1) @ np.array([1, 2, 4])
    counts = np.bincount(octant, minlength=8)
    return float(counts.std(ddof=1) / counts.mean())


def table(groups: dict[str, dict[str, Curves]], large: dict[str, list[Structure]],
          sigma: float) -> list[dict[str, object]]:
    """A row a set; distances are to the noised networks of the same group."""
    rows: list[dict[str, object]] = []
    for what, group in groups.items():
        reference = group[NAMES[0]]
        low = (reference.q < LOW_Q) & np.isfinite(reference.s)
        for name, one in group.items():
            limit, error = one.limit(sigma)
            is_reference = name == NAMES[0]
            rows.append({
                "cells": what, "set": name, "S(q -> 0)": f"{limit:.2f} +- {error:.2f}",
                "mean S below 1.5/angstrom": float(one.s[low].mean()),
                "g(r) distance": None if is_reference else rdf_distance(one.g, reference.g),
                "octants, %": 100 * float(np.mean([fluctuation(s) for s in large[name]]))
                if what == LARGE else None})
    return rows


def draw(groups: dict[str, dict[str, Curves]], sigma: float) -> Figure:
    """g(r) above, S(q) below; a column for each group."""
    figure = Figure(figsize=(4.1 * len(groups), 6.4), layout="constrained")
    axes = figure.subplots(2, len(groups), sharey="row")
    styles = (("black", 2.6), ("#0072B2", 1.3), ("#D55E00", 1.3))
    for column, (what, group) in enumerate(groups.items()):
        top, below = axes[:, column]
        for (name, one), (colour, width) in zip(group.items(), styles, strict=True):
            top.plot(one.r, one.g, color=colour, lw=width, label=name)
            known = np.isfinite(one.s)
            below.plot(one.q[known], one.s[known], color=colour, lw=width)
        q = np.linspace(0, 4, 100)
        below.plot(q, 1 - np.exp(-((q * sigma) ** 2)), ":", color="0.4",
                   label="$1-e^{-q^2\\sigma^2}$, no long waves")
        top.set(title=what, xlabel="r (Å)", ylim=(0.6, 1.3))
        below.set(xlabel="q (1/Å)", xlim=(0, 4), ylim=(0, 1.6))
    axes[0, 0].set_ylabel("g(r)")
    axes[1, 0].set_ylabel("S(q)")
    axes[0, 0].legend(frameon=False)
    axes[1, 0].legend(frameon=False)
    figure.suptitle(f"noise of {sigma:g} Å")
    return figure


def main() -> None:
    """Run it."""
    sigma = SamplingSchedule().sigma_max
    held = held_out()
    training = [s for s in networks() if s.info["name"] not in held]
    groups = {}
    for low, high in DENSITY_RANGES:
        cells = [s for s in training if low <= s.density < high]
        groups[f"216 atoms, {low}-{high} g/cm³"] = {
            k: curves(v, DRAWS) for k, v in sets(cells, sigma, DRAWS).items()}
    some = [min(training, key=lambda s: abs(s.density - d)) for d in LARGE_DENSITIES]
    large = sets([tiled(s, 3) for s in some], sigma, 1)
    groups[LARGE] = {k: curves(v, 1) for k, v in large.items()}
    rows = table(groups, large, sigma)
    write_json(HERE / "expected" / "start.json", {
        "sigma_max": sigma, "training_cells": len(training), "rows": rows,
        "curves": {what: {name: {"r": c.r.round(4), "g": c.g.round(4), "q": c.q.round(4),
                                 "s": c.s.round(4)} for name, c in group.items()}
                   for what, group in groups.items()}})
    save_figure(draw(groups, sigma), HERE / "expected" / "start.png")
    write_numbers(HERE / "README.md", f"Noise of {sigma:g} angstrom, {len(training)} training "
                  f"networks, {DRAWS} draws each.\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()
