"""The arithmetic of experiments/properties, and the energies that the repository carries."""

from pathlib import Path

import numpy as np
import pytest

from diffxas.structure_files import read_structures
from experiments.properties.run import KEY, PATH, features, measures, parent, ridge_baseline


def test_the_baseline_finds_a_linear_law_and_chooses_its_weight() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)) * (1, 10, 0.1, 5) + 3
    y = x @ (0.5, -0.1, 2.0, 0.0) - 7
    names = [f"n{k // 3}" for k in range(60)]
    assert ridge_baseline(x[:40], y[:40], names[:40], x[40:]) == pytest.approx(y[40:], abs=1e-2)
    noise = rng.normal(size=40)
    told = ridge_baseline(x[:40], noise, names[:40], x[40:])
    assert told.std() < 0.4  # nothing to learn: the heaviest weights win


def test_errors_are_counted_in_meV() -> None:
    row = measures("m", np.array([0.0, 0.01, 0.05]), np.array([0.0, 0.0, 0.03]))
    assert row["MAE (meV/atom)"] == pytest.approx(10)
    assert row["RMSE (meV/atom)"] == pytest.approx(1000 * np.sqrt(5e-4 / 3))


def test_the_carried_energies_are_those_of_the_networks(shared_data: Path) -> None:
    carried = {str(s.info["name"]): s for s in read_structures(PATH)}
    assert len(carried) == 174 and len({parent(s) for s in carried.values()}) == 58
    for name in ("networks", "variants"):
        source = read_structures(shared_data / "a-C-NEP" / f"{name}.extxyz")
        for one in source[::40]:
            mine = carried[str(one.info["name"])]
            assert mine.info[KEY] == one.info[KEY] and parent(mine) == parent(one)
            assert features(mine) == pytest.approx(features(one), rel=1e-5)
            assert np.abs(mine.positions - one.positions).max() < 1e-4
