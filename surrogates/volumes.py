"""The volume that each atom of a periodic cell takes up: its Voronoi region.

The regions fill the cell, so that any part of a cell has a volume, and with it a density.
"""

from __future__ import annotations

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure

IMAGES = np.array([image for image in np.ndindex(3, 3, 3) if image != (1, 1, 1)]) - 1
SHELLS = (0.4, 1.0)
"""Cells' lengths that images are taken from; the second where the first does not close a region."""
TOLERANCE = 1e-6
"""Relative difference between the sum of the volumes and the cell's."""


def atom_volumes(structure: Structure) -> np.ndarray:
    """Voronoi volumes, (n_atoms,), angstrom^3; they sum to the cell's volume.

    Raises
    ------
    InputError
        If the structure is not periodic in all directions, or so small or oblique that regions
        reach beyond the nearest images.
    """
    if not structure.pbc.all():
        raise InputError(f"a structure must be periodic in all directions for volumes of its "
                         f"atoms, received pbc {structure.pbc}: give a periodic cell")
    for shell in SHELLS:
        volumes = _volumes(structure, shell)
        if abs(volumes.sum() / structure.volume - 1) < TOLERANCE:
            return volumes
    raise InputError(f"the cell must be wide enough for volumes of its atoms, received "
                     f"{len(structure)} atoms in {structure.volume:.3g} angstrom^3: repeat it")


def _volumes(structure: Structure, shell: float) -> np.ndarray:
    """Volumes with the images that lie within ``shell`` of the cell; infinite where they miss."""
    from scipy.spatial import ConvexHull, Voronoi

    inside = structure.wrapped().positions
    scaled = np.linalg.solve(structure.cell.T, inside.T).T
    images = (scaled + IMAGES[:, None]).reshape(-1, 3)
    near = ((images > -shell) & (images < 1 + shell)).all(1)
    points = np.concatenate([inside, images[near] @ structure.cell])
    diagram = Voronoi(points)
    volumes = np.full(len(structure), np.inf)
    for k in range(len(structure)):
        region = diagram.regions[diagram.point_region[k]]
        if -1 not in region:
            volumes[k] = ConvexHull(diagram.vertices[region]).volume
    return volumes
