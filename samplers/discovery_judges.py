r"""What a structure has of what was asked, by the guide itself and by a model that did not guide.

A distance is in the deviations S that were asked for. Of values v_k with the distance d from what
is asked (:mod:`samplers.guides.asked`), and an own error e of the model that looks,

    D^2 = sum_k d(v_k)^2 / (S_k^2 + e_k^2),

without the factor N_REFERENCE / N by which a guide's weight grows with the cell: a large cell is
not further from what was asked. Guides of another kind say their distance themselves. A value is
reached within REACH deviations, and a spectrum where ``generate`` would call it so: with a residual
of at most OUT_OF_REACH of the target's own standard deviation.

Coordination numbers, distances and pair distributions are counted on the structure, which needs no
second model. A spectrum is judged as in ``generate`` (:mod:`samplers.judges`), or by another
shipped surrogate of the edge; a property by the model that is named, if it has the same key.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.guides.asked import Asked, AskedGuide, split_asked
from samplers.guides.base import Guide
from samplers.guides.spectrum import SpectrumGuide
from samplers.outputs import OUT_OF_REACH
from samplers.target import Target
from surrogates.base import Surrogate
from surrogates.properties import PropertySurrogate

REACH = 3.0
"""Deviations within which what was asked is reached."""
COUNTED = ("coordination", "distance", "pdf", "sq")
"""Kinds of guides whose :meth:`~samplers.guides.base.Guide.reached` uses no model."""


@dataclass(frozen=True)
class Achieved:
    """What a structure has.

    Attributes
    ----------
    values : under the names of :func:`names_of`
    distance : D of the module's text
    reached : whether that is what was asked
    """

    values: Mapping[str, float]
    distance: float
    reached: bool


def kind_of(guide: Guide) -> str:
    """Such as ``coordination``."""
    return guide.label.split("=")[0].split(":")[0]


def names_of(guide: Guide) -> dict[str, Any]:
    """Name of every number that is compared -> what is asked of it.

    Names of values mean one thing in all guides; others get the guide's label before them.
    """
    if isinstance(guide, AskedGuide):
        return dict(guide.asked)
    found = {f"{guide.label} {key}": value for key, value in guide.asked.items()
             if isinstance(value, int | float)}
    return found or {f"{guide.label} log_likelihood": None}


def achieved(guide: Guide, structure: Structure) -> Achieved:
    """What a structure has, as the guide itself sees it."""
    found = guide.reached(structure)
    if isinstance(guide, AskedGuide) and set(guide.requests) <= set(found):
        return of_values(guide.requests, {name: float(found[name]) for name in guide.requests})
    values = {name: float(found.get(name.removeprefix(f"{guide.label} "), math.nan))
              for name in names_of(guide)}
    distance = _finite(guide.distance(structure))
    if isinstance(guide, SpectrumGuide):
        return Achieved(values, distance, _fits(found["residual"], guide.target))
    return Achieved(values, distance, distance <= REACH)


def of_values(requests: Mapping[str, Asked], values: Mapping[str, float],
              errors: Mapping[str, float] | None = None) -> Achieved:
    """Values against what is asked of them; ``errors`` are those of the model that looks."""
    away = [one.distance(values[name]) / math.hypot(one.deviation, (errors or {}).get(name, 0.0))
            for name, one in requests.items()]
    return Achieved(dict(values), _finite(math.hypot(*away)), all(d <= REACH for d in away))


def _fits(residual: float, target: Target) -> bool:
    return residual <= OUT_OF_REACH * target.spread


def _finite(distance: float) -> float:
    return distance if math.isfinite(distance) else math.inf


class Judge(ABC):
    """Looks at structures with something that did not guide.

    Attributes
    ----------
    name : for tables
    """

    name: str

    @abstractmethod
    def knows(self, guide: Guide) -> bool:
        """Whether it can say something of what the guide asks."""

    @abstractmethod
    def look(self, guide: Guide, structure: Structure) -> Achieved:
        """What a structure has of what a guide asks, under the guide's names."""


class Count(Judge):
    """Numbers that are counted on the structure."""

    name = "counted"

    def knows(self, guide: Guide) -> bool:
        """See :class:`Judge`."""
        return kind_of(guide) in COUNTED

    def look(self, guide: Guide, structure: Structure) -> Achieved:
        """See :class:`Judge`."""
        return achieved(guide, structure)


class SpectrumJudge(Judge):
    """A surrogate of spectra that did not guide."""

    def __init__(self, surrogate: Surrogate, name: str) -> None:
        self.surrogate, self.name = surrogate, name
        self._target: tuple[SpectrumGuide, Target] | None = None

    def knows(self, guide: Guide) -> bool:
        """See :class:`Judge`."""
        return isinstance(guide, SpectrumGuide) and (
            guide.surrogate.element, guide.surrogate.edge) == (
            self.surrogate.element, self.surrogate.edge)

    def look(self, guide: Guide, structure: Structure) -> Achieved:
        """See :class:`Judge`; the distance is the residual over what would still be a fit."""
        assert isinstance(guide, SpectrumGuide)
        if self._target is None or self._target[0] is not guide:
            self._target = guide, Target.of(guide.target.spectrum, self.surrogate,
                                            guide.target.kind)
        target = self._target[1]
        mean = self.surrogate.predict_sites(structure).mean(0)
        residual = float(target.residual(target.observation.fit(mean)))
        return Achieved({f"{guide.label} residual": residual},
                        _finite(REACH * residual / (OUT_OF_REACH * target.spread)),
                        _fits(residual, target))


class PropertyJudge(Judge):
    """A model of a property that did not guide."""

    def __init__(self, model: PropertySurrogate, name: str) -> None:
        self.model, self.name = model, name

    def knows(self, guide: Guide) -> bool:
        """See :class:`Judge`; a guide is known by the key of its own model."""
        from surrogates.property_prediction import record_of_property

        if not isinstance(guide, AskedGuide) or kind_of(guide) != "property":
            return False
        record = record_of_property(property_path(guide))
        return record is not None and record["target"]["key"] == self.model.key

    def look(self, guide: Guide, structure: Structure) -> Achieved:
        """See :class:`Judge`; of a property per atom, the mean over the atoms."""
        assert isinstance(guide, AskedGuide)
        estimate = self.model.predict(structure)
        name = next(iter(guide.requests))
        errors = {} if estimate.deviation is None else {name: float(estimate.deviation.mean())}
        return of_values(guide.requests, {name: float(estimate.value.mean())}, errors)


def property_path(guide: Guide) -> str:
    """The model of ``property:PATH=V``."""
    return split_asked(guide.label.partition(":")[2])[0]


def named_judge(name: str, device: str) -> Judge:
    """The judge that a config names: a surrogate of spectra or a model of a property.

    Raises
    ------
    InputError
        If it is neither.
    """
    from surrogates.loading import load_surrogate
    from surrogates.properties import load_property
    from surrogates.property_prediction import record_of_property

    if record_of_property(name) is not None:
        return PropertyJudge(load_property(name, device), name)
    return SpectrumJudge(load_surrogate(name, device), name)


def second_surrogate(guide: SpectrumGuide, density: float, device: str) -> SpectrumJudge | None:
    """The judge of :mod:`samplers.judges`, or another shipped surrogate of the edge, or None."""
    from diffxas.weights import read_config, shipped_names
    from samplers.judges import find_judge
    from surrogates.loading import SHIPPED, load_surrogate, model_edges

    name, edge = guide.surrogate.name, f"{guide.surrogate.element}:{guide.surrogate.edge}"
    judge = find_judge(None, load_surrogate(name, device, edge), density, device)
    if judge is not None:
        return SpectrumJudge(judge, judge.name)
    others = [one for one in shipped_names(SHIPPED)
              if one != name and edge in model_edges(read_config(SHIPPED / one))]
    return SpectrumJudge(load_surrogate(others[0], device, edge), others[0]) if others else None


def choose_judges(guides: Sequence[Guide], names: Sequence[str], density: float,
                  device: str) -> dict[str, Judge | None]:
    """For every guide, by its label, who judges; None where there is nobody.

    Parameters
    ----------
    names : of models that the user chose
    density : about which structures are, g/cm3

    Raises
    ------
    InputError
        If a named judge is what guides, or has nothing to judge.
    """
    named = [named_judge(name, device) for name in names]
    for judge in named:
        mine = [guide for guide in guides if judge.knows(guide)]
        if not mine:
            raise InputError(f"judge must be a surrogate of an edge, or a model of a property, "
                             f"that a guide asks for, received {judge.name}, which has nothing to "
                             f"say of {', '.join(guide.label for guide in guides)}: leave it out")
        for guide in mine:
            if _same(model_of(guide), judge.name):
                raise InputError(f"judge must be a model that does not guide, received "
                                 f"{judge.name}, which guides {guide.label}: choose another, or "
                                 f"leave judge out")
    found: dict[str, Judge | None] = {}
    for guide in guides:
        own = next((judge for judge in named if judge.knows(guide)), None)
        if own is None and Count().knows(guide):
            own = Count()
        if own is None and isinstance(guide, SpectrumGuide):
            own = second_surrogate(guide, density, device)
        found[guide.label] = own
    return found


def model_of(guide: Guide) -> str:
    """Name or folder of the model that guides; empty where none does."""
    if isinstance(guide, SpectrumGuide):
        return guide.surrogate.name
    return property_path(guide) if kind_of(guide) == "property" else ""


def _same(one: str, other: str) -> bool:
    return bool(one) and (one == other or Path(one).resolve() == Path(other).resolve())
