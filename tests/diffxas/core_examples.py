"""Small structures and networks for the tests of the core models; float64 throughout."""

import numpy as np
import torch

from diffxas.denoiser import PriorConfig, PriorNetwork
from diffxas.graph import Graph, build_graph
from diffxas.network import EquivariantNetwork
from diffxas.structure import Structure

SMALL = {"n_layers": 2, "n_scalars": 8, "n_vectors": 4, "n_tensors": 4, "n_products": 4,
         "hidden": 8, "n_basis": 8, "degree": 10.0}
CUTOFF = 3.0

OBLIQUE = np.array([[5.0, 0.0, 0.0], [2.4, 4.4, 0.0], [-1.9, 2.0, 4.2]])


def random_structure(seed: int = 0, n_atoms: int = 10, cell: np.ndarray = OBLIQUE,
                     pbc: bool | tuple[bool, bool, bool] = True, elements: str = "CH",
                     ) -> Structure:
    """Uniform random positions, most of them outside the cell."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice([{"C": 6, "H": 1}[e] for e in elements], n_atoms)
    return Structure(rng.uniform(-1.5, 2.0, (n_atoms, 3)) @ cell, numbers, cell,
                     np.broadcast_to(pbc, 3))


def random_orthogonal(seed: int, determinant: int) -> np.ndarray:
    """A random rotation (determinant 1) or a rotation with a reflection (-1), (3, 3)."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return q * determinant * np.linalg.det(q).round()


def turned(structure: Structure, rotation: np.ndarray) -> Structure:
    """The whole structure, cell included, under x -> R x."""
    return Structure(structure.positions @ rotation.T, structure.numbers,
                     structure.cell @ rotation.T, structure.pbc)


def species(structure: Structure) -> torch.Tensor:
    """0 for C, 1 for H."""
    return torch.tensor([["C", "H"].index(s) for s in structure.symbols])


def graph_of(structure: Structure, cutoff: float = CUTOFF) -> tuple[Graph, torch.Tensor]:
    """Graph and positions, float64."""
    graph = build_graph(structure, cutoff, dtype=torch.float64)
    return graph, torch.tensor(structure.positions)


def small_network(seed: int = 0, n_condition: int = 0) -> EquivariantNetwork:
    """Two layers with random weights; knows C and H. Make it under ``float64``."""
    torch.manual_seed(seed)
    return EquivariantNetwork(["C", "H"], cutoff=CUTOFF, n_condition=n_condition, **SMALL)


def small_prior(seed: int = 0) -> PriorNetwork:
    """A prior of two layers with random weights; knows C and H, and three kinds."""
    torch.manual_seed(seed)
    config = PriorConfig(elements=["C", "H"], kinds=["any", "melt-quenched", "variant"],
                         cutoff=CUTOFF, **SMALL)
    return PriorNetwork(config).requires_grad_(False).eval()
