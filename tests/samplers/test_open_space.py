"""What regions leave open is measured, shared out and kept to, images included."""

import math

import numpy as np
import pytest
from scipy.stats import kstest

from diffxas.errors import InputError
from samplers.open_space import even_points, open_space
from samplers.regions import MARGIN, Brick, HalfSpace, Sphere

CUBE = 12.0 * np.eye(3)
OBLIQUE = np.array([[11.0, 0.0, 0.0], [5.0, 9.5, 0.0], [-4.0, 4.5, 9.0]])
BULK, SLAB = np.ones(3, dtype=bool), np.array([True, True, False])


def test_the_points_fill_the_cell_more_evenly_than_random_ones():
    points = even_points(4096)
    counts = np.histogramdd(points, bins=(8, 8, 8), range=[(0, 1)] * 3)[0]
    control = np.histogramdd(np.random.default_rng(0).random((4096, 3)), bins=(8, 8, 8),
                             range=[(0, 1)] * 3)[0]
    assert counts.var() < 0.5 * control.var()
    np.testing.assert_array_equal(even_points(96, first=4000), points[4000:])
    assert all(len(np.unique(points[:, axis])) == 4096 for axis in range(3))


@pytest.mark.parametrize("cell", [CUBE, OBLIQUE], ids=["cube", "oblique"])
@pytest.mark.parametrize("centre", [(6.0, 6.0, 4.0), (0.5, 0.2, 0.1)], ids=["middle", "corner"])
def test_a_sphere_takes_its_volume_wherever_it_lies(cell, centre):
    """Images complete the sphere that leaves the cell."""
    space = open_space(cell, BULK, [Sphere(centre, 3.5)])
    wanted = np.linalg.det(cell) - 4 / 3 * math.pi * 3.5**3
    assert abs(space.volume - wanted) < 3 * space.error
    assert space.error < 0.002 * wanted


def test_volumes_of_boxes_planes_and_fixed_atoms():
    whole = 12.0**3
    for region, taken in ((Brick((1, 1, 1), (4, 5, 6)), 60), (HalfSpace(2, 3.0, True), 3 * 144),
                          (HalfSpace(0, 10.0, False), 2 * 144),
                          (Brick((-2, 0, 0), (2, 3, 12)), 4 * 36)):
        space = open_space(CUBE, BULK, [region])
        assert abs(space.volume - (whole - taken)) < 4 * space.error + 0.5
    corner = np.array([[0.1, 11.9, 6.0], [0.1, 11.9, 8.0]])  # overlapping spheres
    space = open_space(CUBE, BULK, fixed=corner, reach=np.array([1.5, 1.5]))
    lens = math.pi * (4 * 1.5 + 2.0) * (2 * 1.5 - 2.0) ** 2 / 12
    assert abs(space.volume - (whole - 2 * 4 / 3 * math.pi * 1.5**3 + lens)) < 3 * space.error
    bare = open_space(OBLIQUE, SLAB)
    assert bare.volume == pytest.approx(np.linalg.det(OBLIQUE), rel=1e-12) and bare.error == 0


def test_beyond_the_walls_is_closed_and_across_periodic_faces_is_not():
    outside = np.array([[6.0, 6.0, 13.0], [13.0, 6.0, 6.0], [6.0, 6.0, -0.1]])
    assert open_space(CUBE, SLAB).forbidden(outside).tolist() == [True, False, True]
    assert not open_space(CUBE, BULK).forbidden(outside).any()
    low = open_space(CUBE, SLAB, [HalfSpace(2, 3.0, True)])
    assert low.forbidden(np.array([[1.0, 1, 2], [1, 1, -5], [1, 1, 4]])).tolist() == [1, 1, 0]
    folded = open_space(CUBE, BULK, [HalfSpace(2, 3.0, True)])  # z = -5 is z = 7 there
    assert folded.forbidden(np.array([[1.0, 1, 2], [1, 1, -5], [1, 1, 14]])).tolist() == [1, 0, 1]


OVERLAPPING = [Sphere((3.0, 3.0, 3.0), 3.0), Sphere((5.0, 3.0, 3.0), 3.0),
               Brick((0.0, 0.0, 0.0), (12.0, 12.0, 3.0)), HalfSpace(1, 11.0, False)]


@pytest.mark.parametrize(("cell", "pbc", "regions"), [
    (CUBE, BULK, [Sphere((0.5, 0.5, 0.5), 4.0)]), (OBLIQUE, SLAB, [Sphere((5.0, 5.0, 4.0), 3.0)]),
    (CUBE, BULK, OVERLAPPING), (CUBE, SLAB, OVERLAPPING),
    (OBLIQUE, BULK, [HalfSpace(2, 4.0, True)]),
    (CUBE, np.zeros(3, dtype=bool), [Brick((4.0, 4.0, 4.0), (8.0, 8.0, 8.0))]),
], ids=["corner", "oblique slab", "overlapping", "overlapping slab", "plane", "cluster"])
def test_no_atom_stays_in_a_region_and_the_others_do_not_move(cell, pbc, regions):
    space = open_space(cell, pbc, regions)
    positions = 3 * (np.random.default_rng(1).random((2000, 3)) - 1) @ cell
    before = space.forbidden(positions)
    cleared = space.cleared(positions)
    assert before.sum() > 100 and not space.forbidden(cleared).any()
    np.testing.assert_array_equal(cleared[~before], positions[~before])
    np.testing.assert_array_equal(space.cleared(cleared), cleared)


def test_an_atom_goes_to_the_nearest_surface():
    space = open_space(CUBE, BULK, [Sphere((0.0, 6.0, 6.0), 2.0)])
    positions = np.array([[1.0, 6.0, 6.0], [11.0, 6.0, 6.0], [23.5, 6.0, 6.0], [0.0, 6.0, 6.0]])
    moved = space.cleared(positions) - positions
    np.testing.assert_allclose(moved[:3], [[1, 0, 0], [-1, 0, 0], [-1.5, 0, 0]], atol=2 * MARGIN)
    assert np.linalg.norm(moved[3]) == pytest.approx(2.0, abs=2 * MARGIN)
    box = open_space(CUBE, BULK, [Brick((2.0, 2.0, 2.0), (8.0, 8.0, 8.0))])
    moved = box.cleared(np.array([[3.0, 5.0, 5.0], [5.0, 7.5, 5.0]])) - [[3, 5, 5], [5, 7.5, 5]]
    np.testing.assert_allclose(moved, [[-1, 0, 0], [0, 0.5, 0]], atol=2 * MARGIN)


@pytest.mark.parametrize("n_atoms", [1, 7, 216])
def test_atoms_start_in_equal_shares_of_what_is_open(n_atoms):
    space = open_space(OBLIQUE, BULK, [Sphere((5.0, 5.0, 4.0), 3.0)])
    shares = space.shares(n_atoms)
    sizes = np.array([len(share) for share in shares])
    assert sizes.sum() == len(space.points) and np.ptp(sizes) <= n_atoms.bit_length()
    assert sizes.min() > 0.99 * sizes.max()
    np.testing.assert_array_equal(np.sort(np.concatenate(shares)), np.arange(len(space.points)))
    places = space.places(shares, 3, 1)
    assert places.shape == (n_atoms, 3) and not space.forbidden(places).any()
    np.testing.assert_array_equal(space.places(shares, 3, 1), places)
    assert np.abs(space.places(shares, 3, 2) - places).max() > 0.1


def test_shares_are_compact_and_any_point_of_one_may_be_taken():
    space = open_space(CUBE, BULK)
    shares = space.shares(64)
    extents = np.array([np.ptp(space.points[share], axis=0) for share in shares])
    assert (extents.max(1) / extents.min(1)).max() < 1.1  # 64 cubes of a cube
    chosen = np.concatenate([space.places(shares, 0, sample) for sample in range(40)])
    assert kstest((chosen[:, 0] % 3.0) / 3.0, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("region", "told"), [
    (Sphere((20.0, 6.0, 6.0), 3.0), "cell"), (HalfSpace(2, 0.0, True), "cell"),
    (HalfSpace(2, 12.5, False), "cell"), (Brick((-3.0, 0, 0), (-1.0, 3, 3)), "cell"),
])
def test_a_region_outside_of_the_cell_is_refused(region, told):
    with pytest.raises(InputError, match=told):
        open_space(CUBE, BULK, [region])


def test_a_plane_that_does_not_repeat_with_the_cell_is_refused():
    with pytest.raises(InputError, match="repeat"):
        open_space(OBLIQUE, BULK, [HalfSpace(0, 4.0, True)])
