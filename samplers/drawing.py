"""One sample, from noise to a relaxed structure, kept step by step.

Where a walk stands after a call is written to the run's folder every few seconds, with what its
guides carry from call to call: a run that is killed goes on from there, and ends at the same
structure, bit for bit on the same machine. Algorithms of several walks begin their sample anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import RunError
from diffxas.run_folder import Record, RunFolder
from diffxas.structure import Structure
from samplers.algorithms import UNGUIDED, find_algorithm
from samplers.guides.base import Guide, Guides, ObservedGuide
from samplers.setup import Setup

if TYPE_CHECKING:
    from samplers.algorithms.base import Algorithm
    from samplers.sampling import Step

KEPT_EVERY = 5.0
"""Seconds between two records of where a walk stands."""
UNGUIDED_NUMBER = 1_000_000
"""Unguided samples are numbered from here, so that they share no noise with guided ones."""
LARGE = 2000
"""Atoms from which a drawn sample is kept before its relaxation, which takes a while."""


@dataclass(frozen=True)
class Number:
    """A sample of a run.

    Attributes
    ----------
    number : of the sample, the key of its noise
    label : for people
    guided, relaxed : whether it is to be
    """

    number: int
    label: str
    guided: bool
    relaxed: bool

    @property
    def name(self) -> str:
        """Of its record."""
        return self.label.replace(" ", "_")


def numbered(setup: Setup, number: int) -> Number:
    """What sample ``number`` is to be."""
    if number >= UNGUIDED_NUMBER:
        return Number(number, f"unguided {number - UNGUIDED_NUMBER}", False, False)
    return Number(number, f"sample {number}", setup.guided, setup.relaxation is not None)


def finished(setup: Setup, folder: RunFolder, one: Number,
             advance: Callable[[int, str], None]) -> Record:
    """The record of a sample; made, as far as it is not there."""
    record = folder.load(one.name)
    if record is not None:
        advance(calls_of(setup, one.guided), one.label)
        return record
    drawn = f"{one.name}.drawn"
    record = folder.load(drawn)
    if record is None:
        record = _draw(setup, folder, one, lambda calls: advance(calls, one.label))
        if one.relaxed and len(setup.system) > LARGE:
            folder.save(drawn, record)
            folder.remove(f"{one.name}.walk")
    else:
        advance(calls_of(setup, one.guided), one.label)
    if one.relaxed:
        advance(0, f"{one.label}, relaxing")
        record = _relaxed(setup, record)
    folder.save(one.name, record)
    folder.remove(f"{one.name}.walk")
    folder.remove(drawn)
    return record


def algorithm_of(setup: Setup, guided: bool) -> Algorithm:
    """The run's algorithm; the prior's walk for a sample that is not guided."""
    return find_algorithm(setup.options.algorithm if guided else UNGUIDED)


def calls_of(setup: Setup, guided: bool) -> int:
    """Denoiser calls of a sample."""
    return setup.schedule.calls * algorithm_of(setup, guided).walks


def denoiser_of(setup: Setup) -> Any:
    """The prior for the run's atoms; large cells in tiles, by the run's workers if it has some."""
    from diffxas.denoiser import PriorDenoiser

    if setup.client is None:
        return PriorDenoiser(setup.prior, setup.system, setup.kind)
    from diffxas.prior import find_prior
    from samplers.tiling import distributed

    return PriorDenoiser(setup.prior, setup.system, setup.kind,
                         distributed(setup.client, find_prior(setup.options.prior)))


def fresh_guides(guides: Sequence[Guide], system: Structure) -> tuple[Guide, ...]:
    """The guides for a system, calibrated as they are, without what a walk left in them."""
    found = tuple(guide.at(system) for guide in guides)
    for new, old in zip(found, guides, strict=True):
        if isinstance(new, ObservedGuide) and isinstance(old, ObservedGuide):
            new.calibration = old.calibration
    return found


def _draw(setup: Setup, folder: RunFolder, one: Number, advance: Callable[[int], None]) -> Record:
    """Walk from noise to a structure, or on from where an earlier run of it stood."""
    import torch

    from samplers.algorithms.base import Problem
    from samplers.guidance import guided_schedule
    from samplers.guides.spectrum import SpectrumGuide

    begun = time.monotonic()
    number = one.number
    guide = Guides(fresh_guides(setup.guides, setup.system)) if one.guided else None
    algorithm = algorithm_of(setup, one.guided)
    schedule = setup.schedule
    if guide is not None and not algorithm.sees_noised:
        schedule = guided_schedule(schedule)
    problem = Problem(
        denoiser_of(setup), guide, schedule, lambda n: torch.tensor(start_of(setup, n)),
        setup.options.seed,
        None if setup.arrangement is None else setup.arrangement.confined)
    standing = _Standing(folder, f"{one.name}.walk", guide)
    if algorithm.walks == 1:
        problem = replace(problem, after=standing.read())
        advance(0 if problem.after is None else problem.after.index + 1)

    def watch(step: Step) -> None:
        advance(1)
        if algorithm.walks == 1:
            standing.keep(step)

    with torch.no_grad():
        drawn = algorithm.draw(problem, number, watch)
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
                  {"seconds_sampling": standing.seconds + time.monotonic() - begun,
                   "calls": drawn.calls})


class _Standing:
    """Where a walk stands, in the run's folder."""

    def __init__(self, folder: RunFolder, name: str, guide: Guides | None) -> None:
        self.folder, self.name, self.guide = folder, name, guide
        self.seconds = 0.0
        self.begun = self.kept = time.monotonic()

    def read(self) -> Step | None:
        """The last step that was kept; the guide is as it was then."""
        import torch

        from samplers.sampling import Step

        record = self.folder.load(self.name)
        if record is None:
            return None
        self.seconds = record.values["seconds"]
        for guide, state in zip(self.guide.guides if self.guide else (), record.values["guides"],
                                strict=True):
            guide.restore(state)
        return Step(record.values["index"], record.values["sigma"],
                    torch.from_numpy(record.arrays["x_0"]), torch.from_numpy(record.arrays["x"]))

    def keep(self, step: Step) -> None:
        """Write a step down, unless one was just written."""
        now = time.monotonic()
        if now - self.kept < KEPT_EVERY:
            return
        self.kept = now
        states = [guide.state() for guide in self.guide.guides] if self.guide else []
        self.folder.save(self.name, Record(
            {"x": step.x.numpy(), "x_0": step.x_0.numpy()},
            {"index": step.index, "sigma": step.sigma, "guides": states,
             "seconds": self.seconds + now - self.begun}))


def start_of(setup: Setup, number: int) -> np.ndarray:
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
