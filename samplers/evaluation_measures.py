r"""The table of an evaluation: samples and networks, each against the reference at its own density.

Every row of the table is a group of cells treated alike: samples, networks that the prior never
saw, all networks of the reference (the floor: each against the others, its own network left out),
quenched cells (the ceiling). Of a cell at density rho the table holds

    coordination   shares by bonds, minus their straight-line fit over density, averaged over the
                   group and then the largest of them, percentage points;
    g(r), angles,  d(cell, network) of :mod:`diffxas.networks`, median over all pairs of a cell and
    rings          a network within 0.1 g/cm3; in brackets over that of networks among themselves;
    energy         eV/atom after relaxation, minus the reference's local fit over density;
    moved          rms displacement in that relaxation, over the reference's local fit;
    known          share of the atoms whose depth-3 environment the training set holds, and by how
                   much it exceeds that of held-out networks at this density.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from diffxas.networks import CURVES, LOCAL, NEAR, WITHIN, Profile, difference, local_value
from samplers.evaluation_data import HELD_OUT

SAMPLES, UNSEEN, NETWORKS, QUENCHED = "samples", "held-out networks", "networks", "quenched"
COORDINATION, RATIO, ENERGY, MOVED, EXCESS = 3.0, 1.3, 0.05, 1.2, 0.02
"""Asked of samples: points, times the floor, eV/atom, times the reference's, share of the atoms."""
FEWEST = 2
COURSE = 0.15
"""Networks this near in density (g/cm3) tell which share of environments is known there: in
amorphous carbon it falls from 0.6 to 0.1 within 0.4 g/cm3."""


@dataclass(frozen=True)
class Settled:
    """What a relaxation gave: energy (eV/atom) and rms displacement (angstrom); NaN if it broke."""

    energy: float
    moved: float


@dataclass(frozen=True, eq=False)
class Member:
    """A cell of the table.

    Attributes
    ----------
    name, network : of the cell, and of its bond network (empty for samples and quenched cells)
    role : ``training``, ``held-out``, ``related``, or ``new`` for samples and quenched cells
    settled : by potential
    """

    name: str
    network: str
    role: str
    profile: Profile
    settled: Mapping[str, Settled] = field(default_factory=dict)

    @property
    def density(self) -> float:
        """g/cm3."""
        return self.profile.density


@dataclass(frozen=True, eq=False)
class Row:
    """A group at one density, or over all (``density`` None); NaN for what is not known.

    Attributes
    ----------
    shares, line : mean shares by bonds, and the reference's fit at the same densities
    coordination, coordination_error : largest difference and its standard error, points
    distance, ratio, ratio_error : for each of ``CURVES``, over that of networks among themselves,
        and its standard error over cells or over densities
    energy, energy_error, moved : by potential; eV/atom, eV/atom, ratio
    known, expected : share of environments in the training set, and that of held-out networks
    excess_error : standard error of ``known - expected``
    """

    what: str
    density: float | None
    cells: int
    shares: Mapping[str, float]
    line: Mapping[str, float]
    coordination: float
    coordination_error: float
    distance: Mapping[str, float]
    ratio: Mapping[str, float]
    ratio_error: Mapping[str, float]
    energy: Mapping[str, float]
    energy_error: Mapping[str, float]
    moved: Mapping[str, float]
    known: float
    expected: float
    excess_error: float

    @property
    def excess(self) -> float:
        """``known - expected``."""
        return self.known - self.expected


def trivial(key: str) -> bool:
    """No bonds between like atoms, as in "O-O 0", is what one expects."""
    pair, _, number = key.rpartition(" ")
    one, _, other = pair.partition("-")
    return bool(pair) and one == other and number == "0"


class Judge:
    """The reference and the training set: what every cell is held against.

    Parameters
    ----------
    reference : cells that samples should resemble, relaxed with every potential
    training : (network, environments) of every training structure
    """

    def __init__(self, reference: Sequence[Member],
                 training: Sequence[tuple[str, Sequence[str]]]) -> None:
        self.reference = list(reference)
        self.density = np.array([one.density for one in self.reference])
        self.network = np.array([one.network for one in self.reference])
        self.holders: dict[str, set[str]] = defaultdict(set)
        for network, environments in training:
            for label in environments:
                self.holders[label].add(network)
        self.unseen = [one for one in self.reference if one.role == HELD_OUT]
        self.reference_known = {id(one): self.known(one) for one in self.reference}
        offsets = [self.reference_known[id(one)] - self._course(one) for one in self.unseen]
        self.offset = _mean(offsets) if offsets else 0.0
        self.offset_error = _error(offsets) if offsets else 0.0

    def fit(self, member: Member, value: Callable[[Member], float], within: float) -> float:
        """The reference's fit of a number at a cell's density, its own network left out."""
        others = self._others(member)
        values = np.array([value(one) for one, other in zip(self.reference, others, strict=True)
                           if other])
        return local_value(self.density[others], values, member.density, within)

    def _others(self, member: Member) -> np.ndarray:
        return (self.network != member.network if member.network
                else np.ones(len(self.reference), bool))

    def line(self, member: Member) -> dict[str, float]:
        """Shares by bonds at a cell's density, those that only the cell has included."""
        keys = dict.fromkeys(key for one in (*self.reference, member) for key in one.profile.shares)

        def share(key: str) -> Callable[[Member], float]:
            return lambda one: one.profile.shares.get(key, 0.0)

        return {key: self.fit(member, share(key), WITHIN) for key in keys}

    def distances(self, member: Member, curve: str) -> list[float]:
        """Differences to every reference cell of about this density."""
        close = self._others(member) & (np.abs(self.density - member.density) <= NEAR)
        found = [difference(member.profile, self.reference[k].profile, curve)
                 for k in np.flatnonzero(close)]
        return [one for one in found if np.isfinite(one)]

    def energy(self, member: Member, potential: str) -> float:
        """Relaxed energy above the reference's, eV/atom."""
        return member.settled[potential].energy - self.fit(
            member, lambda one: one.settled[potential].energy, LOCAL)

    def moved(self, member: Member, potential: str) -> float:
        """Rms displacement over the reference's."""
        return member.settled[potential].moved / self.fit(
            member, lambda one: one.settled[potential].moved, LOCAL)

    def known(self, member: Member) -> float:
        """Share of environments that a training structure of another network holds."""
        if not self.holders:
            return float("nan")
        labels = member.profile.environments
        return sum(bool(self.holders.get(label, set()) - {member.network})
                   for label in labels) / len(labels)

    def _course(self, member: Member) -> float:
        """:meth:`known` of the reference, each network without itself, at a cell's density."""
        return self.fit(member, lambda one: self.reference_known[id(one)], COURSE)

    def expected(self, member: Member) -> float:
        """:meth:`known` of networks that the prior never saw, at a cell's density.

        They are few, and the number changes much with density: its course over density is that of
        the whole reference, plus by how much the unseen networks lie above it on average.
        """
        return self._course(member) + self.offset

    def expected_error(self, density: float) -> float:
        """Standard error of :meth:`expected`."""
        scatter = [self.reference_known[id(one)] - self._course(one) for one in self.reference
                   if abs(one.density - density) <= COURSE]
        parts = [x for x in (_error(scatter), self.offset_error) if np.isfinite(x)]
        return float(np.hypot.reduce(parts)) if parts else float("nan")


def table(judge: Judge, samples: Mapping[float, Sequence[Member]],
          quenched: Sequence[Member]) -> tuple[list[Row], list[Row]]:
    """Rows over all densities, and rows of one density each, by group.

    Parameters
    ----------
    samples : target density (g/cm3) to its samples
    quenched : any cells; each counts for the nearest of these densities
    """
    densities = sorted(samples)
    groups = {SAMPLES: {d: list(samples[d]) for d in densities},
              UNSEEN: _nearest(judge.unseen, densities),
              NETWORKS: {d: _around(judge.reference, d) for d in densities},
              QUENCHED: _nearest(quenched, densities)}
    floor = {d: {curve: _median(judge, members, curve) for curve in CURVES}
             for d, members in groups[NETWORKS].items()}
    usual = {curve: _mean([floor[d][curve] for d in densities]) for curve in CURVES}
    whole, single = [], []
    for what, members in groups.items():
        rows = [_row(judge, what, d, members[d], {
            curve: floor[d][curve] if np.isfinite(floor[d][curve]) else usual[curve]
            for curve in CURVES}) for d in densities if members.get(d)]
        if rows:
            whole.append(_over_all(what, rows))
            single += rows
    return whole, single


def _nearest(members: Sequence[Member], densities: Sequence[float]) -> dict[float, list[Member]]:
    """Members by the nearest density, if it is within the reach of a local fit."""
    found: dict[float, list[Member]] = {d: [] for d in densities}
    for one in members:
        nearest = min(densities, key=lambda d: abs(d - one.density))
        if abs(nearest - one.density) <= LOCAL:
            found[nearest].append(one)
    return found


def _around(members: Sequence[Member], density: float) -> list[Member]:
    """Members within ``NEAR`` of a density; the two nearest if fewer are."""
    ranked = sorted(members, key=lambda one: abs(one.density - density))
    count = sum(abs(one.density - density) <= NEAR for one in ranked)
    return ranked[:max(count, FEWEST)]


def _median(judge: Judge, members: Sequence[Member], curve: str) -> float:
    found = [x for one in members for x in judge.distances(one, curve)]
    return float(np.median(found)) if found else float("nan")


def _mean(values: Sequence[float]) -> float:
    known = [x for x in values if np.isfinite(x)]
    return float(np.mean(known)) if known else float("nan")


def _error(values: Sequence[float]) -> float:
    """Standard error of the mean; NaN for a single value."""
    known = [x for x in values if np.isfinite(x)]
    return float(np.std(known, ddof=1) / len(known) ** 0.5) if len(known) > 1 else float("nan")


def _row(judge: Judge, what: str, density: float, members: Sequence[Member],
         floor: Mapping[str, float]) -> Row:
    lines = [judge.line(one) for one in members]
    keys = list(dict.fromkeys(key for line in lines for key in line))
    off = {key: [100 * (one.profile.shares.get(key, 0.0) - line.get(key, 0.0))
                 for one, line in zip(members, lines, strict=True)] for key in keys}
    worst = max(keys, key=lambda key: abs(_mean(off[key])))
    distance = {curve: _median(judge, members, curve) for curve in CURVES}
    potentials = list(members[0].settled)
    energies = {p: [judge.energy(one, p) for one in members] for p in potentials}
    known = [judge.known(one) for one in members]
    expected = [judge.expected(one) for one in members]
    return Row(
        what=what, density=density, cells=len(members),
        shares={k: _mean([one.profile.shares.get(k, 0.0) for one in members]) for k in keys},
        line={k: _mean([line.get(k, 0.0) for line in lines]) for k in keys},
        coordination=abs(_mean(off[worst])), coordination_error=_error(off[worst]),
        distance=distance,
        ratio={c: distance[c] / floor[c] if floor[c] > 0 else float("nan") for c in CURVES},
        ratio_error={c: _error([_median(judge, [one], c) for one in members]) / floor[c]
                     if floor[c] > 0 else float("nan") for c in CURVES},
        energy={p: _mean(energies[p]) for p in potentials},
        energy_error={p: _error(energies[p]) for p in potentials},
        moved={p: _mean([judge.moved(one, p) for one in members]) for p in potentials},
        known=_mean(known), expected=_mean(expected),
        excess_error=_excess_error(judge, density, known))


def _excess_error(judge: Judge, density: float, known: Sequence[float]) -> float:
    parts = [x for x in (_error(known), judge.expected_error(density)) if np.isfinite(x)]
    return float(np.hypot.reduce(parts)) if parts else float("nan")


def _over_all(what: str, rows: Sequence[Row]) -> Row:
    """The worst coordination, and means over densities of everything else."""
    worst = max(rows, key=lambda row: row.coordination)
    keys = list(dict.fromkeys(key for row in rows for key in row.shares))
    potentials = list(rows[0].energy)

    def combined(errors: Sequence[float]) -> float:
        finite = [e for e in errors if np.isfinite(e)]
        return float(np.hypot.reduce(finite) / len(finite)) if finite else float("nan")

    def ratio_error(curve: str) -> float:
        own = combined([row.ratio_error[curve] for row in rows])
        # Single cells have no scatter of their own; that over densities takes its place.
        return own if np.isfinite(own) else _error([row.ratio[curve] for row in rows])

    return Row(
        what=what, density=None, cells=sum(row.cells for row in rows),
        shares={k: _mean([row.shares.get(k, 0.0) for row in rows]) for k in keys},
        line={k: _mean([row.line.get(k, 0.0) for row in rows]) for k in keys},
        coordination=worst.coordination, coordination_error=worst.coordination_error,
        distance={c: _mean([row.distance[c] for row in rows]) for c in CURVES},
        ratio={c: _mean([row.ratio[c] for row in rows]) for c in CURVES},
        ratio_error={c: ratio_error(c) for c in CURVES},
        energy={p: _mean([row.energy[p] for row in rows]) for p in potentials},
        energy_error={p: combined([row.energy_error[p] for row in rows]) for p in potentials},
        moved={p: _mean([row.moved[p] for row in rows]) for p in potentials},
        known=_mean([row.known for row in rows]), expected=_mean([row.expected for row in rows]),
        excess_error=combined([row.excess_error for row in rows]))
