"""Decks to runs to a training set to a surrogate, and what a folder of runs may look like."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_runner import refused, run
from feff_runs import curve, write_input, write_log, write_xmu
from synthetic_sites import cell

from diffxas.errors import InputError
from diffxas.structure_files import write_structures
from surrogates.collection import CollectOptions, collect
from surrogates.datasets import load_site_spectra
from surrogates.training_data import load_training_data

needs_lightshow = pytest.mark.skipif(importlib.util.find_spec("lightshow") is None,
                                     reason="needs Lightshow (pip install --no-deps lightshow)")
QUICK = 'family = "kernel"\n[model]\nn_components = 2\nn_components_low = 2\n'


def plain_runs(folder: Path, number: int = 3) -> Path:
    """Clusters of as many networks, all finished."""
    for k in range(number):
        one = write_input(folder / f"net_{k}" / "site_0", cell(k).positions)
        write_xmu(one, k, shift=0.3 * k)
    return folder


def with_manifest(folder: Path, sites: int = 4, seeds: tuple[int, ...] = (1, 2, 3)) -> Path:
    """What `diffxas decks` leaves, without Lightshow: structures, a list, and inputs."""
    structures = [cell(seed, name=f"n{seed}") for seed in seeds]
    rows = []
    for structure in structures:
        name = structure.info["name"]
        for site in range(0, 2 * sites, 2):
            atoms = structure.to_atoms().repeat(3)
            near = atoms.positions - atoms.positions[13 * len(structure) + site]
            near = near[np.argsort(np.linalg.norm(near, axis=1))][:60]
            rows.append({"folder": f"{name}/{site:03}_C", "structure": name, "site": site})
            write_input(folder / name / f"{site:03}_C", near)
    write_structures(folder / "structures.extxyz",
                     [s.with_info(parent=s.info["name"]) for s in structures])
    (folder / "decks.json").write_text(json.dumps({
        "kind": "decks", "code": "feff", "decks": rows,
        "structures": [dict(s.info) for s in structures]}))
    return folder


def finish(folder: Path, but: int = 0) -> list[Path]:
    """Give every run but the last ``but`` a table."""
    runs = sorted(path.parent for path in folder.rglob("feff.inp"))
    for k, one in enumerate(runs[:len(runs) - but]):
        write_xmu(one, k, shift=0.1 * (k % 3))
    return runs


def refused_after_reading(*words: object) -> str:
    """The last line of a refusal that the runs themselves gave cause for, after the bar."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    return last


@needs_lightshow
def test_round_trip_from_structures_to_a_surrogate(tmp_path):
    """Decks, runs (made up), a training set, a trained model: every site is where it was."""
    frames = [cell(seed, 0.08, name=f"n{seed}") for seed in (11, 12, 13)]
    frames = [f.with_positions(_apart(f.positions, f.cell)).with_info(
        name=f.info["name"], parent=f.info["name"]) for f in frames]
    write_structures(tmp_path / "networks.extxyz", frames)
    decks, out = tmp_path / "decks", tmp_path / "set"
    written = run("decks", tmp_path / "networks.extxyz", "--code", "feff", "--sites", 4, "--seed",
                  3, "--out", decks)
    assert written.exit_code == 0 and "12 decks of 3 structures" in written.stdout
    runs = finish(decks, but=2)
    collected = run("collect", decks, "--out", out, "--held-out", 0.3)
    assert collected.exit_code == 0, collected.output
    assert "10 of 12 runs finished, C:K, 3 structures" in collected.stdout
    for unfinished in runs[-2:]:
        assert f"{unfinished.relative_to(decks)} " in collected.stdout
    items = load_training_data([out])
    assert sum(len(item.sites) for item in items) == 10 and len(items) == 3
    assert sorted(item.part for item in items) == [0, 0, 1]
    known = {f.info["name"]: f for f in frames}
    for item in items:
        np.testing.assert_allclose(item.structure.positions, known[item.name].positions, atol=1e-6)
        for site, mu in zip(item.sites, item.spectra, strict=True):
            k = runs.index(decks / item.name / f"{site:03}_C")
            np.testing.assert_allclose(mu, curve(item.energy, k), atol=0.15)
    (tmp_path / "kernel.toml").write_text(QUICK)
    trained = run("train", "surrogate", out, "--config", tmp_path / "kernel.toml", "--out",
                  tmp_path / "model")
    assert trained.exit_code == 0, trained.output
    record = json.loads((tmp_path / "model" / "config.json").read_text())
    held_out = next(item.name for item in items if item.part == 1)
    assert record["training"]["parents"] == sorted(known.keys() - {held_out})


def _apart(positions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """No two atoms on one spot: each is drawn a little to the middle of its box."""
    boxes = np.stack(np.meshgrid(range(2), range(3), range(4), indexing="ij"), -1).reshape(-1, 3)
    middle = (boxes + 0.5) / (2, 3, 4) @ vectors
    return np.asarray(middle + 0.5 * (positions - middle))


def test_decks_lead_back_to_their_structures_and_sites(tmp_path):
    finish(with_manifest(tmp_path))
    found = collect(tmp_path)
    assert len(found.finished) == 12 and not found.unfinished
    assert {(r.name, r.site) for r in found.finished} == {
        (f"n{n}", s) for n in (1, 2, 3) for s in (0, 2, 4, 6)}
    assert found.structures["n2"].pbc.all() and len(found.structures["n2"]) == 24
    assert np.diff(found.energy) == pytest.approx(0.25) and found.energy[0] % 0.25 == 0
    starts = [r.found.energy[0] for r in found.finished if r.found]
    ends = [r.found.energy[-1] for r in found.finished if r.found]
    assert 0 <= found.energy[0] - max(starts) < 0.25 and 0 <= min(ends) - found.energy[-1] < 0.25


def test_spectra_are_interpolated_to_a_hundredth(tmp_path):
    """Against the law of the fakes; the top of a peak between two points of FEFF is cut."""
    plain_runs(tmp_path)
    found = collect(tmp_path, CollectOptions(grid=(282.0, 310.0, 0.5)))
    np.testing.assert_allclose(found.energy, np.arange(282.0, 310.25, 0.5))
    for run_, mu in zip(found.finished, found.mu, strict=True):
        k = int(run_.folder[4])
        np.testing.assert_allclose(mu, curve(found.energy, k), rtol=0.01)


def test_a_plain_folder_gives_clusters_with_the_absorber_first(tmp_path):
    plain_runs(tmp_path / "runs")
    result = run("collect", tmp_path / "runs")
    assert result.exit_code == 0 and "3 of 3 runs finished" in result.stdout
    items = load_site_spectra([tmp_path / "runs" / "collected" / name
                               for name in ("structures.extxyz", "spectra.npz")])
    assert [item.name for item in items] == [f"net_{k}_site_0" for k in range(3)]
    for k, item in enumerate(items):
        assert item.sites.tolist() == [0] and not item.structure.pbc.any()
        expected = cell(k).positions - cell(k).positions[0]
        np.testing.assert_allclose(item.structure.positions, expected, atol=1e-5)
        assert (item.theory, item.element, item.edge, item.part) == ("FEFF", "C", "K", 0)
    again = run("collect", tmp_path / "runs")  # the earlier set is replaced
    assert again.exit_code == 0 and "3 of 3" in again.stdout


def test_training_takes_a_folder_of_runs_and_warns_of_the_unfinished(tmp_path):
    finish(with_manifest(tmp_path), but=1)
    with pytest.warns(UserWarning, match="1 of 12 runs"):
        items = load_training_data([tmp_path])
    assert [(i.name, len(i.sites)) for i in items] == [("n1", 4), ("n2", 4), ("n3", 3)]


def test_unfinished_runs_are_listed_with_their_reason(tmp_path):
    runs = finish(with_manifest(tmp_path), but=1)
    text = (runs[1] / "xmu.dat").read_text()
    (runs[1] / "xmu.dat").write_text(text[:-40])
    (runs[2] / "xmu.dat").write_text("".join(text.splitlines(keepends=True)[:50]))
    write_log(runs[3], converged=False)
    shutil.copy(runs[8] / "feff.inp", runs[4] / "feff.inp")  # of another structure
    (runs[5] / "feff.inp").unlink()
    result = run("collect", tmp_path, "--out", tmp_path / "set")
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if "_C  " in line}
    for one, told in ((1, "its last line is not whole"), (2, "ends at k"), (3, "not converge"),
                      (4, "not of site 0"), (5, "no feff.inp"), (11, "no xmu.dat")):
        assert told in lines[str(runs[one].relative_to(tmp_path))]
    assert "6 of 12 runs finished" in result.stdout
    record = json.loads((tmp_path / "set" / "collect.json").read_text())
    assert len(record["unfinished"]) == 6 and record["sites"] == 6
    kept = run("collect", tmp_path, "--out", tmp_path / "set", "--keep-unconverged")
    assert "7 of 12 runs finished" in kept.stdout


def test_a_run_that_ends_before_the_others_is_cut_short_whatever_its_card_says(tmp_path):
    runs = finish(with_manifest(tmp_path))
    for one in runs:
        text = (one / "feff.inp").read_text()
        (one / "feff.inp").write_text(text.replace("FMS", "EGRID\nk_grid 0 3.6 0.07\nFMS"))
    write_xmu(runs[0], last=3.0)
    (unfinished,) = collect(tmp_path).unfinished
    assert unfinished.folder == "n1/000_C" and "others at 3.6" in unfinished.reason


def test_a_run_that_does_not_cover_the_asked_energies_is_listed(tmp_path):
    plain_runs(tmp_path)
    found = collect(tmp_path, CollectOptions(grid=(271.1, 320.0, 0.5)))
    assert [r.folder for r in found.unfinished] == ["net_2/site_0"]
    assert "covers 271.3" in found.unfinished[0].reason and len(found.finished) == 2


def test_nothing_finished_is_a_failure_that_writes_nothing(tmp_path):
    with_manifest(tmp_path / "runs")
    result = run("collect", tmp_path / "runs", "--out", tmp_path / "set")
    assert result.exit_code == 1 and "none of 12 runs" in result.stderr
    assert "no xmu.dat" in result.stdout and not (tmp_path / "set").exists()
    with pytest.raises(InputError, match="12 unfinished"):
        load_training_data([tmp_path / "runs"])


def test_held_out_networks_take_their_descendants_along(tmp_path):
    folder = with_manifest(tmp_path / "runs")
    finish(folder)
    text = (folder / "structures.extxyz").read_text()
    (folder / "structures.extxyz").write_text(text.replace("parent=n2", "parent=n1"))
    (tmp_path / "names.txt").write_text("# one a line\nn1\n")
    out = tmp_path / "set"
    result = run("collect", folder, "--out", out, "--held-out", tmp_path / "names.txt")
    assert "held out: n1 (8 sites)" in result.stdout
    with np.load(out / "spectra.npz") as content:
        assert set(content["source"][content["split"] == 1]) == {"n1", "n2"}
    (tmp_path / "names.txt").write_text("n2\n")
    words = ("collect", folder, "--out", out, "--held-out", tmp_path / "names.txt")
    assert "n1 on both" in refused_after_reading(*words)
    assert run(*words, "--allow-leak").exit_code == 0
    from surrogates.training import SurrogateTraining, split

    items = load_training_data([out])
    with pytest.raises(InputError, match="on both"):
        split(items, SurrogateTraining())
    assert {i.name for i in split(items, SurrogateTraining(allow_leak=True))} == {"n1", "n3"}


def test_clusters_of_unknown_networks_are_not_split_by_site(tmp_path):
    plain_runs(tmp_path / "runs", 4)
    out = tmp_path / "set"
    words = ("collect", tmp_path / "runs", "--out", out, "--held-out", 0.5)
    assert "--networks" in refused_after_reading(*words)
    table = tmp_path / "networks.csv"
    table.write_text("".join(f"net_{k}/site_0,{'AB'[k // 2]}\n" for k in range(4)))
    result = run(*words, "--networks", table)
    assert result.exit_code == 0, result.output
    with np.load(out / "spectra.npz") as content:
        assert content["split"].tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    table.write_text("net_0/site_0 A\n")
    assert "line 1" in refused(*words, "--networks", table)


def test_what_cannot_be_collected_is_refused(tmp_path):
    runs = plain_runs(tmp_path / "runs")
    out = tmp_path / "set"
    assert "check the path" in refused("collect", tmp_path / "absent", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "feff.inp" in refused("collect", tmp_path / "empty", "--out", out)
    out.mkdir()
    (out / "notes.txt").touch()
    assert "other files" in refused("collect", runs, "--out", out)
    (out / "notes.txt").unlink()
    assert "share" in refused("collect", runs, "--out", out, "--held-out", 1.5, "--allow-leak")
    assert "must be a file" in refused("collect", runs, "--out", out, "--held-out", "absent.txt")
    assert "20 steps" in refused_after_reading("collect", runs, "--out", out, "--grid", 280, 282, 1)
    listed = tmp_path / "empty" / "decks.json"
    for content, told in (
            ({"kind": "decks", "code": "vasp", "structures": [], "decks": []}, "of vasp"),
            ({"kind": "decks", "code": "feff", "structures": [],
              "decks": [{"structure": "a", "site": 0, "folder": "a"}]}, "not listed"),
            ({"kind": "decks"}, "structures"), ({}, "kind"), ([], "decks.json")):
        listed.write_text(json.dumps(content))
        assert told in refused("collect", tmp_path / "empty", "--out", out)
    with_manifest(tmp_path / "short")
    structures = tmp_path / "short" / "structures.extxyz"
    structures.write_text("".join(structures.read_text().splitlines(keepends=True)[:26]))
    assert "3 structures" in refused("collect", tmp_path / "short", "--out", out)


def test_folders_whose_names_are_numbers_stay_names(tmp_path):
    """Extended XYZ would read 0001 as one."""
    for name in ("0001", "1e5", "T", "1_0"):
        write_xmu(write_input(tmp_path / "runs" / name, cell(len(name)).positions))
    assert "4 of 4 runs" in run("collect", tmp_path / "runs").stdout
    items = load_training_data([tmp_path / "runs" / "collected"])
    assert sorted(item.name for item in items) == ["s_0001", "s_1_0", "s_1e5", "s_T"]


@pytest.mark.parametrize(("change", "told"), [({"COREHOLE": "RPA"}, "COREHOLE RPA"),
                                              ({"EDGE": "L3"}, "C:L3")])
def test_runs_of_two_theories_are_not_mixed(tmp_path, change, told):
    plain_runs(tmp_path)
    write_xmu(write_input(tmp_path / "other", cell(7).positions, **change))
    with pytest.raises(InputError, match=told):
        collect(tmp_path)


def test_two_folders_of_decks_whose_names_meet_are_kept_apart(tmp_path):
    finish(with_manifest(tmp_path / "a", 2, (1, 2)))
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # the same again: not twice
    finish(with_manifest(tmp_path / "c", 2, (5,)))
    for path in (tmp_path / "c" / "structures.extxyz", tmp_path / "c" / "decks.json"):
        path.write_text(path.read_text().replace("n5", "n1"))
    (tmp_path / "c" / "n5").rename(tmp_path / "c" / "n1")
    found = collect(tmp_path)
    assert len(found.finished) == 6 and set(found.structures) == {"n1", "n2", "n1_2"}
    assert all("the same site as a/" in run_.reason for run_ in found.unfinished)
    assert len(found.unfinished) == 4


def test_the_shared_runs(shared_data, tmp_path):
    result = run("collect", shared_data / "formats" / "feff", "--out", tmp_path / "set")
    assert result.exit_code == 0
    assert "1 of 2 runs finished, C:K, 1 structures, 225 points" in result.stdout
    (item,) = load_training_data([tmp_path / "set"])
    assert item.name == "nep_104_7" and len(item.structure) == 104
    assert item.spectra[0, -1] == pytest.approx(0.926, abs=1e-3)
    assert item.energy[0] == 270.75 and item.energy[-1] == 326.75
