"""The figures of a run of ``generate``, drawn from its content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from diffxas import plots
from diffxas.analysis import partial_rdf, rdf
from diffxas.report.document import FigureBlock
from diffxas.structure import Structure

if TYPE_CHECKING:
    from diffxas.report.generated import ReportContent

RESIDUAL = "rms residual (target's unit)"


def session_figures(content: ReportContent) -> list[FigureBlock]:
    """The figures that the content allows, in the order of the page."""
    drawn = (_spectra(content), _shares(content), _convergence(content),
             _density_preference(content), _rdf(content), *_partial_rdfs(content),
             _coordination(content))
    return [figure for figure in drawn if figure is not None]


def _spectra(content: ReportContent) -> FigureBlock | None:
    sampled = {s.name: s.spectrum_sampled for s in content.samples
               if s.spectrum_sampled is not None}
    relaxed = {s.name: s.spectrum_relaxed for s in content.samples
               if s.spectrum_relaxed is not None}
    if content.energy is None or not (sampled or relaxed):
        return None
    panels = {name: curves for name, curves in (("as sampled", sampled), ("relaxed", relaxed))
              if curves}
    unguided = [u.spectrum for u in content.unguided if u.spectrum is not None]
    best = content.best
    figure = plots.plot_spectra(content.energy, content.target, panels, unguided, content.window,
                                content.unit, best.name if best else None, content.exclude)
    if content.target is None:
        return FigureBlock("spectra", "Spectra",
                           "Predicted spectra of the samples, averaged over absorbers.", figure)
    caption = "Target (black) and achieved spectra (colours); below, achieved minus target."
    if content.window is not None:
        caption += " The residual is judged in the shaded window"
        caption += ", not in the grey bands." if content.exclude else "."
    if unguided:
        caption += (" Grey: unguided samples of the same density, what the prior alone gives. "
                    "Guidance has done something where colours are nearer to black than grey is.")
    return FigureBlock("spectra", "Target and achieved spectra", caption, figure)


def _shares(content: ReportContent) -> FigureBlock | None:
    if content.energy is None or not content.shares:
        return None
    figure = plots.plot_shares(content.energy, content.shares, content.target, content.unit,
                               content.window)
    return FigureBlock("shares", "Shares of absorbers by coordination",
                       "What 2-, 3- and 4-coordinated absorbers add to the spectrum, each weighted "
                       "by its number; the shares sum to the whole.", figure)


def _convergence(content: ReportContent) -> FigureBlock | None:
    traces = {s.name: s.convergence for s in content.samples if s.convergence is not None}
    if not traces or content.target is None:
        return None
    unguided = [u.convergence for u in content.unguided if u.convergence is not None]
    figure = plots.plot_convergence(traces, unguided, content.guided_below, RESIDUAL)
    return FigureBlock("convergence", "Convergence of the residual",
                       "Residual of the denoised estimate at each noise level of the reverse "
                       "diffusion, from noise (left) to structure (right).", figure)


def _density_preference(content: ReportContent) -> FigureBlock | None:
    preference = content.density_preference
    if preference is None:
        return None
    figure = plots.plot_density_preference(preference.density, preference.residuals,
                                           preference.unguided, RESIDUAL)
    return FigureBlock("density_preference", "Density that the spectrum prefers",
                       "Residual of samples made at several densities. A flat curve says that the "
                       "spectrum does not decide the density.", figure)


def _states(content: ReportContent) -> dict[str, dict[str, Structure]]:
    """State to name to structure, the states that there are."""
    states = {"as sampled": {s.name: s.sampled for s in content.samples},
              "relaxed": {s.name: s.relaxed for s in content.samples if s.relaxed is not None}}
    return {state: structures for state, structures in states.items() if structures}


def _rdf(content: ReportContent) -> FigureBlock | None:
    if not all(s.sampled.pbc.all() for s in content.samples):
        return None  # a slab has no density that it could be measured against
    panels: dict[str, Mapping[str, tuple[np.ndarray, np.ndarray]]] = {
        state: {name: rdf(structure) for name, structure in structures.items()}
        for state, structures in _states(content).items()}
    reference = ({content.reference_name: rdf(content.reference)}
                 if content.reference is not None else None)
    figure = plots.plot_curves(panels, "distance (Å)", "g(r)", reference,
                               [rdf(u.structure) for u in content.unguided], baseline=1.0)
    return FigureBlock("rdf", "Radial distribution function",
                       "How often two atoms are a distance apart, against atoms without "
                       "correlation (1); every periodic image counts.", figure)


def _partial_rdfs(content: ReportContent) -> list[FigureBlock]:
    """One figure for each pair of elements, where there are several."""
    first = content.samples[0].sampled
    if len(set(first.symbols)) < 2 or not first.pbc.all():
        return []
    curves = {state: {name: partial_rdf(structure) for name, structure in structures.items()}
              for state, structures in _states(content).items()}
    reference = None if content.reference is None else partial_rdf(content.reference)
    names = dict.fromkeys(pair for panel in curves.values() for _, g in panel.values()
                          for pair in g)
    figures = []
    for pair in names:
        panels: dict[str, Mapping[str, tuple[np.ndarray, np.ndarray]]] = {
            state: {name: (r, g[pair]) for name, (r, g) in panel.items()}
            for state, panel in curves.items()}
        black = None
        if reference is not None and pair in reference[1]:
            black = {content.reference_name: (reference[0], reference[1][pair])}
        figures.append(FigureBlock(
            f"rdf_{pair}", f"Partial radial distribution function, {pair}",
            f"How often {pair.replace('-', ' and ')} are a distance apart, against atoms without "
            f"correlation (1).",
            plots.plot_curves(panels, "distance (Å)", f"g(r), {pair}", black, baseline=1.0)))
    return figures


def _coordination(content: ReportContent) -> FigureBlock:
    groups: dict[str, list[dict[str, float]]] = {}
    colours = {"unguided": plots.GREY, content.reference_name: "black",
               "as sampled": plots.SAMPLE_COLOURS[5], "relaxed": plots.SAMPLE_COLOURS[0]}
    if content.unguided:
        groups["unguided"] = [content.bonding(u.structure)["coordination"]
                              for u in content.unguided]
    for state, structures in _states(content).items():
        groups[state] = [content.bonding(s)["coordination"] for s in structures.values()]
    if content.reference is not None:
        groups[content.reference_name] = [content.bonding(content.reference)["coordination"]]
    figure = plots.plot_bars(groups, "number of bonds", "share of atoms", colours)
    relaxed = any(s.relaxed is not None for s in content.samples)
    return FigureBlock("coordination",
                       "Coordination before and after relaxation" if relaxed else "Coordination",
                       "Bars are means over samples, dots the single samples.", figure)
