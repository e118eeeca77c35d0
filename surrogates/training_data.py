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
from surrogates.protocol import ALONE, check_apart, lone_absorbers


def load_training_data(paths: Sequence[Path]) -> list[SiteSpectra]:
    """Site spectra of files and folders.

    A folder is a set that ``diffxas collect`` wrote, FEFF runs (with ``decks.json`` or plain), or
    one of structure files and npz; files are those of :func:`load_site_spectra`.

    Raises
    ------
    InputError
        If a folder holds none of these, or as :func:`load_site_spectra`,
        :func:`surrogates.collection.collect` and :func:`check_items`.
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
    items += load_site_spectra(files) if files or not items else []
    check_items(items)
    return items


def check_items(items: Sequence[SiteSpectra]) -> None:
    """Refuse labels that belong to no absorber, and structures that no model could learn from.

    Raises
    ------
    InputError
        If a site is of another element than the edge's, or two atoms share a place.
    """
    lone, checked = 0, set()
    for item in items:
        symbols = np.array(item.structure.symbols)[item.sites]
        if (symbols != item.element).any():
            k = int(np.flatnonzero(symbols != item.element)[0])
            raise InputError(f"sites must be {item.element} atoms for spectra of {item.element}:"
                             f"{item.edge}, received {symbols[k]} (atom {item.sites[k]} of "
                             f"{item.name}): count atoms from 0, in the order of the structure "
                             f"file")
        if id(item.structure) not in checked:
            checked.add(id(item.structure))
            check_apart(item.name, item.structure)
        lone += int(lone_absorbers(item.structure, item.sites).sum())
    if lone:
        warnings.warn(f"{lone} of {sum(len(item.sites) for item in items)} labelled sites have no "
                      f"neighbour within {ALONE:g} angstrom", stacklevel=3)


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
