"""Networks and their descendants stay on one side of a split."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal
from synthetic_sites import cell, labelled

from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.structure_files import read_structures
from surrogates.splits import check_split, displaced, draw_networks, hold_out, networks
from surrogates.training import SurrogateTraining, split

ROWS = [("a", "a"), ("a_v1", "a"), ("b", "b"), ("b", "b"), ("c", "c")]


def moved(structure: Structure, by: float, seed: int = 0) -> Structure:
    step = by * np.random.default_rng(seed).standard_normal(structure.positions.shape)
    return structure.with_positions(structure.positions + step)


def test_snapshots_strain_and_wrapping_make_copies_and_another_network_does_not():
    one = cell(1)
    assert displaced(one, moved(one, 0.1)) and not displaced(one, moved(one, 1.0))
    assert displaced(one, moved(one, 0.1).wrapped())
    drifted = one.with_positions(one.positions + np.array([1.0, 2.0, 3.0])).wrapped()
    assert displaced(one, drifted)
    strained = Structure(1.08 * one.positions, one.numbers, 1.08 * one.cell)
    assert displaced(one, strained)
    assert not displaced(one, cell(2))
    other = Structure(one.positions, np.where(np.arange(len(one)) == 3, 14, 6), one.cell)
    assert not displaced(one, other)


def test_a_network_is_the_end_of_the_chain_of_parents_or_the_first_copy():
    first, second = cell(1), cell(2)
    named = [("x", first), ("x_hot", moved(first, 0.1)), ("y", second),
             ("y_v1", cell(3, parent="y")), ("y_v1_v1", cell(4, parent="y_v1")),
             ("z1", cell(5, parent="elsewhere")), ("x_hot_v", cell(6, parent="x_hot"))]
    assert networks(named) == {"x": "x", "x_hot": "x", "y": "y", "y_v1": "y", "y_v1_v1": "y",
                               "z1": "elsewhere", "x_hot_v": "x"}


def test_a_snapshot_whose_atoms_are_in_another_order_is_found_by_its_bonds():
    first = moved(diamond(), 0.05)
    order = np.random.default_rng(0).permutation(len(first))
    snapshot = moved(Structure(first.positions[order], first.numbers, first.cell), 0.05, 1)
    assert not displaced(snapshot, first)
    other = moved(diamond(), 1.2, 2)  # of the same size, with other bonds
    named = [("first", first), ("snapshot", snapshot), ("other", other)]
    assert networks(named) == {"first": "first", "snapshot": "first", "other": "other"}


def test_small_crystals_of_one_composition_are_told_apart():
    """Their cells are so small that any two atoms are near each other."""
    ordered, shifted = (Structure.from_atoms(crystal(
        ["O", "Cu"], [(0, y, 0.25), (0.25, 0.25, 0)], spacegroup=15,
        cellpar=[4.68, 3.42, 5.13, 90, 99.5, 90])) for y in (0.42, 0.10))
    assert not displaced(ordered, shifted) and displaced(ordered, moved(ordered, 0.05))


def diamond() -> Structure:
    return Structure.from_atoms(bulk("C", "diamond", a=3.57, cubic=True).repeat(2))


def test_holding_out_a_network_takes_its_descendants_along():
    assert hold_out(ROWS, {"a"}).tolist() == [1, 1, 0, 0, 0]
    assert hold_out(ROWS, {"b", "c"}).tolist() == [0, 0, 1, 1, 1]


def test_a_split_through_a_network_is_refused_unless_told():
    with pytest.raises(InputError, match="received a on both"):
        hold_out(ROWS, {"a_v1"})
    assert hold_out(ROWS, {"a_v1"}, allow_leak=True).tolist() == [0, 1, 0, 0, 0]
    with pytest.raises(InputError, match="allow_leak"):
        check_split(["p", "p"], [0, 1])
    check_split(["p", "p", "q"], [0, -1, 1])


def test_names_that_are_not_there_and_splits_that_leave_nothing_are_refused():
    with pytest.raises(InputError, match="received 'd'"):
        hold_out(ROWS, {"d"})
    with pytest.raises(InputError, match="everything"):
        hold_out(ROWS, {"a", "b", "c"})


def test_a_share_of_networks_is_drawn_by_seed():
    names = [f"n{k}" for k in range(20)]
    drawn = [draw_networks(names, 0.2, seed) for seed in (0, 0, 1)]
    assert len(drawn[0]) == 4 and drawn[0] == drawn[1] != drawn[2]
    assert len(draw_networks(["a", "b"], 0.01, 0)) == 1 == len(draw_networks(["a", "b"], 0.99, 0))
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(InputError, match="share"):
            draw_networks(names, share, 0)
    with pytest.raises(InputError, match="two networks"):
        draw_networks(["a", "a"], 0.5, 0)


def test_carried_networks_and_dft_cells_are_told_apart_without_being_told():
    """Names and parents taken away; what is found is what was said."""
    data = Path(__file__).parents[2] / "experiments" / "data"
    frames = [*read_structures(data / "a-C-NEP" / "networks_300K.extxyz")[:6],
              *read_structures(data / "a-C-K-edge" / "dft_cells.extxyz")]
    said = {f"{k}": str(s.info.get("parent", s.info["name"])) for k, s in enumerate(frames)}
    variants = [s for s in read_structures(data / "a-C-NEP" / "variants_300K.extxyz")
                if str(s.info["parent"]) in said.values()]
    said |= {f"v{k}": str(s.info["parent"]) for k, s in enumerate(variants)}
    bare = [s.with_positions(s.positions) for s in (*frames, *variants)]
    found = networks(list(zip(said, bare, strict=True)))
    assert len(variants) == 12
    for one in said:
        assert {k for k in said if said[k] == said[one]} == {
            k for k in found if found[k] == found[one]}


def test_training_refuses_to_exclude_one_cell_of_a_network(tmp_path):
    data = [labelled(1, parent="p"), labelled(2, parent="p"), labelled(3)]
    (tmp_path / "names.txt").write_text("c1\n")
    one_cell = SurrogateTraining(exclude=str(tmp_path / "names.txt"))
    with pytest.raises(InputError, match="received p on both"):
        split(data, one_cell)
    told = SurrogateTraining(exclude=str(tmp_path / "names.txt"), allow_leak=True)
    assert [item.name for item in split(data, told)] == ["c2", "c3"]
    (tmp_path / "names.txt").write_text("p\n")
    assert [item.name for item in split(data, one_cell)] == ["c3"]
