"""What a run is of: options, models and target, all checked before anything is computed."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError
from diffxas.spectrum import Spectrum, parse_edge
from diffxas.structure import Structure
from samplers.geometry import Box, resolve_box

if TYPE_CHECKING:
    from diffxas.denoiser import PriorNetwork
    from diffxas.relaxation import RelaxationOptions
    from samplers.sampling import SamplingSchedule
    from samplers.target import Target
    from surrogates.base import Surrogate


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
    temperature: float
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
    from diffxas.weights import find_model, read_config, weights_hash
    from samplers.sampling import SamplingSchedule
    from samplers.target import Target
    from samplers.tempered import tempering
    from surrogates.loading import SHIPPED, load_surrogate

    if spectrum is None and options.guidance:
        raise InputError("a target must be given for guidance, received none: give TARGET, "
                         "or --no-guidance to sample the prior alone")
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

    record = read_config(prior_folder)
    temperature, noise_scale = tempering(record.get("sampling", []), box.density)
    schedule = SamplingSchedule(steps=options.steps, noise_scale=noise_scale)
    system = Structure(np.zeros((box.n_atoms, 3)),
                       np.full(box.n_atoms, atomic_numbers[element]), box.cell)
    target = None if spectrum is None else Target.of(
        spectrum, surrogate, options.target_kind, options.window)
    kind = options.kind or _default_kind(prior, options.guidance)
    prior.kind_index(kind)
    relaxation, warnings = _relaxation(options, element)
    low, high = record["density_range"]
    if not low <= box.density <= high:
        warnings += (f"The density {box.density:.2f} g/cm3 lies outside the {low:.2f} to "
                     f"{high:.2f} that the prior was trained on.",)
    weights = {"prior": weights_hash(prior_folder),
               "surrogate": weights_hash(find_model(options.surrogate, SHIPPED))}
    kept = {k: v for k, v in asdict(options).items() if k not in ("device", "formats")}
    identity = {**kept, "cell": None if options.cell is None else list(options.cell),
                "window": None if options.window is None else list(options.window),
                "prior_hash": weights["prior"], "surrogate_hash": weights["surrogate"],
                "target_hash": None if target is None else target.hash, "kind": kind or ANY,
                **({} if relaxation is None else _potential_hash(options.potential))}
    prior.to(options.device)
    return Setup(options, box, system, prior, surrogate, target, schedule, temperature, kind,
                 relaxation, warnings, identity, weights)


def _potential_hash(spec: str) -> dict[str, str]:
    """SHA-256 over the user's files that a potential consists of; nothing for those by name."""
    from diffxas.potentials import potential_files

    files = potential_files(spec)
    if not files:
        return {}
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return {"potential_hash": digest.hexdigest()}


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
