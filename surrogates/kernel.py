r"""The kernel surrogate: ridge regression on invariants, in two fidelities.

With d the standardised, softly clipped invariants of an environment (:mod:`surrogates.descriptor`)
and a rational-quadratic kernel k(d, d') = 1 / (1 + |d - d'|^2 / (2 l^2)),

    low fidelity     s(d) = sum_a k(d, d_a) alpha_a          (FEFF, many networks)
    target           y(d, s) = sum_b k(d + s, d_b + s_b) beta_b   (DFT, few networks)

where s are the standardised principal components of the predicted low-fidelity spectrum, appended
to the invariants, and y those of the target around its mean. Far from all training sites the
prediction returns to the mean of the training sites: nothing explodes. Kernel ridge regression is
the mean of a Gaussian process: C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine
Learning (MIT Press, 2006), equations 2.25 and 4.19 (the kernel, alpha = 1). A cheap theory as an
input of the costly one: P. Perdikaris and others, Proc. R. Soc. A 473, 20160751 (2017), section 2.

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
from surrogates.descriptor import DescriptorConfig, describe, group_scales

CLIP = 5.0
"""Standard deviations beyond which an invariant says no more than "very far"."""

SOFTPLUS_BETA = 2000.0


@dataclass(frozen=True)
class KernelConfig:
    """Everything needed to rebuild a kernel surrogate beside its tensors.

    ``theories[0]`` is predicted; ``theories[1]``, if there, is the low fidelity. ``length`` is in
    units of the spread of the training sites, ``ridge_*`` relative to the kernel's diagonal of 1;
    ``sites_per_network`` of the target's sites are drawn for each member.
    """

    elements: list[str]
    absorber: str
    edge: str
    theories: list[dict[str, Any]]
    descriptor: dict[str, Any] = field(default_factory=dict)
    n_members: int = 2
    length: float = 4.2
    ridge_low: float = 0.003
    ridge_target: float = 0.1
    n_components_low: int = 15
    n_components: int = 20
    low_weight: float = 1.0
    sites_per_network: int = 400

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
                  cell: Tensor | None = None) -> Tensor:
    """Invariants of all atoms, (n_atoms, n_invariants); differentiable in positions and cell."""
    descriptor = config.descriptor_config()
    graph = build_graph(placed(structure, positions, cell), descriptor.radial_cutoff,
                        dtype=positions.dtype, device=positions.device)
    species = species_indices(structure.symbols, config.elements, "surrogate")
    vectors = graph.vectors(positions, None if cell is None else cell[None])
    return describe(descriptor, species.to(positions.device), vectors, graph)


class KernelSurrogate(Surrogate):
    """A committee of two-fidelity kernel ridge regressions with one descriptor."""

    def __init__(self, name: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor],
                 dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        super().__init__(name, record)
        self.config = KernelConfig(**record["model"])
        self.tensors = {k: v.to(device, dtype) for k, v in tensors.items()}
        self._check()
        self.dtype, self.device = dtype, device

    def _check(self) -> None:
        """A KeyError or RuntimeError if a tensor is missing or the grid is another."""
        for key in ("center", "scale", "weight"):
            self.tensors[key]
        for k in range(self.config.n_members):
            for key in ("sites", "length", "mean", "components", "beta"):
                self.tensors[f"{k}.{key}"]
            if self.tensors[f"{k}.mean"].shape != self.energy.shape:
                raise RuntimeError(f"mean of member {k} has another length than the energy grid")

    def to(self, dtype: torch.dtype) -> KernelSurrogate:
        """The same surrogate in another precision (float64 for numeric gradients)."""
        return KernelSurrogate(self.name, self.record, self.tensors, dtype, self.device)

    def spectra(self, positions: Tensor, structure: Structure,
                cell: Tensor | None = None) -> Tensor:
        """See :class:`surrogates.base.Surrogate`."""
        sites = torch.as_tensor(self.absorbers(structure), device=self.device)
        x = positions.to(self.device, self.dtype)
        lattice = None if cell is None else cell.to(self.device, self.dtype)
        return self.spectra_from(invariants_of(self.config, structure, x, lattice)[sites])

    def spectra_from(self, invariants: Tensor) -> Tensor:
        """(n_sites, n_invariants) -> (n_members, n_sites, n_grid)."""
        t = self.tensors
        d = clipped(invariants, t["center"], t["scale"], t["weight"])
        if "low.alpha" in t:
            low = kernel(d, t["low.sites"], t["low.length"]) @ t["low.alpha"]
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
    reference = np.concatenate([x for x, _, _ in groups[-1]])
    center = reference.mean(0)
    scale = reference.std(0) + 1e-3 * np.abs(center) + 1e-9
    weight = group_scales(config.descriptor_config())
    tensors = {"center": center, "scale": scale, "weight": weight}

    def prepare(invariants: np.ndarray) -> np.ndarray:
        parts = [torch.tensor(a) for a in (invariants, center, scale, weight)]
        return halved(clipped(*parts).numpy())

    rng = np.random.default_rng(seed)
    extend = np.zeros((0, 0))
    if len(groups) > 1:
        sites = prepare(reference)
        low_length = config.length * spread_of(sites)
        _, _, scores = principal(np.concatenate([y for _, y, _ in groups[1]]),
                                 config.n_components_low)
        alpha = ridge(sites, scores, low_length, config.ridge_low)
        low_weight = config.low_weight / np.sqrt(scores.shape[1])
        tensors |= {"low.sites": sites, "low.alpha": alpha, "low.length": np.array(low_length),
                    "low.weight": np.array(low_weight)}
        extend = alpha * low_weight
    for k in range(config.n_members):
        x, y = drawn(groups[0], config.sites_per_network, rng)
        d = prepare(x)
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
