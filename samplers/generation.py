"""One run: a target spectrum (or none) in, structures, spectra and a report out.

Order of work: everything is checked; ``run.json`` is written; a density that is not given is sought
by the evidence of unguided structures (:mod:`samplers.evidence`); two unguided samples are drawn at
the density (the report shows them); the guides are calibrated there, on structures that the prior
carries (:mod:`samplers.prior_samples`) or, where it has none near, on those two; every sample is
drawn, guided, relaxed, and kept; tables, figures and the report are written, ``summary.json`` last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import RunError
from diffxas.run_folder import Record, RunFolder
from diffxas.spectrum import Spectrum
from diffxas.structure import Structure
from samplers.algorithms import UNGUIDED, find_algorithm
from samplers.guides.base import Guide, Guides, ObservedGuide
from samplers.setup import GenerateOptions, Sample, Setup, set_up

if TYPE_CHECKING:
    from samplers.algorithms.base import Algorithm
    from samplers.calibration import Calibration
    from samplers.evidence import DensityPosterior, DensityPrior

UNGUIDED_SAMPLES = 2
"""Drawn beside the others, to compare with."""
CALIBRATED_ON, CALIBRATED_WITHIN = 4, 0.15
"""Samples of the prior's bank that a guide is calibrated on, and how far (g/cm3) they may be."""
SAME_CALIBRATION = 0.15
"""g/cm3; samples of a density that is sought share a calibration when they are this near."""
BANK_DRAWN = 32
"""Unguided samples that are drawn where a density is sought and the prior carries no bank."""
UNGUIDED_NUMBER = 1_000_000
"""Unguided samples are numbered from here, so that they share no noise with guided ones."""


@dataclass(frozen=True, eq=False)
class Produced:
    """What a run drew.

    Attributes
    ----------
    samples, unguided : in the order of their number
    calibration : of the first guide that has one
    density : posterior of a density that was sought, None where it was given
    """

    samples: list[Sample]
    unguided: list[Sample]
    calibration: Calibration | None
    density: DensityPosterior | None


def produce(setup: Setup, folder: RunFolder, progress: bool) -> tuple[Setup, Produced]:
    """Draw (or load) unguided samples, the calibration and all samples, in order.

    Returns
    -------
    the set-up at the density that the posterior has in the mean, and what was drawn
    """
    sought = setup.options.density_prior is not None
    carried = carried_bank(setup) if setup.guided or sought else []
    density = sought_density(setup, carried, folder, progress)
    drawn = [setup.box.density] * setup.options.samples
    if density is not None:
        setup = setup.at_density(density.mean)
        drawn = density.drawn(setup.options.samples)
    with _bar(setup, progress) as advance:
        unguided = []
        if setup.compared:
            numbers = range(UNGUIDED_NUMBER, UNGUIDED_NUMBER + UNGUIDED_SAMPLES)
            unguided = [_sample(setup, folder, n, False, advance) for n in numbers]
        calibrated = _calibrated(setup, carried, unguided, advance)
        samples: list[Sample] = []
        at = calibrated
        for n, rho in enumerate(drawn):
            if abs(rho - at.box.density) > SAME_CALIBRATION:
                at = _calibrated(setup.at_density(rho), carried, unguided, advance)
            here = at if density is None else moved(at, rho)
            samples.append(_sample(here, folder, n, setup.guided, advance))
            _write_finished(setup, folder.path, samples)
    found = [guide.calibration for guide in calibrated.guides if isinstance(guide, ObservedGuide)]
    return calibrated, Produced(samples, unguided, found[0] if found else None, density)


def sought_density(setup: Setup, carried: list[Structure], folder: RunFolder,
                   progress: bool) -> DensityPosterior | None:
    """What the guides say of a density that is not given; None where it is."""
    from samplers.evidence import density_posterior

    prior = setup.options.density_prior
    if prior is None:
        return None
    bank = carried or _drawn_bank(setup, prior, folder, progress)
    return density_posterior(setup.guides, bank, prior)


def _drawn_bank(setup: Setup, prior: DensityPrior, folder: RunFolder,
                progress: bool) -> list[Structure]:
    """Unguided samples over the densities, drawn for the run."""
    from diffxas.prior import find_prior
    from samplers.prior_samples import draw_bank, spread_densities

    return draw_bank(find_prior(setup.options.prior), lambda rho: setup.at_density(rho).system,
                     list(spread_densities(prior.low, prior.high, BANK_DRAWN)), setup.kind,
                     setup.options.seed, folder.path / ".work" / "bank", progress)


def carried_bank(setup: Setup) -> list[Structure]:
    """The structures over densities that the prior carries, if they are of the composition."""
    from diffxas.prior import find_prior
    from samplers.prior_samples import read_bank

    formula = _reduced(setup.system)
    return [s for s in read_bank(find_prior(setup.options.prior)) if _reduced(s) == formula]


def _reduced(structure: Structure) -> str:
    return str(structure.to_atoms().symbols.formula.reduce()[0])


def _calibrated(setup: Setup, carried: list[Structure], unguided: list[Sample],
                advance: Callable[[int, str], None]) -> Setup:
    """The run with its guides calibrated at its density."""
    from samplers.calibration import calibrate

    structures = calibration_samples(setup, carried, [s.sampled for s in unguided])
    guides = tuple(guide.at(setup.system) for guide in setup.guides)
    for guide in guides:
        if isinstance(guide, ObservedGuide):
            advance(0, f"calibrating {guide.label}")
            guide.calibration = calibrate(
                lambda system: _denoiser(replace(setup, system=system)), guide, structures,
                setup.options.seed)
    return replace(setup, guides=guides)


def moved(setup: Setup, density: float) -> Setup:
    """The run at another density, with the calibration that it has."""
    there = setup.at_density(density)
    return replace(there, guides=fresh_guides(setup.guides, there.system))


def fresh_guides(guides: Sequence[Guide], system: Structure) -> tuple[Guide, ...]:
    """The guides for a system, calibrated as they are, without what a walk left in them."""
    found = tuple(guide.at(system) for guide in guides)
    for new, old in zip(found, guides, strict=True):
        if isinstance(new, ObservedGuide) and isinstance(old, ObservedGuide):
            new.calibration = old.calibration
    return found


def calibration_samples(setup: Setup, carried: list[Structure],
                        unguided: list[Structure]) -> list[Structure]:
    """Unguided structures of about the run's density: the prior's own, or else those of the run."""
    if setup.arrangement is not None:
        return unguided
    near = sorted(carried, key=lambda s: abs(s.density - setup.box.density))
    near = near[:CALIBRATED_ON]
    far = max((abs(s.density - setup.box.density) for s in near), default=np.inf)
    return near if far < CALIBRATED_WITHIN else unguided


def _write_finished(setup: Setup, out: Path, samples: list[Sample]) -> None:
    """Structures so far: what an interrupted run leaves is of use."""
    from diffxas.structure_files import write_structures

    write_structures(out / "structures.extxyz",
                     [s.sampled.with_info(sample=s.number) for s in samples])
    if setup.relaxation is not None:
        write_structures(out / "relaxed.extxyz",
                         [(s.relaxed or s.sampled).with_info(sample=s.number) for s in samples])


@contextmanager
def _bar(setup: Setup, progress: bool) -> Iterator[Callable[[int, str], None]]:
    """A bar over the denoiser calls of the whole run; yields (calls, what) -> None."""
    from tqdm import tqdm

    total = setup.options.samples * _calls(setup, setup.guided)
    if setup.compared:
        total += UNGUIDED_SAMPLES * _calls(setup, False)
    with tqdm(total=total, unit="call", disable=not progress) as bar:
        def advance(calls: int, what: str) -> None:
            bar.set_description(what)
            bar.update(calls)

        yield advance


def _algorithm(setup: Setup, guided: bool) -> Algorithm:
    return find_algorithm(setup.options.algorithm if guided else UNGUIDED)


def _calls(setup: Setup, guided: bool) -> int:
    """Denoiser calls of a sample."""
    return setup.schedule.calls * _algorithm(setup, guided).walks


def _denoiser(setup: Setup) -> Any:
    from diffxas.denoiser import PriorDenoiser

    return PriorDenoiser(setup.prior, setup.system, setup.kind)


def _sample(setup: Setup, folder: RunFolder, number: int, guided: bool,
            advance: Callable[[int, str], None]) -> Sample:
    """One sample, from the folder if it was finished before."""
    unguided = number >= UNGUIDED_NUMBER
    label = f"unguided {number - UNGUIDED_NUMBER}" if unguided else f"sample {number}"
    name = label.replace(" ", "_")
    record = folder.load(name)
    if record is None:
        record = _draw(setup, number, guided, lambda: advance(1, label))
        if not unguided and setup.relaxation is not None:
            advance(0, f"{label}, relaxing")
            record = _relaxed(setup, record)
        folder.save(name, record)
    else:
        advance(_calls(setup, guided), label)
    sampled = setup.system.with_positions(record.arrays["positions"])
    relaxed = None
    if "relaxed" in record.arrays:
        relaxed = Structure(
            record.arrays["relaxed"], setup.system.numbers, record.arrays["relaxed_cell"],
            setup.system.pbc, info={"energy": record.values["relaxation"]["energy"]},
            arrays={"forces": record.arrays["forces"]})
    return Sample(number, sampled, relaxed, record.arrays["trace"],
                  record.values.get("relaxation", {}), record.values["seconds_sampling"],
                  record.values["calls"])


def _draw(setup: Setup, number: int, guided: bool, advance: Callable[[], None]) -> Record:
    """Walk from noise to a structure."""
    import torch

    from samplers.algorithms.base import Problem
    from samplers.guidance import guided_schedule
    from samplers.guides.spectrum import SpectrumGuide

    begun = time.monotonic()
    guide = Guides(fresh_guides(setup.guides, setup.system)) if guided else None
    schedule = setup.schedule if guide is None else guided_schedule(setup.schedule)
    problem = Problem(
        _denoiser(setup), guide, schedule, lambda n: torch.tensor(_start(setup, n)),
        setup.options.seed,
        None if setup.arrangement is None else setup.arrangement.confined)
    with torch.no_grad():
        drawn = _algorithm(setup, guided).draw(problem, number, lambda _: advance())
    positions = drawn.positions.numpy()
    if not np.isfinite(positions).all():
        raise RunError(f"positions must stay finite, received NaN in sample {number}: "
                       f"choose another --seed, and report this")
    traces = [one.trace for one in (guide.guides if guide else ())
              if isinstance(one, SpectrumGuide)]
    trace = np.array(traces[0] if traces else []).reshape(-1, 2)
    placed = (setup.system.with_positions(positions).wrapped().positions
              if setup.arrangement is None else setup.arrangement.placed(positions))
    return Record({"positions": placed, "trace": trace},
                  {"seconds_sampling": time.monotonic() - begun, "calls": drawn.calls})


def _start(setup: Setup, number: int) -> np.ndarray:
    """Where sample ``number`` begins, (n_atoms, 3), angstrom."""
    from samplers.start import start_positions

    level, seed = setup.schedule.levels()[0], setup.options.seed
    if setup.arrangement is not None:
        return setup.arrangement.start(level, seed, number)
    return start_positions(setup.box.n_atoms, setup.box.cell, setup.schedule.sigma_max, seed,
                           number, list(setup.box.composition.values()))


def _relaxed(setup: Setup, record: Record) -> Record:
    """The record with the relaxed structure and the numbers of its relaxation."""
    from diffxas.relaxation import relax

    assert setup.relaxation is not None
    result = relax(setup.system.with_positions(record.arrays["positions"]), setup.relaxation)
    numbers = {
        "energy_before": result.energy_before, "energy_after": result.energy_after,
        "energy": result.structure.info.get("energy"), "pressure": result.pressure_gpa,
        "fmax": result.fmax, "rms_displacement": result.rms_displacement,
        "converged": result.converged, "failed": result.failed, "message": result.message,
        "seconds": result.seconds, "potential": result.potential,
    }
    arrays = dict(record.arrays)
    if not result.failed:
        arrays |= {"relaxed": result.structure.positions, "relaxed_cell": result.structure.cell,
                   "forces": np.asarray(result.structure.arrays["forces"])}
    return Record(arrays, {**record.values, "relaxation": numbers})


def generate_to(spectrum: Spectrum | None, out: Path, options: GenerateOptions, *,
                command: str = "", progress: bool = True) -> int:
    """Run in the folder ``out`` and return the exit code: 0, or 3 if the target is out of reach.

    Raises
    ------
    InputError
        Before anything is computed or written.
    """
    return run_in(spectrum, Path(out), options, command, progress)[1]


def run_in(spectrum: Spectrum | None, out: Path, options: GenerateOptions, command: str,
           progress: bool) -> tuple[list[Structure], int]:
    """Run (or resume) in ``out``; the answers, and the exit code."""
    from samplers.outputs import write_further_formats, write_outputs

    setup = set_up(spectrum, options)
    folder = RunFolder(out, setup.identity)
    if folder.finished:
        added = write_further_formats(out, options)
        if progress:
            todo = f"{len(added)} structure files written" if added else "nothing to do"
            print(f"{out} holds this run, finished: {todo}. See {out / 'report.html'}")
        return _finished_answers(out), 0
    folder.begin(command=command)
    for key, fact in (setup.arrangement.facts() if setup.arrangement else {}).items():
        print(f"{key}: {fact}")
    for warning in setup.warnings:
        print(f"Warning: {warning}")
    setup, produced = produce(setup, folder, progress)
    answers, code = write_outputs(setup, out, produced, command)
    folder.finish()
    if progress:
        print(f"Report: {out / 'report.html'}")
    return answers, code


def _finished_answers(out: Path) -> list[Structure]:
    """The structures that a finished run offered."""
    import json

    from diffxas.structure_files import read_structures

    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    sampled = read_structures(out / "structures.extxyz")
    relaxed_file = out / "relaxed.extxyz"
    relaxed = read_structures(relaxed_file) if relaxed_file.is_file() else sampled
    return [relaxed[k] if row["answer"] == "relaxed" else sampled[k]
            for k, row in enumerate(summary["samples"])]
