"""Samples of a discovery: what they have of what was asked, their order, and what is out of reach.

Within an ask, samples that reach it (by the guides' own terms and by the judges that there are)
come first, then those nearer to it in deviations, then those of lower energy per atom. Distances
below one deviation count as one: what was asked does not tell them apart. A sample is on the
Pareto front if no other of its ask and composition is nearer and lower in energy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samplers.discovery_judges import REACH, Achieved
from samplers.discovery_plan import Ask, Member

SAME = 1.0
"""Deviations within which samples are as asked alike."""


@dataclass(frozen=True)
class Found:
    """A sample.

    Attributes
    ----------
    density : g/cm3, of the structure that counts
    energy : eV per atom after relaxation, None without one
    sampled, relaxed : by guide's label, as the guides see it; ``relaxed`` of the sampled structure
        where there is no relaxed one
    judged : by guide's label, of the relaxed structure; None where nothing judges
    is_relaxed : whether there is a relaxed structure
    """

    member: Member
    number: int
    density: float
    energy: float | None
    sampled: Mapping[str, Achieved]
    relaxed: Mapping[str, Achieved]
    judged: Mapping[str, Achieved | None]
    is_relaxed: bool

    @property
    def distance(self) -> float:
        """From all that was asked, deviations."""
        return math.hypot(*(one.distance for one in self.relaxed.values()))

    @property
    def judged_distance(self) -> float | None:
        """The same by the judges; None unless all guides have one."""
        found = [one.distance for one in self.judged.values() if one is not None]
        return math.hypot(*found) if len(found) == len(self.judged) else None

    @property
    def reached_by_guides(self) -> bool:
        """Whether all that was asked is there, as the guides see it."""
        return all(one.reached for one in self.relaxed.values())

    @property
    def fooled(self) -> bool:
        """Whether the guides see what was asked and a judge does not."""
        return self.reached_by_guides and not self.reached

    @property
    def reached(self) -> bool:
        """Whether all that was asked is there, by guides and judges."""
        return all(self.has(label) for label in self.relaxed)

    def has(self, label: str) -> bool:
        """Whether what one guide asks is there, by the guide and its judge."""
        judged = self.judged[label]
        return self.relaxed[label].reached and (judged is None or judged.reached)

    @property
    def order(self) -> tuple[bool, float, float]:
        """What ranks, lowest first."""
        energy = math.inf if self.energy is None else self.energy
        return not self.reached, max(SAME, self.distance), energy


def ranked(found: Sequence[Found]) -> list[Found]:
    """Best first; of one ask."""
    return sorted(found, key=lambda one: one.order)


def front(found: Sequence[Found]) -> list[bool]:
    """Whether each sample is on the Pareto front of distance and energy of its composition."""
    return [one.energy is not None and not any(
        _beats(other, one) for other in found
        if other.member.composition == one.member.composition) for one in found]


def _beats(other: Found, one: Found) -> bool:
    """No worse in both, and better in one."""
    if other.energy is None or one.energy is None:
        return False
    here = max(SAME, one.distance), one.energy
    there = max(SAME, other.distance), other.energy
    return there[0] <= here[0] and there[1] <= here[1] and there != here


def unreached(ask: Ask, found: Sequence[Found]) -> dict[str, Any] | None:
    """What to say of an ask that no sample reaches; None if one does, or there are no samples.

    Returns
    -------
    the ask, ``never`` (guides that no sample satisfies even alone), the nearest sample, and what
    it has
    """
    if not found or any(one.reached for one in found):
        return None
    never = [label for label in found[0].relaxed if not any(one.has(label) for one in found)]
    nearest = min(found, key=lambda one: one.distance if one.judged_distance is None
                  else max(one.distance, one.judged_distance))
    judged = {name: value for one in nearest.judged.values() if one is not None
              for name, value in one.values.items()}
    return {"ask": ask.name, "guides": list(ask.guides), "never": never,
            "within_deviations": REACH, "nearest": {
                "member": nearest.member.name, "sample": nearest.number,
                "distance": nearest.distance, "distance_judged": nearest.judged_distance,
                "relaxed": {name: value for one in nearest.relaxed.values()
                            for name, value in one.values.items()},
                "judged": judged}}


def sentence(unreachable: Mapping[str, Any]) -> str:
    """The same in words."""
    nearest = unreachable["nearest"]
    values = ", ".join(f"{name} {value:.4g}" for name, value in
                       (nearest["judged"] or nearest["relaxed"]).items())
    why = (f"{' and '.join(unreachable['never'])} alone is never met" if unreachable["never"]
           else "each is met by some sample, but never all at once")
    return (f"Out of reach: {unreachable['ask']} ({' and '.join(unreachable['guides'])}): "
            f"{why}. Nearest is sample {nearest['sample']} of {nearest['member']}, {values}, "
            f"{nearest['distance']:.3g} deviations away.")
