"""Is a structure of 100,000 atoms as good as many of 216? Each test with a control that fails.

- Shares, bond angles, g(r) and rings: against n samples of 216 atoms at the same density. The large
  cell's curve lies from the samples' mean by some distance d. Two random halves of the samples
  differ by sqrt(4 / n) of one sample's scatter, their mean and a cell of N atoms by
  sqrt(1 / n + 216 / N), so that the p-value is the rank of d among distances of halves, scaled by
  that. Control: samples of 216 atoms put side by side, which do not fit at their faces. (The walk
  from uniform random positions, also measured, ends at the same bonds.)
- Tile borders against interiors, by shifted grids. Control: samples of 216 atoms put side by side,
  whose atoms never met across the faces.
- Variance of the number of atoms in cubes over its mean, against networks tiled to the same size in
  two ways. Repeated: one network is one measurement, however many cubes it fills, and says little
  of lengths above its own edge (12.9 angstrom). A mosaic: networks drawn at random, turned and
  shifted, side by side; it speaks of any length, but atoms across a seam do not avoid each other,
  which matters the more the smaller the cubes. How much is seen from mosaics of samples of 216
  atoms, which have the same seams. The large cell is told from either kind by Student's t for one
  more of it. Controls: uniform random positions, and the walk from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffxas.analysis import angle_distribution, coordination_fractions, rdf
from diffxas.denoiser import PriorDenoiser
from diffxas.errors import RunError
from diffxas.neighbourhood import bonds
from diffxas.networks import ANGLE_BIN, LARGEST_RING, R_BIN, R_MAX
from diffxas.prior import find_prior, load_prior
from diffxas.rings import ring_statistics
from diffxas.structure import Structure
from diffxas.structure_files import read_structures, write_structures
from diffxas.tiles import Partition
from diffxas.weights import read_config
from experiments.common import networks
from experiments.sampling import unguided
from experiments.scale.kept import PRIOR, SMALL, Row, measure, work_folder
from experiments.scale.sizes import DENSITY, HUNDRED_THOUSAND, structure_file
from samplers.geometry import resolve_box
from samplers.sampling import sample
from samplers.setup import schedule_at, system_of
from samplers.tempered import TemperedDenoiser

SAMPLES = 4 if SMALL else 40
KIND, SEED = "melt-quenched", 1
EDGES = (10.0, 20.0)
DEPTH = 2.0
"""angstrom, of a tile's border."""
WITHIN = 0.2
"""g/cm3; networks of about this density are repeated."""
SEAMED = 3 if SMALL else 6
"""Samples of 216 atoms along an edge, side by side."""
MOSAICS, GRIDS = (3, 2) if SMALL else (20, 20)
SPLITS = 199
WALK = {"steps": 4} if SMALL else {}


def structure_stage() -> None:
    """All rows; the large cell is that of the stage ``sizes``."""
    torch.set_num_threads(1)
    path = structure_file(HUNDRED_THOUSAND)
    if path is None:
        print(f"structure: not done, since there is no cell of {HUNDRED_THOUSAND} atoms: run the "
              f"stage sizes with --large before")
        return
    measure("structure-alike", lambda: alike(only(path)))
    measure("structure-borders", lambda: borders(only(path)))
    measure("structure-variance", lambda: variances(only(path)))


def only(path: Path) -> Structure:
    """The one structure of a file."""
    (found,) = read_structures(path)
    return found


def small_samples() -> list[Structure]:
    """Samples of 216 atoms, unrelaxed, as the large cell is."""
    return unguided(find_prior(PRIOR), DENSITY, SAMPLES, KIND, SEED, relax=False, **WALK).sampled


def uniform_start() -> Structure:
    """The control: the walk of the large cell from uniform random positions, kept."""
    path = work_folder("uniform-start") / "structure.extxyz"
    if not path.is_file():
        folder = find_prior(PRIOR)
        system = system_of(resolve_box("C", DENSITY, HUNDRED_THOUSAND, None))
        schedule = schedule_at(read_config(folder), system.density, WALK.get("steps", 64))
        denoiser = TemperedDenoiser(PriorDenoiser(load_prior(folder), system, KIND),
                                    schedule.temperature, schedule.cold_low, schedule.cold_high)
        start = np.random.default_rng(SEED).uniform(size=(len(system), 3)) @ system.cell
        with torch.no_grad():
            x = sample(denoiser, torch.tensor(start), schedule, SEED, 0)
        write_structures(path, [system.with_positions(x.numpy()).wrapped()])
    return only(path)


def profile(structure: Structure) -> dict[str, np.ndarray]:
    """Shares of 0 to 6 neighbours, (7,), and the curves g(r), angles and rings."""
    pairs = bonds(structure)
    return {"shares": np.array(list(coordination_fractions(structure, pairs).values())),
            "g(r)": rdf(structure, R_MAX, R_BIN)[1],
            "angles": angle_distribution(structure, ANGLE_BIN, pairs)[1],
            "rings": ring_statistics(structure, LARGEST_RING, pairs).per_atom}


def alike(large: Structure) -> Row:
    """Shares and curves, and those of the control."""
    ours = [profile(s) for s in small_samples()]
    found: dict[str, Any] = {"atoms": len(large), "samples": len(ours), "density": large.density}
    controls = {"control": seamed(), "uniform_start": uniform_start()}
    for name, structure in {"large": large, **controls}.items():
        theirs = profile(structure)
        found[name] = {key: compare(theirs[key], np.array([one[key] for one in ours]),
                                    len(structure)) for key in theirs}
        found[name] |= {"shares_percent": (100 * theirs["shares"]).tolist(),
                        "rings_per_atom": theirs["rings"].tolist()}
    found["samples_shares_percent"] = (100 * np.mean([one["shares"] for one in ours], 0)).tolist()
    found["samples_rings_per_atom"] = np.mean([one["rings"] for one in ours], 0).tolist()
    return found


def compare(curve: np.ndarray, samples: np.ndarray, n_atoms: int) -> dict[str, float]:
    """Distance of a large cell's curve from the samples' mean, chance's distance, p-value.

    Parameters
    ----------
    curve : (n_bins,)
    samples : (n_samples, n_bins), of cells of 216 atoms
    """
    scale = samples.mean(0).sum()
    found = float(np.abs(curve - samples.mean(0)).sum() / scale)
    rng, half = np.random.default_rng(0), len(samples) // 2
    factor = np.sqrt(1 / len(samples) + 216 / n_atoms) / np.sqrt(2 / half)
    drawn = []
    for _ in range(SPLITS):
        order = rng.permutation(len(samples))
        one, other = samples[order[:half]].mean(0), samples[order[half:2 * half]].mean(0)
        drawn.append(float(factor * np.abs(one - other).sum() / scale))
    return {"distance": found, "chance": float(np.median(drawn)),
            "p": float((1 + np.sum(np.array(drawn) >= found)) / (1 + SPLITS))}


def borders(large: Structure) -> Row:
    """Borders of tiles, and of samples put side by side."""
    from diffxas.tile_borders import compare_borders, distinguishable

    def of(structure: Structure, counts: Sequence[int]) -> dict[str, Any]:
        found = compare_borders(structure, counts, DEPTH)
        return {"tiles": list(counts), "atoms": len(structure),
                "differ": [one.name for one in distinguishable(found)],
                "measures": [vars(one) for one in found]}

    counts = Partition.of(large.cell, large.pbc, len(large)).counts
    return {"large": of(large, counts), "control": of(seamed(), 3 * [SEAMED])}


def seamed() -> Structure:
    """The control: samples of 216 atoms side by side."""
    blocks, rng = small_samples(), np.random.default_rng(0)
    chosen = rng.integers(len(blocks), size=SEAMED**3)
    return side_by_side([blocks[k] for k in chosen], SEAMED)


def side_by_side(blocks: Sequence[Structure], times: int) -> Structure:
    """Cells of one shape as the blocks of a larger one, in the order of their place."""
    cell = blocks[0].cell
    places = [(a, b, c) for a in range(times) for b in range(times) for c in range(times)]
    x = [block.wrapped().positions + np.array(place) @ cell
         for block, place in zip(blocks, places, strict=True)]
    return Structure(np.concatenate(x), np.concatenate([block.numbers for block in blocks]),
                     times * cell)


def repeated(one: Structure, times: int) -> Structure:
    """A structure, ``times`` along every edge."""
    return side_by_side(times**3 * [one], times)


def mosaic(blocks: Sequence[Structure], times: int, cell: np.ndarray,
           rng: np.random.Generator) -> Structure:
    """Blocks drawn at random, turned, mirrored and shifted, as the blocks of a cubic cell.

    Parameters
    ----------
    blocks : periodic; each is scaled to its place
    cell : (3, 3), angstrom, of one place
    """
    chosen = []
    for k in rng.integers(len(blocks), size=times**3):
        at = blocks[k].positions @ np.linalg.inv(blocks[k].cell)
        at = at[:, rng.permutation(3)] * rng.choice([-1, 1], 3) + rng.uniform(size=3)
        chosen.append(Structure(at % 1.0 @ cell, blocks[k].numbers, cell))
    return side_by_side(chosen, times)


def variances(large: Structure) -> Row:
    """Number variance in cubes against tiled networks, of the large cell and of controls."""
    known = [s for s in networks() if abs(s.density - large.density) <= WITHIN]
    if len(known) < 3:
        raise RunError(f"there must be 3 networks of {large.density:.2f} g/cm3 or more, received "
                       f"{len(known)}")
    n = len(known[0])
    times = max(1, round((len(large) / n) ** (1 / 3)))
    place = np.eye(3) * (n * abs(np.linalg.det(large.cell)) / len(large)) ** (1 / 3)
    rng = np.random.default_rng(SEED)
    random = rng.uniform(size=(len(large), 3)) @ large.cell
    others = {"large": large, "control": large.with_positions(random),
              "uniform_start": uniform_start()}
    references = {
        "repeated networks": [repeated(s, times) for s in known],
        "mosaics of networks": [mosaic(known, times, place, rng) for _ in range(MOSAICS)]}
    own = small_samples()
    ours = [mosaic(own, times, place, rng) for _ in range(MOSAICS)]
    result: dict[str, Any] = {"networks": [str(s.info["name"]) for s in known], "times": times,
                              "edges": {}}
    for edge in (edge / 2 if SMALL else edge for edge in EDGES):
        found = {name: reduced(s, edge) for name, s in others.items()}
        result["edges"][f"{edge:g}"] = {
            "reduced": found | {"mosaics of samples": float(np.mean([reduced(s, edge)
                                                                     for s in ours]))},
            **{name: against(found, np.array([reduced(s, edge) for s in some]))
               for name, some in references.items()}}
    return result


def reduced(structure: Structure, edge: float) -> float:
    """Variance over mean of the number of atoms in cubes of that edge, angstrom."""
    from diffxas.homogeneity import number_variance

    return number_variance(structure, edge, GRIDS).reduced


def against(found: dict[str, float], reference: np.ndarray) -> dict[str, Any]:
    """Mean and scatter of a reference (n,), and the p-value of each number as one more of it."""
    from scipy.stats import t as student

    mean, spread = float(reference.mean()), float(reference.std(ddof=1))
    far = {name: abs(x - mean) / (spread * np.sqrt(1 + 1 / len(reference)))
           for name, x in found.items()}
    return {"mean": mean, "spread": spread,
            "p": {name: float(2 * student.sf(x, len(reference) - 1)) for name, x in far.items()}}
