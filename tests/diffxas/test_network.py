"""The equivariant network: symmetry, locality and smoothness, in float64."""

import numpy as np
import pytest
import torch
from core_examples import (
    CUTOFF,
    SMALL,
    graph_of,
    random_orthogonal,
    random_structure,
    small_network,
    species,
    turned,
)

from diffxas.graph import build_graph
from diffxas.network import RadialBasis, envelope
from diffxas.structure import Structure

SYMMETRY = {"atol": 1e-10, "rtol": 1e-10}


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def features(network, structure: Structure, sites=None) -> torch.Tensor:
    graph, x = graph_of(structure)
    with torch.no_grad():
        return network(species(structure), graph.vectors(x), graph, sites=sites)


def cluster(positions, numbers=None) -> Structure:
    """Atoms in a vacuum."""
    numbers = [6] * len(positions) if numbers is None else numbers
    return Structure(positions, numbers, np.eye(3), [False] * 3)


@pytest.mark.parametrize("determinant", [1, -1], ids=["rotation", "reflection"])
def test_features_turn_with_the_structure(determinant):
    network, structure = small_network(), random_structure(0)
    rotation = random_orthogonal(1, determinant)
    assert np.linalg.det(rotation) == pytest.approx(determinant)
    d = network.irreps_out.D_from_matrix(torch.tensor(rotation))
    before = features(network, structure)
    torch.testing.assert_close(features(network, turned(structure, rotation)), before @ d.T,
                               **SYMMETRY)
    for block in network.irreps_out.slices():  # none of the irreps is empty of information
        assert before[:, block].std() > 1e-3


def test_translation_and_image_shift_leave_the_features():
    network, structure = small_network(), random_structure(1)
    before = features(network, structure)
    rng = np.random.default_rng(0)
    away = structure.with_positions(structure.positions + rng.standard_normal(3) * 5)
    torch.testing.assert_close(features(network, away), before, **SYMMETRY)
    steps = rng.integers(-2, 3, (len(structure), 3))
    elsewhere = structure.with_positions(structure.positions + steps @ structure.cell)
    torch.testing.assert_close(features(network, elsewhere), before, **SYMMETRY)


def test_permutation_permutes_the_features():
    network, structure = small_network(), random_structure(2)
    order = np.random.default_rng(0).permutation(len(structure))
    permuted = Structure(structure.positions[order], structure.numbers[order], structure.cell)
    torch.testing.assert_close(features(network, permuted), features(network, structure)[order],
                               **SYMMETRY)


def test_a_supercell_repeats_the_features():
    network, structure = small_network(), random_structure(3, 4)
    doubled = Structure.from_atoms(structure.to_atoms().repeat((2, 1, 1)))
    before = features(network, structure)
    torch.testing.assert_close(features(network, doubled), torch.cat([before, before]), **SYMMETRY)


def test_the_element_matters():
    network, structure = small_network(), random_structure(4)
    other = Structure(structure.positions, np.where(structure.numbers == 6, 1, 6), structure.cell)
    assert (features(network, structure) - features(network, other)).abs().max() > 1e-3


def test_envelope_vanishes_with_two_derivatives_at_the_cutoff():
    r = torch.tensor([0.0, CUTOFF, CUTOFF + 1], requires_grad=True)
    value = envelope(r, CUTOFF)
    (first,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    torch.testing.assert_close(value.detach(), torch.tensor([1.0, 0, 0]), atol=1e-12, rtol=0)
    torch.testing.assert_close(first.detach(), torch.zeros(3), atol=1e-11, rtol=0)
    torch.testing.assert_close(second, torch.zeros(3), atol=1e-10, rtol=0)


def test_radial_basis_covers_the_range():
    basis = RadialBasis(CUTOFF, 8)
    r = torch.linspace(0, CUTOFF, 50)
    assert basis(r).shape == (50, 8)
    assert basis(r).max(1).values.min() > 0.85


def test_an_atom_crosses_the_cutoff_smoothly():
    """Its effect goes to zero as the third power of the distance left, its force as the second."""
    network = small_network()

    def response(gap: float) -> tuple[torch.Tensor, torch.Tensor]:
        structure = cluster([[0, 0, 0], [-1.2, 0.4, 0], [CUTOFF - gap, 0, 0]])
        graph, x = graph_of(structure)
        assert len(graph.center) == (4 if gap > 0 else 2)
        x.requires_grad_()
        out = network(species(structure), graph.vectors(x), graph)[0]
        (gradient,) = torch.autograd.grad(out.tanh().sum(), x)
        return out.detach(), gradient[2]

    beyond, force = response(-1e-3)
    assert force.abs().max() == 0
    gaps = (0.02, 0.01, 0.005)
    value = [float((response(gap)[0] - beyond).abs().max()) for gap in gaps]
    slope = [float(response(gap)[1].abs().max()) for gap in gaps]
    assert value[0] > 1e-9 and slope[0] > 1e-7
    for k in (0, 1):
        assert value[k] / value[k + 1] == pytest.approx(8, rel=0.1)
        assert slope[k] / slope[k + 1] == pytest.approx(4, rel=0.1)


def test_far_separation_adds():
    """Two clusters beyond the cutoff are the two clusters alone, exactly."""
    network = small_network()
    rng = np.random.default_rng(5)
    one, other = rng.uniform(0, 3, (5, 3)), rng.uniform(0, 3, (4, 3))
    x = np.array([1.0, 0, 0])
    both = cluster(np.concatenate([one, other + (3 + CUTOFF) * x]))
    alone = torch.cat([features(network, cluster(one)), features(network, cluster(other))])
    torch.testing.assert_close(features(network, both), alone, **SYMMETRY)
    near = cluster(np.concatenate([one, other + 3 * x]))
    assert (features(network, near) - alone).abs().max() > 1e-3  # and near ones are not


def test_an_atom_beyond_the_receptive_field_does_not_matter():
    """A chain: the last atom acts on the first through as many bonds as there are layers."""
    network = small_network()
    assert network.receptive_field == SMALL["n_layers"] * CUTOFF
    step = 0.9 * CUTOFF
    chain = [[k * step, 0, 0] for k in range(4)]
    moved = [*chain[:3], [3 * step, 0.5, 0.3]]
    first = features(network, cluster(chain)) - features(network, cluster(moved))
    assert first[0].abs().max() == 0  # three bonds away, two layers
    assert first[1].abs().max() > 1e-9  # two bonds away


def test_sites_have_the_features_that_all_atoms_have():
    network, structure = small_network(), random_structure(6)
    sites = torch.tensor([7, 0, 4])
    torch.testing.assert_close(features(network, structure, sites)[sites],
                               features(network, structure)[sites], **SYMMETRY)


def test_batching_leaks_nothing():
    network = small_network()
    structures = [random_structure(7, 6), random_structure(8, 9, np.eye(3) * 6)]
    graph = build_graph(structures, CUTOFF, dtype=torch.float64)
    x = torch.tensor(np.concatenate([s.positions for s in structures]))
    with torch.no_grad():
        together = network(torch.cat([species(s) for s in structures]), graph.vectors(x), graph)
    torch.testing.assert_close(together, torch.cat([features(network, s) for s in structures]),
                               **SYMMETRY)


def test_coincident_atoms_have_a_finite_gradient():
    network = small_network()
    structure = cluster([[0, 0, 0], [0, 0, 0], [1.2, 0.3, 0]])
    graph, x = graph_of(structure)
    assert ((graph.center == 0) & (graph.neighbor == 1)).any()
    x.requires_grad_()
    out = network(species(structure), graph.vectors(x), graph)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert torch.isfinite(out).all() and torch.isfinite(gradient).all()
    assert gradient.abs().max() > 1e-3


def test_gradient_is_the_numeric_one():
    network, structure = small_network(), random_structure(9, 4)
    graph, x = graph_of(structure)

    def value(x, cells):
        return network(species(structure), graph.vectors(x, cells), graph).square().sum(1)

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), graph.cells.requires_grad_()))
