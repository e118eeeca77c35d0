"""Periodic graphs against a brute-force search over images, and their derivatives."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from ase.build import bulk
from core_examples import OBLIQUE, random_structure

from diffxas.graph import build_graph, neighbors
from diffxas.structure import Structure


def brute_force(structure: Structure, cutoff: float) -> dict[tuple[int, ...], np.ndarray]:
    """Every edge (i, j, shift) -> vector, by trying all images that could be near enough."""
    positions, cell = structure.positions, structure.cell
    ranges = [range(1)] * 3
    if structure.pbc.any():
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        span = np.ptp(positions @ np.linalg.inv(cell), axis=0)
        ranges = [range(-n, n + 1) if periodic else range(1) for n, periodic in
                  zip(np.ceil(cutoff / heights + span).astype(int), structure.pbc, strict=True)]
    edges = {}
    for shift in itertools.product(*ranges):
        vectors = positions[None] - positions[:, None] + np.array(shift) @ cell
        for i, j in np.argwhere(np.linalg.norm(vectors, axis=2) < cutoff):
            if i != j or any(shift):
                edges[int(i), int(j), *shift] = vectors[i, j]
    return edges


def edges_of(structure: Structure, cutoff: float) -> dict[tuple[int, ...], np.ndarray]:
    graph = build_graph(structure, cutoff, dtype=torch.float64)
    vectors = graph.vectors(torch.tensor(structure.positions)).numpy()
    assert (graph.shift == graph.shift.round()).all()
    keys = torch.cat([graph.center[:, None], graph.neighbor[:, None], graph.shift.long()], 1)
    edges = {tuple(key): vector for key, vector in zip(keys.tolist(), vectors, strict=True)}
    assert len(edges) == len(vectors), "an edge is listed twice"
    return edges


ONE_ATOM = Structure([[7.3, -4.1, 0.2]], [6], np.diag([1.4, 2.0, 1.1]))
SLAB = random_structure(3, 12, pbc=(True, False, True))
WIRE = random_structure(4, 12, pbc=(False, True, False))
NEEDLE = np.array([[2.0, 0.0, 0.0], [5.5, 1.9, 0.0], [-4.3, 3.1, 1.8]])


@pytest.mark.parametrize("structure, cutoff", [
    pytest.param(random_structure(0, 12, np.eye(3) * 9), 4.0, id="cell longer than two cutoffs"),
    pytest.param(random_structure(1, 8), 3.7, id="oblique, atoms outside the cell"),
    pytest.param(random_structure(2, 3, np.diag([2.0, 3.0, 4.0])), 5.0, id="cell under a cutoff"),
    pytest.param(random_structure(5, 3, NEEDLE), 4.0, id="strongly oblique, under a cutoff"),
    pytest.param(ONE_ATOM, 3.5, id="one atom and its images"),
    pytest.param(SLAB, 3.7, id="slab"),
    pytest.param(WIRE, 3.7, id="wire"),
    pytest.param(random_structure(6, 40, pbc=False), 3.7, id="cluster in a cell"),
    pytest.param(Structure(SLAB.positions, SLAB.numbers, np.zeros((3, 3)), [False] * 3), 3.7,
                 id="molecule without a cell"),
])
def test_edges_are_those_of_a_search_over_all_images(structure, cutoff):
    reference, found = brute_force(structure, cutoff), edges_of(structure, cutoff)
    assert len(reference) > 5
    assert found.keys() == reference.keys()
    for key, vector in reference.items():
        np.testing.assert_allclose(found[key], vector, atol=1e-12)


def test_left_handed_cells_are_no_different():
    structure = random_structure(7, 8, OBLIQUE[[1, 0, 2]])
    assert np.linalg.det(structure.cell) < 0
    assert edges_of(structure, 3.5).keys() == brute_force(structure, 3.5).keys()


def test_image_shift_leaves_the_vectors():
    structure = random_structure(8, 9)
    steps = np.random.default_rng(0).integers(-3, 4, (9, 3))
    moved = structure.with_positions(structure.positions + steps @ structure.cell)
    before, after = edges_of(structure, 3.5), edges_of(moved, 3.5)
    assert len(before) == len(after)
    for (i, j, *shift), vector in before.items():
        key = (i, j, *(np.array(shift) + steps[i] - steps[j]).tolist())
        np.testing.assert_allclose(after[key], vector, atol=1e-12)


@pytest.mark.parametrize("n_structures", [1, 2])
def test_vectors_have_the_gradient_of_positions_and_cells(n_structures):
    structures = [random_structure(seed, 4) for seed in range(n_structures)]
    graph = build_graph(structures, 2.5, dtype=torch.float64)
    positions = torch.tensor(np.concatenate([s.positions for s in structures]), requires_grad=True)
    cells = graph.cells.clone().requires_grad_()
    assert (graph.shift != 0).any()
    assert torch.autograd.gradcheck(lambda x, h: graph.vectors(x, h).norm(dim=1),
                                    (positions, cells))


def test_strain_of_positions_and_cell_stretches_every_vector():
    structure = random_structure(9, 6)
    graph = build_graph(structure, 3.0, dtype=torch.float64)
    x = torch.tensor(structure.positions)
    strain = torch.eye(3, dtype=torch.float64) + 0.01 * torch.arange(9.0).reshape(3, 3).double()
    torch.testing.assert_close(graph.vectors(x @ strain, graph.cells @ strain),
                               graph.vectors(x) @ strain)


def test_batching_leaks_nothing():
    structures = [random_structure(10, 5), SLAB, ONE_ATOM, random_structure(11, 7, np.eye(3) * 4)]
    cutoff = 3.5
    together = build_graph(structures, cutoff, dtype=torch.float64)
    x = torch.tensor(np.concatenate([s.positions for s in structures]))
    assert torch.equal(together.batch[together.center], together.batch[together.neighbor])
    assert (together.n_structures, together.n_atoms) == (4, 5 + 12 + 1 + 7)
    vectors, first = together.vectors(x), 0
    for k, structure in enumerate(structures):
        alone = build_graph(structure, cutoff, dtype=torch.float64)
        here = together.batch[together.center] == k
        assert torch.equal(together.center[here] - first, alone.center)
        assert torch.equal(together.neighbor[here] - first, alone.neighbor)
        torch.testing.assert_close(vectors[here], alone.vectors(torch.tensor(structure.positions)),
                                   atol=1e-12, rtol=0)
        first += len(structure)


def test_subset_keeps_the_edges_asked_for():
    structure = random_structure(12, 6)
    graph = build_graph(structure, 3.0, dtype=torch.float64)
    x, edges = torch.tensor(structure.positions), torch.tensor([5, 0, 3])
    assert torch.equal(graph.subset(edges).vectors(x), graph.vectors(x)[edges])


def test_few_atoms_in_a_huge_cell_take_little_memory():
    positions = np.array([[1.0, 1, 1], [2.2, 1, 1], [3.5, 1, 1], [499.5, 1, 1]])
    tracemalloc.start()
    first, second, shift = neighbors(positions, 500 * np.eye(3), np.ones(3, bool), 1.25)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert peak < 50e6 and not shift.any()
    first, _, shift = neighbors(positions, 500 * np.eye(3), np.ones(3, bool), 1.55)
    assert len(first) == 6 and np.abs(shift).sum() == 2  # through the face, and the pair 1.3 apart


def test_edges_and_memory_grow_with_the_number_of_atoms():
    """13,824 atoms: a matrix of distances would take 1.5 GB; an edge takes some hundred bytes."""
    unit = Structure.from_atoms(bulk("C", "diamond", a=3.567, cubic=True))
    per_atom = len(neighbors(unit.positions, unit.cell, unit.pbc, 3.7)[0]) / len(unit)
    assert per_atom == 4 + 12 + 12 + 6  # shells of diamond at 1.54, 2.52, 2.96 and 3.57 angstrom
    large = Structure.from_atoms(unit.to_atoms().repeat(12))
    tracemalloc.start()
    center, _, _ = neighbors(large.positions, large.cell, large.pbc, 3.7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(center) == per_atom * len(large)
    assert peak < 400 * len(center)
