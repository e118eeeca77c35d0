"""Which structures of DATA a prior was trained on, which are held out, which are its reference."""

from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase.io import write

from diffxas.errors import InputError
from samplers.evaluation_data import (
    check_densities,
    composition_text,
    read_data,
    split,
    usual_atoms,
    usual_densities,
)

CONFIG: dict[str, Any] = {
    "elements": ["C"], "model": {"kinds": ["any", "melt-quenched", "variant"]},
    "training": {"structures": ["a", "a1", "set:b"], "parents": ["a", "b"],
                 "options": {"kinds": {"variants_300K": "variant"}}}}


def cell(name: str, symbols: str = "C8", edge: float = 5.0, **info: str) -> ase.Atoms:
    positions = np.random.default_rng(len(name)).random((len(ase.Atoms(symbols)), 3)) * edge
    atoms = ase.Atoms(symbols, positions, cell=edge * np.eye(3), pbc=True)
    atoms.info.update(name=name, **info)
    return atoms


def load(folder: Path, cells: list[ase.Atoms], config: dict[str, Any] | None = None,
         kind: str = "melt-quenched", stem: str = "cells"):
    write(folder / f"{stem}.extxyz", cells)
    config = config or CONFIG
    return split(read_data([folder / f"{stem}.extxyz"], config), config, kind)


def test_roles_come_from_names_and_parents(tmp_path: Path) -> None:
    cells = [cell("a"), cell("a1", parent="a"), cell("a2", parent="a"), cell("b"),
             cell("c", kind="melt-quenched"), cell("c1", parent="c", kind="melt-quenched")]
    data = load(tmp_path, cells)
    assert {one.name: one.role for one in data.known} == {
        "a": "training", "a1": "training", "a2": "related", "b": "training", "c": "held-out",
        "c1": "held-out"}
    assert [one.name for one in data.reference] == ["c", "c1"]  # the kind that is sampled
    assert any("kind melt-quenched" in note for note in data.notes)


def test_kinds_are_those_of_the_prior_s_training(tmp_path: Path) -> None:
    data = load(tmp_path, [cell("a"), cell("c")], stem="variants_300K")
    assert {one.kind for one in data.known} == {"variant"}
    assert len(data.reference) == 2  # no melt-quenched ones: all are the reference


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    nothing_held = load(tmp_path, [cell("a"), cell("b")])
    assert any("never saw" in note for note in nothing_held.notes)
    assert any("2 of the 3" in note for note in nothing_held.notes)
    nothing_known = load(tmp_path, [cell("x"), cell("y")])
    assert any("cannot be judged" in note for note in nothing_known.notes)


@pytest.mark.parametrize(("cells", "message"), [
    ([cell("a", "Si8"), cell("b", "Si8")], "elements C, received Si"),
    ([cell("a")], "at least 2 structures"),
])
def test_data_that_cannot_serve_are_refused(tmp_path: Path, cells: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, cells)


def test_several_elements_keep_to_one_composition(tmp_path: Path) -> None:
    config = {**CONFIG, "elements": ["O", "Si"]}
    cells = [cell("a", "Si4O8"), cell("b", "Si6O12"), cell("c", "Si8")]
    data = load(tmp_path, cells, config, "any")
    assert data.formula == (("O", 2), ("Si", 1))
    assert [one.name for one in data.reference] == ["a", "b"]
    assert any("1 structures of another composition than O2Si" in note for note in data.notes)
    assert usual_atoms(data) == 15
    assert composition_text(data, 15) == "O:10,Si:5"
    with pytest.raises(InputError, match="multiple of 3"):
        composition_text(data, 16)


def test_densities_are_spread_over_the_data_and_lie_where_it_has_structures() -> None:
    spread = usual_densities(np.linspace(1.2, 3.6, 58))
    assert len(spread) == 5 and np.diff(spread) == pytest.approx(0.48, abs=0.05)
    assert 1.3 < spread[0] < 1.6 and 3.2 < spread[-1] < 3.5
    assert usual_densities(np.full(6, 2.2)) == [2.2]
    gap = np.array([1.5, 1.55, 3.0, 3.05])
    for one in usual_densities(gap):
        assert np.abs(gap - one).min() <= 0.01
    check_densities([1.6], gap)
    with pytest.raises(InputError, match=r"received 2\.2: the nearest has 1\.55"):
        check_densities([2.2], gap)
