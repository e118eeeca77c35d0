"""What is laid out before sampling: counts over the open volume, and refusals with remedies."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, graphene

from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.structure_files import write_structures
from samplers.arrangement import Arrangement, Request, arrange, parse_pbc

CARBON = 12.011 * 1.66053906660
"""Mass of an atom, g/cm3 angstrom^3."""
RANGE = (0.03, 1.5)
PORE = "sphere:6,6,6,3"


def laid_out(request: Request, composition: str = "C", known: tuple[str, ...] = ("C",),
             ) -> Arrangement:
    assert request.special
    return arrange(request, composition, known, RANGE)


@pytest.fixture(scope="module")
def diamond(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 atoms in a cube of 7.14 angstrom, some of them outside of it."""
    atoms = bulk("C", "diamond", a=3.57, cubic=True) * (2, 2, 2)
    atoms.positions[::3] += atoms.cell.array[2]
    path = tmp_path_factory.mktemp("files") / "diamond.extxyz"
    write_structures(path, Structure.from_atoms(atoms))
    return path


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graphene sheet of 18 atoms, oblique, not periodic across."""
    path = tmp_path_factory.mktemp("files") / "sheet.extxyz"
    write_structures(path, Structure.from_atoms(graphene(size=(3, 3, 1), vacuum=6.0)))
    return path


def test_density_and_number_count_over_what_is_open():
    taken = 4 / 3 * math.pi * 27
    for request in (Request(density=2.5, cell=(12, 12, 12), forbid=(PORE,)),
                    Request(atoms=202, cell=(12, 12, 12), forbid=(PORE,)),
                    Request(atoms=202, density=2.51, cell=(12, 12, 12), forbid=(PORE,))):
        found = laid_out(request)
        assert found.space.volume == pytest.approx(12**3 - taken, rel=1e-3)
        assert found.box.n_atoms == 202 == len(found.system) == len(found.others)
        assert found.box.density == pytest.approx(202 * CARBON / found.space.volume, rel=1e-9)
        assert found.system.density == pytest.approx(202 * CARBON / 12**3, rel=1e-4)
    bare = laid_out(Request(density=2.5, cell=(12, 12, 12), pbc="TTF"))
    assert bare.box.n_atoms == round(2.5 * 12**3 / CARBON) == 217


@pytest.mark.parametrize("forbid", [(PORE,), ("below:z=4",), ("above:x=10", PORE), ()])
def test_without_a_cell_a_cube_is_found_that_leaves_the_room(forbid):
    found = laid_out(Request(density=2.5, atoms=216, forbid=forbid, pbc="TTF", vacuum=10.0))
    assert found.box.n_atoms == 216 and found.box.density == pytest.approx(2.5, rel=2e-3)
    a, b, c = found.system.cell.diagonal()
    assert a == b and c == pytest.approx(a + 10.0)
    if not forbid:
        assert a == pytest.approx((216 * CARBON / 2.5) ** (1 / 3)) and found.space.error == 0


def test_vacuum_is_added_across_the_faces_of_an_oblique_cell():
    cell = np.array([[8.0, 0.0, 0.0], [2.0, 7.0, 0.0], [1.0, -2.0, 9.0]])
    given = Structure([[1.0, 1.0, 1.0]], [6], cell, (True, True, False))
    from samplers.arrangement import _with_vacuum

    longer = _with_vacuum(given.cell, given.pbc, 15.0)
    np.testing.assert_allclose(longer[:2], cell[:2])
    assert longer[2, 2] == pytest.approx(24.0)
    np.testing.assert_allclose(longer[2] / 24.0, cell[2] / 9.0)


def test_new_atoms_keep_a_bond_s_length_from_fixed_ones_and_the_others_go(diamond):
    found = laid_out(Request(start=diamond, fix="0-9,20", density=2.0))
    assert found.dropped == 53 and found.fixed.tolist() == list(range(11))
    start = found.start(0.0, 3, 1)
    from diffxas.structure_files import read_structures

    (given,) = read_structures(diamond)
    np.testing.assert_array_equal(start[:11], given.positions[[*range(10), 20]])
    distances = found.system.with_positions(start).to_atoms().get_all_distances(mic=True)
    assert distances[:11, 11:].min() > 1.52 - 1e-6
    assert found.space.volume < 7.14**3 - 5 * 4 / 3 * math.pi * 1.52**3
    assert found.box.n_atoms == round(2.0 * found.space.volume / CARBON)
    assert "53 of the file left out" in found.facts()["atoms"]
    np.testing.assert_array_equal(found.placed(start + 30.0)[:11], start[:11])


def test_atoms_go_on_from_their_places(diamond):
    request = Request(start=diamond, start_noise=0.3)
    found = laid_out(request)
    assert found.begin == 0.3 and found.shares is None and found.box.n_atoms == 64
    assert found.box.density == pytest.approx(64 * CARBON / 7.14**3, rel=1e-4)
    moved = found.start(0.3, 0, 0) - found.system.positions
    assert moved.std() == pytest.approx(0.3, rel=0.15)
    held = laid_out(replace(request, fix="below:x=1"))
    assert 0 < len(held.fixed) < 64 and len(held.fixed) + len(held.others) == 64
    assert held.box.density == pytest.approx(found.box.density, rel=1e-9)


def test_a_slab_that_goes_on_counts_as_thick_as_it_is(sheet):
    found = laid_out(Request(start=sheet, start_noise=0.3))
    assert found.system.pbc.tolist() == [True, True, False]
    area = np.linalg.norm(np.cross(*found.system.cell[:2]))
    assert found.space.volume == pytest.approx(2 * 1.7 * area, rel=0.01)
    bulk_of_it = laid_out(Request(start=sheet, fix="element:C", density=1.5, pbc="TTT"))
    assert bulk_of_it.system.pbc.all() and len(bulk_of_it.fixed) == 18
    # Spheres of 1.52 around the atoms, thinner in the middle of the hexagons.
    assert 12.0 - 3.04 < bulk_of_it.space.volume / area < 12.0 - 2.0


def test_elements_start_in_proportion_around_what_is_fixed(diamond):
    found = laid_out(Request(start=diamond, fix="0-9", atoms=30, composition="SiC"),
                     "SiC", ("Si", "C"))
    assert found.system.symbols == ["C"] * 10 + ["Si"] * 15 + ["C"] * 15
    start = found.start(0.0, 0, 0)
    assert len(np.unique(start, axis=0)) == 40
    assert not found.space.forbidden(start[10:]).any()


@pytest.mark.parametrize(("request_", "told"), [
    (Request(density=2.0, fix="0"), "--start"),
    (Request(density=2.0, start_noise=0.3), "--start"),
    (Request(density=2.0, vacuum=5.0), "--pbc TTF"),
    (Request(density=2.0, vacuum=-5.0, pbc="TTF"), "0 angstrom or more"),
    (Request(density=2.0, pbc="TTX"), "T or F"), (Request(density=2.0, pbc="TF"), "T or F"),
    (Request(density=2.0, forbid=("sphere:1,2",)), "sphere:X,Y,Z,R"),
    (Request(density=2.0, cell=(9, 9, 9), forbid=("sphere:30,4,4,2",)), "in the cell"),
    (Request(density=2.0, cell=(9, 9, 9), forbid=("below:z=9",)), "leave room"),
    (Request(atoms=900, cell=(9, 9, 9), forbid=("below:z=4",)), r"at most 81 at 4 g/cm3"),
    (Request(atoms=40, density=3.0, cell=(9, 9, 9), forbid=("below:z=4",)), "--atoms 61"),
    (Request(density=2.0, atoms=200, forbid=("below:z=500",)), "leave room"),
    (Request(cell=(9, 9, 9), forbid=("below:z=4",)), "--density or --atoms"),
])
def test_requests_without_a_file_are_refused_with_a_remedy(request_, told):
    with pytest.raises(InputError, match=told):
        laid_out(request_)


@pytest.mark.parametrize(("changes", "told"), [
    ({}, "--start-noise"), ({"start_noise": 0.02}, "0.03 and at most 1.5"),
    ({"start_noise": 1.6}, "0.03 and at most 1.5"), ({"start_noise": float("nan")}, "at most 1.5"),
    ({"start_noise": 0.3, "density": 2.0}, "--density"),
    ({"start_noise": 0.3, "composition": "C"}, "--composition"),
    ({"start_noise": 0.3, "cell": (9, 9, 9)}, "--cell"),
    ({"start_noise": 0.3, "fix": "element:C"}, "all 64"),
    ({"start_noise": 0.3, "fix": "element:O"}, "file holds C"),
    ({"start_noise": 0.3, "fix": "64"}, "0 to 63"),
    ({"start_noise": 0.3, "fix": "0-3", "density": 2.0}, "leave out --start-noise"),
    ({"fix": "0-3", "atoms": 100}, r"at most \d+ at 4 g/cm3"),
    ({"fix": "0-3", "density": 6.0}, "density"),
    ({"fix": "element:C", "density": 2.0}, "leave room"),
    ({"start_noise": 0.3, "forbid": ("below:z=3",)}, "correct --forbid"),
    ({"start_noise": 0.3, "start": "nowhere.xyz"}, "nowhere.xyz"),
])
def test_requests_with_a_file_are_refused_with_a_remedy(diamond, changes, told):
    with pytest.raises(InputError, match=told):
        laid_out(Request(**{"start": diamond, **changes}))


def test_files_that_cannot_be_begun_from_are_refused(tmp_path, diamond):
    from diffxas.structure_files import read_structures

    (given,) = read_structures(diamond)
    write_structures(tmp_path / "two.extxyz", [given, given])
    oxide = Structure(given.positions, np.where(np.arange(64) == 5, 8, 6), given.cell)
    write_structures(tmp_path / "oxide.extxyz", oxide)
    near = np.array(given.positions)
    near[1] = near[0] + given.cell[0] + [0.3, 0.0, 0.0]  # an image of it
    write_structures(tmp_path / "near.extxyz", given.with_positions(near))
    for name, told in (("two", "one structure"), ("oxide", "received O"),
                       ("near", "atoms 0 and 1")):
        with pytest.raises(InputError, match=told):
            laid_out(Request(start=tmp_path / f"{name}.extxyz", fix="0-1", density=1.0))
    laid_out(Request(start=tmp_path / "near.extxyz", fix="1-5", density=1.0))  # 0 is dropped


def test_flags_are_read():
    assert parse_pbc("TtF").tolist() == [True, True, False]
    assert not Request(pbc="TTT").special and Request(pbc="FTT").special
