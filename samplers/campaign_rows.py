"""What members of a campaign came to: a flat row each, read from their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.run_folder import SUMMARY
from samplers.campaign_plan import Member
from samplers.csv_lines import Line

FINISHED, OUT_OF_REACH, FAILED, WAITING = "finished", "out of reach", "failed", "waiting"
SHARES = {"sp": "2", "sp2": "3", "sp3": "4"}
"""Names of the shares of atoms with two, three and four neighbours."""
INTERVALS = {"50": "interval50", "90": "interval90"}
RESIDUALS = ("residual_sampled", "residual_relaxed", "judge_sampled", "judge_relaxed")
QUANTITIES = ("density", *SHARES, "pi_star_sp2")
"""Quantities with intervals."""


def row_of(member: Member, folder: Path, reason: str = "") -> Line:
    """A member as a row of ``campaign.csv``; what it has not is None.

    Parameters
    ----------
    folder : of the campaign
    reason : why it failed, if it did
    """
    summary = _summary(folder / member.name)
    state = FAILED if reason else WAITING
    if summary is not None:
        state = OUT_OF_REACH if summary.get("out_of_reach") else FINISHED
    return {
        "name": member.name, "label": member.label,
        "target": None if member.target is None else str(member.target),
        "series": member.series, "state": state, "reason": "" if summary else reason,
        "samples": None, **dict.fromkeys(_interval_columns()), **dict.fromkeys(RESIDUALS),
        "residual_best": None, "energy_per_atom": None, "seconds": None, "warnings": None,
        **({} if summary is None else _numbers(summary)), "folder": member.name}


def _summary(folder: Path) -> Mapping[str, Any] | None:
    """``summary.json``, which a run writes last; None before that."""
    file = folder / SUMMARY
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def _interval_columns() -> list[str]:
    ends = [f"_{share}_{end}" for share in INTERVALS for end in ("low", "high")]
    return [quantity + end for quantity in QUANTITIES for end in ("", *ends)]


def _numbers(summary: Mapping[str, Any]) -> Line:
    """The numbers of a finished run."""
    posterior, samples = summary["posterior"], summary["samples"]
    row: Line = {"samples": len(samples), **_interval("density", posterior["density"])}
    for name, key in SHARES.items():
        row |= _interval(name, posterior["coordination"][key])
    if summary.get("pi_star"):
        row |= _interval("pi_star_sp2", summary["pi_star"])
    row |= {name: _mean(samples, name) for name in RESIDUALS}
    best = next((one for one in samples if one["number"] == summary["best"]), None)
    row["residual_best"] = None if best is None else best[f"residual_{best['answer']}"]
    row["energy_per_atom"] = _mean(samples, "energy_relaxed")
    row["seconds"] = sum(one["seconds_sampling"] + (one["seconds_relaxing"] or 0.0)
                         for one in samples)
    row["warnings"] = len(summary["warnings"])
    return row


def _interval(name: str, numbers: Mapping[str, Any]) -> Line:
    row: Line = {name: numbers.get("mean", numbers.get("sp2_fraction"))}
    for share, key in INTERVALS.items():
        low, high = numbers.get(key) or (None, None)
        row |= {f"{name}_{share}_low": low, f"{name}_{share}_high": high}
    return row


def _mean(samples: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [one[name] for one in samples if one.get(name) is not None]
    return float(np.mean(known)) if known else None
