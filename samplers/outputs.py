"""What a run leaves behind: structures, tables, figures, the report, and last its summary."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.cutoffs import cutoff_record
from diffxas.files import replacing, write_json
from diffxas.relaxation import enclosed
from diffxas.structure import Structure
from diffxas.structure_files import read_structures, write_structures
from samplers.answers import answer_section, beyond_reach, guide_numbers, posterior_numbers
from samplers.intervals import credible
from samplers.judged import (
    Row,
    Seen,
    best_of,
    drawn_sentence,
    fits_of,
    judge,
    look_at,
)
from samplers.judges import disagreement, judged_numbers
from samplers.nuisance_summary import nuisance_summary
from samplers.report_content import report_content
from samplers.setup import GenerateOptions, Setup
from surrogates.pi_star import pi_star_if_covered
from surrogates.unexplained import unexplained_peak

if TYPE_CHECKING:
    from diffxas.report import ReportContent
    from samplers.calibration import Calibration
    from samplers.generation import Produced

APART = 10.0
"""Least vacuum, angstrom, beside a slab in a LAMMPS data file, which has no periodic flags."""
STRANGERS = 0.05
"""Share of atoms outside the surrogate's domain that is worth a warning; 1 % is usual."""
OUT_OF_REACH = 0.5
"""A residual above this share of the target's standard deviation is no fit."""


def write_outputs(setup: Setup, out: Path, produced: Produced,
                  command: str) -> tuple[list[Structure], int]:
    """Write everything; the answers in the order of their number, and the exit code."""
    from diffxas.report import write_report

    rows = [judge(setup, s) for s in produced.samples]
    free = [look_at(setup, s.sampled) for s in produced.unguided]
    calibration = produced.calibration
    fitted, missed = _reached(setup, rows), beyond_reach(setup, rows, free)
    reached = fitted and not missed
    warnings = [*setup.warnings, *_warnings(setup, rows, fitted), *missed,
                *_fooled(setup, rows, free)]
    posterior = posterior_numbers(setup, rows, produced.density)
    guides = guide_numbers(setup, rows, free)
    write_structure_files(setup, out, rows)
    write_spectra(setup, out, rows)
    write_samples(setup, out, rows)
    if calibration is not None:
        _write_calibration(out, calibration)
    content = report_content(setup, rows, produced.unguided, free, calibration, warnings, command)
    content = replace(content, answers=answer_section(
        guides, posterior, rows, free, produced.density))
    write_report(content, out / "report.html", out / "figures")
    write_json(out / "summary.json",
               {**summary(setup, rows, free, calibration, reached, warnings, command, content),
                "posterior": posterior, "guides": guides})
    for warning in warnings[len(setup.warnings):]:
        print(f"Warning: {warning}")
    return [row.offered.structure for row in rows], 0 if reached else 3


def _fooled(setup: Setup, rows: Sequence[Row], free: Sequence[Seen]) -> list[str]:
    """A warning if the judge does not see what the guide gained."""
    pairs = [(seen.residual, seen.judged) for seen in (*free, *(row.sampled for row in rows))]
    if not setup.guided or not free or any(None in pair for pair in pairs):
        return []
    guide, by_judge = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    n = len(free)
    found = disagreement(guide[n:], by_judge[n:], {"guide": guide[:n], "judge": by_judge[:n]})
    return [found] if found else []


def _reached(setup: Setup, rows: Sequence[Row]) -> bool:
    """Whether the best answer fits the target, if there is one."""
    if setup.target is None:
        return True
    best = best_of(rows)
    assert best is not None and best.offered.residual is not None, "a target is always fitted"
    return best.offered.residual <= OUT_OF_REACH * setup.target.spread


def _warnings(setup: Setup, rows: Sequence[Row], fitted: bool) -> list[str]:
    found = []
    if not fitted and setup.target is not None:
        found.append(f"The target is out of reach: no sample's residual falls below half the "
                     f"target's standard deviation over the window "
                     f"({OUT_OF_REACH * setup.target.spread:.4g}).")
    for row in rows:
        name, relaxation = f"Sample {row.sample.number}", row.sample.relaxation
        if relaxation.get("failed"):
            found.append(f"{name}: relaxation failed, the unrelaxed structure is kept "
                         f"({relaxation['message']}).")
        elif relaxation and not relaxation["converged"]:
            found.append(f"{name}: relaxation did not converge ({relaxation['message']}).")
        if row.offered.strangers > STRANGERS:
            found.append(f"{name}: {row.offered.strangers:.0%} of the absorbers are unlike all "
                         f"sites that the surrogate was trained on (column domain_score above 1): "
                         f"its spectrum is a guess there.")
        if row.relaxed is not None and row.answer == "sampled" and not relaxation.get("failed"):
            found.append(f"{name}: relaxation raised the residual from {row.sampled.residual:.4g} "
                         f"to {row.relaxed.residual:.4g}; the structure as sampled is the answer. "
                         f"--relax-restraint holds atoms closer to it.")
    if setup.arrangement is not None:
        for row in rows:
            inside, depth = setup.arrangement.intruders(row.offered.structure.positions)
            if inside:
                found.append(f"Sample {row.sample.number}: relaxation left {inside} of "
                             f"{len(setup.arrangement.others)} atoms in forbidden regions or "
                             f"beyond the faces of the slab, at most {depth:.2f} angstrom deep; as "
                             f"sampled there are none.")
    found += _unexplained(setup, rows)
    fits = fits_of(rows)
    notes = dict.fromkeys(note for fit in fits for note in fit.notes)
    found += [f"{note} (in {sum(note in fit.notes for fit in fits)} of {len(fits)} samples)"
              for note in notes]
    return found


def _unexplained(setup: Setup, rows: Sequence[Row]) -> list[str]:
    """A peak that the best answer has not, if there is one."""
    best = best_of(rows)
    if best is None or setup.target is None:
        return []
    seen = best.offered
    assert seen.fit is not None and seen.mean is not None, "what has a residual was fitted"
    peak = unexplained_peak(setup.target.observation, seen.fit, seen.mean)
    return [] if peak is None else [
        f"Sample {best.sample.number}: {peak.sentence(setup.target.unit_step)}"]


def write_structure_files(setup: Setup, out: Path, rows: Sequence[Row]) -> None:
    """``structures`` and ``relaxed`` in extxyz and the further formats asked for."""
    groups = {"structures": [row.sampled.structure.with_info(sample=row.sample.number)
                             for row in rows]}
    if setup.relaxation is not None:
        groups["relaxed"] = [
            row.relaxed.structure.with_info(sample=row.sample.number,
                                            relaxed=row.sample.relaxed is not None)
            for row in rows if row.relaxed is not None]
    for name, structures in groups.items():
        write_structures(out / f"{name}.extxyz", structures)
    write_further_formats(out, setup.options)


def write_further_formats(out: Path, options: GenerateOptions) -> list[Path]:
    """One file a structure in each format, beside ``structures`` and ``relaxed.extxyz``.

    LAMMPS files with charges or types in a given order replace those that are there.

    Returns
    -------
    the files that were written
    """
    formats, typed = options.formats, bool(options.type_order or options.charges)
    written = []
    for source in (out / "structures.extxyz", out / "relaxed.extxyz"):
        structures = read_structures(source) if formats and source.is_file() else []
        for number, structure in enumerate(structures):
            for suffix in formats:
                path = out / f"{source.stem}_{number}.{suffix}"
                if not path.exists() or (typed and suffix == "data"):
                    whole = enclosed(structure, APART) if suffix == "data" else structure
                    write_structures(path, [whole], type_order=options.type_order,
                                     charges=options.charges)
                    written.append(path)
    return written


def _columns(rows: Sequence[Row], which: str) -> dict[str, np.ndarray]:
    """``sampled_0, relaxed_0, ...``: curves after the observation model, or cell means."""
    columns: dict[str, np.ndarray] = {}
    for row in rows:
        for state, seen in (("sampled", row.sampled), ("relaxed", row.relaxed)):
            values = None if seen is None else (
                seen.mean if which == "mean" or seen.curve is None else seen.curve)
            if values is not None:
                columns[f"{state}_{row.sample.number}"] = values
    return columns


def write_table(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Columns of numbers under their names, CSV."""
    with replacing(path) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows([f"{x:.8g}" for x in line]
                         for line in zip(*columns.values(), strict=True))


def write_spectra(setup: Setup, out: Path, rows: Sequence[Row]) -> None:
    """``spectra.csv`` on the target's points, ``spectra_raw.csv`` on the surrogate's grid.

    Without a surrogate there are none.
    """
    if setup.surrogate is None:
        return
    energy = setup.surrogate.energy
    write_table(out / "spectra_raw.csv", {"energy": energy, **_columns(rows, "mean")})
    head = {"energy": energy}
    if setup.target is not None:
        spectrum = setup.target.spectrum
        head = {"energy": spectrum.energy, "target": spectrum.mu}
    write_table(out / "spectra.csv", {**head, **_columns(rows, "curve")})


def write_samples(setup: Setup, out: Path, rows: Sequence[Row]) -> None:
    """``samples.csv``: a row a sample, best first."""
    ranked = sorted(rows, key=lambda row: (row.offered.residual is None, row.offered.residual or 0))
    lines = [_flat(row.numbers(setup)) for row in ranked]
    with replacing(out / "samples.csv") as temporary, temporary.open("w", newline="") as handle:
        header = dict.fromkeys(key for line in lines for key in line)
        writer = csv.DictWriter(handle, list(header), restval=0)
        writer.writeheader()
        writer.writerows(lines)


def _flat(numbers: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in numbers.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}_{k}": v for k, v in _flat(value).items()}
        elif value is not None or not key.startswith("coordination"):
            flat[key] = value
    return flat


def _write_calibration(out: Path, calibration: Calibration) -> None:
    from diffxas.plots import plot_calibration, save_figure

    write_table(out / "calibration.csv", {
        "sigma": calibration.sigma, "error_before_bias": calibration.raw_error,
        "error": calibration.error,
        "spread_of_unguided": np.full(len(calibration.sigma), calibration.spread)})
    save_figure(plot_calibration(calibration.sigma, calibration.raw_error, calibration.error,
                                 calibration.spread, calibration.sigma_on),
                out / "figures" / "calibration.png")


def _pi_star(setup: Setup, rows: Sequence[Row]) -> dict[str, Any] | None:
    """The classical estimate by the best fit, and its scatter over the fits of all samples."""
    best = best_of(rows)
    if setup.target is None or setup.surrogate is None or setup.surrogate.element != "C" or \
            best is None or best.offered.fit is None:
        return None
    estimate = pi_star_if_covered(setup.target.observation, best.offered.fit)
    if estimate is None:
        return None
    every = [pi_star_if_covered(setup.target.observation, fit) for fit in fits_of(rows)]
    return {"sp2_fraction": estimate.fraction, "share": estimate.share,
            "reference": estimate.reference,
            **credible([one.fraction for one in every if one is not None], (0.0, np.inf))}


def summary(setup: Setup, rows: Sequence[Row], free: Sequence[Seen],
            calibration: Calibration | None, reached: bool, warnings: Sequence[str], command: str,
            content: ReportContent) -> dict[str, Any]:
    """The content of ``summary.json``, but for what the guides asked and what it tells."""
    target = setup.target
    best = best_of(rows)
    return {
        "samples": [row.numbers(setup) for row in rows],
        "unguided": [{"residual": seen.residual, **seen.bonding} for seen in free],
        "target_kind": target.kind if target else None,
        "target_reason": target.reason if target else None,
        "window": list(target.window) if target else None,
        "target_spread": target.spread if target else None,
        "edge_step": target.unit_step if target and target.kind == "measured" else None,
        "judge": None if setup.judge is None else judged_numbers(
            setup.judge, [row.sampled.judged for row in rows],
            [row.relaxed.judged if row.relaxed else None for row in rows]),
        "best": best.sample.number if best else None,
        "out_of_reach": not reached,
        "guided": setup.guided,
        "algorithm": setup.options.algorithm if setup.guided else None, "kind": setup.kind,
        "composition": dict(Counter(setup.system.symbols)),
        "spectra": setup.no_spectra or drawn_sentence(setup, rows[0].sampled) or "predicted",
        "arrangement": setup.arrangement.numbers() if setup.arrangement else None,
        **cutoff_record(setup.cutoffs),
        "sigma_on": calibration.sigma_on if calibration else None,
        "pi_star": _pi_star(setup, rows),
        "nuisance": nuisance_summary(target.observation if target else None, fits_of(rows)),
        "versions": dict(content.versions), "weights": setup.weights, "command": command,
        "warnings": list(warnings),
    }
