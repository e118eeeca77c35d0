"""Structures from and to files.

Everything that ASE reads comes in, every frame. Out go extended XYZ (with every column, energy and
forces), CIF, POSCAR and LAMMPS data files. A LAMMPS data file holds the lattice in LAMMPS'
restricted triangular form (see :mod:`diffxas.lammps_library`), positions rotated and wrapped with
it, ``Masses`` and ``Atom Type Labels``; units are ``metal``, the atom style ``atomic``, or
``charge`` where charges are given.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError
from diffxas.files import replacing
from diffxas.lammps_data import checked_type_order, lammps_atoms
from diffxas.structure import Structure

if TYPE_CHECKING:
    from ase import Atoms

WRITERS = {".extxyz": "extxyz", ".cif": "cif", ".vasp": "vasp", ".data": "lammps-data"}
FORMATS = tuple(suffix[1:] for suffix in WRITERS)
SINGLE_FRAME = ("vasp", "lammps-data")
ATOM_RESULTS = ("charges", "magmoms", "energies", "stresses")
COMPRESSED = (".gz", ".bz2", ".xz")


def read_structures(path: str | Path) -> list[Structure]:
    """Every frame of a structure file that ASE reads.

    Raises
    ------
    InputError
        If the file is missing, empty or unreadable, or a frame has no atoms, no cell, or sites
        that are only partly occupied.
    """
    from ase.io import read

    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"a structure file must exist, received {path} ({what}): check the path")
    known = {".data": "lammps-data", ".vasp": "vasp"}.get(path.suffix)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = read(path, index=":", format=known, do_not_split_by_at_sign=True)
    except Exception as error:  # ASE's many readers raise everything from KeyError to StopIteration
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"a structure file must be in a format that ASE reads, received {path} "
                         f"({type(error).__name__} {reason}): convert it to extended XYZ, CIF or "
                         f"POSCAR") from error
    if not frames:
        raise InputError(f"a structure file must hold atoms, received {path} without any: "
                         f"check what wrote it")
    return [_from_frame(atoms, f"{path}, frame {number}" if len(frames) > 1 else str(path))
            for number, atoms in enumerate(frames)]


def labelled_structures(paths: Iterable[str | Path]) -> list[tuple[str, Structure]]:
    """Structures of several files with the names that tables give them.

    A label is ``STEM``, or ``STEM#FRAME`` (from 0) for a file of several frames.

    Raises
    ------
    InputError
        As :func:`read_structures`, and if two inputs share a stem or none is given.
    """
    seen: dict[str, Path] = {}
    for path in map(Path, paths):
        stem = structure_stem(path)
        if stem in seen:
            raise InputError(f"input files must have different stems, received {seen[stem]} and "
                             f"{path}: rename one of them")
        seen[stem] = path
    if not seen:
        raise InputError("at least one structure file must be given, received none: name a file")
    labelled = []
    for stem, path in seen.items():
        frames = read_structures(path)
        names = [stem] if len(frames) == 1 else [f"{stem}#{i}" for i in range(len(frames))]
        labelled += list(zip(names, frames, strict=True))
    return labelled


def structure_stem(path: str | Path) -> str:
    """The file's name without folder, suffix and ``.gz``."""
    path = Path(path)
    return Path(path.stem).stem if path.suffix in COMPRESSED else path.stem


def output_format(path: str | Path, format: str | None = None, n_structures: int = 1) -> str:
    """ASE's name of the format to write ``path`` in; lets a command refuse before long work.

    Raises
    ------
    InputError
        If suffix or format is none of ours, or the format cannot hold so many structures.
    """
    suffix = f".{format.lower()}" if format is not None else Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise InputError(f"the output format must be one of {', '.join(WRITERS)}, received "
                         f"{format or str(path)!r}: give --out such a suffix")
    if n_structures > 1 and WRITERS[suffix] in SINGLE_FRAME:
        raise InputError(f"a {suffix} file must hold one structure, received {n_structures} for "
                         f"{path}: write .extxyz or .cif, or one file for each")
    return WRITERS[suffix]


def write_structures(path: str | Path, structures: Structure | Sequence[Structure],
                     format: str | None = None, type_order: Sequence[str] | None = None,
                     charges: Mapping[str, float] | None = None) -> None:
    """Write structures atomically, in the format of the suffix.

    Parameters
    ----------
    path : ``.extxyz``, ``.cif``, ``.vasp`` or ``.data`` (LAMMPS), unless ``format`` says which
    structures : one, or several for ``.extxyz`` and ``.cif``
    format : ``extxyz``, ``cif``, ``vasp`` or ``data``
    type_order : chemical symbols in the order of LAMMPS' atom types; alphabetical if None
    charges : of the elements, e, for a LAMMPS file of atom style ``charge``

    Raises
    ------
    InputError
        If the format is unknown, cannot hold so many structures, ``type_order`` or ``charges``
        lack an element, or the folder cannot be written to.
    """
    from ase.io import write

    structures = [structures] if isinstance(structures, Structure) else list(structures)
    if not structures:
        raise InputError(f"at least one structure must be given to write {path}, received none: "
                         f"check what was selected")
    name = output_format(path, format, len(structures))
    options: dict[str, Any] = {}
    if name == "lammps-data":
        symbols = checked_type_order(structures[0].symbols, type_order)
        frames = [lammps_atoms(structures[0], charges)]
        options = {"specorder": symbols, "masses": True, "atom_type_labels": True,
                   "units": "metal", "atom_style": "atomic" if charges is None else "charge"}
    elif name == "vasp":
        frames = [structure.to_atoms() for structure in structures]
    elif name == "cif":
        frames = [_bare(structure) for structure in structures]
    else:
        frames = [_writable(structure).to_atoms() for structure in structures]
    with replacing(path) as temporary:
        write(temporary, frames[0] if name in SINGLE_FRAME else frames, format=name, **options)


def _from_frame(atoms: Atoms, where: str) -> Structure:
    if not len(atoms):
        raise InputError(f"a structure must have atoms, received none in {where}: "
                         f"check what wrote the file")
    if atoms.cell.rank < 3:
        raise InputError(f"a structure must have a cell of three vectors, received {where} without "
                         f"one: add it, for instance as Lattice=\"...\" in an extended XYZ header")
    occupancies = atoms.info.pop("occupancy", None) or {}
    partial = [site for site in occupancies.values() if any(x < 1 for x in site.values())]
    if partial:
        raise InputError(f"sites must be fully occupied, received {partial[0]} in {where}: "
                         f"choose an ordered model of the crystal")
    atoms.info = {key: _plain(value) for key, value in atoms.info.items()}
    atoms.arrays.pop("spacegroup_kinds", None)
    try:
        return _with_other_results(Structure.from_atoms(atoms), atoms)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _with_other_results(structure: Structure, atoms: Atoms) -> Structure:
    """ASE's reader takes ``stress``, ``charges``, ... out of a file's columns; put them back."""
    from ase.calculators.singlepoint import SinglePointCalculator

    if not isinstance(atoms.calc, SinglePointCalculator):
        return structure
    others = {name: value for name, value in atoms.calc.results.items()
              if value is not None and name not in ("energy", "forces")}
    columns = {name: np.array(others.pop(name)) for name in ATOM_RESULTS if name in others}
    return structure.with_info(**others).with_arrays(**columns)


def _plain(value: Any) -> Any:
    """Numbers, text and arrays stay; objects of ASE's readers (space groups) become text."""
    plain = (str, bool, int, float, np.generic, np.ndarray, list, tuple, dict, type(None))
    return value if isinstance(value, plain) else str(value)


def _writable(structure: Structure) -> Structure:
    """A structure that survives the one header line and the flat columns of extended XYZ.

    None and empty text have no notation there and are left out; line ends become blanks; per-atom
    tensors become rows of their components.
    """
    info = {key: " ".join(value.split("\n")) if isinstance(value, str) else _plain(value)
            for key, value in structure.info.items()
            if value is not None and not (isinstance(value, str) and not value)}
    arrays = {key: np.asarray(column) for key, column in structure.arrays.items()}
    arrays = {key: column.reshape(len(column), -1) if column.ndim > 2 else column
              for key, column in arrays.items()}
    return Structure(structure.positions, structure.numbers, structure.cell, structure.pbc, info,
                     arrays)


def _bare(structure: Structure) -> Atoms:
    """Atoms and cell alone: what a CIF holds."""
    return structure.with_positions(structure.positions).to_atoms()
