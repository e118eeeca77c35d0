"""What a run answers: asked against achieved, and what the samples leave open.

An ensemble of samples gives every derived quantity a credible interval (:mod:`samplers.intervals`);
how often such intervals hold the truth is measured in experiments/closed-loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.report.document import Cell, FigureBlock, Section, Table
from diffxas.structure import Structure
from samplers.guides.base import Guide
from samplers.guides.spectrum import SpectrumGuide
from samplers.intervals import credible
from samplers.judged import Row, Seen
from samplers.setup import Setup

if TYPE_CHECKING:
    from samplers.evidence import DensityPosterior

COORDINATION = ("2", "3", "4")
"""Numbers of neighbours whose shares get an interval."""
SYSTEMATIC = {"2": 0.009, "3": 0.026, "4": 0.030}
"""Standard deviation of what guided samples of carbon err by together in these shares, on twenty
truths that no model knew; leaving out each truth in turn, 90 % intervals with it hold 80 to 90 %,
without it 70 to 85 % (experiments/closed-loop/systematic.py)."""
FAR, CLOSED = 5.0, 0.5
"""A guide is out of reach if every sample is farther than so many standard deviations, and than
this share of the distance of unguided samples."""


def posterior_numbers(setup: Setup, rows: Sequence[Row],
                      density: DensityPosterior | None) -> dict[str, Any]:
    """``posterior`` of ``summary.json``: density, and shares of coordination numbers."""
    given = setup.box.density
    found: dict[str, Any] = {"density": density.numbers() if density else {
        "mean": given, "interval50": [given, given], "interval90": [given, given]}}
    shares = [row.offered.bonding["coordination"] for row in rows]
    known = setup.target is not None and setup.guided and set(setup.system.symbols) == {"C"}
    found["coordination"] = {
        key: credible([one[key] for one in shares], (0.0, 1.0), SYSTEMATIC[key] if known else 0.0)
        for key in COORDINATION}
    return found


def guide_numbers(setup: Setup, rows: Sequence[Row], free: Sequence[Seen]) -> list[dict[str, Any]]:
    """``guides`` of ``summary.json``: what each asked, and what every structure has of it."""
    return [{
        "guide": guide.label, "asked": dict(guide.asked),
        "sampled": [_reached(guide, row.sampled.structure) for row in rows],
        "relaxed": [None if row.relaxed is None else _reached(guide, row.relaxed.structure)
                    for row in rows],
        "unguided": [_reached(guide, seen.structure) for seen in free],
    } for guide in setup.guides]


def _reached(guide: Guide, structure: Structure) -> dict[str, float]:
    return {key: float(value) for key, value in guide.at(structure).reached(structure).items()}


def _distance(guide: Guide, seen: Seen) -> float:
    return guide.at(seen.structure).distance(seen.structure)


def beyond_reach(setup: Setup, rows: Sequence[Row], free: Sequence[Seen]) -> list[str]:
    """A sentence for every guide, beside the target, that no sample comes near."""
    found = []
    for guide in setup.guides:
        if isinstance(guide, SpectrumGuide) or not guide.asked:
            continue
        nearest = min(_distance(guide, seen) for row in rows for seen in (row.sampled, row.offered))
        usual = float(np.mean([_distance(guide, seen) for seen in free])) if free else np.inf
        if nearest > max(FAR, CLOSED * usual):
            found.append(f"{guide.label} is out of reach: the nearest sample is {nearest:.1f} "
                         f"standard deviations away from what is asked, unguided ones "
                         f"{usual:.1f}.")
    return found


def asked_table(guides: Sequence[Mapping[str, Any]], rows: Sequence[Row],
                free: Sequence[Seen]) -> Table | None:
    """The report's first table: asked against achieved, unguided samples beside it."""
    lines: list[tuple[Cell, ...]] = []
    for one in guides:
        for key in one["sampled"][0] if one["sampled"] else ():
            lines.append((one["guide"], key, _text(one["asked"].get(key)),
                          _spread([r[key] for r in one["sampled"]]),
                          _spread([r[key] for r in one["relaxed"] if r]),
                          _spread([r[key] for r in one["unguided"]])))
    judged = [row.sampled.judged for row in rows if row.sampled.judged is not None]
    if judged:
        lines.append(("the judge, which did not guide", "residual", "0", _spread(judged),
                      _spread([row.relaxed.judged for row in rows
                               if row.relaxed and row.relaxed.judged is not None]),
                      _spread([seen.judged for seen in free if seen.judged is not None])))
    if not lines:
        return None
    return Table("Asked and achieved",
                 ("guide", "quantity", "asked", "as sampled", "relaxed", "unguided"), tuple(lines),
                 "Mean and standard deviation over the samples. Unguided samples are of the same "
                 "density (of its posterior mean, where it was sought) and share nothing with "
                 "what was asked.")


def posterior_table(numbers: Mapping[str, Any]) -> Table:
    """Density and coordination with their intervals."""
    lines: list[tuple[Cell, ...]] = [_line("density (g/cm³)", numbers["density"], 1.0)]
    lines += [_line(f"{key} bonds (%)", one, 100.0)
              for key, one in numbers["coordination"].items()]
    return Table("What the samples say", ("quantity", "mean", "50 % interval", "90 % interval"),
                 tuple(lines), "Of the structures that are offered. An interval is where one more "
                 "sample would lie, widened by what guided samples were found to err by together; "
                 "that of a density that was given has no width.")


def _line(name: str, one: Mapping[str, Any], unit: float) -> tuple[Cell, ...]:
    def interval(key: str) -> str:
        return "-" if one[key] is None else " to ".join(f"{unit * v:.3g}" for v in one[key])

    return name, f"{unit * one['mean']:.3g}", interval("interval50"), interval("interval90")


def _text(value: object) -> str:
    return "" if value is None else (f"{value:.4g}" if isinstance(value, float) else str(value))


def _spread(values: Sequence[float]) -> str:
    if not len(values):
        return "-"
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.2g}"


def answer_section(guides: Sequence[Mapping[str, Any]], numbers: Mapping[str, Any],
                   rows: Sequence[Row], free: Sequence[Seen],
                   density: DensityPosterior | None) -> Section:
    """The first section of the report."""
    from diffxas.plots import plot_density_posterior

    asked = asked_table(guides, rows, free)
    tables = (*((asked,) if asked else ()), posterior_table(numbers))
    if density is None:
        return Section("What was asked, and what came of it", tables=tables)
    figure = plot_density_posterior(density.density, density.prior, density.probability,
                                    [row.offered.structure.density for row in rows])
    low, high = density.interval(0.9)
    text = (f"The density was not given; beforehand it was {density.said}. What was asked speaks "
            f"for {density.mean:.2f} g/cm³, 90 % between {low:.2f} and {high:.2f}, by the evidence "
            f"of unguided structures of all densities: residuals of guided samples are no "
            f"evidence, since a guided cell fits at many.",)
    return Section("What was asked, and what came of it", text, tables, (FigureBlock(
        "density_posterior", "Posterior of the density",
        "Grey: what was known beforehand. Blue: with what was asked; ticks: densities of the "
        "samples. The material is taken to tie bonds and density as the prior's training "
        "structures do.", figure),))

