"""An interrupted run keeps what it had, and the same call ends where an uninterrupted one does."""

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from small_runs import OPTIONS, SMALL, cell_spectrum, content

import samplers.sampling
from samplers import drawing, generation
from samplers.generation import generate_to


def interrupt_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Ctrl-C in the middle of a walk."""
    step, count = samplers.sampling.contract, [0]

    def interrupted(*arguments):
        count[0] += 1
        if count[0] > calls:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(samplers.sampling, "contract", interrupted)


@pytest.fixture(autouse=True)
def shared(one_prior: None) -> None:
    """One network for all runs."""


UNGUIDED, STEPS = generation.UNGUIDED_SAMPLES, SMALL["steps"]


def arrays_of(path: Path) -> list[np.ndarray]:
    return [atoms.positions for atoms in ase.io.read(path, ":")]


@pytest.mark.usefixtures("unreported")
def test_ctrl_c_leaves_the_finished_samples_valid_and_the_same_call_resumes(
        finished, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, (UNGUIDED + 1) * STEPS + STEPS // 2)  # half of sample 1
        with pytest.raises(KeyboardInterrupt):
            generate_to(cell_spectrum(), out, OPTIONS, progress=False)
    assert not (out / "summary.json").exists() and (out / "run.json").exists()
    for name in ("structures", "relaxed"):
        (first,) = ase.io.read(out / f"{name}.extxyz", ":")
        np.testing.assert_array_equal(first.positions, arrays_of(finished / f"{name}.extxyz")[0])
    assert len(ase.io.read(out / "relaxed.extxyz").get_forces()) == 64
    assert not any(name.startswith((".", "figures")) and "/" not in name for name in content(out))

    drawn = []
    draw = drawing._draw
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "_draw", lambda setup, folder, one, advance: (
            drawn.append(one.number), draw(setup, folder, one, advance))[1])
        assert generate_to(cell_spectrum(), out, OPTIONS, progress=False) in (0, 3)
    assert drawn == [1]  # what was finished is not drawn again
    for name in ("structures", "relaxed"):
        for resumed, whole in zip(arrays_of(out / f"{name}.extxyz"),
                                  arrays_of(finished / f"{name}.extxyz"), strict=True):
            np.testing.assert_array_equal(resumed, whole)
    assert not (out / ".work").exists()
    one, other = (json.loads((f / "summary.json").read_text()) for f in (out, finished))
    for sample, whole in zip(one["samples"], other["samples"], strict=True):
        assert sample["residual_sampled"] == whole["residual_sampled"]
        assert sample["residual_relaxed"] == whole["residual_relaxed"]
    assert one["sigma_on"] == other["sigma_on"]


@pytest.mark.usefixtures("unreported")
def test_a_walk_goes_on_from_its_last_step(tmp_path, monkeypatch, finished):
    out = tmp_path / "run"
    monkeypatch.setattr(drawing, "KEPT_EVERY", 0.0)
    half = STEPS // 2
    with monkeypatch.context() as patch:
        interrupt_after(patch, UNGUIDED * STEPS + half)  # half of sample 0
        with pytest.raises(KeyboardInterrupt):
            generate_to(cell_spectrum(), out, OPTIONS, progress=False)
    assert (out / ".work" / "sample_0.walk.npz").is_file()
    steps = []
    step = samplers.sampling.contract
    with monkeypatch.context() as patch:
        patch.setattr(samplers.sampling, "contract", lambda *a: (steps.append(1), step(*a))[1])
        generate_to(cell_spectrum(), out, OPTIONS, progress=False)
    # The step that was interrupted was not kept.
    assert len(steps) == STEPS - half + (OPTIONS.samples - 1) * STEPS
    for name in ("structures", "relaxed"):
        for resumed, whole in zip(arrays_of(out / f"{name}.extxyz"),
                                  arrays_of(finished / f"{name}.extxyz"), strict=True):
            np.testing.assert_array_equal(resumed, whole)
    one, other = (json.loads((f / "summary.json").read_text()) for f in (out, finished))
    assert one["nuisance"] == other["nuisance"]


@pytest.mark.usefixtures("unreported")
def test_ctrl_c_before_the_first_sample_leaves_a_run_that_resumes(tmp_path, monkeypatch, finished):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, STEPS + 1)  # in the second unguided sample
        with pytest.raises(KeyboardInterrupt):
            generate_to(cell_spectrum(), out, OPTIONS, progress=False)
    assert not (out / "structures.extxyz").exists()
    generate_to(cell_spectrum(), out, OPTIONS, progress=False)
    for resumed, whole in zip(arrays_of(out / "structures.extxyz"),
                              arrays_of(finished / "structures.extxyz"), strict=True):
        np.testing.assert_array_equal(resumed, whole)


def test_ctrl_c_while_the_report_is_written_loses_no_sample(tmp_path, monkeypatch, finished):
    import diffxas.report

    def interrupted(*_):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(diffxas.report, "write_report", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate_to(cell_spectrum(), out, OPTIONS, progress=False)
    assert not (out / "summary.json").exists()  # so it does not pass for finished
    with monkeypatch.context() as patch:
        patch.setattr(samplers.sampling, "contract", interrupted)  # nothing is drawn again
        generate_to(cell_spectrum(), out, OPTIONS, progress=False)
    assert set(content(out)) == {n for n in content(finished)
                                 if not n.endswith((".data", ".vasp", ".cif"))}
