r"""Hybrid reverse Monte Carlo: the older way from a spectrum to a structure, for comparison.

Single atoms are moved at random. Density of what is drawn, with E the energy of a LAMMPS potential
and l the log-likelihood of the asked spectrum by the surrogate that guides,

    p(x) ~ exp(-E(x) / k T + l(x)),

G. Opletal and others, Hybrid approach for generating realistic amorphous carbon structure using
Metropolis and reverse Monte Carlo, Mol. Simul. 28, 927 (2002), equation 3. The spectrum of a cell
costs as much as many energies, so that it is asked in two stages: a block of moves is accepted one
by one by the energy alone, then as a whole with probability min(1, exp(l' - l)), or taken back
(J. A. Christen, C. Fox, Markov chain Monte Carlo using an approximation, J. Comput. Graph. Stat.
14, 795 (2005)); the law is the same. The temperature falls from HOT to COLD in equal ratios over
the wall time that is given. The length of a move is adapted so that about two in five are accepted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase.units import kB

from diffxas.errors import RunError
from diffxas.lammps_session import MovingAtoms
from diffxas.potentials import LammpsPotential, potential
from diffxas.structure import Structure

HOT, COLD = 5000.0, 300.0
"""Kelvin."""
STEP, ACCEPTED = 0.15, 0.4
"""First length of a move, angstrom, and the share of moves that it is adapted to."""


@dataclass
class Walk:
    """What a walk did."""

    structure: Structure
    seconds: float
    moves: int = 0
    accepted: int = 0
    blocks: int = 0
    blocks_accepted: int = 0
    log_likelihood: float = 0.0


def reverse_monte_carlo(start: Structure, log_likelihood: Callable[[np.ndarray], float],
                        seconds: float, seed: int, spec: str = "rebo") -> Walk:
    """Walk from a structure for a wall time.

    Parameters
    ----------
    start : periodic; a melt-quenched network of the density
    log_likelihood : positions (n_atoms, 3), angstrom -> l
    seconds : wall time, the spectra and energies of the start included
    spec : a LAMMPS potential

    Raises
    ------
    RunError
        If the potential is not LAMMPS's.
    """
    begun = time.perf_counter()
    found = potential(spec, set(start.symbols))
    if not isinstance(found, LammpsPotential):
        raise RunError(f"reverse Monte Carlo must have a potential of LAMMPS, received {spec}")
    moving = MovingAtoms(start, found.style_for(tuple(sorted(set(start.symbols)))))
    rng = np.random.default_rng(seed)
    cell = np.array(start.cell)

    def energy(x: np.ndarray) -> float:
        return moving.at(x, cell).energy

    x = np.array(start.positions)
    value = log_likelihood(x)
    e = energy(x)
    spectrum_seconds, energy_seconds = _timed(lambda: log_likelihood(x)), _timed(lambda: energy(x))
    block = max(1, round(spectrum_seconds / energy_seconds))
    walk, step = Walk(start, 0.0), STEP
    here = Place(x, e, value)
    while (spent := time.perf_counter() - begun) < seconds:
        temperature = HOT * (COLD / HOT) ** (spent / seconds)
        before = here
        here, taken = moved(here, energy, log_likelihood, kB * temperature, block, step, rng)
        walk.blocks_accepted += here is not before
        walk.moves, walk.accepted = walk.moves + block, walk.accepted + taken
        walk.blocks += 1
        step = float(np.clip(step * np.exp(taken / block - ACCEPTED), 0.01, 0.5))
    walk.structure = start.with_positions(here.x).wrapped()
    walk.log_likelihood, walk.seconds = here.log_likelihood, time.perf_counter() - begun
    return walk


@dataclass(frozen=True, eq=False)
class Place:
    """Where a walk stands: positions (n_atoms, 3), angstrom, energy (eV), log-likelihood."""

    x: np.ndarray
    energy: float
    log_likelihood: float


def moved(place: Place, energy: Callable[[np.ndarray], float],
          log_likelihood: Callable[[np.ndarray], float], temperature: float, block: int,
          step: float, rng: np.random.Generator) -> tuple[Place, int]:
    """The place after a block of moves, or the same one where the block was taken back.

    Parameters
    ----------
    temperature : k T, eV
    block, step : moves, and the longest along each axis, angstrom

    Returns
    -------
    place, and how many moves the energy accepted
    """
    y, e, taken = place.x.copy(), place.energy, 0
    for _ in range(block):
        atom, shift = rng.integers(len(y)), rng.uniform(-step, step, 3)
        old = y[atom].copy()
        y[atom] += shift
        e_new = energy(y)
        if np.log(rng.uniform()) < (e - e_new) / temperature:
            e, taken = e_new, taken + 1
        else:
            y[atom] = old
    value = log_likelihood(y)
    if np.log(rng.uniform()) < value - place.log_likelihood:
        return Place(y, e, value), taken
    return place, taken


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
