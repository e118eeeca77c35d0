"""The folder of a run: what it is of, what is finished, and how it resumes.

``run.json`` is written first and says everything that changes results; the number of workers and
the device do not. Every finished sample is kept under ``.work`` until the run is complete, so that
an interrupted run loses the sample that it was at and nothing else.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.errors import InputError
from diffxas.files import replacing, write_json

RUN, SUMMARY, WORK = "run.json", "summary.json", ".work"


@dataclass(frozen=True, eq=False)
class Record:
    """A finished sample: named arrays and plain numbers."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


class RunFolder:
    """One run in one folder.

    Parameters
    ----------
    path : the folder
    identity : everything that changes results; plain JSON

    Raises
    ------
    InputError
        If the folder holds another run, or files and no ``run.json``.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = json.loads(json.dumps(identity))
        if path.exists() and not path.is_dir():
            raise InputError(f"--out must be a folder, received the file {path}: choose another")
        known = self._known()
        if known is None:
            if path.is_dir() and any(path.iterdir()):
                raise InputError(f"--out must be empty or hold this same run, received {path} with "
                                 f"files but no {RUN}: choose another --out")
        elif known != self.identity:
            keys = sorted({k for k, _ in _entries(known) ^ _entries(self.identity)})
            raise InputError(f"--out must be empty or hold this same run, received {path} whose "
                             f"run differs in {', '.join(keys)}: choose another --out")

    def _known(self) -> dict[str, Any] | None:
        file = self.path / RUN
        if not file.is_file():
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))["identity"]
            return dict(content.items())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{file} must be the record of a run, received something else: "
                             f"choose another --out") from error

    @property
    def finished(self) -> bool:
        """Whether the run is complete; its summary is written last."""
        return self._known() is not None and (self.path / SUMMARY).is_file()

    def begin(self, **facts: Any) -> None:
        """Write ``run.json`` if it is not there; ``facts`` stand beside the identity."""
        if self._known() is None:
            write_json(self.path / RUN, {"identity": self.identity, **facts})

    def load(self, name: str) -> Record | None:
        """The record of a finished sample, or None."""
        file = self.path / WORK / f"{name}.npz"
        if not file.is_file():
            return None
        with np.load(file, allow_pickle=False) as content:
            arrays = {k: content[k] for k in content.files if k != "values"}
            return Record(arrays, json.loads(str(content["values"])))

    def save(self, name: str, record: Record) -> None:
        """Keep a finished sample; atomic."""
        with replacing(self.path / WORK / f"{name}.npz") as temporary:
            np.savez(temporary, values=np.array(json.dumps(record.values)), **record.arrays)  # type: ignore[arg-type]

    def remove(self, name: str) -> None:
        """Forget a record, if it is there."""
        (self.path / WORK / f"{name}.npz").unlink(missing_ok=True)

    def finish(self) -> None:
        """Remove what only resuming needed."""
        shutil.rmtree(self.path / WORK, ignore_errors=True)


def _entries(identity: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Keys with their values, such that an entry that is missing differs from one that is null."""
    return {(key, json.dumps(value, sort_keys=True)) for key, value in identity.items()}
