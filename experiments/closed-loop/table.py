"""From rows to the issue's table, with what was asked and whether it was met."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from measures import Case, Row, truth_row
from scipy.stats import binomtest
from truths import Truth, floor, misfit, truths

from diffxas.networks import CURVES
from samplers.algorithms import AUTO

FLOORS, FAR, GAIN, RECOVERED = 1.5, 5.0, 3.0, 0.7
POINTS, ENERGY, CURVE, HALF, COVER = 4.0, 0.05, 1.5, 0.5, (0.80, 0.97)
SIZE_POINTS, SIZE_RESIDUAL, COST = 3.0, 0.20, 3.0
PAIRS = {"2.4": ("high_2.40", "low_2.40"), "3.1": ("high_3.10", "low_3.10")}

Found = Mapping[str, Mapping[str, Sequence[Row]]]
"""Method -> truth -> rows."""


def collected(cases: Sequence[Case]) -> Found:
    """The rows of what is done."""
    found: dict[str, dict[str, Sequence[Row]]] = defaultdict(dict)
    for case in cases:
        if case.job.done:
            found[case.method][case.truth.name] = case.rows()
    return found


def column(rows: Sequence[Row], key: str, which: str = "sampled") -> np.ndarray:
    """A number of every sample, (n,)."""
    return np.array([row[which][key] for row in rows])


def energies(rows: Sequence[Row]) -> np.ndarray:
    """After relaxation, eV/atom, (n,); NaN where it failed."""
    return np.array([row["energy"] for row in rows], dtype=float)


def interval(rows: Sequence[Row], key: str, share: float, which: str) -> tuple[float, float]:
    """Predictive interval of a share over samples."""
    from samplers.intervals import predictive_interval

    low, high = predictive_interval(column(rows, key, which), share, (0.0, 1.0))
    return float(low), float(high)


def truth_lines(found: Found) -> list[dict[str, Any]]:
    """A line a truth: what is shown in the README, by increasing density."""
    lines = []
    for truth in sorted(truths(), key=lambda t: t.density):
        rows, free = found[AUTO].get(truth.name), found["unguided"].get(truth.name)
        if rows is None or free is None:
            continue
        base = floor(truth).residual
        judge, start = column(rows, "judge").mean(), column(free, "judge").mean()
        low, high = interval(rows, "sp3", 0.9, "sampled")
        energy = np.nanmean(energies(rows))
        lines.append({
            "truth": truth.name, "g/cm3": f"{truth.density:.2f}",
            "samples (unguided)": f"{len(rows)} ({len(free)})",
            "floor": f"{base:.4f}", "unguided": f"{start:.4f}", "guided": f"{judge:.4f}",
            "relaxed": f"{column(rows, 'judge', 'relaxed').mean():.4f}",
            "guided / floor": judge / base, "by the guide": f"{column(rows, 'guide').mean():.4f}",
            "guide on the truth": f"{truth_row(truth)['sampled']['guide']:.4f}",
            "-2 l / n of the truth": misfit(truth), "sp3 %": f"{100 * truth.sp3:.0f}",
            "guided %": f"{100 * column(rows, 'sp3').mean():.0f}",
            "90 %": f"{100 * low:.0f} to {100 * high:.0f}",
            "covers": bool(low <= truth.sp3 <= high),
            "unguided %": f"{100 * column(free, 'sp3').mean():.0f}",
            "eV/atom over unguided": f"{energy - np.nanmean(energies(free)):+.3f}",
            "over the truth": f"{energy - truth_row(truth)['energy']:+.3f}",
            "s": float(np.mean([row["seconds"] for row in rows]))})
    return lines


def distance_lines(found: Found) -> list[dict[str, Any]]:
    """Median over truths of the distances to the truth, and of networks among themselves."""
    lines = []
    for method in (AUTO, "unguided"):
        line: dict[str, Any] = {"samples": method}
        for which in ("sampled", "relaxed"):
            for curve in CURVES:
                ratio = [column(rows, curve, which).mean() / floor(truth).distance[curve]
                         for truth, rows in _of(found, method)]
                line[f"{curve}, {which}"] = float(np.nanmedian(ratio)) if ratio else None
        for key in ("sp", "sp2", "sp3"):
            errors = [100 * (column(rows, key).mean() - truth_row(truth)["sampled"][key])
                      for truth, rows in _of(found, method)]
            line[f"error of {key}, points"] = (float(np.mean(np.abs(errors))) if errors else None)
        lines.append(line)
    return lines


def _of(found: Found, method: str) -> list[tuple[Truth, Sequence[Row]]]:
    return [(truth, found[method][truth.name]) for truth in truths()
            if truth.name in found.get(method, {})]


def coverage_lines(found: Found) -> list[dict[str, Any]]:
    """Coverage of the truth's shares by the samples' intervals, with its own binomial interval."""
    lines = []
    for method in (AUTO, "unguided"):
        for which in ("sampled", "relaxed"):
            for share in (0.5, 0.9):
                line: dict[str, Any] = {"samples": f"{method}, {which}",
                                        "interval": f"{share:.0%}"}
                for key in ("sp3", "sp2", "sp"):
                    line[key] = _covered(found, method, key, share, which)
                lines.append(line)
    return lines


def _covered(found: Found, method: str, key: str, share: float, which: str) -> str:
    hits = [_inside(truth, rows, key, share, which) for truth, rows in _of(found, method)]
    return binomial(sum(hits), len(hits)) if hits else "-"


def _inside(truth: Truth, rows: Sequence[Row], key: str, share: float, which: str) -> bool:
    low, high = interval(rows, key, share, which)
    return bool(low <= truth_row(truth)[which][key] <= high)


def binomial(hits: int, count: int) -> str:
    """``17 of 20 (62 to 97 %)``: Clopper and Pearson's 95 % interval of the rate."""
    limits = binomtest(hits, count).proportion_ci(0.95)
    return f"{hits} of {count} ({100 * limits.low:.0f} to {100 * limits.high:.0f} %)"


def pair_lines(found: Found) -> list[dict[str, Any]]:
    """A line a method and pair."""
    lines = []
    for method, by_truth in found.items():
        for pair, (high, low) in PAIRS.items():
            if high in by_truth and low in by_truth and method not in ("coordination", "pdf"):
                lines.append(_pair_line(method, pair, by_truth[high], by_truth[low]))
    return lines


def _pair_line(method: str, pair: str, high: Sequence[Row], low: Sequence[Row]) -> dict[str, Any]:
    def mean(key: str, which: str = "sampled") -> str:
        return " / ".join(f"{column(rows, key, which).mean():.4f}" for rows in (high, low))

    calls = [row["calls"] for row in (*high, *low) if row["calls"] is not None]
    over = [float(np.nanmean(energies(rows)) - truth_row(_named(name))["energy"])
            for rows, name in zip((high, low), PAIRS[pair], strict=True)]
    return {"pair": pair, "method": method, "samples": f"{len(high)} + {len(low)}",
            "sp3 high / low, %": " / ".join(f"{100 * column(r, 'sp3').mean():.0f}"
                                            for r in (high, low)),
            "recovered": recovered(pair, high, low),
            "relaxed": recovered(pair, high, low, "relaxed"),
            "judge": mean("judge"), "judge, relaxed": mean("judge", "relaxed"),
            "guide": mean("guide"), "eV/atom over the truth": " / ".join(f"{x:+.3f}" for x in over),
            "s": float(np.mean([row["seconds"] for row in (*high, *low)])),
            "calls": f"{np.mean(calls):.0f}" if calls else "-"}


def _named(name: str) -> Truth:
    return next(one for one in truths() if one.name == name)


def recovered(pair: str, high: Sequence[Row], low: Sequence[Row],
              which: str = "sampled") -> float:
    """Difference of the mean sp3 over that of the truths."""
    true = _named(PAIRS[pair][0]).sp3 - _named(PAIRS[pair][1]).sp3
    return float((column(high, "sp3", which).mean() - column(low, "sp3", which).mean()) / true)


def coordination_lines(found: Found, asked: Mapping[str, float]) -> list[dict[str, Any]]:
    """sp3 asked without a spectrum."""
    lines = []
    for name, share in asked.items():
        if name not in found.get("coordination", {}):
            continue
        rows = found["coordination"][name]
        free = found["unguided"].get(name)
        reached = 100 * column(rows, "sp3", "relaxed")
        over = float(np.nanmean(energies(rows)) - truth_row(_named(name))["energy"])
        lines.append({
            "g/cm3": f"{_named(name).density:g}", "asked, %": f"{100 * share:.0f}",
            "sampled, %": f"{100 * column(rows, 'sp3').mean():.1f}",
            "relaxed, %": f"{reached.mean():.1f} +- {reached.std(ddof=1):.1f}",
            "unguided, %": "-" if free is None else
            f"{100 * column(free, 'sp3', 'relaxed').mean():.1f}",
            "within 4 points": bool(abs(reached.mean() - 100 * share) <= POINTS),
            "eV/atom over the pair member": f"{over:+.3f}",
            "unguided over it": "-" if free is None else
            f"{np.nanmean(energies(free)) - truth_row(_named(name))['energy']:+.3f}",
            "within 0.05": bool(abs(over) <= ENERGY)})
    return lines


def pdf_lines(found: Found) -> list[dict[str, Any]]:
    """g(r) asked."""
    lines = []
    for name, rows in found.get("pdf", {}).items():
        truth = _named(name)
        free = column(found["unguided"][name], "g(r)", "relaxed").mean()
        ours = column(rows, "g(r)", "relaxed").mean()
        networks = floor(truth).distance["g(r)"]
        lines.append({"g(r) of": name, "g/cm3": f"{truth.density:.2f}", "as sampled":
                      float(column(rows, "g(r)").mean()), "relaxed": float(ours),
                      "unguided, relaxed": float(free), "network against network": networks,
                      "over networks": ours / networks,
                      "at most 1.5": bool(ours <= CURVE * networks),
                      "over unguided": ours / free, "at most half": bool(ours <= HALF * free),
                      "sp3 true / reached, %": f"{100 * truth.sp3:.0f} / "
                      f"{100 * column(rows, 'sp3', 'relaxed').mean():.0f}"})
    return lines


def size_lines(found: Found) -> list[dict[str, Any]]:
    """One target in cells of three sizes."""
    lines = []
    for method, by_truth in found.items():
        if method.endswith(" atoms"):
            for rows in by_truth.values():
                lines.append({
                    "atoms": method.split()[0], "samples": len(rows),
                    "sp3, %": float(100 * column(rows, "sp3").mean()),
                    "relaxed, %": float(100 * column(rows, "sp3", "relaxed").mean()),
                    "residual by the guide": f"{column(rows, 'guide').mean():.4f}",
                    "by the judge": f"{column(rows, 'judge').mean():.4f}",
                    "eV/atom": float(np.nanmean(energies(rows))),
                    "s": float(np.mean([row["seconds"] for row in rows]))})
    return lines


def cost_lines(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Seconds of unguided and guided samples that were drawn in turn."""
    seconds = {case.method: float(np.mean([one.seconds for one in case.job.outcomes()]))
               for case in cases if case.job.done}
    lines = []
    for key, free in seconds.items():
        _, _, rest = key.partition("cost/unguided-")
        if rest and f"cost/guided-{rest}" in seconds:
            ours = seconds[f"cost/guided-{rest}"]
            lines.append({"atoms": rest, "unguided, s": free, "guided, s": ours,
                          "ratio": ours / free})
    return lines


def verdicts(found: Found, asked: Mapping[str, float], costs: Sequence[Mapping[str, Any]],
             density: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The issue's table."""
    pairs = [(rows, found["unguided"][truth.name], truth) for truth, rows in _of(found, AUTO)
             if truth.name in found["unguided"]]
    lines: list[dict[str, Any]] = []

    def add(figure: str, goal: str, reached: str, met: bool | None) -> None:
        lines.append({"figure": figure, "target": goal, "reached": reached,
                      "met": "no case" if met is None else met})

    def ratio(which: str) -> list[float]:
        return [float(column(rows, "judge", which).mean() / floor(truth).residual)
                for rows, _, truth in pairs]

    if pairs:
        middle = float(np.median(ratio("sampled")))
        add("residual by the judge, guided / floor", "at most 1.5 in the median",
            f"{middle:.2f} (relaxed {np.median(ratio('relaxed')):.2f}), {len(pairs)} truths",
            middle <= FLOORS)
        far = [float(column(free, "judge").mean() / column(rows, "judge").mean())
               for rows, free, truth in pairs
               if column(free, "judge").mean() > FAR * floor(truth).residual]
        all_of = [float(column(free, "judge").mean() / column(rows, "judge").mean())
                  for rows, free, _ in pairs]
        highest = max(float(column(free, "judge").mean() / floor(truth).residual)
                      for _, free, truth in pairs)
        add("residual by the judge, unguided / guided, where unguided exceeds 5 floors",
            "at least 3", f"{np.median(far):.2f} in the median of {len(far)}" if far else
            f"no truth qualifies (at most {highest:.1f} floors); over all {np.median(all_of):.2f} "
            f"in the median", bool(np.median(far) >= GAIN) if far else None)
    shares_of = {pair: recovered(pair, found[AUTO][high], found[AUTO][low])
                 for pair, (high, low) in PAIRS.items()
                 if high in found[AUTO] and low in found[AUTO]}
    if shares_of:
        add("pairs: recovered difference of sp3", "at least 70 %, right sign",
            ", ".join(f"{100 * x:.0f} % at {pair}" for pair, x in shares_of.items()),
            all(x >= RECOVERED for x in shares_of.values()))
    lines += _asked_verdicts(found, asked)
    if density:
        near = [bool(one["within 0.2"]) for one in density if one["kind"] != "pair"]
        add("density unknown: DFT and melt-quenched truths", "within 0.2 g/cm3",
            binomial(sum(near), len(near)), all(near))
        hits = [bool(one["90 % covers"]) for one in density]
        add("density unknown: 90 % intervals", "cover in 8 of 10",
            binomial(sum(hits), len(hits)),
            float(np.mean(hits)) >= 0.8)
    if pairs:
        hits = [_inside(truth, rows, "sp3", 0.9, "sampled") for rows, _, truth in pairs]
        after = [_inside(truth, rows, "sp3", 0.9, "relaxed") for rows, _, truth in pairs]
        add("90 % intervals of sp3 over all truths", "cover 80-97 %",
            f"{binomial(sum(hits), len(hits))}; relaxed {binomial(sum(after), len(after))}",
            COVER[0] <= float(np.mean(hits)) <= COVER[1])
    lines += _size_and_cost(found, costs)
    over = [float(np.nanmean(energies(rows)) - (truth_row(truth)["energy"] if truth.kind == "pair"
                                                else np.nanmean(energies(free))))
            for rows, free, truth in pairs]
    if over:
        add("energy per atom of guided samples after relaxation", "within 0.05 eV of unguided ones "
            "(of the truth's for the pairs)", f"{sum(abs(x) <= ENERGY for x in over)} of "
            f"{len(over)} within; mean {np.mean(over):+.3f}, largest {max(over, key=abs):+.3f}",
            all(abs(x) <= ENERGY for x in over))
    return lines


def _asked_verdicts(found: Found, asked: Mapping[str, float]) -> list[dict[str, Any]]:
    lines = []
    shares_ = coordination_lines(found, asked)
    if shares_:
        count = len(next(iter(found["coordination"].values())))
        lines += [{"figure": f"sp3 asked without a spectrum, mean of {count} after relaxation",
                   "target": "within 4 points",
                   "reached": ", ".join(f"{one['relaxed, %']} for {one['asked, %']}"
                                        for one in shares_),
                   "met": all(one["within 4 points"] for one in shares_)},
                  {"figure": "the same: energy per atom", "target": "within 0.05 eV of the member",
                   "reached": ", ".join(str(one["eV/atom over the pair member"])
                                        for one in shares_),
                   "met": all(one["within 0.05"] for one in shares_)}]
    curves = pdf_lines(found)
    if curves:
        lines += [{"figure": "g(r) asked, after relaxation", "target":
                   "at most 1.5x network against network",
                   "reached": f"{np.median([one['over networks'] for one in curves]):.2f} in the "
                   f"median, at most {max(one['over networks'] for one in curves):.2f}",
                   "met": all(one["at most 1.5"] for one in curves)},
                  {"figure": "the same", "target": "at most half of the unguided distance",
                   "reached": f"{np.median([one['over unguided'] for one in curves]):.2f} in the "
                   f"median, at most {max(one['over unguided'] for one in curves):.2f}",
                   "met": all(one["at most half"] for one in curves)}]
    return lines


def _size_and_cost(found: Found, costs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    lines = []
    sizes = size_lines(found)
    if len(sizes) > 1:
        sp3 = [one["sp3, %"] for one in sizes]
        rests = [float(one["residual by the guide"]) for one in sizes]
        lines.append({
            "figure": f"one target at {', '.join(one['atoms'] for one in sizes)} atoms",
            "target": "mean sp3 within 3 points, residual within 20 %",
            "reached": f"sp3 {', '.join(f'{x:.1f}' for x in sp3)} %; residual by the guide "
            f"{', '.join(f'{x:.4f}' for x in rests)}",
            "met": bool(np.ptp(sp3) <= SIZE_POINTS
                        and max(rests) <= (1 + SIZE_RESIDUAL) * min(rests))})
    if costs:
        lines.append({"figure": "cost of the default algorithm per sample", "target":
                      "at most 3x an unguided one of the same size",
                      "reached": ", ".join(f"{one['ratio']:.1f}x at {one['atoms']} atoms"
                                           for one in costs),
                      "met": all(one["ratio"] <= COST for one in costs)})
    return lines
