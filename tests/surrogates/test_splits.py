"""Networks and their descendants stay on one side of a split."""

import numpy as np
import pytest
from synthetic_sites import cell, labelled

from diffxas.errors import InputError
from diffxas.structure import Structure
from surrogates.splits import check_split, copies, draw_networks, hold_out, networks
from surrogates.training import SurrogateTraining, split

ROWS = [("a", "a"), ("a_v1", "a"), ("b", "b"), ("b", "b"), ("c", "c")]


def moved(structure: Structure, by: float, seed: int = 0) -> Structure:
    step = by * np.random.default_rng(seed).standard_normal(structure.positions.shape)
    return structure.with_positions(structure.positions + step)


def test_snapshots_strain_and_wrapping_make_copies_and_another_network_does_not():
    one = cell(1)
    assert copies(one, moved(one, 0.1)) and not copies(one, moved(one, 1.0))
    assert copies(one, moved(one, 0.1).wrapped())
    drifted = one.with_positions(one.positions + np.array([1.0, 2.0, 3.0])).wrapped()
    assert copies(one, drifted)
    strained = Structure(1.08 * one.positions, one.numbers, 1.08 * one.cell)
    assert copies(one, strained)
    assert not copies(one, cell(2))
    other = Structure(one.positions, np.where(np.arange(len(one)) == 3, 14, 6), one.cell)
    assert not copies(one, other)


def test_a_network_is_the_end_of_the_chain_of_parents_or_the_first_copy():
    first, second = cell(1), cell(2)
    named = [("x", first), ("x_hot", moved(first, 0.1)), ("y", second),
             ("y_v1", cell(3, parent="y")), ("y_v1_v1", cell(4, parent="y_v1")),
             ("z1", cell(5, parent="elsewhere")), ("x_hot_v", cell(6, parent="x_hot"))]
    assert networks(named) == {"x": "x", "x_hot": "x", "y": "y", "y_v1": "y", "y_v1_v1": "y",
                               "z1": "elsewhere", "x_hot_v": "x"}


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
