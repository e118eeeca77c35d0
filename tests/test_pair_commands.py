"""``relax`` and ``analyse`` of several elements: bonds by pair, cutoffs, LAMMPS files."""

import csv
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from command_runner import refused, run
from silica_examples import cristobalite

from diffxas.cutoffs import GIVEN, RADII, REFERENCE
from diffxas.structure import Structure
from diffxas.structure_files import write_structures


@pytest.fixture
def silica(tmp_path: Path) -> Path:
    write_structures(tmp_path / "silica.extxyz", cristobalite(1, 0.05))
    return tmp_path / "silica.extxyz"


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    write_structures(tmp_path / "reference.extxyz", [cristobalite(1, 0.04, k) for k in range(3)])
    return tmp_path / "reference.extxyz"


def test_analyse_cuts_bonds_at_the_minimum_of_the_reference(silica: Path, reference: Path,
                                                            tmp_path: Path) -> None:
    result = run("analyse", silica, "--reference", reference, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    header, row = result.stdout.splitlines()[:2]
    assert "Si-O %" in header and "O-Si %" in header and "4:100" in row and "2:100" in row
    assert f"({REFERENCE})" in result.stdout
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert found["cutoffs_from"] == {"O-O": RADII, "Si-O": REFERENCE, "Si-Si": RADII}
    (one,) = found["structures"]
    assert one["coordination_pairs"]["Si-O"] == {"4": 1.0}
    assert one["like_bonds"] == {"Si-Si": 0.0, "O-O": 0.0}
    assert list(one["partial_rdf"]) == ["Si-Si", "Si-O", "O-O"]
    assert 0 < one["distances"]["rdf_Si-O"] < 1
    with (tmp_path / "out" / "analysis.csv").open(newline="") as handle:
        row = next(csv.DictReader(handle))
    assert float(row["bonds_O-Si_2"]) == 1.0 and float(row["like_bonds_Si-Si"]) == 0.0
    report = (tmp_path / "out" / "report.html").read_text()
    for words in ("Partial radial distribution function, Si-O", "Bonds between elements",
                  "longest bonds", REFERENCE.replace("'", "&#39;")):
        assert words in report
    assert (tmp_path / "out" / "figures" / "rdf_Si-O.png").is_file()


def test_the_user_s_cutoff_goes_before_the_reference(silica: Path, reference: Path,
                                                     tmp_path: Path) -> None:
    result = run("analyse", silica, "--cutoff", "O-Si=1.0", "--cutoff", "Si-Si=3.5",
                 "--reference", reference, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert found["cutoffs"]["Si-O"] == 1.0 and found["cutoffs_from"]["Si-O"] == GIVEN
    (one,) = found["structures"]
    assert one["coordination_pairs"]["Si-O"] == {"0": 1.0}
    assert one["coordination_pairs"]["Si-Si"] == {"4": 1.0}
    assert one["like_bonds"]["Si-Si"] == 1.0
    assert set(one["rings_per_atom"]) >= {"6"} and one["rings_per_atom"]["6"] > 0  # all bonds


def test_structures_of_other_elements_may_stand_beside_each_other(silica: Path,
                                                                  tmp_path: Path) -> None:
    lone = Structure(np.array([[0.0, 0, 0], [2.35, 0, 0]]), [14, 14], 9 * np.eye(3))
    write_structures(tmp_path / "silicon.extxyz", lone)
    result = run("analyse", silica, tmp_path / "silicon.extxyz", "--cutoff", "Si-O=2.2",
                 "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())["structures"]
    assert found[1]["coordination_pairs"] == {"Si-Si": {"1": 1.0}}
    assert found[1]["partial_rdf"] == {}


def test_relax_writes_types_and_charges_and_tells_bonds(silica: Path, tmp_path: Path) -> None:
    out = tmp_path / "relaxed.data"
    result = run("relax", silica, "--out", out, "--type-order", "Si,O",
                 "--charges", "Si=2.4,O=-1.2", "--cutoff", "Si-O=2.1")
    assert result.exit_code == 0, result.output
    assert "4:100 -> 4:100" in result.stdout and "Si-O 2.10" in result.stdout
    atoms = ase.io.read(out, format="lammps-data")
    assert atoms.get_initial_charges().sum() == pytest.approx(0)
    assert set(atoms.get_initial_charges()) == {2.4, -1.2}
    assert not out.read_text().count("nan")


@pytest.mark.parametrize(("words", "told"), [
    (["relax", "--out", "o.extxyz", "--charges", "Si=2.4,O=-1.2"], "name --out FILE.data"),
    (["relax", "--out", "o.data", "--charges", "Si=2.4"], "without O"),
    (["relax", "--out", "o.data", "--type-order", "Si"], "each of O, Si once"),
    (["relax", "--out", "o.data", "--cutoff", "C-C=2"], "received C-C"),
    (["analyse", "--out", "o", "--cutoff", "Si-Ge=2"], "received Ge-Si"),
])
def test_what_does_not_fit_the_elements_is_refused(words: list[str], told: str, silica: Path,
                                                   tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(words[0], silica, *words[1:])
    assert not list(tmp_path.glob("o*"))
