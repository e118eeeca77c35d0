"""``diffxas generate`` and ``diffxas models``: what they refuse, pass on and list."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command_runner import refused, run

import diffxas.prior
import surrogates.loading
from diffxas.weights import CONFIG, save_model
from samplers import commands


@pytest.fixture
def target(tmp_path: Path) -> Path:
    energy = np.arange(270.0, 320.0, 0.25)
    mu = 1 / (1 + np.exp(-2 * (energy - 285.0)))
    np.savetxt(tmp_path / "film.csv", np.column_stack([energy, mu]), delimiter=",",
               header="energy,mu", comments="")
    return tmp_path / "film.csv"


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What ``generate_to`` is called with; its exit code is ``received.code``."""
    generate = pytest.importorskip("samplers.generation", reason="needs samplers.generation")
    record = SimpleNamespace(code=0)

    def remember(target: Any, out: Path, options: Any, *, command: str, **_: Any) -> int:
        record.target, record.out, record.options, record.command = target, out, options, command
        return int(record.code)

    monkeypatch.setattr(generate, "generate_to", remember)
    return record


BAD_REQUESTS = {
    "no target": (["--density", 2], "--no-guidance"),
    "nothing about the size": (["--no-guidance"], "--density or --cell"),
    "density 0": (["--no-guidance", "--density", 0], "received 0"),
    "density below 0": (["--no-guidance", "--density", -2], "received -2"),
    "emptier than foam": (["--no-guidance", "--density", 1e-9], "received 1e-09"),
    "density NaN": (["--no-guidance", "--density", "nan"], "received nan"),
    "denser than carbon": (["--no-guidance", "--density", 4.2], "at most 4 g/cm3 for carbon"),
    "denser than osmium": (["--no-guidance", "--density", 40, "--prior", "x"], "at most 25 g/cm3"),
    "no atoms": (["--no-guidance", "--density", 2, "--atoms", 0], "received 0"),
    "absurd atoms": (["--no-guidance", "--density", 2, "--atoms", 10**12], "received 10000000000"),
    "flat cell": (["--no-guidance", "--density", 2, "--cell", 10, 10, 0], "received 10 10 0"),
    "no samples": (["--no-guidance", "--density", 2, "--samples", 0], "received 0"),
    "no steps": (["--no-guidance", "--density", 2, "--steps", 0], "received 0: 64 is the default"),
    "one step": (["--no-guidance", "--density", 2, "--steps", 1], "received 1"),
    "seed": (["--no-guidance", "--density", 2, "--seed", -1], "received -1"),
    "restraint": (["--no-guidance", "--density", 2, "--relax-restraint", -1], "received -1"),
    "window": (["--no-guidance", "--density", 2, "--window", 300, 282], "received 300 282"),
    "format": (["--no-guidance", "--density", 2, "--format", "data,pdb"], "received pdb"),
    "edge": (["--no-guidance", "--density", 2, "--edge", "CK"], "received 'CK'"),
    "columns": (["--no-guidance", "--density", 2, "--columns", "mu=2"], "received 'mu=2'"),
    "composition": (["--no-guidance", "--density", 2, "--composition", "Si-O2"], "'Si-O2'"),
    "no element": (["--no-guidance", "--density", 2, "--composition", "Xy2"], "'Xy'"),
    "words": (["--no-guidance", "--density", "two"], "'two'"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_requests_are_refused_before_anything_is_written(case: str, tmp_path: Path) -> None:
    words, told = BAD_REQUESTS[case]
    assert told in refused("generate", *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device" in refused("generate", "--no-guidance", "--density", 2, "--device", "cuda",
                                 "--out", tmp_path / "out")


def test_defaults_are_those_that_scripts_rely_on(received: SimpleNamespace, tmp_path: Path,
                                                 target: Path) -> None:
    result = run("generate", target, "--density", 2, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "C:K (assumed)" in result.stdout and "column 2" in result.stdout
    options = received.options
    assert (options.density, options.atoms, options.cell) == (2.0, None, None)
    assert (options.samples, options.seed, options.steps) == (4, 0, 64)
    assert options.guidance and options.relax and not options.cell_too
    assert (options.potential, options.relax_restraint, options.formats) == (None, None, ())
    assert options.composition is None
    assert (options.edge, options.window, options.target_kind) == (None, None, "auto")
    assert (options.device, options.prior, options.surrogate) == ("cpu", "a-C", "a-C")
    assert options.kind is None
    assert (received.target.element, received.target.edge) == ("C", "K")
    assert received.out == tmp_path / "out"


def test_every_option_reaches_the_run(received: SimpleNamespace, tmp_path: Path,
                                      target: Path) -> None:
    words = ["generate", target, "--density", 2.1, "--atoms", 64, "--cell", 8, 9, 10,
             "--samples", 2, "--seed", 7, "--steps", 20, "--no-guidance", "--no-relax",
             "--potential", "airebo", "--cell-too", "--relax-restraint", 0.5, "--edge", "C:K",
             "--window", 283, 299, "--target-kind", "measured", "--format", "data,cif",
             "--composition", "C", "--columns", "energy=1,mu=2",
             "--kind", "DFT", "--prior", "p", "--surrogate", "s",
             "--out", tmp_path / "my run"]
    assert run(*words).exit_code == 0
    options = received.options
    assert (options.density, options.atoms, options.cell) == (2.1, 64, (8.0, 9.0, 10.0))
    assert (options.samples, options.seed, options.steps) == (2, 7, 20)
    assert not options.guidance and not options.relax and options.cell_too
    assert (options.potential, options.relax_restraint) == ("airebo", 0.5)
    assert (options.edge, options.window, options.target_kind) == (
        "C:K", (283.0, 299.0), "measured")
    assert options.composition == "C"
    assert (options.formats, options.kind) == (("data", "cif"), "DFT")
    assert (options.prior, options.surrogate) == ("p", "s")
    assert shlex.split(received.command) == ["diffxas", *map(str, words)]


def test_out_of_reach_is_exit_code_3(received: SimpleNamespace, tmp_path: Path,
                                     target: Path) -> None:
    received.code = 3
    assert run("generate", target, "--density", 2, "--out", tmp_path / "out").exit_code == 3


def test_no_target_is_passed_on_as_none(received: SimpleNamespace, tmp_path: Path) -> None:
    result = run("generate", "--no-guidance", "--density", 2, "--out", tmp_path / "out")
    assert result.exit_code == 0 and received.target is None


def test_shipped_models_are_looked_for_where_they_are_loaded_from() -> None:
    assert commands.SHIPPED == {"prior": diffxas.prior.SHIPPED,
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
    monkeypatch.setattr(commands, "SHIPPED", {kind: tmp_path / kind for kind in CONFIGS})
    return tmp_path


def test_models_lists_what_is_shipped(shipped: Path) -> None:
    lines = run("models").stdout.splitlines()
    assert len(lines) == 3
    header, prior, surrogate = lines
    assert prior.split()[:4] == ["a-X", "prior", "C", "-"]
    for column, value in {"edge": "C:K", "window eV": "274.4 to 314", "g/cm3": "1.5 to 3.5",
                          "networks": "3", "licence": "CC0", "format": "1",
                          "left-out error": "site MSE 0.0050, cell MAE 0.0050"}.items():
        assert surrogate[header.index(column):].startswith(value)


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
    monkeypatch.setattr(commands, "SHIPPED", {"prior": tmp_path / "none"})
    result = run("models")
    assert result.exit_code == 0 and "no models" in result.stdout
