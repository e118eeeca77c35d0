"""``diffxas models``: the listing, one model in full, JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command_runner import refused, run

import diffxas.prior
import surrogates.loading
from diffxas.weights import CONFIG, save_model
from samplers import models_command


def test_shipped_models_are_looked_for_where_they_are_loaded_from() -> None:
    assert models_command.SHIPPED == {"prior": diffxas.prior.SHIPPED,
                                      "surrogate": surrogates.loading.SHIPPED}


CONFIGS: dict[str, dict[str, Any]] = {
    "prior": {
        "kind": "prior", "version": "0.1.0", "licence": "MIT", "elements": ["C"],
        "density_range": [1.2, 3.6], "cutoffs": {"Si-O": 2.2}, "model": {"kinds": ["any", "DFT"]},
        "training": {"data_hash": "abc", "structures": ["one", "two"], "parents": ["one"]}},
    "surrogate": {
        "kind": "surrogate", "version": "0.1.0", "licence": "CC0", "elements": ["C", "H"],
        "edge": "C:K", "energy_range": [274.4, 314.0], "axis_note": "a convention",
        "density_range": [1.5, 3.5], "model": {},
        "left_out": {"networks": {"dft_2.0": {"site_mse": 0.004, "cell_mean_mae": 0.006},
                                  "dft_3.0": {"site_mse": 0.006, "cell_mean_mae": 0.004}}},
        "training": {"data_hash": "def", "structures": ["three"], "parents": ["x", "y", "z"]}},
}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prior and a surrogate of one name."""
    for kind, config in CONFIGS.items():
        save_model(tmp_path / kind / "a-X", config, {"w": torch.zeros(1)})
    monkeypatch.setattr(models_command, "SHIPPED", {kind: tmp_path / kind for kind in CONFIGS})
    return tmp_path


def table(text: str) -> list[tuple[dict[str, str], str]]:
    """Columns of every model, and the line below."""
    lines = text.splitlines()
    names = ["name", "kind", "family", "elements", "edge", "window eV", "g/cm3", "networks"]
    starts = [lines[0].index(name) for name in names]
    ends = [*starts[1:], None]
    rows = [{name: line[a:b].strip() for name, a, b in zip(names, starts, ends, strict=True)}
            for line in lines[1::2]]
    return list(zip(rows, lines[2::2], strict=True))


def test_models_lists_what_is_shipped(shipped: Path) -> None:
    (prior, below), (surrogate, error) = table(run("models").stdout)
    assert list(prior.values()) == ["a-X", "prior", "-", "C", "-", "-", "1.20-3.60", "1"]
    assert list(surrogate.values()) == ["a-X", "surrogate", "-", "C H", "C:K", "274-314",
                                        "1.50-3.50", "3"]
    assert below == "    left-out error: not stated; licence: MIT"
    assert error == "    left-out error: site MSE 0.0050, cell MAE 0.0050; licence: CC0"


def test_the_listing_of_what_is_really_shipped_is_readable() -> None:
    text = run("models").stdout
    assert max(map(len, text.splitlines())) <= 100
    rows = {(row["name"], row["kind"]): row for row, _ in table(text)}
    copper = rows["cu-k-feff", "surrogate"]
    assert (copper["elements"], copper["edge"], copper["window eV"]) == (
        "80 elements", "Cu:K", "8983-9018")
    assert rows["sio2", "prior"]["elements"] == "O Si"


def test_several_models_and_folders_of_models_are_listed(shipped: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "mine" / "wide", {
        "kind": "surrogate", "family": "kernel", "elements": list("CHNOPS"),
        "edges": ["C:K", "N:K", "O:K"], "licence": "word " * 40,
        "training": {}, "model": {}}, {"w": torch.zeros(1)})
    rows = table(run("models", "a-X", tmp_path / "mine").stdout)
    assert [row["name"] for row, _ in rows] == ["a-X", "a-X", "wide"]
    wide, below = rows[-1]
    assert (wide["elements"], wide["edge"], wide["networks"]) == ("6 elements", "3 edges", "-")
    assert len(below) <= 100 and below.endswith(" ...")
    assert [row["name"] for row, _ in table(run("models", tmp_path / "mine").stdout)] == ["wide"]


def test_models_of_a_property_name_it_and_their_errors(tmp_path: Path) -> None:
    save_model(tmp_path / "energy", {
        "kind": "surrogate", "family": "kernel", "elements": ["C"],
        "target": {"key": "energy", "per": "atom"}, "density_range": [1.2, 3.6],
        "left_out": {"networks": 9, "labels": 27, "mae": 0.0123, "rmse": 0.02, "pearson": 0.97},
        "training": {"structures": ["n1"], "parents": ["n1"], "data_hash": "x"}, "model": {}},
        {"w": torch.zeros(1)})
    ((row, below),) = table(run("models", tmp_path).stdout)
    assert (row["kind"], row["edge"], row["networks"]) == ("property", "energy", "1")
    assert "mae 0.0123, rmse 0.0200, pearson 0.9700" in below and "27" not in below
    text = run("models", tmp_path / "energy").stdout
    assert "energy, a property" in text and "predicts: key energy, per atom" in text


def test_json_holds_everything_for_scripts(shipped: Path) -> None:
    (prior, surrogate) = json.loads(run("models", "--json").stdout)
    assert prior["kind"] == "prior" and prior["training"]["structures"] == ["one", "two"]
    assert surrogate["edges"] == ["C:K"] and surrogate["energy_range"] == [274.4, 314.0]
    assert surrogate["left_out"] == pytest.approx({"site_mse": 0.005, "cell_mean_mae": 0.005})
    assert json.loads(run("models", "a-X", "--json").stdout) == [prior, surrogate]


def test_models_tells_all_about_one(shipped: Path, tmp_path: Path) -> None:
    text = run("models", "a-X").stdout
    assert "a-X, a prior" in text and "a-X, a surrogate" in text  # both have the name
    assert "energy axis: a convention" in text and "kinds: any, DFT" in text
    assert "longest bonds: Si-O 2.2 A" in text
    assert "without dft_3.0: site_mse 0.006" in text
    assert [line for line in text.splitlines() if line in ("  one", "  two", "  three")] == [
        "  one", "  two", "  three"]
    by_path = run("models", tmp_path / "prior" / "a-X").stdout
    assert by_path.startswith("a-X, a prior") and "surrogate" not in by_path
    assert "a-X" in refused("models", "nix")
    (tmp_path / "prior" / "a-X" / CONFIG).write_text("{")
    assert "JSON" in refused("models", "a-X")


def test_without_shipped_models_the_list_says_so(tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_command, "SHIPPED", {"prior": tmp_path / "none"})
    result = run("models")
    assert result.exit_code == 0 and "no models" in result.stdout
