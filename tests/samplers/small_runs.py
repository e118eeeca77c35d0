"""Runs of ``generate`` that take seconds: 64 atoms, 6 steps, the shipped weights."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffxas
from diffxas.spectrum import Spectrum
from diffxas.weights import shipped_names
from samplers.generation import GenerateOptions
from surrogates.loading import SHIPPED

DATA = Path(__file__).parents[2] / "experiments" / "data"
FILM = DATA / "experimental" / "dlc_c_k_nexafs.csv"
GRID = 274.4 + 0.40 * np.arange(100)
SMALL: dict[str, Any] = {"density": 2.0, "atoms": 64, "samples": 2, "steps": 6, "seed": 3}
OPTIONS = GenerateOptions(**SMALL)


def require_weights() -> None:
    """Skip where the shipped models are not there yet."""
    prior = Path(diffxas.__file__).parent / "weights_prior"
    if "a-C" not in shipped_names(prior) or "a-C" not in shipped_names(SHIPPED):
        pytest.skip("needs the shipped prior and surrogate a-C, which are not in this checkout")


def cell_spectrum(density: str = "d2.0_") -> Spectrum:
    """The mean spectrum of a DFT cell, on the surrogate's grid."""
    with np.load(DATA / "a-C-K-edge" / "xanes.npz") as content:
        row = next(k for k, name in enumerate(content["name"]) if name.startswith(density))
        return Spectrum(GRID, content["mu"][row].astype(float).mean(0), "C", "K")


def write_target(path: Path, spectrum: Spectrum) -> Path:
    """A file of two columns."""
    np.savetxt(path, np.column_stack([spectrum.energy, spectrum.mu]), delimiter=",",
               header="energy,mu", comments="", fmt="%.17g")
    return path


def table(path: Path) -> dict[str, np.ndarray]:
    """Columns of numbers by their names."""
    with path.open(newline="") as handle:
        header, *lines = list(csv.reader(handle))
    columns = np.array(lines, dtype=float).T
    return dict(zip(header, columns, strict=True))


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_file()}
