r"""A trained property as a guide: ``property:PATH=V``, in the units of the model's labels.

The value is the mean over the members of the ensemble. Its deviation S is the model's error of
labels left out of the training where the user gives none (:mod:`surrogates.properties`), and the
spread of the members about the structure at hand joins it. Of a property of each atom, the mean
over the atoms is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.guides.asked import Asked, split_asked
from samplers.guides.quantity import QuantityGuide
from surrogates.properties import PropertySurrogate
from surrogates.property_data import SUM

if TYPE_CHECKING:
    from samplers.setup import GenerateOptions

SHARE = 0.02
"""S of a model that states no error, as a share of the spread of its training labels."""


class PropertyGuide(QuantityGuide):
    """Log-likelihood of a property by ``model``."""

    def __init__(self, model: PropertySurrogate, request: Asked, system: Structure,
                 label: str) -> None:
        super().__init__(f"property:{model.name}", request, system, label)
        self.model = model

    def at(self, system: Structure) -> PropertyGuide:
        """See :class:`samplers.guides.base.Guide`."""
        return PropertyGuide(self.model, self.request, system, self.label)

    def sites(self, x: Tensor) -> Tensor:
        """Contributions of the atoms, whose mean is the property, (n_atoms, 1)."""
        atoms = self.model.atoms(x, self.system)
        members = atoms.mean(1)
        if self.model.target.per == SUM:
            atoms, members = atoms * len(self.system), members * len(self.system)
        self.error = float(members.detach().std(0)) if len(members) > 1 else 0.0
        return atoms.mean(0)[:, None].to(x.dtype)


def from_text(rest: str, system: Structure, options: GenerateOptions) -> PropertyGuide:
    """``PATH=V``.

    Raises
    ------
    InputError
        If there is no such model, it lacks an element, or on another form.
    """
    from surrogates.properties import load_property

    label = f"property:{rest}"
    path, value = split_asked(rest)
    if not path:
        raise InputError(f"property must name a trained model, received {label!r}: write it as "
                         f"property:PATH=V")
    model = load_property(path, options.device)
    strange = sorted(set(system.symbols) - set(model.elements))
    if strange:
        raise InputError(f"the model of {label} must know the elements that are generated, "
                         f"received {', '.join(strange)}: it knows {', '.join(model.elements)}")
    deviation = model.left_out_error or SHARE * float(model.scale.mean())
    if model.target.per == SUM:
        deviation *= len(system)
    return PropertyGuide(model, Asked.parse(value, deviation, label), system, label)
