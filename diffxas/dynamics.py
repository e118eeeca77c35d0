"""Molecular dynamics of a structure with any potential; theory and limits in ``langevin``."""

from __future__ import annotations

from collections.abc import Sequence

from diffxas.langevin import Plan, Progress, Stage, as_stages
from diffxas.potentials import PotentialSpec, potential
from diffxas.structure import Structure


def run_dynamics(structure: Structure, potential_spec: PotentialSpec,
                 stages: Sequence[Stage | tuple[float, float, float]], timestep_fs: float = 0.5,
                 seed: int = 0, progress: Progress | None = None) -> Structure:
    """The structure after Langevin dynamics through ``stages`` at fixed cell.

    Parameters
    ----------
    potential_spec : a name (see :mod:`diffxas.potentials`) or an ASE calculator
    stages : temperature at the start and at the end (K) and duration (ps) of each; velocities
        begin as a Maxwell-Boltzmann draw at the first temperature
    timestep_fs : femtoseconds; 0.5 holds for carbon at 8000 K, 1 for most at 300 K
    seed : one seed gives one trajectory
    progress : told the stage's name and the picoseconds done since the last call

    Returns
    -------
    structure : positions unwrapped, with ``info["energy"]`` (potential energy, eV, whole cell) and
        the columns ``forces`` (eV/angstrom) and ``velocities`` (angstrom/ps)

    Raises
    ------
    InputError
        If a number is out of range, the potential is unknown or lacks an element, or the
        structure is not periodic.
    DynamicsError
        If atoms are lost or the motion explodes (a RunError that names the stage and the remedy).
    LammpsMissing
        If the potential needs LAMMPS and it cannot be loaded.
    """
    plan = Plan(as_stages(stages), timestep_fs, seed, progress)
    end = potential(potential_spec, set(structure.symbols)).run(structure, plan)
    kept = structure.with_positions(end.positions)
    name = structure.info.get("name")
    named = kept if name is None else kept.with_info(name=name)
    return named.with_info(energy=end.energy).with_arrays(forces=end.forces,
                                                          velocities=end.velocities)
