"""``diffxas evaluate surrogate``: numbers by hand, parts that do not mix, grids, refusals."""

import csv
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from command_runner import refused, run
from surrogate_fakes import GRID
from synthetic_materials import materials
from synthetic_sites import FEFF_GRID, N_ATOMS, cell, spectra_of, write_files
from test_material_sites import toml

import surrogates.evaluation_report
from diffxas.errors import InputError
from diffxas.weights import read_config
from surrogates.evaluation import NINETY
from surrogates.evaluation_data import common_grid, density_bins, group_names, resampled
from surrogates.loading import load_surrogate
from surrogates.metrics import eta, mse
from surrogates.training import train_surrogate

KERNEL = """
family = "kernel"
left_out_networks = true
[model]
sites_per_network = 20
ridge_target = 0.01
[model.descriptor]
shells = [[1.2, 3.4, 0.4]]
near_cutoff = 3.0
n_near = 3
n_far = 3
l_max = 2
"""

EQUIVARIANT = """
max_sites = 6
[model]
n_members = 1
n_layers = 1
n_scalars = 8
n_vectors = 4
n_tensors = 4
n_products = 4
hidden = 8
n_basis = 6
n_latent = 6
cutoff = 3.0
degree = 12.0
[schedule]
steps = 2
warmup = 1
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A kernel surrogate of two cells, and data: one of them, a relative of it, two unseen ones."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "train").mkdir()
    (folder / "config.toml").write_text(KERNEL)
    model = train_surrogate(write_files(folder / "train"), folder / "model", folder / "config.toml")
    data = folder / "data"
    data.mkdir()
    # c0 is named as in training; c30 descends from p1; n40 and n41 are new.
    cells = [cell(0, 0.1, name="c0", parent="p0"), cell(30, 0.13, name="c30", parent="p1"),
             cell(40, 0.1, name="n40"), cell(41, 0.13, name="n41")]
    write_set(data, cells)
    return model, data


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time; one test draws them."""
    monkeypatch.setattr(surrogates.evaluation_report, "figures_of", lambda found: [])


def write_set(folder: Path, cells, energy: np.ndarray | None = None) -> None:
    mu = np.array([spectra_of(s) for s in cells])
    ase.io.write(folder / "cells.extxyz", [s.to_atoms() for s in cells])
    columns = {} if energy is None else {"energy": energy}
    if energy is not None:
        mu = resampled(GRID, mu, np.clip(energy, GRID[0], GRID[-1]))
    np.savez(folder / "cells.npz", name=np.array([s.info["name"] for s in cells]), mu=mu, **columns)


def evaluated(*words: object, out: Path) -> tuple[dict, str]:
    result = run("evaluate", "surrogate", *words, "--out", out)
    assert result.exit_code == 0, result.output
    return json.loads((out / "evaluation.json").read_text()), result.stdout


def row_of(content: dict, part: str, group: str = "all") -> dict:
    (row,) = [r for r in content["rows"] if (r["part"], r["group"]) == (part, group)]
    return row


def test_numbers_are_those_of_predictions_by_hand_and_parts_do_not_mix(trained, no_figures,
                                                                        tmp_path):
    model, data = trained
    content, text = evaluated(model, data, out=tmp_path / "e")
    surrogate = load_surrogate(model)
    structures = [cell(40, 0.1), cell(41, 0.13)]
    true = np.concatenate([np.float32(spectra_of(s)) for s in structures]).astype(float)
    mean, deviation = (np.concatenate(x) for x in zip(*map(
        surrogate.predict_sites_with_uncertainty, structures), strict=True))
    seen = np.concatenate([spectra_of(cell(k, 0.1 + 0.03 * k)) for k in range(2)])
    np.testing.assert_allclose(surrogate.training_mean(), seen.mean(0), atol=0.03)  # some drawn
    row = row_of(content, "unseen")
    assert row["structures"] == row["networks"] == 2 and row["sites"] == 2 * N_ATOMS
    assert row["mse"] == pytest.approx(mse(mean, true).mean(), rel=1e-5)
    assert row["eta"] == pytest.approx(eta(mean, true, surrogate.training_mean()), rel=1e-5)
    inside = np.abs(mean - true) <= NINETY * deviation
    assert row["coverage_90"] == pytest.approx(inside.mean(), abs=1e-3)
    halves = [np.abs((m - t).reshape(2, N_ATOMS, -1).mean(1)).mean() for m, t in [(mean, true)]]
    assert row["cell_mean_mae"] == pytest.approx(np.mean(halves), rel=1e-4)
    assert row_of(content, "seen")["sites"] == row_of(content, "related")["sites"] == N_ATOMS
    assert row_of(content, "seen")["mse"] < 0.5 * row["mse"]  # it knows that cell by heart
    assert "seen: 24 sites of DFT C:K, memory not skill" in text
    assert "related: 24 sites" in text and "mean of the training sites" in text
    floor = row_of(content, "unseen", "mean of training")
    assert floor["eta"] == 1 and floor["coverage_90"] is None and floor["mse"] > row["mse"]
    bins = [r["group"] for r in content["rows"] if r["part"] == "unseen"]
    assert len(bins) == 4 and all(name.endswith("g/cm3") for name in bins[1:3])
    assert max(map(len, text.splitlines()[:8])) <= 100


def test_files_hold_every_row_and_site_and_the_page_opens_alone(trained, tmp_path,
                                                                     monkeypatch):
    model, _ = trained
    data = tmp_path / "data"
    data.mkdir()
    write_set(data, [cell(40, 0.1, name="n40"), cell(41, 0.13, name="n41")])
    content, _ = evaluated(model, data, out=tmp_path / "e")
    with (tmp_path / "e" / "evaluation.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [float(r["mse"]) for r in rows] == pytest.approx([r["mse"] for r in content["rows"]])
    with (tmp_path / "e" / "sites.csv").open(newline="") as handle:
        sites = list(csv.DictReader(handle))
    unseen = [float(s["mse"]) for s in sites if s["part"] == "unseen"]
    assert len(sites) == 2 * N_ATOMS == len(unseen)
    assert np.mean(unseen) == pytest.approx(row_of(content, "unseen")["mse"], rel=1e-6)
    figures = {path.name for path in (tmp_path / "e" / "figures").iterdir()}
    assert figures == {"parity_DFT_C_K_unseen.png", "spectra_DFT_C_K_unseen.png"}
    page = (tmp_path / "e" / "report.html").read_text()
    assert page.count("<img") == 2 and "g/cm3" in page and "http://" not in page[:2000]
    monkeypatch.setattr(surrogates.evaluation_report, "figures_of", lambda found: [])
    evaluated(model, data, out=tmp_path / "e")  # an earlier one is replaced
    (tmp_path / "prior").mkdir()
    (tmp_path / "prior" / "evaluation.json").write_text('{"prior": "a-C"}')
    assert "another command's evaluation.json" in refused(
        "evaluate", "surrogate", model, data, "--out", tmp_path / "prior")


def test_other_grids_are_interpolated_within_and_refused_beyond(trained, no_figures, tmp_path):
    model, _ = trained
    cells = [cell(40, 0.1, name="n40"), cell(41, 0.13, name="n41")]
    write_set(tmp_path, cells)
    same, _ = evaluated(model, tmp_path / "cells.extxyz", tmp_path / "cells.npz",
                        out=tmp_path / "a")
    assert not any("interpolated" in note for note in same["notes"])
    fine = np.linspace(GRID[0], GRID[-1], 397)  # the model's points are among them
    write_set(tmp_path, cells, fine)
    other, _ = evaluated(model, tmp_path / "cells.extxyz", tmp_path / "cells.npz",
                         out=tmp_path / "b")
    assert any("DATA's spectra are interpolated" in note for note in other["notes"])
    assert row_of(other, "unseen")["mse"] == pytest.approx(row_of(same, "unseen")["mse"], rel=1e-3)
    write_set(tmp_path, cells, GRID[10:60])
    within, _ = evaluated(model, tmp_path / "cells.extxyz", tmp_path / "cells.npz",
                          out=tmp_path / "c")
    assert any("predictions are interpolated" in note for note in within["notes"])
    assert within["energies"]["DFT C:K"] == [pytest.approx(GRID[10]), pytest.approx(GRID[59]), 50]
    write_set(tmp_path, cells, np.linspace(280, 330, 90))
    line = refused("evaluate", "surrogate", model, tmp_path / "cells.extxyz",
                   tmp_path / "cells.npz", "--out", tmp_path / "d")
    assert "274.4 to 314 eV in 100 points" in line and "280 to 330 eV in 90 points" in line
    assert not (tmp_path / "d").exists()


def test_another_theory_is_refused_with_what_can_be_done(trained, no_figures, tmp_path):
    model, data = trained
    train = model.parent / "train"
    feff = [train / "networks.extxyz", train / "feff.npz"]
    out = tmp_path / "e"
    line = refused("evaluate", "surrogate", model, *feff, "--out", out)
    assert "spectra of DFT C:K" in line and "received FEFF C:K" in line
    assert "add --theory FEFF" in line
    line = refused("evaluate", "surrogate", model, *feff, "--theory", "OCEAN", "--out", out)
    assert "--theory must be DFT or FEFF" in line and "received OCEAN" in line
    line = refused("evaluate", "surrogate", model, data, "--edge", "Cu:K", "--out", out)
    assert "must be C:K" in line and "received Cu:K" in line
    assert not out.exists()
    both, text = evaluated(model, data, *feff, out=out)
    assert both["theories"] == ["DFT"] and "36 sites of FEFF C:K in DATA are not compared" in text


def test_a_model_of_two_theories_is_judged_by_the_one_that_is_named(no_figures, tmp_path):
    paths = write_files(tmp_path)
    (tmp_path / "config.toml").write_text(EQUIVARIANT)
    model = train_surrogate(paths, tmp_path / "model", tmp_path / "config.toml")
    feff = [paths[1], paths[3]]
    line = refused("evaluate", "surrogate", model, *feff, "--out", tmp_path / "e")
    assert "add --theory FEFF" in line
    content, text = evaluated(model, *feff, "--theory", "FEFF", out=tmp_path / "e")
    row = row_of(content, "seen")
    surrogate = load_surrogate(model, theory="FEFF")
    np.testing.assert_allclose(surrogate.energy, FEFF_GRID)
    true = np.concatenate([spectra_of(cell(k, 0.03 * k - 0.2), "FEFF")[::2] for k in (10, 11, 12)])
    np.testing.assert_allclose(surrogate.training_mean(), true.mean(0), atol=1e-5)
    mean = np.concatenate([surrogate.predict_sites(cell(k, 0.03 * k - 0.2))[::2]
                           for k in (10, 11, 12)])
    assert row["mse"] == pytest.approx(mse(mean, true).mean(), rel=1e-3)
    assert row["coverage_90"] is None and "states no deviation" in text  # one member, no error
    with pytest.raises(InputError, match="DFT or FEFF"):
        load_surrogate(model, theory="OCEAN")


def test_materials_are_grouped_and_the_data_s_own_split_is_told_apart(no_figures, tmp_path):
    path = materials(tmp_path)
    (tmp_path / "c.toml").write_text(toml("left_out_share = 0.2", steps=2, n_members=1))
    model = train_surrogate([path], tmp_path / "model", tmp_path / "c.toml")
    held = materials(tmp_path, 9, split=np.repeat(
        np.array([0, 0, 0, 0, 0, 0, 1, 1, -1], dtype=np.int8), 2))
    content, _ = evaluated(model, held, out=tmp_path / "e")
    unseen = row_of(content, "unseen")
    assert (unseen["theory"], unseen["edge"], unseen["sites"]) == ("FEFF", "Cu:K", 6)
    assert row_of(content, "unseen", "held out in DATA")["sites"] == 4
    assert row_of(content, "unseen", "neither in DATA")["sites"] == 2
    assert row_of(content, "seen")["sites"] == 12 and unseen["coverage_90"] is not None
    names = {name.partition(":")[2] for name in read_config(model)["training"]["structures"]}
    assert names == {f"mp-{k}" for k in range(6)}


def test_groups_are_densities_or_elements():
    assert density_bins([1.49, 2.02, 2.05, 3.0]) == [
        "1.45-1.55 g/cm3", "1.95-2.05 g/cm3", "1.95-2.05 g/cm3", "2.95-3.05 g/cm3"]
    assert len(set(density_bins(np.linspace(1.0, 3.6, 100).tolist()))) <= 8
    carbon = [cell(k) for k in range(3)]
    assert group_names(carbon)[0].endswith("g/cm3")
    numbers = [np.where(np.arange(N_ATOMS) < 3, 6, z) for z in range(7, 17)]
    several = [type(carbon[0])(carbon[0].positions, n, carbon[0].cell) for n in numbers]
    assert group_names([*several[:2], carbon[0]]) == ["C-N", "C-O", "C"]
    assert group_names([*several, carbon[0]]) == ["2 elements"] * 10 + ["1 elements"]


def test_nothing_is_extrapolated_and_interpolation_does_not_overshoot(trained):
    from surrogates.training_data import load_training_data

    items = load_training_data([trained[1]])
    assert common_grid(GRID, items, "x") is GRID
    wide = np.linspace(GRID[0] - 5, GRID[-1], 300)
    np.testing.assert_array_equal(common_grid(wide, items, "x"), GRID)
    with pytest.raises(InputError, match="nothing is extrapolated"):
        common_grid(np.linspace(GRID[0] + 5, GRID[-1] + 5, 300), items, "x")
    step = (GRID > 290).astype(float)
    fine = resampled(GRID, step, np.linspace(GRID[0], GRID[-1], 999))
    assert fine.min() >= 0 and fine.max() <= 1 and set(np.unique(step)) == {0, 1}
    assert resampled(GRID, step, GRID).tolist() == step.tolist()
