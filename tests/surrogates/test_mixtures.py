"""Mixtures of sites and the volumes of atoms."""

import numpy as np
import pytest

from diffxas.errors import InputError
from diffxas.structure import Structure
from surrogates.mixtures import CARBON_MASS, CellSites, Mixtures, cell_sites, whole
from surrogates.volumes import atom_volumes


def random_cell(rng: np.random.Generator, n: int = 40, edge: float = 7.5) -> Structure:
    cell = edge * np.eye(3) + 0.8 * rng.standard_normal((3, 3))
    return Structure(rng.random((n, 3)) @ cell, np.full(n, 6), cell, info={"name": "random"})


def made_cell(name: str, parent: str, shares: tuple[float, ...], volume: float,
              n: int = 100) -> CellSites:
    """Sites in random places; a site's spectrum is its kind and its volume."""
    rng = np.random.default_rng(len(name))
    kinds = np.eye(4)[rng.choice(4, n, p=shares)]
    volumes = np.full(n, volume)
    return CellSites(name, parent, CARBON_MASS / volume, np.column_stack([kinds, volumes]),
                     np.column_stack([kinds, volumes]), rng.random((n, 3)), 9 * np.eye(3))


def test_volumes_of_atoms_fill_the_cell():
    structure = random_cell(np.random.default_rng(0))
    volumes = atom_volumes(structure)
    assert volumes.shape == (40,) and (volumes > 0).all()
    assert volumes.sum() == pytest.approx(structure.volume, rel=1e-9)


def test_atoms_of_a_lattice_share_its_volume_wherever_the_origin_is():
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3) * 2.0
    structure = Structure(grid + 17.3, np.full(64, 6), 8.0 * np.eye(3))
    # perfect lattices are the worst case of a tessellation; a hair of noise leaves the volumes
    shaken = structure.with_positions(
        structure.positions + 1e-6 * np.random.default_rng(0).standard_normal((64, 3)))
    np.testing.assert_allclose(atom_volumes(shaken), 8.0, rtol=1e-4)


def test_volumes_need_a_periodic_cell():
    slab = Structure(np.zeros((1, 3)), np.array([6]), 5 * np.eye(3), (True, True, False))
    with pytest.raises(InputError, match="periodic"):
        atom_volumes(slab)


def test_a_cell_is_counted_whole():
    structure = random_cell(np.random.default_rng(1))
    counted = cell_sites(structure, np.zeros((40, 3)))
    assert np.allclose(counted.values[:, :4].sum(1), 1)
    assert whole(counted)[4] == pytest.approx(structure.density, rel=1e-6)


def test_mixtures_mix_spectra_and_quantities_alike():
    cells = [made_cell("open", "a", (0.3, 0.7, 0, 0), 12.0),
             made_cell("dense", "b", (0, 0.2, 0.8, 0), 5.8)]
    spectra, values = Mixtures(cells).draw(200, np.random.default_rng(0))
    np.testing.assert_allclose(spectra[:, :4], values[:, :4])  # the made spectra are the shares
    np.testing.assert_allclose(CARBON_MASS / spectra[:, 4], values[:, 4])
    np.testing.assert_allclose(values[:, :4].sum(1), 1)
    between = (values[:, 4] > 1.9) & (values[:, 4] < 3.0)
    assert between.mean() > 0.1  # densities that neither network has


def test_no_mixture_has_a_density_that_is_left_out():
    cells = [made_cell("open", "a", (0.3, 0.7, 0, 0), 12.0),
             made_cell("dense", "b", (0, 0.2, 0.8, 0), 5.8)]
    _, values = Mixtures(cells, without=(2.0, 3.0)).draw(100, np.random.default_rng(0))
    assert not ((values[:, 4] >= 2.0) & (values[:, 4] <= 3.0)).any()
    with pytest.raises(InputError, match="leave out less"):
        Mixtures(cells, without=(1.0, 4.0)).draw(1, np.random.default_rng(0))


def test_networks_count_alike_whatever_the_number_of_their_cells():
    cells = [made_cell(f"copy{k}", "a", (0, 1, 0, 0), 8.0) for k in range(9)]
    cells.append(made_cell("other", "b", (0, 0, 1, 0), 8.0))
    _, values = Mixtures(cells).draw(2000, np.random.default_rng(0))
    assert values[:, 2].mean() == pytest.approx(0.5, abs=0.03)
