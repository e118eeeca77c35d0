r"""The kernel surrogate: ridge regression on invariants, in two fidelities.

With d the standardised, softly clipped invariants of an environment (:mod:`surrogates.descriptor`)
and a rational-quadratic kernel k(d, d') = 1 / (1 + |d - d'|^2 / (2 l^2)),

    low fidelity     s(d) = sum_a k(d, d_a) alpha_a          (FEFF, many networks)
    target           y(d, s) = sum_b k(d + s, d_b + s_b) beta_b   (DFT, few networks)

where s are the standardised principal components of the predicted low-fidelity spectrum, appended
to the invariants, and y those of the target around its mean. The invariants are weighted by what
the low fidelity, of which there is much, shows to matter (:mod:`surrogates.relevance`), then
rotated to their principal axes, of which those are kept that distances notice. Far from all
training sites the prediction returns to the mean of the training sites: nothing explodes. Kernel
ridge regression is the mean of a Gaussian process: C. E. Rasmussen, C. K. I. Williams, Gaussian
Processes for Machine Learning (MIT Press, 2006), equations 2.25 and 4.19 (the kernel, alpha = 1). A
cheap theory as an input of the costly one: P. Perdikaris and others, Proc. R. Soc. A 473, 20160751
(2017), section 2.

Members are fitted to different random subsets of the target's sites, the same number from every
bond network. Everything is differentiable in the positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from diffxas.denoiser import species_indices
from diffxas.graph import build_graph
from diffxas.structure import Structure
from surrogates.base import Surrogate, placed
from surrogates.datasets import SiteSpectra
from surrogates.descriptor import DescriptorConfig, describe, group_scales, longest_bond
from surrogates.pieces import receptive
from surrogates.relevance import relevance

CLIP = 5.0
"""Standard deviations beyond which an invariant says no more than "very far"."""

SOFTPLUS_BETA = 2000.0

BLOCK = 256
"""Sites at once: their kernels with all training sites then fit the processor's caches, which
makes a cell of 10,000 atoms faster; the numbers are the same."""

UNSEEN = 1e-3
"""Share of the sites' variance along axes that are dropped."""


@dataclass(frozen=True)
class KernelConfig:
    """Everything needed to rebuild a kernel surrogate beside its tensors.

    ``theories[1]``, if there, is the low fidelity, predicted on the way to ``theories[0]``.
    ``length`` (of the target's kernel) and ``length_low`` are in units of the spread of the
    training sites, ``ridge_*`` relative to the kernel's diagonal of 1; ``sites_per_network`` of the
    target's sites are drawn for each member; ``relevance_steps`` are those of the invariants'
    weights.
    """

    elements: list[str]
    absorber: str
    edge: str
    theories: list[dict[str, Any]]
    descriptor: dict[str, Any] = field(default_factory=dict)
    n_members: int = 4
    length: float = 3.0
    length_low: float = 4.2
    ridge_low: float = 0.007
    ridge_target: float = 0.1
    n_components_low: int = 20
    n_components: int = 20
    low_weight: float = 2.0
    sites_per_network: int = 250
    relevance_steps: int = 30

    def to_dict(self) -> dict[str, Any]:
        """For ``config.json``."""
        return asdict(self)

    def descriptor_config(self) -> DescriptorConfig:
        """Sizes of the descriptor."""
        return DescriptorConfig(elements=self.elements, **self.descriptor)


def kernel(a: Tensor, b: Tensor, length: Tensor) -> Tensor:
    """Rational-quadratic kernel, (n_a, n_d) and (n_b, n_d) -> (n_a, n_b)."""
    squared = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return 1 / (1 + squared.clamp(min=0) / (2 * length**2))


def clipped(invariants: Tensor, center: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """Standardised and softly clipped invariants, times the weight of their group."""
    return CLIP * torch.tanh((invariants - center) / (CLIP * scale)) * weight


def invariants_of(config: KernelConfig, structure: Structure, positions: Tensor,
                  cell: Tensor | None = None, sites: Tensor | None = None) -> Tensor:
    """Invariants of all atoms, (n_atoms, n_invariants); differentiable in positions and cell.

    With ``sites`` (n_sites,), indices of atoms, those of these alone, (n_sites, n_invariants).
    """
    descriptor = config.descriptor_config()
    graph = build_graph(placed(structure, positions, cell), descriptor.radial_cutoff,
                        dtype=positions.dtype, device=positions.device)
    species = species_indices(structure.symbols, config.elements, "surrogate")
    cells = None if cell is None else cell[None]
    if sites is not None and len(sites) < len(structure):
        with torch.no_grad():
            bonded = graph.vectors(positions, cells).norm(dim=1) < longest_bond(descriptor)
        graph = receptive(graph, sites, along=bonded)
    vectors = graph.vectors(positions, cells)
    found = describe(descriptor, species.to(positions.device), vectors, graph)
    return found if sites is None else found[sites]


class KernelSurrogate(Surrogate):
    """A committee of two-fidelity kernel ridge regressions with one descriptor."""

    def __init__(self, name: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor],
                 dtype: torch.dtype = torch.float32, device: str = "cpu",
                 theory: int = 0) -> None:
        super().__init__(name, record, theory)
        self.config = KernelConfig(**record["model"])
        self.tensors = {k: v.to(device, dtype) for k, v in tensors.items()}
        self._check()
        self.dtype, self.device = dtype, device

    def _check(self) -> None:
        """A KeyError or RuntimeError if a tensor is missing or the grid is another."""
        for key in ("center", "scale", "weight", "axes"):
            self.tensors[key]
        lengths = [len(theory["energy"]) for theory in self.config.theories]
        if len(lengths) > 1:
            self._check_part("low", "alpha", lengths[1])
        for k in range(self.config.n_members):
            self._check_part(str(k), "beta", lengths[0])

    def _check_part(self, part: str, coefficients: str, n_grid: int) -> None:
        for key in ("sites", "length", coefficients):
            self.tensors[f"{part}.{key}"]
        for key in ("mean", "components"):
            points = self.tensors[f"{part}.{key}"].shape[-1]
            if points != n_grid:
                raise RuntimeError(f"{part}.{key} has {points} points, the energy grid {n_grid}")

    def to(self, dtype: torch.dtype) -> KernelSurrogate:
        """The same surrogate in another precision (float64 for numeric gradients)."""
        copy = KernelSurrogate(self.name, self.record, self.tensors, dtype, self.device,
                               self.theory)
        copy.domain = self.domain
        return copy

    @property
    def reach(self) -> float:
        """See :class:`surrogates.base.Surrogate`; bonded neighbours bring what is around them."""
        d = self.config.descriptor_config()
        bond = longest_bond(d)
        return max(d.radial_cutoff, d.near_cutoff + bond, d.far_cutoff, 2 * bond)

    def training_mean(self) -> np.ndarray:
        """See :class:`surrogates.base.Surrogate`; networks weigh alike in the target's."""
        parts = ["low"] if self.theory == 1 else map(str, range(self.config.n_members))
        means = [self.tensors[f"{part}.mean"] for part in parts]
        return np.asarray(torch.stack(means).double().mean(0).cpu())

    def spectra(self, positions: Tensor, structure: Structure, cell: Tensor | None = None,
                sites: Tensor | None = None) -> Tensor:
        """See :class:`surrogates.base.Surrogate`."""
        sites = torch.as_tensor(self.absorbers(structure)) if sites is None else sites
        x = positions.to(self.device, self.dtype)
        lattice = None if cell is None else cell.to(self.device, self.dtype)
        return self.spectra_from(invariants_of(self.config, structure, x, lattice,
                                               sites.to(self.device)))

    def spectra_from(self, invariants: Tensor) -> Tensor:
        """(n_sites, n_invariants) -> (n_members, n_sites, n_grid).

        All members share the low fidelity.
        """
        return torch.cat([self._spectra_of_block(rows) for rows in invariants.split(BLOCK)], 1)

    def _spectra_of_block(self, invariants: Tensor) -> Tensor:
        t = self.tensors
        d = clipped(invariants, t["center"], t["scale"], t["weight"]) @ t["axes"]
        if "low.alpha" in t:
            low = kernel(d, t["low.sites"], t["low.length"]) @ t["low.alpha"]
            if self.theory == 1:
                mu = softplus(t["low.mean"] + low @ t["low.components"], beta=SOFTPLUS_BETA)
                return mu.expand(self.config.n_members, *mu.shape)
            d = torch.cat([d, low * t["low.weight"]], 1)
        members = []
        for k in range(self.config.n_members):
            scores = kernel(d, t[f"{k}.sites"], t[f"{k}.length"]) @ t[f"{k}.beta"]
            mu = t[f"{k}.mean"] + scores @ t[f"{k}.components"]
            members.append(softplus(mu, beta=SOFTPLUS_BETA))
        return torch.stack(members)


def principal(spectra: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (n_grid,), components scaled by their spread (n, n_grid), scores (n_sites, n)."""
    mean = spectra.mean(0)
    u, s, v = np.linalg.svd(spectra - mean, full_matrices=False)
    n = min(n, len(s))
    spread = s[:n] / np.sqrt(len(spectra))
    return mean, spread[:, None] * v[:n], u[:, :n] * np.sqrt(len(spectra))


def ridge(sites: np.ndarray, targets: np.ndarray, length: float, weight: float) -> np.ndarray:
    """Coefficients of kernel ridge regression, (n_sites, n_targets)."""
    x = torch.tensor(sites, dtype=torch.float64)
    gram = kernel(x, x, torch.tensor(length, dtype=torch.float64)).numpy()
    coefficients: np.ndarray = np.linalg.solve(gram + weight * np.eye(len(sites)), targets)
    return coefficients


def spread_of(sites: np.ndarray) -> float:
    """Root of the total variance of the rows."""
    return float(np.sqrt(sites.var(0).sum()))


def fit_kernel(data: Sequence[SiteSpectra], config: KernelConfig,
               seed: int = 0) -> dict[str, Tensor]:
    """Tensors of a kernel surrogate fitted to ``data``.

    Training sites are stored in half precision and fitted as stored, so that what is shipped is
    what was fitted.
    """
    names = [t["name"] for t in config.theories]
    raw: dict[int, np.ndarray] = {}
    for item in data:
        if id(item.structure) not in raw:
            positions = torch.tensor(item.structure.positions)
            raw[id(item.structure)] = invariants_of(config, item.structure, positions).numpy()
    groups = [[(raw[id(d.structure)][d.sites], d.spectra.astype(float), d.parent)
               for d in data if d.theory == name] for name in names]
    # The theory with more networks says how invariants spread and which matter.
    wide, wide_length, wide_ridge, n_wide = (
        (groups[1], config.length_low, config.ridge_low, config.n_components_low)
        if len(groups) > 1 else
        (groups[0], config.length, config.ridge_target, config.n_components))
    sites = np.concatenate([x for x, _, _ in wide])
    mean, components, scores = principal(np.concatenate([y for _, y, _ in wide]), n_wide)
    scaling = Scaling.of(sites, group_scales(config.descriptor_config()))
    scaling = scaling.refined(sites, scores, np.square(components).sum(1), wide_length, wide_ridge,
                              config.relevance_steps,
                              [name for x, _, name in wide for _ in x], seed)
    tensors = scaling.tensors()
    rng = np.random.default_rng(seed)
    extend = np.zeros((0, 0))
    if len(groups) > 1:
        sites = scaling.apply(sites)
        low_length = wide_length * spread_of(sites)
        alpha = ridge(sites, scores, low_length, config.ridge_low)
        low_weight = config.low_weight / np.sqrt(scores.shape[1])
        tensors |= {"low.sites": sites, "low.alpha": alpha, "low.length": np.array(low_length),
                    "low.weight": np.array(low_weight), "low.mean": mean,
                    "low.components": components}
        extend = alpha * low_weight
    for k in range(config.n_members):
        x, y = drawn(groups[0], config.sites_per_network, rng)
        d = scaling.apply(x)
        if len(extend):
            low = kernel(torch.tensor(d), torch.tensor(tensors["low.sites"]),
                         torch.tensor(low_length)).numpy() @ extend
            d = halved(np.concatenate([d, low], 1))
        length = config.length * spread_of(d)
        mean, components, scores = principal(y, config.n_components)
        tensors |= {f"{k}.sites": d, f"{k}.length": np.array(length), f"{k}.mean": mean,
                    f"{k}.components": components,
                    f"{k}.beta": ridge(d, scores, length, config.ridge_target)}
    return {key: torch.tensor(value, dtype=torch.float16 if key.endswith("sites")
                              else torch.float32) for key, value in tensors.items()}


@dataclass(frozen=True, eq=False)
class Scaling:
    """From invariants to what the kernel measures distances in.

    Attributes
    ----------
    center, scale, weight : (n_invariants,), see :func:`clipped`
    axes : (n_invariants, n_kept), orthonormal columns
    """

    center: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, sites: np.ndarray, weight: np.ndarray) -> Scaling:
        """Standardised over ``sites`` (n_sites, n_invariants), not rotated."""
        center = sites.mean(0)
        scale = sites.std(0) + 1e-3 * np.abs(center) + 1e-9
        return cls(center, scale, weight, np.eye(len(weight)))

    def weighted(self, invariants: np.ndarray) -> np.ndarray:
        """Standardised, clipped and weighted invariants."""
        parts = [torch.tensor(a) for a in (invariants, self.center, self.scale, self.weight)]
        return clipped(*parts).numpy()

    def refined(self, sites: np.ndarray, scores: np.ndarray, importance: np.ndarray, length: float,
                ridge: float, steps: int, groups: Sequence[str], seed: int) -> Scaling:
        """Weights by relevance, and the axes along which ``sites`` then spread."""
        x = self.weighted(sites)
        factor = relevance(x, scores, importance, kernel, length * spread_of(x), ridge, steps,
                           groups, seed)
        _, s, v = np.linalg.svd(x * factor, full_matrices=False)
        rest = 1 - np.cumsum(s**2) / np.sum(s**2)
        kept = min(len(s), int(np.searchsorted(-rest, -UNSEEN)) + 1)
        # In the precision of the weights, so that what is stored is what was fitted.
        weight, axes = ((a.astype(np.float32)).astype(float) for a in
                        (self.weight * factor, v[:kept].T))
        return Scaling(self.center, self.scale, weight, axes)

    def apply(self, invariants: np.ndarray) -> np.ndarray:
        """(n_sites, n_invariants) -> (n_sites, n_kept), in half precision's values."""
        return halved(self.weighted(invariants) @ self.axes)

    def tensors(self) -> dict[str, Any]:
        """As they are stored."""
        return {"center": self.center, "scale": self.scale, "weight": self.weight,
                "axes": self.axes}


def halved(values: np.ndarray) -> np.ndarray:
    """Rounded to what half precision can hold, still float64."""
    return values.astype(np.float16).astype(np.float64)


def drawn(group: Sequence[tuple[np.ndarray, np.ndarray, str]], n: int,
          rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """At most ``n`` sites of every bond network: invariants and spectra."""
    parents = list(dict.fromkeys(parent for _, _, parent in group))
    xs, ys = [], []
    for parent in parents:
        x = np.concatenate([a for a, _, p in group if p == parent])
        y = np.concatenate([b for _, b, p in group if p == parent])
        rows = np.sort(rng.choice(len(x), min(n, len(x)), replace=False))
        xs.append(x[rows])
        ys.append(y[rows])
    return np.concatenate(xs), np.concatenate(ys)
