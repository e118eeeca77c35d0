"""One run of ``diffxas generate`` that several tests look at; they do not change it."""

from functools import cache
from pathlib import Path

import pytest
from command_runner import run
from small_runs import SMALL, cell_spectrum, require_weights, write_target


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a guided run of two relaxed samples, by the command line."""
    require_weights()
    folder = tmp_path_factory.mktemp("finished")
    target = write_target(folder / "target.csv", cell_spectrum())
    options = [word for key, value in SMALL.items() for word in (f"--{key}", value)]
    result = run("generate", target, *options, "--format", "data,vasp,cif",
                 "--out", folder / "run")
    assert result.exit_code in (0, 3), result.output
    return folder / "run"


@pytest.fixture(scope="session")
def load_prior_once():
    """``load_prior`` that builds each network once, which takes seconds."""
    from diffxas.prior import load_prior

    return cache(load_prior)


@pytest.fixture
def one_prior(monkeypatch: pytest.MonkeyPatch, load_prior_once) -> None:
    """Runs share one network; sampling does not change it."""
    import diffxas.prior

    monkeypatch.setattr(diffxas.prior, "load_prior", load_prior_once)


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no figures and write no report, which take most of the time of a small run."""
    import diffxas.plots
    import diffxas.report

    monkeypatch.setattr(diffxas.report, "write_report", lambda *_: None)
    monkeypatch.setattr(diffxas.plots, "save_figure", lambda *_: None)
