"""The network for use against the same in training: one function, and one derivative."""

import numpy as np
import pytest
import torch
from core_examples import graph_of, random_structure, small_network, species
from e3nn import o3

from diffxas.lean import EDGES_AT_ONCE, Edges
from diffxas.network import harmonics


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def both(n_atoms: int, dtype: torch.dtype, sites=None) -> tuple[list[torch.Tensor], ...]:
    """Features and their derivative along a direction, for use and in training."""
    structure = random_structure(3, n_atoms, np.diag([7.0, 8.0, 9.0]) * (n_atoms / 40) ** (1 / 3))
    network = small_network(1, n_condition=2).to(dtype)
    found = []
    for trained in (False, True):
        network.requires_grad_(trained)
        assert network.is_lean is not trained
        graph, x = graph_of(structure)
        x = x.to(dtype).requires_grad_(True)
        condition = torch.linspace(-1, 1, 2 * n_atoms, dtype=dtype).reshape(n_atoms, 2)
        graph = graph.__class__(graph.center, graph.neighbor, graph.shift.to(dtype), graph.batch,
                                graph.cells.to(dtype))
        out = network(species(structure), graph.vectors(x), graph, condition, sites)
        out = out if sites is None else out[sites]
        weights = torch.sin(torch.arange(out.numel(), dtype=dtype)).reshape(out.shape)
        (gradient,) = torch.autograd.grad((out * weights).sum(), x)
        found.append([out.detach(), gradient])
    return found[0], found[1]


@pytest.mark.parametrize("sites", [None, torch.tensor([3, 5, 11])])
def test_features_and_derivatives_are_those_of_training(sites):
    lean, plain = both(40, torch.float64, sites)
    for a, b in zip(lean, plain, strict=True):
        assert b.abs().max() > 1e-2
        # e3nn keeps the constants of its products in float32.
        torch.testing.assert_close(a, b, atol=1e-6 * float(b.abs().max()), rtol=0)


def test_many_blocks_of_edges_in_float32():
    lean, plain = both(200, torch.float32)
    for a, b in zip(lean, plain, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5 * float(b.abs().max()), rtol=0)


def test_blocks_cover_every_centre_once():
    counts = np.array([5, 0, EDGES_AT_ONCE + 7, 0, 1, EDGES_AT_ONCE - 1, 3])
    center = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    edges = Edges.of(center, center, torch.zeros(len(center), 3), len(counts))
    blocks = edges.blocks()
    assert [k for a, b in blocks for k in range(a, b)] == list(range(len(counts)))
    assert len(blocks) > 2


def test_edges_are_sorted_with_what_belongs_to_them():
    center = torch.tensor([2, 0, 2, 1])
    edges = Edges.of(center, torch.tensor([5, 6, 7, 8]), torch.arange(12.0).reshape(4, 3), 4)
    assert edges.center.tolist() == [0, 1, 2, 2]
    assert edges.neighbor.tolist() == [6, 8, 5, 7]
    assert edges.vectors[:, 0].tolist() == [3, 9, 0, 6]
    assert edges.start.tolist() == [0, 1, 2, 4, 4]


def test_harmonics_are_those_of_e3nn():
    d = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    expected = o3.spherical_harmonics([0, 1, 2], d, normalize=False, normalization="component")
    torch.testing.assert_close(harmonics(d), expected, atol=1e-12, rtol=1e-12)


def test_changed_weights_are_taken():
    structure = random_structure(0, 12)
    network = small_network().requires_grad_(False)
    graph, x = graph_of(structure)
    before = network(species(structure), graph.vectors(x), graph)
    network.layers[1].skip.weight.mul_(1.5)
    after = network(species(structure), graph.vectors(x), graph)
    assert (after - before).abs().max() > 1e-3
