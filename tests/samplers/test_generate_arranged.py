"""Runs with seeds, fixed atoms, pores and slabs keep what they promise, relaxed or not."""

import json
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import graphene, make_supercell
from command_runner import refused, run
from small_runs import OPTIONS, cell_spectrum, content, require_weights

from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.structure_files import read_structures, write_structures
from samplers.generation import generate_to
from samplers.open_space import open_space
from samplers.regions import parse_region

BARE = replace(OPTIONS, density=None, atoms=None, samples=1, steps=4, guidance=False)

pytestmark = pytest.mark.usefixtures("one_prior", "unreported")


@pytest.fixture(autouse=True)
def weights() -> None:
    require_weights()


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graphite sheet of 24 atoms across a cell of 9 angstrom, one of them an image away."""
    atoms = make_supercell(graphene(vacuum=4.5), [[1, 0, 0], [1, 2, 0], [0, 0, 1]]) * (3, 2, 1)
    atoms.pbc = True
    atoms.positions[5] -= atoms.cell.array[0]
    path = tmp_path_factory.mktemp("sheet") / "sheet.extxyz"
    write_structures(path, Structure.from_atoms(atoms))
    return path


def outcome(out: Path) -> tuple[dict, list[Structure], list[Structure]]:
    """Summary, sampled and relaxed structures."""
    relaxed = out / "relaxed.extxyz"
    return (json.loads((out / "summary.json").read_text()),
            read_structures(out / "structures.extxyz"),
            read_structures(relaxed) if relaxed.is_file() else [])


def test_fixed_atoms_are_kept_to_the_last_digit_and_new_ones_move(sheet, tmp_path):
    options = replace(BARE, start=sheet, fix="element:C", density=2.0)
    generate_to(None, tmp_path / "run", options, progress=False)
    summary, (sampled,), (relaxed,) = outcome(tmp_path / "run")
    (given,) = read_structures(sheet)
    for structure in (sampled, relaxed):
        np.testing.assert_array_equal(structure.positions[:24], given.positions)
        np.testing.assert_array_equal(structure.arrays["fixed"], np.arange(len(structure)) < 24)
        np.testing.assert_array_equal(structure.cell, given.cell)
    assert np.linalg.norm(relaxed.positions[24:] - sampled.positions[24:], axis=1).max() > 0.05
    numbers = summary["arrangement"]
    assert numbers["fixed_atoms"] == 24 and numbers["new_atoms"] == len(sampled) - 24
    mass = 12.011 * 1.66053906660
    assert numbers["density_open"] == pytest.approx(
        numbers["new_atoms"] * mass / numbers["open_volume"], rel=1e-6)
    assert numbers["density_cell"] == pytest.approx(len(sampled) * mass / given.volume, rel=1e-4)
    assert numbers["density_open"] == pytest.approx(2.0, abs=0.03)
    (sample,) = summary["samples"]
    assert sum(sample["coordination_not_fixed"].values()) == pytest.approx(1.0)
    assert sample["energy_relaxed"] < sample["energy_sampled"]


def test_a_guided_run_keeps_fixed_atoms_too(sheet, tmp_path):
    options = replace(BARE, guidance=True, relax=False, start=sheet, fix="0-9", atoms=40)
    assert generate_to(cell_spectrum(), tmp_path / "run", options, progress=False) in (0, 3)
    summary, (sampled,), _ = outcome(tmp_path / "run")
    (given,) = read_structures(sheet)
    np.testing.assert_array_equal(sampled.positions[:10], given.positions[:10])
    assert summary["guided"] and summary["arrangement"]["dropped_atoms"] == 14
    assert summary["samples"][0]["residual_sampled"] > 0


def test_no_atom_is_sampled_in_a_pore(tmp_path):
    forbid = ("sphere:1,4,4,2.5", "above:z=7.5")
    options = replace(BARE, cell=(9.0, 9.0, 9.0), density=2.5, samples=2, relax=False,
                      forbid=forbid)
    generate_to(None, tmp_path / "run", options, progress=False)
    summary, sampled, _ = outcome(tmp_path / "run")
    closed = open_space(sampled[0].cell, sampled[0].pbc, [parse_region(text) for text in forbid])
    for structure in sampled:
        assert not closed.forbidden(structure.positions).any()
    assert [s["in_forbidden"] for s in summary["samples"]] == [0, 0]
    plain = replace(options, forbid=(), density=None, atoms=len(sampled[0]))
    generate_to(None, tmp_path / "plain", plain, progress=False)  # the control
    _, (control, _), _ = outcome(tmp_path / "plain")
    assert closed.forbidden(control.positions).sum() > 5
    assert summary["arrangement"]["forbidden"] == list(forbid)


def test_a_slab_has_vacuum_and_no_bonds_across_it(tmp_path):
    options = replace(BARE, density=2.5, atoms=64, pbc="TTF", vacuum=15.0,
                      formats=("data", "vasp", "cif"))
    generate_to(None, tmp_path / "run", options, progress=False)
    summary, (sampled,), (relaxed,) = outcome(tmp_path / "run")
    edge = sampled.cell[0, 0]
    for structure in (sampled, relaxed):
        assert structure.pbc.tolist() == [True, True, False]
        np.testing.assert_allclose(structure.cell.diagonal(), [edge, edge, edge + 15.0])
    heights = sampled.positions[:, 2]
    assert heights.min() >= 0 and heights.max() <= edge
    assert summary["arrangement"]["density_cell"] == pytest.approx(
        2.5 * edge / (edge + 15.0), rel=1e-3)
    assert relaxed.positions[:, 2].max() - relaxed.positions[:, 2].min() < edge + 4
    as_data = ase.io.read(tmp_path / "run" / "relaxed_0.data", format="lammps-data")
    assert len(as_data) == 64 and as_data.cell[2, 2] == pytest.approx(edge + 15.0)


def test_a_seed_at_low_noise_is_found_again_and_at_high_noise_forgotten(tmp_path):
    networks = Path(__file__).parents[2] / "experiments/data/a-C-NEP/networks_300K.extxyz"
    network = next(n for n in read_structures(networks) if 2.4 < n.density < 2.6)
    seed = tmp_path / "seed.extxyz"
    write_structures(seed, Structure(network.positions, network.numbers, network.cell))
    moved = {}
    for sigma, steps in ((0.1, 64), (1.2, 8)):
        options = replace(BARE, start=seed, start_noise=sigma, steps=steps, relax=False)
        out = tmp_path / f"run{sigma}"
        generate_to(None, out, options, progress=False)
        summary, (sampled,), _ = outcome(out)
        assert len(sampled) == len(network) and summary["arrangement"]["fixed_atoms"] == 0
        np.testing.assert_allclose(sampled.cell, network.cell)
        delta = (sampled.positions - network.positions) @ np.linalg.inv(network.cell)
        delta = (delta - np.round(delta)) @ network.cell
        moved[sigma] = np.sqrt((delta**2).sum(1).mean())
    assert moved[0.1] < 0.25 < 0.8 < moved[1.2]


def test_some_atoms_go_on_and_the_others_stay(tmp_path, sheet):
    options = replace(BARE, start=sheet, fix="0-11", start_noise=0.2, relax=False)
    generate_to(None, tmp_path / "run", options, progress=False)
    _, (sampled,), _ = outcome(tmp_path / "run")
    (given,) = read_structures(sheet)
    np.testing.assert_array_equal(sampled.positions[:12], given.positions[:12])
    assert np.abs(sampled.positions[12:] - given.positions[12:]).max() > 0.05


def test_the_identity_holds_the_options_and_the_file_s_content(sheet, tmp_path):
    seed = tmp_path / "seed.extxyz"
    seed.write_bytes(sheet.read_bytes())
    options = replace(BARE, start=seed, fix="element:C", density=2.0, relax=False)
    generate_to(None, tmp_path / "run", options, progress=False)
    before = content(tmp_path / "run")
    generate_to(None, tmp_path / "run", replace(options, start=sheet), progress=False)  # a copy
    for change in ({"fix": "0-23"}, {"forbid": ("sphere:1,1,1,1",)}, {"pbc": "TTF"}):
        with pytest.raises(InputError, match=next(iter(change))):
            generate_to(None, tmp_path / "run", replace(options, **change), progress=False)
    (given,) = read_structures(sheet)
    write_structures(seed, given.with_positions(given.positions + 0.1))
    with pytest.raises(InputError, match="start"):
        generate_to(None, tmp_path / "run", options, progress=False)
    assert content(tmp_path / "run") == before


def test_one_seed_gives_one_structure_whatever_was_drawn_before(tmp_path):
    options = replace(BARE, cell=(9.0, 9.0, 9.0), density=2.0, relax=False,
                      forbid=("sphere:4,4,4,2",))
    for name, samples in (("one", 1), ("two", 2)):
        generate_to(None, tmp_path / name, replace(options, samples=samples), progress=False)
    one, two = (outcome(tmp_path / name)[1] for name in ("one", "two"))
    np.testing.assert_array_equal(one[0].positions, two[0].positions)
    assert np.abs(two[0].positions - two[1].positions).max() > 0.1


def test_the_command_line_takes_the_options_and_says_what_is_open(sheet, tmp_path):
    out = tmp_path / "run"
    words = ("generate", "--no-guidance", "--start", sheet, "--fix", "below:x=3", "--density", 2.0,
             "--forbid", "sphere:4,4,1,1", "--forbid", "below:z=0.5", "--pbc", "TTF", "--vacuum",
             12, "--samples", 1, "--steps", 2, "--no-relax", "--out", out)
    result = run(*words)
    assert result.exit_code == 0, result.output
    for told in ("open volume", "density over the open volume", "density of the whole cell",
                 "of the file left out", "sphere:4,4,1,1, below:z=0.5", "periodic: TTF"):
        assert told in result.stdout
    assert run(*words).exit_code == 0


@pytest.mark.parametrize(("words", "told"), [
    (("--fix", "0"), "--start"), (("--density", 2, "--vacuum", 15), "--pbc TTF"),
    (("--density", 2, "--forbid", "cone:1"), "sphere:6,6,6,4"),
    (("--density", 2, "--forbid", "sphere:1,1,1,2", "--cell-too"), "--cell-too"),
])
def test_bad_requests_leave_no_folder(words, told, tmp_path):
    if "--density" not in words:
        words = (*words, "--density", 2)
    assert told in refused("generate", "--no-guidance", *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
