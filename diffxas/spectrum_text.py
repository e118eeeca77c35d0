"""Columns of numbers in text: separators, decimals, comments and names found by looking.

Separators are semicolons, tabs, commas or blanks; decimals are points, or commas where the
separator is not a comma. Lines that begin with ``#``, ``%``, ``!``, ``;`` or ``//`` are comments.
Names are the last line before the numbers, comment or not, that has as many words as there are
columns. A line inside the numbers that is not numbers is an error: nothing is dropped silently.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import numpy as np

from diffxas.errors import InputError
from diffxas.spectrum_columns import Table
from diffxas.spectrum_names import UNKNOWN, role_of

COMMENTS = ("#", "%", "!", ";", "//")
_SEPARATORS = (";", "\t", ",", None)  # None: blanks
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eEdD][+-]?\d+)?")
_INFINITE = {"inf", "+inf", "-inf"}
_MISSING = {"", "nan", "+nan", "-nan", "na", "n/a", "null", "none"}


def lines_of(text: str) -> list[str]:
    """Lines of a text with any of the three line ends."""
    return re.split(r"\r\n|\r|\n", text)


def number(field: str) -> float | None:
    """A number with a decimal point or comma; NaN for a missing one; None if it is neither."""
    field = field.strip()
    if _NUMBER.fullmatch(field):
        return float(field.replace(",", ".").lower().replace("d", "e"))
    if field.lower() in _INFINITE:
        return float(field)
    return float("nan") if field.lower() in _MISSING else None


def parse_table(text: str, path: str) -> Table:
    """Columns of a text file.

    Raises
    ------
    InputError
        If there are no numbers, one column only, or a broken line among the numbers.
    """
    lines = lines_of(text)
    start, separator = _find_numbers(lines, path)
    rows: list[list[float]] = []
    for i, fields in _data_lines(lines, start, separator):
        values = [number(field) for field in fields]
        if None in values or (rows and len(values) != len(rows[0])):
            raise InputError(f"line {i + 1} of {path} must hold {len(rows[0])} numbers, received "
                             f"{lines[i].strip()[:60]!r}: correct it, remove it, or make it a "
                             f"comment with # (thousands separators are not read)")
        rows.append([v for v in values if v is not None])
    data = np.array(rows, dtype=np.float64)
    trailing = separator is not None and data.shape[1] > 2 and np.isnan(data[:, -1]).all() and all(
        not fields[-1].strip() for _, fields in _data_lines(lines, start, separator))
    if trailing:  # every line ends in a separator
        data = data[:, :-1]
    names, used = _names(lines[:start], data.shape[1], separator)
    prose = " ".join(_bare(line) for i, line in enumerate(lines[:start]) if i != used)
    return Table(data, names, " ".join(prose.split()))


def _split(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    return next(csv.reader([line.strip(" ")], delimiter=separator, skipinitialspace=True), [])


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(COMMENTS)


def _bare(line: str) -> str:
    """A header line without its comment marks."""
    return re.sub(r"^\s*(#L\s|//+|[#%!;]+)?", "", line).strip()


def _data_lines(lines: list[str], start: int, separator: str | None,
                ) -> Iterator[tuple[int, list[str]]]:
    for i in range(start, len(lines)):
        if lines[i].strip() and not _is_comment(lines[i]):
            yield i, _split(lines[i], separator)


def _find_numbers(lines: list[str], path: str) -> tuple[int, str | None]:
    """First line of the numbers and their separator.

    The first line whose fields are numbers under some separator, and whose next line agrees: a
    lone number of points in a header is not taken for data.
    """
    content = [i for i, line in enumerate(lines) if line.strip() and not _is_comment(line)]
    single = False
    for here, after in zip(content, [*content[1:], None], strict=False):
        for separator in _SEPARATORS:
            count = _count_numbers(lines[here], separator)
            single = single or count == 1
            if count < 2:
                continue
            if after is None or _count_numbers(lines[after], separator) == count:
                return here, separator
    if single:
        raise InputError(f"a spectrum must have two columns or more, received one in {path}: "
                         f"give energies and absorption side by side, separated by commas, "
                         f"semicolons, tabs or blanks")
    raise InputError(f"a spectrum must hold two or more columns of numbers, received none in "
                     f"{path}: give text columns, XDI, Athena .prj or EMSA .msa")


def _count_numbers(line: str, separator: str | None) -> int:
    """Number of fields if all are numbers and the first is not missing, otherwise 0."""
    fields = _split(line, separator)
    values = [number(field) for field in fields]
    if not values or None in values or not _NUMBER.fullmatch(fields[0].strip()):
        return 0
    if separator is None and len(fields) == 1 and "," in fields[0]:
        return 0
    return len(values)


def _names(header: list[str], n_columns: int, separator: str | None,
           ) -> tuple[tuple[str, ...], int | None]:
    """Names of the columns and the index of their line.

    Of the last three lines with the right number of words the one with the most words that are
    known goes first (a line of units may stand below the names).
    """
    best: tuple[int, tuple[str, ...], int] | None = None
    lines = [i for i, line in enumerate(header) if re.search(r"[A-Za-z]", line)]
    for i in reversed(lines[-3:]):
        for fields, sure in _name_splits(_bare(header[i]), separator):
            if len(fields) != n_columns or any(number(f) is not None for f in fields if f):
                continue
            known = sum(role_of(field) is not UNKNOWN for field in fields if field)
            sure = (sure or not _is_comment(header[i])) and i == lines[-1]
            if (known or sure) and (best is None or known > best[0]):
                best = (known, tuple(fields), i)
    return (best[1], best[2]) if best else (("",) * n_columns, None)


def _name_splits(line: str, separator: str | None) -> Iterator[tuple[list[str], bool]]:
    """Ways to cut a line of names, each with whether the cut is that of the numbers."""
    if separator is not None:
        yield [f.strip() for f in _split(line, separator)], True
        yield [f.strip() for f in _split(line.rstrip(separator + " "), separator)], True
    for other in (";", "\t", ","):
        if other in line and other != separator:
            yield [f.strip() for f in _split(line, other)], False
    glued = re.sub(r"\s+([(\[][^)\]]*[)\]])", r"\1", line)  # "Energy (eV)" is one name
    yield [f for f in re.split(r"\s{2,}|\t", line) if f], False
    yield [f for f in glued.split() if re.search(r"\w", f)], False
