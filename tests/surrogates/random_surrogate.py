"""Surrogates with random weights; make them under float64."""

import warnings

import numpy as np
import torch
from surrogate_fakes import GRID, carbon_like

from diffxas.structure import Structure
from surrogates.frozen import FrozenConfig, FrozenHeads, FrozenSurrogate
from surrogates.matgl_features import SiteFeatures
from surrogates.model import EquivariantSurrogate, SurrogateConfig, SurrogateNetwork, Theory


def made_up_spectra() -> np.ndarray:
    """(60, n_grid), for a basis."""
    rng = np.random.default_rng(0)
    return np.stack([carbon_like(pi, sigma) for pi, sigma in
                     zip(rng.uniform(0, 0.6, 60), rng.uniform(290, 294, 60), strict=True)])


def equivariant() -> EquivariantSurrogate:
    """Two members of random weights; the basis is that of made-up spectra."""
    spectra = made_up_spectra()
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


def matgl_network(kind: str, elements: tuple[str, ...] = ("C", "H")) -> torch.nn.Module:
    """A small M3GNet or TensorNet of matgl with random weights, float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matgl.models import M3GNet, TensorNet

        torch.manual_seed(0)
        if kind == "TensorNet":
            return TensorNet(element_types=elements, units=8, nblocks=1, cutoff=3.0,
                             rbf_type="SphericalBessel", use_smooth=True, is_intensive=False)
        return M3GNet(element_types=elements, dim_node_embedding=8, dim_edge_embedding=8, units=8,
                      nblocks=2, cutoff=3.0, threebody_cutoff=2.5, is_intensive=False)


def site_features(kind: str, layers: str = "last",
                  elements: tuple[str, ...] = ("C", "H")) -> SiteFeatures:
    """Features of such a network."""
    model = matgl_network(kind, elements).requires_grad_(False).eval()
    return SiteFeatures(model, f"random {kind}", "0" * 64, layers)


def frozen(kind: str = "TensorNet", layers: str = "all") -> FrozenSurrogate:
    """Two members of random heads on a random network, float64."""
    features = site_features(kind, layers).to(dtype=torch.float64)
    probe = random_carbon()
    found = features(torch.tensor(probe.positions), probe)
    config = FrozenConfig(
        elements=["C", "H"], absorber="C", edge="K", theories=[Theory("DFT", GRID.tolist(), 5)],
        features={"name": features.name, "sha256": features.sha256, "layers": layers, "path": ""},
        n_features=found.shape[1], n_members=2, hidden=[16], n_latent=6)
    members = []
    for seed in range(config.n_members):
        torch.manual_seed(seed)
        member = FrozenHeads(config).requires_grad_(False).double().eval()
        member.readouts[0].set_basis(made_up_spectra(), np.ones(60))
        member.readouts[0].linear.weight *= 3
        member.centre.copy_(found.mean(0))
        member.scale.copy_(found.std(0) + 1e-3)
        members.append(member)
    return FrozenSurrogate("random", {"model": config.to_dict()}, members, features)


def random_carbon() -> Structure:
    """Twelve atoms anywhere."""
    rng = np.random.default_rng(9)
    return Structure(rng.random((12, 3)) * 5, [6] * 12, 5.0 * np.eye(3))
