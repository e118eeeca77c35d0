r"""What every model of a property is: structure -> a number of it, or of each of its atoms.

Every atom contributes what its surroundings say,

    y_i = o_Z(i) + s u_i(surroundings),

with o the mean of its element and s the spread of the labels, both of the training data, and u of
order one from a network (:mod:`surrogates.property_network`) or a kernel
(:mod:`surrogates.property_kernel`). A structure's value is the mean or the sum of the y_i, so a
cell twice as large has the same mean and twice the sum, or the y_i themselves are what is asked.

Each member k of an ensemble left out a share of the networks. With the errors r_j of labels by the
member that left them out, the predictions m_k of a new structure spread like m_k + r_j (the
intervals CV+ of R. F. Barber and others, Predictive inference with the jackknife+, Ann. Stat. 49,
486 (2021), section 3); the stated deviation is that of this distribution,

    d^2 = var_k m_k + mean_j r_j^2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffxas.denoiser import species_indices
from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.weights import WEIGHTS, find_model, read_config, read_tensors
from surrogates.domain import domain_features, domain_of, domain_score
from surrogates.property_data import MEAN, SUM, Target

SHIPPED = Path(__file__).parent / "weights"


@dataclass(frozen=True, eq=False)
class Estimate:
    """A prediction.

    Attributes
    ----------
    value : (n_atoms,) for a target per atom, else (1,); units of the target
    deviation : one standard deviation, the same shape; None if nothing tells it
    """

    value: np.ndarray
    deviation: np.ndarray | None


class PropertySurrogate(ABC):
    """An ensemble that predicts one number of a structure or of each atom.

    Attributes
    ----------
    name : shipped name or folder
    record : the whole ``config.json``
    target : key, per and unit
    offset : (n_members, n_elements) float64, units of the target
    scale : (n_members,) float64, units of the target
    """

    def __init__(self, name: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor],
                 n_members: int) -> None:
        self.name, self.record = name, record
        self.target = Target(**record["target"])
        self.offset = torch.stack([tensors[f"{k}.offset"] for k in range(n_members)]).double()
        self.scale = torch.stack([tensors[f"{k}.scale"] for k in range(n_members)]).double()
        self.domain = domain_of(tensors)

    @property
    def key(self) -> str:
        """Name of the target in files."""
        return self.target.key

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that structures may hold."""
        return tuple(self.record["model"]["elements"])

    @property
    def n_members(self) -> int:
        """How many models the ensemble has."""
        return len(self.scale)

    @property
    def left_out_error(self) -> float | None:
        """Rms error of labels by members that left them out; per atom for a sum."""
        value = self.record.get("left_out", {}).get("rmse")
        return None if value is None else float(value)

    @abstractmethod
    def contributions(self, positions: Tensor, structure: Structure,
                      cell: Tensor | None = None) -> Tensor:
        """u of every atom by every member, (n_members, n_atoms); differentiable."""

    @abstractmethod
    def to(self, dtype: torch.dtype) -> PropertySurrogate:
        """The same model in another precision (float64 for numeric gradients)."""

    def atoms(self, positions: Tensor, structure: Structure, cell: Tensor | None = None) -> Tensor:
        """What every atom contributes by every member, y_i, (n_members, n_atoms), float64.

        Parameters
        ----------
        positions, structure, cell : as :meth:`value` takes them
        """
        u = self.contributions(positions, structure, cell).double()
        species = species_indices(structure.symbols, self.elements, "surrogate").to(u.device)
        atoms = self.offset.to(u.device)[:, species] + self.scale.to(u.device)[:, None] * u
        assert atoms.shape == (self.n_members, len(structure))
        return atoms

    def value(self, positions: Tensor, structure: Structure, cell: Tensor | None = None) -> Tensor:
        """The property by every member, (n_members,), or (n_members, n_atoms) if it is per atom.

        float64, differentiable in positions, and in the cell where one is given.

        Parameters
        ----------
        positions : (n_atoms, 3), angstrom, of the structure's atoms
        structure : gives species, periodic directions and, by default, the cell
        cell : (3, 3), angstrom, rows are lattice vectors. Its gradient is that at fixed Cartesian
            positions; for a strain, deform both.
        """
        atoms = self.atoms(positions, structure, cell)
        if self.target.per == MEAN:
            return atoms.mean(1)
        return atoms.sum(1) if self.target.per == SUM else atoms

    def predict(self, structure: Structure) -> Estimate:
        """Mean over the members and the module's deviation."""
        with torch.no_grad():
            values = self.value(torch.tensor(structure.positions), structure).cpu().numpy()
        values = values.reshape(self.n_members, -1)
        error = self.left_out_error
        if error is None:
            spread = values.std(0, ddof=1) if self.n_members > 1 else None
            return Estimate(values.mean(0), spread)
        if self.target.per == SUM:
            error *= len(structure)
        return Estimate(values.mean(0), np.sqrt(values.var(0) + error**2))

    def domain_score(self, structure: Structure) -> np.ndarray | None:
        """How far each atom is from those of the training, (n_atoms,); above 1 is outside.

        None if the model has no domain (:mod:`surrogates.domain`).
        """
        if not self.domain:
            return None
        features = domain_features(structure, self.elements)
        score: np.ndarray = domain_score(features, self.domain).numpy()
        return score


def load_property(name: str | Path, device: str = "cpu") -> PropertySurrogate:
    """A model of a property from a folder or a shipped name.

    Raises
    ------
    InputError
        If there is none, or it is a model of something else.
    """
    from surrogates.property_kernel import KernelProperty
    from surrogates.property_network import EquivariantProperty

    folder = find_model(str(name), SHIPPED)
    record = read_config(folder, "surrogate")
    if "target" not in record:
        raise InputError(f"the model must be one of a property, received {name}, a surrogate of "
                         f"{record.get('edge')} spectra: train one with `diffxas train surrogate "
                         f"DATA --target KEY`")
    family = record.get("family")
    families: dict[Any, type[KernelProperty] | type[EquivariantProperty]] = {
        "kernel": KernelProperty, "equivariant": EquivariantProperty}
    if family not in families:
        raise InputError(f"the family of a model of a property must be {' or '.join(families)}, "
                         f"received {family!r} in {folder}: use the version that wrote it")
    label = folder.name if folder.parent == SHIPPED else str(folder)
    try:
        return families[family].from_tensors(label, record, read_tensors(folder), device)
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder / WEIGHTS} must hold the tensors that config.json describes, "
                         f"received others ({' '.join(str(error).split())[:200]}): copy the "
                         f"model's folder again") from error


def refuse_property(record: Mapping[str, Any], label: str) -> None:
    """Refuse a model of a property where one of spectra is asked.

    Raises
    ------
    InputError
        Naming what it predicts.
    """
    if "target" in record:
        raise InputError(f"the surrogate must predict spectra, received {label}, which predicts "
                         f"{record['target']['key']}: use it with `diffxas predict STRUCTURE... "
                         f"--surrogate {label}`, and give another --surrogate here")
