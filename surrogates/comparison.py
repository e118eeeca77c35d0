"""Structures that one already has, ranked against a target: ``diffxas compare``.

Every structure's spectrum passes through the same observation model (same target, window and
priors), each with nuisances fitted to itself. The rank is by residual. A structure may also
buy its residual with unlikely nuisances; ``delta_log_posterior`` counts that against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError
from diffxas.files import write_json, write_text
from diffxas.spectrum import Spectrum
from diffxas.structure import Structure
from surrogates.nuisances import NuisanceOptions
from surrogates.observation import Fit, MeasuredObservation, Observation
from surrogates.pi_star import pi_star_if_covered
from surrogates.prediction import check_labelled, predict_table, write_csv
from surrogates.protocol import SurrogateModel, check_target
from surrogates.targets import observation_for
from surrogates.unexplained import unexplained_peak

if TYPE_CHECKING:
    from diffxas.normalise import Normalisation
    from surrogates.reference import Reference

ISOLATED = "holds an absorber without a neighbour, not to be trusted"
OUTSIDE = "unlike the surrogate's training sites, its spectrum is a guess"

OUTPUTS = ("compare.json", "compare.csv", "spectra.csv", "report.html",
           "figures/spectra.png", "figures/residuals.png")
"""What a comparison leaves in its folder; compare.json marks the folder as its own."""


@dataclass(frozen=True, eq=False)
class ComparisonRow:
    """One structure against the target.

    Attributes
    ----------
    rank : from 1, best first
    label, density : of the structure; g/cm3
    residual : rms over the window after the nuisances, target units
    delta_log_posterior : against the largest among the structures, 0 or negative
    coordination : fractions keyed "0" to "6"
    nuisances, nuisances_sigma : fitted values and one standard deviation
    notes : such as a nuisance at its bound
    """

    rank: int
    label: str
    density: float
    residual: float
    delta_log_posterior: float
    coordination: Mapping[str, float]
    nuisances: Mapping[str, float]
    nuisances_sigma: Mapping[str, float]
    notes: tuple[str, ...]


def rank_structures(observation: Observation, labelled: Sequence[tuple[str, Structure]],
                    spectra: Mapping[str, np.ndarray],
                    ) -> tuple[list[ComparisonRow], dict[str, Fit]]:
    """Fit each structure's spectrum and rank by residual; ties stay in the order of the input.

    Parameters
    ----------
    observation : of the target
    labelled : label and structure
    spectra : label -> cell spectrum (n_grid,), model units

    Returns
    -------
    rows, best first; fits by label
    """
    from diffxas.analysis import coordination_fractions

    fits = {label: observation.fit(spectra[label]) for label, _ in labelled}
    posterior = {label: fit.log_likelihood + fit.log_prior for label, fit in fits.items()}
    highest = max(posterior.values())
    order = sorted(labelled, key=lambda pair: fits[pair[0]].residual_rms)
    rows = [ComparisonRow(
        rank, label, structure.density, fits[label].residual_rms, posterior[label] - highest,
        coordination_fractions(structure), fits[label].theta, fits[label].theta_sigma,
        fits[label].notes) for rank, (label, structure) in enumerate(order, start=1)]
    return rows, fits


def compare(target: Spectrum, labelled: Sequence[tuple[str, Structure]], model: SurrogateModel,
            out_dir: str | Path, *, target_kind: str = "auto",
            window: tuple[float, float] | None = None,
            normalisation: Normalisation | None = None,
            options: NuisanceOptions | None = None,
            exclude: tuple[tuple[float, float], ...] = (), adsorbates: bool = False,
            reference: Reference | None = None, progress: bool = False) -> list[ComparisonRow]:
    """Rank structures against a target and write the comparison.

    Parameters
    ----------
    target : as read
    labelled : label and structure
    model : the surrogate
    out_dir : replaced if an earlier comparison is there
    target_kind, window, normalisation, options, exclude, adsorbates, reference : of
        :func:`surrogates.targets.observation_for`
    progress : show a bar

    Returns
    -------
    rows, best first, as in ``compare.csv``

    Raises
    ------
    InputError
        Before anything is computed or written: on a target or structures that do not suit the
        model, a window that misses data or edge, or a folder that holds another command's output.
    """
    out_dir = Path(out_dir)
    check_folder(out_dir)
    check_target(target, model)
    check_labelled(labelled, model)
    observation, reason = observation_for(
        target, model.energy, target_kind=target_kind, window=window,
        normalisation=normalisation, options=options, exclude=exclude, adsorbates=adsorbates,
        reference=reference)
    predicted = predict_table(labelled, model, progress=progress)
    rows, fits = rank_structures(observation, labelled, predicted.columns)
    flags = ((ISOLATED, predicted.lone), (OUTSIDE, predicted.outside))
    rows = [replace(row, notes=(*row.notes, *(
        note for note, labels in flags if row.label in labels))) for row in rows]
    best = rows[0].label
    peak = unexplained_peak(observation, fits[best], predicted.columns[best])
    if peak is not None:
        rows[0] = replace(rows[0], notes=(*rows[0].notes, peak.sentence()))
    estimate = None
    if isinstance(observation, MeasuredObservation) and (model.element, model.edge) == ("C", "K"):
        estimate = pi_star_if_covered(observation, fits[rows[0].label])
    summary = {
        "target": dict(target.meta), "target_kind": observation.kind, "reason": reason,
        "window": list(observation.window), "exclude": [list(pair) for pair in exclude],
        "noise": observation.noise, "target_spread": observation.spread,
        "surrogate": model.name, "edge": f"{model.element}:{model.edge}",
        "priors": _priors(observation),
        "reference": reference.sentence() if reference else None,
        "pi_star": asdict(estimate) if estimate else None,
        "rows": [asdict(row) for row in rows],
    }
    _write(out_dir, observation, rows, fits, summary)
    return rows


def check_folder(out_dir: Path) -> None:
    """Refuse a folder whose files another command wrote.

    Raises
    ------
    InputError
        If files of our names are there without ``compare.json``, or a ``run.json`` of generate.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"--out must be a folder, received the file {out_dir}: choose another")
    if (out_dir / "compare.json").exists() and not (out_dir / "run.json").exists():
        return
    foreign = [name for name in ("run.json", *OUTPUTS) if (out_dir / name).exists()]
    if foreign:
        raise InputError(f"--out must be a new folder or that of an earlier comparison, received "
                         f"{out_dir} with another command's {foreign[0]}: choose another --out")


def _priors(observation: Observation) -> list[dict[str, Any]]:
    if not isinstance(observation, MeasuredObservation):
        return []
    return [asdict(nuisance) for nuisance in observation.nuisances]


def _write(out_dir: Path, observation: Observation, rows: list[ComparisonRow],
           fits: dict[str, Fit], summary: dict[str, Any]) -> None:
    from diffxas.plots import save_figure
    from surrogates.comparison_report import draw_residuals, draw_spectra, render

    write_json(out_dir / "compare.json", summary)  # first: it marks the folder as ours
    names = list(rows[0].nuisances)
    keys = list(rows[0].coordination)
    header = ["rank", "label", "residual", "delta_log_posterior", "density",
              *(f"coordination_{key}" for key in keys), *names,
              *(f"{name}_sigma" for name in names), "notes"]
    write_csv(out_dir / "compare.csv", header, (
        [row.rank, row.label, row.residual, row.delta_log_posterior, row.density,
         *(row.coordination[key] for key in keys), *(row.nuisances[name] for name in names),
         *(row.nuisances_sigma[name] for name in names), "; ".join(row.notes)] for row in rows))
    write_csv(out_dir / "spectra.csv", ["energy", "target", *fits], np.column_stack(
        [observation.energy, observation.target, *(fit.full_prediction for fit in fits.values())]))
    figures = {"spectra.png": draw_spectra(observation, rows, fits),
               "residuals.png": draw_residuals(observation, rows)}
    for name, figure in figures.items():
        save_figure(figure, out_dir / "figures" / name)
    write_text(out_dir / "report.html", render(out_dir / "figures", rows, summary))
