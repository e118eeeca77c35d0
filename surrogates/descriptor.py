r"""Invariants of an atomic environment, smooth and differentiable in the positions.

Neighbours of atom i are expanded in Gaussians g_n of the distance and spherical harmonics (e3nn),

    A_i,nlm = sum_j f(r_ij) g_n(r_ij) Y_lm(r_ij),     p_i,nn'l = sum_m A_nlm A_n'lm / (2l + 1),

the power spectrum of the neighbour density (A. P. Bartok, R. Kondor, G. Csanyi, On representing
chemical environments, Phys. Rev. B 87, 184115 (2013), section II, with Gaussians for its radial
functions). Beside it: the radial expansion itself with a longer reach, a soft count of bonds c_i
spread over Gaussians at 1, 2, 3 and 4 (hybridisation), and the sum of the same over bonded
neighbours. Everything fades with two derivatives at its cutoff, so there is no step when an atom
crosses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from e3nn import o3
from torch import Tensor

from diffxas.graph import Graph


@dataclass(frozen=True)
class DescriptorConfig:
    """Sizes and reaches; lengths in angstrom.

    ``bond`` is the pair distance that counts as a bond, switched off over ``bond_width``; the soft
    counts serve materials with one kind of bond, such as carbon.
    """

    elements: list[str]
    radial_cutoff: float = 5.2
    n_radial: int = 16
    angular_cutoff: float = 3.4
    n_angular: int = 6
    l_max: int = 4
    bond: float = 1.85
    bond_width: float = 0.5
    count_width: float = 0.4
    group_weights: tuple[float, float, float, float] = (1.0, 1.0, 0.7, 0.7)


COUNTS = (1.0, 2.0, 3.0, 4.0)
INNER = 1.2
"""No two atoms of a solid come closer than about this, angstrom."""


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


def group_sizes(config: DescriptorConfig) -> tuple[int, int, int, int]:
    """Lengths of the four groups: radial, power spectrum, own count, neighbours' counts."""
    n_elements = len(config.elements)
    n = config.n_angular * n_elements
    power = n * (n + 1) // 2 * (config.l_max + 1)
    return config.n_radial * n_elements, power, len(COUNTS), len(COUNTS)


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

    radial = gaussians(r, INNER, config.radial_cutoff - 0.2, config.n_radial)
    radial = radial * fade(r, config.radial_cutoff)[:, None]
    radial = gather(by_element(radial, graph.neighbor), graph.center)

    near = (r < config.angular_cutoff).nonzero()[:, 0]
    center, neighbor = graph.center[near], graph.neighbor[near]
    shells = gaussians(r[near], INNER + 0.1, config.angular_cutoff - 0.3, config.n_angular)
    shells = by_element(shells * fade(r[near], config.angular_cutoff)[:, None], neighbor)
    harmonics = o3.spherical_harmonics(
        list(range(config.l_max + 1)), vectors[near] / r[near, None], normalize=False,
        normalization="component",
    )
    density = gather(shells[:, :, None] * harmonics[:, None, :], center)
    rows, columns = torch.triu_indices(shells.shape[1], shells.shape[1], device=r.device)
    power = torch.cat([
        (density[:, :, k * k : (k + 1) ** 2] @ density[:, :, k * k : (k + 1) ** 2].mT)
        [:, rows, columns] / (2 * k + 1)
        for k in range(config.l_max + 1)  # k is the order l
    ], 1)

    bond = switch(r, config.bond, config.bond_width)[:, None]
    count = gather(bond, graph.center)
    kinds = torch.exp(-0.5 * ((count - count.new_tensor(COUNTS)) / config.count_width) ** 2)
    around = gather(bond * kinds[graph.neighbor], graph.center)
    result = torch.cat([radial, power, kinds, around], 1)
    assert result.shape == (len(species), sum(group_sizes(config)))
    return result
