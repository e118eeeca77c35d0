"""Tile borders against interiors: a seam is found, and none where there is none."""

import numpy as np
import pytest

from diffxas import tile_borders
from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.tile_borders import compare_borders, compare_tiles, distinguishable, local_measures

TILES = (3, 2, 2)
CELL = np.array([[40.0, 0, 0], [9, 32, 0], [-5, 6, 33]])


def network(seed, seam=0.0):
    """A disordered solid of one atom in each equal part; ``seam`` (angstrom) stretches borders."""
    n = np.array([24, 20, 20])
    grid = np.stack(np.meshgrid(*map(np.arange, n), indexing="ij"), -1).reshape(-1, 3)
    rng = np.random.default_rng(seed)
    f = (grid + rng.uniform(0, 1, 3) + 0.5 * rng.uniform(0, 1, grid.shape)) / n
    x = (f % 1.0) @ CELL
    x[near_face(f, 2.0)] += rng.normal(0, seam, (near_face(f, 2.0).sum(), 3))
    return Structure(x, np.full(len(x), 6), CELL)


def near_face(fractional, depth):
    place = fractional * TILES
    height = 1 / np.linalg.norm(np.linalg.inv(CELL), axis=0)
    return (np.abs(place - np.rint(place)) * height / TILES < depth).any(axis=1)


def labelled(structure):
    fractional = structure.positions @ np.linalg.inv(CELL)
    place = np.floor(fractional * TILES).astype(int) % TILES
    return np.ravel_multi_index(tuple(place.T), TILES), near_face(fractional, 2.0)


def by_grid(structure):
    return compare_borders(structure, TILES, 2.0)


def by_tile(structure):
    return compare_tiles(structure, *labelled(structure))


@pytest.mark.parametrize("compare", [by_grid, by_tile])
def test_a_seam_is_found(compare):
    found = distinguishable(compare(network(0, seam=0.25)))
    assert "bond length" in {one.name for one in found}
    assert all(one.p_value < 0.02 and one.difference * (one.border - one.interior) > 0
               for one in found)


@pytest.mark.parametrize("compare", [by_grid, by_tile])
def test_without_a_seam_none_is_found(compare):
    """At a level of 5 % for all measures together; of five structures one may fail."""
    wrong = [bool(distinguishable(compare(network(seed)))) for seed in range(1, 6)]
    assert sum(wrong) <= 1


def test_the_means_are_those_of_the_atoms():
    structure = network(3)
    border = labelled(structure)[1]
    names, values = local_measures(structure)
    assert np.isfinite(values[:, -1]).all()
    for compare in (by_grid, by_tile):
        for k, one in enumerate(compare(structure)):
            assert one.name == names[k]
            assert one.border == pytest.approx(np.nanmean(values[border, k]))
            assert one.interior == pytest.approx(np.nanmean(values[~border, k]))


def test_local_density_is_the_same_piece_by_piece(monkeypatch):
    structure = network(3)
    n = structure.positions.shape[0]
    assert n > tile_borders.MOST_ATOMS
    in_pieces = local_measures(structure)[1][:, -1]
    monkeypatch.setattr(tile_borders, "MOST_ATOMS", 10**6)
    np.testing.assert_allclose(local_measures(structure)[1][:, -1], in_pieces)
    assert in_pieces.mean() == pytest.approx(n / structure.volume, rel=0.05)


def test_what_cannot_be_compared_is_refused():
    structure = network(0)
    with pytest.raises(InputError, match="one is above 1, received \\[1, 1, 1\\]"):
        compare_borders(structure, (1, 1, 1), 2.0)
    with pytest.raises(InputError, match="at the border of tiles and elsewhere"):
        compare_borders(structure, TILES, 30.0)
    labels, border = labelled(structure)
    with pytest.raises(InputError, match="at least 6 tiles"):
        compare_tiles(structure, labels % 3, border)
