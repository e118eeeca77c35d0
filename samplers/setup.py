"""What a run is of: options, models and target, all checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.composition import composition_elements
from diffxas.cutoffs import Cutoffs, bond_lengths, choose_cutoffs
from diffxas.errors import InputError
from diffxas.neighbourhood import Pairs, bonds
from diffxas.spectrum import Spectrum, parse_edge
from diffxas.structure import Structure
from samplers.algorithms import AUTO, choose_algorithm, find_algorithm
from samplers.arrangement import Arrangement, Request, arrange
from samplers.evidence import DensityPrior
from samplers.geometry import Box, resolve_box
from samplers.temperature import TEMPERATURE

if TYPE_CHECKING:
    from distributed import Client

    from diffxas.denoiser import PriorNetwork
    from diffxas.relaxation import RelaxationOptions
    from samplers.algorithms.base import Algorithm
    from samplers.guides.base import Guide
    from samplers.sampling import SamplingSchedule
    from samplers.target import Target
    from surrogates.base import Surrogate


@dataclass(frozen=True)
class GenerateOptions(Request):
    """What a run is of; see ``diffxas generate --help``."""

    cutoffs: Mapping[str, float] = field(default_factory=dict)
    samples: int = 4
    seed: int = 0
    steps: int = 64
    guidance: bool = True
    relax: bool = True
    potential: str | None = None
    cell_too: bool = False
    relax_restraint: float | None = None
    relax_ranks: int = 1
    edge: str | None = None
    window: tuple[float, float] | None = None
    target_kind: str = "auto"
    exclude: tuple[tuple[float, float], ...] = ()
    adsorbates: bool = False
    reference: str | None = None
    formats: tuple[str, ...] = ()
    type_order: tuple[str, ...] | None = None
    charges: Mapping[str, float] | None = None
    device: str = "cpu"
    workers: int | None = None
    scheduler: str | None = None
    density_prior: DensityPrior | None = None
    algorithm: str = AUTO
    guide_temperature: float = TEMPERATURE
    judge: str | None = None
    guides: tuple[str, ...] = ()
    prior: str = "a-C"
    surrogate: str = "a-C"
    kind: str | None = None

    def __post_init__(self) -> None:
        if self.density_prior is not None and (self.special or self.cell is not None):
            raise InputError("a density must be one number with --cell, --start, --fix, --forbid, "
                             "--pbc and --vacuum, received a range: choose --density RHO")
        if not 0 < self.guide_temperature < math.inf:
            raise InputError(f"guide_temperature must be above 0, received "
                             f"{self.guide_temperature:g}: 1 is the posterior, {TEMPERATURE:g} "
                             f"the default")
        if self.samples < 1:
            raise InputError(f"samples must be at least 1, received {self.samples}: "
                             f"choose another --samples")


@dataclass(frozen=True, eq=False)
class Setup:
    """A run's models and settings, all of them checked.

    ``surrogate`` is None where there is no target and the default one does not know the elements;
    ``no_spectra`` then says so. ``judge`` scores guided samples and does not guide; None if none is
    known. ``arrangement`` is None where new atoms fill a periodic cell. ``record`` is the prior's
    ``config.json``. ``client`` is of the workers that share the work, None without.
    """

    options: GenerateOptions
    box: Box
    system: Structure
    arrangement: Arrangement | None
    prior: PriorNetwork
    record: Mapping[str, Any]
    surrogate: Surrogate | None
    no_spectra: str
    target: Target | None
    judge: Surrogate | None
    guides: tuple[Guide, ...]
    schedule: SamplingSchedule
    kind: str
    relaxation: RelaxationOptions | None
    warnings: tuple[str, ...]
    identity: dict[str, Any]
    weights: dict[str, str]
    cutoffs: Cutoffs
    client: Client | None = None

    def bonds(self, structure: Structure) -> Pairs:
        """Bonded pairs of a structure, by the run's cutoffs."""
        return bonds(structure, bond_lengths(self.cutoffs))

    @property
    def guided(self) -> bool:
        """Whether anything pulls."""
        return bool(self.guides)

    @property
    def compared(self) -> bool:
        """Whether unguided samples are drawn beside the others."""
        return self.target is not None or self.guided

    @property
    def models(self) -> dict[str, str]:
        """Hashes of what workers must have too: ``prior:NAME``, ``surrogate:``, ``noised:``."""
        return {kind if ":" in kind else f"{kind}:{getattr(self.options, kind)}": digest
                for kind, digest in self.weights.items()}

    def of_atoms(self, most: int) -> Setup:
        """The same run with so many atoms at most, where they fill a periodic cell alone.

        A composition that no smaller cell has leaves it as it is.
        """
        counts = self.box.composition
        units = math.gcd(*counts.values())
        fewer = most * units // self.box.n_atoms
        if self.arrangement is not None or self.box.n_atoms <= most or fewer == 0:
            return self
        smaller = {symbol: n // units * fewer for symbol, n in counts.items()}
        box = resolve_box(",".join(f"{symbol}:{n}" for symbol, n in smaller.items()),
                          self.box.density, sum(smaller.values()), None)
        system = system_of(box)
        return replace(self, box=box, system=system,
                       guides=tuple(guide.at(system) for guide in self.guides))

    def at_density(self, density: float) -> Setup:
        """The same run at another density (g/cm3): its own cell, tempering and guides."""
        assert self.arrangement is None, "a density is asked of a whole periodic cell"
        box = resolve_box(self.box.counts, density, self.box.n_atoms, None)
        system = system_of(box)
        return replace(self, box=box, system=system,
                       schedule=schedule_at(self.record, density, self.options.steps),
                       guides=tuple(guide.at(system) for guide in self.guides))


def schedule_at(record: Mapping[str, Any], density: float, steps: int,
                begin: float | None = None) -> SamplingSchedule:
    """The walk of a prior at a density.

    A prior's table is of a walk of MAXIMUM_STEPS. One of fewer has longer steps: noise is put back
    in proportion more slowly, so that a step puts back as much, and a little less of it
    (LESS_NOISE), for there are fewer steps to settle. That halves the calls at nearly the same
    quality (experiments/scale); without it, dense networks of 32 calls lack a fifth of their sp3.

    Parameters
    ----------
    record : the prior's ``config.json``
    density : g/cm3
    begin : level at which the walk is entered, angstrom; None for the highest
    """
    from samplers.sampling import LESS_NOISE, MAXIMUM_STEPS, SamplingSchedule
    from samplers.tempered import tempering

    temperature, noise_scale = tempering(record.get("sampling", []), density)
    usual = SamplingSchedule(**record.get("levels", {}), steps=steps, temperature=temperature,
                             begin=begin)
    fewer = 1 - steps / MAXIMUM_STEPS
    return replace(usual, eta=usual.eta * (1 - fewer),
                   noise_scale=noise_scale * (1 - LESS_NOISE * fewer))


def set_up(spectrum: Spectrum | None, options: GenerateOptions) -> Setup:
    """Check everything and load the models; nothing is written.

    Raises
    ------
    InputError
        For whatever cannot be used, before any long computation.
    """
    from diffxas.prior import find_prior, load_prior
    from diffxas.weights import find_model, read_config, weights_hash
    from samplers.guides.kinds import guide_of
    from samplers.guides.spectrum import SpectrumGuide
    from samplers.identity import identity_of
    from samplers.judges import find_judge
    from samplers.target import Target
    from surrogates.loading import SHIPPED
    from surrogates.reference import read_reference

    if spectrum is None and options.guidance and not options.guides:
        raise InputError("a target must be given for guidance, received none: give TARGET or "
                         "--guide, or --no-guidance to sample the prior alone")
    if spectrum is None and (options.exclude or options.adsorbates or options.reference):
        raise InputError("--exclude, --adsorbates and --reference must go with a TARGET, received "
                         "one of them without it: leave it out")
    if options.algorithm != AUTO:
        find_algorithm(options.algorithm)
    prior_folder = find_prior(options.prior)
    prior = load_prior(prior_folder)
    if spectrum is not None:
        _check_absorber(options, prior.config.elements)
    arrangement, box, system = _atoms(options, prior)
    elements = list(dict.fromkeys(system.symbols))
    surrogate, no_spectra = _surrogate(options, elements, needed=spectrum is not None)
    record = read_config(prior_folder)
    schedule = schedule_at(record, box.density, options.steps,
                           None if arrangement is None else arrangement.begin)
    reference = None if options.reference is None else read_reference(options.reference)
    target = None if spectrum is None or surrogate is None else Target.of(
        spectrum, surrogate, options.target_kind, options.window, options.exclude,
        options.adsorbates, reference)
    guides: list[Guide] = []
    if options.guidance:
        if target is not None and surrogate is not None:
            guides.append(SpectrumGuide(surrogate.guiding(), target, system,
                                        temperature=options.guide_temperature))
        guides += [guide_of(text, system, options) for text in options.guides]
    options = replace(options, algorithm=choose_algorithm(options.algorithm, guides))
    check_guides(guides, find_algorithm(options.algorithm))
    judge = None if target is None or surrogate is None else find_judge(
        options.judge, surrogate, box.density, options.device)
    kind = options.kind or default_kind(prior.config.kinds, options.guidance)
    prior.kind_index(kind)
    relaxation, warnings = _relaxation(options, elements, arrangement)
    low, high = record["density_range"]
    if not low <= box.density <= high:
        warnings += (f"The density {box.density:.2f} g/cm3 lies outside the {low:.2f} to "
                     f"{high:.2f} that the prior was trained on.",)
    cutoffs = choose_cutoffs(elements, options.cutoffs, record.get("cutoffs"))
    warnings += _lammps_data(options, system.symbols)
    weights = {"prior": weights_hash(prior_folder)}
    if surrogate is not None:
        weights["surrogate"] = weights_hash(find_model(options.surrogate, SHIPPED))
    if options.algorithm == "noise-aware":
        weights |= noised_weights(guides)
    identity = identity_of(options, box, weights, _potential(options, elements), target, kind)
    prior.to(options.device)
    return Setup(options, box, system, arrangement, prior, record, surrogate, no_spectra, target,
                 judge, tuple(guides), schedule, kind, relaxation, warnings, identity, weights,
                 cutoffs)


def noised_weights(guides: Sequence[Guide]) -> dict[str, str]:
    """``noised:NAME`` -> hash of the companions for noised structures that guide."""
    from diffxas.weights import find_model, weights_hash
    from samplers.guides.spectrum import SpectrumGuide
    from surrogates.loading import SHIPPED
    from surrogates.noised import noised_name

    names = [noised_name(one.surrogate) for one in guides if isinstance(one, SpectrumGuide)]
    return {f"noised:{name}": weights_hash(find_model(name, SHIPPED)) for name in names if name}


def _atoms(options: GenerateOptions,
           prior: PriorNetwork) -> tuple[Arrangement | None, Box, Structure]:
    """What is there before sampling; without arrangement, a box and its atoms."""
    from samplers.sampling import SamplingSchedule

    asked = options.adds or options.composition is not None
    composition = _composition(options, prior.config.elements) if asked else ""
    if not options.special:
        box = resolve_box(composition, options.density, options.atoms, options.cell)
        return None, box, system_of(box)
    arrangement = arrange(options, composition, prior.config.elements,
                          (SamplingSchedule.sigma_min, prior.config.sigma_max))
    return arrangement, arrangement.box, arrangement.system


def check_guides(guides: Sequence[Guide], algorithm: Algorithm) -> None:
    """Refuse guides that the algorithm cannot follow, or that contradict each other.

    Raises
    ------
    InputError
        Naming the guide and the algorithms that would take it.
    """
    from samplers.algorithms import without_gradient
    from samplers.guides.asked import check_consistent

    check_consistent(guides)
    for guide in guides:
        if algorithm.needs_gradient and not guide.differentiable:
            raise InputError(f"a guide must be differentiable for --algorithm {algorithm.name}, "
                             f"received {guide.label}, which has no gradient: choose --algorithm "
                             f"{' or '.join(without_gradient())}")
    if algorithm.name == "noise-aware":
        from samplers.guides.noised import check_noised

        check_noised(guides)


def _composition(options: GenerateOptions, known: Sequence[str]) -> str:
    """The composition asked for, or the only element of the prior."""
    if options.composition is None:
        if len(known) != 1:
            raise InputError(f"a composition must be given for {options.prior}, a prior of "
                             f"{', '.join(known)}, received none: add --composition, such as "
                             f"--composition {''.join(known)}")
        return known[0]
    unknown = [one for one in composition_elements(options.composition) if one not in known]
    if unknown:
        raise InputError(f"the composition must be of the elements that {options.prior} has, "
                         f"{', '.join(known)}, received {', '.join(unknown)} in "
                         f"{options.composition}: choose another --composition or --prior")
    return options.composition


def _lammps_data(options: GenerateOptions, symbols: Sequence[str]) -> tuple[str, ...]:
    """Check what LAMMPS files are to say; a note if their charges do not cancel."""
    from diffxas.lammps_data import charge_note, check_lammps_options

    check_lammps_options(symbols, options.type_order, options.charges, "data" in options.formats,
                         "add --format data")
    note = charge_note(symbols, options.charges)
    return (note,) if note else ()


def system_of(box: Box) -> Structure:
    """The atoms of the box, element by element, without places yet."""
    from ase.data import atomic_numbers

    numbers = [atomic_numbers[symbol] for symbol in box.composition]
    return Structure(np.zeros((box.n_atoms, 3)),
                     np.repeat(numbers, list(box.composition.values())), box.cell)


def _check_absorber(options: GenerateOptions, known: Sequence[str]) -> None:
    """Refuse a target whose absorber the surrogate knows and the prior does not."""
    from diffxas.weights import find_model, read_config
    from samplers.known_models import priors_of
    from surrogates.loading import SHIPPED, model_edges
    from surrogates.properties import refuse_property

    record = read_config(find_model(options.surrogate, SHIPPED), "surrogate")
    refuse_property(record, str(options.surrogate))
    edges = model_edges(record)
    wanted = ":".join(parse_edge(options.edge)) if options.edge else edges[0]
    absorber = wanted.split(":")[0]
    asked = options.composition
    if wanted not in edges or absorber in known or (
            asked is not None and absorber not in composition_elements(asked)):
        return
    fitting = priors_of(absorber)
    remedy = (f"choose --prior {' or '.join(fitting)}" if fitting else
              f"no shipped prior knows {absorber}; train one on structures of your material, "
              f"`diffxas train prior STRUCTURES --out DIR`, and give --prior DIR (spectra of given "
              f"structures need no prior: `diffxas predict`, `diffxas compare`)")
    raise InputError(f"a prior must know {absorber}, the absorber of the surrogate "
                     f"{options.surrogate} ({wanted}), received {options.prior}, a prior of "
                     f"{', '.join(known)}: {remedy}")


def _surrogate(options: GenerateOptions, elements: Sequence[str],
               needed: bool) -> tuple[Surrogate | None, str]:
    """The surrogate, or None and why there are no spectra; refused if a target needs it."""
    from diffxas.weights import find_model, read_config
    from samplers.known_models import elements_text
    from surrogates.loading import SHIPPED, load_surrogate, model_edges
    from surrogates.properties import refuse_property

    record = read_config(find_model(options.surrogate, SHIPPED), "surrogate")
    refuse_property(record, str(options.surrogate))
    model = record.get("model", {})
    wanted = ":".join(parse_edge(options.edge)) if options.edge else None
    chosen = wanted if wanted in model_edges(record) else None
    absorber = chosen.split(":")[0] if chosen else model.get("absorber")
    known = model.get("elements", [])
    if absorber in elements and set(elements) <= set(known):
        surrogate = load_surrogate(options.surrogate, options.device, chosen)
        _check_edge(options, surrogate)
        return surrogate, ""
    knows = f"{options.surrogate} knows {absorber} in structures of {elements_text(known)}"
    if needed:
        raise InputError(f"a target must go with a composition that the surrogate knows, received "
                         f"{', '.join(elements)} where {knows}: choose another --surrogate or "
                         f"--composition, or leave TARGET out and add --no-guidance")
    if options.edge is not None:
        raise InputError(f"--edge must go with a surrogate of the composition, received "
                         f"{options.edge} where {knows}: leave --edge out")
    return None, f"none: the surrogate {knows}"


def _check_edge(options: GenerateOptions, surrogate: Surrogate) -> None:
    known = f"{surrogate.element}:{surrogate.edge}"
    if options.edge is not None and ":".join(parse_edge(options.edge)) != known:
        raise InputError(f"the edge must be {known} for the surrogate {surrogate.name}, received "
                         f"{options.edge}: choose a --surrogate that knows it "
                         f"(`diffxas models` lists them)")


def default_kind(kinds: Sequence[str], guidance: bool) -> str:
    """Unguided sampling resembles melt-quenched networks, guidance is free to take any kind."""
    from diffxas.denoiser import ANY

    quenched = "melt-quenched"
    return quenched if not guidance and quenched in kinds else ANY


def _potential(options: GenerateOptions, elements: Sequence[str]) -> str | None:
    """The potential that relaxes, by name; None without relaxation."""
    from diffxas.default_potential import default_potential

    return (options.potential or default_potential(elements)) if options.relax else None


def _relaxation(options: GenerateOptions, elements: Sequence[str], arrangement: Arrangement | None,
                ) -> tuple[RelaxationOptions | None, tuple[str, ...]]:
    """How to relax; without LAMMPS a warning takes its place."""
    from diffxas.lammps_library import LammpsMissing
    from diffxas.potentials import check_potential
    from diffxas.relaxation import RelaxationOptions

    potential = _potential(options, elements)
    if potential is None:
        return None, ()
    if options.cell_too and arrangement is not None:
        raise InputError("the cell must stay as it is with --start, --fix, --forbid or --pbc, "
                         "received --cell-too: leave it out")
    fixed = () if arrangement is None else tuple(arrangement.fixed.tolist())
    relaxation = RelaxationOptions(potential, options.cell_too, options.relax_restraint,
                                   fixed=fixed, ranks=options.relax_ranks)
    try:
        check_potential(potential, set(elements), options.relax_ranks)
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
    calls : of the denoiser
    """

    number: int
    sampled: Structure
    relaxed: Structure | None
    trace: np.ndarray
    relaxation: dict[str, Any]
    seconds_sampling: float
    calls: int = 0
