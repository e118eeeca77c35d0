"""Quality of samples against the number of denoiser calls, unguided and guided."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch

from diffxas.networks import CURVES, NEAR, Profile, difference, near, straight_line
from diffxas.prior import find_prior
from diffxas.spectrum import Spectrum
from diffxas.structure import Structure
from experiments.common import dft_cells, dft_means, networks, relaxed, shares
from experiments.guided.run import TRUTHS, models_for, prior_folder, residuals
from experiments.sampling import guided, unguided
from experiments.scale.kept import PRIOR, SMALL, Row, measure

STEPS = (4, 8) if SMALL else (8, 12, 16, 24, 32, 48, 64)
GUIDED_STEPS = (4,) if SMALL else (32, 64)
DENSITIES = (2.0, 3.0)
SAMPLES = int(os.environ.get("SCALE_SAMPLES", "1" if SMALL else "6"))
"""Unguided samples of a density and number of steps; fewer on a busy machine."""
GUIDED_SAMPLES = 1 if SMALL else 2
SEED = 0
POINTS, TIMES, OVER_TRUTH = 4.0, 1.5, 1.5
"""Asked of samples: sp, sp2, sp3 within so many points of the networks' line; g(r) and angles
within so many times the distance of networks; the judge's residual over that of the truth."""


def calls_stage() -> None:
    """All rows."""
    torch.set_num_threads(1)
    for density in DENSITIES:
        for steps in STEPS:
            measure(f"calls-unguided-{density}-{steps}-of-{SAMPLES}",
                    lambda: unguided_row(density, steps))  # noqa: B023 (called at once)
        for steps in GUIDED_STEPS:
            measure(f"calls-guided-{density}-{steps}-of-{GUIDED_SAMPLES}",
                    lambda: guided_row(density, steps))  # noqa: B023


def unguided_row(density: float, steps: int) -> Row:
    """Samples of the prior alone against networks of their density."""
    found = unguided(find_prior(PRIOR), density, SAMPLES, "melt-quenched", SEED, steps=steps)
    every = networks()
    at = np.array([s.density for s in every])
    line = [straight_line(at, np.array([shares(s)[k] for s in every]), density)[0]
            for k in (2, 3, 4)]
    settled = [relaxed(s).energy_after for s in every if abs(s.density - density) <= NEAR]
    ours = np.mean([shares(s) for s in found.sampled], 0)[2:5]
    return {
        "density": density, "steps": steps, "samples": SAMPLES, "calls": calls_of(found.rows),
        "shares": ours.tolist(), "line": line, "points": 100 * float(np.abs(ours - line).max()),
        "energy_sampled": float(found.energy_before.mean()),
        "energy_relaxed": float(found.energy_after.mean()),
        "energy_error": standard_error(found.energy_after),
        "energy_networks": float(np.mean(settled)),
        "moved": float(found.rms_displacement.mean()),
        "seconds": float(found.seconds.mean()),
        **{f"times {name}": value
           for name, value in times_networks(found.sampled, density).items()}}


def standard_error(values: np.ndarray) -> float | None:
    """Of a mean; None of a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def times_networks(samples: Sequence[Structure], density: float) -> dict[str, float]:
    """Median distance of a sample and a network over that of two networks, for every curve."""
    theirs = [Profile.of(s) for s in near(networks(), density, NEAR)]
    ours = [Profile.of(s) for s in samples]
    return {curve: float(
        np.median([difference(one, other, curve) for one in ours for other in theirs])
        / np.median([difference(one, other, curve) for one in theirs for other in theirs
                     if one is not other])) for curve in CURVES}


def guided_row(density: float, steps: int) -> Row:
    """Samples guided to a DFT mean that no model knows, by a judge that did not guide."""
    truth = next(c for c in dft_cells() if c.info["name"] == TRUTHS[density])
    prior = prior_folder([truth])
    models = models_for(density, truth)
    guide, judge = models["guide"], models.get("judge", models["guide"])
    target = Spectrum(guide.energy, dft_means()[str(truth.info["name"])], "C", "K")
    box = round(truth.density, 4)
    ours = guided(prior, target, box, GUIDED_SAMPLES, SEED, guide.name,
                  f"guided-{truth.info['name']}", steps=steps)
    free = unguided(prior, box, GUIDED_SAMPLES, "any", SEED, guide.name, steps=steps)
    floor = float(residuals([truth], target, judge)[0])
    by_judge = residuals(ours.sampled, target, judge)
    return {
        "density": density, "steps": steps, "samples": GUIDED_SAMPLES,
        "calls": calls_of(ours.rows), "judge": judge.name, "residual": float(by_judge.mean()),
        "truth": floor, "over_truth": float(by_judge.mean()) / floor,
        "over_unguided": float(by_judge.mean() / residuals(free.sampled, target, judge).mean()),
        "residual_relaxed_over_truth": float(
            residuals(ours.relaxed_structures, target, judge).mean()) / floor,
        "shares": np.mean([shares(s) for s in ours.sampled], 0)[2:5].tolist(),
        "energy_relaxed": float(ours.energy_after.mean()), "seconds": float(ours.seconds.mean())}


def calls_of(rows: Sequence[Row]) -> int:
    """Denoiser calls of a sample, the most of any."""
    return max(int(row["denoiser_calls"]) for row in rows)


def is_good(row: Row) -> bool:
    """Whether samples are what the main job asks."""
    if "over_truth" in row:
        return bool(row["over_truth"] <= OVER_TRUTH)
    return bool(row["points"] <= POINTS
                and all(row[f"times {name}"] <= TIMES for name in ("g(r)", "angles")))
