"""The start: one atom in each of equal sub-volumes, without waves of density; a control fails."""

from pathlib import Path

import numpy as np
import pytest

from diffxas.analysis import rdf
from diffxas.structure import Structure
from diffxas.structure_files import read_structures
from samplers.sampling import SamplingSchedule
from samplers.start import boxes_of_atoms, equal_boxes, jittered_grid, start_positions

CUBE = 13.0 * np.eye(3)
LONG = np.diag([40.0, 9.0, 6.0])
OBLIQUE = np.array([[11.0, 0.0, 0.0], [5.0, 9.5, 0.0], [-4.0, 4.5, 9.0]])
CELLS = {"cube": CUBE, "long": LONG, "oblique": OBLIQUE}
COUNTS = (1, 2, 3, 7, 13, 64, 97, 216, 1009)
NETWORKS = Path(__file__).parents[2] / "experiments/data/a-C-NEP/networks_300K.extxyz"
DENSITY = 0.1003
"""Atoms per cubic angstrom: carbon of 2 g/cm3."""


def fractional(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    return positions @ np.linalg.inv(cell)


def cubic(n_atoms: int) -> np.ndarray:
    return (n_atoms / DENSITY) ** (1 / 3) * np.eye(3)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("n_atoms", COUNTS)
def test_the_boxes_have_one_volume_and_fill_the_cell(n_atoms, name):
    corners, sizes = equal_boxes(n_atoms, CELLS[name])
    np.testing.assert_allclose(sizes.prod(1), 1 / n_atoms, rtol=1e-12)
    points = np.random.default_rng(n_atoms).random((300, 1, 3))
    holds = ((corners <= points) & (points < corners + sizes)).all(2)
    assert holds.sum(1).tolist() == [1] * 300  # no gap, no overlap


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("n_atoms", COUNTS)
def test_every_box_holds_its_atom(n_atoms, name):
    cell = CELLS[name]
    corners, sizes = equal_boxes(n_atoms, cell)
    places = (fractional(jittered_grid(n_atoms, cell, 3, 1), cell) - corners) / sizes
    assert places.min() > -1e-9 and places.max() < 1 + 1e-9


@pytest.mark.parametrize("name", CELLS)
def test_no_box_is_a_slab_or_a_needle(name):
    _, sizes = equal_boxes(1009, CELLS[name])
    edges = sizes * np.linalg.norm(CELLS[name], axis=1)
    assert (edges.max(1) / edges.min(1)).max() < 3.0


def test_an_atom_lies_anywhere_in_its_box_with_equal_probability():
    corners, sizes = equal_boxes(5, CUBE)
    places = np.array([(fractional(jittered_grid(5, CUBE, 0, sample), CUBE) - corners) / sizes
                       for sample in range(800)]).reshape(-1, 3)
    uniform = (np.arange(4000) + 0.5) / 4000
    for axis in places.T:
        # Kolmogorov and Smirnov: chance goes beyond this in one case of a thousand.
        assert np.abs(np.sort(axis) - uniform).max() < 1.95 / np.sqrt(4000)


def longest_waves(positions: np.ndarray, cell: np.ndarray) -> float:
    """S(q) over the shortest wave vectors of the cell, mean of the three."""
    phases = np.exp(2j * np.pi * fractional(positions, cell))
    return float((np.abs(phases.sum(0)) ** 2 / len(positions)).mean())


def uniform_start(n_atoms: int, cell: np.ndarray, sigma: float, seed: int,
                  sample: int) -> np.ndarray:
    """The control: independent positions, noised."""
    rng = np.random.default_rng([seed, sample])
    return rng.random((n_atoms, 3)) @ cell + sigma * rng.standard_normal((n_atoms, 3))


def test_density_waves_fade_as_the_noise_says_and_not_as_for_independent_positions():
    """S(q) = 1 - |f(q)|^2 exp(-q^2 sigma^2), with f the Fourier transform of a box, about a cube.

    Below |q| = 0.3 / angstrom little is left of it; independent atoms have S = 1 at every q.
    """
    n_atoms, sigma, draws = 1000, SamplingSchedule().sigma_max, 40
    cell = cubic(n_atoms)
    q, box = 2 * np.pi / cell[0, 0], DENSITY ** (-1 / 3)
    law = 1 - np.sinc(q * box / 2 / np.pi) ** 2 * np.exp(-(q * sigma) ** 2)
    assert law < 0.2
    start, control = (np.mean([longest_waves(draw(n_atoms, cell, sigma, 0, k), cell)
                               for k in range(draws)])
                      for draw in (start_positions, uniform_start))
    tolerance = 4 / np.sqrt(3 * draws)  # |rho_q|^2 is exponentially distributed: four deviations
    assert abs(start / law - 1) < tolerance
    assert abs(control - 1) < tolerance
    assert abs(control / law - 1) > tolerance  # the control fails the same test


def test_large_cells_have_smaller_waves_still():
    sigma = SamplingSchedule().sigma_max
    small, large = (np.mean([longest_waves(start_positions(n, cubic(n), sigma, 1, k), cubic(n))
                             for k in range(12)]) for n in (1000, 20_000))
    assert large < small / 3  # S goes as q^2, by (1/20)^(2/3) = 0.14


def test_one_key_gives_one_start_and_another_key_another():
    first = start_positions(50, OBLIQUE, 1.2, 7, 2)
    assert first.shape == (50, 3)
    np.testing.assert_array_equal(start_positions(50, OBLIQUE, 1.2, 7, 2), first)
    for seed, sample in ((8, 2), (7, 3), (2, 7)):
        assert np.abs(start_positions(50, OBLIQUE, 1.2, seed, sample) - first).min() > 1e-6


def test_grid_and_noise_share_no_numbers():
    """Jitter and displacement of an atom are independent: their correlation is that of chance."""
    grid = jittered_grid(20_000, CUBE, 0, 0)
    corners, sizes = equal_boxes(20_000, CUBE)
    jitter = (fractional(grid, CUBE) - corners) / sizes
    displacement = start_positions(20_000, CUBE, 1.2, 0, 0) - grid
    assert displacement.std() == pytest.approx(1.2, rel=0.02)
    for a in range(3):
        for b in range(3):
            assert abs(np.corrcoef(jitter[:, a], displacement[:, b])[0, 1]) < 0.03


def neighbours(group: list[Structure]) -> float:
    """Pairs within 3 angstrom, over those of independent positions: g(r) integrated."""
    r, g = rdf(group, r_max=3.0, bin_width=0.5)
    return float((g * r**2).sum() / (r**2).sum())


def test_the_start_looks_like_noised_networks():
    """In S(q -> 0) and in the shallow hole of g(r), at the highest noise level, 1.9 to 3.2 g/cm3.

    Independent positions do not: they have S = 1 and no hole.
    """
    sigma, draws = SamplingSchedule().sigma_max, 4
    networks = [n for n in read_structures(NETWORKS) if 1.9 < n.density < 3.2]
    assert len(networks) > 25
    groups: dict[str, list[Structure]] = {"noised": [], "start": [], "control": []}
    for k, network in enumerate(networks * draws):
        n, cell = len(network), network.cell
        z = np.random.default_rng(k).standard_normal((n, 3))
        groups["noised"].append(network.with_positions(network.positions + sigma * z))
        groups["start"].append(network.with_positions(start_positions(n, cell, sigma, 0, k)))
        groups["control"].append(network.with_positions(uniform_start(n, cell, sigma, 0, k)))
    waves = {name: np.mean([longest_waves(x.positions, x.cell) for x in group])
             for name, group in groups.items()}
    assert abs(waves["start"] - waves["noised"]) < 0.15
    assert abs(waves["control"] - waves["noised"]) > 0.4
    pairs = {name: neighbours(group) for name, group in groups.items()}
    assert abs(pairs["start"] - pairs["noised"]) < 0.01
    assert abs(pairs["control"] - pairs["noised"]) > 0.015


COMPOSITIONS = {"SiO2": [72, 144], "SiC": [108, 108], "a dopant": [215, 1],
                "odd": [71, 144, 5]}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_every_atom_has_a_box_of_its_own_and_every_run_of_boxes_the_composition(name):
    counts = COMPOSITIONS[name]
    boxes = boxes_of_atoms(counts, 3, 1)
    assert sorted(boxes) == list(range(sum(counts)))
    element = np.empty(sum(counts), dtype=int)
    element[boxes] = np.repeat(np.arange(len(counts)), counts)
    for k, count in enumerate(counts):
        excess = np.cumsum(element == k) - count / sum(counts) * np.arange(1, sum(counts) + 1)
        block = -(-sum(counts) // min(counts))  # shuffled within
        assert np.abs(excess[block - 1::block]).max() < 1.5
        assert np.abs(excess).max() < 1.5 + block / 4


def test_one_element_starts_as_before_and_several_share_its_positions():
    """Whoever draws one element gets the same numbers with and without a composition."""
    one = start_positions(216, CUBE, 1.2, 5, 2)
    np.testing.assert_array_equal(start_positions(216, CUBE, 1.2, 5, 2, [216]), one)
    grid = jittered_grid(216, CUBE, 5, 2)
    mixed = start_positions(216, CUBE, 0.0, 5, 2, [72, 144])
    np.testing.assert_array_equal(mixed, grid[boxes_of_atoms([72, 144], 5, 2)])
    orders = {tuple(boxes_of_atoms([72, 144], seed, sample)) for seed in (0, 1)
              for sample in (0, 1)}
    assert len(orders) == 4


def composition_wave(boxes: np.ndarray, counts: list[int], grid: np.ndarray,
                     cell: np.ndarray) -> float:
    """|sum over atoms of (c - mean) exp(iqr)|^2 over that of independent elements."""
    share = counts[0] / sum(counts)
    excess = np.full(sum(counts), -share)
    excess[:counts[0]] = 1 - share
    phases = np.exp(2j * np.pi * fractional(grid[boxes], cell))
    waves = np.abs((excess[:, None] * phases).sum(0)) ** 2
    return float(waves.mean() / (sum(counts) * share * (1 - share)))


def test_the_composition_has_no_waves_and_independent_elements_do():
    counts, cell = [400, 800], cubic(1200)
    rng = np.random.default_rng(0)
    start, control = [], []
    for sample in range(20):
        grid = jittered_grid(1200, cell, 0, sample)
        start.append(composition_wave(boxes_of_atoms(counts, 0, sample), counts, grid, cell))
        control.append(composition_wave(rng.permutation(1200), counts, grid, cell))
    assert np.mean(start) < 0.25
    assert abs(np.mean(control) - 1) < 4 / np.sqrt(60)
