"""Members of an ensemble, each measured on the share of the materials that it left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import nn

from surrogates.datasets import SiteSpectra, joined
from surrogates.metrics import error_table, eta, rms
from surrogates.model import SurrogateConfig, Theory
from surrogates.site_loss import predict_sites
from surrogates.splits import TRAINING


@dataclass(frozen=True, eq=False)
class Fold:
    """What a member is trained on, and what it is measured on."""

    seen: Sequence[SiteSpectra]
    apart: Sequence[SiteSpectra]


class Config(Protocol):
    """What is asked of a model's config: ``theories[0]`` is what is measured."""

    @property
    def theories(self) -> list[Theory]:
        """Kinds of label."""


Predict = Callable[[Any, Sequence[SiteSpectra]], list[np.ndarray]]
"""(member, structures) -> spectra of the labelled sites of each, (n_sites, n_grid)."""


def monitor(fold: Fold, config: Config,
            predict: Predict | None = None) -> Callable[[nn.Module], dict[str, float]]:
    """Logs eta on what was left out: sites of the first theory, of the data's training part.

    (Sites in neither part of a published split are mostly outliers.)
    """
    name = config.theories[0].name
    of_network = predict or _by_network(config)
    mean = np.concatenate([item.spectra for item in _published(fold.seen, name)]).mean(0)
    test = _published(fold.apart, name)
    truth = np.concatenate([item.spectra for item in test])

    def measure(network: nn.Module) -> dict[str, float]:
        predicted = np.concatenate(of_network(network, test))
        return {"left-out eta": eta(predicted, truth, mean)}

    return measure


def errors_of_members(members: Sequence[nn.Module], folds: Sequence[Fold], config: Config,
                      predict: Predict | None = None) -> dict[str, Any]:
    """Errors of every member on what it left out, all sites of the first theory.

    Returns ``members`` (materials, sites, eta, site MSE, ...), and the rms errors along energy of
    a site (``site_error``) and of a structure's mean (``mean_error``).
    """
    name = config.theories[0].name
    of_member = predict or _by_network(config)
    rows: list[dict[str, Any]] = []
    sites: list[np.ndarray] = []
    means: list[np.ndarray] = []
    for member, fold in zip(members, folds, strict=True):
        test = [item for item in joined(fold.apart) if item.theory == name]
        predicted = of_member(member, test)
        errors = [p - item.spectra for p, item in zip(predicted, test, strict=True)]
        sites += errors
        means += [error.mean(0) for error in errors]
        rows.append({"materials": len({item.parent for item in test}),
                     "sites": sum(len(item.sites) for item in test),
                     "eta": monitor(fold, config, of_member)(member)["left-out eta"],
                     **error_table(errors)})
    return {"members": rows, "site_error": rms(np.concatenate(sites), 0).tolist(),
            "mean_error": rms(np.stack(means), 0).tolist()}


def _published(items: Sequence[SiteSpectra], theory: str) -> list[SiteSpectra]:
    return [item for item in items if item.theory == theory and item.part == TRAINING]


def _by_network(config: Config) -> Predict:
    assert isinstance(config, SurrogateConfig)
    sizes = config
    return lambda member, items: predict_sites(member, items, sizes)
