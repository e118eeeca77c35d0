r"""What a network is told of a chemical element: free numbers and tabulated ones.

    s(Z) = t_Z + B silu(A d(Z) + a) + b

with d the descriptors of the element (group, row, electronegativity, radii, ionisation energy,
valence electrons, ...) and t a table that is learned. Elements that are rare in the data lean on
their descriptors, and so on their neighbours in the periodic table; common ones learn what the
descriptors miss. The descriptors are stored with the weights, scaled to mean 0 and spread 1 over
the model's elements, so that another version of the tables changes no prediction.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

N_DESCRIPTORS = 17
HIDDEN = 32
TABLE_SPREAD = 0.3
"""Standard deviation of the free numbers before training; the descriptors' share is larger."""


def element_descriptors(symbol: str) -> list[float]:
    """Tabulated properties of an element (pymatgen's tables), :data:`N_DESCRIPTORS` numbers.

    Group, row, Pauling's electronegativity, atomic radius and mean ionic radius (angstrom), first
    ionisation energy and electron affinity (eV), atomic number, one of four blocks, electrons in
    the outer s, p, d and f shells, highest common oxidation state. What a table leaves out takes a
    middling value.
    """
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases have no electronegativity
        element = Element(symbol)
        negativity = float(element.X)
        radius = float(element.atomic_radius or 1.5)
        ionic = float(element.average_ionic_radius or 1.0)
        ionisation = float(element.ionization_energy or 8.0)
        affinity = float(element.electron_affinity or 0.0)
    shells = element.full_electronic_structure
    outer = max(n for n, _, _ in shells)
    wanted = {"s": outer, "p": outer, "d": outer - 1, "f": outer - 2}
    valence = [sum(count for n, kind, count in shells if (n, kind) == (number, shell))
               for shell, number in wanted.items()]
    return [
        element.group, element.row, negativity if np.isfinite(negativity) else 1.8, radius, ionic,
        ionisation, affinity, element.Z, *(float(element.block == block) for block in "spdf"),
        *map(float, valence), max(element.common_oxidation_states, default=0),
    ]


class ElementEmbedding(nn.Module):
    """Scalars of every atom from its element, (n_atoms,) int64 -> (n_atoms, n_scalars)."""

    descriptors: Tensor

    def __init__(self, n_elements: int, n_scalars: int) -> None:
        super().__init__()
        self.table = nn.Embedding(n_elements, n_scalars)
        self.first = nn.Linear(N_DESCRIPTORS, HIDDEN)
        self.second = nn.Linear(HIDDEN, n_scalars)
        self.register_buffer("descriptors", torch.zeros(n_elements, N_DESCRIPTORS))
        with torch.no_grad():
            self.table.weight.mul_(TABLE_SPREAD)

    def set_elements(self, elements: Sequence[str]) -> None:
        """Fill in the descriptors of the model's elements, in their order."""
        raw = np.array([element_descriptors(symbol) for symbol in elements])
        spread = raw.std(0)
        self.descriptors.copy_(torch.as_tensor(
            (raw - raw.mean(0)) / np.where(spread > 0, spread, 1.0)))

    def forward(self, species: Tensor) -> Tensor:
        """See the module's equation."""
        every = self.table.weight + self.second(silu(self.first(self.descriptors)))
        scalars: Tensor = every[species]
        assert scalars.shape == (len(species), every.shape[1])
        return scalars
