r"""The kernel model of a property: ridge regression on invariants, of sums over atoms.

With d the standardised, softly clipped invariants of an atom and k the rational-quadratic kernel of
:mod:`surrogates.kernel`, taken between atoms of one element,

    u(d) = sum_a k(d, d_a) w_a,    min_w  sum_j c_j (<u>_j - y_j)^2 + lambda w.K w,

over reference atoms a, where <u>_j is u of an atom, or its mean over the atoms of a structure, y_j
the standardised label and c_j its weight (networks weigh equally, sum 1): a Gaussian approximation
potential without forces (A. P. Bartok, M. C. Payne, R. Kondor, G. Csanyi, Phys. Rev. Lett. 104,
136403 (2010); sparse as in J. Quinonero-Candela, C. E. Rasmussen, J. Mach. Learn. Res. 6, 1939
(2005), section 5). Far from all references u is zero: the mean of the element.

Members draw other references. The ridge lambda is the one of a grid with the smallest error on the
networks that the members leave out, unless it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffxas.denoiser import species_indices
from diffxas.graph import build_graph
from diffxas.structure import Structure
from surrogates.base import placed
from surrogates.descriptor import DescriptorConfig, describe, group_scales
from surrogates.kernel import clipped, halved, kernel, spread_of
from surrogates.properties import PropertySurrogate
from surrogates.property_data import PropertyItem, row_weights

RIDGES = tuple(10.0**k for k in range(-9, -1))
UNCHOSEN = 1e-5
"""The ridge where no network can be left out to choose one."""
JITTER = 1e-8
"""Added to the diagonal of K, which is 1."""


@dataclass(frozen=True)
class PropertyKernelConfig:
    """Everything needed to rebuild a kernel model of a property beside its tensors.

    ``length`` is in units of the spread of the training atoms; ``ridge`` is relative to the
    kernel's diagonal of 1, 0 lets left-out networks choose; ``n_references`` atoms a member.
    """

    elements: list[str]
    descriptor: dict[str, Any] = field(default_factory=dict)
    n_members: int = 5
    length: float = 4.2
    ridge: float = 0.0
    n_references: int = 800

    def to_dict(self) -> dict[str, Any]:
        """For ``config.json``."""
        return asdict(self)

    def descriptor_config(self) -> DescriptorConfig:
        """Sizes of the descriptor."""
        return DescriptorConfig(elements=self.elements, **self.descriptor)


def invariants(config: PropertyKernelConfig, structure: Structure, positions: Tensor,
               cell: Tensor | None = None) -> Tensor:
    """Invariants of all atoms, (n_atoms, n_invariants); differentiable in positions and cell."""
    descriptor = config.descriptor_config()
    graph = build_graph(placed(structure, positions, cell), descriptor.radial_cutoff,
                        dtype=positions.dtype, device=positions.device)
    species = species_indices(structure.symbols, config.elements, "surrogate")
    vectors = graph.vectors(positions, None if cell is None else cell[None])
    return describe(descriptor, species.to(positions.device), vectors, graph)


class KernelProperty(PropertySurrogate):
    """A committee of kernel regressions with one descriptor."""

    def __init__(self, name: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor],
                 dtype: torch.dtype = torch.float64, device: str = "cpu") -> None:
        self.config = PropertyKernelConfig(**record["model"])
        super().__init__(name, record, tensors, self.config.n_members)
        self.tensors = {key: value.to(device) if key.endswith("species")
                        else value.to(device, dtype) for key, value in tensors.items()}
        for key in ("center", "scale", "weight"):
            self.tensors[key]
        for k in range(self.config.n_members):
            for key in ("references", "species", "length", "weights"):
                self.tensors[f"{k}.{key}"]
        self.dtype, self.device = dtype, device

    @classmethod
    def from_tensors(cls, name: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor],
                     device: str = "cpu") -> KernelProperty:
        """From what a model folder holds."""
        return cls(name, record, tensors, device=device)

    def to(self, dtype: torch.dtype) -> KernelProperty:
        """See :class:`PropertySurrogate`."""
        return KernelProperty(self.name, self.record, self.tensors, dtype, self.device)

    def contributions(self, positions: Tensor, structure: Structure,
                      cell: Tensor | None = None) -> Tensor:
        """See :class:`PropertySurrogate`."""
        x = positions.to(self.device, self.dtype)
        lattice = None if cell is None else cell.to(self.device, self.dtype)
        t = self.tensors
        d = clipped(invariants(self.config, structure, x, lattice), t["center"], t["scale"],
                    t["weight"])
        species = species_indices(structure.symbols, self.config.elements, "surrogate")
        species = species.to(self.device)
        return torch.stack([
            like(d, species, t[f"{k}.references"], t[f"{k}.species"], t[f"{k}.length"])
            @ t[f"{k}.weights"] for k in range(self.config.n_members)])


def like(d: Tensor, species: Tensor, references: Tensor, reference_species: Tensor,
         length: Tensor) -> Tensor:
    """The kernel between atoms and references, zero for unlike elements, (n_atoms, n_refs)."""
    same = species[:, None] == reference_species
    return kernel(d, references, length) * same


@dataclass(frozen=True, eq=False)
class Described:
    """A structure's clipped invariants (n_atoms, n_invariants), float64, and elements."""

    d: Tensor
    species: Tensor


@dataclass(frozen=True, eq=False)
class Scaling:
    """What makes invariants comparable, each (n_invariants,) float64."""

    center: Tensor
    scale: Tensor
    weight: Tensor


def describe_all(items: Sequence[PropertyItem], config: PropertyKernelConfig,
                 ) -> tuple[Scaling, list[Described]]:
    """Clipped invariants of all atoms of all structures; a bar is shown."""
    from tqdm import tqdm

    raw = [invariants(config, item.structure, torch.tensor(item.structure.positions))
           for item in tqdm(items, desc="invariants", unit="structure", mininterval=2.0)]
    every = torch.cat(raw)
    center = every.mean(0)
    scale = every.std(0, correction=0) + 1e-3 * center.abs() + 1e-9
    scaling = Scaling(center, scale, torch.tensor(group_scales(config.descriptor_config())))
    return scaling, [
        Described(clipped(one, center, scale, scaling.weight),
                  species_indices(item.structure.symbols, config.elements, "surrogate"))
        for one, item in zip(raw, items, strict=True)]


@dataclass(frozen=True, eq=False)
class Member:
    """References of a member and its coefficients for every ridge of a grid.

    Attributes
    ----------
    references : (n_refs, n_invariants) float64, of half precision; ``species`` (n_refs,) int64
    weights : (n_refs, n_ridges) float64
    """

    references: Tensor
    species: Tensor
    length: Tensor
    weights: Tensor

    def rows(self, one: Described, n_labels: int) -> Tensor:
        """The kernel's rows of a structure's labels, (n_labels, n_refs)."""
        found = like(one.d, one.species, self.references, self.species, self.length)
        return found if n_labels == len(found) else found.mean(0, keepdim=True)


def fit_member(items: Sequence[PropertyItem], described: Sequence[Described],
               labels: Sequence[np.ndarray], config: PropertyKernelConfig,
               ridges: Sequence[float], rng: np.random.Generator) -> Member:
    """Regression on standardised ``labels`` for every ridge at once."""
    references, species = draw_references(items, described, config.n_references, rng)
    references = torch.tensor(halved(references.numpy()))
    length = torch.tensor(config.length * spread_of(references.numpy()), dtype=torch.float64)
    gram = like(references, species, references, species, length)
    factor = torch.linalg.cholesky(gram + JITTER * torch.eye(len(gram), dtype=gram.dtype))
    member = Member(references, species, length, torch.zeros(0))
    weights = np.split(row_weights(items), np.cumsum([len(one) for one in labels])[:-1])
    left = torch.zeros_like(gram)
    right = gram.new_zeros(len(gram))
    for one, y, c in zip(described, labels, weights, strict=True):
        # in the basis in which the ridge is the identity
        b = torch.linalg.solve_triangular(factor, member.rows(one, len(y)).T, upper=False)
        left += (b * torch.tensor(c)) @ b.T
        right += b @ torch.tensor(c * y)
    values, vectors = torch.linalg.eigh(left)
    inverse = 1 / (values.clamp(min=0)[:, None] + torch.tensor(ridges, dtype=gram.dtype))
    solved = vectors @ (inverse * (vectors.T @ right)[:, None])
    return Member(references, species, length,
                  torch.linalg.solve_triangular(factor.T, solved, upper=True))


def draw_references(items: Sequence[PropertyItem], described: Sequence[Described], number: int,
                    rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """About ``number`` atoms, the same number of every network: invariants and elements."""
    parents = sorted({item.parent for item in items})
    each = -(-number // len(parents))
    d, species = [], []
    for parent in parents:
        mine = [one for one, item in zip(described, items, strict=True) if item.parent == parent]
        every, kinds = (torch.cat(column) for column in
                        ([one.d for one in mine], [one.species for one in mine]))
        rows = torch.tensor(np.sort(rng.choice(len(every), min(each, len(every)), replace=False)))
        d.append(every[rows])
        species.append(kinds[rows])
    return torch.cat(d), torch.cat(species)


def tensors_of(members: Sequence[Member], chosen: int, scaling: Scaling) -> dict[str, Tensor]:
    """What a model folder holds, with the coefficients of one ridge."""
    tensors = {"center": scaling.center, "scale": scaling.scale, "weight": scaling.weight}
    for k, member in enumerate(members):
        tensors |= {f"{k}.references": member.references.half(), f"{k}.species": member.species,
                    f"{k}.length": member.length, f"{k}.weights": member.weights[:, chosen]}
    return tensors
