"""The equivariant model of a property: the surrogate's trunk and latent, read as one number.

Trunk, invariants and the bounded latent z are those of :mod:`surrogates.model`; the contribution of
an atom is u = g (w . z + b), where g is the square root of the number of atoms a label: if atoms
differed independently, their mean would vary so much less than they do.

With e_j the error of structure j of a batch, standardised, the loss is

    L = var_j e_j + m (mean_j e_j)^2.

A step of training moves all atoms alike, and with g that outweighs what structures differ by, so m
is small (with m = 1 models of 216-atom cells had twice the loss after 300 steps), and the constant
is set at the end (:func:`surrogates.property_training.center_errors`). Labels per atom: g = m = 1.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffxas.denoiser import species_indices
from diffxas.graph import Graph, build_graph
from diffxas.structure import Structure
from surrogates.base import placed
from surrogates.element_embedding import ElementEmbedding
from surrogates.model import SurrogateConfig, SurrogateNetwork
from surrogates.properties import PropertySurrogate
from surrogates.property_data import PropertyItem
from surrogates.site_loss import SKIN, Surroundings, side_by_side

COMMON = 0.02
"""m of the module's docstring."""


class PropertyNetwork(nn.Module):
    """One member: positions to the contributions u of all atoms."""

    gain: Tensor

    def __init__(self, config: SurrogateConfig) -> None:
        super().__init__()
        self.config = config
        self.body = SurrogateNetwork(config)
        self.readout = nn.Linear(config.n_latent, 1)
        self.register_buffer("gain", torch.ones(()))

    def forward(self, positions: Tensor, species: Tensor, graph: Graph,
                cells: Tensor | None = None) -> Tensor:
        """u, (n_atoms,); the arguments are those of :class:`SurrogateNetwork`."""
        every = torch.arange(len(species), device=species.device)
        z = self.body.latent(positions, species, graph, every, cells)
        u: Tensor = self.gain * self.readout(z)[:, 0]
        assert u.shape == (len(species),)
        return u


def new_member(items: Sequence[PropertyItem], config: SurrogateConfig,
               seed: int) -> PropertyNetwork:
    """An untrained member, its gain that of the items."""
    torch.manual_seed(seed)
    network = PropertyNetwork(config)
    atoms, labels = (sum(len(part) for part in parts) for parts in
                     ([item.structure for item in items], [item.labels for item in items]))
    network.gain.fill_(math.sqrt(atoms / labels))
    if isinstance(network.body.trunk.embedding, ElementEmbedding):
        network.body.trunk.embedding.set_elements(config.elements)
    return network


class EquivariantProperty(PropertySurrogate):
    """An ensemble of networks of one config."""

    def __init__(self, name: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor],
                 members: Sequence[PropertyNetwork]) -> None:
        super().__init__(name, record, tensors, len(members))
        self.members = members
        self.config = members[0].config
        self._tensors = tensors

    @classmethod
    def from_tensors(cls, name: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor],
                     device: str = "cpu") -> EquivariantProperty:
        """From what a model folder holds."""
        config = SurrogateConfig.from_dict(record["model"])
        members = []
        for k in range(config.n_members):
            network = PropertyNetwork(config)
            prefix = f"{k}.network."
            network.load_state_dict({key.removeprefix(prefix): value
                                     for key, value in tensors.items() if key.startswith(prefix)})
            network.requires_grad_(False)
            members.append(network.eval().to(device))
        return cls(name, record, tensors, members)

    def to(self, dtype: torch.dtype) -> EquivariantProperty:
        """See :class:`PropertySurrogate`."""
        members = [copy.deepcopy(member).to(dtype) for member in self.members]
        return EquivariantProperty(self.name, self.record, self._tensors, members)

    def contributions(self, positions: Tensor, structure: Structure,
                      cell: Tensor | None = None) -> Tensor:
        """See :class:`PropertySurrogate`."""
        parameter = next(self.members[0].parameters())
        graph = build_graph(placed(structure, positions, cell), self.config.cutoff,
                            dtype=parameter.dtype, device=parameter.device)
        species = species_indices(structure.symbols, self.config.elements, "surrogate")
        x = positions.to(parameter.device, parameter.dtype)
        cells = None if cell is None else cell.to(parameter.device, parameter.dtype)[None]
        return torch.stack([member(x, species.to(parameter.device), graph, cells)
                            for member in self.members])


class PropertyLoss:
    """Mean squared error of standardised labels, each network once an epoch by one structure.

    Parameters
    ----------
    labels : standardised labels of each item, float64
    batch : networks a step
    jitter : standard deviation of the noise on positions, angstrom
    """

    def __init__(self, items: Sequence[PropertyItem], labels: Sequence[np.ndarray],
                 config: SurrogateConfig, *, batch: int, jitter: float, seed: int,
                 member: int) -> None:
        self.config, self.jitter = config, jitter
        self.seed = [seed, member]
        parents = sorted({item.parent for item in items})
        self.networks = [[k for k, item in enumerate(items) if item.parent == parent]
                         for parent in parents]
        self.batch = min(batch, len(parents))
        self.items, self.labels = items, labels
        self.surroundings: dict[int, Surroundings] = {}

    def __call__(self, model: nn.Module, step: int) -> Tensor:
        """The loss of one step."""
        epoch, place = divmod(step, -(-len(self.networks) // self.batch))
        order = np.random.default_rng([*self.seed, epoch]).permutation(len(self.networks))
        rng = np.random.default_rng([*self.seed, epoch, place])
        drawn = order[place * self.batch:(place + 1) * self.batch]
        one = side_by_side([self.of(int(rng.choice(self.networks[k]))) for k in drawn])
        positions = one.positions
        if self.jitter:
            noise = rng.standard_normal(positions.shape).astype(np.float32)
            positions = positions + self.jitter * torch.as_tensor(noise)
        u = model(positions, one.species, one.graph)
        n = len(drawn)
        counts = torch.bincount(one.graph.batch, minlength=n).to(u.dtype)
        if len(one.spectra) == n:
            return of_structures(mean_of(u, one.graph.batch, counts) - one.spectra[:, 0])
        squared = (u - one.spectra[:, 0]).square()
        return mean_of(squared, one.graph.batch, counts).mean()

    def of(self, k: int) -> Surroundings:
        """Atoms, edges and labels of one structure, made once."""
        if k not in self.surroundings:
            self.surroundings[k] = surroundings(self.items[k].structure, self.config,
                                                self.labels[k], self.jitter)
        return self.surroundings[k]


def of_structures(error: Tensor) -> Tensor:
    """The module's loss of the errors of a batch, (n_structures,)."""
    if len(error) == 1:
        return error.square().mean()
    return error.var() + COMMON * error.mean().square()


def mean_of(values: Tensor, batch: Tensor, counts: Tensor) -> Tensor:
    """Means over the atoms of each structure, (n_atoms,) -> (n_structures,)."""
    return values.new_zeros(len(counts)).index_add(0, batch, values) / counts


def surroundings(structure: Structure, config: SurrogateConfig, labels: np.ndarray,
                 jitter: float = 0.0) -> Surroundings:
    """All atoms of a structure, their edges, and its labels as a column."""
    species = species_indices(structure.symbols, config.elements, "surrogate")
    return Surroundings(
        torch.tensor(structure.positions, dtype=torch.float32), species,
        build_graph(structure, config.cutoff + SKIN * jitter), torch.arange(len(structure)),
        torch.tensor(labels[:, None], dtype=torch.float32))


@torch.no_grad()
def standardised(network: nn.Module, item: PropertyItem, config: SurrogateConfig) -> np.ndarray:
    """What one member says of an item's labels, standardised, (n_labels,) float64."""
    training = network.training
    network.eval()
    one = surroundings(item.structure, config, item.labels)
    u = network(one.positions, one.species, one.graph).double().numpy()
    network.train(training)
    return np.asarray(u if len(item.labels) == len(u) else u.mean(keepdims=True))
