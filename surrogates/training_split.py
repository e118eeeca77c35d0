"""What of the data is trained on: without excluded names, left-out densities, held-out sites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from diffxas.prior import read_names
from diffxas.structure import Structure
from surrogates.splits import HELD_OUT, TRAINING, check_split

REST, OUT = -1, -2
"""Sites in neither part of the data's split; what takes no part here."""


class Labelled(Protocol):
    """A structure with its labels."""

    @property
    def structure(self) -> Structure:
        """The atoms."""

    @property
    def name(self) -> str:
        """Of the structure."""

    @property
    def parent(self) -> str:
        """Its bond network or material."""

    @property
    def part(self) -> int:
        """0 for training, 1 for held out, -1 for neither."""


class SplitOptions(Protocol):
    """What is asked of :class:`surrogates.training.SurrogateTraining`."""

    @property
    def exclude(self) -> str:
        """A text file of names."""

    @property
    def leave_out_density(self) -> list[float]:
        """Densities, g/cm3."""

    @property
    def leave_out_margin(self) -> float:
        """How near to them, g/cm3."""

    @property
    def allow_leak(self) -> bool:
        """Whether a network may be cut."""

    @property
    def rest(self) -> bool:
        """Whether sites in neither part are trained on."""


Item = TypeVar("Item", bound=Labelled)


def split(data: Sequence[Item], options: SplitOptions) -> list[Item]:
    """What may be trained on: without excluded names, left-out densities and held-out sites.

    Raises
    ------
    InputError
        If excluded names or held-out sites are of networks that are trained on all the same.
    """
    excluded = read_names(Path(options.exclude)) if options.exclude else set()
    parts = []
    for item in data:
        near = any(abs(item.structure.density - d) <= options.leave_out_margin
                   for d in options.leave_out_density)
        left_out = bool(excluded & {item.name, item.parent})
        parts.append(OUT if near else HELD_OUT if left_out else item.part)
    check_split([item.parent for item in data], parts, allow_leak=options.allow_leak)
    kept = {TRAINING}
    if options.rest:
        kept.add(REST)
        held_out = {item.parent for item, part in zip(data, parts, strict=True)
                    if part == HELD_OUT}
        parts = [OUT if part == REST and item.parent in held_out else part
                 for item, part in zip(data, parts, strict=True)]
    return [item for item, part in zip(data, parts, strict=True) if part in kept]
