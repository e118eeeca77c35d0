"""Least distances as a guide."""

import numpy as np
import pytest
import torch

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.guides.kinds import guide_of
from samplers.setup import GenerateOptions

OPTIONS = GenerateOptions(density=2.0)


def two(distance: float, numbers=(6, 6)) -> Structure:
    """Two atoms across the border of a cell."""
    places = np.array([[0.1, 5, 5], [0.1 - distance, 5, 5]])
    return Structure(places, np.array(numbers), 10.0 * np.eye(3))


def test_close_pairs_are_pushed_apart_and_others_left_alone():
    guide = guide_of("distance:C-C=>1.25", two(1.0), OPTIONS)
    x = torch.tensor(two(1.0).positions, requires_grad=True)
    value = guide(x, 0.0)
    assert float(value.detach()) == pytest.approx(-0.5 * 0.25**2 / 0.05**2)
    (gradient,) = torch.autograd.grad(value, x)
    assert float(gradient[0, 0]) == pytest.approx(0.25 / 0.05**2)
    assert float(gradient[1, 0]) == pytest.approx(-0.25 / 0.05**2)
    assert float(guide(torch.tensor(two(1.3).positions), 0.0)) == 0
    assert float(guide(x, 0.3).detach()) > 5 * float(value.detach())


def test_the_shortest_distance_is_reported():
    guide = guide_of("distance=>1.2", two(1.0), OPTIONS)
    assert guide.reached(two(1.7))["distance"] == pytest.approx(1.7)
    assert guide.reached(two(0.9))["distance"] == pytest.approx(0.9)
    assert guide.distance(two(1.7)) == 0 < guide.distance(two(0.9))
    assert guide.asked == {"distance": ">1.2"}


def test_a_pair_of_elements_leaves_others_alone():
    guide = guide_of("distance:O-Si=>1.4", two(1.0, (14, 8)), OPTIONS)
    assert float(guide(torch.tensor(two(1.0).positions), 0.0)) < 0
    other = guide_of("distance:Si-Si=>1.4", two(1.0, (14, 8)), OPTIONS)
    assert float(other(torch.tensor(two(1.0).positions), 0.0)) == 0


def test_two_atoms_on_one_spot_have_a_finite_gradient():
    guide = guide_of("distance=>1.2", two(1.0), OPTIONS)
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(guide(x, 0.0), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("text", ["distance=1.2", "distance=<1.2", "distance=>-1", "distance=>40",
                                  "distance:Si-O=>1.4", "distance:C=>1.4", "distance:C-C"])
def test_other_forms_are_refused(text):
    with pytest.raises(InputError, match="distance"):
        guide_of(text, two(1.0), OPTIONS)
