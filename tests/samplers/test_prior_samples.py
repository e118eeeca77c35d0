"""Banks of what a prior holds: densities that fill a range, files, what the shipped ones are."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_runs import require_weights

from diffxas.denoiser import ANY
from diffxas.errors import InputError
from diffxas.prior import find_prior
from diffxas.structure import Structure
from diffxas.weights import read_config
from experiments.common import held_out, networks, variants
from samplers.geometry import resolve_box
from samplers.prior_samples import BANK, draw_bank, read_bank, spread_densities, write_bank
from samplers.setup import system_of


def cell(seed: int, side: float) -> Structure:
    rng = np.random.default_rng(seed)
    return Structure(side * rng.random((12, 3)), np.full(12, 6), side * np.eye(3))


@pytest.mark.parametrize("count", [4, 10, 37, 96])
def test_densities_fill_the_range_in_any_number(count):
    found = spread_densities(1.5, 3.5, count)
    edges = np.concatenate([[1.5], np.sort(found), [3.5]])
    assert found.shape == (count,) and np.all((found >= 1.5) & (found < 3.5))
    assert np.diff(edges).max() < 2.5 * 2.0 / count and np.diff(edges)[1:-1].min() > 0.3 * 2 / count
    np.testing.assert_array_equal(spread_densities(1.5, 3.5, count + 5)[:count], found)


def test_a_bank_is_read_as_it_was_written_by_density(tmp_path):
    given = [cell(0, 6.0), cell(1, 7.0), cell(2, 5.0)]
    write_bank(given, tmp_path)
    found = read_bank(tmp_path)
    for one, other in zip(found, [given[1], given[0], given[2]], strict=True):
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-6)
        np.testing.assert_allclose(one.cell, other.cell)
        np.testing.assert_array_equal(one.numbers, other.numbers)
    assert [p.name for p in tmp_path.iterdir()] == [BANK]


def test_a_folder_without_a_bank_has_no_samples(tmp_path):
    assert read_bank(tmp_path) == []


def test_a_file_that_is_no_bank_is_refused(tmp_path):
    save_file({"positions": np.zeros((1, 2, 3), np.float32)}, tmp_path / BANK)
    with pytest.raises(InputError, match="without cell, numbers: remove it"):
        read_bank(tmp_path)


def mark(structure: Structure) -> bytes:
    """What tells a structure from all others."""
    return np.asarray(structure.positions[:4], dtype=np.float32).tobytes()


@pytest.mark.parametrize("name", ["a-C", "a-C-no-dft"])
def test_shipped_banks_hold_what_their_prior_was_taught_and_nothing_that_is_held_out(name):
    require_weights()
    folder = find_prior(name)
    bank = read_bank(folder)
    parents, away = set(read_config(folder)["training"]["parents"]), held_out()
    marks = {mark(s) for s in bank}
    for structure in [*networks(), *variants()]:
        whose = {str(structure.info["name"]), str(structure.info.get("parent", ""))} - {""}
        if whose & away:
            assert mark(structure) not in marks, whose
        elif str(structure.info.get("parent") or structure.info["name"]) in parents:
            assert mark(structure) in marks, whose
    density = np.array([s.density for s in bank])
    assert len(bank) > 50 and density[0] < 1.6 and density[-1] > 3.4
    assert np.diff(density).max() < 0.3


@pytest.mark.slow
def test_a_bank_is_drawn_once_and_again_as_it_was(tmp_path):
    require_weights()

    def system_at(density: float) -> Structure:
        return system_of(resolve_box("C", density, 16, None))

    folder, densities = find_prior("a-C"), [2.0, 3.0]

    def drawn(seed: int, keep=None) -> list[Structure]:
        return draw_bank(folder, system_at, densities, ANY, seed, keep, progress=False)

    first, again, other = drawn(0, tmp_path / "kept"), drawn(0), drawn(1)
    for one, same, another, density in zip(first, again, other, densities, strict=True):
        assert one.density == pytest.approx(density)
        np.testing.assert_array_equal(one.positions, same.positions)
        assert np.abs(one.positions - another.positions).max() > 0.1
    # What is kept is not drawn again, whatever the seed.
    kept = drawn(7, tmp_path / "kept")
    np.testing.assert_allclose(kept[0].positions, first[0].positions, atol=1e-6)
