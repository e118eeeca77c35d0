"""Shares of coordination numbers: smooth against counted ones, gradients, the pull they give."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffxas.analysis import coordination_fractions
from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.structure_files import read_structures
from samplers.algorithms import find_algorithm
from samplers.guides.coordination import MOST, CoordinationGuide, Share, parse
from samplers.guides.kinds import guide_of
from samplers.setup import GenerateOptions, check_guides

NETWORKS = (Path(__file__).resolve().parents[3] / "experiments" / "data" / "a-C-NEP"
            / "networks_300K.extxyz")
CARBON = {("C", "C"): 1.85}
SILICA = {("Si", "O"): 2.2, ("O", "O"): 1.7, ("Si", "Si"): 2.6}


def carbon_guide(system, text="4=0.37"):
    return CoordinationGuide(parse(text, text), system, CARBON, f"coordination:{text}")


def positions(structure):
    return torch.tensor(structure.positions)


def star(distance: float, n: int = 4) -> Structure:
    """An atom with neighbours on a tetrahedron, the last at ``distance``; far from its images."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]]) / 3**0.5
    lengths = np.array([1.5] * (n - 1) + [distance])
    places = np.concatenate([np.zeros((1, 3)), corners[:n] * lengths[:, None]]) + 10
    return Structure(places, np.full(n + 1, 6), 20.0 * np.eye(3))


@pytest.mark.parametrize("bonds", ["2", "3", "4"])
def test_smooth_shares_of_thermal_networks_agree_with_counted_ones(bonds):
    networks = read_structures(NETWORKS)[::5]
    smooth, counted = [], []
    for network in networks:
        guide = carbon_guide(network, f"{bonds}=0.5")
        smooth.append(float(guide.sites(positions(network)).mean()))
        counted.append(coordination_fractions(network)[bonds])
    difference = np.subtract(smooth, counted)
    assert len(networks) > 5 and np.ptp(counted) > 0.02
    assert abs(difference.mean()) < 0.01
    assert np.median(np.abs(difference)) < 0.01 and np.abs(difference).max() < 0.04


def test_the_shares_of_an_atom_sum_to_one():
    network = read_structures(NETWORKS)[7]
    text = ",".join(f"{n}=0.5" for n in range(MOST + 1))
    sites = carbon_guide(network, text).sites(positions(network))
    torch.testing.assert_close(sites.sum(1), torch.ones(len(network), dtype=sites.dtype),
                               atol=1e-3, rtol=0)


def test_the_gradient_is_that_of_differences():
    """Also where a neighbour is an image, in a cell shorter than the search."""
    generator = np.random.default_rng(3)
    system = Structure(generator.uniform(0, 4, (7, 3)), np.full(7, 6), 4.0 * np.eye(3))
    guide = carbon_guide(system, "4=0.3,3=0.2")
    x = positions(system).requires_grad_(True)
    (gradient,) = torch.autograd.grad(guide(x, 0.2), x)
    assert gradient.abs().max() > 1e-3
    for atom, axis in ((0, 0), (3, 1), (6, 2)):
        move = torch.zeros_like(x)
        move[atom, axis] = 1e-5
        numeric = float((guide((x + move).detach(), 0.2) - guide((x - move).detach(), 0.2)) / 2e-5)
        assert float(gradient[atom, axis]) == pytest.approx(numeric, abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("distance", [2.0, 2.2, 2.4, 2.6])
def test_a_fourth_neighbour_is_drawn_near_while_noise_is_high(distance):
    system = star(distance)
    guide = carbon_guide(system, "4=0.5")
    x = positions(system).requires_grad_(True)
    outward = (system.positions[4] - system.positions[0]) / distance
    (gradient,) = torch.autograd.grad(guide.estimated_sites(x, 0.4)[0, 0], x)
    assert float(gradient[4].numpy() @ outward) < -0.1


def test_a_pair_of_elements_counts_the_atoms_of_the_first():
    """Two silicon atoms, one with four oxygen neighbours and one with three, and a free oxygen."""
    one, other = star(1.62), star(1.62, 3)
    places = np.concatenate([one.positions - 5, other.positions + 3, [[18.0, 2.0, 18.0]]])
    numbers = np.array([14, 8, 8, 8, 8, 14, 8, 8, 8, 8])
    system = Structure(places, numbers, 20.0 * np.eye(3))
    text = "Si-O:4=0.98,Si-O:3=0.02,O-Si:1=0.8"
    guide = CoordinationGuide(parse(text, text), system, SILICA, text)
    reached = guide.reached(system)
    assert [reached[f"coordination:{name}"] for name in ("Si-O:4", "Si-O:3")] == [0.5, 0.5]
    assert reached["coordination:O-Si:1"] == pytest.approx(7 / 8)
    smooth = guide.sites(positions(system)).mean(0).numpy()
    np.testing.assert_allclose(smooth, [0.5, 0.5, 7 / 8], atol=0.01)


def test_reached_is_counted_and_asked_is_told():
    network = read_structures(NETWORKS)[7]
    guide = carbon_guide(network, "4=0.37,3=0.5:0.7")
    counted = coordination_fractions(network)
    assert guide.reached(network)["coordination:4"] == counted["4"]
    assert guide.asked == {"coordination:4": 0.37, "coordination:3": "0.5:0.7"}
    met = carbon_guide(network, f"4={counted['4']}")
    assert met.distance(network) == 0 < carbon_guide(network, "4=0.99").distance(network)


@pytest.mark.parametrize("rest", ["4", "4=1.2", "4=-0.1", "x=0.3", "Si-:4=0.5", "-O:4=0.5",
                                  "Si-O=0.3", "4=0.3,4=0.6", "14=0.1", "4=0.3,,3=0.1"])
def test_what_is_no_share_is_refused(rest):
    with pytest.raises(InputError, match="coordination:"):
        parse(rest, f"coordination:{rest}")


def test_elements_that_are_not_there_are_refused():
    system = star(1.5)
    with pytest.raises(InputError, match=r"C, received .*Si-O:4"):
        guide_of("coordination:Si-O:4=0.9", system, GenerateOptions(density=2.0))


@pytest.mark.parametrize("texts", [("coordination:4=0.3", "coordination:4=0.6"),
                                   ("coordination:4=0.7", "coordination:3=0.6"),
                                   ("coordination:4=0.7,3=0.6",)])
def test_contradictions_stop_before_sampling(texts):
    options = GenerateOptions(density=2.4)
    guides = [guide_of(text, star(1.5), options) for text in texts]
    with pytest.raises(InputError, match=r"guides must not contradict|must sum to 1"):
        check_guides(guides, find_algorithm("dps"))


def test_the_runs_own_bond_lengths_count():
    options = GenerateOptions(density=2.4, cutoffs={"C-C": 1.7})
    guide = guide_of("coordination:4=0.3", star(1.5), options)
    assert guide.lengths == {frozenset("C"): 1.7}
    assert Share(None, None, 4) in guide.by_share
