"""A surrogate whose spectra are plain functions of the positions, for tests of guidance."""

import numpy as np
import torch
from torch import Tensor

from diffxas.structure import Structure
from surrogates.base import Surrogate

GRID = 274.4 + 0.40 * np.arange(100)


class PositionSurrogate(Surrogate):
    """One pi* and one sigma* peak for each atom; their heights follow x and y, their place z.

    Heights are linear in x and y (per angstrom ``slope``), so the spectrum of a mean is known.
    """

    def __init__(self, slope: float = 0.1) -> None:
        super().__init__("positions", {"model": {
            "theories": [{"name": "DFT", "energy": GRID.tolist()}],
            "absorber": "C", "edge": "K", "elements": ["C"]}})
        self.slope = slope

    def spectra(self, positions: Tensor, structure: Structure) -> Tensor:
        """See :class:`surrogates.base.Surrogate`."""
        energy = torch.tensor(GRID, dtype=positions.dtype)
        x, y, z = (positions[:, k, None] for k in range(3))
        pi = torch.exp(-0.5 * ((energy - 285.4) / 0.8) ** 2)
        edge = torch.sigmoid((energy - 291.0 - 0.2 * torch.sin(z)) / 0.8)
        tail = torch.exp(-(energy - 291.0).clamp(min=0) / 18)
        return ((0.25 + self.slope * x) * pi + (0.5 + self.slope * y) * edge * tail)[None]
