"""A second opinion on guided samples, by a model that did not guide them.

A surrogate is differentiable, so a walk can come to fool it. What it gained by that, another model
does not see. Judges of shipped surrogates are networks that were trained separately, without one
density each; the one whose missing density is farthest is taken. A committee that ships without a
judge is judged by its equivariant part, which does not guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffxas.errors import InputError
from surrogates.base import Surrogate

JUDGES = {"a-C": {2.0: "a-C-judge-without-2.0", 3.0: "a-C-judge-without-3.0"},
          "a-C-without-2.0": {2.0: "a-C-judge-without-2.0"},
          "a-C-without-3.0": {3.0: "a-C-judge-without-3.0"}}
"""Surrogate -> density that the judge was trained without (g/cm3) -> judge."""
FOOLED = 0.5
"""Of what the guide gained on unguided samples the judge must see this share."""


def find_judge(name: str | None, surrogate: Surrogate, density: float,
               device: str = "cpu") -> Surrogate | None:
    """The judge of a run, or None if none is known.

    Parameters
    ----------
    name : a shipped name or folder that the user chose
    density : of the run, g/cm3

    Raises
    ------
    InputError
        If the one chosen is the guide itself, or of another edge or grid.
    """
    from surrogates.committee import PARTS, CommitteeSurrogate
    from surrogates.loading import load_surrogate

    if name is None:
        known = JUDGES.get(surrogate.name, {})
        if known:
            name = known[max(known, key=lambda missing: abs(missing - density))]
        elif isinstance(surrogate, CommitteeSurrogate):
            part = surrogate.parts[PARTS.index("equivariant")]
            part.name = f"{surrogate.name}, equivariant part"
            return part
        else:
            return None
    judge = load_surrogate(name, device, f"{surrogate.element}:{surrogate.edge}")
    if judge.name == surrogate.name:
        raise InputError(f"a judge must be another model than the guide, received {name} for both: "
                         f"choose another --judge")
    if judge.energy.shape != surrogate.energy.shape or not np.allclose(
            judge.energy, surrogate.energy, atol=1e-3):
        raise InputError(f"a judge must predict on the guide's energies, received {judge.name} for "
                         f"{surrogate.name}: choose another --judge")
    return judge


def disagreement(by_guide: np.ndarray, by_judge: np.ndarray,
                 unguided: Mapping[str, np.ndarray]) -> str | None:
    """A warning if the judge sees less than half of what the guide gained; None otherwise.

    Parameters
    ----------
    by_guide, by_judge : (n_samples,), residuals of guided samples
    unguided : ``guide`` and ``judge`` -> (n_unguided,), residuals of unguided samples
    """
    gained = float(np.mean(unguided["guide"]) - np.mean(by_guide))
    seen = float(np.mean(unguided["judge"]) - np.mean(by_judge))
    if gained <= 0 or seen >= FOOLED * gained:
        return None
    return (f"The judge does not see what the guide gained: against unguided samples the residual "
            f"falls by {gained:.3g} for the guide and by {seen:.3g} for the judge. The surrogate "
            f"may have been fooled; look at the structures.")


def judged_numbers(judge: Surrogate, sampled: Sequence[float | None],
                   relaxed: Sequence[float | None]) -> dict[str, Any]:
    """``judge`` of ``summary.json``."""
    return {"name": judge.name, "residual_sampled": list(sampled),
            "residual_relaxed": list(relaxed)}
