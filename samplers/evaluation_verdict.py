"""One sentence of a prior: usable, too few networks, or memorised.

The thresholds are stated here and in every report. A difference counts once it exceeds its
threshold by two standard errors: few samples or few held-out networks accuse nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from samplers.evaluation_measures import EXCESS, RATIO

USABLE, TOO_FEW, MEMORISED = "usable", "too few networks", "memorised"
GAP = 0.10
"""A loss on unseen networks higher by this share than on seen ones of the same density.

Networks of one density differ by themselves: over the 15 pairs of a-C-NEP the shipped prior, which
shows no gap (0.99), is known to 0.03. A tenth is what stands out of that."""
GAP_MEMORISED = 1.0
"""Twice the loss on unseen networks: at bond-breaking noise the prior recalls where atoms were."""
FALL = 0.10
"""Twice the networks lower the loss on unseen ones by this share: more of them would still help."""
TELLING = 0.9
"""Where held-out networks share more of their environments than this, copies cannot be told."""
CERTAIN = 2.0
"""Standard errors."""


@dataclass(frozen=True)
class Evidence:
    """What the verdict rests on; NaN for what is not known.

    Attributes
    ----------
    known, expected, excess_error : share of samples' environments in the training set, that of
        held-out networks at the same densities, and the standard error of the difference
    gap, gap_error : loss on unseen over loss on seen networks of the prior, minus 1
    curve_gap, curve_gap_error : the same of the curve's last prior
    fall, fall_error : of the loss on unseen networks from half of the networks to all
    ratio, ratio_error : for each distribution, distance of samples over that of networks among
        themselves, and its standard error
    beyond : further figures that miss what is asked, in words
    """

    known: float = np.nan
    expected: float = np.nan
    excess_error: float = np.nan
    gap: float = np.nan
    gap_error: float = np.nan
    curve_gap: float = np.nan
    curve_gap_error: float = np.nan
    fall: float = np.nan
    fall_error: float = np.nan
    ratio: Mapping[str, float] = field(default_factory=dict)
    ratio_error: Mapping[str, float] = field(default_factory=dict)
    beyond: tuple[str, ...] = ()


def verdict(evidence: Evidence) -> tuple[str, str]:
    """``usable``, ``too few networks`` or ``memorised``, and the sentence that says why."""
    e = evidence
    copies = _beyond(e.known - e.expected, e.excess_error, EXCESS)
    if copies or _beyond(e.gap, e.gap_error, GAP_MEMORISED):
        why = _environments(e) if copies else _gap(e)
        return MEMORISED, (f"{MEMORISED}: {why}; the samples repeat the training networks. Train "
                           f"on more networks, or for fewer steps.")
    reasons, loss = [], False
    if _beyond(e.gap, e.gap_error, GAP):
        reasons, loss = [_gap(e)], True
    elif not np.isfinite(e.gap) and _beyond(e.curve_gap, e.curve_gap_error, GAP):
        reasons = [f"a small prior's loss on unseen networks is {1 + e.curve_gap:.2f} times that "
                   f"on seen ones"]
        loss = True
    if _beyond(e.fall, e.fall_error, FALL):
        reasons.append(f"twice the networks lower the loss on unseen ones by {100 * e.fall:.0f} %")
        loss = True
    far = {curve: x for curve, x in e.ratio.items()
           if _beyond(x, e.ratio_error.get(curve, np.nan), RATIO)}
    if far:
        reasons.append("samples differ from networks " + ", ".join(
            f"{x:.2f} times in {curve}" for curve, x in far.items())
            + f" as networks from each other (asked {RATIO:g})")
    if reasons:
        cause = "" if loss else (", or too short a training or too small a model: the losses do "
                                 "not ask for more networks")
        return TOO_FEW, f"{TOO_FEW}{cause}: {'; '.join(reasons)}."
    return USABLE, f"{USABLE}: {'; '.join(_good(e))}.{_misses(e)}"


def _beyond(value: float, error: float, threshold: float) -> bool:
    """Whether a number exceeds its threshold for certain; what is not known does not."""
    return bool(value - CERTAIN * np.nan_to_num(error) > threshold)


def _environments(e: Evidence) -> str:
    return (f"the training set holds {100 * e.known:.1f} % of the samples' environments, "
            f"{100 * e.expected:.1f} % of those of networks it has not seen")


def _gap(e: Evidence) -> str:
    return f"the loss on unseen networks is {1 + e.gap:.2f} times that on seen ones"


def _good(e: Evidence) -> list[str]:
    if not np.isfinite(e.known):
        found = ["memorisation could not be judged"]
    elif e.expected > TELLING:
        found = [_environments(e) + " (all alike: copies cannot be told by them)"]
    else:
        found = [_environments(e)]
    found.append(_gap(e) if np.isfinite(e.gap) else "the loss on unseen networks is not known")
    if e.ratio:
        found.append(f"samples differ from networks at most {max(e.ratio.values()):.2f} times as "
                     f"networks from each other")
    return found


def _misses(e: Evidence) -> str:
    return f" Beyond what is asked: {', '.join(e.beyond)}." if e.beyond else ""


def thresholds() -> str:
    """What the verdict is drawn from, in words."""
    return (f"Memorised: the share of samples' environments that the training set holds exceeds "
            f"that of unseen networks by more than {EXCESS:g}, or the loss on unseen networks is "
            f"more than {1 + GAP_MEMORISED:g} times that on seen ones. Too few networks: that loss "
            f"is more than {1 + GAP:g} times, or still falls by more than {100 * FALL:.0f} % when "
            f"the networks are doubled, or samples differ from networks more than {RATIO:g} times "
            f"as networks from each other in g(r), angles or rings. What has a standard error "
            f"counts from {CERTAIN:g} of them beyond. Usable: none of these.")
