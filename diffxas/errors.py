"""Errors that teach: "must be X, received Y", then the remedy, in one line.

The command line turns :class:`InputError` into exit code 2, :class:`RunError` and
:class:`DiskFull` into exit code 1, all without a traceback; any other exception is a defect of ours
and shows its traceback.
"""

from __future__ import annotations

import errno
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Of system calls: no space left on the device, or of the user's share of it."""
FULL_TEXTS = ("os error 28", "No space left on device", "Disk quota exceeded")
"""The same in the words of libraries that raise errors of their own (safetensors)."""
LEAST_FREE = 100_000_000
"""What to free at least, bytes: less would be full again at once."""


class InputError(ValueError):
    """What the user gave cannot be used; nothing was computed and nothing was written."""


class RunError(RuntimeError):
    """A computation failed while it ran; what it had finished is valid and stays."""


class DiskFull(OSError):
    """A disk filled up; nothing that was finished is lost, and the file at hand was not touched.

    It is no :class:`RunError`, since nothing failed that should be noted as a result.

    Parameters
    ----------
    folder : where there was no room
    wanted : bytes that are known to be needed there
    """

    def __init__(self, folder: str | Path, wanted: int = 0) -> None:
        room = max(wanted, LEAST_FREE)
        super().__init__(f"the disk of {folder} is full: free {room / 1e6:.0f} MB or more and "
                         f"repeat the command")
        self.errno = errno.ENOSPC


def is_full(error: Exception) -> bool:
    """Whether an error says that a disk is full."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(text in str(error) for text in FULL_TEXTS)
