"""What a run will take, stage by stage, before it starts: time, peak memory and disk.

Sampling is linear in atoms and calls; its cost is measured on the spot by a short calibration of
the denoiser at hand. The other stages go by constants: where their text names a size, measured on
one core of the project's 2-core machine (November 2026, CPU seconds, shared with other work),
otherwise counted or assumed, as it says. A machine of another speed scales them, which the
calibration does not know.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffxas.errors import InputError

GUIDED_FACTOR = 4.0
"""A guided call (surrogate and gradients) over a plain one; assumed, guides differ."""
RELAX_SMALL = 6e-3
"""s an atom to relax with ``rebo`` by conjugate gradients: 216 atoms 1.1 s, 1,728 atoms 12.5 s."""
RELAX_LARGE, RELAX_LARGE_AT, RELAX_GROWTH = 1.8e-3, 5832, 1 / 3
"""s an atom with L-BFGS in a cell of that many atoms (10.3 s); iterations grow so with atoms."""
RELATIVE_COST = {"rebo": 1.0, "tersoff": 0.6, "lcbop": 1.8, "airebo": 8.0, "airebo-m": 8.0,
                 "snap": 30.0, "edip": 0.35, "matgl": 200.0}
"""Of an energy, over that of ``rebo``, by their speeds in atom-steps; matgl's is assumed. Others
count as ``rebo``."""
ANALYSIS_START, ANALYSIS = 2.5, 2.0e-4
"""s a structure and s an atom for rings, g(r), angles and bonding (1,728 atoms 3.1 s, with figures;
with writing and report 100,000 atoms 54 s, 1,000,000 atoms 281 s, imports included)."""
WRITING = 1.0e-4
"""s an atom and structure in extended XYZ (5,832 atoms, with forces)."""
REPORT = 15.0
"""s for figures and report, whatever the size; assumed."""
BASE_BYTES = 450e6
"""Of Python with torch and the models; assumed."""
TILE_BYTES, TILE_ATOMS = 40e6, 4000
"""Features and edges of a tile (see :mod:`diffxas.tiles`), a whole cell where it is smaller;
gradients are assumed to take three times."""
SAMPLING_BYTES = 2200.0
"""Per atom of the whole cell, counted: some 16 vectors (positions, estimates, noise) in float64,
features of two layers (180 numbers each, float32), edges."""
KEPT_BYTES = 2600.0
"""Per atom, counted: the radial part of its edges, where it is held (diffxas.tiled.KEPT_ATOMS)."""
RELAX_BYTES, RANK_BYTES = 2900.0, 75e6
"""Of LAMMPS with ``rebo`` per atom (110,592 atoms: 385 MB in all), and of each rank empty."""
ANALYSIS_BYTES = 4000.0
"""Per atom: neighbour lists of one structure; assumed."""
XYZ_BYTES, RECORD_BYTES = 130.0, 200.0
"""Per atom in extended XYZ (105 measured at 5,832 atoms, with forces), and in the records that
resuming needs, counted."""
REPORT_BYTES = 25e6
"""Report, figures and tables; a report stays under 20 MB."""


@dataclass(frozen=True)
class Stage:
    """One part of a run.

    Attributes
    ----------
    name : what is done
    seconds : wall time, expected
    peak_bytes : most memory at one time, all processes together
    disk_bytes : written to the output folder and kept until the run ends
    """

    name: str
    seconds: float
    peak_bytes: float
    disk_bytes: float


def seconds_per_atom_call(call: Callable[[], object], n_atoms: int) -> float:
    """Seconds that a denoiser call takes for each of ``n_atoms``: the second of two calls."""
    call()
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) / n_atoms


def estimate(n_atoms: int, samples: int, calls: int, seconds_per_atom_call: float, *,
             guided: bool = False, relax: bool = True, potential: str | None = "rebo",
             ranks: int = 1, workers: int = 1, tile_atoms: int = TILE_ATOMS) -> list[Stage]:
    """The stages of a run.

    Parameters
    ----------
    n_atoms : of one sample
    samples : of the run, those that are drawn to compare with included
    calls : of the denoiser for a sample
    seconds_per_atom_call : of an unguided call, s, see :func:`seconds_per_atom_call`
    ranks : processes of a relaxation
    workers : processes that share samples or tiles
    tile_atoms : atoms of a tile
    """
    from diffxas.tiled import is_held

    atoms = n_atoms * samples
    per_atom = SAMPLING_BYTES + (KEPT_BYTES if is_held(n_atoms) else 0.0)
    pull = GUIDED_FACTOR if guided else 1.0
    tile = TILE_BYTES * (3.0 if guided else 1.0) * min(n_atoms, tile_atoms) / TILE_ATOMS
    stages = [Stage(
        "sampling", atoms * calls * seconds_per_atom_call * pull / workers,
        workers * (BASE_BYTES + tile) + n_atoms * per_atom, atoms * RECORD_BYTES)]
    if relax:
        stages.append(Stage(
            "relaxation", samples * relaxation_seconds(n_atoms, potential, ranks),
            BASE_BYTES + n_atoms * RELAX_BYTES + (ranks * RANK_BYTES if ranks > 1 else 0.0),
            atoms * RECORD_BYTES))
    structures = 2 if relax else 1
    stages.append(Stage("analysis", structures * (samples * ANALYSIS_START + atoms * ANALYSIS),
                        BASE_BYTES + n_atoms * ANALYSIS_BYTES, 0.0))
    # Structures so far are written anew after each sample.
    rewritten = n_atoms * samples * (samples + 3) / 2
    stages.append(Stage("writing and report", REPORT + rewritten * structures * WRITING,
                        BASE_BYTES + atoms * ANALYSIS_BYTES / 4,
                        atoms * structures * 2 * XYZ_BYTES + REPORT_BYTES))
    return stages


def relaxation_seconds(n_atoms: int, potential: str | None, ranks: int) -> float:
    """Of one cell, expected."""
    from diffxas.lammps_session import LARGE

    cost = RELATIVE_COST.get((potential or "rebo").split(":")[0], 1.0)
    if n_atoms <= LARGE:
        return n_atoms * RELAX_SMALL * cost / ranks
    growth = (n_atoms / RELAX_LARGE_AT) ** RELAX_GROWTH
    return n_atoms * RELAX_LARGE * growth * cost / ranks


def text(stages: Sequence[Stage]) -> str:
    """A row a stage, and the whole: times add, disk adds, memory is the largest."""
    from diffxas.command_line import text_table

    whole = Stage("in all", sum(s.seconds for s in stages), max(s.peak_bytes for s in stages),
                  sum(s.disk_bytes for s in stages))
    return text_table(["stage (estimate)", "time", "peak memory", "disk"], [
        [s.name, _duration(s.seconds), _size(s.peak_bytes), _size(s.disk_bytes)]
        for s in (*stages, whole)])


def announce(out: Path, stages: Sequence[Stage], tell: Callable[[str], object] = print) -> None:
    """Print the estimate; refuse a disk that is too small, warn of too little memory.

    Raises
    ------
    InputError
        If less is free at ``out`` than the run will write; nothing was written.
    """
    import psutil

    tell(text(stages))
    disk = sum(stage.disk_bytes for stage in stages)
    there = out.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < disk:
        raise InputError(f"--out must be on a disk with {_size(disk)} free for this run, received "
                         f"{_size(free)} at {there}: free {_size(disk - free)}, choose another "
                         f"--out, or fewer --samples or --atoms")
    worst = max(stages, key=lambda stage: stage.peak_bytes)
    memory = psutil.virtual_memory().available
    if worst.peak_bytes > memory:
        tell(f"Warning: {worst.name} will need about {_size(worst.peak_bytes)} of memory, "
             f"{_size(memory)} are free on this machine: fewer --workers or --atoms need less")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"
