"""Atomic writing: a reader sees the old file or the new one, never half of one.

So a disk that fills up costs the file at hand and no earlier one, and its half is removed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.errors import DiskFull, InputError, is_full


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` with its suffix; rename it onto ``path`` at the end.

    If the block raises, ``path`` is untouched and the temporary file is removed.

    Raises
    ------
    InputError
        If the folder cannot be made or written to.
    DiskFull
        If there is no room for the file.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp" + path.suffix, dir=path.parent)
    except OSError as error:
        raise _not_writable(path, error) from error
    os.close(handle)
    umask = os.umask(0)
    os.umask(umask)
    try:
        yield Path(name)
        # mkstemp makes files private, and so do some writers (safetensors); outputs are ordinary.
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except Exception as error:
        if isinstance(error, DiskFull) or not is_full(error):
            raise
        # What fitted may be all but the last byte, or the first half.
        half = Path(name).stat().st_size if Path(name).exists() else 0
        raise DiskFull(path.parent, 2 * half) from error
    finally:
        Path(name).unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Refuse an output that could not be written, before the work that it takes; leaves nothing.

    Raises
    ------
    InputError
        If the nearest folder of ``path`` that exists cannot be written to.
    DiskFull
        If there is no room in it.
    """
    parent = Path(path).absolute().parent
    while not parent.exists():
        parent = parent.parent
    try:
        with tempfile.NamedTemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise _not_writable(Path(path), error) from error


def _not_writable(path: Path, error: OSError) -> OSError | InputError:
    if is_full(error):
        return DiskFull(path.parent)
    return InputError(f"the output must be in a folder that can be written to, received "
                      f"{path} ({error.strerror}): choose another --out")


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` atomically, in UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON atomically; numpy scalars and arrays become numbers and lists, NaN null."""
    write_text(path, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
