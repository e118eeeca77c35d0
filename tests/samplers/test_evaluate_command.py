"""``diffxas evaluate prior`` from files to the page: a tiny prior, copies, resuming, refusals."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import ase
import ase.build
import numpy as np
import pytest
from ase.io import read, write
from command_runner import refused, run
from silica_examples import cristobalite
from silica_prior import write_silica_prior
from small_runs import DATA, require_weights

from diffxas.prior import train_prior
from diffxas.run_folder import Record
from diffxas.structure import Structure
from diffxas.structure_files import read_structures, write_structures
from samplers import evaluation_cells, learning_curve

CONFIG = """
exclude = "{held}"
[model]
cutoff = 2.5
n_layers = 1
n_scalars = 4
n_vectors = 2
n_tensors = 2
n_products = 2
hidden = 4
n_basis = 4
[schedule]
steps = 2
warmup = 1
"""
NETWORKS = DATA / "a-C-NEP" / "networks_300K.extxyz"
OPTIONS = ("--samples", 1, "--density", 2.5, "--curve-steps", 2, "--seed", 1, "--potential", "rebo",
           "--potential", "tersoff")


def network(name: str, seed: int) -> ase.Atoms:
    """24 atoms, strongly rattled diamond of 2.3 to 2.7 g/cm3, some atoms missing."""
    rng = np.random.default_rng(seed)
    atoms = ase.build.bulk("C", "diamond", a=3.6, cubic=True) * (2, 2, 1)
    del atoms[sorted(rng.choice(len(atoms), 8, replace=False).tolist())]
    atoms.set_cell(atoms.cell * rng.uniform(0.98, 1.02), scale_atoms=True)
    atoms.rattle(0.12, seed=seed)
    atoms.info["name"] = name
    return atoms


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A prior of two steps, and its data: eight networks that it saw and three that it did not."""
    require_weights()
    folder = tmp_path_factory.mktemp("tiny")
    write(folder / "hot.extxyz", [network("q", 50)])
    write(folder / "cells.extxyz", [network(f"n{k}", k) for k in range(11)])
    (folder / "held.txt").write_text("n2 n5 n8")
    (folder / "config.toml").write_text(CONFIG.format(held=folder / "held.txt"))
    return (train_prior([folder / "cells.extxyz"], folder / "prior", folder / "config.toml"),
            folder / "cells.extxyz")


@pytest.fixture(autouse=True)
def no_reports_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of ``generate`` within write no page; the evaluation does."""
    import diffxas.report

    monkeypatch.setattr(diffxas.report, "write_report", lambda *_: None)


@pytest.fixture(autouse=True)
def small_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_curve, "MODEL", {
        "n_layers": 1, "n_scalars": 4, "n_vectors": 2, "n_tensors": 2, "n_products": 2,
        "hidden": 4, "cutoff": 2.5})


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_prior_is_judged_after_an_interruption_without_doing_anything_twice(
        tiny, tmp_path, monkeypatch, one_prior) -> None:
    import diffxas.relaxation

    prior, cells = tiny
    command = ("evaluate", "prior", prior, cells, *OPTIONS, "--quenched",
               cells.with_name("hot.extxyz"), "--out", tmp_path / "e")
    with monkeypatch.context() as patch:
        patch.setattr(learning_curve, "train_part", interrupt)
        stopped = run(*command)
    assert stopped.exit_code == 130 and "the same command resumes" in stopped.stderr
    assert not (tmp_path / "e" / "evaluation.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(diffxas.relaxation, "relax", interrupt)  # all are kept
        result = run(*command)
    assert result.exit_code == 0, result.output

    found = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert found["verdict"] in ("usable", "too few networks", "memorised")
    assert found["sentence"].startswith(found["verdict"]) and found["sentence"] in result.output
    assert found["data"] == {"structures": 11, "reference": 11, "training": 8, "held-out": 3,
                             "related": 0, "networks": 11}
    assert [row["what"] for row in found["rows"]] == [
        "samples", "held-out networks", "networks", "quenched"]
    samples, quenched = found["rows"][0], found["rows"][-1]
    assert samples["cells"] == 1 and samples["ratio"]["g(r)"] > 0
    assert 0 <= samples["known"] <= 1 and quenched["cells"] == 1
    assert set(samples["energy"]) == {"rebo", "tersoff"}
    assert samples["energy"]["rebo"] != pytest.approx(samples["energy"]["tersoff"], abs=1e-3)
    assert [one["networks"] for one in found["learning_curve"]] == [2, 4, 8]
    assert found["prior_losses"]["networks"] == 8 and found["prior_losses"]["pairs"] == 3
    with (tmp_path / "e" / "evaluation.csv").open(newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert len(lines) == 8 and float(lines[0]["known"]) == pytest.approx(samples["known"])
    page = (tmp_path / "e" / "report.html").read_text()
    assert found["verdict"] in page and page.count("<img") == 7 and "http://" not in page[:2000]
    assert len(read(tmp_path / "e" / "samples" / "2.500" / "structures.extxyz", ":")) == 1
    assert "held-out networks (floor)" in result.output and "About" in result.output

    again = run(*command)
    assert again.exit_code == 0 and "nothing to do" in again.output
    assert "differs in" in refused(*command[:-2], "--atoms", 12, *command[-2:])


@pytest.mark.parametrize(("copies", "expected"), [("training", "memorised"),
                                                  ("held-out", "usable")])
def test_copies_of_training_networks_are_memorised_and_unseen_networks_are_not(
        tmp_path, monkeypatch, one_prior, copies, expected) -> None:
    """Real networks in the place of samples: the shipped prior's own, or ones that it never saw."""
    require_weights()
    held = set((DATA / "a-C-NEP" / "heldout.txt").read_text().split())
    close = [s for s in read_structures(NETWORKS) if 2.65 <= s.density <= 2.95]
    write_structures(tmp_path / "networks_300K.extxyz", close)
    place(monkeypatch, lambda density: [s for s in sorted(
        close, key=lambda s: abs(s.density - density))
        if (s.info["name"] in held) == (copies == "held-out")][:2])
    result = run("evaluate", "prior", "a-C", tmp_path / "networks_300K.extxyz", "--samples", 2,
                 "--density", 2.8, "--curve-steps", 0, "--no-quench", "--out", tmp_path / "e")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert found["verdict"] == expected, found["sentence"]
    assert (found["rows"][0]["known"] == 1) == (copies == "training")


def place(monkeypatch: pytest.MonkeyPatch, chosen: Callable[[float], list[Structure]]) -> None:
    """These cells instead of samples; relaxing them costs nothing."""
    import samplers.evaluation
    import samplers.evaluation_report

    monkeypatch.setattr(samplers.evaluation, "draw_samples", lambda evaluation, *_: {
        density: chosen(density) for density in evaluation.generate})
    monkeypatch.setattr(samplers.evaluation, "seconds_a_sample", lambda *_: 0.0)
    for module in (evaluation_cells, samplers.evaluation_estimate):
        monkeypatch.setattr(module, "relaxed", lambda *_: Record(values={
            "energy": -7.0, "moved": 0.2, "message": "", "seconds": 0.1, "steps": 10}))
    monkeypatch.setattr(samplers.evaluation_report, "figures_of", lambda *_: [])


def test_several_elements_are_judged_pair_by_pair(tmp_path, one_prior) -> None:
    names = ["s0", "s1", "s2"]
    prior = write_silica_prior(tmp_path / "prior", training={
        "structures": names[:2], "parents": names[:2], "options": {}, "data_hash": "none"})
    write_structures(tmp_path / "silica.extxyz", [
        cristobalite(1, 0.03, seed).with_info(name=name) for seed, name in enumerate(names)])
    result = run("evaluate", "prior", prior, tmp_path / "silica.extxyz", "--samples", 1,
                 "--curve-steps", 0, "--no-quench", "--out", tmp_path / "e")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    samples, unseen, networks = found["rows"]
    assert samples["cells"] == 1 and unseen["cells"] == 1 and networks["cells"] == 3
    assert networks["shares"]["Si-O 4"] == networks["shares"]["O-Si 2"] == 1
    assert networks["coordination"] == 0 and samples["coordination"] > 10  # it is untrained
    assert networks["known"] == 1 and "Si-O 4" in result.output and "O-O 0" not in result.output
    assert found["potentials"] == ["vashishta"]
    assert found["cutoffs_from"]["Si-O"].startswith("first minimum") and found["atoms"] == 24


def test_what_cannot_be_judged_is_refused_before_anything_is_written(tiny, tmp_path) -> None:
    prior, cells = tiny
    out = tmp_path / "e"
    silicon = ase.build.bulk("Si", "diamond", a=5.4, cubic=True)
    write(tmp_path / "silicon.extxyz", [silicon, silicon])
    write(tmp_path / "one.extxyz", [network("only", 0)])
    for words, message in (
            (("nowhere", cells), "a model must be a folder"),
            ((prior, tmp_path / "absent.extxyz"), "existing files"),
            ((prior, tmp_path / "silicon.extxyz"), "elements C, received Si"),
            ((prior, tmp_path / "one.extxyz"), "at least 2 structures"),
            ((prior, cells, "--density", 1.0), "within 0.1 g/cm3"),
            ((prior, cells, "--samples", 0), "--samples must be 1 or more"),
            ((prior, cells, "--curve-steps", -1), "--curve-steps must be 0 or more"),
            ((prior, cells, "--potential", "nonsense"), "nonsense"),
            ((prior, cells, "--kind", "nonsense"), "kind must be one of"),
            ((prior, cells, "--quenched", tmp_path / "silicon.extxyz"), "--quenched must hold"),
            ((prior, cells, "--cutoff", "C-Xx=2"), "must join two elements")):
        assert message in refused("evaluate", "prior", *words, "--out", out), message
        assert not out.exists()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert "must be empty or hold this same run" in refused(
        "evaluate", "prior", prior, cells, "--out", out)
