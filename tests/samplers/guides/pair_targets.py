"""Structures and files that the tests of ``pdf:`` and ``sq:`` share."""

from pathlib import Path

import numpy as np

from diffxas.structure import Structure


def random_structure(n: int = 60, length: float = 9.0, seed: int = 0,
                     numbers: tuple[int, ...] = (6,), apart: float = 1.2) -> Structure:
    """Atoms at random in an oblique cell, none closer than ``apart`` (angstrom)."""
    random = np.random.default_rng(seed)
    cell = length * (np.eye(3) + 0.1 * np.tri(3, k=-1))
    found: list[np.ndarray] = []
    while len(found) < n:
        new = random.uniform(size=3)
        d = np.array(found).reshape(-1, 3) - new
        if not len(d) or np.linalg.norm((d - np.rint(d)) @ cell, axis=1).min() > apart:
            found.append(new)
    return Structure(np.array(found) @ cell, np.resize(numbers, n), cell)


def write(path: Path, x: np.ndarray, y: np.ndarray, header: str = "r,g") -> Path:
    np.savetxt(path, np.c_[x, y], delimiter=",", header=header, comments="")
    return path
