"""From the command line: train on a property, predict it, and what refuses such a model."""

import csv
from pathlib import Path

import numpy as np
import pytest
from command_runner import refused, run
from synthetic_properties import KERNEL, config, labelled, write_properties

from diffxas.structure import Structure
from diffxas.structure_files import write_structures
from surrogates.properties import load_property


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, two models trained by the command, and structures to predict."""
    folder = tmp_path_factory.mktemp("properties")
    data = write_properties(folder / "cells.extxyz")
    for key in ("energy", "crowd"):
        result = run("train", "surrogate", str(data), "--target", key, "--config",
                     str(config(folder, KERNEL)), "--out", str(folder / key))
        assert result.exit_code == 0, result.output
        told = {"energy": "energy (eV), the sum of contributions of the atoms (per = \"sum\")",
                "crowd": "crowd, a number of each atom (per = \"atom\")"}[key]
        assert told in result.output and "left-out networks: MAE" in result.output
        assert "16 structures of 12 networks" in result.output
    write_structures(folder / "two.extxyz", [labelled(50), labelled(51)])
    return folder


def table(path: Path) -> tuple[list[str], list[list[str]]]:
    header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    return header, rows


def predicting(folder: Path, model: str, out: Path) -> tuple[object, ...]:
    """The words of a prediction."""
    return "predict", folder / "two.extxyz", "--surrogate", folder / model, "--out", out


def test_a_row_for_each_structure(folder, tmp_path):
    result = run(*predicting(folder, "energy", tmp_path / "e.csv"))
    assert result.exit_code == 0 and "2 rows of 2 structures" in result.output
    header, rows = table(tmp_path / "e.csv")
    assert header == ["structure", "energy", "energy_uncertainty", "flag"]
    assert [row[0] for row in rows] == ["two#0", "two#1"]
    model = load_property(folder / "energy")
    for row, structure in zip(rows, (labelled(50), labelled(51)), strict=True):
        estimate = model.predict(structure)
        assert float(row[1]) == pytest.approx(estimate.value[0], rel=1e-6)
        assert float(row[2]) == pytest.approx(estimate.deviation[0], rel=1e-6)
        assert abs(float(row[1]) - structure.info["energy"]) < 4 * float(row[2])


def test_a_row_for_each_atom(folder, tmp_path):
    assert run(*predicting(folder, "crowd", tmp_path / "c.csv")).exit_code == 0
    header, rows = table(tmp_path / "c.csv")
    assert header == ["structure", "atom", "crowd", "crowd_uncertainty", "flag"]
    assert [row[:2] for row in rows] == [[f"two#{k}", str(i)] for k in range(2) for i in range(24)]
    true = np.concatenate([labelled(k).arrays["crowd"] for k in (50, 51)])
    told = np.array([float(row[2]) for row in rows])
    assert np.sqrt(np.mean((told - true) ** 2)) < 0.3 * true.std()


def test_lone_atoms_and_what_members_disagree_on_are_flagged(folder, tmp_path):
    write_structures(tmp_path / "odd.extxyz", [
        Structure(np.zeros((1, 3)), [6], 20 * np.eye(3)), labelled(50),
        Structure(np.array([[0, 0, 0], [0.7, 0, 0], [0, 9.0, 9]]), [6] * 3, 18 * np.eye(3))])
    result = run("predict", str(tmp_path / "odd.extxyz"), "--surrogate", str(folder / "crowd"),
                 "--out", str(tmp_path / "c.csv"))
    flags = {(row[0], int(row[1])): row[-1].split() for row in table(tmp_path / "c.csv")[1]}
    assert "isolated" in flags["odd#0", 0] and "isolated" in flags["odd#2", 2]
    assert "isolated" not in flags["odd#2", 0]
    assert all("isolated" not in flags["odd#1", k] for k in range(24))
    assert "flagged, not to be trusted: odd#0 0" in result.output
    model = load_property(folder / "crowd")
    wide = model.predict(labelled(50)).deviation > 2 * model.left_out_error
    assert [("uncertain" in flags["odd#1", k]) for k in range(24)] == wide.tolist()


def test_strangers_are_outside_and_unseen_cells_of_the_kind_are_not(folder, tmp_path):
    cubic = Structure(2.1 * np.stack(np.meshgrid(*3 * [range(3)]), -1).reshape(-1, 3), [6] * 27,
                      6.3 * np.eye(3))
    write_structures(tmp_path / "x.extxyz", [cubic, labelled(50), labelled(51)])
    for model in ("energy", "crowd"):
        assert run("predict", tmp_path / "x.extxyz", "--surrogate", folder / model, "--out",
                   tmp_path / f"{model}.csv").exit_code == 0
    assert ["outside" in row[-1] for row in table(tmp_path / "energy.csv")[1]] == [
        True, False, False]
    atoms = table(tmp_path / "crowd.csv")[1]
    assert all("outside" in row[-1] for row in atoms if row[0] == "x#0")
    assert np.mean(["outside" in row[-1] for row in atoms if row[0] != "x#0"]) < 0.05
    score = load_property(folder / "crowd").domain_score(cubic)
    assert score.shape == (27,) and score.min() > 1


def test_an_earlier_table_is_replaced_and_nothing_else(folder, tmp_path):
    out = tmp_path / "e.csv"
    assert run(*predicting(folder, "energy", out)).exit_code == 0
    assert run(*predicting(folder, "energy", out)).exit_code == 0
    assert "earlier prediction of crowd" in refused(*predicting(folder, "crowd", out))
    out.write_text("energy,mu\n280,1\n")
    assert "other content" in refused(*predicting(folder, "energy", out))
    assert out.read_text() == "energy,mu\n280,1\n"


@pytest.mark.parametrize("more, told", [
    (["--edge", "C:K"], "--edge must go with a surrogate of spectra"),
    (["--sites"], "which predicts energy"),
])
def test_options_of_spectra_are_refused(folder, tmp_path, more, told):
    assert told in refused(*predicting(folder, "energy", tmp_path / "e.csv"), *more)


def test_strange_atoms_are_refused_before_anything_is_written(folder, tmp_path):
    one = labelled(50)
    twice = np.concatenate([one.positions, one.positions[:1] + 0.01])
    for numbers, positions, told in (([14] * 24, one.positions, "received Si in x"),
                                     ([6] * 25, twice, "atoms 0 and 24 of x")):
        write_structures(tmp_path / "x.extxyz", Structure(positions, numbers, one.cell))
        assert told in refused("predict", tmp_path / "x.extxyz", "--surrogate", folder / "energy",
                               "--out", tmp_path / "e.csv")
    assert not (tmp_path / "e.csv").exists()


def test_a_wrong_key_names_the_frame_and_what_there_is(folder, tmp_path):
    def said(key: str) -> str:
        return refused("train", "surrogate", folder / "cells.extxyz", "--target", key, "--out",
                       tmp_path / "model")

    assert "cells.extxyz, frame 0, which has bulk, energy and per atom crowd" in said("enthalpy")
    assert "a vector turns with the structure" in said("forces")
    assert not (tmp_path / "model").exists()


def test_commands_that_want_spectra_refuse_the_model(folder, tmp_path):
    target = tmp_path / "film.csv"
    energy = np.arange(275, 320, 0.5)
    mu = 1 / (1 + np.exp(285 - energy)) + np.exp(-((energy - 286) ** 2))
    target.write_text("energy,mu\n" + "".join(f"{e},{m}\n" for e, m in zip(energy, mu,
                                                                             strict=True)))
    told = "predicts energy: use it with `diffxas predict"
    for words in (["compare", str(target), str(folder / "two.extxyz")],
                  ["generate", str(target), "--density", "2.0", "--atoms", "64"]):
        assert told in refused(*words, "--surrogate", folder / "energy", "--out", tmp_path / "out")
    assert told in refused("evaluate", "surrogate", folder / "energy", folder / "two.extxyz",
                           "--out", tmp_path / "out")


def test_models_tells_what_it_predicts_and_how_well(folder):
    told = run("models", folder / "energy").output
    assert "a property" in told and "predicts: key energy, per sum, unit eV" in told
    assert "mae" in told and "rmse" in told and "trained on 16 structures of 12 networks" in told
    assert "crowd" in run("models", folder).output
