"""Which data a network leaves when it and its density are left out.

Cells of one bond network are near-copies, so a split over cells or atoms leaks: what a surrogate
can do shows on networks, and densities, that it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffxas.errors import InputError
from surrogates.datasets import SiteSpectra


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
