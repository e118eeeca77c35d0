"""Shortest-path rings against known crystals and against a brute-force search."""

from collections import deque

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene

from diffxas.errors import InputError
from diffxas.neighbourhood import Pairs, bonds
from diffxas.rings import ring_statistics
from diffxas.structure import Structure


def diamond(cubic: bool = True, repeat: int = 1) -> Structure:
    return Structure.from_atoms(bulk("C", "diamond", a=3.567, cubic=cubic).repeat(repeat))


def flat(n: int) -> Structure:
    sheet = graphene(size=(n, n, 1), vacuum=5)
    sheet.pbc = True
    return Structure.from_atoms(sheet)


def random_network(seed: int, n_atoms: int, edge: float) -> Structure:
    """Points in an oblique cell; at these densities atoms bond to several images of each other."""
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * edge + rng.normal(0, 0.25 * edge / 3, (3, 3))
    return Structure(rng.random((n_atoms, 3)) @ cell, np.full(n_atoms, 6), cell)


def brute_force(structure: Structure, largest: int) -> np.ndarray:
    """Rings of each size through each atom: every cycle, every pair of its vertices."""
    pairs = bonds(structure)
    around: dict[int, list[tuple[int, tuple[int, ...]]]] = {n: [] for n in range(len(structure))}
    for i, j, shift in zip(pairs.first, pairs.second, pairs.shift, strict=True):
        around[int(i)].append((int(j), tuple(int(x) for x in shift)))

    def neighbours(vertex):
        atom, image = vertex
        return [(j, tuple(a + b for a, b in zip(image, shift, strict=True)))
                for j, shift in around[atom]]

    def distances(vertex):
        found, queue = {vertex: 0}, deque([vertex])
        while queue:
            here = queue.popleft()
            if found[here] == largest // 2:
                continue
            for there in neighbours(here):
                if there not in found:
                    found[there] = found[here] + 1
                    queue.append(there)
        return found

    cache: dict = {}

    def is_shortest(ring):
        n = len(ring)
        for i in range(n):
            if ring[i] not in cache:
                cache[ring[i]] = distances(ring[i])
            for j in range(i):
                if cache[ring[i]].get(ring[j], n) < min(i - j, n - i + j):
                    return False
        return True

    counts = np.zeros((len(structure), largest + 1), dtype=int)
    for atom in range(len(structure)):
        home = (atom, (0, 0, 0))
        reach = distances(home)
        paths = [[home]]
        for length in range(1, largest):
            paths = [[*path, there] for path in paths for there in neighbours(path[-1])
                     if there not in path and reach.get(there, largest) <= largest - length]
            for path in paths:
                if len(path) > 2 and home in neighbours(path[-1]) and path[1] < path[-1]:
                    counts[atom, len(path)] += is_shortest(path)
    return counts[:, 3:]


@pytest.mark.parametrize("structure", [diamond(cubic=False), diamond(), diamond(repeat=2)],
                         ids=["primitive", "cubic", "supercell"])
def test_diamond_has_twelve_six_rings_through_each_atom_in_any_cell(structure):
    rings = ring_statistics(structure, 12)
    assert (rings.through[:, rings.sizes == 6] == 12).all()
    assert rings.through.sum() == 12 * len(structure)
    assert rings.per_atom[rings.sizes == 6] == pytest.approx(2.0)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_graphene_has_three_hexagons_at_each_atom(n):
    rings = ring_statistics(flat(n), 12)
    assert (rings.through[:, rings.sizes == 6] == 3).all()
    assert rings.through.sum() == 3 * 2 * n * n


def test_simple_cubic_has_squares_and_petrie_hexagons():
    """12 faces meet at a vertex; each of its 8 cubes has 4 skew hexagons, 3 through the vertex."""
    rings = ring_statistics(Structure.from_atoms(bulk("Po", "sc", a=3.35)), 10)
    assert dict(zip(rings.sizes, rings.through[0], strict=True)) == {
        3: 0, 4: 12, 5: 0, 6: 24, 7: 0, 8: 0, 9: 0, 10: 0}


def test_beta_cristobalite_has_twelve_rings_of_six_silicon_and_six_oxygen():
    silicon = bulk("Si", "diamond", a=7.16, cubic=True)
    pairs = bonds(Structure.from_atoms(silicon), {("Si", "Si"): 3.3})
    once = pairs.first < pairs.second
    middle = silicon.positions[pairs.first] + pairs.vector / 2
    oxygen = Atoms("O" * int(once.sum()), positions=middle[once])
    crystal = silicon + oxygen
    crystal.wrap()
    assert len(crystal) == 24
    structure = Structure.from_atoms(crystal)
    rings = ring_statistics(structure, 12, bonds(structure, {("Si", "Si"): 0.5, ("O", "O"): 0.5}))
    twelve = rings.through[:, rings.sizes == 12].ravel()
    assert (twelve[structure.numbers == 14] == 12).all()
    assert (twelve[structure.numbers == 8] == 6).all()
    assert rings.through[:, rings.sizes < 12].sum() == 0


@pytest.mark.parametrize(("seed", "n_atoms", "edge"), [
    (0, 1, 1.7), (1, 2, 2.0), (2, 4, 2.8), (3, 6, 3.4), (4, 12, 4.8), (5, 20, 5.8), (6, 40, 7.3)])
def test_small_periodic_networks_agree_with_brute_force(seed, n_atoms, edge):
    structure = random_network(seed, n_atoms, edge)
    expected = brute_force(structure, 8)
    assert expected.sum() > 0
    np.testing.assert_array_equal(ring_statistics(structure, 8).through, expected)


def test_a_dft_cell_agrees_with_its_own_repetition(shared_data):
    from ase.io import read

    cell = read(shared_data / "a-C-K-edge" / "poscar" / "d2.0_1.vasp")
    one = ring_statistics(Structure.from_atoms(cell), 10)
    eight = ring_statistics(Structure.from_atoms(cell.repeat((2, 1, 1))), 10)
    np.testing.assert_array_equal(np.tile(one.through, (2, 1)), eight.through)
    np.testing.assert_array_equal(one.through.sum(axis=0) % one.sizes, 0)


def test_moving_atoms_by_lattice_vectors_keeps_the_rings():
    structure = random_network(7, 20, 6.0)
    shifts = np.random.default_rng(0).integers(-3, 4, (20, 3))
    moved = structure.with_positions(structure.positions + shifts @ structure.cell)
    np.testing.assert_array_equal(ring_statistics(structure, 8).through,
                                  ring_statistics(moved, 8).through)


def test_a_chain_that_closes_on_its_image_is_no_ring():
    cell = np.diag([5.2, 12.0, 12.0])
    chain = Structure(np.stack([np.arange(4) * 1.3, np.full(4, 6.0), np.full(4, 6.0)], 1),
                      np.full(4, 6), cell)
    assert len(bonds(chain).first) == 8
    assert ring_statistics(chain, 10).through.sum() == 0


def test_a_molecule_has_its_rings_and_single_atoms_none():
    angle = np.arange(5) * 2 * np.pi / 5
    ring = np.stack([1.2 * np.cos(angle), 1.2 * np.sin(angle), 0 * angle], 1)
    pentagon = Structure(ring, np.full(5, 6), np.zeros((3, 3)), np.zeros(3, bool))
    assert ring_statistics(pentagon).through.tolist() == [[0, 0, 1, 0, 0, 0, 0, 0]] * 5
    atom = Structure(np.zeros((1, 3)), np.array([6]), np.eye(3) * 20)
    assert ring_statistics(atom).through.sum() == 0


def test_chosen_centres_give_the_rows_of_the_whole():
    structure = random_network(8, 30, 6.5)
    whole = ring_statistics(structure, 8)
    np.testing.assert_array_equal(ring_statistics(structure, 8, centres=[3, 17]).through,
                                  whole.through[[3, 17]])


def test_rings_of_two_are_refused():
    with pytest.raises(InputError, match="at least 3 atoms, received 2"):
        ring_statistics(diamond(), 2)


def test_bonds_may_be_given():
    """A square of four atoms joined by hand, whatever their distances."""
    first = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    second = np.array([1, 3, 0, 2, 1, 3, 0, 2])
    pairs = Pairs(first, second, np.ones((8, 3)), np.zeros((8, 3), dtype=int))
    square = Structure(np.arange(12.0).reshape(4, 3), np.full(4, 6), np.eye(3) * 30)
    assert ring_statistics(square, 6, pairs).through.tolist() == [[0, 1, 0, 0]] * 4
