"""Made-up properties of small cells, as extxyz files, and configs that train in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from synthetic_sites import cell, crowding

from diffxas.structure import Structure
from diffxas.structure_files import write_structures

KERNEL = """
family = "kernel"
[model]
n_references = 100
length = 3.0
[model.descriptor]
shells = [[0.8, 3.4, 0.4]]
group_weights = [1.0, 0.3, 0.1, 0.1, 0.7, 0.7]
near_cutoff = 3.0
n_near = 3
n_far = 3
l_max = 2
"""
SIZES = """
n_layers = 1
n_scalars = 8
n_vectors = 4
n_tensors = 4
n_products = 4
hidden = 8
n_basis = 6
n_latent = 6
cutoff = 3.0
degree = 12.0
"""
NETWORK = f"""
[model]
n_members = 2
{SIZES}
[schedule]
steps = 3
warmup = 1
checkpoint_every = 1
"""
NAMES = ("bulk", "energy", "crowd")
"""A mean, a sum (which ASE's reader takes for its own) and a number of each atom."""


def labelled(seed: int, parent: str = "", **info: object) -> Structure:
    """A cell whose numbers are functions of the crowding of its atoms; a network of its own."""
    structure = cell(seed, 0.08 + 0.002 * (seed % 20))
    crowd = crowding(structure)
    return structure.with_info(
        name=f"c{seed}", parent=parent or f"p{seed}", bulk=float(crowd.mean()),
        energy=float(-2.0 * crowd.sum()), **info,
    ).with_arrays(crowd=crowd, forces=np.ones((len(crowd), 3)))


def write_properties(path: Path, number: int = 12, **info: object) -> Path:
    """Independent cells; every third has a descendant."""
    frames = []
    for k in range(number):
        frames.append(labelled(k, **info))
        if k % 3 == 0:
            frames.append(labelled(100 + k, parent=f"p{k}", **info))
    write_structures(path, frames)
    return path


def config(folder: Path, text: str) -> Path:
    """A config file."""
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path
