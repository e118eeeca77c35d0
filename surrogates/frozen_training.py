"""Training heads on frozen site features: features once, then small perceptrons.

The features of all labelled sites are computed first and kept in the run's folder (or in
``features.cache``), so the heads train in minutes. A step draws structures of every theory such
that bond networks (``loss = "squared"``), or sites or structures (``loss = "log"``, by ``weigh``),
weigh equally; the losses are those of :mod:`surrogates.training` and :mod:`surrogates.site_loss`.

Several theories in one run share the trunk (a universal model). ``start`` goes on from the heads of
another run on the same features: the trunk is taken over, and every readout of the same absorber,
edge, energies and theory; what has no counterpart there (another theory, another absorber) begins
with the principal components of its own spectra. That is tuning to one element, or transfer between
theories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from diffxas.errors import InputError
from diffxas.prior import build_options, refuse_other_run
from diffxas.training import Schedule, train
from diffxas.weights import save_model
from surrogates.datasets import SiteSpectra, joined
from surrogates.domain import domain_of_data
from surrogates.feature_table import FeatureTable
from surrogates.frozen import (
    KERNEL_TENSORS,
    FrozenConfig,
    FrozenHeads,
    FrozenSurrogate,
    Heads,
    KernelHeads,
)
from surrogates.kernel import kernel, principal
from surrogates.left_out import NetworkSplit, network_splits
from surrogates.left_out_members import Fold, errors_of_members
from surrogates.matgl_features import SiteFeatures, load_features
from surrogates.metrics import error_along_energy, error_table
from surrogates.model import Readout, Theory
from surrogates.site_loss import SMOOTHNESS, LossOptions

CACHE = "features.safetensors"


@dataclass(frozen=True)
class FeatureOptions:
    """``[features]`` of a config.

    Attributes
    ----------
    path : folder of the matgl model, as given
    layers : ``all``, which errs less wherever measured, or ``last``
        (:mod:`surrogates.matgl_features`)
    cache : file that keeps the features for other runs (.safetensors); the run's own by default
    """

    path: str = ""
    layers: str = "all"
    cache: str = ""


class HeadOptions(LossOptions, Protocol):
    """What the loss asks of :class:`surrogates.training.SurrogateTraining`."""

    loss: str
    cell_mean: float
    max_sites: int


def read_features(content: dict[str, Any]) -> tuple[SiteFeatures, FeatureOptions]:
    """The pretrained model of a config's ``[features]``.

    Raises
    ------
    InputError
        If no path is given, or no such model is there.
    """
    options: FeatureOptions = build_options(FeatureOptions, content, "[features]")
    if not options.path:
        raise InputError("family = \"frozen\" must have path in [features], received none: name "
                         "the folder of a matgl model (M3GNet or TensorNet)")
    return load_features(options.path, options.layers), options


def configure_frozen(data: Sequence[SiteSpectra], model: dict[str, Any],
                     features: SiteFeatures, path: str) -> FrozenConfig:
    """The config of the heads from the data and ``[model]``; theories in the data's order.

    Raises
    ------
    InputError
        For unknown keys, or an element of the data that the pretrained model does not know.
    """
    unknown = sorted({e for d in data for e in d.structure.symbols} - set(features.elements))
    if unknown:
        raise InputError(f"the data's elements must be ones that {features.name} knows, received "
                         f"{', '.join(unknown)}: leave those structures out, or choose another "
                         f"model in [features]")
    first: dict[str, SiteSpectra] = {}
    for item in data:
        first.setdefault(item.theory, item)
    content = dict(model)
    n = int(content.pop("n_components", 24))
    theories = [Theory(name, [float(e) for e in item.energy],
                       min(n, len(item.energy),
                           sum(len(d.sites) for d in data if d.theory == name)),
                       item.element, item.edge) for name, item in first.items()]
    lead = data[0]
    with torch.no_grad():
        n_features = features(torch.tensor(lead.structure.positions), lead.structure).shape[1]
    config: FrozenConfig = build_options(FrozenConfig, {
        **content, "elements": list(features.elements), "absorber": lead.element,
        "edge": lead.edge, "theories": theories, "n_features": n_features,
        "features": {"name": features.name, "sha256": features.sha256, "layers": features.layers,
                     "path": path}}, "[model]")
    return config


@dataclass(frozen=True, eq=False)
class Group:
    """All structures of one theory, their sites one after the other.

    Attributes
    ----------
    features, spectra : (n_sites, n_features) and (n_sites, n_grid)
    starts, counts : (n_structures,), first site of each structure, and how many
    draw : (n_structures,), probability of drawing each
    weights : (n_sites,), what the draws make of every site
    variance : of the spectra about their mean, mean over energies
    """

    features: Tensor
    spectra: Tensor
    starts: np.ndarray
    counts: np.ndarray
    draw: np.ndarray
    weights: np.ndarray
    variance: float

    @classmethod
    def of(cls, items: Sequence[SiteSpectra], table: FeatureTable, weigh: str) -> Group:
        """``weigh``: what weighs equally, ``networks``, ``structures`` or ``sites``."""
        counts = np.array([len(item.sites) for item in items])
        if weigh == "networks":
            parents = [item.parent for item in items]
            draw = np.array([1 / parents.count(parent) for parent in parents])
        else:
            draw = counts.astype(float) if weigh == "sites" else np.ones(len(items))
        draw = draw / draw.sum()
        weights = np.repeat(draw / counts, counts)
        every = np.concatenate([item.spectra for item in items]).astype(float)
        variance = float(weights @ np.square(every - weights @ every).mean(1))
        return cls(torch.cat([table.of(item) for item in items]),
                   torch.as_tensor(every, dtype=torch.float32), np.cumsum(counts) - counts, counts,
                   draw, weights, variance)

    def rows(self, chosen: np.ndarray, largest: int, rng: np.random.Generator) -> list[np.ndarray]:
        """At most so many sites, drawn anew, of each of some structures."""
        found = []
        for index in chosen:
            n, start = int(self.counts[index]), int(self.starts[index])
            found.append(start + (np.arange(n) if n <= largest
                                  else rng.choice(n, largest, replace=False)))
        return found


class HeadLoss:
    """Errors of sites, slopes and means of drawn structures, over the variance of their theory."""

    def __init__(self, data: Sequence[SiteSpectra], config: FrozenConfig, options: HeadOptions,
                 table: FeatureTable, member: int) -> None:
        self.config, self.options, self.member = config, options, member
        self.groups = [Group.of([d for d in data if d.theory == theory.name], table,
                                "networks" if options.loss == "squared" else options.weigh)
                       for theory in config.theories]

    def __call__(self, model: torch.nn.Module, step: int) -> Tensor:
        """The loss of one step."""
        rng = np.random.default_rng([self.options.seed, self.member, step])
        total = torch.zeros(())
        for k, (group, theory) in enumerate(zip(self.groups, self.config.theories, strict=True)):
            chosen = rng.choice(len(group.draw), self.options.batch.get(theory.name, 64),
                                p=group.draw)
            weight = self.options.theory_weights.get(theory.name, 1.0)
            total = total + weight * self.of(model, group, k, chosen, rng)
        return total

    def of(self, model: torch.nn.Module, group: Group, theory: int, chosen: np.ndarray,
           rng: np.random.Generator) -> Tensor:
        """Mean over some structures, which weigh equally."""
        parts = group.rows(chosen, self.options.max_sites, rng)
        rows = torch.as_tensor(np.concatenate(parts))
        error = model(group.features[rows], theory) - group.spectra[rows]
        counts = torch.tensor([len(part) for part in parts])
        owner = torch.repeat_interleave(torch.arange(len(parts)), counts)
        o = self.options
        squared = (error.square().mean(1)
                   + o.derivative * SMOOTHNESS * error.diff(dim=1).square().mean(1))
        squared = squared / group.variance
        if o.loss == "log":
            squared = (squared + o.floor).log()
        sites = torch.zeros(len(parts)).index_add(0, owner, squared) / counts
        if o.loss == "log" or not o.cell_mean:
            return sites.mean()
        mean = torch.zeros(len(parts), error.shape[1]).index_add(0, owner, error) / counts[:, None]
        return sites.mean() + o.cell_mean * mean.square().mean() / group.variance


def new_heads(data: Sequence[SiteSpectra], config: FrozenConfig, table: FeatureTable, weigh: str,
              seed: int) -> FrozenHeads:
    """An untrained member: features standardised, readouts in the components of their spectra."""
    torch.manual_seed(seed)
    heads = FrozenHeads(config)
    inputs = []
    for readout, theory in zip(heads.readouts, config.theories, strict=True):
        items = [d for d in data if d.theory == theory.name]
        group = Group.of(items, table, weigh)
        assert isinstance(readout, Readout)
        readout.set_basis(group.spectra.double().numpy(), group.weights)
        inputs.append((group.features.double(), torch.as_tensor(group.weights)))
    weights = torch.cat([w for _, w in inputs])[:, None] / len(inputs)
    features = torch.cat([x for x, _ in inputs])
    centre = (weights * features).sum(0)
    scale = (weights * (features - centre).square()).sum(0).sqrt()
    heads.centre.copy_(centre)
    heads.scale.copy_(scale.clamp(min=1e-6) + 1e-3 * centre.abs())
    return heads


def take_over(heads: FrozenHeads, given: FrozenHeads) -> None:
    """Trunk, standardisation and the readouts that fit, from a trained member."""
    for name in ("centre", "scale"):
        getattr(heads, name).copy_(getattr(given, name))
    heads.layers.load_state_dict(given.layers.state_dict())
    known = {_identity(theory): readout
             for theory, readout in zip(given.config.theories, given.readouts, strict=True)}
    for theory, readout in zip(heads.config.theories, heads.readouts, strict=True):
        if _identity(theory) in known:
            readout.load_state_dict(known[_identity(theory)].state_dict())


def _identity(theory: Theory) -> tuple[Any, ...]:
    """What must agree for a readout to be taken over; "FEFF Cu:K" is FEFF of Cu:K."""
    return (theory.name.split(" ")[0], theory.absorber, theory.edge, theory.n_components,
            tuple(round(e, 4) for e in theory.energy))


def load_start(name: str, config: FrozenConfig) -> Sequence[Heads]:
    """The members to go on from.

    Raises
    ------
    InputError
        If they are of other features or sizes.
    """
    from surrogates.loading import load_surrogate

    given = load_surrogate(name)
    keys = ("sha256", "layers")
    if not isinstance(given, FrozenSurrogate) or "kernel" in (given.config.head, config.head) or (
            [given.config.features[k] for k in keys], given.config.hidden,
            given.config.n_latent) != (
            [config.features[k] for k in keys], config.hidden, config.n_latent):
        raise InputError(f"start must be a frozen surrogate of dense heads, and of the config's "
                         f"features, hidden and n_latent, received {name}: train one by the same "
                         f"[features] and [model], or leave start out")
    return given.members


def fit_heads(data: Sequence[SiteSpectra], config: FrozenConfig, table: FeatureTable,
              seed: int) -> KernelHeads:
    """A member of kernel heads; low fidelities first, since the first theory's inputs need them.

    Training sites are stored in half precision and fitted as stored.
    """
    from scipy.linalg import solve

    rng = np.random.default_rng(seed)
    heads = KernelHeads(config, {f"{k}_{key}": torch.zeros(0) for key in KERNEL_TENSORS
                                 for k in range(len(config.theories))}).double()
    for k in [*range(1, len(config.theories)), 0]:
        theory = config.theories[k]
        features, spectra = drawn([d for d in data if d.theory == theory.name], table,
                                  config.sites_per_network, rng)
        centre, spread = features.mean(0), features.std(0, correction=0)
        mean, components, scores = principal(spectra, theory.n_components)
        for key, value in (("centre", centre), ("scale", spread + 1e-3 * centre.abs() + 1e-9),
                           ("mean", mean), ("components", components)):
            heads.register_buffer(f"{k}_{key}", torch.as_tensor(value, dtype=torch.float64))
        sites = heads.inputs(features, k).half().double()
        gram = kernel(sites, sites, heads.length(k)).numpy()
        alpha = solve(gram + config.ridge * np.eye(len(gram)), scores, assume_a="pos")
        heads.register_buffer(f"{k}_sites", sites)
        heads.register_buffer(f"{k}_alpha", torch.as_tensor(alpha))
    return heads.float().eval()


def drawn(items: Sequence[SiteSpectra], table: FeatureTable, largest: int,
          rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """At most so many sites of every network: features and spectra, float64."""
    features, spectra = [], []
    for parent in dict.fromkeys(item.parent for item in items):
        group = [item for item in items if item.parent == parent]
        x = torch.cat([table.of(item) for item in group]).double()
        y = np.concatenate([item.spectra for item in group]).astype(float)
        rows = np.arange(len(y)) if len(y) <= largest else np.sort(
            rng.choice(len(y), largest, replace=False))
        features.append(x[torch.as_tensor(rows)])
        spectra.append(y[rows])
    return torch.cat(features), np.concatenate(spectra)


def train_heads(data: Sequence[SiteSpectra], config: FrozenConfig, options: Any,
                schedule: Schedule, table: FeatureTable, folder: Path,
                folds: Sequence[Sequence[SiteSpectra]] | None = None,
                first: Sequence[Heads] = ()) -> list[Heads]:
    """Train the members one after the other; dense ones resume, kernel ones take seconds.

    Parameters
    ----------
    folds : what each member is trained on; all of ``data`` by default
    first : members to go on from
    """
    table.fill(data)
    weigh = "networks" if options.loss == "squared" else options.weigh
    members: list[Heads] = []
    for member in range(config.n_members):
        seen = data if folds is None else folds[member]
        if config.head == "kernel":
            members.append(fit_heads(seen, config, table, options.seed * 1000 + member))
            continue
        heads = new_heads(seen, config, table, weigh, options.seed * 1000 + member)
        if first:
            given = first[member % len(first)]
            assert isinstance(given, FrozenHeads)
            take_over(heads, given)
        average = train(heads, HeadLoss(seen, config, options, table, member), schedule,
                        folder / f"member_{member}",
                        title=f"heads, member {member + 1} of {config.n_members}")
        assert isinstance(average, FrozenHeads)
        members.append(average.eval())
    return members


@torch.no_grad()
def head_spectra(members: Sequence[Heads], items: Sequence[SiteSpectra],
                 table: FeatureTable, theory: int = 0) -> list[np.ndarray]:
    """Spectra of labelled sites, (n_members, n_sites, n_grid) for each item."""
    table.fill(items)
    return [torch.stack([m(table.of(item), theory) for m in members]).numpy() for item in items]


def train_frozen(data: Sequence[SiteSpectra], options: Any, schedule: Schedule,
                 folder: Path) -> Path:
    """Train (or go on training) heads on what a config left of the data; the model is ``folder``.

    Raises
    ------
    InputError
        For a config or pretrained model that does not fit, or a folder of another run.
    """
    from surrogates.training import member_fold, training_record

    model, given = read_features(options.features)
    config = configure_frozen(data, options.model, model, given.path)
    first = load_start(options.start, config) if options.start else ()
    splits = (network_splits(data, options.leave_out_margin)
              if options.left_out_networks else [])
    record = training_record(joined(data), options, config)
    record["training"]["elements"] = sorted({e for d in data for e in d.structure.symbols})
    refuse_other_run(folder, record)
    table = FeatureTable(model, Path(given.cache) if given.cache else folder / CACHE)
    folds = [member_fold(data, options, k) for k in range(config.n_members)]
    members = train_heads(data, config, options, schedule, table, folder,
                          [fold.seen for fold in folds], first)
    if options.left_out_share:
        record["left_out"] = left_out_errors(members, folds, config, table)
    if splits:
        record["left_out"] = network_errors(splits, config, options, schedule, table, folder)
    save_model(folder, record, domain_of_data(data, config.elements, options.seed) | {
        f"{k}.{name}": tensor.half() if name.endswith("_sites") else tensor
        for k, member in enumerate(members) for name, tensor in member.state_dict().items()})
    return folder


def network_errors(splits: Sequence[NetworkSplit], config: FrozenConfig, options: Any,
                   schedule: Schedule, table: FeatureTable, folder: Path) -> dict[str, Any]:
    """Errors with each network of the first theory left out in turn, near densities with it.

    As :func:`surrogates.training.left_out_networks`, by heads trained anew.
    """
    by_network: dict[str, Any] = {}
    site, mean = [], []
    for k, one in enumerate(splits):
        heads = train_heads(one.rest, config, options, schedule, table,
                            folder / f"without_{k}")
        errors = [spectra.mean(0) - item.spectra for spectra, item in
                  zip(head_spectra(heads, one.test, table), one.test, strict=True)]
        by_network[one.parent] = error_table(errors) | {"density": float(np.mean(one.densities))}
        of_sites, of_mean = error_along_energy(errors)
        site.append(of_sites)
        mean.append(of_mean)
    return {"networks": by_network, "site_error": np.sqrt(np.mean(site, 0)).tolist(),
            "mean_error": np.sqrt(np.mean(mean, 0)).tolist()}


def left_out_errors(members: Sequence[Heads], folds: Sequence[Fold], config: FrozenConfig,
                    table: FeatureTable) -> dict[str, Any]:
    """As :func:`surrogates.left_out_members.errors_of_members`, from features."""
    return errors_of_members(
        members, folds, config,
        lambda member, items: [spectra[0] for spectra in head_spectra([member], items, table)])
