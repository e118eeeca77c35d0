"""Samples for the experiments, drawn as ``diffxas generate`` draws them and kept for the next run.

Folders lie under ``runs/experiments``, named after a hash of the weights and of the sampler's
source (:func:`experiments.common.sampler_key`); one that is unfinished is resumed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.spectrum import Spectrum
from diffxas.structure import Structure
from diffxas.structure_files import read_structures
from diffxas.weights import find_model
from experiments.common import RUNS, sampler_key
from samplers.generation import GenerateOptions, run_in
from surrogates.loading import SHIPPED


@dataclass(frozen=True, eq=False)
class Samples:
    """A finished run: structures as sampled and relaxed, and ``summary.json``'s line of each."""

    sampled: list[Structure]
    relaxed_structures: list[Structure]
    rows: Sequence[Mapping[str, Any]]

    def _column(self, key: str) -> np.ndarray:
        return np.array([row[key] for row in self.rows], dtype=float)

    @property
    def energy_before(self) -> np.ndarray:
        """REBO energy as sampled, (n_samples,), eV/atom."""
        return self._column("energy_sampled")

    @property
    def energy_after(self) -> np.ndarray:
        """REBO energy relaxed, (n_samples,), eV/atom."""
        return self._column("energy_relaxed")

    @property
    def rms_displacement(self) -> np.ndarray:
        """By the relaxation, (n_samples,), angstrom."""
        return self._column("rms_displacement")

    @property
    def seconds(self) -> np.ndarray:
        """Wall time of sampling alone, (n_samples,)."""
        return self._column("seconds_sampling")


def unguided(prior: Path, density: float, samples: int, kind: str, seed: int,
             surrogate: str = "a-C", **more: Any) -> Samples:
    """Samples of the prior alone, 216 atoms, relaxed with REBO; ``more`` are further options."""
    options = GenerateOptions(density=density, samples=samples, seed=seed, guidance=False,
                              kind=kind, prior=str(prior), surrogate=surrogate, **more)
    return _run(None, options, prior, f"{kind}-{density:.3f}-{samples}-seed-{seed}{_words(more)}")


def guided(prior: Path, target: Spectrum, density: float, samples: int, seed: int,
           surrogate: str, name: str, **more: Any) -> Samples:
    """Samples guided to a target by a shipped surrogate, 216 atoms, kind any, relaxed with REBO."""
    options = GenerateOptions(density=density, samples=samples, seed=seed, prior=str(prior),
                              surrogate=surrogate, **more)
    return _run(target, options, prior, f"{name}-{samples}-seed-{seed}{_words(more)}")


def _words(more: Mapping[str, Any]) -> str:
    """Options that are not the usual ones, for a folder's name."""
    return "".join(f"-{key}-{value}" for key, value in sorted(more.items()))


def _run(target: Spectrum | None, options: GenerateOptions, prior: Path, name: str) -> Samples:
    key = sampler_key(prior, find_model(options.surrogate, SHIPPED))
    folder = RUNS / key / name
    print(f"{folder}: {options.samples} samples")
    run_in(target, folder, options, "experiments", progress=True)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    sampled = read_structures(folder / "structures.extxyz")
    return Samples(sampled, read_structures(folder / "relaxed.extxyz") if options.relax else [],
                   summary["samples"])
