r"""Pressure as a guide: ``pressure=0:5``, ``pressure:FOLDER=2+-1`` (GPa, compression above 0).

    P = -(1 / 3 V) dE / d(strain),        x -> (1 + strain) x, cell -> (1 + strain) cell,

for the atoms as they are, at rest. By a matgl potential in FOLDER it has a gradient in the
positions; without FOLDER the potential that relaxes computes it (``--potential``, or the default
one of the elements), which has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffxas.errors import InputError
from diffxas.matgl_potential import MatglEnergy
from diffxas.minimisers import EV_PER_A3_IN_GPA
from diffxas.potentials import Potential
from diffxas.structure import Structure
from samplers.guides.asked import Asked, split_asked
from samplers.guides.quantity import QuantityGuide

if TYPE_CHECKING:
    from samplers.setup import GenerateOptions

DEVIATION = 1.0
"""S, GPa."""
MOST = 1e5
"""GPa, of atoms so near to each other that a potential fails."""


class MatglPressureGuide(QuantityGuide):
    """Log-likelihood of the pressure by a matgl potential."""

    def __init__(self, model: MatglEnergy, request: Asked, system: Structure, label: str) -> None:
        super().__init__(f"pressure:{model.folder}", request, system, label)
        self.model = model

    def at(self, system: Structure) -> MatglPressureGuide:
        """See :class:`samplers.guides.base.Guide`."""
        return MatglPressureGuide(self.model, self.request, system, self.label)

    def sites(self, x: Tensor) -> Tensor:
        """The pressure, (1, 1), GPa."""
        wanted = torch.is_grad_enabled() and x.requires_grad
        with torch.enable_grad():
            swelling = torch.zeros((), dtype=x.dtype, device=x.device, requires_grad=True)
            cell = torch.as_tensor(self.system.cell.copy(), dtype=x.dtype, device=x.device)
            energy = self.model((1 + swelling) * x, self.system, (1 + swelling) * cell).sum()
            (slope,) = torch.autograd.grad(energy, swelling, create_graph=wanted)
        pressure = -slope / (3 * self.system.volume) * EV_PER_A3_IN_GPA
        return pressure.reshape(1, 1)


class PressureGuide(QuantityGuide):
    """Log-likelihood of the pressure by any potential, without gradient."""

    differentiable = False

    def __init__(self, model: Potential, request: Asked, system: Structure, label: str) -> None:
        super().__init__("pressure", request, system, label)
        self.model = model

    def at(self, system: Structure) -> PressureGuide:
        """See :class:`samplers.guides.base.Guide`."""
        return PressureGuide(self.model, self.request, system, self.label)

    def sites(self, x: Tensor) -> Tensor:
        """The pressure, (1, 1), GPa."""
        placed = self.system.with_positions(x.detach().cpu().double().numpy()).wrapped()
        pressure = float(np.nan_to_num(self.model.evaluate(placed).pressure_gpa, nan=MOST,
                                       posinf=MOST, neginf=-MOST))
        return torch.full((1, 1), pressure, dtype=x.dtype, device=x.device)


def from_text(rest: str, system: Structure,
              options: GenerateOptions) -> MatglPressureGuide | PressureGuide:
    """``=V`` or ``FOLDER=V``.

    Raises
    ------
    InputError
        If there is no potential for the elements, the cell is not periodic, or on another form.
    """
    from diffxas.default_potential import default_potential
    from diffxas.potentials import check_potential, potential

    folder, value = split_asked(rest)
    label = f"pressure{':' if folder else ''}{rest}"
    request = Asked.parse(value, DEVIATION, label)
    if not system.pbc.all():
        raise InputError(f"a pressure must be asked of a cell that is periodic in three "
                         f"directions, received pbc {system.pbc.tolist()}: leave {label} out")
    elements = set(system.symbols)
    if folder:
        return MatglPressureGuide(MatglEnergy(folder, elements), request, system, label)
    name = options.potential or default_potential(elements)
    check_potential(name, elements)
    return PressureGuide(potential(name, elements), request, system, label)
