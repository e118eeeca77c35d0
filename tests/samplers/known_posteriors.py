"""A posterior that is known: atoms of a Gaussian mixture in space, seen by one number each.

x_0 ~ sum_k w_k N(m_k, s^2 I) in R^3, independent for every atom; y = f(x_0) + e with e ~ N(0, t^2),
f linear or |x|^2. Many atoms are many independent copies of one problem, as long as an algorithm
has no weights. Moments and laws of the posterior of the first coordinate are sums over a grid in
space; those of the linear f are checked against the formulae in ``algorithms/test_dps.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.stats import kstest
from torch import Tensor

from diffxas import noise
from diffxas.structure import Structure
from samplers.algorithms.base import Algorithm, Problem
from samplers.guides.base import Guide
from samplers.sampling import SamplingSchedule


@dataclass(frozen=True)
class Mixture:
    """The prior of an atom; a denoiser when it is called."""

    means: tuple[tuple[float, float, float], ...]
    weights: tuple[float, ...]
    width: float

    def responsibilities(self, x_t: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """How likely each component is (n_atoms, n), and its own estimate (n_atoms, n, 3)."""
        means = torch.tensor(self.means, dtype=x_t.dtype)
        away = x_t[:, None] - means
        variance = self.width**2 + sigma**2
        chance = torch.softmax(torch.tensor(self.weights, dtype=x_t.dtype).log()
                               - 0.5 * away.square().sum(-1) / variance, -1)
        return chance, means + self.width**2 / variance * away

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        chance, each = self.responsibilities(x_t, sigma)
        return (chance[..., None] * each).sum(1)

    def left(self, sigma: float) -> float:
        """Variance of x_0 given x_t and the component, a coordinate."""
        return self.width**2 * sigma**2 / (self.width**2 + sigma**2)

    def noised(self, n_atoms: int, sigma: float, number: int) -> Tensor:
        """Exact draws of x_t, (n_atoms, 3)."""
        u = noise.uniform(77, number, 0, n_atoms, stream=90)[:, 0]
        component = np.searchsorted(np.cumsum(self.weights), u)
        z = noise.normal(77, number, 0, n_atoms, stream=91)
        return torch.tensor(np.array(self.means)[component]
                            + np.hypot(self.width, sigma) * z)

    def density(self, x: np.ndarray) -> np.ndarray:
        """At places (..., 3)."""
        norm = (2 * np.pi * self.width**2) ** -1.5
        return np.sum([w * norm * np.exp(-0.5 * np.square(x - m).sum(-1) / self.width**2)
                       for w, m in zip(self.weights, np.array(self.means), strict=True)], 0)


class Seen(Guide):
    """y = f(x) + e for every atom; their log-likelihoods add.

    Parameters
    ----------
    f : (n_atoms, 3) -> (n_atoms,)
    y, error : what was seen, and the standard deviation of e
    left : noise level -> variance of f(x_0) given the estimate; None to take it for the structure
    strength : the published knob: multiplies the log-likelihood
    """

    def __init__(self, f: Callable[[Tensor], Tensor], y: float, error: float, system: Structure,
                 left: Callable[[Tensor, float], Tensor] | None = None,
                 strength: float = 1.0) -> None:
        self.f, self.y, self.error, self.system = f, y, error, system
        self.left, self.strength, self.label = left, strength, "seen"

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        variance = self.error**2 * torch.ones(len(x_0), dtype=x_0.dtype)
        if self.left is not None and sigma > 0:
            variance = variance + self.left(x_0, sigma)
        residual = self.y - self.f(x_0)
        return self.strength * (-0.5 * residual.square() / variance
                                - 0.5 * (2 * np.pi * variance).log()).sum()

    def at(self, system: Structure) -> Seen:
        return Seen(self.f, self.y, self.error, system, self.left, self.strength)


@dataclass(frozen=True)
class Toy:
    """A prior, what is seen of an atom, and the posterior of its first coordinate."""

    prior: Mixture
    f: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    y: float
    error: float

    def guide(self, n_atoms: int, strength: float = 1.0, knows_noise: bool = True) -> Seen:
        """|df/dx|^2 times the variance that the estimate leaves open joins the error's."""
        def left(x_0: Tensor, sigma: float) -> Tensor:
            return self.slope(x_0).square().sum(-1) * self.prior.left(sigma)

        return Seen(self.f, self.y, self.error, self.system(n_atoms),
                    left if knows_noise else None, strength)

    def system(self, n_atoms: int) -> Structure:
        return Structure(np.zeros((n_atoms, 3)), np.full(n_atoms, 6), 10 * np.eye(3))

    def problem(self, n_atoms: int, guide: Guide | None, schedule: SamplingSchedule,
                seed: int = 3) -> Problem:
        return Problem(self.prior, guide, schedule,
                       lambda k: self.prior.noised(n_atoms, schedule.levels()[0], k), seed)

    @cached_property
    def grid(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Places along one coordinate, the posterior's marginal there, and ln p(y)."""
        line = np.linspace(-2.4, 2.4, 97)
        x = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
        seen = self.f(torch.tensor(x.reshape(-1, 3))).numpy().reshape(x.shape[:-1])
        likelihood = (np.exp(-0.5 * ((self.y - seen) / self.error) ** 2)
                      / np.sqrt(2 * np.pi * self.error**2))
        joint = (self.prior.density(x) * likelihood).sum((1, 2)) * (line[1] - line[0]) ** 3
        return line, joint / joint.sum(), float(np.log(joint.sum()))

    @property
    def log_evidence(self) -> float:
        return self.grid[2]

    @property
    def mean(self) -> float:
        line, p, _ = self.grid
        return float(line @ p)

    @property
    def std(self) -> float:
        line, p, _ = self.grid
        return float(np.sqrt((line - self.mean) ** 2 @ p))

    def law(self, x: np.ndarray) -> np.ndarray:
        """Distribution function of the posterior's first coordinate."""
        line, p, _ = self.grid
        return np.interp(x, line + 0.5 * (line[1] - line[0]), np.cumsum(p))

    def right(self) -> float:
        """Share of the posterior at positive first coordinates."""
        return 1.0 - float(self.law(np.array(0.0)))

    def misfit(self, x: np.ndarray) -> float:
        """The distance of Kolmogorov and Smirnov."""
        return float(kstest(x, self.law).statistic)


def along(x: Tensor) -> Tensor:
    """A linear observation, unlike any axis."""
    return x @ torch.tensor((0.8, 0.6, 0.0), dtype=x.dtype)


def along_slope(x: Tensor) -> Tensor:
    return torch.tensor((0.8, 0.6, 0.0), dtype=x.dtype).expand(x.shape)


def square(x: Tensor) -> Tensor:
    """A non-linear one."""
    return x.square().sum(-1)


def square_slope(x: Tensor) -> Tensor:
    return 2 * x


LONG = SamplingSchedule(sigma_max=6.0, bond_high=0.9, bond_low=0.1, bond_share=0.5)
"""From where the wells are not seen, so that a walk may begin at the prior's own start."""
ONE_WELL = Mixture(((0.1, 0.0, 0.0),), (1.0,), 0.4)
TWO_WELLS = Mixture(((-0.7, 0.0, 0.0), (0.6, 0.3, 0.0)), (0.6, 0.4), 0.25)
LINE = Toy(ONE_WELL, along, along_slope, 0.7, 0.3)
LINE_WELLS = Toy(TWO_WELLS, along, along_slope, 0.2, 0.35)
SQUARE_WELLS = Toy(TWO_WELLS, square, square_slope, 0.45, 0.15)
N_ATOMS = 6000
KS_LIMIT = 0.021
"""Of 6,000 draws that follow a law one in a hundred is farther from it."""
TOYS = {"line": LINE, "line_wells": LINE_WELLS, "square_wells": SQUARE_WELLS}


def ends(algorithm: Algorithm, toy: Toy, guide: Seen | None,
         schedule: SamplingSchedule = LONG) -> np.ndarray:
    """First coordinates of all atoms, each a problem of its own."""
    drawn = algorithm.draw(toy.problem(N_ATOMS, guide, schedule), 0)
    assert drawn.calls == schedule.calls
    return drawn.positions[:, 0].numpy()
