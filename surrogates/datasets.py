"""Site spectra with their structures: what surrogates are trained on.

Structures come from any file that ASE reads, spectra from an npz given beside them: keys ``name``
(n_structures,) and ``mu`` (n_structures, n_atoms, n_grid) for whole cells, or ``source``, ``site``,
``mu`` (n_sites, n_grid) and ``energy`` for sites drawn from frames; these may also hold ``split``
(n_sites,), 0 for training, 1 for held out, -1 for neither, and ``element``, ``edge``, ``theory``.
An npz that holds its own materials stands alone (:mod:`surrogates.material_sites`).
Without ``energy`` the axis of the DFT a-C set is meant: E = 274.4 + 0.40 i eV (a calibrated
convention, uncertain by 0.3 eV in the offset and 0.40-0.435 in the slope).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    parent : bond network or material that the structure is of; splits are made by it
    part : 0 for training, 1 for held out, -1 for neither
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
    part: int = 0


def joined(items: Sequence[SiteSpectra]) -> list[SiteSpectra]:
    """Items of one structure and theory as one, whatever their parts; sites in order."""
    groups: dict[tuple[int, str], list[SiteSpectra]] = {}
    for item in items:
        groups.setdefault((id(item.structure), item.theory), []).append(item)
    found = []
    for group in groups.values():
        sites = np.concatenate([item.sites for item in group])
        order = np.argsort(sites, kind="stable")
        found.append(group[0] if len(group) == 1 else replace(
            group[0], sites=sites[order],
            spectra=np.concatenate([item.spectra for item in group])[order]))
    return found


def load_site_spectra(paths: Sequence[Path]) -> list[SiteSpectra]:
    """Every npz among ``paths``, its structures found among the other paths.

    Raises
    ------
    InputError
        If an npz has other keys, names structures that are not given, or holds spectra that do not
        fit them.
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
    from zipfile import BadZipFile

    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            raise ValueError("a single array")
        with content:
            columns = {key: content[key] for key in content.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} must be an npz without pickles, received {error}: "
                         f"write it with numpy.savez") from error
    if {"name", "mu"} <= set(columns):
        return _whole_cells(path, columns, structures)
    if {"source", "site", "mu", "energy"} <= set(columns):
        return _drawn_sites(path, columns, structures)
    from surrogates.material_sites import KEYS, material_sites

    if set(KEYS) <= set(columns):
        check_spectra(path, columns["energy"], columns["intensity"])
        return material_sites(path, columns)
    raise InputError(f"{path} must hold name and mu, or source, site, mu and energy, or "
                     f"{', '.join(KEYS)}, received {', '.join(columns)}: see "
                     f"surrogates/datasets.py")


def _find(structures: dict[str, Structure], name: str, path: Path) -> Structure:
    if name in structures:
        return structures[name]
    raise InputError(f"structures must be given for every spectrum, received none named {name} "
                     f"(of {path}): add the file that holds it")


def _whole_cells(path: Path, columns: dict[str, np.ndarray],
                 structures: dict[str, Structure]) -> list[SiteSpectra]:
    first, step = DFT_AXIS
    names, spectra = columns["name"], columns["mu"]
    if spectra.ndim != 3 or len(spectra) != len(names):
        raise InputError(f"mu in {path} must have shape (n_structures, n_atoms, n_grid) for "
                         f"{len(names)} names, received {spectra.shape}: one block a name")
    energy = columns.get("energy", first + step * np.arange(spectra.shape[-1]))
    check_spectra(path, energy, spectra)
    items = []
    for name, mu in zip(names, spectra, strict=True):
        frame = _find(structures, str(name), path)
        if len(mu) != len(frame):
            raise InputError(f"mu in {path} must have a row for each atom, received {len(mu)} "
                             f"rows for the {len(frame)} atoms of {name}: use the keys source, "
                             f"site, mu and energy for some atoms only")
        parent = str(frame.info.get("parent", name))
        items.append(SiteSpectra(frame, str(name), parent, "DFT", np.arange(len(frame)),
                                 mu.astype(np.float32), energy))
    return items


def _drawn_sites(path: Path, columns: dict[str, np.ndarray],
                 structures: dict[str, Structure]) -> list[SiteSpectra]:
    items = []
    sources, sites = columns["source"].astype(str), columns["site"]
    if not len(sources) == len(sites) == len(columns["mu"]):
        raise InputError(f"source, site and mu in {path} must have a row for each site, received "
                         f"{len(sources)}, {len(sites)} and {len(columns['mu'])} rows")
    check_spectra(path, columns["energy"], columns["mu"])
    parts = columns.get("split", np.zeros(len(sources), dtype=int)).astype(int)
    if len(parts) != len(sources):
        raise InputError(f"split in {path} must have a row for each site, received {len(parts)} "
                         f"for {len(sources)} sites: leave it out, or give every site its part")
    element, edge, theory = (str(columns.get(key, default)) for key, default in (
        ("element", "C"), ("edge", "K"), ("theory", "FEFF")))
    for source, part in dict.fromkeys(zip(sources.tolist(), parts.tolist(), strict=True)):
        rows = np.flatnonzero((sources == source) & (parts == part))
        name = source.split("/")[-1]
        key = name if source.startswith("a-C-K-edge/") else source
        frame = _find(structures, key, path)
        parent = str(frame.info.get("parent", name))
        outside = [int(site) for site in sites[rows] if not 0 <= site < len(frame)]
        if outside:
            raise InputError(f"site in {path} must be 0 to {len(frame) - 1} for {source}, "
                             f"received {outside[0]}: count atoms from 0")
        items.append(SiteSpectra(frame, name, parent, theory, sites[rows].astype(int),
                                 columns["mu"][rows].astype(np.float32),
                                 columns["energy"], element, edge, part))
    return items


def check_spectra(path: Path, energy: np.ndarray, mu: np.ndarray) -> None:
    """Refuse an axis or spectra that nothing can be fitted to."""
    if energy.ndim != 1 or energy.shape != mu.shape[-1:]:
        raise InputError(f"energy in {path} must have a point for each of the {mu.shape[-1]} of "
                         f"mu, received shape {energy.shape}: give one axis for all spectra")
    if not (np.diff(energy) > 0).all():
        raise InputError(f"energy in {path} must increase, received {energy[0]:g} to "
                         f"{energy[-1]:g} eV with steps back: sort the points")
    if not np.isfinite(mu).all():
        raise InputError(f"mu in {path} must be finite, received NaN or infinity in "
                         f"{int((~np.isfinite(mu)).sum())} points: leave such sites out")
