"""One run: a target spectrum (or none) in, structures, spectra and a report out.

Order of work: everything is checked; ``run.json`` is written; two unguided samples are drawn at the
same density (the report shows them, and the guide is calibrated on them); every sample is drawn,
guided, relaxed, and kept; tables, figures and the report are written, ``summary.json`` last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError, RunError
from diffxas.spectrum import Spectrum, parse_edge
from diffxas.structure import Structure
from samplers.geometry import Box, resolve_box
from samplers.run_folder import Record, RunFolder

if TYPE_CHECKING:
    from diffxas.denoiser import PriorNetwork
    from diffxas.relaxation import RelaxationOptions
    from samplers.guidance import Calibration
    from samplers.sampling import SamplingSchedule
    from samplers.target import Target
    from surrogates.base import Surrogate

UNGUIDED = 2
UNGUIDED_NUMBER = 1_000_000
"""Unguided samples are numbered from here, so that they share no noise with guided ones."""


@dataclass(frozen=True)
class GenerateOptions:
    """What a run is of; see ``diffxas generate --help``."""

    density: float | None = None
    atoms: int | None = None
    cell: tuple[float, float, float] | None = None
    samples: int = 4
    seed: int = 0
    steps: int = 64
    guidance: bool = True
    relax: bool = True
    potential: str = "rebo"
    cell_too: bool = False
    relax_restraint: float | None = None
    edge: str | None = None
    window: tuple[float, float] | None = None
    target_kind: str = "auto"
    formats: tuple[str, ...] = ()
    device: str = "cpu"
    prior: str = "a-C"
    surrogate: str = "a-C"
    kind: str | None = None

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples must be at least 1, received {self.samples}: "
                             f"choose another --samples")


@dataclass(frozen=True, eq=False)
class Setup:
    """A run's models and settings, all of them checked."""

    options: GenerateOptions
    box: Box
    system: Structure
    prior: PriorNetwork
    surrogate: Surrogate
    target: Target | None
    schedule: SamplingSchedule
    kind: str
    relaxation: RelaxationOptions | None
    warnings: tuple[str, ...]
    identity: dict[str, Any]
    weights: dict[str, str]

    @property
    def guided(self) -> bool:
        """Whether a target pulls."""
        return self.target is not None and self.options.guidance


def set_up(spectrum: Spectrum | None, options: GenerateOptions) -> Setup:
    """Check everything and load the models; nothing is written.

    Raises
    ------
    InputError
        For whatever cannot be used, before any long computation.
    """
    from diffxas.denoiser import ANY
    from diffxas.prior import find_prior, load_prior
    from diffxas.weights import find_model, weights_hash
    from samplers.sampling import SamplingSchedule
    from samplers.target import Target
    from surrogates.loading import SHIPPED, load_surrogate

    if spectrum is None and options.guidance:
        raise InputError("a target must be given for guidance, received none: give TARGET, "
                         "or --no-guidance to sample the prior alone")
    schedule = SamplingSchedule(steps=options.steps)
    prior_folder = find_prior(options.prior)
    prior = load_prior(prior_folder)
    surrogate = load_surrogate(options.surrogate, options.device)
    _check_edge(options, surrogate)
    if len(prior.config.elements) != 1:
        raise InputError(f"the prior must be of one element, received {options.prior} of "
                         f"{', '.join(prior.config.elements)}: choose another --prior")
    element = prior.config.elements[0]
    box = resolve_box(element, options.density, options.atoms, options.cell)
    from ase.data import atomic_numbers

    system = Structure(np.zeros((box.n_atoms, 3)),
                       np.full(box.n_atoms, atomic_numbers[element]), box.cell)
    target = None if spectrum is None else Target.of(
        spectrum, surrogate, options.target_kind, options.window)
    kind = options.kind or _default_kind(prior, options.guidance)
    prior.kind_index(kind)
    relaxation, warnings = _relaxation(options, element)
    low, high = _density_range(prior_folder)
    if not low <= box.density <= high:
        warnings += (f"The density {box.density:.2f} g/cm3 lies outside the {low:.2f} to "
                     f"{high:.2f} that the prior was trained on.",)
    weights = {"prior": weights_hash(prior_folder),
               "surrogate": weights_hash(find_model(options.surrogate, SHIPPED))}
    kept = {k: v for k, v in asdict(options).items() if k not in ("device", "formats")}
    identity = {**kept, "cell": None if options.cell is None else list(options.cell),
                "window": None if options.window is None else list(options.window),
                "prior_hash": weights["prior"], "surrogate_hash": weights["surrogate"],
                "target_hash": None if target is None else target.hash, "kind": kind or ANY}
    prior.to(options.device)
    return Setup(options, box, system, prior, surrogate, target, schedule, kind, relaxation,
                 warnings, identity, weights)


def _check_edge(options: GenerateOptions, surrogate: Surrogate) -> None:
    known = f"{surrogate.element}:{surrogate.edge}"
    if options.edge is not None and ":".join(parse_edge(options.edge)) != known:
        raise InputError(f"the edge must be {known} for the surrogate {surrogate.name}, received "
                         f"{options.edge}: choose a --surrogate that knows it "
                         f"(`diffxas models` lists them)")


def _default_kind(prior: PriorNetwork, guidance: bool) -> str:
    """Unguided sampling resembles melt-quenched networks, guidance is free to take any kind."""
    from diffxas.denoiser import ANY

    quenched = "melt-quenched"
    return quenched if not guidance and quenched in prior.config.kinds else ANY


def _density_range(folder: Path) -> tuple[float, float]:
    from diffxas.weights import read_config

    low, high = read_config(folder)["density_range"]
    return float(low), float(high)


def _relaxation(options: GenerateOptions,
                element: str) -> tuple[RelaxationOptions | None, tuple[str, ...]]:
    """How to relax; without LAMMPS a warning takes its place."""
    from diffxas.lammps_library import LammpsMissing
    from diffxas.potentials import check_potential
    from diffxas.relaxation import RelaxationOptions

    if not options.relax:
        return None, ()
    relaxation = RelaxationOptions(options.potential, options.cell_too, options.relax_restraint)
    try:
        check_potential(options.potential, {element})
    except LammpsMissing as error:
        return None, (f"Structures are left unrelaxed: {error}",)
    return relaxation, ()


@dataclass(frozen=True, eq=False)
class Sample:
    """One finished sample.

    Attributes
    ----------
    number : of the sample
    sampled, relaxed : structures; ``relaxed`` is None without relaxation or where it failed
    trace : (n_calls, 2), noise level (angstrom) and residual of the estimate (target units)
    relaxation : numbers of the relaxation, empty without one
    seconds_sampling : wall time
    """

    number: int
    sampled: Structure
    relaxed: Structure | None
    trace: np.ndarray
    relaxation: dict[str, Any]
    seconds_sampling: float


def produce(setup: Setup, folder: RunFolder,
            progress: bool) -> tuple[list[Sample], list[Sample], Calibration | None]:
    """Draw (or load) unguided samples, the calibration and all samples, in order."""
    from samplers.guidance import calibrate

    unguided, calibration = [], None
    with _bar(setup, progress) as advance:
        if setup.target is not None:
            numbers = range(UNGUIDED_NUMBER, UNGUIDED_NUMBER + UNGUIDED)
            unguided = [_sample(setup, folder, n, None, advance) for n in numbers]
        if setup.guided:
            calibration = calibrate(_denoiser(setup), setup.surrogate,
                                    [s.sampled for s in unguided], setup.options.seed)
        samples: list[Sample] = []
        for n in range(setup.options.samples):
            samples.append(_sample(setup, folder, n, calibration, advance))
            _write_finished(setup, folder.path, samples)
    return samples, unguided, calibration


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

    count = setup.options.samples + (UNGUIDED if setup.target is not None else 0)
    with tqdm(total=count * setup.schedule.steps, unit="call", disable=not progress) as bar:
        def advance(calls: int, what: str) -> None:
            bar.set_description(what)
            bar.update(calls)

        yield advance


def _denoiser(setup: Setup) -> Any:
    from diffxas.denoiser import PriorDenoiser

    return PriorDenoiser(setup.prior, setup.system, setup.kind)


def _sample(setup: Setup, folder: RunFolder, number: int, calibration: Calibration | None,
            advance: Callable[[int, str], None]) -> Sample:
    """One sample, from the folder if it was finished before."""
    guided = calibration is not None
    unguided = number >= UNGUIDED_NUMBER
    label = f"unguided {number - UNGUIDED_NUMBER}" if unguided else f"sample {number}"
    name = label.replace(" ", "_")
    record = folder.load(name)
    if record is None:
        record = _draw(setup, number, calibration, lambda: advance(1, label))
        if not unguided and setup.relaxation is not None:
            advance(0, f"{label}, relaxing")
            record = _relaxed(setup, record)
        folder.save(name, record)
    else:
        advance(setup.schedule.steps, label)
    sampled = setup.system.with_positions(record.arrays["positions"])
    relaxed = None
    if "relaxed" in record.arrays:
        relaxed = Structure(
            record.arrays["relaxed"], setup.system.numbers, record.arrays["relaxed_cell"],
            info={"energy": record.values["relaxation"]["energy"]},
            arrays={"forces": record.arrays["forces"]})
    trace = record.arrays["trace"] if guided else np.empty((0, 2))
    return Sample(number, sampled, relaxed, trace, record.values.get("relaxation", {}),
                  record.values["seconds_sampling"])


def _draw(setup: Setup, number: int, calibration: Calibration | None,
          advance: Callable[[], None]) -> Record:
    """Walk from noise to a structure."""
    import torch

    from samplers.guidance import GuidedDenoiser, SpectrumGuide
    from samplers.sampling import sample
    from samplers.start import start_positions
    from samplers.tempered import TemperedDenoiser

    begun = time.monotonic()
    denoiser = _denoiser(setup)
    guide = None
    if calibration is not None and setup.target is not None:
        guide = SpectrumGuide(setup.surrogate, setup.target.observation, setup.system, calibration)
        denoiser = GuidedDenoiser(denoiser, guide, calibration.sigma_on)
    # Outermost, so that prior and likelihood are sampled at one temperature.
    denoiser = TemperedDenoiser(denoiser)
    seed = setup.options.seed
    x = torch.tensor(start_positions(setup.box.n_atoms, setup.box.cell, setup.schedule.sigma_max,
                                     seed, number))
    with torch.no_grad():
        x = sample(denoiser, x, setup.schedule, seed, number, lambda _: advance())
    positions = x.numpy()
    if not np.isfinite(positions).all():
        raise RunError(f"positions must stay finite, received NaN in sample {number}: "
                       f"choose another --seed, and report this")
    trace = np.array(guide.trace if guide else []).reshape(-1, 2)
    if setup.target is not None:
        trace[:, 1] *= setup.target.unit_step
    placed = setup.system.with_positions(positions).wrapped().positions
    return Record({"positions": placed, "trace": trace},
                  {"seconds_sampling": time.monotonic() - begun})


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
    from samplers.outputs import write_outputs

    setup = set_up(spectrum, options)
    folder = RunFolder(out, setup.identity)
    if folder.finished:
        if progress:
            print(f"{out} holds this run, finished: nothing to do. See {out / 'report.html'}")
        return _finished_answers(out), 0
    folder.begin(command=command)
    for warning in setup.warnings:
        print(f"Warning: {warning}")
    samples, unguided, calibration = produce(setup, folder, progress)
    answers, code = write_outputs(setup, out, samples, unguided, calibration, command)
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
