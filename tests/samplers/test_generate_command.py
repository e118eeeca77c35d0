"""``diffxas generate``: what it refuses and passes on."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command_runner import refused, run


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
    "exclude": (["--no-guidance", "--density", 2, "--exclude", "289:286"], "received '289:286'"),
    "exclude one": (["--no-guidance", "--density", 2, "--exclude", "288"], "received '288'"),
    "exclude what": (["--no-guidance", "--density", 2, "--exclude", "286:289"], "with a TARGET"),
    "adsorbates": (["--no-guidance", "--density", 2, "--adsorbates"], "with a TARGET"),
    "reference": (["--no-guidance", "--density", 2, "--reference", "graphite:x"], "with a TARGET"),
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


def test_a_gpu_does_not_go_with_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "workers compute on CPUs" in refused(
        "generate", "--no-guidance", "--density", 2, "--device", "cuda", "--workers", 2,
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
    assert options.exclude == () and not options.adsorbates and options.reference is None
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
             "--exclude", "286.5:289", "--exclude", "295:296", "--adsorbates",
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
    assert options.exclude == ((286.5, 289.0), (295.0, 296.0)) and options.adsorbates
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
