"""Numbers of atoms in cubes: what random, ordered and tiled positions give."""

import itertools

import numpy as np
import pytest

from diffxas.errors import InputError
from diffxas.homogeneity import compare_variances, number_variance
from diffxas.structure import Structure

OBLIQUE = np.array([[40.0, 0, 0], [11, 38, 0], [-9, 13, 42]])


def carbon(fractional, cell):
    return Structure(fractional @ cell, np.full(len(fractional), 6), cell)


def jittered(n, seed, cell):
    """One atom in each of n^3 equal parts of the cell."""
    grid = np.stack(np.meshgrid(*3 * [np.arange(n)], indexing="ij"), -1).reshape(-1, 3)
    return carbon((grid + np.random.default_rng(seed).uniform(0, 1, grid.shape)) / n, cell)


def uniform(n, seed, cell):
    return carbon(np.random.default_rng(seed).uniform(-2, 2, (n, 3)), cell)


def test_cubes_of_an_oblique_cell_hold_what_counting_every_image_gives():
    structure = uniform(700, 0, OBLIQUE)
    found = number_variance(structure, 9.0)
    inverse = np.linalg.inv(OBLIQUE)
    n = np.floor(1 / (9.0 * np.abs(inverse).sum(axis=0))).astype(int)
    centres = [(np.array(k) + 0.5) / n @ OBLIQUE for k in itertools.product(*map(range, n))]
    wrapped = structure.wrapped().positions
    images = np.concatenate([wrapped + np.array(s) @ OBLIQUE
                             for s in itertools.product((-2, -1, 0, 1, 2), repeat=3)])
    counts = [(np.abs(images - c).max(axis=1) < 4.5).sum() for c in centres]
    np.testing.assert_array_equal(found.counts, counts)
    # No two cubes overlap, whatever images one takes.
    apart = np.array([a - b + np.array(s) @ OBLIQUE for (i, a), (j, b) in
                      itertools.combinations(enumerate(centres), 2)
                      for s in itertools.product((-1, 0, 1), repeat=3)])
    assert np.abs(apart).max(axis=1).min() >= 9.0 - 1e-9


@pytest.mark.parametrize("cell", [40 * np.eye(3), OBLIQUE], ids=["cubic", "oblique"])
def test_uniform_random_positions_have_a_variance_of_one_and_grids_far_less(cell):
    found = [number_variance(uniform(4000, seed, cell), 6.0) for seed in range(8)]
    error = found[0].relative_error / np.sqrt(len(found))
    assert np.mean([one.reduced for one in found]) == pytest.approx(1.0, abs=4 * error)
    assert number_variance(jittered(16, 0, cell), 6.0).reduced < 0.5


def test_cubes_that_fill_the_cell_are_no_exception():
    cell = 20 * np.eye(3)
    found = np.mean([number_variance(uniform(500, seed, cell), 10.0).reduced
                     for seed in range(400)])
    assert found == pytest.approx(1.0, abs=4 * np.sqrt(2 / 7 / 400))


def test_more_grids_see_the_same_variance_more_precisely():
    cell = 40 * np.eye(3)
    few, many = (np.array([number_variance(uniform(2000, seed, cell), 13.0, grids).reduced
                           for seed in range(24)]) for grids in (1, 8))
    assert many.mean() == pytest.approx(1.0, abs=4 * few.std() / np.sqrt(24))
    assert many.std() < 0.8 * few.std()
    one = number_variance(uniform(2000, 0, cell), 13.0, 8)
    assert one.counts.shape == (8 * 27,)
    assert (one.counts[:27] == number_variance(uniform(2000, 0, cell), 13.0).counts).all()


def test_a_random_start_is_told_from_a_grid_and_a_grid_not_from_another():
    cell = 48 * np.eye(3)
    one, same, other = (number_variance(s, 8.0).counts for s in (
        jittered(20, 1, cell), jittered(20, 2, cell), uniform(8000, 3, cell)))
    alike, unlike = compare_variances(one, same), compare_variances(other, one)
    assert alike.p_value > 0.05 and alike.interval[0] < 1 < alike.interval[1]
    assert unlike.p_value < 0.001 and unlike.interval[0] > 1.5
    assert unlike.interval[0] < unlike.ratio < unlike.interval[1]


def test_what_cannot_be_measured_is_refused():
    structure = uniform(100, 0, 20 * np.eye(3))
    with pytest.raises(InputError, match="8 cubes side by side, received 1 of 15 angstrom"):
        number_variance(structure, 15.0)
    film = Structure(structure.positions, structure.numbers, structure.cell, [True, True, False])
    with pytest.raises(InputError, match="periodic in three directions"):
        number_variance(film, 5.0)
    with pytest.raises(InputError, match="grids must be at least 1, received 0"):
        number_variance(structure, 5.0, grids=0)
