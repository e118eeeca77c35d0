r"""Atoms kept apart as a guide: ``distance=>1.2``, or of a pair of elements ``distance:C-C=>1.25``.

Every pair of atoms nearer than V is penalised,

    l = -1/2 sum_pairs (V - r)^2 / (S^2 + u),        u = (SPREAD sigma)^2,

with u what the distance in the structure behind a denoised estimate may differ by. The sum grows
with the number of pairs, as the prior does, so nothing is tempered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffxas.analysis import chemical_symbol
from diffxas.errors import InputError
from diffxas.graph import build_graph
from diffxas.neighbourhood import neighbour_pairs
from diffxas.structure import Structure
from samplers.guides.asked import Asked, AskedGuide, split_asked

if TYPE_CHECKING:
    from samplers.setup import GenerateOptions

DEVIATION = 0.05
"""S, angstrom."""
SPREAD = 0.5
"""Error of a distance of an estimate, in units of its noise level."""
LONGEST = 10.0
"""angstrom; larger least distances belong to no solid."""
EXAMPLE = "write it as distance=>1.2 or distance:C-C=>1.25"


class DistanceGuide(AskedGuide):
    """Penalty of close pairs.

    Parameters
    ----------
    pair : two chemical symbols, None for all atoms
    asked : a half-line upwards, angstrom
    system : species and cell
    label : as the user wrote it
    """

    def __init__(self, pair: tuple[str, str] | None, asked: Asked, system: Structure,
                 label: str) -> None:
        self.pair, self.system, self.label = pair, system, label
        self.name = "distance" if pair is None else f"distance:{'-'.join(pair)}"
        self.request = asked
        self.requests = {self.name: asked}

    def at(self, system: Structure) -> DistanceGuide:
        """See :class:`samplers.guides.base.Guide`."""
        return DistanceGuide(self.pair, self.request, system, self.label)

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        """See :class:`samplers.guides.base.Guide`."""
        placed = self.system.with_positions(x_0.detach().cpu().double().numpy())
        graph = build_graph(placed, self.request.low, dtype=x_0.dtype, device=x_0.device)
        chosen = self._chosen(graph.center.cpu().numpy(), graph.neighbor.cpu().numpy())
        vectors = graph.vectors(x_0)[torch.as_tensor(np.flatnonzero(chosen), device=x_0.device)]
        distance = (vectors.square().sum(1) + 1e-12).sqrt()
        each = self.request.log_likelihood(distance, (SPREAD * sigma) ** 2)
        return 0.5 * each.sum()  # every pair stands in both directions

    def _chosen(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Which directed pairs are of the two elements, in either order, (n_pairs,) bool."""
        if self.pair is None:
            return np.ones(len(first), dtype=bool)
        symbols = np.array(self.system.symbols)
        one, other = self.pair
        return np.asarray(((symbols[first] == one) & (symbols[second] == other))
                          | ((symbols[first] == other) & (symbols[second] == one)))

    def reached(self, structure: Structure) -> Mapping[str, float]:
        """The shortest distance (angstrom; at least what is looked at), and the log-likelihood."""
        reach = self.request.low
        shortest = float("inf")
        while not np.isfinite(shortest) and reach < 4 * LONGEST:
            pairs = neighbour_pairs(structure, reach)
            found = pairs.distance[self._chosen(pairs.first, pairs.second)]
            shortest = float(found.min()) if len(found) else float("inf")
            reach *= 1.6
        return {self.name: shortest, **super().reached(structure)}


def from_text(rest: str, system: Structure, options: GenerateOptions) -> DistanceGuide:
    """``=>V`` or ``A-B=>V``.

    Raises
    ------
    InputError
        On another form, or an element that is not there.
    """
    what, value = split_asked(rest)
    label = f"distance{':' if what else ''}{rest}"
    asked = Asked.parse(value, DEVIATION, label)
    if not value.startswith("=>") or not 0 < asked.low <= LONGEST:
        raise InputError(f"a least distance must be 0 to {LONGEST:g} angstrom, received {label!r}: "
                         f"{EXAMPLE}")
    if not what:
        return DistanceGuide(None, asked, system, label)
    one, _, other = what.partition("-")
    present = {chemical_symbol(int(z)) for z in np.unique(system.numbers)}
    if {one, other} - present:
        raise InputError(f"distance must be of two elements that are generated, "
                         f"{', '.join(sorted(present))}, received {what!r}: {EXAMPLE}")
    return DistanceGuide((one, other), asked, system, label)
