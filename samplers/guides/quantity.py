r"""A number of a structure as a guide: energy per atom, pressure, a property.

A quantity is a mean over atoms, q = 1/N sum_i q_i, where its model says what the atoms contribute,
and one number otherwise. The likelihood of what is asked is :mod:`samplers.guides.asked`'s, with
what the model itself errs by added to S^2, and the error of denoised estimates as their calibration
finds it. As for shares of atoms, the cell itself is meant: no scatter of finite cells is added.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from diffxas.structure import Structure
from samplers.guides.asked import Asked, AskedGuide
from samplers.guides.base import N_REFERENCE, ObservedGuide


class QuantityGuide(AskedGuide, ObservedGuide):
    """Log-likelihood of one number.

    Attributes
    ----------
    name : of the quantity, the same in all guides that mean it
    request : what is asked
    error : of the model, one standard deviation
    """

    name: str
    request: Asked
    error: float = 0.0

    def __init__(self, name: str, request: Asked, system: Structure, label: str) -> None:
        self.name, self.request, self.system, self.label = name, request, system, label
        self.requests = {name: request}

    @abstractmethod
    def sites(self, x: Tensor) -> Tensor:
        """Contributions of the atoms, (n_atoms, 1), or (1, 1)."""

    def likelihood(self, values: Tensor, covariance: np.ndarray, sigma: float) -> Tensor:
        """See :class:`samplers.guides.base.ObservedGuide`."""
        own = float(covariance[0, 0])
        if self.calibration is not None:
            own = max(0.0, own - float(self.calibration.finite_cell[0, 0]))
        share = N_REFERENCE / len(self.system)
        return self.request.log_likelihood(values[0], share * self.error**2 + own, share)

    def reached(self, structure: Structure) -> Mapping[str, float]:
        """The number, and its log-likelihood."""
        guide = self.at(structure)
        assert isinstance(guide, QuantityGuide)
        with torch.no_grad():
            values = guide.sites(torch.tensor(structure.positions)).mean(0)
        likelihood = guide.likelihood(values, np.zeros((1, 1)), 0.0)
        return {self.name: float(values[0]), "log_likelihood": float(likelihood)}
