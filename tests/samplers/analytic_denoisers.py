"""Distributions whose denoiser E[x_0 | x_t] is known; every coordinate is independent."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GaussianDenoiser:
    """Of x_0 ~ N(mean, width^2): the mean of the product of two Gaussians."""

    mean: float
    width: float

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        known = self.width**2 / (self.width**2 + sigma**2)
        return self.mean + known * (x_t - self.mean)


@dataclass(frozen=True)
class MixtureDenoiser:
    """Of x_0 ~ sum_k weights_k N(means_k, width^2): Gaussians weighed by how likely each is."""

    means: tuple[float, ...]
    weights: tuple[float, ...]
    width: float

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        means = torch.tensor(self.means, dtype=x_t.dtype)
        variance = self.width**2 + sigma**2
        distance = x_t[..., None] - means
        chance = torch.softmax(torch.tensor(self.weights, dtype=x_t.dtype).log()
                               - 0.5 * distance**2 / variance, -1)
        return (chance * (means + self.width**2 / variance * distance)).sum(-1)
