"""The folder of a run: whose it is, what is finished in it, and what is left alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffxas.errors import InputError
from diffxas.run_folder import RUN, SUMMARY, WORK, Record, RunFolder

IDENTITY = {"density": 2.0, "atoms": None, "cell": [9.0, 9.0, 9.0], "seed": 0}


def content(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_new_run_says_first_what_it_is(tmp_path):
    out = tmp_path / "deep" / "run"
    folder = RunFolder(out, IDENTITY)
    assert not out.exists() and not folder.finished  # nothing is written before begin
    folder.begin(command="diffxas generate")
    assert json.loads((out / RUN).read_text()) == {"identity": IDENTITY,
                                                   "command": "diffxas generate"}


def test_the_same_run_goes_on_and_keeps_its_record(tmp_path):
    RunFolder(tmp_path / "run", IDENTITY).begin(command="first")
    again = RunFolder(tmp_path / "run", dict(reversed(IDENTITY.items())))
    again.begin(command="second")
    assert json.loads((tmp_path / "run" / RUN).read_text())["command"] == "first"


def test_tuples_and_lists_are_the_same_options(tmp_path):
    RunFolder(tmp_path / "run", IDENTITY).begin()
    RunFolder(tmp_path / "run", IDENTITY | {"cell": (9.0, 9.0, 9.0)})


@pytest.mark.parametrize("change", [{"seed": 1}, {"cell": None}, {"extra": 1},
                                    {"extra": None}])
def test_another_run_is_refused_by_what_differs_and_nothing_changes(tmp_path, change):
    out = tmp_path / "run"
    RunFolder(out, IDENTITY).begin()
    before = content(out)
    with pytest.raises(InputError, match=f"differs in {next(iter(change))}: choose another --out"):
        RunFolder(out, IDENTITY | change)
    assert content(out) == before


def test_files_of_others_are_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"files but no run\.json"):
        RunFolder(tmp_path, IDENTITY)
    assert content(tmp_path) == {"thesis.tex": b"precious"}
    with pytest.raises(InputError, match="must be a folder"):
        RunFolder(tmp_path / "thesis.tex", IDENTITY)


def test_an_empty_folder_is_taken(tmp_path):
    RunFolder(tmp_path, IDENTITY).begin()
    assert (tmp_path / RUN).is_file()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "7", '{"identity": 3}', "\xff\xfe"])
def test_a_run_json_that_is_none_is_refused(tmp_path, text):
    (tmp_path / RUN).write_text(text, encoding="latin-1")
    with pytest.raises(InputError) as refusal:
        RunFolder(tmp_path, IDENTITY)
    assert "\n" not in str(refusal.value) and "choose another --out" in str(refusal.value)


def test_a_run_is_finished_when_its_summary_is_there(tmp_path):
    folder = RunFolder(tmp_path / "run", IDENTITY)
    folder.begin()
    assert not folder.finished
    (tmp_path / "run" / SUMMARY).write_text("{}")
    assert folder.finished and RunFolder(tmp_path / "run", IDENTITY).finished


def test_a_record_comes_back_bit_for_bit(tmp_path):
    folder = RunFolder(tmp_path / "run", IDENTITY)
    folder.begin()
    rng = np.random.default_rng(0)
    arrays = {"positions": rng.standard_normal((7, 3)), "trace": np.empty((0, 2))}
    values = {"seconds": 1 / 3, "relaxation": {"message": "µ", "failed": False, "energy": None}}
    assert folder.load("sample_0") is None
    folder.save("sample_0", Record(arrays, values))
    back = RunFolder(tmp_path / "run", IDENTITY).load("sample_0")
    assert back is not None and back.values == values and set(back.arrays) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
        assert back.arrays[name].dtype == array.dtype
    assert folder.load("sample_1") is None


def test_a_record_that_could_not_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run", IDENTITY)
    folder.begin()
    folder.save("sample_0", Record({"positions": np.zeros((2, 3))}, {}))
    before = content(tmp_path / "run")

    def interrupted(file, **_):
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folder.save("sample_0", Record({"positions": np.ones((2, 3))}, {}))
    assert content(tmp_path / "run") == before


def test_finishing_removes_what_only_resuming_needed(tmp_path):
    folder = RunFolder(tmp_path / "run", IDENTITY)
    folder.begin()
    folder.save("sample_0", Record({"positions": np.zeros((2, 3))}, {}))
    assert (tmp_path / "run" / WORK).is_dir()
    folder.finish()
    assert set(content(tmp_path / "run")) == {RUN}
