"""Training on a property: ``diffxas train surrogate DATA --target KEY``.

The config is that of spectra (:class:`surrogates.training.SurrogateTraining`) with other defaults
(:data:`DEFAULTS`) and with ``per`` and ``unit``; what only spectra have is refused. Each member
leaves out another share of the networks, which gives the ensemble its stated error
(:mod:`surrogates.properties`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import diffxas
from diffxas.errors import InputError
from diffxas.prior import build_options, read_toml, refuse_other_run
from diffxas.training import Schedule, train
from diffxas.weights import save_model
from surrogates.domain import domain_features, fit_domain
from surrogates.left_out import left_out_share
from surrogates.model import SurrogateConfig
from surrogates.property_data import (
    PropertyItem,
    Target,
    check_varies,
    composition,
    load_properties,
    row_weights,
)
from surrogates.property_kernel import (
    RIDGES,
    UNCHOSEN,
    PropertyKernelConfig,
    describe_all,
    fit_member,
    tensors_of,
)
from surrogates.property_network import PropertyLoss, PropertyNetwork, new_member, standardised
from surrogates.training import FAMILIES, SurrogateTraining
from surrogates.training_split import split

DEFAULTS: dict[str, Any] = {"left_out_share": 0.2, "jitter": 0.0, "n_members": 5, "steps": 2000,
                            "batch": 4}
"""Where a config says nothing: each of five members leaves out another fifth of the networks."""
OF_SPECTRA = ("theory_weights", "derivative", "cell_mean", "max_sites", "axis_note", "loss",
              "weigh", "rest", "left_out_networks", "start")
"""Options that mean nothing without an energy axis, absorbers or several theories."""
DOMAIN_ATOMS = 6000
"""Atoms that tell what is inside the domain."""
FEWEST = 5
"""Networks; with fewer, none is left out, unless the config says so."""

AnyConfig = SurrogateConfig | PropertyKernelConfig


@dataclass(frozen=True, eq=False)
class PropertyFold:
    """What a member is trained on, what it leaves out, and how its labels are standardised.

    Attributes
    ----------
    offset : (n_elements,), mean of each element's contributions, units of the labels
    scale : spread of what is left of the labels
    """

    seen: list[PropertyItem]
    apart: list[PropertyItem]
    offset: np.ndarray
    scale: float

    def standardised(self, items: Sequence[PropertyItem],
                     elements: Sequence[str]) -> list[np.ndarray]:
        """Labels without the elements' means, of spread one; an array for each structure."""
        base = composition(items, elements) @ self.offset
        labels = (np.concatenate([item.labels for item in items]) - base) / self.scale
        return np.split(labels, np.cumsum([len(item.labels) for item in items])[:-1])


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes
    ----------
    folder : of the model
    target : what it predicts
    structures, networks : how many it was trained on
    left_out : errors on left-out networks, as in ``config.json``; empty if none was left out
    spread : standard deviation of the labels, networks weighing equally
    """

    folder: Path
    target: Target
    structures: int
    networks: int
    left_out: dict[str, Any]
    spread: float


def train_property(paths: Sequence[Path], folder: Path, key: str,
                   config: Path | None = None) -> Trained:
    """Train (or go on training) an ensemble for ``key``; the model folder is ``folder``.

    Raises
    ------
    InputError
        For bad data or config, or a folder whose run had other data or settings.
    """
    options, schedule = read_options(key, config)
    target, every = load_properties(paths, key, options.per, options.unit)
    items = split(every, options)
    if not items:
        raise InputError("training data must hold at least one structure, received none after "
                         "exclude and leave_out_density: check both in the config")
    check_varies(target, [item.labels for item in items])
    options = with_left_out(options, items, config)
    elements = sorted({e for item in items for e in item.structure.symbols})
    model = configure(elements, options)
    record = property_record(target, items, options, model)
    refuse_other_run(folder, record)
    folds = [fold_of(items, elements, options, k) for k in range(model.n_members)]
    if isinstance(model, PropertyKernelConfig):
        tensors, apart = fit_kernels(folds, model, options)
    else:
        tensors, apart = fit_networks(folds, model, options, schedule, folder)
    if any(fold.apart for fold in folds):
        record["left_out"] = left_out_errors(folds, apart, elements)
    tensors |= fit_sites(items, elements, options.seed)
    for k, fold in enumerate(folds):
        tensors |= {f"{k}.offset": torch.tensor(fold.offset),
                    f"{k}.scale": torch.tensor(fold.scale, dtype=torch.float64)}
    save_model(folder, record, tensors)
    return Trained(folder, target, len(items), len({item.parent for item in items}),
                   record.get("left_out", {}), record["labels"]["spread"])


def read_options(key: str, config: Path | None) -> tuple[SurrogateTraining, Schedule]:
    """The config with :data:`DEFAULTS` where it says nothing.

    Raises
    ------
    InputError
        For unknown keys, and keys that only spectra have.
    """
    content = read_toml(config)
    strange = [name for name in OF_SPECTRA if name in content]
    if strange:
        raise InputError(f"the config must hold what a property has, received "
                         f"{', '.join(strange)}, which is of spectra: take it out, or train "
                         f"without --target")
    filled = {"left_out_share": DEFAULTS["left_out_share"], "jitter": DEFAULTS["jitter"], **content}
    options: SurrogateTraining = build_options(SurrogateTraining, filled, "the config")
    if options.family not in FAMILIES:
        raise InputError(f"family must be one of {', '.join(FAMILIES)}, received "
                         f"{options.family!r}: correct it in the config")
    if set(options.batch) - {key}:
        raise InputError(f"[batch] must name the target, {key} = {DEFAULTS['batch']}, received "
                         f"{', '.join(sorted(set(options.batch) - {key}))}: correct the config")
    schedule: Schedule = build_options(Schedule, {"steps": DEFAULTS["steps"], **options.schedule},
                                       "[schedule]")
    return options, schedule


def with_left_out(options: SurrogateTraining, items: Sequence[PropertyItem],
                  config: Path | None) -> SurrogateTraining:
    """No share is left out of fewer than :data:`FEWEST` networks, unless the config asks for it."""
    few = len({item.parent for item in items}) < FEWEST
    if few and "left_out_share" not in read_toml(config):
        return replace(options, left_out_share=0.0)
    return options


def configure(elements: list[str], options: SurrogateTraining) -> AnyConfig:
    """The model's config."""
    content = {"n_members": DEFAULTS["n_members"], **options.model, "elements": elements}
    if options.family == "kernel":
        kernel: PropertyKernelConfig = build_options(PropertyKernelConfig, content, "[model]")
        return kernel
    content |= {"absorber": "", "edge": "", "theories": []}
    network: SurrogateConfig = build_options(SurrogateConfig, content, "[model]")
    return network


def fold_of(items: Sequence[PropertyItem], elements: Sequence[str], options: SurrogateTraining,
            member: int) -> PropertyFold:
    """What a member sees, and how its labels are standardised.

    The elements' means are the smallest that fit the labels best, by least squares.
    """
    seen, apart = list(items), list[PropertyItem]()
    if options.left_out_share:
        seen, apart = left_out_share(items, options.left_out_share, member, options.seed)
    shares, weights = composition(seen, elements), row_weights(seen)
    labels = np.concatenate([item.labels for item in seen])
    root = np.sqrt(weights)
    offset, *_ = np.linalg.lstsq(shares * root[:, None], labels * root, rcond=1e-8)
    left = labels - shares @ offset
    scale = float(np.sqrt(weights @ left**2))
    if not scale > 1e-9 * np.abs(labels).max():  # the composition says all, or a fold is constant
        scale = spread_of(labels, weights) or 1.0
    return PropertyFold(seen, apart, offset, scale)


def spread_of(labels: np.ndarray, weights: np.ndarray) -> float:
    """Weighted standard deviation."""
    mean = weights @ labels / weights.sum()
    return float(np.sqrt(weights @ (labels - mean) ** 2 / weights.sum()))


def fit_networks(folds: Sequence[PropertyFold], model: SurrogateConfig, options: SurrogateTraining,
                 schedule: Schedule, folder: Path) -> tuple[dict[str, Tensor], list[np.ndarray]]:
    """Train the members one after the other; tensors, and what each says of what it left out."""
    tensors: dict[str, Tensor] = {}
    apart = []
    for k, fold in enumerate(folds):
        network = new_member(fold.seen, model, options.seed * 1000 + k)
        batch = next(iter(options.batch.values()), DEFAULTS["batch"])
        loss = PropertyLoss(fold.seen, fold.standardised(fold.seen, model.elements), model,
                            batch=batch, jitter=options.jitter, seed=options.seed, member=k)
        average = train(network, loss, schedule, folder / f"member_{k}",
                        title=f"property, member {k + 1} of {len(folds)}",
                        monitor=monitor(fold, model) if fold.apart else None)
        assert isinstance(average, PropertyNetwork)
        center_errors(average, fold, model)
        tensors |= {f"{k}.network.{name}": tensor for name, tensor in average.state_dict().items()}
        apart.append(predict_apart(average, fold, model))
    return tensors, apart


@torch.no_grad()
def center_errors(network: PropertyNetwork, fold: PropertyFold, model: SurrogateConfig) -> None:
    """Shift the readout so that errors on what the member saw have mean zero."""
    truth = np.concatenate(fold.standardised(fold.seen, model.elements))
    told = np.concatenate([standardised(network, item, model) for item in fold.seen])
    network.readout.bias.add_(float(row_weights(fold.seen) @ (truth - told)) / float(network.gain))


def predict_apart(network: nn.Module, fold: PropertyFold, model: SurrogateConfig) -> np.ndarray:
    """Standardised predictions for what a member left out, (n_labels,)."""
    return np.concatenate([np.zeros(0), *(standardised(network, item, model)
                                          for item in fold.apart)])


def monitor(fold: PropertyFold, model: SurrogateConfig) -> Callable[[nn.Module], dict[str, float]]:
    """Logs the standard deviation of the errors on what was left out, over that of the labels."""
    truth = np.concatenate(fold.standardised(fold.apart, model.elements))

    def measure(network: nn.Module) -> dict[str, float]:
        error = predict_apart(network, fold, model) - truth
        return {"left-out error": spread_of(error, row_weights(fold.apart))}

    return measure


def fit_kernels(folds: Sequence[PropertyFold], model: PropertyKernelConfig,
                options: SurrogateTraining) -> tuple[dict[str, Tensor], list[np.ndarray]]:
    """Fit the members; tensors, and what each says of what it left out."""
    from tqdm import tqdm

    items = list({id(item): item for fold in folds for item in (*fold.seen, *fold.apart)}.values())
    scaling, described = describe_all(items, model)
    of = {id(item): one for item, one in zip(items, described, strict=True)}
    choosing = not model.ridge and any(fold.apart for fold in folds)
    ridges = RIDGES if choosing else (model.ridge or UNCHOSEN,)
    members, apart = [], []
    errors = np.zeros(len(ridges))
    for k, fold in enumerate(tqdm(folds, desc="kernel", unit="member")):
        rng = np.random.default_rng([options.seed, k])
        member = fit_member(fold.seen, [of[id(item)] for item in fold.seen],
                            fold.standardised(fold.seen, model.elements), model, ridges, rng)
        members.append(member)
        if fold.apart:
            told = torch.cat([member.rows(of[id(item)], len(item.labels)) @ member.weights
                              for item in fold.apart]).numpy()
            truth = np.concatenate(fold.standardised(fold.apart, model.elements))
            errors += row_weights(fold.apart) @ (told - truth[:, None]) ** 2
            apart.append(told)
    chosen = int(errors.argmin()) if choosing else 0
    return tensors_of(members, chosen, scaling), [told[:, chosen] for told in apart]


def fit_sites(items: Sequence[PropertyItem], elements: Sequence[str],
              seed: int) -> dict[str, Tensor]:
    """The domain of atoms drawn from the training structures, as many of every network."""
    from tqdm import tqdm

    rng = np.random.default_rng([seed, len(items)])
    networks: dict[str, list[PropertyItem]] = {}
    for item in items:
        networks.setdefault(item.parent, []).append(item)
    each = max(1, DOMAIN_ATOMS // len(networks))
    features, groups = [], []
    for parent, mine in tqdm(networks.items(), desc="domain", unit="network", mininterval=2.0):
        owner = np.concatenate([np.full(len(item.structure), k) for k, item in enumerate(mine)])
        drawn = rng.choice(len(owner), min(each, len(owner)), replace=False)
        for k in np.unique(owner[drawn]):
            atoms = drawn[owner[drawn] == k] - int(np.argmax(owner == k))
            features.append(domain_features(mine[k].structure, elements).numpy()[np.sort(atoms)])
            groups += [parent] * len(atoms)
    return fit_domain(np.concatenate(features), groups, seed)


def left_out_errors(folds: Sequence[PropertyFold], apart: Sequence[np.ndarray],
                    elements: Sequence[str]) -> dict[str, Any]:
    """Errors of every label by the members that left it out, networks weighing equally.

    In units of the target (of a sum: an atom); ``members`` holds those of each member.
    """
    rows: list[dict[str, float]] = []
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for fold, standard in zip(folds, apart, strict=True):
        truth = np.concatenate([item.labels for item in fold.apart])
        exact = np.concatenate(fold.standardised(fold.apart, elements))
        parts.append((truth, truth + fold.scale * (standard - exact), row_weights(fold.apart)))
        rows.append({"networks": len({item.parent for item in fold.apart}), **_errors(*parts[-1])})
    every = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return {"members": rows, **_errors(*every)}


def _errors(truth: np.ndarray, told: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """MAE, RMSE and Pearson's correlation of labels with their weights."""
    c = weights / weights.sum()
    varies = np.ptp(truth) > 0 and np.ptp(told) > 0
    return {"mae": float(c @ np.abs(told - truth)), "rmse": float(np.sqrt(c @ (told - truth) ** 2)),
            "pearson": float(np.corrcoef(truth, told)[0, 1]) if varies else float("nan")}


def property_record(target: Target, items: Sequence[PropertyItem], options: SurrogateTraining,
                    model: AnyConfig) -> dict[str, Any]:
    """The ``config.json`` of a model of a property."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(np.ascontiguousarray(item.structure.positions.round(6)).tobytes())
        digest.update(np.ascontiguousarray(item.labels).tobytes())
    densities = [item.structure.density for item in items]
    labels, weights = np.concatenate([item.labels for item in items]), row_weights(items)
    return {
        "kind": "surrogate", "family": options.family, "version": diffxas.__version__,
        "licence": options.licence, "elements": model.elements,
        "target": target.to_dict(),
        "labels": {"mean": float(weights @ labels), "spread": spread_of(labels, weights),
                   "range": [float(labels.min()), float(labels.max())]},
        "density_range": [round(min(densities), 3), round(max(densities), 3)],
        "model": model.to_dict(),
        "training": {
            "data_hash": digest.hexdigest(),
            "options": {name: value for name, value in asdict(options).items()
                        if name not in OF_SPECTRA},
            "structures": [item.name for item in items],
            "parents": sorted({item.parent for item in items}),
        },
    }
