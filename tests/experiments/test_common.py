"""References of the experiments, on the data that the repository carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffxas.errors import InputError, RunError
from diffxas.networks import straight_line
from diffxas.structure import Structure
from diffxas.weights import save_model
from experiments import common


def test_networks_have_the_coordination_that_the_issue_names() -> None:
    cells = common.networks()
    density = np.array([s.density for s in cells])
    shares = 100 * np.array([common.shares(s) for s in cells])
    assert len(cells) == 58
    assert np.allclose(shares.sum(1), 100)
    for at, expected in ((1.5, (18, 79, 3)), (2.0, (8, 84, 8)), (2.5, (2, 76, 23)),
                         (3.0, (0, 44, 56)), (3.5, (0, 12, 88))):
        line = [straight_line(density, shares[:, k], at)[0] for k in (2, 3, 4)]
        assert line == pytest.approx(expected, abs=1.2)


def test_every_dft_cell_has_its_mean_spectrum() -> None:
    means = common.dft_means()
    assert {str(cell.info["name"]) for cell in common.dft_cells()} == set(means)
    assert all(mu.shape == (100,) and 0.4 < mu.max() < 0.7 for mu in means.values())


def test_a_truth_of_the_training_set_is_refused(tmp_path: Path) -> None:
    import torch

    save_model(tmp_path, {"kind": "prior", "training": {
        "structures": ["DFT:d2.0_1"], "parents": ["dft_2.0"]}}, {"w": torch.zeros(1)})
    cell = np.eye(3) * 5

    def named(name: str, parent: str) -> Structure:
        return Structure(np.zeros((1, 3)), np.array([6]), cell,
                         info={"name": name, "parent": parent})

    common.refuse_known(named("d0.0_11", "dft_3.0"), tmp_path)
    with pytest.raises(InputError, match=r"d2\.0_1"):
        common.refuse_known(named("d2.0_1", ""), tmp_path)
    with pytest.raises(InputError, match=r"dft_2\.0"):
        common.refuse_known(named("another", "dft_2.0"), tmp_path)


def test_only_the_last_run_of_a_readme_is_replaced(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"claim\n{common.BEGIN}\nold\n{common.END}\nweak\n", encoding="utf-8")
    for _ in range(2):
        common.write_numbers(readme, "new")
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("claim\n") and text.endswith("weak\n")
    assert text.count("new") == 1 and "old" not in text
    readme.write_text("no markers", encoding="utf-8")
    with pytest.raises(RunError, match="put them back"):
        common.write_numbers(readme, "new")


def test_numbers_that_are_missing_are_dashes() -> None:
    rows = [{"a": 1.23456, "b": None, "c": float("nan"), "d": False}]
    assert common.markdown(rows).splitlines()[-1] == "| 1.23 | - | - | **no** |"
