"""What a run leaves behind, and what it promises for each kind of target."""

import csv
import html
import json
from dataclasses import fields, replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from small_runs import (
    FILM,
    GRID,
    OPTIONS,
    SMALL,
    cell_spectrum,
    content,
    require_weights,
    table,
)

import diffxas.lammps_library
import diffxas.potentials
import diffxas.relaxation
import samplers
from diffxas.analysis import coordination_fractions
from diffxas.errors import InputError
from diffxas.lammps_library import LammpsMissing
from diffxas.spectrum import Spectrum
from diffxas.structure_files import read_structures
from samplers.algorithms.dps import DPS
from samplers.algorithms.noise_aware import NoiseAware
from samplers.generation import GenerateOptions, generate_to
from samplers.geometry import resolve_box
from samplers.identity import UNIMPORTANT
from samplers.setup import set_up

QUICK = replace(OPTIONS, samples=1, steps=2, relax=False)


@pytest.fixture(autouse=True)
def weights(one_prior: None) -> None:
    require_weights()


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def flat(content: dict) -> dict[str, float]:
    """Numbers of nested dictionaries by their keys joined."""
    found = {}
    for key, value in content.items():
        inner = flat(value) if isinstance(value, dict) else {"": value}
        found |= {f"{key}_{k}".rstrip("_"): v for k, v in inner.items()}
    return found


def rms(spectra: dict[str, np.ndarray], column: str, window: list[float]) -> float:
    inside = (spectra["energy"] >= window[0] - 1e-3) & (spectra["energy"] <= window[1] + 1e-3)
    return float(np.sqrt(np.mean((spectra["target"] - spectra[column])[inside] ** 2)))


def test_the_promised_files_are_there_and_nothing_is_left_over(finished):
    names = set(content(finished))
    promised = {"run.json", "structures.extxyz", "relaxed.extxyz", "spectra.csv",
                "spectra_raw.csv", "samples.csv", "summary.json", "report.html"}
    formats = {f"{name}_{k}.{suffix}" for name in ("structures", "relaxed") for k in (0, 1)
               for suffix in ("data", "vasp", "cif")}
    assert promised | formats <= names
    figures = {n for n in names if n.startswith("figures/")}
    assert figures and all(n.endswith(".png") for n in figures)
    assert names - promised - formats - figures == {"calibration.csv"}


def test_run_json_names_every_option_that_changes_results(finished):
    identity = json.loads((finished / "run.json").read_text())["identity"]
    options = {f.name for f in fields(GenerateOptions)} - set(UNIMPORTANT)
    hashes = {"prior_hash", "surrogate_hash", "target_hash"}
    assert set(identity) == options | hashes | {
        "potential_hash", "reference_hash", "guide_files", "noised_hashes"}
    assert all(len(identity[h]) == 64 for h in hashes)
    assert identity["potential_hash"] is None  # of files alone, not of potentials by name
    assert identity["reference_hash"] is None and identity["guide_files"] == []
    assert {k: identity[k] for k in SMALL} == SMALL


def test_the_summary_holds_what_scripts_rely_on(finished):
    summary = summary_of(finished)
    assert {"samples", "target_kind", "window", "versions", "weights", "command",
            "warnings"} <= set(summary)
    assert summary["target_kind"] == "computed" and summary["window"] == [274.4, GRID[-1]]
    assert summary["cutoffs"] == {"C-C": 1.85}
    assert summary["command"].startswith("diffxas generate") and "--steps 6" in summary["command"]
    assert len(summary["samples"]) == 2
    for number, sample in enumerate(summary["samples"]):
        assert {"seed", "density", "coordination", "residual_sampled", "residual_relaxed",
                "energy_sampled", "energy_relaxed", "seconds_sampling",
                "seconds_relaxing"} <= set(sample)
        assert sample["number"] == number and sample["seed"] == SMALL["seed"]
        assert sample["density"] == pytest.approx(2.0, rel=1e-6)
        assert list(sample["coordination"]) == [str(n) for n in range(7)]
        assert sum(sample["coordination"].values()) == pytest.approx(1.0)
        assert list(sample["coordination_pairs"]) == ["C-C"]
        for n, share in sample["coordination_pairs"]["C-C"].items():
            assert int(n) > 5 or sample["coordination"][n] == pytest.approx(share)
        assert sample["like_bonds"] == {"C-C": 1.0}
        assert sample["energy_relaxed"] < min(0.0, sample["energy_sampled"])
        assert sample["seconds_sampling"] > 0 and sample["seconds_relaxing"] > 0


def test_spectra_stand_in_the_order_of_the_samples_in_the_target_s_units(finished):
    target, summary = cell_spectrum(), summary_of(finished)
    spectra = table(finished / "spectra.csv")
    assert list(spectra) == ["energy", "target", "sampled_0", "relaxed_0", "sampled_1",
                             "relaxed_1"]
    np.testing.assert_allclose(spectra["energy"], target.energy, rtol=1e-7)
    np.testing.assert_allclose(spectra["target"], target.mu, rtol=1e-6, atol=1e-9)
    for k, sample in enumerate(summary["samples"]):
        for state in ("sampled", "relaxed"):
            assert rms(spectra, f"{state}_{k}", summary["window"]) == pytest.approx(
                sample[f"residual_{state}"], rel=1e-5)


def test_raw_spectra_are_those_that_predict_gives(finished):
    from surrogates.loading import load_surrogate

    raw = table(finished / "spectra_raw.csv")
    assert list(raw) == ["energy", "sampled_0", "relaxed_0", "sampled_1", "relaxed_1"]
    np.testing.assert_allclose(raw["energy"], GRID)
    surrogate = load_surrogate("a-C")
    for name in ("sampled", "relaxed"):
        file = {"sampled": "structures", "relaxed": "relaxed"}[name]
        for k, structure in enumerate(read_structures(finished / f"{file}.extxyz")):
            mu = surrogate.predict_sites(structure).mean(0)
            np.testing.assert_allclose(raw[f"{name}_{k}"], mu, atol=2e-5)


def test_structures_are_read_by_ase_with_the_columns_that_ovito_colours_by(finished):
    for name in ("structures", "relaxed"):
        frames = ase.io.read(finished / f"{name}.extxyz", ":")
        assert [f.info["sample"] for f in frames] == [0, 1]
        for atoms in frames:
            assert len(atoms) == 64 and atoms.pbc.all()
            assert set(np.unique(atoms.arrays["coordination"])) <= set(range(7))
            assert atoms.arrays["pi_star"].shape == (64,) and atoms.arrays["pi_star"].min() >= 0
            assert (atoms.arrays["mu_deviation"] > 0).all()
            assert (atoms.arrays["domain_score"] > 0).all()


def test_the_share_of_atoms_outside_the_surrogates_domain_is_told(finished):
    frames = ase.io.read(finished / "relaxed.extxyz", ":")
    for atoms, sample in zip(frames, summary_of(finished)["samples"], strict=True):
        if sample["answer"] == "relaxed":
            assert sample["out_of_domain"] == pytest.approx(
                float((atoms.arrays["domain_score"] > 1).mean()))


def test_energies_and_forces_of_relaxed_structures_are_read_by_ase(finished):
    for atoms, sample in zip(ase.io.read(finished / "relaxed.extxyz", ":"),
                             summary_of(finished)["samples"], strict=True):
        assert atoms.get_potential_energy() / 64 == pytest.approx(sample["energy_relaxed"])
        forces = atoms.get_forces()
        assert np.linalg.norm(forces, axis=1).max() == pytest.approx(sample["largest_force"],
                                                                      rel=1e-4)


def test_further_formats_hold_the_same_atoms(finished):
    structures = read_structures(finished / "relaxed.extxyz")
    for k, structure in enumerate(structures):
        wanted = structure.to_atoms().get_all_distances(mic=True)
        for suffix in ("data", "vasp", "cif"):
            (read,) = read_structures(finished / f"relaxed_{k}.{suffix}")
            found = read.to_atoms().get_all_distances(mic=True)
            np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_answer_s_coordination_is_the_one_reported(finished):
    files = {name: read_structures(finished / f"{file}.extxyz")
             for name, file in (("sampled", "structures"), ("relaxed", "relaxed"))}
    for k, sample in enumerate(summary_of(finished)["samples"]):
        assert sample["answer"] in files
        for key, structure in (("coordination", files[sample["answer"]][k]),
                               ("coordination_sampled", files["sampled"][k]),
                               ("coordination_relaxed", files["relaxed"][k])):
            assert sample[key] == pytest.approx(coordination_fractions(structure))
        undone = sample["residual_relaxed"] > 1.5 * sample["residual_sampled"]
        assert sample["answer"] == ("sampled" if undone else "relaxed")


def test_the_table_of_samples_is_best_first_with_every_number(finished):
    with (finished / "samples.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    samples = summary_of(finished)["samples"]
    best_first = sorted(samples, key=lambda s: s[f"residual_{s['answer']}"])
    assert [int(row["number"]) for row in rows] == [s["number"] for s in best_first]
    assert summary_of(finished)["best"] == best_first[0]["number"]
    for row, sample in zip(rows, best_first, strict=True):
        for key, value in sample.items():
            if isinstance(value, float):
                assert float(row[key]) == pytest.approx(value)
            elif isinstance(value, dict):
                assert all(float(row[f"{key}_{k}"]) == pytest.approx(v)
                           for k, v in flat(value).items())


def test_the_report_stands_alone_and_shows_the_command(finished):
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert summary_of(finished)["command"] in html.unescape(text)
    assert "src=\"http" not in text and "href=\"http" not in text.split("</head>")[0]


def test_a_finished_run_says_so_and_changes_nothing(finished, capsys):
    before = content(finished)
    options = replace(OPTIONS, device="cpu", formats=("vasp",))  # these make no other run
    assert generate_to(cell_spectrum(), finished, options) == 0
    assert "finished" in capsys.readouterr().out
    assert content(finished) == before


@pytest.mark.parametrize("change", [{"seed": 4}, {"steps": 7}, {"guidance": False},
                                    {"window": (280.0, 300.0)}, {"potential": "tersoff"},
                                    {"surrogate": "a-C-without-2.0"}])
def test_a_folder_of_another_run_is_refused_unchanged(finished, change):
    before = content(finished)
    try:
        with pytest.raises(InputError, match=next(iter(change))):
            generate_to(cell_spectrum(), finished, replace(OPTIONS, **change), progress=False)
    finally:
        assert content(finished) == before


def test_another_target_is_another_run(finished):
    with pytest.raises(InputError, match="target_hash"):
        generate_to(cell_spectrum("d1.5_"), finished, OPTIONS, progress=False)


def test_a_measured_film_is_fitted_in_its_own_units(tmp_path):
    film, out = Spectrum.read(FILM), tmp_path / "run"
    assert generate_to(film, out, replace(QUICK, samples=2, steps=4), progress=False) in (0, 3)
    summary, spectra = summary_of(out), table(out / "spectra.csv")
    assert summary["target_kind"] == "measured" and summary["window"] == [282.0, 300.0]
    assert list(spectra) == ["energy", "target", "sampled_0", "sampled_1"]
    np.testing.assert_allclose(spectra["energy"], film.energy, rtol=1e-7)
    np.testing.assert_allclose(spectra["target"], film.mu, rtol=1e-6, atol=1e-9)
    for k, sample in enumerate(summary["samples"]):
        assert rms(spectra, f"sampled_{k}", summary["window"]) == pytest.approx(
            sample["residual_sampled"], rel=1e-4)
        assert {"shift", "stretch", "log_scale", "resolution", "lifetime"} <= set(
            sample["nuisance"])
    assert len(table(out / "spectra_raw.csv")["energy"]) == 100
    assert "log_scale" in (out / "report.html").read_text(encoding="utf-8")


def test_a_run_tells_the_algorithm_that_guided_it(finished):
    assert summary_of(finished)["algorithm"] == "noise-aware"
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "noise-aware" not in summary_of(finished)["command"] and "noise-aware" in page


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize(("target", "guides", "algorithm"), [
    (cell_spectrum(), (), "noise-aware"), (None, ("coordination:4=0.3",), "dps"),
    (cell_spectrum(), ("coordination:4=0.3",), "noise-aware"),
], ids=["spectrum", "coordination", "both"])
def test_by_default_the_guides_choose_the_algorithm(
        target, guides, algorithm, tmp_path, monkeypatch):
    drawn = []
    for kind in (DPS, NoiseAware):
        def draw(self, problem, sample, watch=None, *, own=kind.draw):
            drawn.append((self.name, problem.guide is not None))
            return own(self, problem, sample, watch)

        monkeypatch.setattr(kind, "draw", draw)
    out = tmp_path / "run"
    generate_to(target, out, replace(QUICK, guides=guides), progress=False)
    assert drawn == [("dps", False), ("dps", False), (algorithm, True)]
    assert summary_of(out)["algorithm"] == algorithm
    identity = json.loads((out / "run.json").read_text())["identity"]
    assert identity["algorithm"] == algorithm  # not auto: what auto stands for may change


@pytest.mark.usefixtures("unreported")
def test_the_units_of_the_file_do_not_matter_to_the_atoms(tmp_path):
    """A film in counts on a sloping offset is fitted alike; its residual is in counts."""
    film = Spectrum.read(FILM)
    counts = Spectrum(film.energy, 5000 + 700 * film.mu, "C", "K")
    residuals, positions = [], []
    for name, target in (("norm", film), ("counts", counts)):
        generate_to(target, tmp_path / name, QUICK, progress=False)
        residuals.append(summary_of(tmp_path / name)["samples"][0]["residual_sampled"])
        positions.append(read_structures(tmp_path / name / "structures.extxyz")[0].positions)
    assert residuals[1] == pytest.approx(700 * residuals[0], rel=1e-2)
    np.testing.assert_allclose(positions[1], positions[0], atol=1e-2)


def test_without_a_target_the_prior_alone_is_sampled(tmp_path):
    out = tmp_path / "run"
    assert generate_to(None, out, replace(QUICK, guidance=False), progress=False) == 0
    summary, spectra = summary_of(out), table(out / "spectra.csv")
    assert list(spectra) == ["energy", "sampled_0"]
    np.testing.assert_allclose(spectra["energy"], GRID)
    assert summary["target_kind"] is None and summary["window"] is None
    (sample,) = summary["samples"]
    assert sample["residual_sampled"] is None and sample["residual_relaxed"] is None
    assert sample["energy_relaxed"] is None and sample["answer"] == "sampled"
    assert summary["kind"] == "melt-quenched" and not summary["guided"]
    assert summary["algorithm"] is None
    assert not (out / "relaxed.extxyz").exists()


@pytest.mark.usefixtures("unreported")
def test_a_target_that_does_not_guide_is_compared_with(tmp_path):
    out = tmp_path / "run"
    generate_to(cell_spectrum(), out, replace(QUICK, guidance=False), progress=False)
    summary = summary_of(out)
    assert not summary["guided"] and summary["sigma_on"] is None
    assert summary["samples"][0]["residual_sampled"] > 0
    generate_to(None, tmp_path / "bare", replace(QUICK, guidance=False), progress=False)
    one, other = (read_structures(f / "structures.extxyz")[0] for f in (out, tmp_path / "bare"))
    np.testing.assert_array_equal(one.positions, other.positions)


def test_guidance_needs_a_target(tmp_path):
    with pytest.raises(InputError, match="--no-guidance"):
        generate_to(None, tmp_path / "run", QUICK, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("unreported")
def test_from_python_the_same_samples_come_without_files(finished):
    run = samplers.generate(cell_spectrum(), **SMALL)
    assert run.folder is None and len(run.structures) == 2
    summary = summary_of(finished)
    assert run.out_of_reach == any("out of reach" in w for w in run.summary["warnings"])
    for k, (structure, sample) in enumerate(zip(run.structures, summary["samples"], strict=True)):
        file = {"sampled": "structures", "relaxed": "relaxed"}[sample["answer"]]
        known = read_structures(finished / f"{file}.extxyz")[k]
        np.testing.assert_allclose(structure.positions, known.positions, atol=1e-6)


@pytest.mark.usefixtures("unreported")
def test_from_python_a_folder_is_kept_and_read_again(tmp_path):
    request = {**SMALL, "samples": 1, "steps": 2, "relax": False, "guidance": False}
    first = samplers.generate(None, out=tmp_path / "run", **request)
    again = samplers.generate(None, out=tmp_path / "run", **request)
    assert first.folder == again.folder == tmp_path / "run"
    np.testing.assert_allclose(again.structures[0].positions, first.structures[0].positions,
                               atol=1e-6)
    assert again.summary == first.summary


@pytest.mark.usefixtures("unreported")
def test_samples_do_not_depend_on_how_many_are_drawn(finished):
    run = samplers.generate(cell_spectrum(), **{**SMALL, "samples": 1}, relax=False)
    known = read_structures(finished / "structures.extxyz")[0]
    np.testing.assert_allclose(run.structures[0].positions, known.positions, atol=1e-6)


@pytest.mark.usefixtures("unreported")
def test_a_target_out_of_reach_is_said_so(tmp_path):
    """A spectrum upside down, many times as strong as carbon's."""
    spectrum = cell_spectrum()
    impossible = Spectrum(GRID, 20 * (spectrum.mu.max() - spectrum.mu[::-1]), "C", "K")
    out = tmp_path / "run"
    code = generate_to(impossible, out, replace(QUICK, window=(274.4, GRID[-1])), progress=False)
    summary = summary_of(out)
    assert code == 3
    assert any("out of reach" in warning for warning in summary["warnings"])
    assert summary["samples"][0]["residual_sampled"] > 0.5 * impossible.mu.std()
    request = {**SMALL, "samples": 1, "steps": 2, "relax": False, "window": (274.4, GRID[-1])}
    again = samplers.generate(impossible, out=out, **request)
    assert again.out_of_reach  # a finished run is read, not forgotten


@pytest.mark.usefixtures("unreported")
def test_without_lammps_structures_stay_unrelaxed_and_the_way_round_is_named(
        tmp_path, monkeypatch, capsys):
    def missing() -> None:
        raise LammpsMissing("LAMMPS must be importable, received none: "
                            "relax with --potential matgl:FOLDER instead")

    monkeypatch.setattr(diffxas.potentials, "load_lammps", missing)
    out = tmp_path / "run"
    options = replace(QUICK, guidance=False, relax=True)
    assert generate_to(None, out, options, progress=False) == 0
    warning, *_ = summary_of(out)["warnings"]
    assert "unrelaxed" in warning and "--potential matgl:FOLDER" in warning
    assert warning in capsys.readouterr().out
    assert not (out / "relaxed.extxyz").exists() and (out / "structures.extxyz").exists()


@pytest.mark.usefixtures("unreported")
def test_a_relaxation_that_breaks_down_keeps_the_sampled_structure(tmp_path, monkeypatch):
    relax = diffxas.relaxation.relax

    def broken(structure, options):
        return replace(relax(structure, options), structure=structure, failed=True,
                       message="atoms were lost")

    monkeypatch.setattr(diffxas.relaxation, "relax", broken)
    out = tmp_path / "run"
    generate_to(None, out, replace(QUICK, guidance=False, relax=True), progress=False)
    summary = summary_of(out)
    assert summary["samples"][0]["answer"] == "sampled"
    assert any("atoms were lost" in warning for warning in summary["warnings"])
    sampled, kept = (read_structures(out / f"{name}.extxyz")[0]
                     for name in ("structures", "relaxed"))
    np.testing.assert_array_equal(kept.positions, sampled.positions)


def test_bad_requests_leave_no_folder(tmp_path):
    film = Spectrum.read(FILM)
    iron = Spectrum(film.energy, film.mu, "Fe", "L3")
    for target, change, told in (
            (film, {"density": 9.0}, "density"), (film, {"steps": 65}, "steps"),
            (film, {"kind": "liquid"}, "kind"), (film, {"prior": "nix"}, "nix"),
            (film, {"surrogate": "nix"}, "nix"), (film, {"edge": "O:K"}, "edge"),
            (film, {"window": (300.0, 320.0)}, "window"), (iron, {}, "edge"),
            (film, {"potential": "nix", "relax": True}, "potential"),
            (film, {"target_kind": "computed"}, "computed")):
        with pytest.raises(InputError, match=told) as refusal:
            generate_to(target, tmp_path / "run", replace(QUICK, **change), progress=False)
        assert "\n" not in str(refusal.value)
        assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize("target", [
    Spectrum(GRID[:60] + 0.1, cell_spectrum().mu[:60], "C", "K"),  # ends at 298 eV
    Spectrum(GRID, -cell_spectrum().mu, "C", "K"),
], ids=["ends below 300 eV", "negative"])
def test_a_target_without_a_pi_star_share_is_generated_from_all_the_same(target, tmp_path):
    """The share is an extra; a run must not fail for it after its work is done."""
    assert generate_to(target, tmp_path / "run", QUICK, progress=False) in (0, 3)
    assert summary_of(tmp_path / "run")["pi_star"] is None


@pytest.mark.usefixtures("unreported")
def test_further_formats_are_added_to_a_finished_run(tmp_path):
    options = replace(QUICK, guidance=False)
    assert generate_to(None, tmp_path / "run", options, progress=False) == 0
    before = content(tmp_path / "run")
    assert generate_to(None, tmp_path / "run", replace(options, formats=("vasp", "data")),
                       progress=False) == 0
    after = content(tmp_path / "run")
    assert set(after) - set(before) == {"structures_0.vasp", "structures_0.data"}
    assert {name: after[name] for name in before} == before
    (kept,) = read_structures(tmp_path / "run" / "structures.extxyz")
    (added,) = read_structures(tmp_path / "run" / "structures_0.vasp")
    np.testing.assert_allclose(added.positions, kept.positions, atol=1e-7)


@pytest.mark.usefixtures("unreported")
def test_a_run_with_other_lines_in_its_potential_is_another_run(tmp_path):
    lines = tmp_path / "mine.lmp"
    lines.write_text("pair_style rebo\npair_coeff * * CH.rebo {elements}\n")
    options = replace(QUICK, guidance=False, relax=True, potential=str(lines))
    assert generate_to(None, tmp_path / "run", options, progress=False) == 0
    assert generate_to(None, tmp_path / "run", options, progress=False) == 0
    lines.write_text("pair_style airebo 3.0\npair_coeff * * CH.airebo {elements}\n")
    with pytest.raises(InputError, match="potential_hash"):
        generate_to(None, tmp_path / "run", options, progress=False)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("atoms", [1, 2])
def test_a_cell_of_one_or_two_atoms_is_sampled_without_ado(atoms, tmp_path):
    options = replace(QUICK, atoms=atoms)
    assert generate_to(cell_spectrum(), tmp_path / "run", options, progress=False) in (0, 3)
    assert all(np.isfinite(column).all()
               for column in table(tmp_path / "run" / "calibration.csv").values())


def test_a_large_run_is_compared_with_and_timed_on_smaller_cells():
    setup = set_up(None, replace(OPTIONS, density=2.0, atoms=5000, cell=None, guidance=False,
                                 relax=False))
    small = setup.of_atoms(2000)
    assert len(small.system) == 2000 and small.box.density == pytest.approx(2.0)
    assert setup.of_atoms(5000) is setup
    silica = replace(setup, box=resolve_box("Si:300,O:600", 2.2, 900, None))
    assert silica.of_atoms(100).box.composition == {"Si": 33, "O": 66}
    odd = replace(setup, box=resolve_box("Si:301,O:600", 2.2, 901, None))
    assert odd.of_atoms(100) is odd


def test_what_a_run_will_take_is_told_before_it_starts(tmp_path, capsys):
    generate_to(None, tmp_path / "run", replace(
        OPTIONS, density=2.0, atoms=300, cell=None, guidance=False, relax=False, samples=1,
        steps=2), progress=True)
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[:5] if line]
    assert {"stage", "sampling", "analysis", "in"} <= set(rows)
