"""A disk that fills up costs the file at hand, says so, and leaves what was there before."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from diffxas.errors import DiskFull, InputError
from diffxas.files import check_writable, replacing, write_json, write_text


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Disk quota exceeded"),
    Exception("Error while serializing: I/O error: No space left on device (os error 28)")])
def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path, error):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(DiskFull, match=r"full: free 300 MB or more and repeat") as refusal, \
            replacing(tmp_path / "a.txt") as temporary:
        temporary.write_bytes(b"half")
        os.truncate(temporary, 150_000_000)  # a file with a hole: nothing is written
        raise error
    assert str(tmp_path) in str(refusal.value) and "\n" not in str(refusal.value)
    assert left(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' /dev/full")
@pytest.mark.parametrize("write", [
    lambda file: np.savez(file, x=np.zeros(100_000)),
    lambda file: file.write(b"x" * 100_000)], ids=["npz", "bytes"])
def test_what_libraries_raise_on_a_full_device_is_understood(tmp_path, write):
    """Writes to /dev/full fail as on a full disk."""
    with pytest.raises(DiskFull), replacing(tmp_path / "out"), open("/dev/full", "wb") as full:
        write(full)  # into a handle: a library that replaces its target would replace the device
    assert left(tmp_path) == []


def test_a_folder_that_has_no_room_for_a_name_is_full_too(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    with pytest.raises(DiskFull):
        write_json(tmp_path / "a.json", {})
    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    with pytest.raises(DiskFull):
        check_writable(tmp_path / "a.json")


def test_other_failures_are_what_they_were(tmp_path):
    with pytest.raises(OSError, match="I/O error") as failure, replacing(tmp_path / "a"):
        raise OSError(errno.EIO, "I/O error")
    assert not isinstance(failure.value, DiskFull)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another --out"):
        write_text(tmp_path / "file" / "a.txt", "")
