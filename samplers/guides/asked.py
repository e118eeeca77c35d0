r"""Values as a user asks for them, and how likely a structure's value is given what was asked.

    =V       V, within the kind's own deviation S
    =V+-S    V, with the deviation S
    =LO:HI   anywhere in between
    =<V      V or less
    =>V      V or more

With d(v) the distance from a value v to what is asked (0 inside an interval), the log-likelihood is

    l(v) = -d(v)^2 / 2 (c S^2 + u),

flat inside and Gaussian outside: S is the width of the flanks, u the variance of an estimate of v,
and c = N_REFERENCE / N. The prior gains weight with the number of atoms N; what is asked of an
intensive quantity must do so too, or it would be forgotten in large cells. At N_REFERENCE atoms the
deviation is the one that was asked for (:mod:`samplers.calibration` on the same choice).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffxas.errors import InputError
from samplers.guides.base import Guide

FORMS = "=V, =V+-S, =LO:HI, =<V or =>V"
APART = 3.0
"""Two requests of one quantity contradict each other from this many joint deviations on."""


@dataclass(frozen=True)
class Asked:
    """One value that is asked.

    Attributes
    ----------
    low, high : the interval, in units of the quantity; equal for one value, infinite for half-lines
    deviation : S, same units, above 0
    text : as the user wrote it, from the equals sign on
    """

    low: float
    high: float
    deviation: float
    text: str

    @classmethod
    def parse(cls, text: str, deviation: float, label: str) -> Asked:
        """What ``text`` asks.

        Parameters
        ----------
        text : from the equals sign on
        deviation : S where the text gives none
        label : the whole guide, for messages

        Raises
        ------
        InputError
            If it is none of the forms, or an interval is empty.
        """
        body = text[1:].strip()
        try:
            if not text.startswith("="):
                raise ValueError
            if body[:1] in ("<", ">"):
                bound = _number(body[1:])
                low, high = (-math.inf, bound) if body[0] == "<" else (bound, math.inf)
            elif "+-" in body:
                value, own = body.split("+-")
                low = high = _number(value)
                deviation = _number(own)
            elif ":" in body:
                low, high = map(_number, body.split(":"))
            else:
                low = high = _number(body)
        except ValueError as error:
            raise InputError(f"the value of a guide must be written {FORMS}, received {text!r} in "
                             f"{label!r}: such as =0.37+-0.02") from error
        if deviation <= 0:
            raise InputError(f"the deviation of a guide must be above 0, received {deviation:g} in "
                             f"{label!r}: such as =0.37+-0.02")
        if low > high:
            raise InputError(f"an interval must run upwards, received {text!r} in {label!r}: write "
                             f"={high:g}:{low:g}")
        return cls(low, high, deviation, text)

    @property
    def value(self) -> float | None:
        """The one value, or None for an interval."""
        return self.low if self.low == self.high else None

    def within(self, low: float, high: float, what: str, label: str) -> Asked:
        """This request, if the quantity can have it.

        Raises
        ------
        InputError
            If the interval lies outside ``low`` to ``high``.
        """
        if self.low > high or self.high < low or (self.value is None and (
                (self.low < low and self.low > -math.inf) or
                (self.high > high and self.high < math.inf))):
            raise InputError(f"{what} must be {low:g} to {high:g}, received {self.text} in "
                             f"{label!r}: choose another value")
        return self

    def outside(self, value: Tensor) -> Tensor:
        """d of the module's text, element by element; differentiable."""
        if self.value is not None:
            return value - self.low
        below = torch.clamp(value - self.low, max=0.0) if self.low > -math.inf else value * 0.0
        above = torch.clamp(value - self.high, min=0.0) if self.high < math.inf else value * 0.0
        return below + above

    def log_likelihood(self, value: Tensor, variance: float | Tensor = 0.0,
                       share: float = 1.0) -> Tensor:
        """l of the module's text, 0 at best; differentiable.

        Parameters
        ----------
        value : scalar
        variance : u, of the estimate
        share : c, N_REFERENCE / N
        """
        return -0.5 * self.outside(value).square() / (share * self.deviation**2 + variance)

    def distance(self, value: float) -> float:
        """How far a value is from what is asked, in units of the quantity, 0 or more."""
        return max(self.low - value, value - self.high, 0.0)

    def contradicts(self, other: Asked) -> bool:
        """Whether no value satisfies both."""
        gap = max(self.low, other.low) - min(self.high, other.high)
        return gap > APART * math.hypot(self.deviation, other.deviation)


def _number(text: str) -> float:
    """A finite number; ValueError otherwise."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def split_asked(rest: str) -> tuple[str, str]:
    """What stands before the last equals sign, and the value from that sign on ("" without)."""
    what, sign, value = rest.rpartition("=")
    return (what, sign + value) if sign else (rest, "")


class AskedGuide(Guide):
    """A guide that asks for values of named quantities.

    Attributes
    ----------
    requests : name of the quantity -> what is asked; one name means one thing in all guides
    """

    requests: Mapping[str, Asked]

    @property
    def asked(self) -> Mapping[str, Any]:
        """Values as numbers, intervals as they were written."""
        return {name: one.text.removeprefix("=") if one.value is None else one.value
                for name, one in self.requests.items()}

    def shares(self) -> Mapping[str, Sequence[str]]:
        """Name of a whole -> the quantities that are shares of it, and cannot exceed 1 together."""
        return {}


def check_consistent(guides: Sequence[Guide]) -> None:
    """Refuse guides that cannot be satisfied together.

    Raises
    ------
    InputError
        Naming the guides.
    """
    seen: dict[str, tuple[Asked, str]] = {}
    whole: dict[str, dict[str, tuple[Asked, str]]] = {}
    for guide in guides:
        if not isinstance(guide, AskedGuide):
            continue
        for name, one in guide.requests.items():
            if name in seen and one.contradicts(seen[name][0]):
                raise InputError(f"guides must not contradict each other, received "
                                 f"{seen[name][1]!r} and {guide.label!r}, which ask {name} to be "
                                 f"{seen[name][0].text} and {one.text}: leave one out")
            seen.setdefault(name, (one, guide.label))
        for total, parts in guide.shares().items():
            for name in parts:
                whole.setdefault(total, {})[name] = (guide.requests[name], guide.label)
    for total, rows in whole.items():
        least = sum(max(0.0, one.low) for one, _ in rows.values())
        slack = APART * math.hypot(*(one.deviation for one, _ in rows.values()))
        if least > 1 + slack:
            labels = list(dict.fromkeys(repr(label) for _, label in rows.values()))
            raise InputError(f"shares of one whole must sum to 1 at most, received "
                             f"{' and '.join(labels)} ({total}): lower one of them")
