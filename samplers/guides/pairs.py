r"""Curves that are sums over pairs of atoms: what ``pdf:`` and ``sq:`` share.

Distances from every atom i to the atoms of element b, all periodic images, are spread with the
cubic B-spline M over points m h,

    n_ib(m) = sum_(j of b) M(|r_ij| / h - m),

which keeps their number, moves no mean distance, adds h^2 / 3 to the variance and has two
continuous derivatives. A curve is linear in it: with a the element of i,

    v_i = sum_b sum_m n_ib(m) A_ab(m) + v_uniform,        v = 1/N sum_i v_i.

The likelihood of an asked curve y is Gaussian, v ~ N(y, (N_REFERENCE / N) C + S / N + C_sigma),
with C the noise of what was asked and the others from :mod:`samplers.calibration`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffxas.graph import Graph, build_graph
from diffxas.structure import Structure
from samplers.guides.base import N_REFERENCE, ObservedGuide

SPACING = 0.025
"""h, angstrom."""
SKIN = 0.6
"""Angstrom: a list of pairs reaches so far beyond the cutoff that it holds for several calls."""
SHARE_OF_CELL = 0.7
"""Distances up to this share of the shortest height of the cell are compared: at the height an
atom meets its own images."""


@dataclass(frozen=True, eq=False)
class PairMap:
    """A of the module's docstring.

    Attributes
    ----------
    by_elements : (n_elements, n_elements, n_points, n_values), A_ab(m)
    uniform : (n_values,), v_uniform
    cutoff : angstrom, of the pairs
    """

    by_elements: np.ndarray
    uniform: np.ndarray
    cutoff: float


def fine_grid(cutoff: float) -> np.ndarray:
    """Points m h that pairs within ``cutoff`` (angstrom) reach, (n_points,), angstrom."""
    return SPACING * np.arange(int(np.ceil(cutoff / SPACING)) + 3)


def elements_of(system: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers that occur, rising, and the index of every atom's, (n_atoms,)."""
    numbers, index = np.unique(system.numbers, return_inverse=True)
    return numbers, index


def shortest_height(system: Structure) -> float:
    """Shortest distance between opposite faces of the cell, angstrom."""
    return float(1 / np.linalg.norm(np.linalg.inv(system.cell), axis=0).max())


def spread(distance: Tensor, graph: Graph, element: Tensor, n_elements: int,
           n_points: int) -> Tensor:
    """n_ib(m) of the module's docstring, (n_atoms, n_elements, n_points); differentiable.

    Parameters
    ----------
    distance : (n_edges,), angstrom
    graph : every pair once
    element : (n_atoms,) int64
    """
    u = distance / SPACING
    first = u.detach().floor()
    t = u - first
    weights = torch.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4,
                           -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    point = (first.long() - 1)[:, None] + torch.arange(4, device=distance.device)
    flat = torch.zeros(graph.n_atoms * n_elements * n_points, dtype=distance.dtype,
                       device=distance.device)
    for one, other in ((graph.center, graph.neighbor), (graph.neighbor, graph.center)):
        row = one * n_elements + element[other]
        flat = flat.index_add(0, (row[:, None] * n_points + point).reshape(-1),
                              weights.reshape(-1))
    return flat.reshape(graph.n_atoms, n_elements, n_points)


class PairGuide(ObservedGuide):
    """Log-likelihood of an asked curve.

    Parameters
    ----------
    system : species and cell
    label : as the user wrote it
    grid : (n_values,), where curves are compared
    asked_values : (n_values,), y
    deviation : (n_values,), one standard deviation of y
    correlation : on the grid, length of the noise's correlation
    pair_map : A
    path : of the file
    """

    def __init__(self, system: Structure, label: str, grid: np.ndarray, asked_values: np.ndarray,
                 deviation: np.ndarray, correlation: float, pair_map: PairMap, path: str) -> None:
        self.system, self.label, self.path = system, label, path
        self.grid, self.asked_values = grid, asked_values
        self.deviation, self.correlation = deviation, correlation
        self.pair_map = pair_map
        numbers, index = elements_of(system)
        self._n_elements = len(numbers)
        self._element = torch.as_tensor(index, dtype=torch.long)
        self._pairs: tuple[np.ndarray, Graph] | None = None
        self._factor: tuple[bytes, np.ndarray] | None = None

    @abstractmethod
    def at(self, system: Structure) -> PairGuide:
        """See :class:`samplers.guides.base.Guide`."""

    @property
    @abstractmethod
    def quantity(self) -> str:
        """What the curve is, such as ``g(r)``."""

    def sites(self, x: Tensor) -> Tensor:
        """Curves of the atoms, (n_atoms, n_values); see :class:`ObservedGuide`."""
        graph = self._graph(x)
        square = graph.vectors(x).square().sum(1)
        found = square.detach()
        near = ((found > SPACING**2) & (found < self.pair_map.cutoff**2)).nonzero().squeeze(1)
        graph, distance = graph.subset(near), square[near].sqrt()
        element = self._element.to(x.device)
        table = torch.as_tensor(self.pair_map.by_elements, dtype=x.dtype, device=x.device)
        counts = spread(distance, graph, element, self._n_elements, table.shape[2])
        curves = torch.zeros(len(x), table.shape[3], dtype=x.dtype, device=x.device)
        for a in range(self._n_elements):
            rows = (element == a).nonzero().squeeze(1)
            curves = curves.index_add(0, rows, torch.einsum("nbm,bmv->nv", counts[rows], table[a]))
        return curves + torch.as_tensor(self.pair_map.uniform, dtype=x.dtype, device=x.device)

    def _graph(self, x: Tensor) -> Graph:
        """Every pair within the cutoff and somewhat beyond once; anew when atoms moved far."""
        positions = x.detach().double().cpu().numpy()
        if self._pairs is not None:
            seen, graph = self._pairs
            same = graph.shift.dtype == x.dtype and graph.shift.device == x.device
            if same and np.square(positions - seen).sum(1).max() < (SKIN / 2) ** 2:
                return graph
        graph = build_graph(self.system.with_positions(positions), self.pair_map.cutoff + SKIN,
                            dtype=x.dtype, device=x.device)
        h, k, m = graph.shift.T
        upward = (h > 0) | ((h == 0) & ((k > 0) | ((k == 0) & (m > 0))))
        once = (graph.center < graph.neighbor) | ((graph.center == graph.neighbor) & upward)
        graph = graph.subset(once.nonzero().squeeze(1))
        self._pairs = positions, graph
        return graph

    @property
    def own_covariance(self) -> np.ndarray:
        """C of the module's docstring, (n_values, n_values)."""
        apart = (self.grid[:, None] - self.grid) / self.correlation
        shape = 0.9 * np.exp(-0.5 * apart**2) + 0.1 * np.eye(len(self.grid))
        return np.asarray(self.deviation[:, None] * self.deviation * shape)

    def likelihood(self, values: Tensor, covariance: np.ndarray, sigma: float) -> Tensor:
        """See :class:`samplers.guides.base.ObservedGuide`."""
        whitener = torch.as_tensor(self._whitener(covariance), dtype=values.dtype,
                                   device=values.device)
        asked = torch.as_tensor(self.asked_values, dtype=values.dtype, device=values.device)
        return -0.5 * (whitener @ (values - asked)).square().sum()

    def _whitener(self, covariance: np.ndarray) -> np.ndarray:
        """L^-1 with L L^T the whole covariance, (n_values, n_values); kept for the next call."""
        key = np.ascontiguousarray(covariance).tobytes()
        if self._factor is None or self._factor[0] != key:
            whole = N_REFERENCE / len(self.system) * self.own_covariance + covariance
            self._factor = key, np.linalg.inv(np.linalg.cholesky(whole))
        return self._factor[1]

    def curve(self, structure: Structure) -> np.ndarray:
        """What a structure has on the grid, (n_values,)."""
        with torch.no_grad():
            return self.sites(torch.tensor(structure.positions)).mean(0).double().cpu().numpy()

    @property
    def asked(self) -> Mapping[str, Any]:
        """The file, the range, and what :meth:`reached` counts."""
        return {"rms": 0.0, "target": self.path, "quantity": self.quantity,
                "range": [float(self.grid[0]), float(self.grid[-1])],
                **self.counted(self.asked_values)}

    def reached(self, structure: Structure) -> Mapping[str, float]:
        """Rms difference over the range, counted things and log-likelihood."""
        found = self.curve(structure)
        return {"rms": float(np.sqrt(np.mean((found - self.asked_values) ** 2))),
                **self.counted(found), **super().reached(structure)}

    @abstractmethod
    def counted(self, values: np.ndarray) -> dict[str, float]:
        """Numbers that a reader knows of a curve (n_values,), such as neighbours."""

    def distance(self, structure: Structure) -> float:
        """Rms over the grid of the difference, in its standard deviations."""
        return super().distance(structure) / float(np.sqrt(len(self.grid)))
