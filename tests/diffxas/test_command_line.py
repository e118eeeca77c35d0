"""What every command does with errors and interruptions: one line and an exit code."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.build
import ase.io
import pytest
from command_runner import refused, run

import diffxas.prior
from diffxas.errors import DiskFull, InputError, RunError


@pytest.fixture
def diamond(tmp_path: Path) -> Path:
    ase.io.write(tmp_path / "diamond.vasp", ase.build.bulk("C", "diamond", a=3.57, cubic=True))
    return tmp_path / "diamond.vasp"


FAILURES = {
    "input": (InputError("a must be b,\nreceived c"), 2, "Error: a must be b, received c"),
    "run": (RunError("loss is NaN"), 1, "Error: loss is NaN"),
    "machine": (OSError(errno.EIO, "I/O error"), 1, "Error: [Errno 5] I/O error"),
    "disk": (DiskFull("/data/run", 250_000_000), 1, "Error: the disk of /data/run is full: free "
             "250 MB or more and repeat the command; it resumes"),
    "disk elsewhere": (OSError(errno.ENOSPC, "No space left", "/tmp/x"), 1, "Error: the disk of "
                       "/tmp/x is full: free 100 MB or more and repeat the command; it resumes"),
    "ctrl-c": (KeyboardInterrupt(), 130,
               "Interrupted: what is finished stays, the same command resumes"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_has_one_line_and_its_exit_code(
        failure: str, tmp_path: Path, diamond: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error, code, line = FAILURES[failure]

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(diffxas.prior, "train_prior", fail)
    result = run("train", "prior", diamond, "--out", tmp_path / "model")
    assert (result.exit_code, result.stderr) == (code, line + "\n")


def test_a_defect_of_ours_shows_its_traceback(tmp_path: Path, diamond: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffxas.prior, "train_prior", lambda *_: 1 / 0)
    assert isinstance(run("train", "prior", diamond, "--out", tmp_path).exception,
                      ZeroDivisionError)


def test_training_data_and_config_must_exist(tmp_path: Path, diamond: Path) -> None:
    for which in ("prior", "surrogate"):
        assert "nix" in refused("train", which, tmp_path / "nix", "--out", tmp_path / "model")
        assert "nix.toml" in refused("train", which, diamond, "--out", tmp_path / "model",
                                     "--config", tmp_path / "nix.toml")
    assert not (tmp_path / "model").exists()


def test_usage_errors_are_one_line_too(tmp_path: Path) -> None:
    assert "`diffxas generate --help`" in refused("generate", "--atoms", "x", "--out", tmp_path)
    assert "--out" in refused("generate", "--density", 2)
    assert "--nix" in refused("models", "--nix")
    assert "generat" in refused("generat")


@pytest.mark.slow
def test_ctrl_c_in_a_training_ends_in_one_line_and_the_command_resumes(
        tmp_path: Path, diamond: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[schedule]\nsteps = 300\nwarmup = 1\ncheckpoint_every = 5\n")
    command = [sys.executable, "-c", "from samplers.commands import main; main()", "train", "prior",
               str(diamond), "--out", str(tmp_path / "model"), "--config", str(config)]
    checkpoint = tmp_path / "model" / "checkpoint.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=environment) as process:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("Interrupted: ")
    reached = json.loads(checkpoint.read_text())["step"]
    assert 0 < reached < 300
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "use it with --prior" in again.stdout
    assert json.loads(checkpoint.read_text())["step"] == 300
