"""What ``diffxas train surrogate`` takes: files, training sets, folders of FEFF runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffxas.errors import InputError
from surrogates.collection import RECORD, SPECTRA, Collection, collect
from surrogates.datasets import SiteSpectra, load_site_spectra
from surrogates.decks import MANIFEST, STRUCTURES
from surrogates.feff import INPUT


def load_training_data(paths: Sequence[Path]) -> list[SiteSpectra]:
    """Site spectra of files and folders.

    A folder is a set that ``diffxas collect`` wrote, FEFF runs (with ``decks.json`` or plain), or
    one of structure files and npz; files are those of :func:`load_site_spectra`.

    Raises
    ------
    InputError
        If a folder holds none of these, or as :func:`load_site_spectra` and
        :func:`surrogates.collection.collect`.
    """
    files: list[Path] = []
    items: list[SiteSpectra] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
        elif (path / RECORD).is_file():
            items += load_site_spectra([path / STRUCTURES, path / SPECTRA])
        elif any(path.rglob(MANIFEST)) or any(path.rglob(INPUT)):
            items += site_spectra(_collected(path))
        else:
            inside = sorted([*path.glob("*.extxyz"), *path.glob("*.npz")])
            if not inside:
                raise InputError(f"a folder of training data must hold FEFF runs, or structures "
                                 f"(.extxyz) with their spectra (.npz), received {path} without: "
                                 f"check the path")
            items += load_site_spectra(inside)
    return items + load_site_spectra(files) if files or not items else items


def site_spectra(found: Collection) -> list[SiteSpectra]:
    """The items of a collection, one for each structure and part."""
    names = np.array([run.name for run in found.finished])
    sites = np.array([run.site for run in found.finished])
    items = []
    for name, part in dict.fromkeys(zip(names.tolist(), found.part.tolist(), strict=True)):
        rows = (names == name) & (found.part == part)
        structure = found.structures[name]
        items.append(SiteSpectra(structure, name, str(structure.info["parent"]), "FEFF",
                                 sites[rows], found.mu[rows].astype(np.float32), found.energy,
                                 found.element, found.edge, part))
    return items


def _collected(path: Path) -> Collection:
    found = collect(path)
    total = len(found.finished) + len(found.unfinished)
    if not found.finished:
        raise InputError(f"a folder of runs must hold a finished one to train on, received {path} "
                         f"with {total} unfinished ({found.unfinished[0].folder}: "
                         f"{found.unfinished[0].reason}): `diffxas collect` lists them")
    if found.unfinished:
        warnings.warn(f"{path}: {len(found.unfinished)} of {total} runs give no spectrum "
                      f"(`diffxas collect` lists them)", stacklevel=3)
    return found
