"""A corpus: cells kept as they finish, resumed, independent of workers; failures are listed."""

import csv
import json
import shutil

import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from ase.io import read

from diffxas import quench as corpus_module
from diffxas import quench_report
from diffxas.errors import InputError, RunError
from diffxas.quench import quench_to
from diffxas.quench_plan import QuenchOptions, cell_seed, plan_quench, spread_densities
from diffxas.quench_report import coordination_text, corpus_table
from diffxas.structure_files import read_structures

FAST = {"melt": 5000.0, "melt_ps": 0.02, "rate": 100_000.0, "snapshot_ps": 0.01}


def options(**changes):
    return QuenchOptions(**{"densities": ("2:3",), "atoms": 16, "cells": 3, "seed": 5,
                            "changes": FAST, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("quench") / "run"
    return out, quench_to(out, options(), "diffxas quench ...", progress=False)


@pytest.fixture
def no_report(monkeypatch):
    """Drawing takes longer than these quenches."""
    monkeypatch.setattr(quench_report, "write_outputs", lambda *given: None)


def copy_of(out, tmp_path):
    return shutil.copytree(out, tmp_path / "copy")


@pytest.mark.parametrize(("texts", "cells", "densities"), [
    (["2.0"], 3, [2.0, 2.0, 2.0]),
    (["1.0:3.0"], 5, [1.0, 1.5, 2.0, 2.5, 3.0]),
    (["1.0:3.0"], 1, [2.0]),
    (["2.0", "3.0"], 5, [2.0, 3.0, 2.0, 3.0, 2.0]),
    (["1:2", "3.5"], 3, [1.0, 3.5, 2.0]),
])
def test_cells_are_spread_over_densities(texts, cells, densities):
    assert spread_densities(texts, cells) == densities


@pytest.mark.parametrize(("texts", "cells"), [
    (["x"], 1), (["3:2"], 1), (["2:"], 1), ([":2"], 1), (["0"], 1), (["nan"], 1), (["inf"], 1),
    ([], 1), (["1", "2"], 1), (["1"], 0)])
def test_unusable_densities_are_refused(texts, cells):
    with pytest.raises(InputError, match=r"^--(density|cells) must be"):
        spread_densities(texts, cells)


def test_cells_have_seeds_of_their_own():
    seeds = {cell_seed(seed, number) for seed in range(20) for number in range(20)}
    assert len(seeds) == 400


def test_the_files_say_what_was_made(finished):
    out, corpus = finished
    frames = read(out / "networks.extxyz", ":")
    hot = read(out / "networks_300K.extxyz", ":")
    assert [frame.info["density"] for frame in frames] == [2.0, 2.5, 3.0]
    for frame, network, snapshot in zip(frames, corpus.networks, hot, strict=True):
        assert frame.get_potential_energy() == pytest.approx(network.info["energy"])
        assert snapshot.get_potential_energy() > frame.get_potential_energy()
        assert frame.info["name"] == snapshot.info["name"]
        assert frame.info["potential"] == "rebo"
        assert frame.info["quench_rate_K_per_ps"] == 100_000
        assert {"cell_seed", "diffxas_version", "lammps_version", "melt_K"} <= set(frame.info)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["networks"] == 3 and summary["failed"] == {}
    assert summary["networks_per_core_hour"] == pytest.approx(
        3 * 3600 / sum(cell["cpu_seconds"] for cell in summary["cells"]))
    with (out / "quench.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, network in zip(rows, corpus.networks, strict=True):
        assert float(row["energy_per_atom"]) == pytest.approx(network.info["energy"] / 16)
        assert sum(float(row[f"share {n}"]) for n in range(7)) == pytest.approx(1)
    text = (out / "report.html").read_text()
    assert all(frame.info["name"] in text for frame in frames)
    assert "3 networks, " in corpus_table(corpus)


def test_the_same_command_makes_only_what_is_missing(finished, tmp_path, monkeypatch, no_report):
    out, corpus = finished
    mine = copy_of(out, tmp_path)
    (mine / "cells" / "0001.extxyz").unlink()
    made = []
    original = corpus_module.quench
    monkeypatch.setattr(corpus_module, "quench",
                        lambda *given: made.append(given[4]) or original(*given))
    again = quench_to(mine, options(), progress=False)
    assert made == [cell_seed(5, 1)]
    for one, other in zip(again.networks, corpus.networks, strict=True):
        assert np.allclose(one.positions, other.positions, atol=1e-6)


def test_workers_change_nothing(finished, tmp_path, no_report):
    _, corpus = finished
    other = quench_to(tmp_path / "two", options(workers=2), progress=False)
    assert not other.failures
    for one, two in zip(corpus.networks, other.networks, strict=True):
        assert np.array_equal(one.positions, two.positions)


@pytest.mark.parametrize("change", [
    {"seed": 6}, {"densities": ("2:3.1",)}, {"potential": "lcbop"}, {"atoms": 24},
    {"changes": {**FAST, "rate": 9e4}}])
def test_the_folder_of_another_run_is_refused(finished, change):
    out, _ = finished
    before = (out / "networks.extxyz").read_bytes()
    with pytest.raises(InputError, match="this same run"):
        quench_to(out, options(**change), progress=False)
    assert (out / "networks.extxyz").read_bytes() == before


def test_a_cell_that_fails_is_listed_and_the_others_go_on(finished, tmp_path, monkeypatch):
    original = corpus_module.quench

    def sometimes(*given):
        if given[4] == cell_seed(5, 1):
            raise RunError("melt: atoms were lost: use a smaller timestep")
        return original(*given)

    monkeypatch.setattr(corpus_module, "quench", sometimes)
    monkeypatch.setattr(quench_report, "_curve_figures", lambda corpus: [])
    out = tmp_path / "run"
    corpus = quench_to(out, options(), progress=False)
    assert list(corpus.failures) == ["C_2.50_s5_0001"]
    assert len(read_structures(out / "networks.extxyz")) == 2
    assert "atoms were lost" in json.loads((out / "summary.json").read_text())["failed"][
        "C_2.50_s5_0001"]
    assert "failed: C_2.50_s5_0001: melt: atoms were lost" in corpus_table(corpus)
    assert "atoms were lost" in (out / "report.html").read_text()
    monkeypatch.setattr(corpus_module, "quench", original)
    monkeypatch.setattr(quench_report, "write_outputs", lambda *given: None)
    assert len(quench_to(out, options(), progress=False).networks) == 3


def test_any_ase_calculator_serves(tmp_path, no_report):
    argon = LennardJones(sigma=3.4, epsilon=0.0104, rc=6.0, smooth=True)
    given = options(densities=("1.4",), composition="Ar:16", atoms=None, potential=argon, cells=1,
                    changes={"melt": 400.0, "melt_ps": 0.2, "rate": 1000.0, "timestep_fs": 4.0})
    corpus = quench_to(tmp_path / "ar", given, progress=False)
    assert corpus.plan.label == "LennardJones" and len(corpus.networks) == 1
    assert corpus.networks[0].info["energy"] < -0.5  # condensed
    with pytest.raises(InputError, match="one worker"):
        plan_quench(tmp_path, options(composition="Ar", potential=argon, workers=2))


def test_bonds_of_several_elements_are_named_by_pair():
    row = {"name": "x", "share O-O 0": 1.0, "share O-Si 1": 0.1, "share O-Si 2": 0.9,
           "share Si-O 4": 0.8, "share Si-O 3": 0.2}
    assert coordination_text(row) == "O-Si 2: 90, Si-O 4: 80"
