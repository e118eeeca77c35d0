"""Decks: which absorbers, what stands in them, and what is refused."""

import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.spacegroup import crystal
from synthetic_sites import cell

from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.structure_files import read_structures
from surrogates import decks
from surrogates.decks import DeckOptions, choose, unlike_names, write_decks
from surrogates.feff import read_input
from surrogates.lightshow_codes import LIGHTSHOW

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lightshow") is None,
                                reason="needs Lightshow (pip install --no-deps lightshow)")

COPPER = DeckOptions("feff", "Cu", sites=None, cards={"SCF": "4.0", "FMS": "4.0"}, radius=4.5)
C_FEFF = {"cards": {}, "radius": 6.5}


@pytest.fixture(scope="module")
def tenorite() -> Structure:
    """CuO, two copies side by side with one oxygen moved: oxygen first, and sites that differ."""
    atoms = crystal(["O", "Cu"], [(0, 0.4184, 0.25), (0.25, 0.25, 0)], spacegroup=15,
                    cellpar=[4.6837, 3.4226, 5.1288, 90, 99.54, 90])
    atoms = atoms.repeat((2, 1, 1))
    atoms.positions[0] += [0.2, 0.1, 0.0]
    return Structure.from_atoms(atoms)


def carbon(name: str, seed: int = 0, **info: str) -> Structure:
    """24 atoms at the density of carbon, none on another."""
    boxes = cell(seed, 0.11)
    grid = np.stack(np.meshgrid(range(2), range(3), range(4), indexing="ij"), -1).reshape(-1, 3)
    shift = 0.6 * np.random.default_rng(seed).random((24, 3))
    return Structure((grid + 0.2 + shift) / (2, 3, 4) @ boxes.cell, boxes.numbers, boxes.cell,
                     info={"name": name, **info})


def distances(structure: Structure, site: int, radius: float) -> np.ndarray:
    atoms = structure.to_atoms()
    from ase.neighborlist import neighbor_list

    i, d = neighbor_list("id", atoms, radius)
    return np.sort(d[i == site])


def test_carbon_gets_the_settings_of_the_feff_set(tmp_path):
    structure = carbon("one")
    found = write_decks([("file", structure)], tmp_path / "out", DeckOptions("feff", sites=3))
    assert (found.decks, found.structures, found.missing) == (3, 1, {})
    content = json.loads((tmp_path / "out" / "decks.json").read_text())
    for deck in content["decks"]:
        asked = read_input(tmp_path / "out" / deck["folder"])
        assert (asked.element, asked.edge) == ("C", "K")
        assert asked.theory == {"COREHOLE": "FSR", "EXCHANGE": "0 0 0", "FMS": "4.2 0", "S02": "1",
                                "SCF": "3 0 100 0.2", "XANES": "3.6 0.07 0.2"}
        around = np.sort(np.linalg.norm(asked.cluster.positions[1:], axis=1))
        np.testing.assert_allclose(around, distances(structure, deck["site"], 6.5), atol=2e-5)
    assert not list(tmp_path.glob(".*"))
    (kept,) = read_structures(tmp_path / "out" / "structures.extxyz")
    np.testing.assert_allclose(kept.positions, structure.positions, atol=1e-7)
    assert (kept.info["name"], kept.info["parent"]) == ("one", "one")


def test_cards_are_replaced_added_and_left_out(tmp_path, tenorite):
    options = DeckOptions("feff", "Cu", sites=1, radius=5.0, cards={
        "SCF": "4.5 0 30", "FMS": "5.0 0", "EGRID": "", "NLEG": "4"})
    write_decks([("CuO", tenorite)], tmp_path / "out", options)
    (folder,) = (tmp_path / "out" / "CuO").iterdir()
    theory = read_input(folder).theory
    assert (theory["SCF"], theory["FMS"], theory["NLEG"]) == ("4.5 0 30", "5 0", "4")
    assert "EGRID" not in theory and theory["COREHOLE"] == "RPA"


def test_sites_are_those_that_symmetry_leaves_different(tenorite):
    plain = Structure.from_atoms(crystal(
        ["O", "Cu"], [(0, 0.4184, 0.25), (0.25, 0.25, 0)], spacegroup=15,
        cellpar=[4.6837, 3.4226, 5.1288, 90, 99.54, 90]))
    (one,) = choose([("CuO", plain)], COPPER, C_FEFF)
    assert one.sites.tolist() == [4] and one.multiplicity.tolist() == [4]
    (other,) = choose([("CuO", tenorite)], COPPER, C_FEFF)
    assert len(other.sites) > 2 and other.multiplicity.sum() == 8
    assert {tenorite.symbols[site] for site in other.sites} == {"Cu"}


def test_the_draw_hangs_on_seed_and_structure_alone_and_more_sites_contain_fewer():
    one, two = ("a", carbon("one")), ("b", carbon("two", 1))

    def drawn(labelled: list[tuple[str, Structure]], sites: int, seed: int = 0) -> dict[str, set]:
        options = DeckOptions("feff", sites=sites, seed=seed)
        return {c.name: set(c.sites) for c in choose(labelled, options, C_FEFF)}

    few, more = drawn([one], 4), drawn([two, one], 8)
    assert len(few["one"]) == 4 and few["one"] < more["one"] and more["one"] != more["two"]
    assert drawn([one], 4, seed=1) != few


def test_names_are_unlike_and_safe_and_a_snapshot_keeps_its_network():
    first, snapshot, other = carbon("net", 0), carbon("net", 3), carbon("a b/c:d", 2)
    labelled = [("relaxed#0", first), ("hot#0", snapshot), ("x", other)]
    assert unlike_names(labelled) == ["relaxed_net", "hot_net", "a_b_c_d"]
    chosen = choose(labelled, DeckOptions("feff", sites=1), C_FEFF)
    assert [c.structure.info["parent"] for c in chosen] == ["net", "net", "a b/c:d"]


def test_vasp_has_its_absorber_first_in_a_large_cell(tmp_path, tenorite):
    found = write_decks([("CuO", tenorite)], tmp_path / "out", DeckOptions("vasp", "Cu", "L3", 2))
    folders = sorted(p for p in (tmp_path / "out" / "CuO").iterdir() if p.name != "SCF")
    assert len(folders) == 2
    for folder in folders:
        site = int(folder.name[:3])
        atoms = ase.io.read(folder / "POSCAR")
        assert min(atoms.cell.lengths()) >= 9 and atoms.symbols[0] == "Cu"
        np.testing.assert_allclose(distances(Structure.from_atoms(atoms), 0, 4.0),
                                   distances(tenorite, site, 4.0), atol=1e-6)
        incar = (folder / "INCAR").read_text()
        assert "CLN = 2" in incar and "CLL = 1" in incar and "MAGMOM" in incar
    assert "CH_LSPEC" not in (tmp_path / "out" / "CuO" / "SCF" / "INCAR").read_text()
    assert set(found.missing) == {f"CuO/{name}" for name in ("SCF", *(f.name for f in folders))}
    note = (tmp_path / "out" / "MISSING.txt").read_text()
    assert "licence" in note and "CuO/SCF: POTCAR" in note


def test_potcars_are_written_where_the_user_has_them(tmp_path, tenorite, monkeypatch):
    for name in ("Cu_sv_GW", "O_GW"):
        (tmp_path / "potentials" / name).mkdir(parents=True)
        (tmp_path / "potentials" / name / "POTCAR").write_text(f"made up {name}\n19\n")
    monkeypatch.setenv("VASP_POTCAR_DIRECTORY", str(tmp_path / "potentials"))
    options = DeckOptions("vasp", "Cu", sites=1)
    found = write_decks([("CuO", tenorite)], tmp_path / "out", options)
    assert found.missing == {} and not (tmp_path / "out" / "MISSING.txt").exists()
    (folder,) = (p for p in (tmp_path / "out" / "CuO").iterdir() if p.name != "SCF")
    assert (folder / "POTCAR").read_text().count("Cu_sv_GW") == 2  # with a core hole, and without


def test_exciting_counts_the_absorber_within_its_species_and_knows_the_edge(tmp_path, tenorite):
    write_decks([("CuO", tenorite)], tmp_path / "out", DeckOptions("exciting", "Cu", sites=2))
    for folder in (tmp_path / "out" / "CuO").iterdir():
        site = int(folder.name[:3])
        root = ElementTree.parse(folder / "input.xml").getroot()
        bse = root.find("xs/BSE")
        species = root.findall("structure/species")[int(bse.get("xasspecies")) - 1]
        atom = species.findall("atom")[int(bse.get("xasatom")) - 1]
        assert species.get("speciesfile") == "Cu.xml"
        scaled = tenorite.positions[site] @ np.linalg.inv(tenorite.cell)
        np.testing.assert_allclose([float(x) for x in atom.get("coord").split()], scaled, atol=1e-6)
        low, high = (27.2114 * float(x) for x in root.find("xs/energywindow").get("intv").split())
        assert low < 8979 * 0.95 and 8979 < high < 9050


def test_xspectra_and_ocean_mark_their_absorbers(tmp_path, tenorite):
    xspectra = write_decks([("CuO", tenorite)], tmp_path / "xs", DeckOptions("xspectra", "Cu",
                                                                             sites=2))
    for folder in (p for p in (tmp_path / "xs" / "CuO").iterdir() if p.name != "GS"):
        text = (folder / "es.in").read_text()
        (line,) = (row for row in text.splitlines() if row.split()[:1] == ["Cu+"]
                   and len(row.split()) == 4 and "upf" not in row)
        cell_vectors = np.array([row.split() for row in text.split(
            "CELL_PARAMETERS angstrom\n")[1].splitlines()[:3]], dtype=float)
        place = np.array(line.split()[1:], dtype=float) @ cell_vectors
        np.testing.assert_allclose(place, tenorite.positions[int(folder.name[:3])], atol=1e-4)
    assert xspectra.missing == {"CuO": ["Cu.upf", "O.upf", "Cu.fch.upf", "Core_Cu.wfc"]}
    ocean = write_decks([("CuO", tenorite)], tmp_path / "oc", DeckOptions("ocean", "Cu", sites=2))
    content = json.loads((tmp_path / "oc" / "decks.json").read_text())["decks"]
    text = (tmp_path / "oc" / "CuO" / "Cu" / "ocean.in").read_text()
    edges = text.split("edges {")[1].split("}")[0].split()
    assert [int(n) - 1 for n in edges[::3]] == [deck["site"] for deck in content]
    assert list(ocean.missing) == ["CuO/Cu"]


def test_a_second_run_leaves_what_is_there(tmp_path):
    labelled = [("a", carbon("one"))]
    options = DeckOptions("feff", sites=2)
    write_decks(labelled, tmp_path / "out", options)
    mark = next((tmp_path / "out").rglob("feff.inp")).with_name("xmu.dat")
    mark.write_text("finished")
    assert write_decks(labelled, tmp_path / "out", options).already
    assert mark.read_text() == "finished"
    for other in (DeckOptions("feff", sites=3), DeckOptions("feff", sites=2, seed=1),
                  DeckOptions("feff", sites=2, radius=7.0), DeckOptions("vasp", sites=2)):
        with pytest.raises(InputError, match="differ in"):
            write_decks(labelled, tmp_path / "out", other)


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path, monkeypatch):
    good = carbon("one")
    twice = good.with_positions(np.concatenate([good.positions[:1] + 0.1, good.positions[1:]]))
    twice = Structure(np.concatenate([twice.positions[:1], good.positions]),
                      np.full(25, 6), good.cell)
    alone = Structure(np.zeros((1, 3)), [6], 30 * np.eye(3))
    cluster = Structure(good.positions, good.numbers, good.cell, np.zeros(3, dtype=bool))
    for structure, options, told in (
            (good, DeckOptions("feff", "Cu"), "absorber Cu"),
            (good, DeckOptions("feff", sites=25), "24 of 24 C"),
            (good, DeckOptions("feff", sites=0), "above 0"),
            (good, DeckOptions("fdmnes"), "fdmnes"),
            (good, DeckOptions("feff", edge="L23"), "L23"),
            (good, DeckOptions("feff", cards={"FMX": "1"}), "FMX"),
            (good, DeckOptions("feff", cards={"FMS": "9.0"}), "6.5"),
            (good, DeckOptions("feff", cards={"SCF": "wide"}), "wide"),
            (good, DeckOptions("vasp", cards={"FMS": "9.0"}), "--code feff"),
            (twice, DeckOptions("feff"), "between 0 and 1"),
            (alone, DeckOptions("feff", sites=1), "neighbours"),
            (cluster, DeckOptions("vasp"), "periodic")):
        with pytest.raises(InputError, match=told):
            write_decks([("x", structure)], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="other files"):
        write_decks([("x", good)], tmp_path, DeckOptions("feff", sites=1))

    def fail(*arguments: object) -> None:
        raise RuntimeError("disk")

    monkeypatch.setattr(decks, "write_code", fail)
    with pytest.raises(RuntimeError):
        write_decks([("x", good)], tmp_path / "out", DeckOptions("feff", sites=1))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_lightshow_the_way_to_it_is_said(tmp_path, monkeypatch):
    import surrogates.lightshow_codes as codes

    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'lightshow'", name="lightshow")

    monkeypatch.setattr(codes.importlib, "import_module", absent)
    with pytest.raises(InputError, match="pip install --no-deps lightshow"):
        write_decks([("x", carbon("one"))], tmp_path / "out", DeckOptions("feff", sites=1))
    assert list(tmp_path.iterdir()) == []


def test_what_lightshow_lacked_is_gone_after_its_import():
    import sys

    from pymatgen.io.vasp import sets

    from surrogates.lightshow_codes import lightshow

    assert lightshow().__version__ == "1.2.8"
    assert not hasattr(sets, "DictSet")
    if importlib.util.find_spec("mp_api") is None:
        assert "mp_api" not in sys.modules


def test_the_version_that_is_named_is_the_one_that_make_installs():
    pins = (Path(__file__).parents[2] / ".ci" / "constraints.txt").read_text().splitlines()
    assert LIGHTSHOW in pins


def test_clusters_get_feff_decks(tmp_path: Path):
    good = carbon("one")
    cluster = Structure(good.positions, good.numbers, good.cell, np.zeros(3, dtype=bool))
    write_decks([("x", cluster)], tmp_path / "out", DeckOptions("feff", sites=1))
    (folder,) = (tmp_path / "out" / "x").iterdir()
    asked = read_input(folder)
    own = np.linalg.norm(good.positions - good.positions[int(folder.name[:3])], axis=1)
    assert len(asked.cluster) == (own < 6.5).sum()
