"""The command line: its words, its exit codes, and what it says of bad input."""

import json
from collections.abc import Callable
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
from command_runner import refused, run

import diffxas

WORDS = {
    "generate": ["--density", "--atoms", "--samples", "--seed", "--out", "--edge", "--steps",
                 "--no-guidance", "--no-relax", "--potential", "--cell", "--window",
                 "--target-kind", "--columns", "--format", "--device", "--prior", "--surrogate",
                 "--relax-restraint"],
    "predict": ["--out", "--sites", "--edge", "--surrogate"],
    "compare": ["--out", "--window", "--columns"],
    "describe": ["--out", "--window", "--columns", "--edge", "--model"],
    "inspect": ["--out", "--columns", "--edge"],
    "relax": ["--out", "--potential", "--cell-too"],
    "analyse": ["--out", "--reference"],
    "quench": ["--density", "--atoms", "--composition", "--potential", "--rate", "--cells",
               "--seed", "--out", "--melt", "--melt-ps", "--timestep", "--anneal", "--anneal-ps",
               "--snapshot-300K", "--workers"],
    "decks": ["--code", "--sites", "--out", "--edge", "--seed", "--card", "--radius"],
    "collect": ["--out", "--grid", "--held-out", "--networks", "--allow-leak"],
    "evaluate": ["prior"],
    "models": [],
}


def edge_curve(energy: np.ndarray, e0: float = 285.0) -> np.ndarray:
    """A step with a peak on it."""
    return 1 / (1 + np.exp(-2 * (energy - e0))) + np.exp(-((energy - e0 - 1) ** 2))


ENERGY = np.arange(270.0, 320.0, 0.25)


def write_curve(path: Path, energy: np.ndarray, mu: np.ndarray, header: str = "energy,mu") -> Path:
    path.write_text(header + "\n" + "".join(
        f"{e:.6g},{m:.6g}\n" for e, m in zip(energy, mu, strict=True)))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return write_curve(tmp_path / "film.csv", ENERGY, edge_curve(ENERGY))


@pytest.fixture
def diamond(tmp_path: Path) -> Path:
    """Eight atoms, rattled, so that a relaxation has work to do."""
    atoms = ase.build.bulk("C", "diamond", a=3.57, cubic=True)
    atoms.rattle(0.05, seed=1)
    ase.io.write(tmp_path / "diamond.vasp", atoms)
    return tmp_path / "diamond.vasp"


@pytest.fixture
def two_frames(tmp_path: Path) -> Path:
    frames = [ase.build.bulk("C", "diamond", a=a, cubic=True) for a in (3.5, 3.7)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    ase.io.write(tmp_path / "two.extxyz", frames)
    return tmp_path / "two.extxyz"


@pytest.fixture
def shipped_surrogate() -> None:
    from surrogates.loading import SHIPPED

    if not (SHIPPED / "a-C" / "config.json").exists():
        pytest.skip(f"needs the shipped surrogate, which is not in {SHIPPED}")


def test_help_has_the_words_that_scripts_rely_on() -> None:
    listed = run("--help").output
    for command, options in WORDS.items():
        assert f"\n  {command} " in listed
        text = run(command, "--help").output
        assert [option for option in options if f" {option} " not in text] == []
    assert run("--version").output == f"diffxas, version {diffxas.__version__}\n"
    assert all(word in run("train", "--help").output for word in ("prior", "surrogate"))


BAD_TARGETS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "check the path"),
    "folder": (lambda path: path.mkdir(), "folder"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "binary": (lambda path: path.write_bytes(bytes(range(256)) * 4), "binary"),
    "no numbers": (lambda path: path.write_text("once upon a time\n" * 30), "numbers"),
    "NaN": (lambda path: write_curve(path, ENERGY, np.where(ENERGY == 290, np.nan, ENERGY)),
            "nan"),
    "few points": (lambda path: write_curve(path, ENERGY[:19], ENERGY[:19]), "20 points"),
    "decreasing": (lambda path: write_curve(path, ENERGY[::-1], ENERGY), "decrease"),
    "duplicate": (lambda path: write_curve(path, np.repeat(ENERGY, 2), np.repeat(ENERGY, 2)),
                  "repeat"),
    "flat": (lambda path: write_curve(path, ENERGY, np.ones_like(ENERGY)), "flat"),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_a_bad_target_is_refused_by_all_that_read_one(case: str, tmp_path: Path, diamond: Path,
                                                      ) -> None:
    make, word = BAD_TARGETS[case]
    bad, out = tmp_path / "target.csv", tmp_path / "out"
    make(bad)
    for command in (["inspect", bad], ["compare", bad, diamond], ["generate", bad, "--density", 2]):
        line = refused(*command, "--out", out)
        assert word in line and str(bad) in line
    assert not out.exists()


def test_an_edge_that_the_data_miss_is_refused(tmp_path: Path, target: Path) -> None:
    line = refused("inspect", target, "--edge", "Cu:K", "--out", tmp_path / "out")
    assert "8979" in line and "--edge" in line
    assert "285" in refused("inspect", target, "--window", 290, 310, "--out", tmp_path / "out")
    assert "310 290" in refused("inspect", target, "--window", 310, 290, "--out", tmp_path / "out")
    assert "'C'" in refused("inspect", target, "--edge", "C", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_flags_of_inspect_lead_to_the_same_numbers(tmp_path: Path, target: Path) -> None:
    result = run("inspect", target, "--out", tmp_path / "first")
    assert result.exit_code == 0
    assert "energy = energy (column 1)" in result.stdout.splitlines()[0]
    flags = next(line for line in result.stdout.splitlines() if line.startswith("flags: "))
    again = run("inspect", target, "--out", tmp_path / "second", *flags.split()[1:])
    assert again.exit_code == 0
    first, second = (json.loads((tmp_path / name / "inspect.json").read_text())
                     for name in ("first", "second"))
    assert first.pop("columns") in second.pop("columns")  # the second adds that it was told so
    assert first == second and first["edge_step"] > 0


def test_columns_choose_among_ambiguous_ones(tmp_path: Path) -> None:
    path = tmp_path / "beamline.dat"
    rows = np.column_stack([ENERGY, edge_curve(ENERGY), 2 * edge_curve(ENERGY)])
    np.savetxt(path, rows, header="energy PFY TEY", comments="# ")
    assert "--columns" in refused("inspect", path, "--out", tmp_path / "out")
    chosen = run("inspect", path, "--columns", "energy=1,signal=3", "--out", tmp_path / "out")
    assert chosen.exit_code == 0 and "column 3" in chosen.stdout


def test_the_default_edge_leaves_a_files_own_edge(tmp_path: Path, diamond: Path,
                                                  shipped_surrogate: None) -> None:
    """A copper file must not become carbon silently; --edge says so loudly."""
    energy = np.arange(8900.0, 9100.0, 0.5)
    path = tmp_path / "cu.xdi"
    path.write_text("# XDI/1.0\n# Element.symbol: Cu\n# Element.edge: K\n# Column.1: energy eV\n"
                    "# Column.2: mu\n#---\n# energy mu\n" + "".join(
                        f"{e:.2f} {m:.6f}\n"
                        for e, m in zip(energy, edge_curve(energy, 8979.0), strict=True)))
    assert "Cu:K" in run("inspect", path, "--out", tmp_path / "cu").stdout
    line = refused("compare", path, diamond, "--out", tmp_path / "out")
    assert "cu-k-feff (Cu:K), received C in diamond" in line
    line = refused("compare", path, diamond, "--surrogate", "a-C", "--out", tmp_path / "out")
    assert "must be C:K for the surrogate a-C, received Cu:K" in line
    line = refused("compare", path, diamond, "--edge", "C:K", "--out", tmp_path / "out")
    assert "8900" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["predict", "relax", "analyse"])
def test_bad_structure_files_are_refused(command: str, tmp_path: Path, diamond: Path) -> None:
    out = tmp_path / ("out" if command == "analyse" else "out.extxyz")
    assert "nix.cif" in refused(command, tmp_path / "nix.cif", "--out", out)
    (tmp_path / "bad.cif").write_text("not a crystal\n")
    assert "bad.cif" in refused(command, tmp_path / "bad.cif", "--out", out)
    ase.io.write(tmp_path / "molecule.xyz", ase.build.molecule("CH4"))
    assert "cell" in refused(command, tmp_path / "molecule.xyz", "--out", out)
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "diamond.vasp"
    twin.write_bytes(diamond.read_bytes())
    assert "stem" in refused(command, diamond, twin, "--out", out)
    assert not out.exists()


def test_predict_names_its_columns_and_keeps_to_its_own_files(
        tmp_path: Path, diamond: Path, two_frames: Path, shipped_surrogate: None) -> None:
    out = tmp_path / "spectra.csv"
    for _ in range(2):  # the second replaces the first
        assert run("predict", diamond, two_frames, "--out", out).exit_code == 0
    assert out.read_text().splitlines()[0] == "energy,diamond,two#0,two#1"
    cells = np.loadtxt(out, delimiter=",", skiprows=1)
    assert cells.shape == (100, 4)
    assert run("predict", two_frames, "--sites", "--out", out).exit_code == 0
    header = out.read_text().splitlines()[0].split(",")
    assert header[:2] == ["energy", "two#0:0"] and header[-1] == "two#1:7"
    sites = np.loadtxt(out, delimiter=",", skiprows=1)
    assert sites[:, 1:9].mean(axis=1) == pytest.approx(cells[:, 2], abs=1e-6)
    mine = tmp_path / "notes.csv"
    mine.write_text("dear diary")
    assert "notes.csv" in refused("predict", diamond, "--out", mine)
    assert mine.read_text() == "dear diary"
    mine.write_text("energy,mu\n280,0.1\n")  # a spectrum, not a table of ours
    assert "notes.csv" in refused("predict", diamond, "--out", mine)
    assert mine.read_text() == "energy,mu\n280,0.1\n"
    assert str(tmp_path) in refused("predict", diamond, "--out", tmp_path)
    before = diamond.read_bytes()
    assert "inputs" in refused("predict", diamond, "--out", diamond)
    assert diamond.read_bytes() == before


def test_what_the_surrogate_does_not_know_is_refused(tmp_path: Path, diamond: Path,
                                                     shipped_surrogate: None) -> None:
    ase.io.write(tmp_path / "sic.vasp", ase.build.bulk("SiC", "zincblende", a=4.36))
    out = tmp_path / "out.csv"
    assert "Si" in refused("predict", tmp_path / "sic.vasp", "--out", out)
    line = refused("predict", diamond, "--surrogate", "a-C", "--edge", "Cu:K", "--out", out)
    assert "must be C:K for the surrogate a-C, received Cu:K" in line
    line = refused("predict", diamond, "--edge", "O:K", "--out", out)
    assert "C:K" in line and "received O:K" in line
    assert "nix" in refused("predict", diamond, "--surrogate", "nix", "--out", out)
    assert not out.exists()


def test_compare_prints_and_writes_a_ranking(tmp_path: Path, diamond: Path, two_frames: Path,
                                             shipped_surrogate: None) -> None:
    """The spectrum of a structure, taken as target, fits that structure best."""
    table = tmp_path / "spectra.csv"
    assert run("predict", diamond, "--out", table).exit_code == 0
    result = run("compare", table, two_frames, diamond, "--out", tmp_path / "out")
    assert result.exit_code == 0
    ranking = (tmp_path / "out" / "compare.csv").read_text().splitlines()
    assert ranking[1].startswith("1,diamond,")
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["target_kind"] == "computed"
    assert "diamond" in next(line for line in result.stdout.splitlines() if line.startswith("1 "))


def test_relax_writes_every_frame_in_order(tmp_path: Path, two_frames: Path) -> None:
    out = tmp_path / "relaxed.extxyz"
    result = run("relax", two_frames, "--out", out)
    assert result.exit_code == 0
    before, after = (ase.io.read(path, index=":") for path in (two_frames, out))
    assert [atoms.cell.array[0, 0] for atoms in after] == pytest.approx(
        [atoms.cell.array[0, 0] for atoms in before])
    for atoms in after:
        assert np.abs(atoms.get_forces()).max() < 0.011
        assert f"-> {atoms.get_potential_energy() / 8:.4f}" in result.stdout


def test_relax_leaves_everything_as_it_was_on_bad_input(tmp_path: Path, two_frames: Path) -> None:
    before = two_frames.read_bytes()
    assert "inputs" in refused("relax", two_frames, "--out", two_frames)
    assert two_frames.read_bytes() == before
    assert "rebo" in refused("relax", two_frames, "--out", tmp_path / "o.cif", "--potential", "x")
    assert "one structure" in refused("relax", two_frames, "--out", tmp_path / "o.vasp")
    assert ".extxyz" in refused("relax", two_frames, "--out", tmp_path / "o.pdb")
    assert "restraint" in refused("relax", two_frames, "--out", tmp_path / "o.cif", "--cell-too",
                                  "--relax-restraint", 1)
    slab = tmp_path / "slab.extxyz"
    ase.io.write(slab, ase.build.graphene(vacuum=8.0))
    assert "slab must be periodic" in refused("relax", two_frames, slab, "--cell-too", "--out",
                                              tmp_path / "o.cif")
    assert list(tmp_path.glob("o.*")) == []


def test_a_failed_relaxation_is_kept_and_told(tmp_path: Path, two_frames: Path) -> None:
    frames = ase.io.read(two_frames, index=":")
    frames[1].positions[1] = frames[1].positions[0]
    ase.io.write(two_frames, frames)
    result = run("relax", two_frames, "--out", tmp_path / "relaxed.extxyz")
    assert result.exit_code == 1
    assert "two#1" in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr
    assert len(ase.io.read(tmp_path / "relaxed.extxyz", index=":")) == 2


def test_analyse_takes_all_references_up_to_the_next_option(tmp_path: Path, diamond: Path,
                                                            two_frames: Path) -> None:
    other = tmp_path / "other.vasp"
    other.write_bytes(diamond.read_bytes())
    result = run("analyse", diamond, "--reference", two_frames, other, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert [one["label"] for one in found["structures"]] == ["diamond"]
    assert [one["label"] for one in found["references"]] == ["two#0", "two#1", "other"]
    assert "--reference two" not in result.stdout
    assert "received none" in refused("analyse", diamond, "--reference", "--out", tmp_path / "x")


def test_the_files_of_a_run_are_not_replaced(tmp_path: Path, two_frames: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    for command, name in (("relax", "relaxed.extxyz"), ("predict", "spectra.csv")):
        (tmp_path / "run" / name).write_text("energy,sampled_0\n")
        assert "run.json" in refused(command, two_frames, "--out", tmp_path / "run" / name)
        assert (tmp_path / "run" / name).read_text() == "energy,sampled_0\n"


@pytest.mark.parametrize("command", ["relax", "predict"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
        command: str, tmp_path: Path, two_frames: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--out" in refused(command, two_frames, "--out", tmp_path / "file" / "o.extxyz")


def test_a_training_does_not_go_into_a_file(tmp_path: Path, two_frames: Path) -> None:
    before = two_frames.read_bytes()
    assert "must be a folder" in refused("train", "prior", two_frames, "--out", two_frames)
    assert two_frames.read_bytes() == before
