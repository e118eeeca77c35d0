"""Site spectra with their structures: what surrogates are trained on.

Structures come from any file that ASE reads, spectra from an npz given beside them: keys ``name``
(n_structures,) and ``mu`` (n_structures, n_atoms, n_grid) for whole cells, or ``source``, ``site``,
``mu`` (n_sites, n_grid) and ``energy`` for sites drawn from frames.
Without ``energy`` the axis of the DFT a-C set is meant: E = 274.4 + 0.40 i eV (a calibrated
convention, uncertain by 0.3 eV in the offset and 0.40-0.435 in the slope).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure

DFT_AXIS = (274.4, 0.40)
"""First energy and step (eV) of the a-C DFT spectra, whose files hold no axis."""


@dataclass(frozen=True, eq=False)
class SiteSpectra:
    """Spectra of some atoms of one structure by one theory.

    Attributes
    ----------
    sites : (n_sites,) int64, indices of atoms
    spectra : (n_sites, n_grid) float32
    energy : (n_grid,) eV
    parent : bond network that the structure descends from; splits are made by it
    """

    structure: Structure
    name: str
    parent: str
    theory: str
    sites: np.ndarray
    spectra: np.ndarray
    energy: np.ndarray
    element: str = "C"
    edge: str = "K"


def load_site_spectra(paths: Sequence[Path]) -> list[SiteSpectra]:
    """Every npz among ``paths``, its structures found among the other paths.

    Raises
    ------
    InputError
        If an npz has other keys, or names structures that are not given.
    """
    from diffxas.structure_files import read_structures

    structures: dict[str, Structure] = {}
    for path in (Path(p) for p in paths):
        if path.suffix == ".npz":
            continue
        for k, frame in enumerate(read_structures(path)):
            structures[str(frame.info.get("name", f"{path.stem}#{k}"))] = frame
            # FEFF rows say from which file of the set a frame is: snapshot or relaxed.
            structures[f"{path.name.split('.')[0]}/{frame.info.get('name', k)}"] = frame
    items: list[SiteSpectra] = []
    for path in (Path(p) for p in paths):
        if path.suffix == ".npz":
            items += _load_npz(path, structures)
    if not items:
        raise InputError(f"surrogate data must hold an npz of site spectra, received "
                         f"{', '.join(map(str, paths))}: add the npz beside the structures")
    return items


def _load_npz(path: Path, structures: dict[str, Structure]) -> list[SiteSpectra]:
    try:
        with np.load(path, allow_pickle=False) as content:
            columns = {key: content[key] for key in content.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must be an npz without pickles ({error})") from error
    if {"name", "mu"} <= set(columns):
        return _whole_cells(path, columns, structures)
    if {"source", "site", "mu", "energy"} <= set(columns):
        return _drawn_sites(path, columns, structures)
    raise InputError(f"{path} must hold name and mu, or source, site, mu and energy, received "
                     f"{', '.join(columns)}: see surrogates/datasets.py")


def _find(structures: dict[str, Structure], name: str, path: Path) -> Structure:
    if name in structures:
        return structures[name]
    raise InputError(f"structures must be given for every spectrum, received none named {name} "
                     f"(of {path}): add the file that holds it")


def _whole_cells(path: Path, columns: dict[str, np.ndarray],
                 structures: dict[str, Structure]) -> list[SiteSpectra]:
    first, step = DFT_AXIS
    energy = columns.get("energy", first + step * np.arange(columns["mu"].shape[-1]))
    items = []
    for name, mu in zip(columns["name"], columns["mu"], strict=True):
        frame = _find(structures, str(name), path)
        parent = str(frame.info.get("parent", name))
        items.append(SiteSpectra(frame, str(name), parent, "DFT", np.arange(len(frame)),
                                 mu.astype(np.float32), energy))
    return items


def _drawn_sites(path: Path, columns: dict[str, np.ndarray],
                 structures: dict[str, Structure]) -> list[SiteSpectra]:
    items = []
    sources = columns["source"].astype(str)
    for source in dict.fromkeys(sources):
        rows = np.flatnonzero(sources == source)
        name = source.split("/")[-1]
        key = name if source.startswith("a-C-K-edge/") else source
        frame = _find(structures, key, path)
        parent = str(frame.info.get("parent", name))
        items.append(SiteSpectra(frame, name, parent, "FEFF", columns["site"][rows].astype(int),
                                 columns["mu"][rows].astype(np.float32),
                                 columns["energy"]))
    return items
