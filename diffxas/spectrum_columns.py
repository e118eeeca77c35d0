"""Which columns of a table are energy and absorption.

Absorption from what a beamline records (for instance G. Bunker, "Introduction to XAFS", Cambridge
University Press 2010, chapter 3): in transmission ``mu = ln(i0/itrans)``; in fluorescence and
electron yield ``mu = signal/i0``. The choice is made by name, or by ``--columns``, and said in
words; where several columns could be the signal and the file does not say which, it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from diffxas.errors import InputError
from diffxas.spectrum_names import UNKNOWN, Role, channels_in, role_of, split_unit

SYNTAX = "--columns energy=1,signal=2,i0=3"


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of numbers, with what the file says about them.

    Attributes
    ----------
    data : (n_rows, n_columns) float64, as written
    names : one for each column with its unit, such as ``energy/eV``; all empty if there are none
    prose : words of the header other than the names
    header : named items of the header
    format : name of the file format
    element, edge : whose spectrum it is; empty if the file does not say
    """

    data: np.ndarray
    names: tuple[str, ...]
    prose: str = ""
    header: Mapping[str, str] = field(default_factory=dict)
    format: str = "text"
    element: str = ""
    edge: str = ""

    def label(self, column: int) -> str:
        """Name of a column (counted from 0) as a reader of the file would say it."""
        return self.names[column] or f"column {column + 1}"

    def listing(self) -> str:
        """All columns with their numbers, for error messages."""
        first = self.data[0]
        return ", ".join(f"{i + 1} {name}" if name else f"{i + 1} (begins {first[i]:g})"
                         for i, name in enumerate(self.names))


@dataclass(frozen=True)
class Choice:
    """Columns counted from 0; ``ready`` means that ``signal`` is an absorption already."""

    energy: int
    signal: int | None = None
    i0: int | None = None
    itrans: int | None = None
    ready: bool = False
    reason: str = ""

    @property
    def flag(self) -> str:
        """The choice as a value of ``--columns``, counted from 1."""
        parts = {"energy": self.energy, ("mu" if self.ready else "signal"): self.signal,
                 "i0": self.i0, "itrans": self.itrans}
        return ",".join(f"{k}={v + 1}" for k, v in parts.items() if v is not None)

    def sentence(self, table: Table) -> str:
        """The choice in words."""
        def named(column: int) -> str:
            name = table.names[column]
            return f"{name} (column {column + 1})" if name else f"column {column + 1}"

        if self.itrans is not None and self.i0 is not None:
            mu = f"ln({named(self.i0)} / {named(self.itrans)})"
        elif self.signal is not None and self.i0 is not None:
            mu = f"{named(self.signal)} / {named(self.i0)}"
        else:
            mu = named(self.signal) if self.signal is not None else ""
        scale = " x 1000 (keV)" if energy_scale(table, self.energy) != 1.0 else ""
        return (f"energy = {named(self.energy)}{scale}, mu = {mu}"
                + (f"; {self.reason}" if self.reason else ""))


def choose(table: Table, columns: str | None, path: str) -> Choice:
    """Columns by ``--columns`` if given, by name otherwise.

    Raises
    ------
    InputError
        If the flag is wrong or the names do not decide.
    """
    if table.data.shape[1] < 2:
        raise InputError(f"a spectrum must have two columns or more, received one in {path}: "
                         f"give energies and absorption side by side")
    return _by_flag(table, columns, path) if columns else _by_name(table, path)


def absorption(table: Table, choice: Choice, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Energy in eV and absorption, each ``(n_rows,)``.

    Raises
    ------
    InputError
        If an intensity under a logarithm is not positive, or I0 is zero or changes sign.
    """
    energy = table.data[:, choice.energy] * energy_scale(table, choice.energy)
    i0 = None if choice.i0 is None else table.data[:, choice.i0]
    for column in (choice.i0, choice.itrans):
        if column is not None:
            _demand(table, column, energy, ~np.isfinite(table.data[:, column]), "finite", path)
    if choice.itrans is not None and i0 is not None:
        for column in (choice.i0, choice.itrans):
            assert column is not None
            _demand(table, column, energy, table.data[:, column] <= 0, "above 0 to take "
                    "ln(i0/itrans)", path)
        return energy, np.log(i0 / table.data[:, choice.itrans])
    assert choice.signal is not None
    mu = table.data[:, choice.signal]
    if i0 is None or choice.i0 is None:
        return energy, mu.copy()
    sign = np.sign(np.median(i0)) or 1.0
    _demand(table, choice.i0, energy, i0 * sign <= 0,
            "of one sign and not 0 to divide by it", path)
    return energy, mu / i0


def energy_scale(table: Table, column: int) -> float:
    """1000 for a column in keV, 1 otherwise."""
    label, unit = split_unit(table.names[column])
    return 1000.0 if "kev" in (unit.lower(), *label.lower().replace("_", " ").split()) else 1.0


def _demand(table: Table, column: int, energy: np.ndarray, bad: np.ndarray, what: str,
            path: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(f"{table.label(column)} must be {what}, received "
                         f"{table.data[row, column]:g} at {energy[row]:g} eV in {path}: remove "
                         f"such points, or choose other columns with {SYNTAX}")


def _by_flag(table: Table, columns: str, path: str) -> Choice:
    found: dict[str, int] = {}
    for part in columns.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value or key not in ("energy", "signal", "mu", "i0", "itrans"):
            raise InputError(f"--columns must be a list such as energy=1,signal=2,i0=3 (or mu=, or "
                             f"i0= with itrans=), received {part.strip()!r}: name each column or "
                             f"count it from 1")
        if key in found:
            raise InputError(f"--columns must give each key once, received {key} twice in "
                             f"{columns!r}: keep one")
        found[key] = _find(table, value, path)
    if len(found.keys() & {"signal", "mu", "itrans"}) != 1 or ("itrans" in found
                                                              and "i0" not in found):
        raise InputError(f"--columns must hold one of signal (with or without i0), mu, or i0 with "
                         f"itrans, received {columns!r}: write for instance {SYNTAX}")
    if "mu" in found and "i0" in found:
        raise InputError(f"--columns must not divide mu by i0, received {columns!r}: write signal= "
                         f"in place of mu=")
    energy = found["energy"] if "energy" in found else _energy(table, path)
    if len({energy, *found.values()}) < len({"energy", *found}):
        raise InputError(f"--columns must name different columns, received {columns!r}: "
                         f"{path} has {table.listing()}")
    return Choice(energy, found.get("signal", found.get("mu")), found.get("i0"),
                  found.get("itrans"), "mu" in found, "as --columns says")


def _find(table: Table, value: str, path: str) -> int:
    n_columns = table.data.shape[1]
    if value.lstrip("+-").isdigit():
        if 1 <= int(value) <= n_columns:
            return int(value) - 1
        raise InputError(f"a column must be between 1 and {n_columns}, received {value}: "
                         f"{path} has {table.listing()}")
    wanted = value.lower()
    full = [i for i, name in enumerate(table.names) if name.lower() == wanted]
    short = [i for i, name in enumerate(table.names) if split_unit(name)[0].lower() == wanted]
    matches = full or short
    if len(matches) == 1:
        return matches[0]
    what = "a name that occurs once" if matches else "in the file"
    raise InputError(f"a column must be {what}, received {value!r}: {path} has {table.listing()}; "
                     f"choose by name or number")


def _by_name(table: Table, path: str) -> Choice:
    energy = _energy(table, path)
    roles = {i: role_of(name) if name or any(table.names) else UNKNOWN
             for i, name in enumerate(table.names) if i != energy}
    i0 = _i0(table, roles, path)
    candidates = {i: role for i, role in roles.items() if role.kind == "signal"}
    if i0 is not None:
        candidates |= {i: Role("itrans", "transmission", False, 1)
                       for i, role in roles.items() if role.kind == "itrans"}
    if not candidates:
        candidates = {i: Role("signal", "signal") for i, role in roles.items()
                      if role.kind == "unknown"}
    if not candidates:
        raise InputError(f"a column must be recognised as the signal, received {table.listing()} "
                         f"in {path}: choose with --columns, such as {SYNTAX}")
    best, reason = _best(candidates, table)
    choices = [_with_i0(energy, i, candidates[i], i0, any(table.names), reason) for i in best]
    if len(choices) > 1:
        raise InputError(f"the signal must be one column, received {len(best)} that could be it "
                         f"({', '.join(table.label(i) for i in best)}) in {path} with columns "
                         f"{table.listing()}: choose with --columns {choices[0].flag} or "
                         f"--columns {choices[1].flag}")
    return choices[0]


def _with_i0(energy: int, signal: int, role: Role, i0: int | None, named: bool,
             reason: str) -> Choice:
    """The choice of a signal with what it is to be divided by."""
    if role.kind == "itrans":
        return Choice(energy, i0=i0, itrans=signal, reason=reason)
    if named and not role.ready and i0 is None and role.channel != "signal":
        reason = (reason + "; " if reason else "") + "not divided by an I0, which the file lacks"
    return Choice(energy, signal, None if role.ready else i0, ready=role.ready, reason=reason)


def _energy(table: Table, path: str) -> int:
    """The column named for an energy; the first if none is."""
    ranks = {i: role.rank for i, name in enumerate(table.names) if name
             and (role := role_of(name)).kind == "energy"}
    if not ranks:
        return 0
    best = [i for i, rank in ranks.items() if rank == min(ranks.values())]
    if len(best) > 1:
        raise InputError(f"the energy must be one column, received {len(best)} that could be it "
                         f"({', '.join(table.label(i) for i in best)}) in {path} with columns "
                         f"{table.listing()}: choose with {SYNTAX}")
    return best[0]


def _i0(table: Table, roles: Mapping[int, Role], path: str) -> int | None:
    """The incident intensity; a column called I0 goes before a mesh or a monitor."""
    found = [i for i, role in roles.items() if role.kind == "i0"]
    exact = [i for i in found if split_unit(table.names[i])[0].lower() == "i0"]
    if len(exact or found) > 1:
        raise InputError(f"I0 must be one column, received "
                         f"{', '.join(table.label(i) for i in exact or found)} in {path} with "
                         f"columns {table.listing()}: choose with {SYNTAX}")
    chosen = exact or found
    return chosen[0] if chosen else None


def _best(candidates: Mapping[int, Role], table: Table) -> tuple[list[int], str]:
    """Candidates that no other is better than, and why the others were left."""
    ready = {i: role for i, role in candidates.items() if role.channel == "absorption"}
    if ready:
        return _lowest(ready), ""
    channels = {role.channel for role in candidates.values()}
    if len(channels) == 1:
        return _lowest(candidates), ""
    said = channels & channels_in(table.prose)
    if len(said) == 1:
        (channel,) = said
        inside = {i: role for i, role in candidates.items() if role.channel == channel}
        others = ", ".join(table.label(i) for i in candidates if i not in inside)
        return _lowest(inside), f"{channel}, as the header says; {others} left aside"
    return list(candidates), ""


def _lowest(candidates: Mapping[int, Role]) -> list[int]:
    rank = min(role.rank for role in candidates.values())
    return [i for i, role in candidates.items() if role.rank == rank]
