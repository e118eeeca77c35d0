r"""The loss for many small structures: batches of them in one graph, and errors that are robust.

The error of site i is that of its spectrum and its derivative, over the variance of the data,

    m_i = (<(p_i - y_i)^2> + w <(p_i' - y_i')^2>) / var(y),

and the loss is the mean over the sites (or over structures of the mean over their sites) of
log(m_i + eps): what counts is by which factor an error shrinks, down to the floor eps, so a few
sites that nothing explains pull no harder than all others, as in the median over sites by which
such models are judged (eta of OmniXAS, arXiv:2409.19552).

Only what an absorber can feel is computed: the atoms within the layers' reach of a labelled site.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from diffxas.denoiser import species_indices
from diffxas.graph import Graph, build_graph
from surrogates.datasets import SiteSpectra
from surrogates.model import SurrogateConfig

SMOOTHNESS = 10.0
"""Squared steps between points are about this much smaller than squared values."""

SKIN = 6.0
"""Jitters, in standard deviations, that a neighbour list allows for."""


class LossOptions(Protocol):
    """What the loss asks of :class:`surrogates.training.SurrogateTraining`."""

    @property
    def theory_weights(self) -> dict[str, float]:
        """Theory -> weight of its loss."""

    @property
    def batch(self) -> dict[str, int]:
        """Theory -> structures a step."""

    @property
    def jitter(self) -> float:
        """Standard deviation of the noise on positions, angstrom."""

    @property
    def derivative(self) -> float:
        """Weight of the error of the derivative."""

    @property
    def weigh(self) -> str:
        """What counts alike: ``sites`` or ``structures``."""

    @property
    def floor(self) -> float:
        """eps of the module's equation."""

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The atoms that the labelled sites of one structure can feel, and their edges.

    Attributes
    ----------
    positions : (n_kept, 3) float32, angstrom; ``species`` (n_kept,) int64
    graph : edges of all kept atoms but those of the outermost shell
    sites : (n_sites,) int64, which of the kept atoms are labelled
    spectra : (n_sites, n_grid) float32
    """

    positions: Tensor
    species: Tensor
    graph: Graph
    sites: Tensor
    spectra: Tensor

    @classmethod
    def of(cls, item: SiteSpectra, config: SurrogateConfig, jitter: float = 0.0) -> Surroundings:
        """Follow the edges from the sites, a shell for every layer."""
        graph = build_graph(item.structure, config.cutoff + SKIN * jitter)
        sites = torch.as_tensor(item.sites)
        reached = torch.zeros(len(item.structure), dtype=torch.bool)
        reached[sites] = True
        for _ in range(config.n_layers - 1):
            reached[graph.neighbor[reached[graph.center]]] = True
        edges = reached[graph.center].nonzero()[:, 0]
        kept = reached.clone()
        kept[graph.neighbor[edges]] = True
        new = kept.cumsum(0) - 1
        few = graph.subset(edges)
        species = species_indices(item.structure.symbols, config.elements, "surrogate")
        return cls(
            torch.tensor(item.structure.positions, dtype=torch.float32)[kept], species[kept],
            Graph(new[few.center], new[few.neighbor], few.shift, few.batch[kept], few.cells),
            new[sites], torch.as_tensor(item.spectra))


def side_by_side(parts: Sequence[Surroundings]) -> Surroundings:
    """Several structures as one, no edge between them."""
    starts = np.cumsum([0, *(len(part.species) for part in parts)]).tolist()
    graphs = [part.graph for part in parts]
    return Surroundings(
        torch.cat([part.positions for part in parts]), torch.cat([part.species for part in parts]),
        Graph(torch.cat([g.center + start for g, start in zip(graphs, starts, strict=False)]),
              torch.cat([g.neighbor + start for g, start in zip(graphs, starts, strict=False)]),
              torch.cat([g.shift for g in graphs]),
              torch.cat([g.batch + k for k, g in enumerate(graphs)]),
              torch.cat([g.cells for g in graphs])),
        torch.cat([part.sites + start for part, start in zip(parts, starts, strict=False)]),
        torch.cat([part.spectra for part in parts]))


class SiteLoss:
    """The module's loss; every structure is seen once an epoch, in an order drawn anew.

    Parameters
    ----------
    options : batch, jitter, derivative, seed, ... of the training
    member : of the ensemble; members see other orders
    """

    def __init__(self, data: Sequence[SiteSpectra], config: SurrogateConfig, options: LossOptions,
                 member: int) -> None:
        self.config, self.options, self.member = config, options, member
        self.data = [[d for d in data if d.theory == theory.name] for theory in config.theories]
        self.variance = []
        for group in self.data:
            spectra = np.concatenate([d.spectra for d in group])
            self.variance.append(float(spectra.var(0).mean()))
        self.surroundings: dict[int, Surroundings] = {}

    def __call__(self, model: nn.Module, step: int) -> Tensor:
        """The loss of one step."""
        total = torch.zeros(())
        for k, group in enumerate(self.data):
            name = self.config.theories[k].name
            batch = min(self.options.batch.get(name, 1), len(group))
            epoch, place = divmod(step, math.ceil(len(group) / batch))
            rng = np.random.default_rng([self.options.seed, self.member, k, epoch])
            chosen = rng.permutation(len(group))[place * batch:(place + 1) * batch]
            noise = np.random.default_rng([self.options.seed, self.member, k, epoch, place])
            loss = self.batch_loss(model, [group[i] for i in chosen], k, noise)
            total = total + self.options.theory_weights.get(name, 1.0) * loss
        return total

    def batch_loss(self, model: nn.Module, items: Sequence[SiteSpectra], theory: int,
                   rng: np.random.Generator) -> Tensor:
        """Mean over the sites of some structures."""
        one = side_by_side([self.of(item) for item in items])
        positions = one.positions
        if self.options.jitter:
            noise = rng.standard_normal(positions.shape).astype(np.float32)
            positions = positions + self.options.jitter * torch.as_tensor(noise)
        error = model(positions, one.species, one.graph, one.sites, theory) - one.spectra
        squared = error.square().mean(1)
        slopes = SMOOTHNESS * error.diff(dim=1).square().mean(1)
        m = (squared + self.options.derivative * slopes) / self.variance[theory]
        loss = (m + self.options.floor).log()
        if self.options.weigh == "sites":
            return loss.mean()
        counts = [len(item.sites) for item in items]
        return torch.stack([part.mean() for part in loss.split(counts)]).mean()

    def of(self, item: SiteSpectra) -> Surroundings:
        """Made once for every structure."""
        if id(item) not in self.surroundings:
            self.surroundings[id(item)] = Surroundings.of(item, self.config, self.options.jitter)
        return self.surroundings[id(item)]


@torch.no_grad()
def predict_sites(network: nn.Module, items: Sequence[SiteSpectra], config: SurrogateConfig,
                  theory: int = 0, batch: int = 16) -> list[np.ndarray]:
    """Spectra of the labelled sites by one member, (n_sites, n_grid) for each structure."""
    found: list[np.ndarray] = []
    training = network.training
    network.eval()
    for start in range(0, len(items), batch):
        parts = [Surroundings.of(item, config) for item in items[start:start + batch]]
        one = side_by_side(parts)
        spectra = network(one.positions, one.species, one.graph, one.sites, theory).numpy()
        found += np.split(spectra, np.cumsum([len(part.sites) for part in parts])[:-1])
    network.train(training)
    return found
