"""Molecular dynamics holds its temperature, its seed and its centre, and says when it exploded."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from diffxas.dynamics import run_dynamics
from diffxas.errors import InputError
from diffxas.langevin import DynamicsError, Plan, Stage
from diffxas.potentials import potential_energy
from diffxas.structure import Structure

BOLTZMANN = 8.617333e-5
MASS_UNIT = 1.0364270e-4
"""Of atomic masses, in eV per (angstrom/ps)^2."""


def argon():
    return LennardJones(sigma=3.4, epsilon=0.0104, rc=6.0, smooth=True)


def diamond(shape=(2, 2, 2)):
    return Structure.from_atoms(bulk("C", "diamond", a=3.57, cubic=True) * shape)


def solid_argon():
    return Structure.from_atoms(bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2))


def kinetic_temperature(structure):
    masses = structure.to_atoms().get_masses()[:, None]
    kinetic = 0.5 * MASS_UNIT * (masses * structure.arrays["velocities"]**2).sum()
    return 2 * kinetic / (3 * (len(structure) - 1)) / BOLTZMANN


@pytest.mark.parametrize(("structure", "spec", "temperature", "timestep"), [
    (diamond(), "rebo", 900.0, 1.0),
    (solid_argon(), argon(), 30.0, 4.0),
], ids=["lammps", "ase"])
def test_a_ramp_ends_at_its_temperature(structure, spec, temperature, timestep):
    stages = [Stage(2 * temperature, temperature, 0.1), (temperature, temperature, 0.4)]
    ends = [run_dynamics(structure, spec, stages, timestep, seed) for seed in range(2)]
    n = 3 * (len(structure) - 1) * len(ends)
    mean = np.mean([kinetic_temperature(end) for end in ends])
    assert mean == pytest.approx(temperature, rel=4 * np.sqrt(2 / n))
    for end in ends:
        masses = end.to_atoms().get_masses()[:, None]
        drift = (masses * (end.positions - structure.positions)).sum(axis=0) / masses.sum()
        assert np.abs(drift).max() < 1e-3
        moved = np.linalg.norm(end.positions - structure.positions, axis=1)
        assert 0.01 < moved.max() < 2  # continuous with where they began, and no crystal at rest


@pytest.mark.parametrize(("structure", "spec"), [(diamond((1, 1, 2)), "rebo"),
                                                 (solid_argon(), argon())])
def test_one_seed_gives_one_trajectory_and_its_energy(structure, spec):
    told = []
    first, again, other = (
        run_dynamics(structure, spec, [(300, 600, 0.02), Stage(600, 600, 0.04, "hold")], 1.0, seed,
                     progress=lambda name, ps: told.append((name, ps)))
        for seed in (3, 3, 4))
    assert np.array_equal(first.positions, again.positions)
    assert np.abs(first.positions - other.positions).max() > 1e-3
    energy, forces, _ = potential_energy(first, spec)
    assert first.info["energy"] == pytest.approx(energy * len(structure), abs=1e-6)
    assert np.allclose(first.arrays["forces"], forces, atol=1e-6)
    assert sum(ps for name, ps in told if name == "hold") == pytest.approx(3 * 0.04)


def test_an_oblique_cell_has_the_motion_of_its_frame():
    """Nothing moves at 0 K in a minimum, wherever LAMMPS puts the box."""
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    primitive = bulk("C", "diamond", a=3.566) * (2, 2, 2)
    turned = Structure(primitive.positions @ turn, primitive.numbers, primitive.cell.array @ turn)
    end = run_dynamics(turned, "rebo", [(0, 0, 0.05)], 1.0)
    assert np.abs(end.positions - turned.positions).max() < 1e-4
    warm = run_dynamics(turned, "rebo", [(300, 300, 0.05)], 1.0)
    step = run_dynamics(warm, "rebo", [(0, 0, 0.001)], 1.0).positions - warm.positions
    along = (step * warm.arrays["forces"]).sum()  # from rest, atoms follow the forces
    assert along > 0.99 * np.linalg.norm(step) * np.linalg.norm(warm.arrays["forces"])


@pytest.mark.parametrize(("structure", "spec", "timestep"), [
    (diamond(), "rebo", 10.0), (solid_argon(), argon(), 20.0)], ids=["lammps", "ase"])
def test_an_explosion_names_the_stage_and_the_remedy(structure, spec, timestep):
    hot = Stage(20_000, 20_000, 2.0, "melt")
    with pytest.raises(DynamicsError, match=r"^melt: .*smaller timestep"):
        run_dynamics(structure, spec, [hot], timestep)
    after = run_dynamics(structure, spec, [(100, 100, 0.01)], 1.0)  # the next run is well
    assert np.isfinite(after.positions).all()


@pytest.mark.parametrize(("stages", "timestep", "seed", "words"), [
    ([], 1.0, 0, "a stage"), ([(300, 300, 1)], 0.0, 0, "timestep"),
    ([(300, 300, 1)], 50.0, 0, "timestep"), ([(300, 300, 1)], 1.0, -1, "seed"),
])
def test_unusable_plans_are_refused(stages, timestep, seed, words):
    with pytest.raises(InputError, match=words):
        run_dynamics(diamond((1, 1, 1)), "rebo", stages, timestep, seed)


@pytest.mark.parametrize("stage", [(-1, 300, 1), (300, 1e9, 1), (300, 300, -1),
                                   (300, float("nan"), 1)])
def test_unusable_stages_are_refused(stage):
    with pytest.raises(InputError, match="must be"):
        Stage(*stage)


def test_seeds_of_a_plan_are_lammps_seeds():
    numbers = Plan((Stage(1, 1, 1),) * 5, 1.0, 2**40).random_numbers()
    assert len(set(numbers)) == 6
    assert all(0 < number < 900_000_000 for number in numbers)
