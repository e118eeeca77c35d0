"""Properties of structures or of atoms, from any file that ASE reads: what a target may be.

A target is a number of the whole structure (``info[KEY]``; ASE's reader hands ``energy`` to a
calculator, :mod:`diffxas.structure_files` puts it back) or a column with a number for each atom
(``arrays[KEY]``). A structure's number is taken for a mean or for a sum of contributions of its
atoms, so that the size of the cell does not matter; labels are kept per atom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure
from surrogates.splits import networks

MEAN, SUM, ATOM = "atom-mean", "sum", "atom"
PER = (MEAN, SUM, ATOM)
EXTENSIVE = ("energy", "free_energy", "magmom")
"""ASE's own results that grow with the cell; every other number of a structure is a mean."""
UNITS = {"energy": "eV", "free_energy": "eV", "energies": "eV", "magmom": "Bohr magneton",
         "magmoms": "Bohr magneton", "charges": "e"}
"""ASE's units of its own results."""


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes
    ----------
    key : as in the file
    per : ``atom-mean`` or ``sum`` of contributions of the atoms to a number of the structure, or
        ``atom`` for a number of each atom
    unit : empty if not known
    """

    key: str
    per: str
    unit: str = ""

    @property
    def per_atom(self) -> bool:
        """Whether each atom has a number of its own."""
        return self.per == ATOM

    @property
    def words(self) -> str:
        """For people, such as ``energy (eV), the sum of contributions of the atoms``."""
        what = {MEAN: "the mean of contributions of the atoms",
                SUM: "the sum of contributions of the atoms", ATOM: "a number of each atom"}
        return f"{self.key}{f' ({self.unit})' if self.unit else ''}, {what[self.per]}"

    def to_dict(self) -> dict[str, str]:
        """For ``config.json``."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class PropertyItem:
    """One structure with its label.

    Attributes
    ----------
    parent : network that the structure is of; splits are made by it
    labels : (n_atoms,) float64 for a target per atom, else (1,): the structure's number, for a
        sum divided by the number of atoms
    part : nothing is held out by the data itself
    """

    structure: Structure
    name: str
    parent: str
    labels: np.ndarray
    part: int = 0


@dataclass(frozen=True, eq=False)
class Frame:
    """A structure with what messages and records call it."""

    structure: Structure
    name: str
    where: str


def load_properties(paths: Sequence[Path], key: str, per: str = "",
                    unit: str = "") -> tuple[Target, list[PropertyItem]]:
    """The target and every frame's label, from structure files and folders of ``.extxyz``.

    Raises
    ------
    InputError
        If a frame lacks the key, or its value is not a finite number (of the structure, or of each
        atom); if the key names both; if nothing varies.
    """
    if per not in ("", *PER):
        raise InputError(f"per must be one of {', '.join(PER)}, received {per!r}: correct it in "
                         f"the config")
    frames = read_frames(paths)
    target = choose_target(frames[0], key, per, unit)
    labels = [labels_of(frame, target) for frame in frames]
    check_varies(target, labels)
    parents = networks([(frame.name, frame.structure) for frame in frames])
    return target, [PropertyItem(frame.structure, frame.name, parents[frame.name], values)
                    for frame, values in zip(frames, labels, strict=True)]


def check_varies(target: Target, labels: Sequence[np.ndarray]) -> None:
    """Refuse a constant, from which nothing can be learned.

    Raises
    ------
    InputError
        Naming the value.
    """
    every = np.concatenate(list(labels))
    if np.ptp(every) <= 1e-12 * np.abs(every).max():
        raise InputError(f"--target must vary to be learned, received {target.key} = {every[0]:g} "
                         f"everywhere in {len(labels)} structures: give other data or another key")


def read_frames(paths: Sequence[Path]) -> list[Frame]:
    """Every frame of the files, names unlike: ``info["name"]``, or ``STEM#FRAME``.

    A name that comes again, such as that of a network and of its snapshot, is told apart by its
    file and taken for the same network.
    """
    from diffxas.structure_files import read_structures

    frames: list[Frame] = []
    seen: set[str] = set()
    for path in _files(paths):
        for k, structure in enumerate(read_structures(path)):
            name = str(structure.info.get("name", f"{path.stem}#{k}"))
            where = f"{path}, frame {k}"
            if name in seen:
                structure = structure.with_info(parent=structure.info.get("parent", name))
                name = f"{path.stem}/{name}" if f"{path.stem}/{name}" not in seen else (
                    f"{path}#{k}")
            seen.add(name)
            frames.append(Frame(structure, name, where))
    return frames


def choose_target(first: Frame, key: str, per: str, unit: str) -> Target:
    """What kind of number ``key`` names, judged by the first frame."""
    of_structure, of_atoms = key in first.structure.info, key in first.structure.arrays
    if of_structure and of_atoms and not per:
        raise InputError(f"--target must say which it means where a key names two things, received "
                         f"{key!r}, a number of the structure and a column of atoms in "
                         f"{first.where}: set per = \"{ATOM}\", \"{MEAN}\" or \"{SUM}\" in the "
                         f"config")
    if not per:
        per = ATOM if of_atoms else SUM if key in EXTENSIVE else MEAN
    return Target(key, per, unit or UNITS.get(key, ""))


def labels_of(frame: Frame, target: Target) -> np.ndarray:
    """The labels of one frame as in :class:`PropertyItem`.

    Raises
    ------
    InputError
        As :func:`load_properties`.
    """
    structure = frame.structure
    held: Any = structure.arrays if target.per_atom else structure.info
    if target.key not in held:
        raise InputError(f"--target must be in every frame, received {target.key!r} and a frame "
                         f"without it, {frame.where}, which has {_known(structure)}: choose one "
                         f"of these, or leave the frame out")
    values = np.asarray(held[target.key])
    if values.dtype.kind not in "iuf":
        raise InputError(f"--target must be a number, received {target.key!r} = "
                         f"{_short(held[target.key])} in {frame.where}: choose another key, or "
                         f"write numbers")
    shape = (len(structure),) if target.per_atom else ()
    if values.size != (shape or (1,))[0] or values.ndim > len(shape) + 1:
        each = "for each atom" if target.per_atom else "for each structure"
        raise InputError(f"--target must be one number {each}, received {target.key!r} of shape "
                         f"{values.shape} in {frame.where}: a vector turns with the structure; "
                         f"write a scalar, such as its length, for an atom or a structure")
    values = values.astype(np.float64).reshape(-1)
    if not np.isfinite(values).all():
        raise InputError(f"--target must be finite, received {target.key!r} with NaN or infinity "
                         f"in {frame.where}: leave the frame out")
    return values / len(structure) if target.per == SUM else values


def network_weights(items: Sequence[PropertyItem]) -> np.ndarray:
    """Weights of the structures, of sum 1: networks weigh equally, (n_structures,)."""
    parents = [item.parent for item in items]
    counts = {parent: parents.count(parent) for parent in set(parents)}
    return np.array([1 / counts[parent] for parent in parents]) / len(counts)


def row_weights(items: Sequence[PropertyItem]) -> np.ndarray:
    """Weights of the labels, of sum 1, (n_labels,): networks weigh equally, atoms within."""
    return np.concatenate([np.full(len(item.labels), weight / len(item.labels)) for item, weight
                           in zip(items, network_weights(items), strict=True)])


def composition(items: Sequence[PropertyItem], elements: Sequence[str]) -> np.ndarray:
    """What each label is of, (n_labels, n_elements): an atom's element, or shares of a structure.
    """
    rows = []
    for item in items:
        symbols = np.array(item.structure.symbols)
        one = (symbols[:, None] == np.array(elements)).astype(float)
        rows.append(one if len(item.labels) == len(one) else one.mean(0, keepdims=True))
    return np.concatenate(rows)


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.extxyz")) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"a folder of training data for --target must hold .extxyz files, "
                             f"received {path} without: name the files")
        if path.suffix == ".npz":
            raise InputError(f"training data for --target must be structure files, received {path}:"
                             f" leave it out, or leave --target out to train on spectra")
        twice = [one for one in inside if one.resolve() in {f.resolve() for f in files}]
        if twice:
            raise InputError(f"training data must be given once, received {twice[0]} twice: "
                             f"take one away")
        files += inside
    return files


def _known(structure: Structure) -> str:
    """Names of what a structure holds that could be a target."""
    of_structure = [str(k) for k, v in structure.info.items()
                    if np.asarray(v).dtype.kind in "iuf" and np.size(v) == 1]
    of_atoms = [k for k, v in structure.arrays.items()
                if np.asarray(v).dtype.kind in "iuf" and np.ndim(v) == 1]
    parts = [", ".join(of_structure)] if of_structure else []
    if of_atoms:
        parts.append(f"per atom {', '.join(of_atoms)}")
    return " and ".join(parts) or "no number"


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return repr(text if len(text) < 40 else f"{text[:37]}...")
