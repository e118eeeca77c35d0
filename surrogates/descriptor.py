r"""Invariants of an atomic environment, smooth and differentiable in the positions.

Neighbours of atom i are expanded in Gaussians g_n of the distance and spherical harmonics (e3nn),

    A_i,nlm = sum_j f(r_ij) g_n(r_ij) Y_lm(r_ij),     p_i,nn'l = sum_m A_nlm A_n'lm / (2l + 1),

the power spectrum of the neighbour density (A. P. Bartok, R. Kondor, G. Csanyi, On representing
chemical environments, Phys. Rev. B 87, 184115 (2013), section II, with Gaussians for its radial
functions), twice: finely within the second shell, and with a longer reach. Beside it: the radial
expansion itself, in narrow shells where bonds are and wider ones beyond; a soft count of bonds b_i
spread over Gaussians c_k(b_i) at 1, 2, 3 and 4 (hybridisation); the sum of the same over bonded
neighbours; and the mean over bonded neighbours of their fine power spectra, which holds what four
atoms in a row do (how the pi orbitals of neighbours are aligned). Everything fades with two
derivatives at its cutoff, so there is no step when an atom crosses it.

On held-out networks' FEFF spectra, kernel ridge leaves 0.209 of the variance with shells 0.25
angstrom wide and the fine power spectrum alone, 0.198 with narrow shells, 0.192 with the longer
reach, 0.182 with the neighbours' means (``experiments/surrogate``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from e3nn import o3
from torch import Tensor

from diffxas.errors import InputError
from diffxas.graph import Graph

N_GROUPS = 6
"""Groups of invariants, see :func:`group_sizes`."""


@dataclass(frozen=True)
class DescriptorConfig:
    """Sizes and reaches; lengths in angstrom.

    ``shells`` are ranges of centres (first, last, step and width). ``bond`` is the pair distance
    that counts as a bond, switched off over ``bond_width``; the soft counts serve materials with
    one kind of bond, such as carbon. ``group_weights`` are those of :func:`group_sizes`.
    """

    elements: list[str]
    radial_cutoff: float = 5.2
    shells: Sequence[tuple[float, float, float]] = (
        (1.25, 1.85, 0.05), (1.9, 2.98, 0.12), (3.0, 5.0, 0.2))
    near_cutoff: float = 3.4
    n_near: int = 8
    far_cutoff: float = 4.2
    n_far: int = 10
    l_max: int = 4
    bond: float = 1.85
    bond_width: float = 0.5
    count_width: float = 0.4
    group_weights: tuple[float, ...] = (1.0, 0.7, 0.7, 0.5, 0.7, 0.7)

    def __post_init__(self) -> None:
        if min(self.n_near, self.n_far) < 2:
            raise InputError(f"n_near and n_far must be at least 2, received {self.n_near} and "
                             f"{self.n_far}: a group counts for nothing with a weight of 0 in "
                             f"group_weights")
        if len(self.group_weights) != N_GROUPS:
            raise InputError(f"group_weights must hold {N_GROUPS} numbers, received "
                             f"{len(self.group_weights)}: shells, near, far, neighbours' near, "
                             f"own count, neighbours' counts")


COUNTS = (1.0, 2.0, 3.0, 4.0)
INNER = 1.3
"""First Gaussian of the power spectra: no two atoms of a solid are much closer, angstrom."""


def fade(r: Tensor, cutoff: float) -> Tensor:
    """1 at 0, and 0 with two derivatives at ``cutoff``; (...)."""
    u = (r / cutoff).clamp(max=1.0)
    return 1 - 10 * u**3 + 15 * u**4 - 6 * u**5


def switch(r: Tensor, middle: float, width: float) -> Tensor:
    """1 below ``middle - width / 2``, 0 above ``middle + width / 2``, two derivatives; (...)."""
    u = ((r - middle) / width + 0.5).clamp(0.0, 1.0)
    return 1 - u**3 * (10 - 15 * u + 6 * u**2)


def gaussians(r: Tensor, low: float, high: float, n: int) -> Tensor:
    """``n`` Gaussians, a step apart and a step wide, (n_edges,) -> (n_edges, n)."""
    centers = torch.linspace(low, high, n, dtype=r.dtype, device=r.device)
    return torch.exp(-0.5 * ((r[:, None] - centers) / ((high - low) / (n - 1))) ** 2)


def longest_bond(config: DescriptorConfig) -> float:
    """Distance at which the switch of a bond has faded, angstrom."""
    return config.bond + config.bond_width / 2


def shell_centers(config: DescriptorConfig) -> tuple[np.ndarray, np.ndarray]:
    """Centres and widths of the shells, each (n_shells,), angstrom."""
    centers, widths = [], []
    for first, last, step in config.shells:
        n = round((last - first) / step) + 1
        centers.append(np.linspace(first, last, n))
        widths.append(np.full(n, step))
    return np.concatenate(centers), np.concatenate(widths)


def group_sizes(config: DescriptorConfig) -> tuple[int, ...]:
    """Lengths of the groups: shells, near and far power spectrum, the near one's mean over the
    neighbours, own count, neighbours' counts."""
    n_elements = len(config.elements)
    near, far = (n * n_elements * (n * n_elements + 1) // 2 * (config.l_max + 1)
                 for n in (config.n_near, config.n_far))
    return (len(shell_centers(config)[0]) * n_elements, near, far, near, len(COUNTS), len(COUNTS))


def group_scales(config: DescriptorConfig) -> np.ndarray:
    """Weight of every component such that a group counts by its weight, not by its length."""
    return np.concatenate([np.full(n, w / np.sqrt(n)) for n, w in
                           zip(group_sizes(config), config.group_weights, strict=True)])


def describe(config: DescriptorConfig, species: Tensor, vectors: Tensor, graph: Graph) -> Tensor:
    """Invariants of every atom, (n_atoms, n_invariants).

    Parameters
    ----------
    species : (n_atoms,) int64, index into ``config.elements``
    vectors : (n_edges, 3), angstrom; ``graph`` reaches at least ``config.radial_cutoff``
    """
    r = (vectors.square().sum(1) + 1e-12).sqrt()
    n_elements = len(config.elements)

    def gather(values: Tensor, center: Tensor) -> Tensor:
        return values.new_zeros(len(species), *values.shape[1:]).index_add(0, center, values)

    def by_element(values: Tensor, neighbor: Tensor) -> Tensor:
        """(n_edges, n) -> (n_edges, n_elements * n), filed under the neighbour's element."""
        if n_elements == 1:
            return values
        mask = torch.nn.functional.one_hot(species[neighbor], n_elements).to(values.dtype)
        return (mask[:, :, None] * values[:, None, :]).flatten(1)

    reach = max(config.near_cutoff, config.far_cutoff)
    close = (r < reach).nonzero()[:, 0]
    harmonics = o3.spherical_harmonics(
        list(range(config.l_max + 1)), vectors[close] / r[close, None], normalize=False,
        normalization="component",
    )
    rows = {n: torch.triu_indices(n * n_elements, n * n_elements, device=r.device)
            for n in (config.n_near, config.n_far)}

    def power(cutoff: float, n: int) -> Tensor:
        inside = (r[close] < cutoff).nonzero()[:, 0]
        edges = close[inside]
        center, neighbor = graph.center[edges], graph.neighbor[edges]
        waves = gaussians(r[edges], INNER, cutoff - 0.3, n) * fade(r[edges], cutoff)[:, None]
        waves = by_element(waves, neighbor)
        density = gather(waves[:, :, None] * harmonics[inside][:, None, :], center)
        return torch.cat([
            (density[:, :, k * k : (k + 1) ** 2] @ density[:, :, k * k : (k + 1) ** 2].mT)
            [:, *rows[n]] / (2 * k + 1)
            for k in range(config.l_max + 1)  # k is the order l
        ], 1)

    centers, widths = (r.new_tensor(values) for values in shell_centers(config))
    shells = torch.exp(-0.5 * ((r[:, None] - centers) / widths) ** 2)
    shells = shells * fade(r, config.radial_cutoff)[:, None]
    radial = gather(by_element(shells, graph.neighbor), graph.center)
    near, far = power(config.near_cutoff, config.n_near), power(config.far_cutoff, config.n_far)

    bonded = (r < longest_bond(config)).nonzero()[:, 0]
    center, neighbor = graph.center[bonded], graph.neighbor[bonded]
    bond = switch(r[bonded], config.bond, config.bond_width)[:, None]
    count = gather(bond, center)
    kinds = torch.exp(-0.5 * ((count - count.new_tensor(COUNTS)) / config.count_width) ** 2)
    around = gather(bond * kinds[neighbor], center)
    # An atom without bonds has a mean of nothing, reached smoothly.
    beyond = gather(bond * near[neighbor], center) / (count + 0.1)
    result = torch.cat([radial, near, far, beyond, kinds, around], 1)
    assert result.shape == (len(species), sum(group_sizes(config)))
    return result
