"""Tiles against the whole cell, in float64: values, gradients, partitions."""

import numpy as np
import pytest
import torch
from core_examples import CUTOFF, random_structure, small_prior

import diffxas.denoiser
import diffxas.tiled
from diffxas.denoiser import PriorDenoiser
from diffxas.errors import InputError
from diffxas.graph import neighbors
from diffxas.network import EquivariantNetwork
from diffxas.structure import Structure
from diffxas.tiled import TiledNetwork
from diffxas.tiles import Partition

CELLS = {
    "orthorhombic": (np.diag([9.0, 12.0, 10.0]), 90, True, 20),
    "oblique": (np.array([[8.0, 0, 0], [5.0, 7.0, 0], [-4.0, 3.0, 16.0]]), 80, True, 15),
    "thin": (np.array([[2.2, 0, 0], [0.7, 2.5, 0], [0, 1.0, 40.0]]), 24, True, 5),
    "one tile": (np.diag([2.5, 2.5, 2.5]), 3, True, 50),
    "many tiles in a small cell": (np.diag([3.1, 3.2, 3.3]), 4, True, 1),
    "slab": (np.array([[9.0, 0, 0], [2.0, 9.0, 0], [0, 0, 14.0]]), 70, (True, True, False), 12),
}


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def denoised(structure: Structure, per_tile: int | None, monkeypatch) -> tuple[torch.Tensor, ...]:
    """D and the gradient of a weighted sum of it; whole where ``per_tile`` is None."""
    with monkeypatch.context() as patch:
        patch.setattr(diffxas.denoiser, "is_tiled", lambda *_: per_tile is not None)
        denoiser = PriorDenoiser(
            small_prior().double(), structure,
            tiled=lambda *a: TiledNetwork(*a, atoms_per_tile=per_tile or 1))
    x = torch.tensor(structure.positions, requires_grad=True)
    out = denoiser(x, 0.3)
    weights = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).reshape(out.shape)
    (gradient,) = torch.autograd.grad((out * weights).sum(), x)
    with torch.no_grad():
        assert torch.equal(out, denoiser(x, 0.3))  # with and without a gradient
        monkeypatch.setattr(diffxas.tiled, "KEPT_ATOMS", 0)
        assert torch.equal(out, denoiser(x, 0.3))  # with what is held computed again
    return out.detach(), gradient


@pytest.mark.parametrize("name", CELLS)
def test_tiles_are_the_whole_cell(name, monkeypatch):
    cell, n, pbc, per_tile = CELLS[name]
    structure = random_structure(2, n, cell, pbc)
    whole, tiled = (denoised(structure, k, monkeypatch) for k in (None, per_tile))
    for a, b in zip(tiled, whole, strict=True):
        assert (a - b).abs().max() < 1e-10
    assert (whole[0] - torch.tensor(structure.positions)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["oblique", "slab"])
def test_layers_of_e3nn_give_the_same_tile_by_tile(name, monkeypatch):
    """What a GPU runs, here on a CPU."""
    cell, n, pbc, per_tile = CELLS[name]
    structure = random_structure(2, n, cell, pbc)
    lean = denoised(structure, None, monkeypatch)
    monkeypatch.setattr(EquivariantNetwork, "is_lean", False)
    whole, tiled = (denoised(structure, k, monkeypatch) for k in (None, per_tile))
    for a, b, c in zip(tiled, whole, lean, strict=True):
        assert (a - b).abs().max() < 1e-10
        assert (a - c).abs().max() < 1e-6  # e3nn keeps its tables in single precision


def test_a_halo_that_is_too_thin_is_noticed(monkeypatch):
    cell, n, pbc, per_tile = CELLS["orthorhombic"]
    structure = random_structure(2, n, cell, pbc)
    whole, _ = denoised(structure, None, monkeypatch)
    around = diffxas.tiles.CutCell._around
    monkeypatch.setattr(diffxas.tiles.CutCell, "_around",
                        lambda self, number, cutoff: around(self, number, 0.8 * cutoff))
    tiled, _ = denoised(structure, per_tile, monkeypatch)
    assert (tiled - whole).abs().max() > 1e-6


@pytest.mark.parametrize("name", CELLS)
def test_every_edge_is_in_one_tile(name):
    cell, n, pbc, per_tile = CELLS[name]
    structure = random_structure(4, n, cell, pbc)
    partition = Partition.of(structure.cell, structure.pbc, n, per_tile)
    cut = partition.cut(structure.positions)
    found = []
    for number in range(partition.n_tiles):
        tile = cut.tile(number, CUTOFF)
        i = tile.owned[np.repeat(np.arange(len(tile.owned)), np.diff(tile.start))]
        found += zip(i, tile.rows[tile.neighbor], map(tuple, tile.shift), strict=True)
    i, j, shift = neighbors(structure.positions, structure.cell, structure.pbc, CUTOFF)
    expected = set(zip(i, j, map(tuple, shift.astype(int)), strict=True))
    assert len(found) == len(expected)
    assert set(found) == expected


def test_the_partition_follows_from_the_cell_and_the_number_of_atoms():
    one = Partition.of(np.diag([10.0, 20.0, 40.0]), np.ones(3, bool), 8000, 1000)
    assert one.counts == (1, 2, 4)
    assert Partition.of(np.diag([10.0, 20.0, 40.0]), np.ones(3, bool), 900, 1000).n_tiles == 1
    with pytest.raises(InputError, match="at least 1, received 0"):
        Partition.of(np.eye(3), np.ones(3, bool), 10, 0)


def test_atoms_on_faces_belong_to_one_tile():
    cell = np.diag([10.0, 10.0, 10.0])
    positions = np.array([[0, 0, 0], [10, 10, 10], [-1e-17, 5, 5], [5, 5, 5], [9.9999999, 0, 0]])
    cut = Partition.of(cell, np.ones(3, bool), 8, 1).cut(positions)
    assert sorted(np.concatenate(cut.members)) == list(range(5))
