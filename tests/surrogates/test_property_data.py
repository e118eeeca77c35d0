"""What may be a target, what is refused, and which structures are of one network."""

from pathlib import Path

import numpy as np
import pytest
from synthetic_properties import labelled, write_properties
from synthetic_sites import cell, crowding

from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.structure_files import write_structures
from surrogates.property_data import (
    composition,
    load_properties,
    network_weights,
    row_weights,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_properties(tmp_path / "cells.extxyz")


def test_energy_that_ase_hands_to_a_calculator_is_a_sum(path):
    from ase.io import read

    assert "energy" not in read(path).info  # the trap
    target, items = load_properties([path], "energy")
    assert (target.per, target.unit) == ("sum", "eV")
    first = items[0]
    assert first.labels == pytest.approx([-2.0 * crowding(first.structure).mean()], rel=1e-6)


def test_another_number_is_a_mean_and_a_column_is_per_atom(path):
    target, items = load_properties([path], "bulk")
    assert target.per == "atom-mean" and len(items) == 16
    assert items[0].labels == pytest.approx([crowding(items[0].structure).mean()], rel=1e-6)
    target, items = load_properties([path], "crowd")
    assert target.per == "atom"
    np.testing.assert_allclose(items[0].labels, crowding(items[0].structure), atol=1e-6)


def test_the_config_may_say_what_it_is(path):
    target, items = load_properties([path], "bulk", "sum", "angstrom")
    assert (target.per, target.unit) == ("sum", "angstrom")
    assert items[0].labels[0] == pytest.approx(items[0].structure.info["bulk"] / 24)


def spoiled(tmp_path: Path, structure: Structure) -> Path:
    write_structures(tmp_path / "x.extxyz", [labelled(0), structure])
    return tmp_path / "x.extxyz"


def test_a_frame_without_the_key_is_named_with_what_it_has(tmp_path):
    path = spoiled(tmp_path, cell(1).with_info(gap=1.0).with_arrays(charge=np.ones(24)))
    with pytest.raises(InputError, match=r"x\.extxyz, frame 1, which has gap and per atom charge"):
        load_properties([path], "bulk")
    with pytest.raises(InputError, match=r"frame 0.*which has bulk, energy and per atom crowd"):
        load_properties([path], "nothing")


@pytest.mark.parametrize("key, told", [
    ("forces", r"one number for each atom, received 'forces' of shape \(24, 3\).*scalar"),
    ("dipole", r"one number for each structure, received 'dipole' of shape \(3,\)"),
    ("name", "must be a number, received 'name' = 'c0'"),
    ("metal", "must be a number"),
    ("hole", "must be finite.*frame 0"),
    ("same", "must vary.*same = 3 everywhere in 2 structures"),
])
def test_what_cannot_be_learned_is_refused_with_the_remedy(tmp_path, key, told):
    frames = [labelled(k, dipole=np.ones(3), metal=True, hole=float("nan"), same=3.0)
              for k in range(2)]
    write_structures(tmp_path / "x.extxyz", frames)
    with pytest.raises(InputError, match=told):
        load_properties([tmp_path / "x.extxyz"], key)


def test_a_key_of_two_things_must_be_told_apart(tmp_path):
    frames = [labelled(k).with_arrays(bulk=np.arange(24.0) + k) for k in range(2)]
    write_structures(tmp_path / "x.extxyz", frames)
    with pytest.raises(InputError, match='set per = "atom"'):
        load_properties([tmp_path / "x.extxyz"], "bulk")
    assert len(load_properties([tmp_path / "x.extxyz"], "bulk", "atom")[1][0].labels) == 24
    assert len(load_properties([tmp_path / "x.extxyz"], "bulk", "sum")[1][0].labels) == 1
    with pytest.raises(InputError, match="per must be one of atom-mean, sum, atom"):
        load_properties([tmp_path / "x.extxyz"], "bulk", "cell")


def test_folders_hold_structures_and_spectra_have_no_place(tmp_path, path):
    assert len(load_properties([tmp_path], "bulk")[1]) == 16
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"must hold \.extxyz"):
        load_properties([tmp_path / "empty"], "bulk")
    with pytest.raises(InputError, match=r"received .*x\.npz"):
        load_properties([tmp_path / "x.npz"], "bulk")


def test_snapshots_descendants_and_unnamed_copies_are_of_their_network(tmp_path):
    whole = cell(0)
    relaxed = [Structure(whole.positions[k:], whole.numbers[k:], whole.cell,
                         info={"name": f"c{k}", "bulk": float(k)}) for k in range(2)]
    child = labelled(5, parent="c0")
    copy = Structure(relaxed[1].positions + 0.02, relaxed[1].numbers, relaxed[1].cell,
                     info={"bulk": 1.0})
    write_structures(tmp_path / "relaxed.extxyz", [*relaxed, child, copy])
    write_structures(tmp_path / "thermal.extxyz", relaxed)
    _, items = load_properties([tmp_path / "relaxed.extxyz", tmp_path / "thermal.extxyz"], "bulk")
    assert [(item.name, item.parent) for item in items] == [
        ("c0", "c0"), ("c1", "c1"), ("c5", "c0"), ("relaxed#3", "c1"),
        ("thermal/c0", "c0"), ("thermal/c1", "c1")]
    with pytest.raises(InputError, match="given once"):
        load_properties([tmp_path / "relaxed.extxyz"] * 3, "bulk")


def test_networks_weigh_equally_and_so_do_the_atoms_of_a_structure(path):
    _, items = load_properties([path], "crowd")
    weights = network_weights(items)
    by_network = {p: sum(w for w, i in zip(weights, items, strict=True) if i.parent == p)
                  for p in {i.parent for i in items}}
    np.testing.assert_allclose(list(by_network.values()), 1 / 12)
    rows = row_weights(items)
    assert len(rows) == 16 * 24 and rows.sum() == pytest.approx(1)
    assert rows[0] == pytest.approx(weights[0] / 24)


def test_labels_know_what_they_are_of():
    structure = cell(0)
    mixed = Structure(structure.positions, [6] * 18 + [14] * 6, structure.cell)
    from surrogates.property_data import PropertyItem

    one = PropertyItem(mixed, "m", "m", np.ones(1))
    atoms = PropertyItem(mixed, "m", "m", np.ones(24))
    np.testing.assert_allclose(composition([one], ["C", "Si"]), [[0.75, 0.25]])
    assert composition([atoms], ["C", "Si"]).sum(0).tolist() == [18, 6]
