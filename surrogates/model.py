r"""The equivariant surrogate: the local environment of an absorber to its near-edge spectrum.

An equivariant trunk gives every atom features; their invariants (scalars s, and the squared norms
of vectors and tensors) go through a small perceptron to a bounded latent vector

    z = Z tanh(MLP(s, |v|^2, |t|^2) / Z),

from which each theory t that the model was trained on (DFT, FEFF, ...) is read linearly in the
basis of the principal components P_t of its own training spectra, around their mean m_t:

    mu_t(E) = softplus_beta(m_t(E) + sum_k (W_t z + b_t)_k  sqrt(lambda_k) P_tk(E)).

Why this shape: training data are few bond networks. A latent that is shared between a cheap theory
on many networks and a costly one on four carries over what the cheap one taught (a linear map from
FEFF to DFT spectra already predicts a left-out density better than geometry alone); the tanh bounds
what a strange environment can do, where unbounded heads let single atoms explode; components keep
the output within shapes that spectra have (they are as smooth as spectra are, and few: 24 hold the
Cu K-edge spectra of 3,300 sites to a median squared error of 2e-6); softplus keeps it non-negative.

A theory has an absorber and an edge of its own, so one trunk may serve several of each. Elements
enter by a table of free numbers, or with tabulated properties beside it where there are many
(:mod:`surrogates.element_embedding`).

The spectrum of a cell is the mean over its absorbers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from diffxas.denoiser import species_indices
from diffxas.errors import InputError
from diffxas.graph import Graph, build_graph
from diffxas.network import EquivariantNetwork
from diffxas.structure import Structure
from surrogates.base import Surrogate, placed
from surrogates.element_embedding import ElementEmbedding
from surrogates.pieces import receptive

LATENT_BOUND = 3.0
SOFTPLUS_BETA = 300.0
EMBEDDINGS = ("table", "described")


@dataclass(frozen=True)
class Theory:
    """One kind of label: its energies (eV), and how many principal components carry it.

    ``absorber`` and ``edge`` are those of the whole config where they are empty.
    """

    name: str
    energy: list[float]
    n_components: int = 16
    absorber: str = ""
    edge: str = ""


@dataclass(frozen=True)
class SurrogateConfig:
    """Everything needed to rebuild a surrogate; stored in its ``config.json``.

    ``theories[0]`` is what it predicts; the others were taught beside it. ``absorber`` and ``edge``
    say whose spectra these are; ``elements`` what a structure may hold. ``embedding`` is ``table``
    (free numbers for each element) or ``described`` (tabulated properties as well).
    """

    elements: list[str]
    absorber: str
    edge: str
    theories: list[Theory]
    n_members: int = 2
    cutoff: float = 4.2
    n_layers: int = 2
    n_scalars: int = 32
    n_vectors: int = 16
    n_tensors: int = 8
    n_products: int = 12
    hidden: int = 32
    n_basis: int = 20
    n_latent: int = 24
    degree: float = 30.0
    dropout: float = 0.0
    embedding: str = "table"

    def __post_init__(self) -> None:
        if self.embedding not in EMBEDDINGS:
            raise InputError(f"embedding must be one of {', '.join(EMBEDDINGS)}, received "
                             f"{self.embedding!r}: correct [model]")

    def to_dict(self) -> dict[str, Any]:
        """For ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> SurrogateConfig:
        """From ``config.json``."""
        theories = [Theory(**t) for t in content["theories"]]
        return cls(**{**content, "theories": theories})


class Readout(nn.Module):
    """Latent vectors to spectra of one theory."""

    mean: Tensor
    components: Tensor

    def __init__(self, theory: Theory, n_latent: int) -> None:
        super().__init__()
        n_grid = len(theory.energy)
        self.register_buffer("mean", torch.zeros(n_grid))
        self.register_buffer("components", torch.zeros(theory.n_components, n_grid))
        self.linear = nn.Linear(n_latent, theory.n_components)

    def set_basis(self, spectra: np.ndarray, weights: np.ndarray) -> None:
        """Mean and scaled principal components of (n_sites, n_grid) spectra, weighted by site."""
        weights = weights / weights.sum()
        mean = weights @ spectra
        centred = (spectra - mean) * np.sqrt(weights)[:, None]
        _, s, v = np.linalg.svd(centred, full_matrices=False)
        n = len(self.components)
        # The sign of a singular vector is arbitrary; fixed, so that reruns give the same basis.
        sign = np.sign(v[np.arange(n), np.abs(v[:n]).argmax(1)])
        self.mean.copy_(torch.as_tensor(mean))
        self.components.copy_(torch.as_tensor((sign * s[:n])[:, None] * v[:n]))

    def forward(self, z: Tensor) -> Tensor:
        """(n_sites, n_latent) -> (n_sites, n_grid)."""
        return softplus(self.mean + self.linear(z) @ self.components, beta=SOFTPLUS_BETA)


class SurrogateNetwork(nn.Module):
    """One member: positions to latent vectors of the absorbers, and readouts for every theory."""

    def __init__(self, config: SurrogateConfig) -> None:
        super().__init__()
        self.config = config
        described = (ElementEmbedding(len(config.elements), config.n_scalars)
                     if config.embedding == "described" else None)
        self.trunk = EquivariantNetwork(
            config.elements, n_layers=config.n_layers, cutoff=config.cutoff,
            n_scalars=config.n_scalars, n_vectors=config.n_vectors, n_tensors=config.n_tensors,
            n_products=config.n_products, hidden=config.hidden, n_basis=config.n_basis,
            degree=config.degree, embedding=described,
        )
        n_invariants = config.n_scalars + config.n_vectors + config.n_tensors
        self.norm = nn.LayerNorm(n_invariants)
        self.dropout = nn.Dropout(config.dropout)
        self.first = nn.Linear(n_invariants, 64)
        self.second = nn.Linear(64, config.n_latent)
        self.readouts = nn.ModuleList(Readout(t, config.n_latent) for t in config.theories)

    def latent(self, positions: Tensor, species: Tensor, graph: Graph, sites: Tensor,
               cells: Tensor | None = None) -> Tensor:
        """z of the absorbers ``sites`` (indices of atoms), (n_sites, n_latent)."""
        some = sites if len(sites) < len(species) else None
        x = self.trunk(species, graph.vectors(positions, cells), graph, sites=some)[sites]
        invariants = []
        for (mul, ir), part in zip(self.trunk.irreps_out, self.trunk.irreps_out.slices(),
                                   strict=True):
            block = x[:, part].reshape(len(x), mul, ir.dim)
            invariants.append(block[..., 0] if ir.l == 0 else block.square().sum(-1))
        hidden = silu(self.first(self.dropout(self.norm(torch.cat(invariants, 1)))))
        z = self.second(self.dropout(hidden))
        return LATENT_BOUND * torch.tanh(z / LATENT_BOUND)

    def forward(self, positions: Tensor, species: Tensor, graph: Graph, sites: Tensor,
                theory: int = 0, cells: Tensor | None = None) -> Tensor:
        """Spectra of the absorbers, (n_sites, n_grid).

        Parameters
        ----------
        positions : (n_atoms, 3), angstrom; ``cells`` (n_structures, 3, 3) if a gradient is wanted
        species : (n_atoms,) int64, index into the config's elements
        sites : (n_sites,) int64, which atoms absorb
        theory : index into the config's theories
        """
        spectra: Tensor = self.readouts[theory](
            self.latent(positions, species, graph, sites, cells)
        )
        assert spectra.shape == (len(sites), len(self.config.theories[theory].energy))
        return spectra


class EquivariantSurrogate(Surrogate):
    """An ensemble of equivariant networks of one config; predicts its theory ``theory``."""

    def __init__(self, name: str, record: Mapping[str, Any],
                 members: Sequence[SurrogateNetwork], theory: int = 0) -> None:
        super().__init__(name, record, theory)
        self.members = members
        self.config = members[0].config

    @classmethod
    def from_tensors(cls, name: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor],
                     theory: int = 0, device: str = "cpu") -> EquivariantSurrogate:
        """From what a model folder holds."""
        config = SurrogateConfig.from_dict(record["model"])
        members = []
        for k in range(config.n_members):
            network = SurrogateNetwork(config)
            prefix = f"{k}."
            network.load_state_dict({key.removeprefix(prefix): value
                                     for key, value in tensors.items() if key.startswith(prefix)})
            network.requires_grad_(False)
            members.append(network.eval().to(device))
        return cls(name, record, members, theory)

    def to(self, dtype: torch.dtype) -> EquivariantSurrogate:
        """The same surrogate in another precision (float64 for numeric gradients)."""
        members = [copy.deepcopy(member).to(dtype) for member in self.members]
        copied = EquivariantSurrogate(self.name, self.record, members, self.theory)
        copied.domain = self.domain
        return copied

    def training_mean(self) -> np.ndarray:
        """See :class:`surrogates.base.Surrogate`; networks weigh alike."""
        means = []
        for member in self.members:
            readout = member.readouts[self.theory]
            assert isinstance(readout, Readout)
            means.append(readout.mean.double().cpu())
        return np.asarray(torch.stack(means).mean(0))

    @property
    def reach(self) -> float:
        """See :class:`surrogates.base.Surrogate`; every layer hears from a cutoff further."""
        return self.config.cutoff * self.config.n_layers

    def spectra(self, positions: Tensor, structure: Structure, cell: Tensor | None = None,
                sites: Tensor | None = None) -> Tensor:
        """See :class:`surrogates.base.Surrogate`."""
        parameter = next(self.members[0].parameters())
        graph = build_graph(placed(structure, positions, cell), self.config.cutoff,
                            dtype=parameter.dtype, device=parameter.device)
        species = species_indices(structure.symbols, self.config.elements, "surrogate")
        species = species.to(parameter.device)
        sites = torch.as_tensor(self.absorbers(structure)) if sites is None else sites
        sites = sites.to(parameter.device)
        graph = receptive(graph, sites, self.config.n_layers - 1)
        x = positions.to(parameter.device, parameter.dtype)
        cells = None if cell is None else cell.to(parameter.device, parameter.dtype)[None]
        return torch.stack([member(x, species, graph, sites, self.theory, cells)
                            for member in self.members])
