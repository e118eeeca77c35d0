"""Members of an ensemble, each measured on the share of the materials that it left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from surrogates.datasets import SiteSpectra, joined
from surrogates.metrics import error_table, eta, rms
from surrogates.model import SurrogateConfig, SurrogateNetwork
from surrogates.site_loss import predict_sites
from surrogates.splits import TRAINING


@dataclass(frozen=True, eq=False)
class Fold:
    """What a member is trained on, and what it is measured on."""

    seen: Sequence[SiteSpectra]
    apart: Sequence[SiteSpectra]


def monitor(fold: Fold, config: SurrogateConfig) -> Callable[[nn.Module], dict[str, float]]:
    """Logs eta on what was left out: sites of the first theory, of the data's training part.

    (Sites in neither part of a published split are mostly outliers.)
    """
    name = config.theories[0].name
    mean = np.concatenate([item.spectra for item in _published(fold.seen, name)]).mean(0)
    test = _published(fold.apart, name)
    truth = np.concatenate([item.spectra for item in test])

    def measure(network: nn.Module) -> dict[str, float]:
        predicted = np.concatenate(predict_sites(network, test, config))
        return {"left-out eta": eta(predicted, truth, mean)}

    return measure


def errors_of_members(members: Sequence[SurrogateNetwork], folds: Sequence[Fold],
                      config: SurrogateConfig) -> dict[str, Any]:
    """Errors of every member on what it left out, all sites of the first theory.

    Returns ``members`` (materials, sites, eta, site MSE, ...), and the rms errors along energy of
    a site (``site_error``) and of a structure's mean (``mean_error``).
    """
    name = config.theories[0].name
    rows: list[dict[str, Any]] = []
    sites: list[np.ndarray] = []
    means: list[np.ndarray] = []
    for member, fold in zip(members, folds, strict=True):
        test = [item for item in joined(fold.apart) if item.theory == name]
        predicted = predict_sites(member, test, config)
        errors = [p - item.spectra for p, item in zip(predicted, test, strict=True)]
        sites += errors
        means += [error.mean(0) for error in errors]
        rows.append({"materials": len({item.parent for item in test}),
                     "sites": sum(len(item.sites) for item in test),
                     "eta": monitor(fold, config)(member)["left-out eta"], **error_table(errors)})
    return {"members": rows, "site_error": rms(np.concatenate(sites), 0).tolist(),
            "mean_error": rms(np.stack(means), 0).tolist()}


def _published(items: Sequence[SiteSpectra], theory: str) -> list[SiteSpectra]:
    return [item for item in items if item.theory == theory and item.part == TRAINING]
