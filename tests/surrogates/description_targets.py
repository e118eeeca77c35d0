"""Spectra of the DFT cells as targets to describe."""

from functools import cache

import numpy as np
import pytest

from diffxas.spectrum import Spectrum
from surrogates.description import DEFAULT as MODEL
from surrogates.description import SHIPPED
from surrogates.mixtures import CellSites, cell_sites

needs_model = pytest.mark.skipif(not (SHIPPED / MODEL / "config.json").is_file(),
                                 reason=f"needs the shipped model {MODEL}")
ENERGY = 274.4 + 0.4 * np.arange(100)


@cache
def dft_spectrum(density: float) -> tuple[Spectrum, CellSites]:
    """The mean spectrum of a DFT cell of that density, and the cell counted."""
    from experiments.common import dft_cells, dft_means

    cell = next(s for s in dft_cells() if abs(s.density - density) < 0.1)
    mean = dft_means()[str(cell.info["name"])]
    return Spectrum(ENERGY, mean, "C", "K"), cell_sites(cell, np.zeros((len(cell), 1)))


def shifted(target: Spectrum, shift: float, scale: float) -> Spectrum:
    """The same on the points of a measurement, moved along and scaled."""
    energy = np.arange(274.5, 313.5, 0.2)
    return Spectrum(energy, scale * np.interp(energy, target.energy + shift, target.mu), "C", "K")
