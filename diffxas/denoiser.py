r"""The prior: a denoiser of noised atomic positions.

Forward process: x_t = x_0 + sigma * z, z standard normal on every Cartesian coordinate
(variance-exploding; a variance-preserving process would shrink a periodic solid into a blob). The
denoiser D estimates E[x_0 | x_t], which gives the score (Tweedie's formula):

    grad_x log p(x; sigma) = (D(x; sigma) - x) / sigma^2.

The network F predicts a displacement in units of what can be known of the noise:

    D(x; sigma) = x + c_out(sigma) F(x; c(sigma), kind),
    c_out(sigma) = sigma / sqrt(1 + (sigma / SIGMA_BOND)^2),

since at high noise an atom goes to a site nearby (c_out saturates at SIGMA_BOND), not back over the
whole distance it came. The loss is the mean square of (D - x_0) / sigma: at high noise most of the
noise cannot be known, and its share of the gradient falls as 1 / (1 + (sigma / SIGMA_BOND)^2).

Preconditioned denoisers: T. Karras and others, Elucidating the design space of diffusion-based
generative models, arXiv:2206.00364 (2022), section 5. Denoising amorphous carbon towards a
spectrum: H. Kwon, T. Hsu and others, arXiv:2312.05472 (2023).

Density is not an input: it shows in the neighbourhoods, so D is a local function (receptive field
``n_layers * cutoff``) and a cell of any size is the same problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from e3nn import o3
from torch import Tensor, nn

from diffxas.errors import InputError
from diffxas.graph import Graph, build_graph
from diffxas.network import EquivariantNetwork
from diffxas.structure import Structure
from diffxas.tiled import TiledNetwork, is_tiled

SIGMA_BOND = 0.6
"""Noise (angstrom) at which an atom no longer remembers its site."""

ANY = "any"


class Denoiser(Protocol):
    """What sampling needs: E[x_0 | x_t] for one system.

    Guided, tiled and ensembled denoisers wrap a denoiser and keep this signature.
    """

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        """``x_t`` (n_atoms, 3), angstrom; ``sigma`` angstrom -> (n_atoms, 3), angstrom."""
        ...


@dataclass(frozen=True)
class PriorConfig:
    """Everything needed to rebuild a prior; stored in its ``config.json``.

    ``kinds`` are the labels that the prior was trained with, the first being "any"; ``sigma_max``
    and ``sigma_min`` (angstrom) bound the noise levels it knows.
    """

    elements: list[str]
    kinds: list[str] = field(default_factory=lambda: [ANY])
    cutoff: float = 3.7
    n_layers: int = 3
    n_scalars: int = 48
    n_vectors: int = 24
    n_tensors: int = 12
    n_products: int = 12
    hidden: int = 32
    n_basis: int = 16
    degree: float = 25.0
    sigma_min: float = 0.015
    sigma_max: float = 1.5

    def __post_init__(self) -> None:
        if not self.elements:
            raise InputError("elements must name at least one element, received none")
        if self.kinds[:1] != [ANY]:
            raise InputError(f"kinds must begin with {ANY!r}, received {self.kinds}")

    def to_dict(self) -> dict[str, Any]:
        """For ``config.json``."""
        return asdict(self)


def c_out(sigma: Tensor) -> Tensor:
    """Scale of the displacement that can be known at ``sigma`` (angstrom)."""
    return sigma / (1 + (sigma / SIGMA_BOND) ** 2).sqrt()


class PriorNetwork(nn.Module):
    """D(x; sigma, kind) for any number of structures at once."""

    N_WAVES = 8

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        n_condition = 2 * self.N_WAVES
        self.kind_embedding = nn.Embedding(len(config.kinds), n_condition)
        self.trunk = EquivariantNetwork(
            config.elements, n_layers=config.n_layers, cutoff=config.cutoff,
            n_scalars=config.n_scalars, n_vectors=config.n_vectors, n_tensors=config.n_tensors,
            n_products=config.n_products, n_condition=n_condition, n_basis=config.n_basis,
            hidden=config.hidden, degree=config.degree,
        )
        self.to_vector = o3.Linear(self.trunk.irreps_out, o3.Irreps("1x1o"))

    def head(self, features: Tensor, condition: Tensor) -> Tensor:
        """Displacement of atoms before its scale, (n_atoms, 3)."""
        displacement: Tensor = self.to_vector(features)
        return displacement

    def condition(self, sigma: Tensor, kind: Tensor) -> Tensor:
        """Fourier features of log sigma plus the kind's embedding, (n_atoms, 2 N_WAVES)."""
        position = sigma.log() / math.log(self.config.sigma_max / self.config.sigma_min)
        angles = position[:, None] * torch.linspace(
            0.5, 6.0, self.N_WAVES, dtype=sigma.dtype, device=sigma.device
        )
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        return waves + self.kind_embedding(kind)

    def forward(
        self, x_t: Tensor, sigma: Tensor, species: Tensor, kind: Tensor, graph: Graph
    ) -> Tensor:
        """Denoised positions, (n_atoms, 3), angstrom.

        Parameters
        ----------
        x_t : (n_atoms, 3), angstrom
        sigma : (n_atoms,), angstrom
        species, kind : (n_atoms,) int64, indices into the config's lists
        graph : edges of ``x_t`` within the cutoff
        """
        features = self.trunk(species, graph.vectors(x_t), graph, self.condition(sigma, kind))
        x_0 = x_t + c_out(sigma)[:, None] * self.to_vector(features)
        assert x_0.shape == x_t.shape
        return x_0

    def species_of(self, structure: Structure) -> Tensor:
        """Indices of the atoms' elements, (n_atoms,) int64.

        Raises
        ------
        InputError
            If the structure holds an element that the prior does not know.
        """
        return species_indices(structure.symbols, self.config.elements, "prior")

    def kind_index(self, kind: str) -> int:
        """Index of a label of the training data."""
        if kind not in self.config.kinds:
            raise InputError(f"kind must be one of {', '.join(self.config.kinds)}, "
                             f"received {kind!r}: choose one of these")
        return self.config.kinds.index(kind)


def species_indices(symbols: Sequence[str], elements: Sequence[str], model: str) -> Tensor:
    """Index of every symbol in ``elements``; an unknown element is refused by name."""
    unknown = sorted(set(symbols) - set(elements))
    if unknown:
        raise InputError(f"elements must be among those of the {model} ({', '.join(elements)}), "
                         f"received {', '.join(unknown)}: choose a {model} trained on them")
    index = {symbol: k for k, symbol in enumerate(elements)}
    return torch.tensor([index[symbol] for symbol in symbols], dtype=torch.int64)


class PriorDenoiser:
    """The prior for one system (species, cell, kind): a :class:`Denoiser`.

    The graph is rebuilt at every call, from the positions of that call. Cells of more than
    :func:`diffxas.tiled.usual_tile` atoms are taken in tiles (:mod:`diffxas.tiled`).

    Parameters
    ----------
    tiled : makes the tiled network, such as one whose tiles are worked at elsewhere
    """

    def __init__(self, network: PriorNetwork, system: Structure, kind: str = ANY,
                 tiled: type[TiledNetwork] | Callable[..., TiledNetwork] = TiledNetwork) -> None:
        self.network = network
        self.system = system
        parameter = next(network.parameters())
        self.dtype, self.device = parameter.dtype, parameter.device
        self.species = network.species_of(system).to(self.device)
        self.kind = torch.full_like(self.species, network.kind_index(kind))
        self.tiled = tiled(network.trunk, network.head, system, self.species) if is_tiled(
            network.trunk, len(system)) else None

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        """See :class:`Denoiser`; differentiable in ``x_t``."""
        if self.tiled is not None:
            return self._tiled(self.tiled, x_t, sigma)
        system = self.system.with_positions(x_t.detach().cpu().numpy())
        graph = build_graph(
            system, self.network.config.cutoff, dtype=self.dtype, device=self.device
        )
        levels = torch.full((len(x_t),), float(sigma), dtype=self.dtype, device=self.device)
        x_0: Tensor = self.network(
            x_t.to(self.device, self.dtype), levels, self.species, self.kind, graph
        )
        return x_0.to(x_t.device, x_t.dtype)

    def _tiled(self, tiled: TiledNetwork, x_t: Tensor, sigma: float) -> Tensor:
        """The same, tile by tile."""
        x = x_t.to(self.device, self.dtype)
        level = torch.full((1,), float(sigma), dtype=self.dtype, device=self.device)
        condition = self.network.condition(level, self.kind[:1]).expand(len(x), -1)
        x_0 = x + c_out(level) * tiled(x, condition)
        return x_0.to(x_t.device, x_t.dtype)
