"""Which data a network leaves when it and its density are left out.

Cells of one bond network are near-copies, so a split over cells or atoms leaks: what a surrogate
can do shows on networks, and densities, that it has not seen. Likewise for sites of one material.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffxas.errors import InputError
from surrogates.datasets import SiteSpectra
from surrogates.training_split import Item


@dataclass(frozen=True)
class NetworkSplit:
    """A network of the predicted theory, and what is neither of it nor near its density."""

    parent: str
    test: list[SiteSpectra]
    rest: list[SiteSpectra]

    @property
    def densities(self) -> list[float]:
        """Of the network's structures, g/cm3."""
        return [item.structure.density for item in self.test]


def network_splits(data: Sequence[SiteSpectra], margin: float) -> list[NetworkSplit]:
    """Every network of the first theory left out in turn, with what is near its density.

    Parameters
    ----------
    margin : g/cm3, how near

    Raises
    ------
    InputError
        If a theory then has nothing left.
    """
    theories = list(dict.fromkeys(item.theory for item in data))
    splits = []
    for parent in sorted({d.parent for d in data if d.theory == theories[0]}):
        test = [d for d in data if d.theory == theories[0] and d.parent == parent]
        densities = [d.structure.density for d in test]
        rest = [d for d in data if d.parent != parent and min(
            abs(d.structure.density - density) for density in densities) > margin]
        missing = [name for name in theories if name not in {d.theory for d in rest}]
        if missing:
            raise InputError(f"left_out_networks must leave data of every theory, received none "
                             f"of {', '.join(missing)} without {parent} and densities near it: "
                             "lower leave_out_margin, or set left_out_networks = false")
        splits.append(NetworkSplit(parent, test, rest))
    return splits


def left_out_share(data: Sequence[Item], share: float, fold: int,
                   seed: int = 0) -> tuple[list[Item], list[Item]]:
    """A share of the parents (materials, networks) apart: the rest, and what was left out.

    Folds of one seed are disjoint until the parents are used up, then begin anew.
    """
    parents = sorted({item.parent for item in data})
    size = round(share * len(parents))
    if not 0 < size < len(parents):
        raise InputError(f"left_out_share must leave out a parent and keep one, received {share:g} "
                         f"of {len(parents)}: choose another share")
    order = np.random.default_rng(seed).permutation(len(parents))
    apart = {parents[order[(fold * size + k) % len(parents)]] for k in range(size)}
    return ([item for item in data if item.parent not in apart],
            [item for item in data if item.parent in apart])
