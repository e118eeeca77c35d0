"""One run: a target spectrum (or none) in, structures, spectra and a report out.

Order of work: everything is checked; ``run.json`` is written; a density that is not given is sought
by the evidence of unguided structures (:mod:`samplers.evidence`); two unguided samples are drawn at
the density (the report shows them); the guides are calibrated there, on structures that the prior
carries (:mod:`samplers.prior_samples`) or, where it has none near, on those two; every sample is
drawn, guided, relaxed, and kept; tables, figures and the report are written, ``summary.json`` last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffxas.run_folder import RunFolder
from diffxas.spectrum import Spectrum
from diffxas.structure import Structure
from samplers.cluster import check_workers, one_thread, open_cluster
from samplers.drawing import (
    UNGUIDED_NUMBER,
    calls_of,
    denoiser_of,
    finished,
    fresh_guides,
    numbered,
    start_of,
)
from samplers.estimate import Stage, announce, estimate, seconds_per_atom_call
from samplers.guides.base import ObservedGuide
from samplers.setup import GenerateOptions, Sample, Setup, set_up
from samplers.sharing import share_out

if TYPE_CHECKING:
    from samplers.calibration import Calibration
    from samplers.evidence import DensityPosterior, DensityPrior

UNGUIDED_SAMPLES = 2
"""Drawn beside the others, to compare with."""
TIMED_ATOMS = 216
"""Of the cell whose calls tell how fast the machine is."""
LARGEST_BESIDE = 2000
"""Atoms of these at most: what they are compared by are means over atoms."""
CALIBRATED_ON, CALIBRATED_WITHIN = 4, 0.15
"""Samples of the prior's bank that a guide is calibrated on, and how far (g/cm3) they may be."""
SAME_CALIBRATION = 0.15
"""g/cm3; samples of a density that is sought share a calibration when they are this near."""
BANK_DRAWN = 32
"""Unguided samples that are drawn where a density is sought and the prior carries no bank."""


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
            beside = setup.of_atoms(LARGEST_BESIDE)
            numbers = range(UNGUIDED_NUMBER, UNGUIDED_NUMBER + UNGUIDED_SAMPLES)
            made = share_out([(beside, n) for n in numbers], folder, advance)
            unguided = [_sample(beside, folder, n, None if n in made else advance)
                        for n in numbers]
        calibrated = _calibrated(setup, carried, unguided, advance)
        samples: list[Sample] = []
        places, at = [], calibrated
        for rho in drawn:
            if abs(rho - at.box.density) > SAME_CALIBRATION:
                at = _calibrated(setup.at_density(rho), carried, unguided, advance)
            places.append(at if density is None else moved(at, rho))
        made = share_out([(here, n) for n, here in enumerate(places)], folder, advance)
        for n, here in enumerate(places):
            samples.append(_sample(here, folder, n, None if n in made else advance))
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
                lambda system: denoiser_of(replace(setup, system=system)), guide, structures,
                setup.options.seed)
    return replace(setup, guides=guides)


def moved(setup: Setup, density: float) -> Setup:
    """The run at another density, with the calibration that it has."""
    there = setup.at_density(density)
    return replace(there, guides=fresh_guides(setup.guides, there.system))


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

    total = setup.options.samples * calls_of(setup, setup.guided)
    if setup.compared:
        total += UNGUIDED_SAMPLES * calls_of(setup, False)
    with tqdm(total=total, unit="call", disable=not progress) as bar:
        def advance(calls: int, what: str) -> None:
            bar.set_description(what)
            bar.update(calls)

        yield advance


def _sample(setup: Setup, folder: RunFolder, number: int,
            advance: Callable[[int, str], None] | None) -> Sample:
    """One sample, from the folder if it was finished before."""
    record = finished(setup, folder, numbered(setup, number), advance or (lambda *_: None))
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
    with one_thread():
        announce(out, expected(setup), print if progress else lambda _: None)
    folder.begin(command=command)
    for key, fact in (setup.arrangement.facts() if setup.arrangement else {}).items():
        print(f"{key}: {fact}")
    for warning in setup.warnings:
        print(f"Warning: {warning}")
    with one_thread(), open_cluster(options.workers, options.scheduler) as client:
        if client is not None:
            check_workers(client, setup.models)
        setup, produced = produce(replace(setup, client=client), folder, progress)
        answers, code = write_outputs(setup, out, produced, command)
    folder.finish()
    if progress:
        print(f"Report: {out / 'report.html'}")
    return answers, code


def expected(setup: Setup) -> list[Stage]:
    """Time, memory and disk of a run by stage; two denoiser calls are timed for it."""
    import torch

    small = setup.of_atoms(TIMED_ATOMS)
    denoiser, x = denoiser_of(small), torch.tensor(start_of(small, 0))

    def call() -> None:
        with torch.no_grad():
            denoiser(x, setup.schedule.sigma_min)

    options, relaxation = setup.options, setup.relaxation
    return estimate(len(setup.system), options.samples, calls_of(setup, setup.guided),
                    seconds_per_atom_call(call, len(small.system)), guided=setup.guided,
                    relax=relaxation is not None, potential=str(options.potential or "rebo"),
                    ranks=options.relax_ranks, workers=options.workers or 1)


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
