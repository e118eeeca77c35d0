"""A small npz of materials and site spectra that follow from the sites' surroundings."""

from pathlib import Path

import numpy as np

GRID = 8983.173 + 0.25 * np.arange(40)


def materials(folder: Path, n: int = 8, **other: np.ndarray) -> Path:
    """Rock-salt-like cells of Cu with O or S; sites 0 and 1 of every one are labelled.

    Materials 6 and later are the held-out ones of the split.
    """
    rng = np.random.default_rng(0)
    names = np.array([f"mp-{k}" for k in range(n)])
    edges = rng.uniform(4.0, 5.0, n)
    numbers = np.tile([29, 29, 8, 8], n)
    numbers[2::8] = 16
    frac = np.tile([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.1], [0, 0.5, 0]], (n, 1)).astype(float)
    peak = np.exp(-0.5 * ((GRID - 8988 - np.repeat(edges, 2)[:, None]) / 1.5) ** 2)
    columns = {
        "energy": GRID, "ids": np.array([f"{m}_{s:03d}" for m in names for s in (0, 1)]),
        "intensity": (peak + 1 / (1 + np.exp(8986 - GRID))).astype(np.float32),
        "materials": names, "offsets": 4 * np.arange(n + 1), "numbers": numbers.astype(np.uint8),
        "frac": frac + 0.02 * rng.standard_normal(frac.shape),
        "lattice": edges[:, None, None] * np.eye(3),
        "split": np.repeat((np.arange(n) >= 6).astype(np.int8), 2),
        "converged": np.ones(2 * n, dtype=bool), **other,
    }
    path = folder / "materials.npz"
    np.savez(path, **columns)
    return path
