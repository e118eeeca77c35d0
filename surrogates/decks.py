"""Decks for new labels: structures and absorbers chosen, inputs written, and the way back kept.

A folder of decks holds ``decks.json`` (code, edge, settings, and for every deck its structure and
site), ``structures.extxyz`` (the structures with ``name`` and ``parent``), a folder for each
structure with its decks, and ``MISSING.txt`` where files are needed that cannot be given away.
:mod:`surrogates.collection` reads finished runs from there.

Absorbers are drawn among those that symmetry does not make equal (spglib, by way of pymatgen),
one for each such set; every atom of a disordered cell is a set of its own. The draw is keyed by
seed and structure: another structure changes nothing, more sites contain fewer.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import diffxas
from diffxas.errors import InputError
from diffxas.files import check_writable, write_json, write_text
from diffxas.structure import Structure
from surrogates.lightshow_codes import (
    CODES,
    EDGES,
    LIGHTSHOW,
    WHERE_FROM,
    feff_settings,
    lightshow,
    missing_files,
    write_code,
)
from surrogates.splits import networks

MANIFEST, STRUCTURES, NOTE = "decks.json", "structures.extxyz", "MISSING.txt"
SYMMETRY = 0.01
"""angstrom, within which sites are equal by symmetry."""
ONE_SPOT = 0.5
"""angstrom; atoms nearer than this are a mistake."""


@dataclass(frozen=True)
class DeckOptions:
    """What ``diffxas decks`` may say.

    Attributes
    ----------
    code : of :data:`surrogates.lightshow_codes.CODES`
    element, edge : of the absorber
    sites : absorbers of each structure; None for all that differ
    seed : of the draw
    cards : of FEFF, to be changed
    radius : of FEFF's cluster, angstrom
    """

    code: str
    element: str = "C"
    edge: str = "K"
    sites: int | None = 12
    seed: int = 0
    cards: Mapping[str, str] = field(default_factory=dict)
    radius: float | None = None


@dataclass(frozen=True, eq=False)
class Chosen:
    """A structure with its absorbers.

    Attributes
    ----------
    name, file : unlike any other's, safe as a folder's name; the file that it came from
    sites : (n_sites,), rising
    multiplicity : (n_sites,), atoms that symmetry makes equal to each
    """

    name: str
    file: str
    structure: Structure
    sites: np.ndarray
    multiplicity: np.ndarray


@dataclass(frozen=True)
class Written:
    """What was written: number of decks, by folder what is missing, and whether it was there."""

    decks: int
    structures: int
    missing: dict[str, list[str]]
    already: bool = False


def write_decks(labelled: Sequence[tuple[str, Structure]], out: Path, options: DeckOptions, *,
                progress: bool = False) -> Written:
    """Choose absorbers and write their decks; the folder appears when all are written.

    Raises
    ------
    InputError
        Before anything is written: on an unknown code or edge, a structure without the absorber or
        with fewer than asked, atoms on one spot or too far from any other, a cell that is not
        periodic where the code needs one, or a folder with other content.
    """
    from tqdm import tqdm

    settings = check_options(options)
    chosen = choose(labelled, options, settings)
    identity = _identity(chosen, options, settings)
    if _already(out, identity):
        content = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        return Written(len(content["decks"]), len(chosen), content["missing"], already=True)
    check_writable(out)
    lightshow()
    rows: list[dict[str, Any]] = []
    missing: dict[str, list[str]] = {}
    parent = out.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=parent))
    try:
        for one in tqdm(chosen, desc="decks", unit="structure", disable=not progress):
            folder = work / one.name
            decks = write_code(options.code, folder, one.structure, list(one.sites), options.edge,
                               settings)
            rows += [{"folder": str(path.relative_to(work)), "structure": one.name, "site": site,
                      "equal_by_symmetry": int(count)}
                     for (site, path), count in zip(decks, one.multiplicity, strict=True)]
            absent = missing_files(options.code, folder, [path for _, path in decks],
                                   one.structure.symbols, options.element)
            missing |= {str(path.relative_to(work)): names for path, names in absent.items()}
        _write_way_back(work, chosen, rows, missing, identity, options.code)
        work.chmod(0o755)
        if out.is_dir():
            out.rmdir()
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Written(len(rows), len(chosen), missing)


def check_options(options: DeckOptions) -> dict[str, Any]:
    """Settings of the code, empty but for FEFF.

    Raises
    ------
    InputError
        If an option cannot be used.
    """
    if options.code not in CODES:
        raise InputError(f"--code must be one of {', '.join(CODES)}, received {options.code!r}: "
                         f"choose one")
    if options.edge not in EDGES[options.code]:
        raise InputError(f"the edge must be one of {', '.join(EDGES[options.code])} for "
                         f"{options.code}, received {options.edge}: correct --edge")
    if options.sites is not None and options.sites < 1:
        raise InputError(f"--sites must be a number above 0 or `all`, received {options.sites}: "
                         f"give the absorbers of each structure")
    if options.code == "feff":
        return feff_settings(options.element, options.edge, options.cards, options.radius)
    if options.cards or options.radius is not None:
        raise InputError(f"--card and --radius must go with --code feff, received {options.code}: "
                         f"edit the decks of other codes")
    return {}


def choose(labelled: Sequence[tuple[str, Structure]], options: DeckOptions,
           settings: Mapping[str, Any]) -> list[Chosen]:
    """Draw the absorbers of every structure; see the module's docstring.

    Snapshot and relaxed structure of one ``info["name"]`` share their network.
    """
    names = unlike_names(labelled)
    named = {name: s for name, (_, s) in zip(names, labelled, strict=True)}
    own = {name: str(s.info.get("name", name)) for name, s in named.items()}
    parents = {name: own.get(root, root) for name, root in networks(list(named.items())).items()}
    chosen = []
    for (label, structure), name in zip(labelled, names, strict=True):
        _check_structure(label, structure, options, settings)
        orbits = _orbits(structure, options.element)
        number = len(orbits) if options.sites is None else options.sites
        if number > len(orbits):
            atoms = structure.symbols.count(options.element)
            raise InputError(f"--sites must be no more than the absorbers that symmetry leaves "
                             f"different, received {number} for {label} with {len(orbits)} of "
                             f"{atoms} {options.element}: lower it, or --sites all")
        digest = hashlib.sha256(np.ascontiguousarray(structure.positions.round(6)).tobytes())
        rng = np.random.default_rng([options.seed, int(digest.hexdigest()[:12], 16)])
        picked = sorted(rng.permutation(len(orbits))[:number])
        said = {k: v for k, v in structure.info.items() if isinstance(v, str | int | float)}
        bare = structure.with_positions(structure.positions)
        info = {**said, "name": name, "parent": parents[name]}
        chosen.append(Chosen(name, label, bare.with_info(**info),
                             np.array([orbits[k][0] for k in picked]),
                             np.array([orbits[k][1] for k in picked])))
    return chosen


def unlike_names(labelled: Sequence[tuple[str, Structure]]) -> list[str]:
    """A name for each structure: its own, with the file's before it where two share one."""
    own = [str(s.info.get("name", label)) for label, s in labelled]
    counts = Counter(own)
    names = [name if counts[name] == 1 else f"{label.split('#')[0]}_{name}"
             for name, (label, _) in zip(own, labelled, strict=True)]
    names = [safe_name(name) for name in names]
    again = Counter(names)
    return [name if again[name] == 1 else f"{name}_{k}" for k, name in enumerate(names)]


def safe_name(name: str) -> str:
    """A name for a folder that extended XYZ reads back as text, not as a number or a truth value.
    """
    name = re.sub(r"[^\w.+#-]+", "_", name).strip(".")
    try:
        float(name)
    except ValueError:
        return f"s_{name}" if name in ("", "T", "F", "True", "False") else name
    return f"s_{name}"


def _check_structure(label: str, structure: Structure, options: DeckOptions,
                     settings: Mapping[str, Any]) -> None:
    from diffxas.neighbourhood import neighbour_pairs

    if options.element not in structure.symbols:
        raise InputError(f"a structure must hold the absorber {options.element}, received "
                         f"{structure.formula} in {label}: choose another --edge or structure")
    if not structure.pbc.all() and options.code != "feff":
        raise InputError(f"a structure must be periodic for {options.code}, received {label} that "
                         f"is not: put it into a periodic cell, or use --code feff")
    pairs = neighbour_pairs(structure, float(settings.get("radius", 6.0)))
    if (pairs.distance < ONE_SPOT).any():
        k = int(np.argmin(pairs.distance))
        raise InputError(f"atoms must be {ONE_SPOT:g} angstrom apart or more, received "
                         f"{pairs.distance[k]:.2f} between {pairs.first[k]} and {pairs.second[k]} "
                         f"of {label}: remove one")
    absorbers = np.flatnonzero(np.array(structure.symbols) == options.element)
    alone = np.setdiff1d(absorbers, pairs.first)
    if len(alone) and options.code == "feff":
        raise InputError(f"an absorber must have neighbours within the cluster of "
                         f"{settings['radius']:g} angstrom, received atom {alone[0]} of {label} "
                         f"without any: raise --radius")


def _orbits(structure: Structure, element: str) -> list[tuple[int, int]]:
    """First atom and number of atoms of each set of equal absorbers, by first atom."""
    absorbers = np.flatnonzero(np.array(structure.symbols) == element)
    equal = np.arange(len(structure))
    if structure.pbc.all():
        from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

        bare = structure.with_positions(structure.positions).to_pymatgen()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # spglib's, of its coming errors
            found = SpacegroupAnalyzer(bare, symprec=SYMMETRY).get_symmetry_dataset()
        if found is not None:
            equal = np.asarray(found.equivalent_atoms)
    first, counts = np.unique(equal[absorbers], return_counts=True)
    return [(int(f), int(c)) for f, c in zip(first, counts, strict=True)]


def _identity(chosen: Sequence[Chosen], options: DeckOptions,
              settings: Mapping[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for one in chosen:
        for column in (one.structure.numbers, one.structure.positions.round(6),
                       one.structure.cell.round(6), one.sites):
            digest.update(np.ascontiguousarray(column).tobytes())
        digest.update(one.name.encode())
    content = {"code": options.code, "edge": f"{options.element}:{options.edge}",
               "sites": options.sites, "seed": options.seed, "settings": settings,
               "structures_hash": digest.hexdigest()}
    return dict(json.loads(json.dumps(content)))


def _already(out: Path, identity: Mapping[str, Any]) -> bool:
    """Whether these very decks are there.

    Raises
    ------
    InputError
        If something else is.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out must be a folder, received the file {out}: choose another --out")
    if not out.is_dir() or not any(out.iterdir()):
        return False
    known = read_manifest(out / MANIFEST) if (out / MANIFEST).is_file() else None
    if known is None:
        raise InputError(f"--out must be empty or hold these same decks, received {out} with other "
                         f"files: choose another --out")
    differ = [key for key, value in identity.items() if known.get(key) != value]
    if differ:
        raise InputError(f"--out must be empty or hold these same decks, received {out} whose "
                         f"decks differ in {', '.join(differ)}: choose another --out")
    return True


def read_manifest(path: Path) -> dict[str, Any]:
    """A ``decks.json``.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != "decks":
            raise ValueError(f"a {content['kind']}")
        known = [str(one["name"]) for one in content["structures"]]
        for deck in content["decks"]:
            if deck["structure"] not in known:
                raise ValueError(f"a deck of {deck['structure']!r}, which is not listed")
            content["code"], deck["folder"], int(deck["site"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} must be the list of decks that `diffxas decks` wrote, received "
                         f"something else ({type(error).__name__} {error}): restore it, or move it "
                         f"away") from error
    return dict(content)


def _write_way_back(work: Path, chosen: Sequence[Chosen], rows: Sequence[Mapping[str, Any]],
                    missing: Mapping[str, list[str]], identity: Mapping[str, Any],
                    code: str) -> None:
    from diffxas.structure_files import write_structures

    write_structures(work / STRUCTURES, [one.structure for one in chosen])
    write_json(work / MANIFEST, {
        "kind": "decks", "version": diffxas.__version__, "written_with": LIGHTSHOW, **identity,
        "structures": [{"name": one.name, "file": one.file, "atoms": len(one.structure),
                        "parent": one.structure.info["parent"]} for one in chosen],
        "decks": list(rows), "missing": dict(missing),
    })
    if missing:
        lines = [f"{folder}: {', '.join(names)}" for folder, names in missing.items()]
        write_text(work / NOTE, "These decks do not run before the following files are put beside "
                   f"them.\n\n{WHERE_FROM[code]}\n\n" + "\n".join(lines) + "\n")
