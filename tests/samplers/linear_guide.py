"""A guide by means over sites that are linear in the positions, for tests of calibration."""

import numpy as np
import torch
from torch import Tensor

from diffxas.structure import Structure
from samplers.guides.base import ObservedGuide

SLOPES = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.5, 0.5], [0.2, 0.0, -1.0]])
"""Values by coordinate, (n_values, 3)."""


class LinearGuide(ObservedGuide):
    """Sites show ``SLOPES @ x_i``; zero is asked, with a variance of ``variance``."""

    def __init__(self, system: Structure, variance: float = 0.01) -> None:
        self.system, self.variance, self.label = system, variance, "linear"

    def sites(self, x: Tensor) -> Tensor:
        return x @ torch.tensor(SLOPES, dtype=x.dtype).T

    def likelihood(self, values: Tensor, covariance: np.ndarray, sigma: float) -> Tensor:
        whole = torch.tensor(covariance + self.variance * np.eye(len(SLOPES)))
        return -0.5 * values @ torch.linalg.solve(whole, values)

    def at(self, system: Structure) -> "LinearGuide":
        return LinearGuide(system, self.variance)
