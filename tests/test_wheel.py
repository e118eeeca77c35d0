"""A wheel built from the clone and installed elsewhere brings its weights and runs."""

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import ase.build
import ase.io
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("diffxas", "surrogates", "samplers")
FILM = ROOT / "experiments" / "data" / "experimental" / "dlc_c_k_nexafs.csv"
SMALL = ["--density", "2.2", "--atoms", "32", "--steps", "4", "--samples", "1"]

pytestmark = pytest.mark.slow


def call(*words: object, cwd: Path, allowed: tuple[int, ...] = (0,), **environment: str) -> str:
    """What a command prints."""
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True,
                          check=False, timeout=600, env={**os.environ, **environment})
    assert done.returncode in allowed, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, lest an old ``build/`` slip into it and lest it leave one behind."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    notice = Path("experiments") / "data" / "a-C-K-edge" / "LICENSE.txt"
    (source / notice).parent.mkdir(parents=True)
    shutil.copy(ROOT / notice, source / notice)
    call(sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps",
         "--wheel-dir", folder, source, cwd=folder)
    (path,) = folder.glob("diffxas-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was installed into, without its dependencies."""
    site = tmp_path_factory.mktemp("installed") / "site"
    call(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel,
         cwd=site.parent)
    return site


def diffxas(site: Path, folder: Path, *words: object, allowed: tuple[int, ...] = (0,)) -> str:
    """The installed command, run in ``folder``; -P keeps that folder off the import path."""
    return call(sys.executable, "-P", site / "bin" / "diffxas", *words, cwd=folder,
                allowed=allowed, PYTHONPATH=str(site))


def test_the_wheel_holds_the_packages_the_weights_and_the_licence(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    folders = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert folders == set(PACKAGES)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    for shipped in ("diffxas/weights_prior", "surrogates/weights"):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / shipped).glob("*/*")}
        assert f"{shipped}/a-C/config.json" in files
        assert files <= names


def test_it_is_the_installed_one_that_runs(installed, tmp_path):
    """The editable install of the development environment must not come first."""
    code = f"import {', '.join(PACKAGES)}; print(*(p.__file__ for p in ({', '.join(PACKAGES)})))"
    places = call(sys.executable, "-P", "-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert [place.startswith(f"{installed}{os.sep}") for place in places] == [True, True, True]
    assert f"({installed}" in diffxas(installed, tmp_path, "models", "a-C")


def test_predict(installed, tmp_path):
    ase.io.write(tmp_path / "diamond.vasp", ase.build.bulk("C", "diamond", a=3.57, cubic=True))
    diffxas(installed, tmp_path, "predict", "diamond.vasp", "--out", "spectra.csv")
    with (tmp_path / "spectra.csv").open(newline="") as handle:
        header, *rows = csv.reader(handle)
    assert header == ["energy", "diamond"]
    spectrum = [float(row[1]) for row in rows]
    assert len(spectrum) == 100
    assert max(spectrum) > 10 * abs(spectrum[0])  # an edge


def test_generate_without_a_target(installed, tmp_path):
    diffxas(installed, tmp_path, "generate", "--no-guidance", *SMALL, "--out", "free")
    assert (tmp_path / "free" / "report.html").stat().st_size > 10_000
    assert len(ase.io.read(tmp_path / "free" / "relaxed.extxyz")) == 32


def test_generate_for_a_target(installed, tmp_path):
    """Four steps hardly reach a target, which exit code 3 says."""
    shutil.copy(FILM, tmp_path / "film.csv")
    diffxas(installed, tmp_path, "generate", "film.csv", *SMALL, "--out", "film", allowed=(0, 3))
    summary = json.loads((tmp_path / "film" / "summary.json").read_text())
    assert summary["target_kind"] == "measured"
    assert 0 < summary["samples"][0]["residual_sampled"] < 10
    assert (tmp_path / "film" / "report.html").stat().st_size > 10_000
