r"""Energy per atom by a matgl potential as a guide: ``energy:FOLDER=<-7.6`` (eV).

The energies of different potentials have different zeros: ask for values of the one in FOLDER
(`diffxas relax FILE --potential matgl:FOLDER` prints them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from diffxas.errors import InputError
from diffxas.matgl_potential import MatglEnergy
from diffxas.structure import Structure
from samplers.guides.asked import Asked, split_asked
from samplers.guides.quantity import QuantityGuide

if TYPE_CHECKING:
    from samplers.setup import GenerateOptions

DEVIATION = 0.02
"""S, eV per atom."""


class EnergyGuide(QuantityGuide):
    """Log-likelihood of the energy per atom by ``model``, eV."""

    def __init__(self, model: MatglEnergy, request: Asked, system: Structure, label: str) -> None:
        super().__init__(f"energy:{model.folder}", request, system, label)
        self.model = model

    def at(self, system: Structure) -> EnergyGuide:
        """See :class:`samplers.guides.base.Guide`."""
        return EnergyGuide(self.model, self.request, system, self.label)

    def sites(self, x: Tensor) -> Tensor:
        """Energies of the atoms, (n_atoms, 1), eV."""
        return self.model(x, self.system)[:, None].to(x.dtype)


def from_text(rest: str, system: Structure, options: GenerateOptions) -> EnergyGuide:
    """``FOLDER=V``.

    Raises
    ------
    InputError
        If the folder holds no potential that knows the elements, or on another form.
    """
    label = f"energy:{rest}"
    folder, value = split_asked(rest)
    if not folder:
        raise InputError(f"energy must name the folder of a matgl potential, received {label!r}: "
                         f"write it as energy:FOLDER=<V, quoted in a shell")
    request = Asked.parse(value, DEVIATION, label)
    return EnergyGuide(MatglEnergy(folder, set(system.symbols)), request, system, label)
