"""What every surrogate is: structure -> absorption of each absorber, differentiable, by members.

The spectrum of a cell is the mean over its absorbers. Members (an ensemble) differ in what they
were fitted to; their spread, together with the error found on left-out densities, is the stated
uncertainty (:mod:`surrogates.calibration`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffxas.denoiser import species_indices
from diffxas.errors import InputError
from diffxas.structure import Structure
from surrogates.calibration import site_deviation
from surrogates.pieces import in_pieces


class Surrogate(ABC):
    """An ensemble that predicts one edge of one element.

    Attributes
    ----------
    name : shipped name or folder
    record : the whole ``config.json`` (training structures, left-out errors, licence, axis note)
    theory : which of the model's theories is predicted; its first by default
    domain : tensors of :func:`surrogates.domain.fit_domain`; empty if the weights hold none
    """

    def __init__(self, name: str, record: Mapping[str, Any], theory: int = 0) -> None:
        self.name = name
        self.record = record
        self.theory = theory
        self._label: Mapping[str, Any] = record["model"]["theories"][theory]
        self._energy = np.array(self._label["energy"], dtype=np.float64)
        self._energy.setflags(write=False)
        self.domain: Mapping[str, Tensor] = {}

    @property
    def energy(self) -> np.ndarray:
        """Energies of the predicted spectra, (n_grid,), eV."""
        return self._energy

    @property
    def element(self) -> str:
        """Symbol of the absorber."""
        return str(self._label.get("absorber") or self.record["model"]["absorber"])

    @property
    def edge(self) -> str:
        """Edge of the absorber, such as ``K``."""
        return str(self._label.get("edge") or self.record["model"]["edge"])

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

    @property
    def site_factor(self) -> np.ndarray:
        """By which left-out sites erred more than stated, (n_grid,); one if not measured."""
        value = self._left_out("site_factor")
        return np.where(value > 0, value, 1.0)

    @property
    def left_out_networks(self) -> list[Mapping[str, float]]:
        """Errors of every left-out network, ``cell_mean_mae`` among them; empty if not measured."""
        return list(self.record.get("left_out", {}).get("networks", {}).values()) \
            if self.theory == 0 else []

    def _left_out(self, key: str) -> np.ndarray:
        value = self.record.get("left_out", {}).get(key) if self.theory == 0 else None
        return np.zeros(len(self.energy)) if value is None else np.array(value)

    def guiding(self) -> Surrogate:
        """What guides a sampler: the surrogate itself, or a part that is quicker."""
        return self

    def training_mean(self) -> np.ndarray | None:
        """Mean spectrum of the training sites as the family weighs them, (n_grid,), or None."""
        return None

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

    @property
    def reach(self) -> float | None:
        """How far off an atom may still change a site's spectrum, angstrom; None if not known.

        Where it is known, large structures are predicted piece by piece.
        """
        return None

    def domain_score(self, structure: Structure,
                     sites: np.ndarray | None = None) -> np.ndarray | None:
        """How far each absorber is from the training sites, (n_absorbers,); above 1 is outside.

        None if the weights hold no domain. See :mod:`surrogates.domain`. ``sites`` as in
        :meth:`predict_sites`.
        """
        from surrogates.domain import domain_features, domain_reach, domain_score

        if not self.domain:
            return None
        wanted = self._wanted(structure, sites)
        score = np.zeros(len(wanted))
        for rows, cluster, local in in_pieces(structure, wanted, domain_reach(self.elements)):
            features = domain_features(cluster, self.elements, torch.as_tensor(local))
            score[rows] = domain_score(features, self.domain).numpy()
        return score

    @abstractmethod
    def spectra(self, positions: Tensor, structure: Structure, cell: Tensor | None = None,
                sites: Tensor | None = None) -> Tensor:
        """Spectra by every member, (n_members, n_absorbers, n_grid).

        Differentiable in positions, and in the cell where one is given.

        Parameters
        ----------
        positions : (n_atoms, 3), angstrom, of the structure's atoms
        structure : gives species, periodic directions and, by default, the cell
        cell : (3, 3), angstrom, rows are lattice vectors. Its gradient is that at fixed Cartesian
            positions; for a strain, deform both.
        sites : indices of the absorbers that are wanted, (n_absorbers,) int64, all by default; no
            model without a :attr:`reach` is asked for some
        """

    def mean_spectrum(self, positions: Tensor, structure: Structure,
                      cell: Tensor | None = None) -> Tensor:
        """Spectrum of the cell, mean over members and absorbers, (n_grid,); differentiable."""
        given = (positions, structure) if cell is None else (positions, structure, cell)
        return self.spectra(*given).mean((0, 1))

    def predict_sites(self, structure: Structure, sites: np.ndarray | None = None) -> np.ndarray:
        """Spectra of the absorbers, mean over the members, (n_absorbers, n_grid).

        Parameters
        ----------
        sites : indices of the absorbers that are wanted, all by default
        """
        wanted = self._wanted(structure, sites)
        mean = np.zeros((len(wanted), len(self.energy)))
        for rows, members in self._members(structure, wanted):
            mean[rows] = members.mean(0)
        return mean

    def predict_sites_with_uncertainty(
            self, structure: Structure, score: np.ndarray | None = None,
            sites: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean over members and one standard deviation, each (n_absorbers, n_grid).

        See :mod:`surrogates.calibration`; beyond the training domain the deviation grows with the
        distance from it, ``score`` (n_absorbers,), computed where it is not given. ``sites`` as in
        :meth:`predict_sites`.
        """
        wanted = self._wanted(structure, sites)
        score = self.domain_score(structure, wanted) if score is None else score
        mean = np.zeros((len(wanted), len(self.energy)))
        deviation = np.zeros_like(mean)
        for rows, members in self._members(structure, wanted):
            mean[rows] = members.mean(0)
            deviation[rows] = site_deviation(members, self.site_error, self.site_factor,
                                             None if score is None else score[rows])
        return mean, deviation

    def predict_members(self, structure: Structure,
                        sites: np.ndarray | None = None) -> np.ndarray:
        """Spectra by every member, (n_members, n_absorbers, n_grid); ``sites`` as elsewhere."""
        wanted = self._wanted(structure, sites)
        found: np.ndarray | None = None
        for rows, members in self._members(structure, wanted):
            if found is None:
                found = np.zeros((len(members), len(wanted), members.shape[2]))
            found[:, rows] = members
        assert found is not None, "a structure holds absorbers"
        return found

    def _wanted(self, structure: Structure, sites: np.ndarray | None) -> np.ndarray:
        """The absorbers that are asked for, in the order asked; the structure is checked."""
        absorbers = self.absorbers(structure)
        return absorbers if sites is None else np.asarray(sites, dtype=np.int64)

    def _members(self, structure: Structure,
                 wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Places in ``wanted`` and their spectra by every member, a piece at a time."""
        if self.reach is None:
            with torch.no_grad():
                spectra = self.spectra(torch.tensor(structure.positions), structure)
            rows = np.searchsorted(self.absorbers(structure), wanted)
            yield np.arange(len(wanted)), np.asarray(spectra.double().cpu())[:, rows]
            return
        for rows, cluster, local in in_pieces(structure, wanted, self.reach):
            with torch.no_grad():
                spectra = self.spectra(torch.tensor(cluster.positions), cluster,
                                       sites=torch.as_tensor(local))
            yield rows, np.asarray(spectra.double().cpu())


def placed(structure: Structure, positions: Tensor, cell: Tensor | None = None) -> Structure:
    """The structure with these positions (n_atoms, 3) and this cell (3, 3), out of torch."""
    x = positions.detach().cpu().numpy()
    if cell is None:
        return structure.with_positions(x)
    return Structure(x, structure.numbers, cell.detach().cpu().numpy(), structure.pbc)
