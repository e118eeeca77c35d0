"""Surrogates that need no weights, and synthetic spectra, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffxas.structure import Structure

GRID = 274.4 + 0.40 * np.arange(100)


def carbon_like(pi: float = 0.25, sigma: float = 292.0) -> np.ndarray:
    """pi* at 285.4 eV, a sigma* edge with structure, a falling tail: (100,)."""
    edge = 0.5 / (1 + np.exp(-(GRID - sigma + 2) / 0.7))
    tail = np.exp(-np.maximum(GRID - sigma, 0) / 18)
    ripple = 1 + 0.15 * np.cos((GRID - sigma) * 1.1)
    return pi * np.exp(-0.5 * ((GRID - 285.4) / 0.9)**2) + edge * tail * ripple


class TableSurrogate:
    """Looks site spectra up by ``info["name"]``."""

    energy = GRID
    element = "C"
    edge = "K"
    elements = ("C",)
    name = "table"

    def __init__(self, sites: dict[str, np.ndarray]) -> None:
        self.sites = sites

    def absorbers(self, structure: Structure) -> np.ndarray:
        return np.flatnonzero(structure.numbers == 6)

    def predict_sites(self, structure: Structure) -> np.ndarray:
        return self.sites[structure.info["name"]]


class UncertainTable(TableSurrogate):
    """The same, with a deviation that differs from site to site."""

    def predict_sites_with_uncertainty(self, structure: Structure):
        sites = self.predict_sites(structure)
        return sites, 0.01 * (1 + np.arange(len(sites)))[:, None] * np.ones_like(sites)


def small_structure(name: str, atoms: int = 2, side: float = 3.0, number: int = 6) -> Structure:
    """Atoms on a line in a cubic cell."""
    positions = np.zeros((atoms, 3))
    positions[:, 0] = np.arange(atoms) * side / atoms
    return Structure(positions, np.full(atoms, number), side * np.eye(3), info={"name": name})


def dft_cells(shared_data: Path) -> tuple[list[tuple[str, Structure]], TableSurrogate]:
    """The shared DFT cells with their labels, and the surrogate that knows their spectra."""
    from ase.io import read

    folder = shared_data / "a-C-K-edge"
    labelled, sites = [], {}
    for path in sorted((folder / "poscar").glob("*.vasp")):
        structure = Structure.from_atoms(read(path)).with_info(name=path.stem)
        labelled.append((path.stem, structure))
        sites[path.stem] = np.loadtxt(folder / "xanes" / f"{path.stem}.txt")
    return labelled, TableSurrogate(sites)
