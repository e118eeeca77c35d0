"""What every surrogate is: structure -> absorption of each absorber, differentiable, by members.

The spectrum of a cell is the mean over its absorbers. Members (an ensemble) differ in what they
were fitted to; their spread, together with the error found on left-out densities, is the stated
uncertainty.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffxas.denoiser import species_indices
from diffxas.errors import InputError
from diffxas.structure import Structure


class Surrogate(ABC):
    """An ensemble that predicts one edge of one element.

    Attributes
    ----------
    name : shipped name or folder
    record : the whole ``config.json`` (training structures, left-out errors, licence, axis note)
    """

    def __init__(self, name: str, record: Mapping[str, Any]) -> None:
        self.name = name
        self.record = record
        model = record["model"]
        self._energy = np.array(model["theories"][0]["energy"], dtype=np.float64)
        self._energy.setflags(write=False)

    @property
    def energy(self) -> np.ndarray:
        """Energies of the predicted spectra, (n_grid,), eV."""
        return self._energy

    @property
    def element(self) -> str:
        """Symbol of the absorber."""
        return str(self.record["model"]["absorber"])

    @property
    def edge(self) -> str:
        """Edge of the absorber, such as ``K``."""
        return str(self.record["model"]["edge"])

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that structures may hold."""
        return tuple(self.record["model"]["elements"])

    @property
    def site_error(self) -> np.ndarray:
        """Rms error of a site's spectrum on left-out densities, (n_grid,); zero if not measured."""
        return self._left_out("site_error")

    @property
    def mean_error(self) -> np.ndarray:
        """Rms error of a cell's mean spectrum on left-out densities, (n_grid,); zero if unknown."""
        return self._left_out("mean_error")

    def _left_out(self, key: str) -> np.ndarray:
        value = self.record.get("left_out", {}).get(key)
        return np.zeros(len(self.energy)) if value is None else np.array(value)

    def absorbers(self, structure: Structure) -> np.ndarray:
        """Indices of the absorbing atoms, (n_absorbers,).

        Raises
        ------
        InputError
            If the structure holds none, or holds an element that the surrogate does not know.
        """
        symbols = structure.symbols
        species_indices(symbols, self.elements, "surrogate")
        sites = np.flatnonzero(np.array(symbols) == self.element)
        if not len(sites):
            raise InputError(f"a structure must hold {self.element}, the absorber of {self.name}, "
                             f"received {structure.formula}: choose another structure or --edge")
        return sites

    @abstractmethod
    def spectra(self, positions: Tensor, structure: Structure) -> Tensor:
        """Spectra by every member, (n_members, n_absorbers, n_grid); differentiable in positions.

        ``structure`` gives species and cell; ``positions`` (n_atoms, 3), angstrom, its atoms.
        """

    def mean_spectrum(self, positions: Tensor, structure: Structure) -> Tensor:
        """Spectrum of the cell, mean over members and absorbers, (n_grid,); differentiable."""
        return self.spectra(positions, structure).mean((0, 1))

    def predict_sites(self, structure: Structure) -> np.ndarray:
        """Spectra of the absorbers, mean over the members, (n_absorbers, n_grid)."""
        return self.predict_sites_with_uncertainty(structure)[0]

    def predict_sites_with_uncertainty(self, structure: Structure) -> tuple[np.ndarray, np.ndarray]:
        """Mean over members and one standard deviation, each (n_absorbers, n_grid).

        The deviation joins the spread of the members and the rms error on left-out densities.
        """
        self.absorbers(structure)
        with torch.no_grad():
            spectra = self.spectra(torch.tensor(structure.positions), structure).double().cpu()
        spread = spectra.std(0) if len(spectra) > 1 else torch.zeros_like(spectra[0])
        deviation = np.sqrt(spread.numpy() ** 2 + self.site_error**2)
        return spectra.mean(0).numpy(), deviation
