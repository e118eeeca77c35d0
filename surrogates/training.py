"""Training a surrogate on site spectra of one or several theories at once.

A step takes structures of every theory. Structures are drawn so that bond networks weigh equally,
not cells: near-copies of one network share a ``parent`` and its weight. Positions are jittered, and
besides the sites the mean over a structure's labelled sites is fitted, since that is what a
measurement sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import diffxas
from diffxas.denoiser import species_indices
from diffxas.errors import InputError
from diffxas.graph import Graph, build_graph
from diffxas.prior import build_options, read_toml, refuse_other_run
from diffxas.training import Schedule, train
from diffxas.weights import save_model
from surrogates.base import Surrogate
from surrogates.calibration import calibrated_factor, spread_of_members
from surrogates.committee import PARTS, committee_model, taught
from surrogates.datasets import SiteSpectra, joined
from surrogates.domain import domain_of_data
from surrogates.element_embedding import ElementEmbedding
from surrogates.frozen import FrozenConfig
from surrogates.kernel import KernelConfig, KernelSurrogate, fit_kernel
from surrogates.left_out import NetworkSplit, left_out_share, network_splits
from surrogates.left_out_members import Fold, errors_of_members, monitor
from surrogates.metrics import error_along_energy, error_table
from surrogates.model import Readout, SurrogateConfig, SurrogateNetwork, Theory
from surrogates.site_loss import SMOOTHNESS, SiteLoss
from surrogates.training_data import load_training_data
from surrogates.training_split import split

FAMILIES = ("committee", "equivariant", "kernel", "frozen")
LOSSES = ("squared", "log")
WEIGHED = ("sites", "structures")
LATER = ("allow_leak", "rest", "left_out_share", "loss", "weigh", "floor", "start", "per", "unit",
         "features")
"""Options that are recorded where they were set, so that earlier runs still resume."""


@dataclass(frozen=True)
class SurrogateTraining:
    """What ``diffxas train surrogate --config FILE.toml`` may say.

    Attributes
    ----------
    theory_weights : theory -> weight of its loss
    exclude : a text file of names (or parents' names) that take no part
    leave_out_density : densities (g/cm3); structures within ``leave_out_margin`` take no part
    jitter : standard deviation of the noise on positions, angstrom
    derivative : weight of the error of dmu/dE against that of mu
    cell_mean : weight of the error of the mean over a structure's sites
    batch : theory -> structures a step (1 where it says nothing)
    max_sites : at most so many sites of a structure a step, drawn anew each time
    axis_note : what is known of the energy axis; stored with the weights
    family : ``equivariant`` (:mod:`surrogates.model`), ``kernel`` (:mod:`surrogates.kernel`),
        ``committee`` of both (:mod:`surrogates.committee`; [model.kernel], [model.equivariant]) or
        ``frozen`` (:mod:`surrogates.frozen`, no jitter)
    left_out_networks : measure the error with each network of the first theory left out in turn
    allow_leak : let ``exclude``, or the data's own split, cut through a network
    rest : train also on sites that the data's own split puts in neither part, but not on those of
        materials, or networks, with held-out sites
    left_out_share : each member leaves out another share of the materials (parents), on which its
        error is measured and logged
    loss : ``squared`` (networks weigh equally, structures are drawn with their means) or ``log``
        (few bad sites count little: :mod:`surrogates.site_loss`)
    weigh : what weighs equally in the ``log`` loss, ``sites`` or ``structures``
    floor : share of the variance of the data below which errors hardly matter to the ``log`` loss
    start : a surrogate of the same model, by name or path, whose members these begin from
    per, unit : of a property (:mod:`surrogates.property_training`): ``atom-mean``, ``sum`` or
        ``atom``, and its unit, for tables
    features : the pretrained model of the ``frozen`` family
        (:class:`surrogates.frozen_training.FeatureOptions`)
    """

    family: str = "equivariant"
    allow_leak: bool = False
    rest: bool = False
    left_out_networks: bool = False
    left_out_share: float = 0.0
    loss: str = "squared"
    weigh: str = "sites"
    floor: float = 0.02
    start: str = ""
    per: str = ""
    unit: str = ""
    theory_weights: dict[str, float] = field(default_factory=dict)
    exclude: str = ""
    leave_out_density: list[float] = field(default_factory=list)
    leave_out_margin: float = 0.15
    jitter: float = 0.03
    derivative: float = 0.2
    cell_mean: float = 1.0
    batch: dict[str, int] = field(default_factory=dict)
    max_sites: int = 72
    seed: int = 0
    licence: str = ""
    axis_note: str = ""
    features: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)


class SpectraLoss:
    """Relative squared errors of sites, derivatives and means, summed over theories."""

    def __init__(self, data: Sequence[SiteSpectra], config: SurrogateConfig,
                 options: SurrogateTraining, member: int) -> None:
        self.config, self.options, self.member = config, options, member
        self.theories = [t.name for t in config.theories]
        self.data = [[d for d in data if d.theory == name] for name in self.theories]
        self.draw = [network_weights(group) for group in self.data]
        self.variance = []
        for group, draw in zip(self.data, self.draw, strict=True):
            spectra, weights = stacked(group, draw)
            mean = weights @ spectra / weights.sum()
            self.variance.append(float(weights @ ((spectra - mean) ** 2).mean(1) / weights.sum()))
        self.graphs: dict[int, Graph] = {}

    def __call__(self, model: nn.Module, step: int) -> Tensor:
        """The loss of one step."""
        rng = np.random.default_rng([self.options.seed, self.member, step])
        total = torch.zeros(())
        for k, (group, draw) in enumerate(zip(self.data, self.draw, strict=True)):
            weight = self.options.theory_weights.get(self.theories[k], 1.0)
            batch = self.options.batch.get(self.theories[k], 1)
            for index in rng.choice(len(group), batch, p=draw):
                error = self.one(model, group[index], k, rng)
                total = total + weight * error / self.variance[k] / batch
        return total

    def one(self, model: nn.Module, item: SiteSpectra, theory: int,
            rng: np.random.Generator) -> Tensor:
        """Squared error of one structure, positions jittered."""
        jitter = self.options.jitter * rng.standard_normal(item.structure.positions.shape)
        positions = torch.tensor(item.structure.positions + jitter, dtype=torch.float32)
        graph = self.graphs.get(id(item))
        if graph is None:  # a list with a skin serves every jitter of the structure
            skin = 6 * self.options.jitter
            graph = build_graph(item.structure, self.config.cutoff + skin)
            self.graphs[id(item)] = graph
        species = species_indices(item.structure.symbols, self.config.elements, "surrogate")
        rows = np.arange(len(item.sites))
        if len(rows) > self.options.max_sites:
            rows = np.sort(rng.choice(rows, self.options.max_sites, replace=False))
        sites = torch.as_tensor(item.sites[rows])
        error = model(positions, species, graph, sites, theory)
        error = error - torch.as_tensor(item.spectra[rows])
        o = self.options
        value = error.square().mean() + o.cell_mean * error.mean(0).square().mean()
        return value + o.derivative * error.diff(dim=1).square().mean() * SMOOTHNESS


def network_weights(group: Sequence[SiteSpectra]) -> np.ndarray:
    """Probabilities of drawing each structure such that every network (parent) is as likely."""
    parents = [item.parent for item in group]
    counts = {parent: parents.count(parent) for parent in parents}
    return np.array([1 / counts[parent] for parent in parents]) / len(counts)


def stacked(group: Sequence[SiteSpectra], draw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectra of all sites (n_sites, n_grid) and the weight of each."""
    spectra = np.concatenate([item.spectra for item in group])
    weights = np.concatenate([np.full(len(item.sites), w / len(item.sites))
                              for item, w in zip(group, draw, strict=True)])
    return spectra, weights


def train_surrogate(paths: Sequence[Path], folder: Path, config: Path | None = None) -> Path:
    """Train (or go on training) an ensemble; the model folder is ``folder``.

    Raises
    ------
    InputError
        For bad data or config, or a folder whose run had other data or settings.
    """
    options: SurrogateTraining = build_options(SurrogateTraining, read_toml(config), "the config")
    schedule: Schedule = build_options(Schedule, options.schedule, "[schedule]")
    data = split(apart_by_edge(load_training_data(paths)), options)
    if not data:
        raise InputError("training data must hold at least one structure, received none after "
                         "exclude and leave_out_density: check both in the config")
    if options.family not in FAMILIES:
        raise InputError(f"family must be one of {', '.join(FAMILIES)}, received "
                         f"{options.family!r}: correct it in the config")
    if options.loss not in LOSSES:
        raise InputError(f"loss must be one of {', '.join(LOSSES)}, received {options.loss!r}: "
                         f"correct it in the config")
    if options.weigh not in WEIGHED:
        raise InputError(f"weigh must be one of {', '.join(WEIGHED)}, received "
                         f"{options.weigh!r}: correct it in the config")
    if options.per or options.unit:
        raise InputError("per and unit in the config are of a property: train with --target KEY, "
                         "or take them out")
    if options.floor <= 0:
        raise InputError(f"floor must be above 0, received {options.floor:g}: "
                         f"correct it in the config")
    if options.family == "frozen":
        from surrogates.frozen_training import train_frozen

        return train_frozen(data, options, schedule, folder)
    if options.family == "committee":
        return train_committee(data, options, schedule, folder)
    model_config = configure(data, options)
    splits = (network_splits(data, options.leave_out_margin)
              if options.left_out_networks else [])
    record = training_record(joined(data), options, model_config)
    refuse_other_run(folder, record)
    if isinstance(model_config, KernelConfig):
        tensors = fit_kernel(data, model_config, options.seed)
        if splits:
            record["left_out"] = left_out_networks(splits, model_config, record, options.seed)
    else:
        members = train_members(data, model_config, options, schedule, folder)
        tensors = {f"{k}.{name}": tensor for k, member in enumerate(members)
                   for name, tensor in member.state_dict().items()}
        if options.left_out_share:
            folds = [member_fold(data, options, k) for k in range(len(members))]
            record["left_out"] = errors_of_members(members, folds, model_config)
    save_model(folder, record, tensors | domain_of_data(data, model_config.elements, options.seed))
    return folder


def train_committee(data: Sequence[SiteSpectra], options: SurrogateTraining, schedule: Schedule,
                    folder: Path) -> Path:
    """Fit a kernel surrogate, then train networks on the data and on what it teaches; resumable.

    Raises
    ------
    InputError
        If there is no second theory, or the folder's run had other data or settings.
    """
    unknown = set(options.model) - set(PARTS)
    if unknown:
        raise InputError(f"[model] of a committee must hold the tables {' and '.join(PARTS)}, "
                         f"received {', '.join(sorted(unknown))}: write [model.kernel] and "
                         f"[model.equivariant]")
    own = {family: replace(options, family=family, model=dict(options.model.get(family, {})))
           for family in PARTS}
    kernel_config = configure(data, own["kernel"])
    assert isinstance(kernel_config, KernelConfig)
    if len(kernel_config.theories) < 2:
        raise InputError(f"a committee must have spectra of two theories, a cheap one on many "
                         f"structures, received {kernel_config.theories[0]['name']} alone: add "
                         f"them, or set family = \"kernel\" or \"equivariant\"")
    splits = (network_splits(data, options.leave_out_margin)
              if options.left_out_networks else [])
    fitted = fit_kernel(data, kernel_config, options.seed)
    teacher = KernelSurrogate("kernel", {"model": kernel_config.to_dict()}, fitted, theory=1)
    lessons = [*data, *taught(data, teacher)]
    network_config = configure(lessons, own["equivariant"])
    assert isinstance(network_config, SurrogateConfig)
    record = training_record(joined(data), options, network_config) | {"model": committee_model(
        {"kernel": kernel_config.to_dict(), "equivariant": network_config.to_dict()})}
    refuse_other_run(folder, record)
    members = train_members(lessons, network_config, own["equivariant"], schedule, folder)
    tensors = {f"kernel.{name}": tensor for name, tensor in fitted.items()}
    tensors |= {f"equivariant.{k}.{name}": tensor for k, member in enumerate(members)
                for name, tensor in member.state_dict().items()}
    if splits:
        # Of the kernel alone: networks would have to be trained without each network in turn. The
        # committee errs less (experiments/surrogate), so these are upper bounds.
        own_record = {"model": kernel_config.to_dict()}
        record["left_out"] = left_out_networks(splits, kernel_config, own_record, options.seed)
    save_model(folder, record, tensors | domain_of_data(data, kernel_config.elements, options.seed))
    return folder


def apart_by_edge(data: Sequence[SiteSpectra]) -> list[SiteSpectra]:
    """Spectra of several edges by one theory become theories of their own, such as FEFF Cu:K."""
    edges: dict[str, set[str]] = {}
    for item in data:
        edges.setdefault(item.theory, set()).add(f"{item.element}:{item.edge}")
    return [item if len(edges[item.theory]) == 1
            else replace(item, theory=f"{item.theory} {item.element}:{item.edge}")
            for item in data]


def train_members(data: Sequence[SiteSpectra], config: SurrogateConfig,
                  options: SurrogateTraining, schedule: Schedule,
                  folder: Path) -> list[SurrogateNetwork]:
    """Train the members of an equivariant ensemble one after the other; resumable."""
    members = []
    first = _start(options.start, config) if options.start else None
    for member in range(config.n_members):
        fold = member_fold(data, options, member)
        seen = joined(fold.seen)
        network = new_member(seen, config, options.seed * 1000 + member)
        if first is not None:
            network.load_state_dict(first[member].state_dict())
        loss = (SiteLoss if options.loss == "log" else SpectraLoss)(seen, config, options, member)
        average = train(network, loss, schedule, folder / f"member_{member}",
                        title=f"surrogate, member {member + 1} of {config.n_members}",
                        monitor=monitor(fold, config) if fold.apart else None)
        assert isinstance(average, SurrogateNetwork)
        members.append(average)
    return members


def _start(name: str, config: SurrogateConfig) -> Sequence[SurrogateNetwork]:
    """The members of a surrogate to begin from, which must be of the same model."""
    from surrogates.loading import load_surrogate
    from surrogates.model import EquivariantSurrogate

    given = load_surrogate(name)
    if not isinstance(given, EquivariantSurrogate) or given.config != config:
        raise InputError(f"start must be an equivariant surrogate of the same elements, sizes and "
                         f"energies as [model] and the data, received {name}: train one by the "
                         f"same [model], or leave start out")
    return given.members


def member_fold(data: Sequence[SiteSpectra], options: SurrogateTraining, member: int) -> Fold:
    """What a member is trained on, and what it is measured on."""
    if not options.left_out_share:
        return Fold(list(data), [])
    return Fold(*left_out_share(data, options.left_out_share, member, options.seed))


def left_out_networks(splits: Sequence[NetworkSplit], config: KernelConfig, record: dict[str, Any],
                      seed: int) -> dict[str, Any]:
    """Errors with each network of the predicted theory left out in turn, near densities with it.

    Returns site MSE, site MAE and cell-mean MAE by network; the rms errors along energy of a site
    (``site_error``) and of a cell's mean (``mean_error``), networks weighing equally; and by which
    factor sites erred more than stated (``site_factor``, :mod:`surrogates.calibration`).
    """
    by_network: dict[str, Any] = {}
    site, mean, spreads, every = [], [], [], []
    for one in splits:
        fitted = KernelSurrogate("left out", record, fit_kernel(one.rest, config, seed))
        errors = []
        for item in one.test:
            predicted, spread = structure_members(fitted, item)
            errors.append(predicted - item.spectra)
            spreads.append(spread)
        every += errors
        density = float(np.mean(one.densities))
        by_network[one.parent] = error_table(errors) | {"density": density}
        of_sites, of_mean = error_along_energy(errors)
        site.append(of_sites)
        mean.append(of_mean)
    site_error = np.sqrt(np.mean(site, 0))
    return {"networks": by_network, "site_error": site_error.tolist(),
            "mean_error": np.sqrt(np.mean(mean, 0)).tolist(),
            "site_factor": calibrated_factor(every, spreads, site_error).tolist()}


def configure(data: Sequence[SiteSpectra],
              options: SurrogateTraining) -> SurrogateConfig | KernelConfig:
    """The model's config from data and options; theories in the order of the data."""
    first: dict[str, SiteSpectra] = {}
    for item in data:
        first.setdefault(item.theory, item)
    model = dict(options.model)
    several = {"n_components": model.pop("n_components")} if (
        options.family == "equivariant" and "n_components" in model) else {}
    theories = [Theory(name, [float(e) for e in item.energy], absorber=item.element,
                       edge=item.edge, **several) for name, item in first.items()]
    lead = next(iter(first.values()))
    content = {
        **model, "elements": sorted({e for d in data for e in d.structure.symbols}),
        "absorber": lead.element, "edge": lead.edge,
    }
    if options.family == "kernel":
        content["theories"] = [{"name": t.name, "energy": t.energy} for t in theories]
        kernel: KernelConfig = build_options(KernelConfig, content, "[model]")
        return kernel
    content["theories"] = theories
    equivariant: SurrogateConfig = build_options(SurrogateConfig, content, "[model]")
    return equivariant


def new_member(data: Sequence[SiteSpectra], config: SurrogateConfig, seed: int) -> SurrogateNetwork:
    """An untrained member whose readouts hold the principal components of the training spectra."""
    torch.manual_seed(seed)
    network = SurrogateNetwork(config)
    for readout, theory in zip(network.readouts, config.theories, strict=True):
        group = [d for d in data if d.theory == theory.name]
        assert isinstance(readout, Readout)
        readout.set_basis(*stacked(group, network_weights(group)))
    if isinstance(network.trunk.embedding, ElementEmbedding):
        network.trunk.embedding.set_elements(config.elements)
    return network


def training_record(data: Sequence[SiteSpectra], options: SurrogateTraining,
                    config: SurrogateConfig | KernelConfig | FrozenConfig) -> dict[str, Any]:
    """The ``config.json`` of a surrogate."""
    names = [str(t["name"]) for t in config.to_dict()["theories"]]
    digest = hashlib.sha256()
    for item in data:
        digest.update(np.ascontiguousarray(item.structure.positions.round(6)).tobytes())
        digest.update(np.ascontiguousarray(item.spectra).tobytes())
    densities = [item.structure.density for item in data]
    return {
        "kind": "surrogate", "family": options.family, "version": diffxas.__version__,
        "licence": options.licence,
        "elements": config.elements, "edge": f"{config.absorber}:{config.edge}",
        "edges": [f"{t.get('absorber') or config.absorber}:{t.get('edge') or config.edge}"
                  for t in config.to_dict()["theories"]],
        "energy_range": [float(data[0].energy[0]), float(data[0].energy[-1])],
        "axis_note": options.axis_note,
        "density_range": [round(min(densities), 3), round(max(densities), 3)],
        "model": config.to_dict(),
        "training": {
            "data_hash": digest.hexdigest(),
            "options": {key: value for key, value in asdict(options).items()
                        if key not in LATER or value != getattr(SurrogateTraining(), key)},
            "structures": [f"{item.theory}:{item.name}" for item in data],
            "parents": sorted({item.parent for item in data}),
            "sites": {name: sum(len(d.sites) for d in data if d.theory == name)
                      for name in names},
        },
    }


def structure_spectra(surrogate: Surrogate, item: SiteSpectra) -> np.ndarray:
    """Predictions for the labelled sites of one structure, (n_sites, n_grid)."""
    return structure_members(surrogate, item)[0]


def structure_members(surrogate: Surrogate, item: SiteSpectra) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the members for the labelled sites, each (n_sites, n_grid)."""
    rows = {int(atom): k for k, atom in enumerate(surrogate.absorbers(item.structure))}
    members = surrogate.predict_members(item.structure)[:, [rows[int(s)] for s in item.sites]]
    return members.mean(0), spread_of_members(members)
