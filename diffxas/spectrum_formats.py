"""Spectrum formats with a structure of their own: XDI, EMSA/MAS and Athena projects.

* XDI/1.0: B. Ravel and M. Newville, "XAFS Data Interchange: a single spectrum XAFS data file
  format", J. Phys.: Conf. Ser. 712, 012148 (2016): comment lines ``# Family.key: value``, then
  columns.
* EMSA/MAS: R. F. Egerton, C. E. Fiori, J. A. Hunt, M. S. Isaacson, E. J. Kirkland and
  N. J. Zaluzec, "EMSA/MAS standard file format for spectral data exchange", EMSA Bulletin 21,
  35 (1991), ISO 22029: lines ``#KEY : value``, then counts, or pairs for ``DATATYPE XY``. Channel
  i (from 0) lies at ``OFFSET + i XPERCHAN``.
* Athena: B. Ravel and M. Newville, "ATHENA, ARTEMIS, HEPHAESTUS", J. Synchrotron Rad. 12, 537
  (2005): Perl assignments ``@args``, ``@x``, ``@y`` for each group, often gzip'd. Energies are
  ``x + bkg_eshift``, as Athena plots them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from diffxas.errors import InputError
from diffxas.spectrum import parse_edge
from diffxas.spectrum_columns import Table
from diffxas.spectrum_text import lines_of, number, parse_table

OTHER_SIGNALS = {"EDS": "X-rays", "WDS": "X-rays", "XRF": "X-rays", "AES": "Auger electrons",
                 "PES": "photoelectrons", "CLS": "light", "GAM": "gamma rays"}


def parse_xdi(text: str, path: str) -> Table:
    """Columns of an XDI file with the names of its ``Column.N`` fields.

    Raises
    ------
    InputError
        If the columns cannot be read or the first is an angle.
    """
    table = parse_table(text, path)
    header: dict[str, str] = {}
    comments: list[str] = []
    said = False
    for line in lines_of(text):
        if not line.startswith("#"):
            break
        field = re.match(r"#\s*([A-Za-z]\w*\.[\w-]+)\s*:\s*(.*?)\s*$", line)
        said = said or line.lstrip("# ").startswith("///")
        if field and not said:
            header[field[1].lower()] = field[2]
        elif not field:
            comments.append(line.lstrip("#/-").strip())
    names = []
    for i, name in enumerate(table.names):
        words = header.get(f"column.{i + 1}", name).split()
        names.append(f"{words[0]}/{words[1]}" if len(words) == 2 else " ".join(words))
    if any(name.lower().startswith("angle") for name in names) and not any(
            "energy" in name.lower() for name in names):
        raise InputError(f"an XDI file must hold energies, received a column {names[0]!r} in "
                         f"{path}: convert the monochromator angle to eV first")
    element, edge = _element_edge(header.get("element.symbol", ""), header.get("element.edge", ""))
    # the last comment line is that of the names; a name is no prose
    return replace(table, names=tuple(names), prose=" ".join(comments[1:-1]), header=header,
                   format="XDI", element=element, edge=edge)


def parse_emsa(text: str, path: str) -> Table:
    """Energies and counts of an EMSA/MAS file.

    Raises
    ------
    InputError
        If it is no energy-loss or absorption spectrum in eV or keV, or points are missing.
    """
    header: dict[str, str] = {}
    words: list[str] = []
    inside = False
    for line in lines_of(text):
        key, _, value = line.partition(":")
        key = key.strip().lstrip("#").strip().upper()
        if line.lstrip().startswith("#"):
            inside = inside or key == "SPECTRUM"
            if key == "ENDOFDATA":
                break
            if not inside:
                header[key.split(" -")[0]] = value.strip()
        elif inside:
            words += [w for w in re.split(r"[,;\s]+", line) if w]
    values = np.array([np.nan if (v := number(w)) is None else v for w in words])
    _check_emsa(header, values, words, path)
    if header.get("DATATYPE", "Y").upper() == "XY":
        data = values.reshape(-1, 2)
    else:
        width, offset = (_emsa_number(header, key, path) for key in ("XPERCHAN", "OFFSET"))
        data = np.column_stack([np.round(offset + width * np.arange(len(values)), 9), values])
    claimed = header.get("NPOINTS", "")
    if claimed and number(claimed) != len(data):
        raise InputError(f"NPOINTS of {path} must be the number of points, received {claimed} with "
                         f"{len(data)} points: the file may be cut off; export it again")
    units = header.get("XUNITS", "eV")
    names = (f"energy/{units}", f"counts/{header['YUNITS']}" if header.get("YUNITS") else "counts")
    return Table(data, names, header={k.lower(): v for k, v in header.items() if v}, format="EMSA")


def _check_emsa(header: dict[str, str], values: np.ndarray, words: list[str], path: str) -> None:
    signal = header.get("SIGNALTYPE", "").upper()
    if signal in OTHER_SIGNALS:
        raise InputError(f"SIGNALTYPE of {path} must be ELS (energy loss), received {signal} "
                         f"({OTHER_SIGNALS[signal]}): give an energy-loss or absorption spectrum")
    units = header.get("XUNITS", "eV")
    if units.lower() not in ("ev", "kev"):
        raise InputError(f"XUNITS of {path} must be eV or keV, received {units!r}: convert the "
                         f"axis to energies")
    if np.isnan(values).any():
        bad = words[int(np.flatnonzero(np.isnan(values))[0])]
        raise InputError(f"points of {path} must be numbers, received {bad[:40]!r}: remove or "
                         f"interpolate such points")
    kind = header.get("DATATYPE", "Y").upper()
    if kind not in ("Y", "XY") or (kind == "XY" and len(values) % 2):
        raise InputError(f"DATATYPE of {path} must be Y, or XY with pairs of numbers, received "
                         f"{kind!r} with {len(values)} numbers: export the spectrum again")


def _emsa_number(header: dict[str, str], key: str, path: str) -> float:
    value = number(header.get(key, ""))
    if value is None or not np.isfinite(value):
        raise InputError(f"{key} of {path} must be a number, received {header.get(key, '')!r}: it "
                         f"gives the energy axis of a file with DATATYPE Y")
    return value


@dataclass(frozen=True, eq=False)
class AthenaGroup:
    """One group of an Athena project; ``arguments`` are the items of its ``@args``."""

    label: str
    energy: np.ndarray
    mu: np.ndarray
    arguments: dict[str, str]

    @property
    def is_absorption(self) -> bool:
        """Whether it holds mu(E), not chi(k)."""
        wanted = self.arguments.get("datatype", "xmu")
        return (self.arguments.get("is_chi", "0") not in ("1", "true")
                and wanted in ("", "xmu", "xanes", "norm", "xmudat", "nor"))


def parse_athena(text: str, columns: str | None, path: str) -> tuple[Table, str, str]:
    """The chosen group of an Athena project, the sentence that says so, and its flag.

    Raises
    ------
    InputError
        If no group or several differing groups hold mu(E) and ``columns`` names none.
    """
    groups = _athena_groups(text, path)
    usable = [i for i, group in enumerate(groups) if group.is_absorption]
    listing = ", ".join(f"{i + 1} {group.label}{'' if i in usable else ' (chi, not mu)'}"
                        for i, group in enumerate(groups))
    if not usable:
        raise InputError(f"an Athena project must hold a group with mu(E), received {listing} in "
                         f"{path}: save the project with the absorption data")
    if columns:
        index = _athena_choice(columns, groups, listing, path)
        reason = "as --columns says"
    else:
        index, first = usable[0], groups[usable[0]]
        same = all(np.array_equal(groups[i].energy, first.energy)
                   and np.array_equal(groups[i].mu, first.mu) for i in usable)
        if not same:
            raise InputError(f"one group of an Athena project must be chosen, received "
                             f"{len(usable)} in {path} ({listing}): choose with "
                             f"--columns group={usable[0] + 1} (number or label)")
        reason = "the only group with mu(E)" if len(usable) == 1 else (
            "the groups with mu(E) hold the same data")
    group = groups[index]
    if not group.is_absorption:
        raise InputError(f"group {group.label!r} of {path} must hold mu(E), received chi(k): "
                         f"choose another of {listing}")
    element, edge = _element_edge(group.arguments.get("bkg_z", ""),
                                  group.arguments.get("fft_edge", ""))
    keep = ("label", "file", "bkg_e0", "bkg_eshift", "bkg_step", "xmu_string")
    header = {k: group.arguments[k] for k in keep if group.arguments.get(k)}
    shift = float(group.arguments.get("bkg_eshift") or 0.0)
    table = Table(np.column_stack([group.energy, group.mu]), ("energy/eV", "mu"), header=header,
                  format="Athena", element=element, edge=edge)
    moved = f" + {shift:g} eV (Athena's energy shift)" if shift else ""
    return (table, f"group {index + 1} {group.label!r} ({reason}), energy = x{moved}, mu = y",
            f"group={index + 1}")


def _athena_choice(columns: str, groups: list[AthenaGroup], listing: str, path: str) -> int:
    key, equals, value = (part.strip() for part in columns.partition("="))
    if key != "group" or not equals:
        raise InputError(f"--columns of an Athena project must be group=NUMBER or group=LABEL, "
                         f"received {columns!r}: {path} has {listing}")
    named = [i for i, group in enumerate(groups) if group.label == value]
    if len(named) == 1:
        return named[0]
    if value.isdigit() and 1 <= int(value) <= len(groups):
        return int(value) - 1
    what = "a label that occurs once" if named else "in the project"
    raise InputError(f"the group must be {what}, received {value!r}: {path} has {listing}")


_ASSIGNMENT = re.compile(r"^\s*@(\w+)\s*=\s*\(((?:'(?:\\.|[^'\\])*'|[^'()])*)\)\s*;", re.MULTILINE)
_ITEM = re.compile(  # a string, a list in brackets (titles), or a bare number
    r"'((?:\\.|[^'\\])*)'|(\[(?:'(?:\\.|[^'\\])*'|[^'\]])*\]|[^\s,'\[\]]+)", re.DOTALL)


def _athena_groups(text: str, path: str) -> list[AthenaGroup]:
    """Groups of the project; each begins at ``$old_group`` and ends at ``[record]``."""
    groups = []
    for n, block in enumerate(re.split(r"^\s*\$old_group\s*=", text, flags=re.MULTILINE)[1:]):
        block = block.split("[record]")[0]
        lists = {m[1]: [bare or re.sub(r"\\(.)", r"\1", quoted)
                        for quoted, bare in _ITEM.findall(m[2])]
                 for m in _ASSIGNMENT.finditer(block)}
        arguments = dict(zip(lists.get("args", [])[::2], lists.get("args", [])[1::2],
                             strict=False))
        label = arguments.get("label") or f"group {n + 1}"
        arrays = [[number(v) for v in lists.get(key, [])] for key in ("x", "y")]
        if not arrays[0] or len(arrays[0]) != len(arrays[1]) or None in arrays[0] + arrays[1]:
            raise InputError(f"group {label!r} of {path} must hold as many energies as values, "
                             f"received {len(arrays[0])} and {len(arrays[1])}: save the project "
                             f"again in Athena")
        x, y = (np.array([v for v in values if v is not None]) for values in arrays)
        shift = number(arguments.get("bkg_eshift", "0"))
        shift = shift if shift is not None and np.isfinite(shift) else 0.0
        arguments["bkg_eshift"] = f"{shift:g}"
        groups.append(AthenaGroup(label, x + shift, y, arguments))
    if not groups:
        raise InputError(f"an Athena project must hold a group, received none in {path}: save it "
                         f"again in Athena, or export columns")
    return groups


def _element_edge(element: str, edge: str) -> tuple[str, str]:
    """Element and edge of a header; empty where they are missing or not known."""
    try:
        return parse_edge(f"{element.strip().capitalize()}:{edge.strip().upper()}")
    except InputError:
        return "", ""
