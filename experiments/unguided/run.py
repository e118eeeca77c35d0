"""Does the prior alone make amorphous carbon? Unguided samples against melt-quenched networks.

Samples are those of ``diffxas generate --no-guidance``. A run that was interrupted goes on where it
stopped (per cell, under ``runs/experiments``); other weights or another sampler begin anew.

    python experiments/unguided/run.py [CELLS_PER_DENSITY]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.analysis import minimum_distance, rdf, rdf_distance  # noqa: E402
from diffxas.files import write_json  # noqa: E402
from diffxas.networks import NEAR, near, straight_line  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from diffxas.prior import find_prior  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from experiments.common import (  # noqa: E402
    dft_cells,
    markdown,
    model_label,
    networks,
    one_thread,
    relaxed,
    shares,
    variants,
    write_numbers,
)
from experiments.sampling import Samples, unguided  # noqa: E402
from experiments.unguided.figure import draw  # noqa: E402

DENSITIES = (1.5, 2.0, 2.5, 3.0, 3.5)
CELLS = 10
PRIOR, SEED = "a-C", 0
QUENCHED, ANY = "melt-quenched", "any"
FEWER = 5
"""One sample of kind "any" for so many melt-quenched ones."""
POINTS, NEIGHBOURS, SHORTEST, TIMES = 4.0, 0.99, 1.1, 1.5
"""Asked of the samples: points of sp, sp2, sp3; share with 2-4 neighbours; angstrom; g(r) ratio."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Melt-quenched networks at 300 K and what relaxing them gives; rows belong together."""

    structures: list[Structure]
    density: np.ndarray
    shares: np.ndarray
    energy_before: np.ndarray
    energy_after: np.ndarray

    @classmethod
    def measured(cls) -> Reference:
        """All 58 networks, relaxed with REBO as samples are."""
        structures = networks()
        results = [relaxed(s) for s in structures]
        return cls(structures, np.array([s.density for s in structures]),
                   np.array([shares(s) for s in structures]),
                   np.array([r.energy_before for r in results]),
                   np.array([r.energy_after for r in results]))

    def line(self, density: float) -> np.ndarray:
        """Fractions of 0 to 6 neighbours at a density by straight lines, (7,)."""
        return np.array([straight_line(self.density, column, density)[0]
                         for column in self.shares.T])


def percent(values: np.ndarray) -> str:
    """sp/sp2/sp3 of fractions by neighbours, (7,)."""
    return "/".join(f"{100 * values[k]:.1f}" for k in (2, 3, 4))


def mean_shares(structures: Sequence[Structure]) -> np.ndarray | None:
    """Mean fractions by neighbours, (7,); None of no structures."""
    return np.mean([shares(s) for s in structures], 0) if structures else None


def rdf_ratio(samples: Sequence[Structure], density: float,
              reference: Sequence[Structure]) -> tuple[float, float, int]:
    """Median g(r) distance of a sample and a network, of two networks, and the networks' number."""
    close = near(reference, density, NEAR)
    curves = [rdf(s)[1] for s in close]
    ours = [rdf_distance(rdf(s)[1], g) for s in samples for g in curves]
    theirs = [rdf_distance(one, other) for i, one in enumerate(curves)
              for j, other in enumerate(curves)
              if i != j and abs(close[i].density - close[j].density) <= NEAR]
    return float(np.median(ours)), float(np.median(theirs)), len(close)


def coordination_row(density: float, state: str, structures: Sequence[Structure],
                     reference: Reference) -> dict[str, object]:
    """Coordination of samples against the straight lines."""
    line = reference.line(density)
    ours = np.array([shares(s) for s in structures])
    mean = ours.mean(0)
    off = 100 * np.abs(mean - line)[2:5].max()
    two_to_four = float(mean[2:5].sum())
    shortest = min(minimum_distance(s) for s in structures)
    error = 100 * ours[:, 2:5].std(0, ddof=1).max() / np.sqrt(len(ours)) if len(ours) > 1 else None
    return {
        "g/cm3": str(density), "samples": f"{len(structures)} {state}",
        "sp/sp2/sp3, %": percent(mean), "networks' line": percent(line),
        "largest difference, points": float(off),
        "standard error": None if error is None else float(error),
        f"within {POINTS:g}": bool(off <= POINTS),
        "0/1/5/6+, %": "/".join(f"{100 * mean[k]:.1f}" for k in (0, 1, 5, 6)),
        "2-4 neighbours, %": f"{100 * two_to_four:.2f}", "at least 99": two_to_four >= NEIGHBOURS,
        "shortest pair": float(shortest), f"over {SHORTEST}": bool(shortest > SHORTEST)}


def shape_row(density: float, samples: Samples, reference: Reference) -> dict[str, object]:
    """g(r) and energies of samples against networks."""
    ours, theirs, n = rdf_ratio(samples.sampled, density, reference.structures)
    after, _, _ = rdf_ratio(samples.relaxed_structures, density, reference.structures)
    before_line = straight_line(reference.density, reference.energy_before, density)
    after_line = straight_line(reference.density, reference.energy_after, density)
    before, settled = samples.energy_before.mean(), samples.energy_after.mean()
    return {
        "g/cm3": str(density), "networks near": n, "g(r), sample-network": ours,
        "network-network": theirs, "ratio": ours / theirs,
        f"within {TIMES}": bool(ours <= TIMES * theirs), "ratio, relaxed": after / theirs,
        "eV/atom, samples": f"{before:.3f} -> {settled:.3f}",
        "networks": f"{before_line[0]:.3f} -> {after_line[0]:.3f}",
        "higher by, relaxed": f"{settled - after_line[0]:+.3f} (scatter {after_line[1]:.3f})",
        "moved, angstrom": float(samples.rms_displacement.mean()),
        "s a sample": float(samples.seconds.mean())}


def beside_row(density: float, any_kind: Samples, reference: Reference) -> dict[str, object]:
    """sp/sp2/sp3 of what else has about this density."""
    groups = {f"{len(any_kind.sampled)} samples of kind any": any_kind.sampled,
              "networks": near(reference.structures, density, NEAR),
              "variants": near(variants(), density, NEAR), "DFT cells": near(
                  dft_cells(), density, NEAR)}
    row: dict[str, object] = {"g/cm3": str(density), "networks' line":
                              percent(reference.line(density))}
    for key, structures in groups.items():
        mean = mean_shares(structures)
        row[key] = "-" if mean is None else f"{percent(mean)} ({len(structures)})"
    return row


def main() -> None:
    """Run it."""
    one_thread()
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else CELLS
    folder = find_prior(PRIOR)
    quenched = {d: unguided(folder, d, cells, QUENCHED, SEED) for d in DENSITIES}
    any_kind = {d: unguided(folder, d, max(1, cells // FEWER), ANY, SEED) for d in DENSITIES}
    reference = Reference.measured()
    coordination = [coordination_row(d, "as sampled", quenched[d].sampled, reference)
                    for d in DENSITIES]
    settled = [coordination_row(d, "relaxed", quenched[d].relaxed_structures, reference)
               for d in DENSITIES]
    shape = [shape_row(d, quenched[d], reference) for d in DENSITIES]
    beside = [beside_row(d, any_kind[d], reference) for d in DENSITIES]
    label = model_label(folder)
    write_json(HERE / "expected" / "unguided.json", {
        "prior": label, "cells": cells, "as_sampled": coordination, "relaxed": settled,
        "shape": shape, "beside": beside})
    save_figure(draw(quenched, reference.structures), HERE / "expected" / "unguided.png")
    write_numbers(HERE / "README.md", f"""{cells} cells of 216 atoms a density, kind \
{QUENCHED}, seed {SEED}; {label}.

{markdown(coordination)}
The same cells relaxed with REBO:

{markdown(settled)}
Shape and energy (REBO, before -> after relaxation; networks by their straight line):

{markdown(shape)}
Beside them, sp/sp2/sp3 in % (how many):

{markdown(beside)}""")


if __name__ == "__main__":
    main()
