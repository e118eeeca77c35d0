"""Spectrum files: XDI, Athena projects, EMSA/MAS and columns of text, told apart by content.

What was read and why is kept in ``Spectrum.meta``: ``path``, ``format``, ``hash`` (sha256 of the
file), ``columns`` (a sentence), ``columns_flag`` (the same as a value of ``--columns``) and
``header``. Energies are never sorted and points never dropped: a file that needs it is refused.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from pathlib import Path

from diffxas.errors import InputError
from diffxas.spectrum import Spectrum, parse_edge
from diffxas.spectrum_columns import Table, absorption, choose
from diffxas.spectrum_formats import parse_athena, parse_emsa, parse_xdi
from diffxas.spectrum_text import parse_table

LARGEST_FILE = 100_000_000
"""Bytes; a spectrum is thousands of times smaller."""


def read_spectrum(path: str | Path, *, columns: str | None = None, edge: str | None = None,
                  ) -> Spectrum:
    """Read a spectrum.

    Parameters
    ----------
    path : XDI, Athena .prj, EMSA .msa, or text with two columns or more
    columns : ``"energy=1,signal=2,i0=3"`` (numbers from 1, or names; signal is divided by i0),
        ``"energy=1,mu=2"``, ``"energy=1,i0=2,itrans=3"`` (mu is ln(i0/itrans)), or ``"group=1"``
        for an Athena project; by the columns' names if not given
    edge : such as ``"C:K"``; overrides what the file says

    Returns
    -------
    Spectrum
        Energy in eV, mu in the file's unit.

    Raises
    ------
    InputError
        If the file is missing, no spectrum, ambiguous or broken; the message says what to do.
    """
    chosen_edge = parse_edge(edge) if edge else None
    name = str(path)
    content = _bytes_of(Path(path))
    text = _decode(content, name)
    first = text.lstrip().split("\n", 1)[0]
    if "Athena project" in first or re.search(r"^\$old_group\s*=", text, re.MULTILINE):
        table, sentence, flag = parse_athena(text, columns, name)
        energy, mu = table.data[:, 0], table.data[:, 1]
    else:
        table = _parse_columns(text, first, name)
        choice = choose(table, columns, name)
        energy, mu = absorption(table, choice, name)
        sentence, flag = choice.sentence(table), choice.flag
    element, edge_name = chosen_edge or (table.element, table.edge)
    return Spectrum(energy, mu, element, edge_name, meta={
        "path": name, "format": table.format, "hash": hashlib.sha256(content).hexdigest(),
        "columns": sentence, "columns_flag": flag, "header": dict(table.header)})


def _parse_columns(text: str, first: str, path: str) -> Table:
    if re.match(r"#\s*XDI/", first):
        return parse_xdi(text, path)
    if re.match(r"#\s*FORMAT\s*:.*EMSA", first, re.IGNORECASE):
        return parse_emsa(text, path)
    return parse_table(text, path)


def _bytes_of(path: Path) -> bytes:
    """Content of the file, unpacked if it is gzip'd as Athena projects are."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except IsADirectoryError:
        raise InputError(f"a spectrum must be a file, received the folder {path}: name a file in "
                         f"it") from None
    except FileNotFoundError:
        raise InputError(f"a spectrum must be an existing file, received {path}: check the "
                         f"path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"a spectrum must be a readable file, received {path} ({error}): check "
                         f"the path and its permissions") from None
    if len(content) > LARGEST_FILE:
        raise InputError(f"a spectrum must be under {LARGEST_FILE // 10**6} MB, received more in "
                         f"{path}: export one spectrum")
    if not content.strip():
        raise InputError(f"a spectrum must hold points, received the empty file {path}: export it "
                         f"again")
    return content


def _decode(content: bytes, path: str) -> str:
    """Text of the file: gzip unpacked, byte-order mark honoured, UTF-8 or else Latin-1."""
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise InputError(f"a gzip'd file must be complete, received a broken one in {path}: "
                             f"copy or export it again") from None
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    if re.search(r"[\x00-\x08\x0e-\x1f]", text):
        raise InputError(f"a spectrum must be text, received binary data in {path}: give text "
                         f"columns, XDI, Athena .prj or EMSA .msa")
    return text
