"""One amorphous network: melt, quench, anneal and relax at a fixed cell.

Atoms begin on a jittered cubic grid, elements shuffled, and slide to a nearby minimum; Langevin
dynamics (:mod:`diffxas.langevin`) keeps them molten, cools them linearly to 300 K, and on request
holds them at an annealing temperature, cools them again at the same rate and keeps them at 300 K
for a snapshot; at last the energy is minimised. Where nothing is asked for:

=======  ========  ======  ===========  ========  ==============================================
of       melt      for     cooling      timestep  after
=======  ========  ======  ===========  ========  ==============================================
C        8000 K    3 ps    1000 K/ps    0.5 fs    ml-peg's "amorphous carbon melt-quench", after
                                                  I. Batatia and others, arXiv:2401.00096; it has
                                                  1 fs, with which rebo explodes at 3.4 g/cm3
C, H     8000 K    3 ps    1000 K/ps    0.25 fs   the same; hydrogen is light
Si, O    4000 K    10 ps   100 K/ps     1 fs      our choice; slower is better (defects fall)
Si, C    6000 K    10 ps   100 K/ps     1 fs      our choice
others   4000 K    10 ps   100 K/ps     1 fs      our choice: give your own
=======  ========  ======  ===========  ========  ==============================================

A melt forgets its start when atoms have moved by several bond lengths: choose ``melt`` well above
melting. Slower cooling gives lower energies and costs in proportion.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from diffxas.dynamics import run_dynamics
from diffxas.errors import InputError, RunError
from diffxas.langevin import Progress, Stage
from diffxas.potentials import PotentialSpec, potential
from diffxas.relaxation import RelaxationOptions, relax
from diffxas.structure import GRAMS_PER_CM3, Structure

ROOM = 300.0
"""Where cooling ends and a snapshot is taken, K."""
SPACING_SHARE = 0.15
"""How far grid points are moved each way, as a share of their spacing."""
DENSEST = 0.3
LOOSEST = 1e-3
"""Atoms per cubic angstrom; diamond has 0.176."""
LONGEST_PS = 1e6


@dataclass(frozen=True)
class Protocol:
    """Temperatures in K, times in ps, the rate in K/ps, the timestep in fs.

    Attributes
    ----------
    melt, melt_ps : where the melt is held, and how long
    rate : of cooling to 300 K
    timestep_fs : of the dynamics
    anneal, anneal_ps : a hold after cooling, followed by cooling again; None for none
    snapshot_ps : time at 300 K before the snapshot; None for no snapshot

    Raises
    ------
    InputError
        If a number is out of range.
    """

    melt: float = 4000.0
    melt_ps: float = 10.0
    rate: float = 100.0
    timestep_fs: float = 1.0
    anneal: float | None = None
    anneal_ps: float = 10.0
    snapshot_ps: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("--melt", self.melt), ("--anneal", self.anneal)):
            if value is not None and not ROOM < value <= 1e5:
                raise InputError(f"{name} must be above {ROOM:g} K and at most 100000 K, received "
                                 f"{value:g}: well above melting for --melt, below for --anneal")
        for name, value in (("--melt-ps", self.melt_ps), ("--anneal-ps", self.anneal_ps),
                            ("--snapshot-300K", self.snapshot_ps)):
            if value is not None and not 0 <= value <= LONGEST_PS:
                raise InputError(f"{name} must be 0 to {LONGEST_PS:g} ps, received {value:g}: "
                                 f"a few ps are usual")
        if not 0 < self.rate < math.inf or self.melt / self.rate > LONGEST_PS:
            raise InputError(f"--rate must be above 0 K/ps, received {self.rate:g}: 1000 is fast, "
                             f"10 slow")
        if not 0 < self.timestep_fs <= 20:
            raise InputError(f"--timestep must be above 0 to 20 fs, received "
                             f"{self.timestep_fs:g}: 0.5 to 1 is usual")

    def stages(self) -> list[Stage]:
        """The dynamics, in order."""
        stages = [Stage(self.melt, self.melt, self.melt_ps, "melt"),
                  Stage(self.melt, ROOM, (self.melt - ROOM) / self.rate, "quench")]
        if self.anneal is not None:
            stages += [Stage(self.anneal, self.anneal, self.anneal_ps, "anneal"),
                       Stage(self.anneal, ROOM, (self.anneal - ROOM) / self.rate, "cool")]
        if self.snapshot_ps is not None:
            stages.append(Stage(ROOM, ROOM, self.snapshot_ps, "snapshot"))
        return stages

    @property
    def info(self) -> dict[str, float]:
        """What a structure's header says of it."""
        found = {"melt_K": self.melt, "melt_ps": self.melt_ps,
                 "quench_rate_K_per_ps": self.rate, "timestep_fs": self.timestep_fs}
        if self.anneal is not None:
            found |= {"anneal_K": self.anneal, "anneal_ps": self.anneal_ps}
        if self.snapshot_ps is not None:
            found |= {"snapshot_ps": self.snapshot_ps}
        return found


DEFAULTS = (
    ({"C"}, Protocol(8000, 3, 1000, 0.5)),
    ({"C", "H"}, Protocol(8000, 3, 1000, 0.25)),
    ({"Si", "O"}, Protocol(4000, 10, 100, 1.0)),
    ({"Si", "C"}, Protocol(6000, 10, 100, 1.0)),
)


def default_protocol(elements: Collection[str]) -> Protocol:
    """The table of the module's text."""
    return next((protocol for known, protocol in DEFAULTS if set(elements) <= known), Protocol())


@dataclass(frozen=True, eq=False)
class Quenched:
    """A network and how it came about.

    Attributes
    ----------
    network : relaxed; ``info["energy"]`` (eV, whole cell), column ``forces``
    snapshot : at 300 K, with energy and forces of that moment; None if not asked for
    pressure_gpa : of the network
    message : one line; empty where all went well
    seconds, cpu_seconds : wall and processor time
    """

    network: Structure
    snapshot: Structure | None
    pressure_gpa: float
    message: str
    seconds: float
    cpu_seconds: float


def quench(counts: Mapping[str, int], density: float, potential_spec: PotentialSpec,
           protocol: Protocol | None = None, seed: int = 0, progress: Progress | None = None,
           ) -> Quenched:
    """Make one network.

    Parameters
    ----------
    counts : atoms of each element in the cell
    density : g/cm3
    potential_spec : a name (see :mod:`diffxas.potentials`) or an ASE calculator
    protocol : None for the elements' default
    seed : one seed gives one network on one machine
    progress : told the stage and the picoseconds done since the last call

    Raises
    ------
    InputError
        If the density is out of range, or the potential unknown or without an element.
    RunError
        If atoms are lost, the motion explodes or the relaxation breaks down.
    """
    protocol = protocol or default_protocol(counts)
    began, cpu_began = time.perf_counter(), time.process_time()
    start = random_start(counts, density, seed)
    eased = potential(potential_spec, counts).minimise(start, fmax=2.0, steps=200)
    if not (eased.evaluation.finite and np.isfinite(eased.positions).all()):
        raise RunError("start: energies of the random start are no numbers: lower the density, or "
                       "choose another --potential")
    hot = run_dynamics(start.with_positions(eased.positions), potential_spec, protocol.stages(),
                       protocol.timestep_fs, seed, progress).wrapped()
    relaxed = relax(hot, RelaxationOptions(potential=potential_spec))
    if relaxed.failed:
        raise RunError(f"relaxation: {relaxed.message}: lower the density or choose another "
                       f"--potential")
    snapshot = None if protocol.snapshot_ps is None else Structure(
        hot.positions, hot.numbers, hot.cell, hot.pbc, {"energy": hot.info["energy"]},
        {"forces": hot.arrays["forces"]})
    return Quenched(relaxed.structure.wrapped(), snapshot, relaxed.pressure_gpa, relaxed.message,
                    time.perf_counter() - began, time.process_time() - cpu_began)


def random_start(counts: Mapping[str, int], density: float, seed: int) -> Structure:
    """Atoms on a jittered cubic grid in a cube, elements shuffled.

    Two atoms are at least 0.7 grid spacings apart.

    Raises
    ------
    InputError
        If the density (g/cm3) is one that no solid has.
    """
    from ase.data import atomic_masses, atomic_numbers

    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    numbers = np.repeat([atomic_numbers[symbol] for symbol in counts], list(counts.values()))
    rng.shuffle(numbers)
    n_atoms, mass = len(numbers), float(atomic_masses[numbers].sum())
    check_density(counts, density)
    edge = (mass * GRAMS_PER_CM3 / density) ** (1 / 3)
    points = math.ceil(round(n_atoms ** (1 / 3), 9))
    chosen = np.sort(rng.permutation(points**3)[:n_atoms])
    grid = np.stack(np.unravel_index(chosen, (points,) * 3), axis=1) + 0.5
    jitter = rng.uniform(-SPACING_SHARE, SPACING_SHARE, grid.shape)
    return Structure((grid + jitter) * (edge / points), numbers, edge * np.eye(3))


def check_density(counts: Mapping[str, int], density: float) -> None:
    """Refuse a density, g/cm3, that no solid of this composition has.

    Raises
    ------
    InputError
        If it has more than 0.3 or less than 0.001 atoms per cubic angstrom.
    """
    from ase.data import atomic_masses, atomic_numbers

    mean = sum(atomic_masses[atomic_numbers[symbol]] * n for symbol, n in counts.items())
    mean /= sum(counts.values())
    low, high = (float(mean * GRAMS_PER_CM3 * limit) for limit in (LOOSEST, DENSEST))
    if not low <= density <= high:
        raise InputError(f"--density must be {low:.2g} to {high:.2g} g/cm3 for "
                         f"{''.join(counts)}, received {density:g}: amorphous carbon has 1.2 to "
                         f"3.5, silica 2.2")
