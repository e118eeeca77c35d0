"""An equivariant surrogate with random weights; make it under float64."""

import numpy as np
import torch
from surrogate_fakes import GRID, carbon_like

from surrogates.model import EquivariantSurrogate, SurrogateConfig, SurrogateNetwork, Theory


def equivariant() -> EquivariantSurrogate:
    """Two members of random weights; the basis is that of made-up spectra."""
    rng = np.random.default_rng(0)
    spectra = np.stack([carbon_like(pi, sigma) for pi, sigma in
                        zip(rng.uniform(0, 0.6, 60), rng.uniform(290, 294, 60), strict=True)])
    config = SurrogateConfig(
        elements=["C", "H"], absorber="C", edge="K", n_layers=2, cutoff=3.0, n_scalars=8,
        n_vectors=4, n_tensors=4, n_products=4, hidden=8, n_basis=8, n_latent=6, degree=10.0,
        theories=[Theory("DFT", GRID.tolist(), 5), Theory("FEFF", GRID[:50].tolist(), 4)])
    members = []
    for seed in range(config.n_members):
        torch.manual_seed(seed)
        member = SurrogateNetwork(config).requires_grad_(False).eval()
        member.readouts[0].set_basis(spectra, np.ones(60))
        member.second.weight *= 20  # untrained, it would hardly tell one site from another
        member.readouts[0].linear.weight *= 3
        members.append(member)
    return EquivariantSurrogate("random", {"model": config.to_dict()}, members)
