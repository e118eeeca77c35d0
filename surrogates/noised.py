r"""A surrogate of noised structures: mean and covariance of a cell's spectrum given x_t.

Guidance needs p(y | x_t), and with it E[v | x_t] and Cov[v | x_t] of the cell's spectrum v behind a
noised structure x_t = x_0 + sigma z. The spectrum of the denoised estimate, v(E[x_0 | x_t]), is not
E[v | x_t]: above sigma of 0.2 angstrom the estimate is a blur that no surrogate of structures has
seen; at 0.4 its spectrum varies five times too little, and errs three times as much as what is
learned here (experiments/noised). Here a network learns the regression itself,

    E[v | x_t] ~ 1/N sum_i ( m + sum_k a_k(i; x_t, sigma) sqrt(lambda_k) P_k ),

with m and P_k mean and principal components of the sites' spectra by a teacher (a surrogate of
structures), and a_k from an equivariant trunk that is told the noise level. Its gradient in x_t
needs no pass through the denoiser. What the regression leaves open is measured on cells that took
no part in it, level by level: with r the error of a cell's mean in units of the components,

    Cov[v | x_t] = (1/N) sum_kl B_kl(sigma) sqrt(lambda_k lambda_l) P_k P_l^T,
    B_kl = f_k f_l Cov_sites(r)_kl,     f_k^2 = N E[r_k^2] / Var_sites(r)_k:

correlations from the sites, of which there are many, sizes from the cells, as neighbours err alike.

Classifiers of noised data: P. Dhariwal, A. Nichol, Diffusion models beat GANs on image synthesis,
arXiv:2105.05233 (2021), section 4.1. Why the plug-in fails at high noise: H. Chung and others,
arXiv:2209.14687 (2022), theorem 1 (its Jensen gap).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from diffxas.denoiser import species_indices
from diffxas.errors import InputError
from diffxas.graph import Graph, build_graph
from diffxas.network import EquivariantNetwork
from diffxas.structure import Structure
from diffxas.tiled import TiledNetwork, is_tiled
from diffxas.weights import find_model, read_config, read_tensors, shipped_names
from surrogates.base import Surrogate, placed
from surrogates.loading import SHIPPED

KIND = "noised"
COEFFICIENT_BOUND = 8.0
"""No coefficient is larger, in standard deviations of the sites."""
TABLE = ("levels", "covariance")


@dataclass(frozen=True)
class NoisedConfig:
    """Everything needed to rebuild the network; stored in its ``config.json``.

    ``teacher`` and ``theory`` name the surrogate whose spectra it gives, ``energy`` (eV) their
    grid; ``sigma_min`` and ``sigma_max`` (angstrom) bound the noise levels it was trained on. The
    waves that tell it a level span ``wave_min`` to ``wave_max`` (angstrom).
    """

    elements: list[str]
    absorber: str
    edge: str
    teacher: str
    theory: str
    energy: list[float]
    n_components: int = 16
    cutoff: float = 3.7
    n_layers: int = 2
    n_scalars: int = 48
    n_vectors: int = 24
    n_tensors: int = 12
    n_products: int = 12
    hidden: int = 32
    n_basis: int = 16
    n_head: int = 96
    degree: float = 25.0
    sigma_min: float = 0.03
    sigma_max: float = 0.8
    wave_min: float = 0.015
    wave_max: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise InputError(f"sigma_min and sigma_max must be above 0 and in that order, received "
                             f"{self.sigma_min:g} and {self.sigma_max:g}: correct [model]")
        if not 0 < self.n_components < len(self.energy):
            raise InputError(f"n_components must be at least 1 and below the {len(self.energy)} "
                             f"energies, received {self.n_components}: correct [model]")

    def to_dict(self) -> dict[str, Any]:
        """For ``config.json``."""
        return asdict(self)


class NoisedNetwork(nn.Module):
    """a_k of the module's docstring, for the absorbers of any number of structures at once."""

    N_WAVES = 8
    mean: Tensor
    components: Tensor

    def __init__(self, config: NoisedConfig) -> None:
        super().__init__()
        self.config = config
        n_condition, n_grid = 2 * self.N_WAVES, len(config.energy)
        self.offset = nn.Parameter(torch.zeros(n_condition))
        self.trunk = EquivariantNetwork(
            config.elements, n_layers=config.n_layers, cutoff=config.cutoff,
            n_scalars=config.n_scalars, n_vectors=config.n_vectors, n_tensors=config.n_tensors,
            n_products=config.n_products, n_condition=n_condition, n_basis=config.n_basis,
            hidden=config.hidden, degree=config.degree,
        )
        n_invariants = config.n_scalars + config.n_vectors + config.n_tensors
        self.norm = nn.LayerNorm(n_invariants)
        self.first = nn.Linear(n_invariants + n_condition, config.n_head)
        self.second = nn.Linear(config.n_head, config.n_head)
        self.third = nn.Linear(config.n_head, config.n_components)
        # Logarithms of the variances of sites and of cells at a level, for the loss alone.
        self.log_variances = nn.Linear(n_condition, 2 * config.n_components)
        self.register_buffer("mean", torch.zeros(n_grid))
        self.register_buffer("components", torch.zeros(config.n_components, n_grid))

    def condition(self, sigma: Tensor) -> Tensor:
        """Fourier features of log sigma, (n, 2 N_WAVES), as the prior has them."""
        config = self.config
        position = sigma.log() / math.log(config.wave_max / config.wave_min)
        angles = position[:, None] * torch.linspace(0.5, 6.0, self.N_WAVES, dtype=sigma.dtype,
                                                    device=sigma.device)
        return torch.cat([angles.sin(), angles.cos()], 1) + self.offset

    def forward(self, x_t: Tensor, sigma: Tensor, species: Tensor, graph: Graph,
                sites: Tensor) -> Tensor:
        """Coefficients of the absorbers, (n_sites, n_components).

        Parameters
        ----------
        x_t : (n_atoms, 3), angstrom
        sigma : (n_atoms,), angstrom
        species : (n_atoms,) int64, indices into the config's elements
        graph : edges of ``x_t`` within the cutoff
        sites : (n_sites,) int64, which atoms absorb
        """
        c = self.condition(sigma)
        some = sites if len(sites) < len(species) else None
        return self.head(self.trunk(species, graph.vectors(x_t), graph, c, sites=some)[sites],
                         c[sites])

    def head(self, x: Tensor, c: Tensor) -> Tensor:
        """Coefficients from the trunk's features (n, irreps_out.dim) and conditions of atoms."""
        invariants = []
        for (mul, ir), part in zip(self.trunk.irreps_out, self.trunk.irreps_out.slices(),
                                   strict=True):
            block = x[:, part].reshape(len(x), mul, ir.dim)
            invariants.append(block[..., 0] if ir.l == 0 else block.square().sum(-1))
        hidden = torch.cat([self.norm(torch.cat(invariants, 1)), c], 1)
        hidden = silu(self.second(silu(self.first(hidden))))
        bound = COEFFICIENT_BOUND
        a: Tensor = bound * torch.tanh(self.third(hidden) / bound)
        assert a.shape == (len(x), self.config.n_components)
        return a

    def spectra(self, coefficients: Tensor) -> Tensor:
        """(n_sites, n_components) -> (n_sites, n_grid)."""
        return self.mean + coefficients @ self.components


class NoisedSurrogate:
    """Mean and covariance of the cell's spectrum given a noised structure.

    Parameters
    ----------
    name : shipped name or folder
    record : the whole ``config.json``
    levels : (n_levels,), angstrom, increasing
    covariance : (n_levels, n_components, n_components), B of the module's docstring
    """

    def __init__(self, name: str, record: Mapping[str, Any], network: NoisedNetwork,
                 levels: np.ndarray, covariance: np.ndarray) -> None:
        assert covariance.shape == (len(levels), *2 * (network.config.n_components,))
        self.name, self.record, self.network = name, record, network
        self.levels, self.covariance = levels, covariance

    @property
    def config(self) -> NoisedConfig:
        """Of the network."""
        return self.network.config

    @property
    def sigma_low(self) -> float:
        """Level (angstrom) below which the teacher at the denoised estimate knows more."""
        return max(self.config.sigma_min, float(self.record.get("sigma_low", 0.0)))

    def to(self, dtype: torch.dtype) -> NoisedSurrogate:
        """The same surrogate in another precision (float64 for numeric gradients)."""
        network = NoisedNetwork(self.config)
        network.load_state_dict(self.network.state_dict())
        return NoisedSurrogate(self.name, self.record, network.to(dtype).requires_grad_(False),
                               self.levels, self.covariance)

    def sites(self, x_t: Tensor, sigma: float, system: Structure) -> Tensor:
        """E[v_i | x_t] of the absorbers, (n_absorbers, n_grid); differentiable in ``x_t``.

        Parameters
        ----------
        x_t : (n_atoms, 3), angstrom
        sigma : angstrom
        system : species and cell; its positions are not read
        """
        network, parameter = self.network, next(self.network.parameters())
        x = x_t.to(parameter.device, parameter.dtype)
        species = species_indices(system.symbols, self.config.elements,
                                  "noise-aware surrogate").to(x.device)
        sites = torch.as_tensor(np.flatnonzero(np.array(system.symbols) == self.config.absorber),
                                device=x.device)
        levels = torch.full((len(x),), float(sigma), dtype=x.dtype, device=x.device)
        if is_tiled(network.trunk, len(x)):
            tiled = TiledNetwork(network.trunk, network.head, system, species)
            coefficients = tiled(x, network.condition(levels[:1]).expand(len(x), -1))[sites]
        else:
            graph = build_graph(placed(system, x_t), self.config.cutoff, dtype=x.dtype,
                                device=x.device)
            coefficients = network(x, levels, species, graph, sites)
        return network.spectra(coefficients).to(x_t.device, x_t.dtype)

    def mean_covariance(self, sigma: float, n_sites: int) -> np.ndarray:
        """Cov[v | x_t] of the mean over so many sites, (n_grid, n_grid)."""
        k = int(np.clip(np.searchsorted(self.levels, sigma), 1, len(self.levels) - 1))
        low, high = np.log(self.levels[k - 1 : k + 1])
        w = float(np.clip((np.log(sigma) - low) / (high - low), 0, 1))
        b = (1 - w) * self.covariance[k - 1] + w * self.covariance[k]
        p = self.network.components.double().cpu().numpy()
        return np.asarray(p.T @ b @ p / n_sites)


@cache
def load_noised(name: str | Path, device: str = "cpu") -> NoisedSurrogate:
    """A noise-aware surrogate from a shipped name or a folder.

    Raises
    ------
    InputError
        If there is none, or its files do not fit.
    """
    folder = find_model(str(name), SHIPPED)
    record = read_config(folder, KIND)
    tensors = read_tensors(folder)
    try:
        table = [tensors.pop(key).double().numpy() for key in TABLE]
        network = NoisedNetwork(NoisedConfig(**record["model"]))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder} must hold the tensors that its config.json describes, received "
                         f"others ({' '.join(str(error).split())[:200]}): copy the model's folder "
                         f"again") from error
    label = folder.name if folder.parent == SHIPPED else str(folder)
    return NoisedSurrogate(label, record, network.to(device).requires_grad_(False).eval(), *table)


def noised_for(surrogate: Surrogate) -> NoisedSurrogate:
    """The noise-aware surrogate that was taught by a surrogate (:func:`noised_name`).

    Raises
    ------
    InputError
        If there is none of the teacher, its element, edge, theory and energies.
    """
    name = noised_name(surrogate)
    if name is None:
        raise InputError(f"--algorithm noise-aware must have a noise-aware surrogate of "
                         f"{surrogate.name} ({surrogate.element}:{surrogate.edge}), received a "
                         f"surrogate without: choose --algorithm dps, another --surrogate, or "
                         f"train one as experiments/noised does")
    return load_noised(name)


def noised_name(surrogate: Surrogate) -> str | None:
    """Name or folder of the noise-aware surrogate that was taught by a surrogate; None without.

    It lies beside its teacher, ``TEACHER-noised``, or is a shipped one of that teacher, of its
    element, edge and energies.
    """
    beside = Path(f"{surrogate.name}-noised")
    folders = {name: SHIPPED / name for name in shipped_names(SHIPPED)}
    if beside.name != str(beside):  # a shipped teacher has a name, one of the user's a path
        folders = {str(beside): beside, **folders}
    for name, folder in folders.items():
        if not (folder / "config.json").is_file():
            continue
        record = read_config(folder)
        if record.get("kind") != KIND:
            continue
        model = record["model"]
        if (teacher_name(model["teacher"]) == teacher_name(surrogate.name)
                and (model["absorber"], model["edge"]) == (surrogate.element, surrogate.edge)
                and np.array_equal(model["energy"], surrogate.energy)):
            return name
    return None


def teacher_name(name: str) -> str:
    """Name of a surrogate; of its folder where it was given by path."""
    return Path(name).name
