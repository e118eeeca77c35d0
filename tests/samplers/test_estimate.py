"""The estimate adds up, refuses a small disk before work starts, and warns of little memory."""

import shutil
import time
from collections import namedtuple

import psutil
import pytest

from diffxas.errors import InputError
from diffxas.tiled import KEPT_ATOMS
from samplers.estimate import (
    SAMPLING_BYTES,
    Stage,
    announce,
    estimate,
    seconds_per_atom_call,
    text,
)

Usage = namedtuple("Usage", "total used free")
Memory = namedtuple("Memory", "available")


def seconds(stages, name):
    return next(stage.seconds for stage in stages if stage.name == name)


def test_sampling_is_linear_in_atoms_calls_and_samples_and_shared_by_workers():
    one = estimate(1000, 1, 32, 1e-4)
    assert seconds(one, "sampling") == pytest.approx(3.2)
    for change in ((2000, 1, 32, 1e-4), (1000, 2, 32, 1e-4), (1000, 1, 64, 1e-4)):
        assert seconds(estimate(*change), "sampling") == pytest.approx(6.4)
    assert seconds(estimate(1000, 1, 32, 1e-4, workers=2), "sampling") == pytest.approx(1.6)
    assert seconds(estimate(1000, 1, 32, 1e-4, guided=True), "sampling") > 3.2


def test_memory_grows_by_positions_and_one_tile_only():
    held, small, large = (estimate(n, 1, 32, 1e-4, relax=False)[0].peak_bytes
                          for n in (KEPT_ATOMS, KEPT_ATOMS + 1, 1_000_000))
    assert large - small == pytest.approx((999_999 - KEPT_ATOMS) * SAMPLING_BYTES)
    assert 0 < held - small < 0.4e9  # up to there the radial part is held: a constant


def test_relaxing_on_two_ranks_is_twice_as_fast_and_left_out_on_demand():
    one, two = (estimate(100_000, 1, 32, 1e-4, ranks=n) for n in (1, 2))
    assert seconds(one, "relaxation") == pytest.approx(2 * seconds(two, "relaxation"))
    assert [s.name for s in estimate(100, 1, 32, 1e-4, relax=False)] == [
        "sampling", "analysis", "writing and report"]


@pytest.mark.parametrize(("atoms", "measured"), [(100_000, 54), (1_000_000, 281)])
def test_what_follows_sampling_is_within_twice_of_what_was_measured(atoms, measured):
    after = sum(s.seconds for s in estimate(atoms, 1, 32, 1e-4, relax=False)[1:])
    assert measured / 2 < after < 2 * measured


def test_the_calibration_takes_the_call_that_is_warm():
    waits = iter([0.2, 0.02])
    assert 0.02 / 10 <= seconds_per_atom_call(lambda: time.sleep(next(waits)), 10) < 0.1 / 10


def test_the_table_has_a_row_a_stage_and_the_whole():
    rows = text([Stage("a", 50, 1e9, 2e6), Stage("b", 7200, 5e8, 3e9)]).splitlines()
    assert [row.split()[0] for row in rows] == ["stage", "a", "b", "in"]
    assert rows[-1].split()[2:] == ["2.0", "h", "1.0", "GB", "3.0", "GB"]


def test_a_disk_that_is_too_small_is_refused_with_the_numbers(tmp_path, monkeypatch):
    stages, told = [Stage("a", 1, 1e6, 3e9)], []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 3_100_000_000))
    announce(tmp_path / "deep" / "run", stages, told.append)
    assert len(told) == 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1_000_000_000))
    with pytest.raises(InputError, match=r"3\.0 GB free .* received 1\.0 GB .*: free 2\.0 GB"):
        announce(tmp_path / "deep" / "run", stages, told.append)
    assert not (tmp_path / "deep").exists()


def test_too_little_memory_is_a_warning(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(2_000_000_000))
    announce(tmp_path, [Stage("a", 1, 1e9, 0), Stage("b", 1, 3e9, 0)], told.append)
    assert told[1].startswith("Warning: b will need about 3.0 GB of memory, 2.0 GB are free")
