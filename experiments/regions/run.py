"""Fixed atoms, pores and slabs: what are the new atoms like near the boundary?

Amorphous carbon is generated around a graphite sheet, around a spherical pore, as a slab, and in
the upper half of a network whose lower half stays; the last can be held against the network itself.
New atoms are sorted by their distance from the boundary. The density of a layer is its atoms over
the part of it that is open; coordination is that of relaxed structures, bonds to fixed atoms
included.

    python experiments/regions/run.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.analysis import coordination  # noqa: E402
from diffxas.files import write_json  # noqa: E402
from diffxas.structure import GRAMS_PER_CM3, Structure  # noqa: E402
from diffxas.structure_files import write_structures  # noqa: E402
from experiments.common import (  # noqa: E402
    RUNS,
    held_out,
    markdown,
    networks,
    one_thread,
    sampler_key,
    write_numbers,
)
from samplers import generate  # noqa: E402
from samplers.open_space import even_points  # noqa: E402

SHEET = HERE / "graphite.extxyz"
SAMPLES = 4
LAYERS = (0.0, 1.0, 2.0, 3.0, 4.5, 7.0)
"""Bounds of the distances from the boundary, angstrom."""
CARBON = 12.011 * GRAMS_PER_CM3
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Positions (n, 3) and cell (3, 3), angstrom -> distances from the boundary (n,), negative beyond.
"""


@dataclass(frozen=True, eq=False)
class Case:
    """What is generated, and how far places are from its boundary."""

    name: str
    options: dict[str, Any]
    distance: Distance
    material_height: float | None = None


def across(z: float) -> Distance:
    """From a plane at ``z`` of a periodic cell, on both sides."""
    def distance(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        height = positions[:, 2] - z
        return np.abs(height - cell[2, 2] * np.round(height / cell[2, 2]))
    return distance


def from_sphere(centre: float, radius: float) -> Distance:
    """From the surface of a sphere in a cube."""
    def distance(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        vector = positions - centre
        return np.linalg.norm(vector - cell[0, 0] * np.round(vector / cell[0, 0]), axis=1) - radius
    return distance


def from_faces(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """From the nearer face of a slab whose cell is a cube but for 15 angstrom of vacuum."""
    return np.minimum(positions[:, 2], cell[2, 2] - 15.0 - positions[:, 2])


def network() -> Structure:
    """The held-out network nearest to 2.9 g/cm3."""
    return min((n for n in networks() if n.info["name"] in held_out()),
               key=lambda n: abs(n.density - 2.9))


def cases(file: Path, whole: Structure) -> list[Case]:
    """The four."""
    half = whole.cell[2, 2] / 2

    def from_half(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        height = positions[:, 2] % cell[2, 2]
        return np.minimum(height - half, cell[2, 2] - height)

    return [
        Case("graphite sheet in 2.5 g/cm³", {"start": SHEET, "fix": "element:C", "density": 2.5},
             across(6.5)),
        Case("pore of 4 Å in 3.0 g/cm³", {"density": 3.0, "atoms": 216,
                                           "forbid": ("sphere:6,6,6,4",)}, from_sphere(6.0, 4.0)),
        Case("slab of 3.0 g/cm³", {"density": 3.0, "atoms": 216, "pbc": "TTF", "vacuum": 15.0},
             from_faces),
        Case(f"upper half of a network of {whole.density:.1f} g/cm³",
             {"start": file, "fix": f"below:z={half:.4f}", "start_noise": 1.2}, from_half),
    ]


def layers(name: str, structures: list[Structure], chosen: list[np.ndarray],
           distance: Distance) -> list[dict[str, object]]:
    """A row a layer: density over what is open, and coordination in %."""
    cell = structures[0].cell
    points = even_points(200_000) @ cell
    there = distance(points, cell)
    found = np.concatenate([distance(s.positions[k], cell)
                            for s, k in zip(structures, chosen, strict=True)])
    bonds = np.concatenate([coordination(s)[k] for s, k in zip(structures, chosen, strict=True)])
    rows = []
    for low, high in pairwise(LAYERS):
        inside = (found >= (-np.inf if low == 0 else low)) & (found < high)
        volume = abs(np.linalg.det(cell)) * ((there >= low) & (there < high)).mean()
        if not inside.any() or volume <= 0:
            continue
        here = bonds[inside]
        rows.append({
            "case": name, "distance (Å)": f"{low:g}-{high:g}", "atoms a sample":
            round(len(here) / len(structures), 1),
            "g/cm³": round(float(len(here) / len(structures) * CARBON / volume), 2),
            **{f"{n} bonds (%)": round(100 * float((here == n).mean())) for n in (2, 3, 4)},
            "others (%)": round(100 * float(((here < 2) | (here > 4)).mean()))})
    return rows


def _folder() -> Path:
    """Samples of these weights and this sampler."""
    from diffxas.prior import find_prior

    return RUNS / sampler_key(find_prior("a-C")) / "regions"


def main() -> None:
    """Draw, sort, write."""
    one_thread()
    whole = network()
    file = _folder() / "network.extxyz"
    write_structures(file, Structure(whole.positions, whole.numbers, whole.cell))
    rows, notes = [], []
    for number, case in enumerate(cases(file, whole)):
        run = generate(None, guidance=False, samples=SAMPLES, progress=True,
                       out=_folder() / str(number), **case.options)
        relaxed = run.structures
        fixed = [np.asarray(s.arrays.get("fixed", np.zeros(len(s)))) == 1 for s in relaxed]
        new = [np.flatnonzero(~one) for one in fixed]
        rows += layers(case.name, relaxed, new, case.distance)
        samples = run.summary["samples"]
        touched = [float((coordination(s)[one] == 4).mean()) for s, one in
                   zip(relaxed, fixed, strict=True) if one.any()]
        notes.append({
            "case": case.name, "open volume (Å³)": round(run.summary["arrangement"]["open_volume"]),
            "g/cm³, open": round(run.summary["arrangement"]["density_open"], 2),
            "g/cm³, cell": round(run.summary["arrangement"]["density_cell"], 2),
            "energy, relaxed (eV/atom)": f"{np.mean([s['energy_relaxed'] for s in samples]):.2f}",
            "moved by relaxation (Å)": f"{np.mean([s['rms_displacement'] for s in samples]):.2f}",
            "in forbidden after it (%)": round(100 * float(np.mean(
                [s["in_forbidden"] / len(k) for s, k in zip(samples, new, strict=True)])), 1),
            "deepest (Å)": round(max(s["depth_in_forbidden"] for s in samples), 2),
            "fixed with 4 bonds (%)": round(100 * float(np.mean(touched))) if touched else None})
        if number == 3:
            rows += layers("the same of the network itself", [whole], [new[0]], case.distance)
    write_json(HERE / "expected" / "regions.json", {"layers": rows, "cases": notes})
    write_numbers(HERE / "README.md", f"{markdown(notes)}\n{markdown(rows)}")


if __name__ == "__main__":
    main()
