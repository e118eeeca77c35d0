r"""Shares of coordination numbers as a guide: ``coordination:[A-B:]N=SHARE``.

Sort the neighbours of an atom by e, their distance less the longest bond of the pair of elements
(:mod:`diffxas.cutoffs`). The atom has n bonds where e_n < 0 < e_{n+1}. With a smooth step h in the
place of the sharp one, h(e) = 1 deep inside a bond and 0 far outside, its share of n bonds is

    q_n = h(e_n) - h(e_{n+1}),        e_0 = -infinity,

and the q_n of one atom sum to 1. Only the two neighbours on either side of the limit count, so many
second neighbours do not add up to a bond, as they do in a sum of smooth steps. The
step is a logistic function,

    h(e) = 1 / (1 + exp(e / w)),        w = max(WIDTH, SPREAD sigma).

At sigma = 0 it is narrow: bonds of solids end well before the first minimum of g(r), and the shares
agree with counted ones. Distances in the structure behind a denoised estimate scatter about those
of the estimate, in proportion to the noise; the share expected of it is the smoother one, and a
neighbour that is not bonded yet is felt from afar.

What is asked is asked of the cell itself: unlike a spectrum's, its likelihood holds no scatter of
finite cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffxas.analysis import chemical_symbol
from diffxas.errors import InputError
from diffxas.graph import Graph, build_graph
from diffxas.structure import Structure
from samplers.guides.asked import Asked, AskedGuide, split_asked
from samplers.guides.base import N_REFERENCE, ObservedGuide

if TYPE_CHECKING:
    from samplers.setup import GenerateOptions

WIDTH = 0.05
"""w of a structure, angstrom."""
SPREAD = 0.5
"""w of an estimate, in units of its noise level."""
REACH = 8.0
"""Neighbours are looked for up to this many w beyond the longest bond."""
DEVIATION = 0.01
"""S of a share where none is given."""
MOST = 12
"""Bonds of one atom that can be asked for."""
EXAMPLE = "write it as coordination:4=0.37 or coordination:Si-O:4=0.98"


@dataclass(frozen=True)
class Share:
    """Atoms of one element (any if None) with ``bonds`` bonds to another (any if None)."""

    first: str | None
    second: str | None
    bonds: int

    @property
    def name(self) -> str:
        """Such as ``Si-O:4``."""
        return f"{self.whole}:{self.bonds}"

    @property
    def whole(self) -> str:
        """What it is a share of."""
        pair = "" if self.first is None else f":{self.first}-{self.second}"
        return f"coordination{pair}"


class CoordinationGuide(AskedGuide, ObservedGuide):
    """Log-likelihood of shares of coordination numbers.

    Parameters
    ----------
    shares_asked : what is asked
    system : species and cell
    lengths : longest bonds, angstrom, by the two chemical symbols in either order
    label : as the user wrote it
    """

    def __init__(self, shares_asked: Mapping[Share, Asked], system: Structure,
                 lengths: Mapping[tuple[str, str], float], label: str) -> None:
        self.by_share, self.system = dict(shares_asked), system
        self.lengths = {frozenset(pair): x for pair, x in lengths.items()}
        self.pairs, self.label = dict(lengths), label
        self.requests = {share.name: one for share, one in self.by_share.items()}

    def at(self, system: Structure) -> CoordinationGuide:
        """See :class:`samplers.guides.base.Guide`."""
        return CoordinationGuide(self.by_share, system, self.pairs, self.label)

    def shares(self) -> Mapping[str, Sequence[str]]:
        """See :class:`samplers.guides.asked.AskedGuide`."""
        found: dict[str, list[str]] = {}
        for share in self.by_share:
            found.setdefault(share.whole, []).append(share.name)
        return found

    def sites(self, x: Tensor) -> Tensor:
        """q of every atom at sigma = 0, (n_atoms, n_shares)."""
        return self.estimated_sites(x, 0.0)

    def estimated_sites(self, x_0: Tensor, sigma: float) -> Tensor:
        """q of every atom, (n_atoms, n_shares).

        Where one element is asked for, its atoms' rows are scaled about their mean so that the mean
        over all rows is theirs.
        """
        width = max(WIDTH, SPREAD * sigma)
        placed = self.system.with_positions(x_0.detach().cpu().double().numpy())
        graph = build_graph(placed, max(self.pairs.values()) + REACH * width, dtype=x_0.dtype,
                            device=x_0.device)
        excess = graph.vectors(x_0).norm(dim=1) - self._longest(graph, x_0)
        columns = []
        for share in self.by_share:
            q = self._shares_of_atoms(share, graph, excess / width)
            if share.first is not None:
                own = torch.tensor(np.array(placed.symbols) == share.first, device=x_0.device)
                mean = q[own].mean()
                q = mean + torch.where(own, (q - mean) * (len(q) / own.sum()), 0.0)
            columns.append(q)
        return torch.stack(columns, 1)

    def _longest(self, graph: Graph, x: Tensor) -> Tensor:
        """Longest bond of every edge's pair, (n_edges,), angstrom."""
        kinds = sorted(set(self.system.symbols))
        table = torch.tensor([[self.lengths[frozenset((a, b))] for b in kinds] for a in kinds],
                             dtype=x.dtype, device=x.device)
        kind = torch.tensor([kinds.index(s) for s in self.system.symbols], device=x.device)
        return table[kind[graph.center], kind[graph.neighbor]]

    def _shares_of_atoms(self, share: Share, graph: Graph, excess: Tensor) -> Tensor:
        """h(e_n) - h(e_{n+1}) of every atom, (n_atoms,); ``excess`` is e / w."""
        center = graph.center
        if share.second is not None:
            second = torch.tensor(np.array(self.system.symbols) == share.second,
                                  device=excess.device)
            kept = second[graph.neighbor]
            center, excess = center[kept], excess[kept]
        order = torch.as_tensor(np.lexsort((excess.detach().cpu().numpy(), center.cpu().numpy())),
                                device=excess.device)
        center, excess = center[order], excess[order]
        first = torch.searchsorted(center, torch.arange(graph.n_atoms, device=center.device))
        rank = torch.arange(len(center), device=center.device) - first[center]
        level = excess.new_zeros(graph.n_atoms, MOST + 2)
        level = level.index_fill(1, torch.tensor([0], device=center.device), 1.0)
        near = rank <= MOST
        level = level.index_put((center[near], rank[near] + 1), torch.sigmoid(-excess[near]))
        return level[:, share.bonds] - level[:, share.bonds + 1]

    def likelihood(self, values: Tensor, covariance: np.ndarray, sigma: float) -> Tensor:
        """See :class:`samplers.guides.base.ObservedGuide`; the scatter of cells is left out."""
        own = np.diag(covariance)
        if self.calibration is not None:
            own = np.maximum(0.0, own - np.diag(self.calibration.finite_cell))
        share = N_REFERENCE / len(self.system)
        return torch.stack([one.log_likelihood(values[k], float(own[k]), share)
                            for k, one in enumerate(self.requests.values())]).sum()

    def reached(self, structure: Structure) -> Mapping[str, float]:
        """Counted shares, and their log-likelihood."""
        from diffxas.analysis import coordination_pairs
        from diffxas.neighbourhood import bonds

        found = bonds(structure, self.pairs)
        by_pair = coordination_pairs(structure, found)
        counts = np.bincount(found.first, minlength=len(structure))
        values = {share.name: float((counts == share.bonds).mean()) if share.first is None else
                  by_pair[f"{share.first}-{share.second}"].get(str(share.bonds), 0.0)
                  for share in self.by_share}
        scale = N_REFERENCE / len(structure)
        total = sum(float(one.log_likelihood(torch.tensor(values[name]), 0.0, scale))
                    for name, one in self.requests.items())
        return {**values, "log_likelihood": total}


def parse(rest: str, label: str) -> dict[Share, Asked]:
    """``4=0.37,3=0.55`` or ``Si-O:4=0.98`` and the like.

    Raises
    ------
    InputError
        If it is written otherwise, or a share is no share.
    """
    found: dict[Share, Asked] = {}
    for part in rest.split(","):
        what, value = split_asked(part.strip())
        pair, _, number = what.rpartition(":")
        first, _, second = pair.partition("-")
        if not number.isdigit() or int(number) > MOST or bool(pair) != bool(first and second):
            raise InputError(f"coordination must be a number of bonds up to {MOST} and a share, "
                             f"received {part.strip()!r} in {label!r}: {EXAMPLE}")
        share = Share(first or None, second or None, int(number))
        if share in found:
            raise InputError(f"a share must be asked for once, received {share.name} twice in "
                             f"{label!r}: leave one out")
        found[share] = Asked.parse(value, DEVIATION, label).within(0.0, 1.0, "a share", label)
    return found


def from_text(rest: str, system: Structure, options: GenerateOptions) -> CoordinationGuide:
    """``[A-B:]N=SHARE[,...]``.

    Raises
    ------
    InputError
        On another form, a share outside 0 to 1, or an element that is not there.
    """
    from diffxas.cutoffs import bond_lengths, choose_cutoffs
    from diffxas.prior import find_prior
    from diffxas.weights import read_config

    label = f"coordination:{rest}"
    asked = parse(rest, label)
    present = {chemical_symbol(int(z)) for z in np.unique(system.numbers)}
    for share in asked:
        strange = {share.first, share.second} - present - {None}
        if strange:
            raise InputError(f"coordination must be of elements that are generated, "
                             f"{', '.join(sorted(present))}, received {share.name!r}: {EXAMPLE}")
    recorded = read_config(find_prior(options.prior)).get("cutoffs")
    lengths = bond_lengths(choose_cutoffs(present, options.cutoffs, recorded))
    return CoordinationGuide(asked, system, lengths, label)
