"""Made-up site spectra: a law of the neighbourhood that a model can learn from few cells."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase.io import write
from surrogate_fakes import GRID

from diffxas.structure import Structure
from surrogates.datasets import SiteSpectra

Law = Callable[[np.ndarray], np.ndarray]
FEFF_GRID = GRID[::2] + 4.0


N_ATOMS = 24


def cell(seed: int, density: float = 0.1, **info: str) -> Structure:
    """24 atoms, one in each box of a 2 x 3 x 4 grid; ``density`` in atoms per cubic angstrom."""
    boxes = np.stack(np.meshgrid(range(2), range(3), range(4), indexing="ij"), -1).reshape(-1, 3)
    places = (boxes + np.random.default_rng(seed).random((N_ATOMS, 3))) / (2, 3, 4)
    side = (N_ATOMS / density) ** (1 / 3)
    return Structure(places * side, np.full(N_ATOMS, 6), side * np.eye(3), info=info)


def crowding(structure: Structure) -> np.ndarray:
    """A smooth count of neighbours, (n_atoms,)."""
    atoms = structure.to_atoms().repeat(3)
    centre = atoms.positions[13 * len(structure):14 * len(structure)]  # the cell in the middle
    distance = np.linalg.norm(centre[:, None] - atoms.positions, axis=2)
    near = np.exp(-((distance / 1.8) ** 2)) * (distance > 1e-6)
    return near.sum(1)


def plain(crowded: np.ndarray) -> np.ndarray:
    """A law that a few sites tell; 2.7 is about the mean."""
    return np.tanh((crowded - 2.7) / 0.7)


def wavy(crowded: np.ndarray) -> np.ndarray:
    """A law that needs many."""
    return np.sin(3 * (crowded - 2.7))


def spectra_of(structure: Structure, theory: str = "DFT", law: Law = plain) -> np.ndarray:
    """(n_atoms, n_grid): pi* falls and sigma* rises with crowding; FEFF is another function."""
    s = law(crowding(structure))[:, None]
    if theory == "DFT":
        peak = np.exp(-0.5 * ((GRID - 285.4) / 0.9) ** 2)
        return (0.4 - 0.25 * s) * peak + (0.5 + 0.2 * s) / (1 + np.exp(-(GRID - 291 - 0.8 * s)))
    return (1.0 + 0.3 * s) / (1 + np.exp(-(FEFF_GRID - 294 - 1.2 * s) / 1.5))


def labelled(seed: int, theory: str = "DFT", parent: str = "", density: float = 0.1,
             law: Law = plain) -> SiteSpectra:
    structure = cell(seed, density)
    energy = GRID if theory == "DFT" else FEFF_GRID
    return SiteSpectra(structure, f"c{seed}", parent or f"p{seed}", theory, np.arange(N_ATOMS),
                       np.float32(spectra_of(structure, theory, law)), energy)


def write_files(folder: Path, dft: int = 2, feff: int = 3) -> list[Path]:
    """Structures and npz of both theories, as ``diffxas train surrogate`` takes them.

    One is denser than the other by 0.6 g/cm3.
    """
    cells = [cell(k, 0.1 + 0.03 * k, name=f"c{k}", parent=f"p{k}") for k in range(dft)]
    networks = [cell(k, 0.03 * k - 0.2, name=f"n{k}") for k in range(10, 10 + feff)]
    sites = np.arange(0, N_ATOMS, 2)
    for name, group in (("dft_cells", cells), ("networks", networks)):
        write(folder / f"{name}.extxyz", [s.to_atoms() for s in group])
    np.savez(folder / "xanes.npz", name=np.array([s.info["name"] for s in cells]),
             mu=np.array([spectra_of(s) for s in cells], dtype=np.float32))
    np.savez(folder / "feff.npz", energy=FEFF_GRID,
             source=np.repeat([f"networks/{s.info['name']}" for s in networks], len(sites)),
             site=np.tile(sites, feff),
             mu=np.concatenate([spectra_of(s, "FEFF")[sites] for s in networks]))
    return [folder / name for name in ("dft_cells.extxyz", "networks.extxyz", "xanes.npz",
                                       "feff.npz")]
