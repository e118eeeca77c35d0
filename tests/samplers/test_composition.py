"""Cells of several elements: what is generated, what is refused, and that carbon is as before."""

import csv
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from command_runner import refused, run
from silica_prior import write_silica_prior
from small_runs import cell_spectrum, require_weights, write_target

from diffxas.analysis import coordination, coordination_pairs, like_bonds
from diffxas.cutoffs import RADII
from diffxas.default_potential import default_potential
from diffxas.errors import InputError
from diffxas.neighbourhood import bonds
from diffxas.structure_files import read_structures
from samplers.generation import GenerateOptions
from samplers.setup import set_up

SILICA = ("--no-guidance", "--density", 2.2, "--composition", "SiO2", "--steps", 3)


@pytest.fixture(scope="session")
def silica_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_weights()
    return write_silica_prior(tmp_path_factory.mktemp("prior") / "silica")


@pytest.fixture(scope="session")
def silica(silica_prior: Path) -> Path:
    """The folder of a run of two samples of 24 atoms, unrelaxed."""
    out = silica_prior.parent / "run"
    result = run("generate", *SILICA, "--atoms", 24, "--prior", silica_prior, "--samples", 2,
                 "--no-relax", "--format", "vasp", "--out", out)
    assert result.exit_code == 0, result.output
    return out


def test_every_sample_has_the_composition_element_by_element(silica: Path) -> None:
    samples = read_structures(silica / "structures.extxyz")
    assert len(samples) == 2
    for structure in samples:
        assert structure.symbols == ["Si"] * 8 + ["O"] * 16
        assert structure.density == pytest.approx(2.2)
    assert np.abs(samples[0].positions - samples[1].positions).max() > 0.1
    assert ase.io.read(silica / "structures_0.vasp").get_chemical_formula() == "O16Si8"


def test_without_a_surrogate_of_the_elements_there_are_no_spectra_and_it_is_said(
        silica: Path) -> None:
    assert not list(silica.glob("spectra*.csv"))
    assert "pi_star" not in read_structures(silica / "structures.extxyz")[0].arrays
    summary = json.loads((silica / "summary.json").read_text())
    assert summary["composition"] == {"Si": 8, "O": 16}
    assert summary["spectra"].startswith("none") and "a-C knows C" in summary["spectra"]
    assert "surrogate" not in summary["weights"]
    report = (silica / "report.html").read_text()
    assert "a-C knows C in structures of C" in report and "Predicted spectra" not in report


def test_the_composition_belongs_to_the_run(silica: Path, silica_prior: Path) -> None:
    words = ["--no-guidance", "--density", 2.2, "--atoms", 24, "--steps", 3,
             "--prior", silica_prior, "--samples", 2, "--no-relax", "--out", silica]
    same = run("generate", "--composition", "Si:8,O:16", *words)
    assert same.exit_code == 0 and "finished" in same.stdout
    assert "composition" in refused("generate", "--composition", "Si:12,O:12", *words)


@pytest.mark.parametrize(("words", "told"), [
    ([], "must be given for PRIOR, a prior of Si, O"),
    (["--composition", "GeO2"], "Si, O, received Ge in GeO2"),
    (["--composition", "SiO2", "--atoms", 25], "the nearest are 24 and 27"),
    (["--composition", "SiO2", "--potential", "rebo"], "O, Si"),
    (["--composition", "SiO2", "--edge", "C:K"], "leave --edge out"),
])
def test_what_cannot_be_is_refused(words: list, told: str, silica_prior: Path,
                                   tmp_path: Path) -> None:
    line = refused("generate", "--no-guidance", "--density", 2.2, "--prior", silica_prior, *words,
                   "--out", tmp_path / "out")
    assert told.replace("PRIOR", str(silica_prior)) in line
    assert not (tmp_path / "out").exists()


def test_a_target_needs_a_surrogate_of_the_composition(silica_prior: Path, tmp_path: Path) -> None:
    target = write_target(tmp_path / "target.csv", cell_spectrum())
    for guidance in ([], ["--no-guidance"]):
        line = refused("generate", target, *guidance, "--density", 2.2, "--composition", "SiO2",
                       "--prior", silica_prior, "--out", tmp_path / "out")
        assert "a-C knows C in structures of C" in line and "received Si, O" in line


def test_carbon_by_default_and_by_name_is_one_run() -> None:
    require_weights()
    by_default, by_name = (set_up(None, GenerateOptions(
        density=2.0, atoms=8, guidance=False, relax=False, composition=text)).identity
        for text in (None, "C"))
    assert by_default == by_name and by_default["composition"] == "C:8"


def test_a_potential_is_chosen_by_the_elements(silica_prior: Path) -> None:
    options = GenerateOptions(density=2.2, guidance=False, prior=str(silica_prior),
                              composition="SiO2")
    chosen = set_up(None, options)
    assert chosen.relaxation is not None and chosen.relaxation.potential == "vashishta"
    assert chosen.identity["potential"] == "vashishta"
    chosen_for = {default_potential(one) for one in ({"C"}, {"C", "H"})}
    assert chosen_for == {"rebo"} and default_potential({"Si"}) == "tersoff"
    for elements in ({"Ge", "O"}, {"O"}, {"C", "O", "Si"}):
        with pytest.raises(InputError, match="no default"):
            default_potential(elements)


def test_bonds_are_cut_as_the_prior_records_unless_the_user_says(silica: Path,
                                                                 tmp_path: Path) -> None:
    summary = json.loads((silica / "summary.json").read_text())
    assert summary["cutoffs_from"]["Si-O"] == RADII
    prior = write_silica_prior(tmp_path / "prior", cutoffs={"Si-O": 2.05})
    told = {}
    for name, words in (("recorded", ()), ("given", ("--cutoff", "O-Si=3.0"))):
        result = run("generate", *SILICA, "--atoms", 24, "--prior", prior, "--samples", 1,
                     "--no-relax", *words, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        told[name] = json.loads((tmp_path / name / "summary.json").read_text())
        (structure,) = read_structures(tmp_path / name / "structures.extxyz")
        (sample,) = told[name]["samples"]
        pairs = bonds(structure, {("Si", "O"): told[name]["cutoffs"]["Si-O"]})
        assert sample["coordination_pairs"] == coordination_pairs(structure, pairs)
        assert set(sample["coordination_pairs"]) == {"Si-O", "O-Si", "Si-Si", "O-O"}
        assert sample["like_bonds"] == like_bonds(structure, pairs)
        np.testing.assert_array_equal(structure.arrays["coordination"],
                                      coordination(structure, pairs))
        report = (tmp_path / name / "report.html").read_text()
        assert f"Si-O {told[name]['cutoffs']['Si-O']:.2f} Å" in report
        assert "Partial radial distribution function, Si-O" in report
    assert told["recorded"]["cutoffs"]["Si-O"] == 2.05
    assert told["given"]["cutoffs"]["Si-O"] == 3.0
    assert told["given"]["samples"][0]["coordination_pairs"] != told[
        "recorded"]["samples"][0]["coordination_pairs"]
    with (tmp_path / "given" / "samples.csv").open(newline="") as handle:
        (row,) = csv.DictReader(handle)
    for n, share in told["given"]["samples"][0]["coordination_pairs"]["Si-O"].items():
        assert float(row[f"coordination_pairs_Si-O_{n}"]) == pytest.approx(share)


def test_lammps_files_carry_types_and_charges_and_may_be_written_again(silica_prior: Path,
                                                                       tmp_path: Path) -> None:
    words = ["generate", *SILICA, "--atoms", 24, "--prior", silica_prior, "--samples", 1,
             "--no-relax", "--format", "data", "--out", tmp_path / "run"]
    file = tmp_path / "run" / "structures_0.data"
    first = run(*words, "--type-order", "Si,O", "--charges", "Si=2.4,O=-1.2")
    assert first.exit_code == 0 and "add up to" not in first.output, first.output
    atoms = ase.io.read(file, format="lammps-data")
    assert atoms.get_initial_charges().tolist() == [2.4] * 8 + [-1.2] * 16
    again = run(*words, "--charges", "Si=4,O=-1")
    assert again.exit_code == 0 and "1 structure files written" in again.output
    assert ase.io.read(file, format="lammps-data").get_initial_charges().sum() == 16.0


@pytest.mark.parametrize(("words", "told"), [
    (["--format", "data", "--charges", "Si=2.4"], "add O=CHARGE"),
    (["--format", "data", "--type-order", "Si"], "each of O, Si once"),
    (["--type-order", "Si,O"], "add --format data"),
    (["--cutoff", "Ge-O=2"], "O-O, Si-O, Si-Si, received Ge-O"),
    (["--cutoff", "Si-O"], "--cutoff Si-O=2.2"),
])
def test_bonds_types_and_charges_that_do_not_fit_are_refused(words: list, told: str,
                                                             silica_prior: Path,
                                                             tmp_path: Path) -> None:
    line = refused("generate", *SILICA, "--prior", silica_prior, "--no-relax", *words,
                   "--out", tmp_path / "out")
    assert told in line and not (tmp_path / "out").exists()
