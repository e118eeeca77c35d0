"""Site spectra of many materials with their structures, in one npz.

Keys (the layout of the Cu K-edge set made from OmniXAS's tutorial): ``energy`` (n_grid,) eV,
``ids`` (n_sites,) text ``<material>_<index of the site in the structure>``, ``intensity`` (n_sites,
n_grid), ``materials`` (n_mat,) text, ``offsets`` (n_mat + 1,): atoms of material k are
``offsets[k]:offsets[k + 1]`` of ``numbers`` (n_atoms,) and ``frac`` (n_atoms, 3), and ``lattice``
(n_mat, 3, 3), rows are lattice vectors, angstrom. Optional: ``split`` (n_sites,), 0 for training,
1 for held out, -1 for neither; ``converged`` (n_sites,) bool, FEFF's potential loop. Sites where it
is false are left out: their spectra are of a potential that is not the material's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffxas.edges import nearest_edge
from diffxas.errors import InputError
from diffxas.structure import Structure
from surrogates.datasets import SiteSpectra

KEYS = ("energy", "ids", "intensity", "materials", "offsets", "numbers", "frac", "lattice")


def material_sites(path: Path, columns: dict[str, np.ndarray]) -> list[SiteSpectra]:
    """One item for each material, absorbing element and part of the split; converged sites.

    Raises
    ------
    InputError
        If lengths disagree, or an id names no material or no atom of it.
    """
    materials = columns["materials"].astype(str)
    offsets, n_sites = columns["offsets"], len(columns["ids"])
    for key, length in (("intensity", n_sites), ("split", n_sites), ("converged", n_sites),
                        ("offsets", len(materials) + 1), ("lattice", len(materials)),
                        ("numbers", int(offsets[-1])), ("frac", int(offsets[-1]))):
        if key in columns and len(columns[key]) != length:
            raise InputError(f"{key} in {path} must have {length} rows, received "
                             f"{len(columns[key])}: write the npz anew")
    places = _places(path, columns["ids"].astype(str), materials, np.diff(offsets))
    usable = columns.get("converged", np.ones(n_sites, dtype=bool))
    parts = columns.get("split", np.zeros(n_sites, dtype=int))
    items = []
    for k, name in enumerate(materials):
        atoms = slice(int(offsets[k]), int(offsets[k + 1]))
        lattice = columns["lattice"][k].astype(float)
        numbers = columns["numbers"][atoms].astype(int)
        rows = np.flatnonzero((places[:, 0] == k) & usable)
        if not len(rows):
            continue
        structure = Structure(columns["frac"][atoms].astype(float) @ lattice, numbers, lattice,
                              info={"name": str(name)})
        keys = zip(numbers[places[rows, 1]].tolist(), parts[rows].tolist(), strict=True)
        of = np.array([f"{number} {part}" for number, part in keys])
        for key in dict.fromkeys(of.tolist()):
            mine = rows[of == key]
            element = structure.symbols[places[mine[0], 1]]
            items.append(SiteSpectra(
                structure, str(name), str(name), "FEFF", places[mine, 1],
                columns["intensity"][mine].astype(np.float32), columns["energy"], element,
                nearest_edge(element, float(columns["energy"][0])), int(parts[mine[0]])))
    return items


def _places(path: Path, ids: np.ndarray, materials: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Material and atom of every id, (n_sites, 2) int64."""
    index = {name: k for k, name in enumerate(materials)}
    places = np.empty((len(ids), 2), dtype=np.int64)
    for row, one in enumerate(ids):
        name, _, atom = str(one).rpartition("_")
        if name not in index or not atom.isdigit() or int(atom) >= sizes[index[name]]:
            raise InputError(f"ids in {path} must be MATERIAL_ATOM with a material of the file and "
                             f"an atom of it, counted from 0, received {one}: correct the npz")
        places[row] = index[name], int(atom)
    return places

