r"""Molecular dynamics at constant cell and temperature: the Langevin equation

    m dv = F dt - (m / tau) v dt + sqrt(2 m k_B T / tau) dW,     tau = 0.1 ps,

stage by stage, T going linearly through each. LAMMPS integrates it with ``fix nve`` and ``fix
langevin`` (Schneider and Stoll, Phys. Rev. B 17, 1302, 1978), any other potential through ASE's
``Langevin`` (Vanden-Eijnden and Ciccotti, Chem. Phys. Lett. 429, 310, 2006). The centre of mass
stands still. Random numbers follow from the seed: one seed gives one trajectory on one machine.

A step that is too long, or atoms that begin on top of each other, feed energy into the motion; the
run is watched every 0.1 ps, and stops where it left what the thermostat can mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffxas.errors import InputError, RunError
from diffxas.structure import Structure

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

DAMPING_PS = 0.1
"""Relaxation time of the velocities, tau."""
WATCH_PS = 0.1
"""A run is looked at, and progress told, so often."""
HOTTEST = 1e5
LARGEST_TIMESTEP_FS = 20.0
REMEDY = "use a smaller timestep, a potential meant for such densities, or a start without " \
         "overlapping atoms"

Progress = Callable[[str, float], None]
"""Told the stage and the picoseconds done since the last call."""


class DynamicsError(RunError):
    """Atoms were lost, or the motion exploded; the message names the stage and the remedy."""


@dataclass(frozen=True)
class Stage:
    """A stretch of a run.

    Attributes
    ----------
    start, end : temperature at its two ends, K
    ps : duration, picoseconds
    name : for messages, such as ``melt``

    Raises
    ------
    InputError
        If a number is out of range.
    """

    start: float
    end: float
    ps: float
    name: str = "dynamics"

    def __post_init__(self) -> None:
        if not (0 <= self.start <= HOTTEST and 0 <= self.end <= HOTTEST):
            raise InputError(f"temperatures must be 0 to {HOTTEST:g} K, received {self.start:g} to "
                             f"{self.end:g} in the stage {self.name}: 300 is room temperature")
        if not 0 <= self.ps < np.inf:
            raise InputError(f"a duration must be 0 ps or more, received {self.ps:g} in the stage "
                             f"{self.name}: 5 is usual")

    def temperature(self, share: float) -> float:
        """Temperature at ``share`` (0 to 1) of the stage, K."""
        return self.start + share * (self.end - self.start)

    def steps(self, timestep_fs: float) -> int:
        """How many steps the stage has."""
        return round(self.ps * 1000 / timestep_fs)


@dataclass(frozen=True)
class Plan:
    """All that is asked of a run.

    Attributes
    ----------
    stages : one after the other
    timestep_fs : femtoseconds
    seed : of the velocities and of the thermostat
    progress : see :data:`Progress`

    Raises
    ------
    InputError
        If there is no stage, or a number is out of range.
    """

    stages: tuple[Stage, ...]
    timestep_fs: float
    seed: int
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("molecular dynamics must have a stage, received none: give "
                             "temperatures and a duration")
        if not 0 < self.timestep_fs <= LARGEST_TIMESTEP_FS:
            raise InputError(f"a timestep must be above 0 to {LARGEST_TIMESTEP_FS:g} fs, received "
                             f"{self.timestep_fs:g}: 0.5 to 1 is usual")
        if self.seed < 0:
            raise InputError(f"a seed must be 0 or more, received {self.seed}: 0 is usual")

    @property
    def watch(self) -> int:
        """Steps between two looks."""
        return max(1, round(WATCH_PS * 1000 / self.timestep_fs))

    def random_numbers(self) -> list[int]:
        """Positive seeds, below 9e8: of the velocities, and one a stage."""
        words = np.random.SeedSequence(self.seed).generate_state(len(self.stages) + 1)
        return [int(word) % 899_999_999 + 1 for word in words]

    def tell(self, stage: Stage, steps: int) -> None:
        """Report progress."""
        if self.progress is not None:
            self.progress(stage.name, steps * self.timestep_fs / 1000)


@dataclass(frozen=True, eq=False)
class Motion:
    """Where a run ended.

    Attributes
    ----------
    positions : (n_atoms, 3), angstrom, unwrapped: continuous with where they started
    velocities : (n_atoms, 3), angstrom/ps
    energy : potential energy, eV, of the whole cell
    forces : (n_atoms, 3), eV/angstrom
    """

    positions: np.ndarray
    velocities: np.ndarray
    energy: float
    forces: np.ndarray


def check_motion(stage: Stage, temperature: float, energy: float) -> None:
    """Refuse what no thermostat leaves behind.

    Raises
    ------
    DynamicsError
        If the energy is no number, or the temperature far above the stage's.
    """
    limit = 3 * max(stage.start, stage.end) + 10_000
    if not (np.isfinite(energy) and np.isfinite(temperature)):
        raise DynamicsError(f"{stage.name}: the motion exploded, energies are no longer numbers: "
                            f"{REMEDY}")
    if temperature > limit:
        raise DynamicsError(f"{stage.name}: the motion exploded, {temperature:.3g} K where "
                            f"{max(stage.start, stage.end):g} K were asked for: {REMEDY}")


def broken_off(stage: Stage, error: Exception) -> DynamicsError:
    """What a potential that stopped within ``stage`` means."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    lost = "atoms were lost" if "lost atoms" in first.lower() else "the run broke off"
    return DynamicsError(f"{stage.name}: {lost} ({first}): {REMEDY}")


def dynamics_with_ase(structure: Structure, calculator: Calculator, plan: Plan) -> Motion:
    """Run ``plan`` with ASE's Langevin integrator.

    Raises
    ------
    DynamicsError
        If the motion explodes or the calculator stops.
    """
    from ase import units
    from ase.constraints import FixCom
    from ase.md.langevin import Langevin

    atoms = structure.with_positions(structure.positions).to_atoms()
    atoms.calc = calculator
    if len(atoms) > 1:
        atoms.set_constraint(FixCom())  # momenta set from now on sum to zero
    first, *seeds = plan.random_numbers()
    spread = np.sqrt(atoms.get_masses()[:, None] * units.kB * plan.stages[0].start)
    atoms.set_momenta(spread * np.random.default_rng(first).normal(size=(len(atoms), 3)))
    for stage, seed in zip(plan.stages, seeds, strict=True):
        steps = stage.steps(plan.timestep_fs)
        integrator = Langevin(
            atoms, plan.timestep_fs * units.fs, temperature_K=stage.start, fixcm=False,
            friction=1 / (1000 * DAMPING_PS * units.fs), rng=np.random.default_rng(seed))
        try:
            for done in range(steps):
                integrator.set_temperature(temperature_K=stage.temperature((done + 0.5) / steps))
                integrator.step()
                if (done + 1) % plan.watch == 0 or done + 1 == steps:
                    check_motion(stage, atoms.get_temperature(), atoms.get_potential_energy())
                    plan.tell(stage, done % plan.watch + 1)
        except (InputError, DynamicsError):
            raise
        except (RuntimeError, ArithmeticError, ValueError) as error:  # of users' calculators
            raise broken_off(stage, error) from error
    return Motion(atoms.get_positions(), atoms.get_velocities() * 1000 * units.fs,
                  float(atoms.get_potential_energy()),
                  np.array(atoms.get_forces(apply_constraint=False)))


def as_stages(stages: Sequence[Stage | tuple[float, float, float]]) -> tuple[Stage, ...]:
    """Stages, of which some are ``(start, end, ps)``."""
    return tuple(stage if isinstance(stage, Stage) else Stage(*stage) for stage in stages)
