"""Finished FEFF runs as training data; ``diffxas collect``.

A folder of ``diffxas decks`` says of which structure and site every run is, so the spectra go back
to the periodic structures. A plain folder of runs says less: there each run becomes a structure of
its own, the cluster of its ``feff.inp``, not periodic, with the absorber as site 0.

Every run has its own energies (FEFF's grid hangs on its Fermi level), so spectra are interpolated
(PCHIP, which does not overshoot) to the range that all runs cover, in steps of 0.25 eV. Runs of
other cards, edges or elements are of another theory and are not mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import diffxas
from diffxas.errors import InputError
from diffxas.files import check_writable, replacing, write_json
from diffxas.structure import Structure
from surrogates.decks import MANIFEST, STRUCTURES, read_manifest, safe_name
from surrogates.feff import INPUT, FeffInput, FeffSpectrum, Unfinished, converged, read_input
from surrogates.feff import read_spectrum as read_xmu
from surrogates.splits import HELD_OUT, check_share, draw_networks, hold_out, networks

RECORD, SPECTRA = "collect.json", "spectra.npz"
STEP = 0.25
"""eV of the common grid."""
Place = tuple[Path, str, int, Structure | None]
"""Folder of a run, and structure and site where a list of decks tells them."""
CUT_SHORT = 0.2
"""1/angstrom; a run that ends so much before the others was cut short."""
SAME_PLACE = 0.02
"""angstrom; nearest neighbours of a run and of the site that it is said to be of."""
NEAREST = 6


@dataclass(frozen=True, eq=False)
class Run:
    """One run, finished or not.

    Attributes
    ----------
    folder : relative to the folder that was collected
    name, site : of the structure, known or made of the cluster
    reason : why there is no spectrum; empty for a finished run
    """

    folder: str
    name: str = ""
    site: int = 0
    structure: Structure | None = None
    asked: FeffInput | None = None
    found: FeffSpectrum | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Collection:
    """What a folder of runs holds.

    Attributes
    ----------
    finished, unfinished : runs; the latter with their reasons
    structures : by name, with ``name`` and ``parent``
    energy, mu : (n_grid,) and (n_finished, n_grid), eV and edge steps
    element, edge, theory : common to all; FEFF's cards
    part : (n_finished,), 0 for training and 1 for held-out sites
    """

    finished: list[Run]
    unfinished: list[Run]
    structures: dict[str, Structure]
    energy: np.ndarray
    mu: np.ndarray
    element: str
    edge: str
    theory: Mapping[str, str]
    part: np.ndarray

    @property
    def held_out(self) -> list[str]:
        """Networks that are held out."""
        return sorted({str(self.structures[run.name].info["parent"])
                       for run, part in zip(self.finished, self.part, strict=True)
                       if part == HELD_OUT})


@dataclass(frozen=True)
class CollectOptions:
    """What ``diffxas collect`` may say.

    Attributes
    ----------
    grid : first energy, last energy and step, eV; None for what all runs cover
    held_out : share of the networks, or names of structures or networks
    parents : run's folder or structure's name -> network, where the runs do not say
    allow_leak : let a split cut through a network
    keep_unconverged : take runs whose potentials did not converge
    """

    grid: tuple[float, float, float] | None = None
    held_out: float | frozenset[str] | None = None
    parents: Mapping[str, str] | None = None
    seed: int = 0
    allow_leak: bool = False
    keep_unconverged: bool = False


def collect(folder: Path, options: CollectOptions | None = None, *,
            progress: bool = False) -> Collection:
    """Read every run below a folder; nothing is written.

    Raises
    ------
    InputError
        If there are no runs, decks of another code, runs of different theories, names in
        ``held_out`` that are not there, or a split that leaks.
    """
    options = options or CollectOptions()
    runs = find_runs(folder, options, progress=progress)
    finished = [run for run in runs if not run.reason]
    unfinished = [run for run in runs if run.reason]
    if not finished:
        return Collection([], unfinished, {}, np.empty(0), np.empty((0, 0)), "", "", {},
                          np.empty(0, dtype=np.int8))
    element, edge, theory = _one_theory(finished)
    energy = _common_grid(finished, options.grid)
    covered = [run for run in finished if _covers(run, energy)]
    unfinished += [_left_out(run, f"covers {run.found.energy[0]:.1f} to "
                             f"{run.found.energy[-1]:.1f} eV only")
                   for run in finished if run.found is not None and not _covers(run, energy)]
    structures = _with_parents(covered, options.parents or {})
    rows = [(run.name, str(structures[run.name].info["parent"])) for run in covered]
    part = _parts(rows, covered, options)
    mu = np.array([_interpolated(run, energy) for run in covered])
    return Collection(covered, unfinished, structures, energy, mu.reshape(-1, len(energy)), element,
                      edge, theory, part)


def find_runs(folder: Path, options: CollectOptions, *, progress: bool = False) -> list[Run]:
    """Runs of every ``decks.json`` below a folder, then of every other ``feff.inp``.

    Raises
    ------
    InputError
        If there is neither, or decks are of another code.
    """
    from tqdm import tqdm

    if not folder.is_dir():
        raise InputError(f"runs must be in a folder, received {folder}: check the path")
    planned: list[Place] = []
    structures: dict[str, Structure] = {}
    for manifest in _below(folder, MANIFEST):
        planned += _planned(manifest, structures)
    known = {path.resolve() for path, _, _, _ in planned}
    plain = [path.parent for path in _below(folder, INPUT) if path.parent.resolve() not in known]
    if not planned and not plain:
        raise InputError(f"a folder of runs must hold {MANIFEST} or folders with {INPUT}, received "
                         f"{folder} without: give the folder that `diffxas decks` wrote")
    places: list[Place] = [*planned, *((path, "", 0, None) for path in plain)]
    runs = [_read(folder, place, keep_unconverged=options.keep_unconverged)
            for place in tqdm(places, desc="collect", unit="run", disable=not progress)]
    return _marked(_unlike(runs))


def _below(folder: Path, name: str) -> list[Path]:
    """Files of a name, hidden folders left out."""
    return sorted(path for path in folder.rglob(name)
                  if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _planned(manifest: Path, structures: dict[str, Structure]) -> list[Place]:
    """Runs of a list of decks; ``structures`` gains its own, under new names where names meet."""
    from diffxas.structure_files import read_structures

    content = read_manifest(manifest)
    if content["code"] != "feff":
        raise InputError(f"runs to collect must be of FEFF, received {manifest} of "
                         f"{content['code']}: collect FEFF's folders, and bring other spectra as "
                         f"an npz")
    frames = read_structures(manifest.parent / STRUCTURES)
    if len(frames) != len(content["structures"]):
        raise InputError(f"{STRUCTURES} must hold the {len(content['structures'])} structures of "
                         f"{manifest}, received {len(frames)}: restore it")
    names: dict[str, str] = {}
    for structure, row in zip(frames, content["structures"], strict=True):
        own = name = str(row["name"])
        number = 1
        while name in structures and not _same(structures[name], structure):
            number += 1
            name = f"{own}_{number}"
        structures[name], names[own] = structure, name
    return [(manifest.parent / deck["folder"], names[deck["structure"]], int(deck["site"]),
             structures[names[deck["structure"]]]) for deck in content["decks"]]


def _same(one: Structure, other: Structure) -> bool:
    return (len(one) == len(other) and np.array_equal(one.numbers, other.numbers)
            and np.allclose(one.positions, other.positions, atol=1e-5)
            and np.allclose(one.cell, other.cell, atol=1e-5))


def _read(root: Path, place: Place, *, keep_unconverged: bool) -> Run:
    folder, name, site, structure = place
    where = str(folder.relative_to(root))
    if where == ".":
        where = folder.resolve().name
    own = name or safe_name(where)
    try:
        asked = read_input(folder)
        if structure is not None:
            _check_place(asked, structure, site)
        found = read_xmu(folder, asked.cards)
        if not keep_unconverged and not converged(folder):
            raise Unfinished("the potentials did not converge (SCF): --keep-unconverged takes it")
    except Unfinished as reason:
        return Run(where, own, site, structure, reason=str(reason))
    return Run(where, own, site, structure or asked.cluster, asked, found)


def _check_place(asked: FeffInput, structure: Structure, site: int) -> None:
    """The run must be of the site that the list of decks says."""
    from diffxas.neighbourhood import neighbour_pairs

    if structure.symbols[site] != asked.element:
        raise Unfinished(f"{INPUT} is of {asked.element}, the deck of {structure.symbols[site]}")
    distances = np.sort(np.linalg.norm(asked.cluster.positions[1:], axis=1))[:NEAREST]
    pairs = neighbour_pairs(structure, float(distances.max(initial=1.0)) + 1.0)
    own = np.sort(pairs.distance[pairs.first == site])[:len(distances)]
    if len(own) != len(distances) or np.abs(own - distances).max(initial=0.0) > SAME_PLACE:
        raise Unfinished(f"{INPUT} is not of site {site}: its neighbours are elsewhere")


def _unlike(runs: Sequence[Run]) -> list[Run]:
    """A second run of one site is left out."""
    seen: dict[tuple[str, int], str] = {}
    kept = []
    for run in runs:
        key = (run.name, run.site)
        if not run.reason and key in seen:
            run = _left_out(run, f"the same site as {seen[key]}")
        elif not run.reason:
            seen[key] = run.folder
        kept.append(run)
    return kept


def _marked(runs: list[Run]) -> list[Run]:
    """Runs that end long before the most of their kind were cut short, whatever they asked."""
    ends = Counter(round(float(run.found.k[-1]), 1) for run in runs if run.found is not None)
    if not ends:
        return runs
    usual = ends.most_common(1)[0][0]
    return [_left_out(run, f"cut short: it ends at k = {run.found.k[-1]:.2f}, others at {usual:g}")
            if run.found is not None and run.found.k[-1] < usual - CUT_SHORT else run
            for run in runs]


def _left_out(run: Run, reason: str) -> Run:
    return Run(run.folder, run.name, run.site, run.structure, reason=reason)


def _one_theory(runs: Sequence[Run]) -> tuple[str, str, dict[str, str]]:
    kinds: dict[tuple[str, str, tuple[tuple[str, str], ...]], str] = {}
    for run in runs:
        assert run.asked is not None
        kinds.setdefault((run.asked.element, run.asked.edge, tuple(run.asked.theory.items())),
                         run.folder)
    (first, folder), *others = kinds.items()
    for other, place in others:
        what = (f"{other[0]}:{other[1]}" if other[:2] != first[:2] else
                ", ".join(" ".join(card) for card in sorted(set(other[2]) ^ set(first[2]))))
        raise InputError(f"runs must be of one element, edge and theory, received {folder} and "
                         f"{place}, which differ ({what}): collect them one by one")
    return first[0], first[1], dict(first[2])


def _common_grid(runs: Sequence[Run], grid: tuple[float, float, float] | None) -> np.ndarray:
    low, high, step = grid or (
        max(float(run.found.energy[0]) for run in runs if run.found is not None),
        min(float(run.found.energy[-1]) for run in runs if run.found is not None), STEP)
    if not (step > 0 and low + 20 * step < high):
        raise InputError(f"the energies must be 20 steps or more, received {low:g} to {high:g} eV "
                         f"in steps of {step:g}: give --grid LO HI STEP")
    first = low if grid else np.ceil(low / step) * step
    return np.asarray(first + step * np.arange(int((high - first) / step + 1e-6) + 1))


def _covers(run: Run, energy: np.ndarray) -> bool:
    assert run.found is not None
    return bool(run.found.energy[0] <= energy[0] and energy[-1] <= run.found.energy[-1])


def _interpolated(run: Run, energy: np.ndarray) -> np.ndarray:
    from scipy.interpolate import PchipInterpolator

    assert run.found is not None
    return np.asarray(PchipInterpolator(run.found.energy, run.found.mu)(energy))


def _with_parents(runs: Sequence[Run], given: Mapping[str, str]) -> dict[str, Structure]:
    named = {run.name: run.structure for run in runs if run.structure is not None}
    folders = {run.name: run.folder for run in runs}
    own = networks(list(named.items()))
    return {name: structure.with_info(
                name=name, parent=given.get(name, given.get(folders[name], own[name])))
            for name, structure in named.items()}


def _parts(rows: Sequence[tuple[str, str]], runs: Sequence[Run],
           options: CollectOptions) -> np.ndarray:
    if options.held_out is None:
        return np.zeros(len(rows), dtype=np.int8)
    blind = [run.folder for run in runs if run.structure is not None
             and not run.structure.pbc.any() and "parent" not in run.structure.info
             and run.name not in (options.parents or {})
             and run.folder not in (options.parents or {})]
    if blind and not options.allow_leak:
        raise InputError(f"a split must know the network of every run, received {blind[0]}"
                         f"{f' and {len(blind) - 1} more' if len(blind) > 1 else ''} of which "
                         f"nothing is known but its cluster: give --networks FILE with lines "
                         f"FOLDER,NETWORK, or --allow-leak")
    names = (draw_networks([network for _, network in rows], options.held_out, options.seed)
             if isinstance(options.held_out, float) else set(options.held_out))
    return hold_out(rows, names, allow_leak=options.allow_leak)


def write_collection(found: Collection, out: Path, source: Path) -> None:
    """Write ``structures.extxyz``, ``spectra.npz`` and ``collect.json``; an earlier set goes.

    The npz has the keys of :mod:`surrogates.datasets` and, for each site, ``split``, ``edge_step``
    (``xsedge``; times ``mu`` it is a cross section) and ``folder``.
    """
    from diffxas.structure_files import write_structures

    write_structures(out / STRUCTURES, list(found.structures.values()))
    columns: dict[str, Any] = {
        "energy": found.energy, "mu": found.mu.astype(np.float32),
        "source": np.array([run.name for run in found.finished]),
        "site": np.array([run.site for run in found.finished], dtype=np.int64),
        "split": found.part,
        "edge_step": np.array([run.found.edge_step for run in found.finished
                               if run.found is not None]),
        "folder": np.array([run.folder for run in found.finished]),
        "element": np.array(found.element), "edge": np.array(found.edge),
        "theory": np.array("FEFF"),
    }
    with replacing(out / SPECTRA) as temporary:
        np.savez_compressed(temporary, **columns)
    write_json(out / RECORD, {
        "kind": "training set", "version": diffxas.__version__, "runs": str(source.resolve()),
        "edge": f"{found.element}:{found.edge}", "cards": dict(found.theory),
        "energy": [found.energy[0], found.energy[-1], len(found.energy)],
        "sites": len(found.finished), "structures": len(found.structures),
        "networks": sorted({str(s.info["parent"]) for s in found.structures.values()}),
        "held_out": found.held_out,
        "unfinished": [{"folder": run.folder, "reason": run.reason} for run in found.unfinished],
    })


def check_set(out: Path) -> None:
    """Refuse a folder that is not empty and no earlier set.

    Raises
    ------
    InputError
        If it is.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out must be a folder, received the file {out}: choose another")
    if out.is_dir() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise InputError(f"--out must be empty or hold an earlier set, received {out} with other "
                         f"files: choose another --out")
    check_writable(out / RECORD)


def read_networks(path: Path) -> dict[str, str]:
    """Lines ``FOLDER,NETWORK`` or ``STRUCTURE,NETWORK``.

    Raises
    ------
    InputError
        If a line has another form.
    """
    table = {}
    for number, line in enumerate(_lines(path), start=1):
        words = [word.strip() for word in line.split(",")]
        if len(words) != 2 or not all(words):
            raise InputError(f"{path} must have lines FOLDER,NETWORK, received {line!r} at line "
                             f"{number}: write one comma between the two")
        table[words[0]] = words[1]
    return table


def read_held_out(text: str) -> float | frozenset[str]:
    """A share such as ``0.2``, or the names in a file, one a line.

    Raises
    ------
    InputError
        If it is neither.
    """
    try:
        share = float(text)
    except ValueError:
        return frozenset(_lines(Path(text)))
    check_share(share)
    return share


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"a list of names must be a file, received {path}: check the path")
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
