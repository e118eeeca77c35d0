"""What is there before sampling begins: a structure to begin from, fixed atoms, regions, vacuum.

Four cases:

- no structure is given: new atoms in what regions and vacuum leave of the cell;
- a structure alone: all its atoms, noised, go on from there;
- a structure with fixed atoms: the others go on from there;
- a structure with fixed atoms and a density or a number: the others make place for new atoms.

Density and number count new atoms over the volume that is open to them: the cell without vacuum,
without forbidden regions, and without what fixed atoms keep free, which is the length of a bond
(sum of covalent radii) around each. Where atoms go on from a file they share the rest of the cell
with the fixed ones, and density counts both.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas import noise
from diffxas.composition import formula_unit, parse_composition
from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.geometry import AGREEMENT, LOOSEST, Box, densest, mean_mass, resolve_box
from samplers.open_space import (
    POINTS,
    POINTS_PER_ATOM,
    OpenSpace,
    face_normal,
    open_share,
    open_space,
)
from samplers.regions import Region, parse_region
from samplers.selection import select
from samplers.start import STREAM_NOISE, boxes_of_atoms

if TYPE_CHECKING:
    from diffxas.denoiser import Denoiser

NEAREST_FIXED = 0.5
"""Fixed atoms nearer to each other, angstrom, are a slip."""
EDGE_OF_SLAB = 1.7
"""How far a slab reaches beyond its outermost centres, angstrom: half of graphite's spacing."""


@dataclass(frozen=True)
class Request:
    """What was asked for, as far as it arranges atoms; ``GenerateOptions`` adds the rest."""

    density: float | None = None
    atoms: int | None = None
    cell: tuple[float, float, float] | None = None
    composition: str | None = None
    start: str | Path | None = None
    start_noise: float | None = None
    fix: str | None = None
    pbc: str | None = None
    vacuum: float | None = None
    forbid: tuple[str, ...] = ()

    @property
    def special(self) -> bool:
        """Whether there is anything but a cell to fill."""
        return bool(self.start is not None or self.start_noise is not None or self.fix
                    or (self.pbc is not None and not parse_pbc(self.pbc).all())
                    or self.vacuum is not None or self.forbid)

    @property
    def adds(self) -> bool:
        """Whether new atoms are placed."""
        return self.start is None or self.density is not None or self.atoms is not None

    def check(self) -> None:
        """Refuse what does not go together.

        Raises
        ------
        InputError
            If it does not.
        """
        if self.vacuum is not None and not 0 <= self.vacuum < math.inf:
            raise InputError(f"--vacuum must be 0 angstrom or more, received {self.vacuum:g}: "
                             f"15 is usual")
        if self.start is None:
            for name, value in (("--fix", self.fix), ("--start-noise", self.start_noise)):
                if value is not None:
                    raise InputError(f"{name} must go with --start, received {value} without: add "
                                     f"--start FILE")
            return
        if self.cell is not None:
            raise InputError(f"the cell must be that of --start, received --cell "
                             f"{' '.join(f'{edge:g}' for edge in self.cell)} as well: leave it out")
        given = [name for name in ("density", "atoms", "composition")
                 if getattr(self, name) is not None]
        if given and (self.fix is None or not self.adds):
            what = "--fix SELECTION keeps some of its atoms and" if self.fix is None else (
                "--density or --atoms")
            raise InputError(f"the atoms must be those of --start, received --{given[0]} as well: "
                             f"leave it out ({what} adds new ones)")
        if self.adds and self.start_noise is not None:
            raise InputError(f"--start-noise must go with atoms that begin at their places, "
                             f"received {self.start_noise:g} with new atoms, which begin at the "
                             f"highest noise: leave out --start-noise, or --density and --atoms")
        if not self.adds and self.start_noise is None:
            raise InputError("--start-noise must go with --start, received none: give a length in "
                             "angstrom, such as 0.3 to keep most bonds or 0.8 to forget them")


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Atoms, cell and what is open to them.

    Attributes
    ----------
    box : ``n_atoms`` and ``composition`` of the atoms that are not fixed; ``density`` over what is
        open; ``cell`` with vacuum
    system : all atoms, the fixed ones first where new ones were added, else in the file's order
    fixed, others : (n,) int64, indices
    space : what is open
    shares : where new atoms begin; None where the others begin at their places
    begin : noise level (angstrom) at which they do
    regions : as written
    dropped : atoms of the file that made place for new ones
    """

    box: Box
    system: Structure
    fixed: np.ndarray
    others: np.ndarray
    space: OpenSpace
    shares: Sequence[np.ndarray] | None
    begin: float | None
    regions: tuple[str, ...]
    dropped: int

    def start(self, sigma: float, seed: int, sample: int) -> np.ndarray:
        """x_t at the level ``sigma`` (angstrom), (n_atoms, 3), angstrom."""
        positions = np.array(self.system.positions)
        if self.shares is not None:
            boxes = boxes_of_atoms(list(self.box.composition.values()), seed, sample)
            positions[self.others] = self.space.places(self.shares, seed, sample)[boxes]
        z = noise.normal(seed, sample, 0, len(positions), stream=STREAM_NOISE)
        return np.asarray(positions + sigma * z)

    def confined(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser with fixed atoms held and the others kept to what is open."""
        from samplers.confined import ClearedDenoiser, HeldDenoiser

        if len(self.fixed):
            denoiser = HeldDenoiser(denoiser, self.fixed, self.system.positions[self.fixed])
        if self.space.images:
            denoiser = ClearedDenoiser(denoiser, self.space, self.others)
        return denoiser

    def placed(self, positions: np.ndarray) -> np.ndarray:
        """The end of a walk, (n_atoms, 3): wrapped, fixed atoms where the file has them."""
        wrapped = np.array(self.system.with_positions(positions).wrapped().positions)
        wrapped[self.others] = self.space.cleared(wrapped[self.others])
        wrapped[self.fixed] = self.system.positions[self.fixed]
        return wrapped

    def intruders(self, positions: np.ndarray) -> tuple[int, float]:
        """How many of the others lie in a forbidden region, and how deep at most (angstrom)."""
        others = positions[self.others]
        depth = np.linalg.norm(self.space.cleared(others) - others, axis=1)
        return int((depth > 0).sum()), float(depth.max(initial=0.0))

    def numbers(self) -> dict[str, Any]:
        """For ``summary.json``: volumes in angstrom^3, densities in g/cm3."""
        return {
            "open_volume": self.space.volume, "open_volume_error": self.space.error,
            "cell_volume": self.system.volume, "density_open": self.box.density,
            "density_cell": self.system.density, "fixed_atoms": len(self.fixed),
            "new_atoms" if self.shares is not None else "regenerated_atoms": len(self.others),
            "dropped_atoms": self.dropped, "forbidden": list(self.regions),
            "pbc": self.system.pbc.tolist(),
        }

    def facts(self) -> dict[str, str]:
        """For the report and the terminal."""
        error = f" +- {self.space.error:.1f}" if self.space.error else ""
        facts = {"open volume": f"{self.space.volume:.1f}{error} of {self.system.volume:.1f} "
                                f"angstrom^3",
                 "density over the open volume": f"{self.box.density:.3f} g/cm3",
                 "density of the whole cell": f"{self.system.density:.3f} g/cm3"}
        verb = "new" if self.shares is not None else "regenerated"
        facts["atoms"] = f"{len(self.fixed)} fixed, {len(self.others)} {verb}"
        if self.dropped:
            facts["atoms"] += f", {self.dropped} of the file left out"
        if self.regions:
            facts["forbidden"] = ", ".join(self.regions)
        if not self.system.pbc.all():
            facts["periodic"] = "".join("FT"[int(one)] for one in self.system.pbc)
        return facts


def parse_pbc(text: str) -> np.ndarray:
    """``TTF`` as (3,) bool.

    Raises
    ------
    InputError
        If it is not three letters T or F.
    """
    if len(text) != 3 or set(text.upper()) - set("TF"):
        raise InputError(f"--pbc must be three letters T or F, one for each cell vector, received "
                         f"{text!r}: write TTF for a slab")
    return np.array([letter == "T" for letter in text.upper()])


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def arrange(request: Request, composition: str, known: Sequence[str],
            sigma_range: tuple[float, float]) -> Arrangement:
    """Check a request and lay out what is there before sampling.

    Parameters
    ----------
    composition : of new atoms
    known : elements of the prior
    sigma_range : noise levels (angstrom) at which the walk may be entered

    Raises
    ------
    InputError
        For whatever cannot be used.
    """
    request.check()
    low, high = sigma_range
    if request.start_noise is not None and not low < request.start_noise <= high:
        raise InputError(f"--start-noise must be above {low:g} and at most {high:g} angstrom, what "
                         f"the prior knows, received {request.start_noise:g}: choose another")
    given = None if request.start is None else _read_start(request.start, known)
    pbc = np.ones(3, dtype=bool) if given is None else given.pbc
    pbc = pbc if request.pbc is None else parse_pbc(request.pbc)
    if request.vacuum is not None and pbc.all():
        raise InputError(f"--vacuum must go with a direction that is not periodic, received "
                         f"{request.vacuum:g} with three periodic ones: add --pbc TTF")
    regions = tuple(parse_region(text) for text in request.forbid)
    if given is None:
        return _fill(request, composition, pbc, regions)
    given = replace(given, pbc=pbc, info={}, arrays={})
    fixed = np.empty(0, dtype=np.int64) if request.fix is None else select(request.fix, given)
    if len(fixed):
        _check_apart(replace(given, positions=given.positions[fixed],
                             numbers=given.numbers[fixed]), fixed)
    if request.adds:
        return _around(request, composition, given, fixed, regions)
    return _go_on(request, given, fixed, regions)


def _read_start(path: str | Path, known: Sequence[str]) -> Structure:
    from diffxas.denoiser import species_indices
    from diffxas.structure_files import read_structures

    frames = read_structures(path)
    if len(frames) != 1:
        raise InputError(f"--start must hold one structure, received {path} with {len(frames)}: "
                         f"write one of them to a file of its own")
    species_indices(frames[0].symbols, known, "prior")
    return frames[0]


def _check_apart(atoms: Structure, fixed: np.ndarray) -> None:
    from diffxas.neighbourhood import neighbour_pairs

    pairs = neighbour_pairs(atoms, NEAREST_FIXED)
    if len(pairs.first):
        k = int(np.argmin(pairs.distance))
        raise InputError(f"fixed atoms must be {NEAREST_FIXED:g} angstrom apart or more, received "
                         f"atoms {fixed[pairs.first[k]]} and {fixed[pairs.second[k]]} at "
                         f"{pairs.distance[k]:.3f}: fix one of them, or mind the cell's images")


def _reach(fixed: np.ndarray, unit: Mapping[str, int]) -> np.ndarray:
    """How near the centre of a new atom comes to fixed ones of these numbers, angstrom."""
    from ase.data import atomic_numbers, covalent_radii

    smallest = min(covalent_radii[atomic_numbers[symbol]] for symbol in unit)
    return np.asarray(covalent_radii[fixed] + smallest)


def _fill(request: Request, composition: str, pbc: np.ndarray,
          regions: Sequence[Region]) -> Arrangement:
    """New atoms in a cell without any."""
    if request.cell is None:
        bulk = resolve_box(composition, request.density, request.atoms, None)
        cell = _cube_around(float(np.linalg.det(bulk.cell)), pbc, regions)
        request = replace(request, atoms=bulk.n_atoms, density=None)
    else:
        # Three lengths are checked here, with a number that always fits them.
        edges = np.array(request.cell, dtype=float)
        if not (np.isfinite(edges).all() and (edges > 0).all()):
            raise InputError(f"cell must be three lengths above 0 angstrom, received "
                             f"{list(request.cell)}: write --cell A B C")
        cell = np.diag(edges)
    nothing = Structure(np.zeros((1, 3)), np.ones(1, dtype=int), cell, pbc)
    return _with_new(request, composition, nothing, np.empty(0, dtype=np.int64), regions, dropped=0)


def _cube_around(volume: float, pbc: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """The cube of which regions leave ``volume`` (angstrom^3) open."""
    from scipy.optimize import brentq

    def missing(edge: float) -> float:
        return edge**3 * open_share(edge * np.eye(3), pbc, regions) - volume

    least = volume ** (1 / 3)
    if not regions or missing(least) >= 0:
        return least * np.eye(3)
    most = 4 * least
    if missing(most) < 0:
        raise InputError(f"forbidden regions must leave room, received ones that leave less than "
                         f"{volume:.0f} angstrom^3 of every cube up to {most:.0f} angstrom: "
                         f"give --cell, or correct --forbid")
    return float(brentq(missing, least, most, xtol=1e-4)) * np.eye(3)


def _around(request: Request, composition: str, given: Structure, fixed: np.ndarray,
            regions: Sequence[Region]) -> Arrangement:
    """New atoms around the fixed ones; the file's others go."""
    return _with_new(request, composition, given, fixed, regions, len(given) - len(fixed))


def _with_new(request: Request, composition: str, given: Structure, fixed: np.ndarray,
              regions: Sequence[Region], dropped: int) -> Arrangement:
    """New atoms in the cell of ``given``, of which the ``fixed`` atoms stay."""
    from ase.data import atomic_numbers

    unit = formula_unit(composition)
    places, numbers = given.positions[fixed], given.numbers[fixed]

    def space_of(n_points: int) -> OpenSpace:
        return open_space(given.cell, given.pbc, regions, places, _reach(numbers, unit),
                          n_points=n_points)

    space = space_of(POINTS)
    box = _new_atoms(composition, request.density, request.atoms, space)
    if POINTS_PER_ATOM * box.n_atoms > len(space.points):
        share = max(1e-3, len(space.points) / POINTS)
        space = space_of(int(POINTS_PER_ATOM * box.n_atoms / share))
    cell = _with_vacuum(given.cell, given.pbc, request.vacuum or 0.0)
    new = np.repeat([atomic_numbers[symbol] for symbol in box.composition],
                    list(box.composition.values()))
    system = Structure(np.concatenate([places, np.zeros((box.n_atoms, 3))]),
                       np.concatenate([numbers, new]), cell, given.pbc)
    return Arrangement(
        replace(box, cell=cell), system, np.arange(len(fixed)),
        np.arange(len(fixed), len(system)), space, space.shares(box.n_atoms), None,
        request.forbid, dropped)


def _new_atoms(composition: str, density: float | None, atoms: int | None,
               space: OpenSpace) -> Box:
    """Number and density of new atoms over the volume that is open."""
    unit = formula_unit(composition)
    size, mass, limit = sum(unit.values()), mean_mass(unit), densest(unit)
    if atoms is not None or ":" in composition:
        atoms = sum(parse_composition(composition, atoms).values())
    largest = size * int(limit * space.volume / mass / size)
    where = f"the open volume of {space.volume:.1f} angstrom^3"
    if largest < 1:
        raise InputError(f"regions and fixed atoms must leave room for atoms, received {where}: "
                         f"enlarge the cell, or correct --fix and --forbid")
    if atoms is not None and atoms > largest:
        raise InputError(f"new atoms must fit into {where}, at most {largest} at {limit:.3g} "
                         f"g/cm3, received {atoms}: lower --atoms, or enlarge the cell")
    if density is not None and not LOOSEST <= density <= limit:
        raise InputError(f"density must be {LOOSEST:g} to at most {limit:.3g} g/cm3, received "
                         f"{density:g}: choose --density in that range")
    fitting = size * max(1, round((density or 0.0) * space.volume / mass / size))
    chosen = fitting if density is not None and atoms is None else atoms
    edge = space.volume ** (1 / 3)
    box = resolve_box(composition, None, chosen, (edge, edge, edge))
    if density is not None and atoms is not None and abs(box.density / density - 1) > AGREEMENT:
        raise InputError(f"density and atoms must agree within 1 % over {where}, received "
                         f"{density:g} g/cm3 and {atoms} atoms ({box.density:.3g} g/cm3): give one "
                         f"of the two, --density {box.density:.4g} or --atoms {fitting}")
    return box


def _go_on(request: Request, given: Structure, fixed: np.ndarray,
           regions: Sequence[Region]) -> Arrangement:
    """The atoms of the file that are not fixed, from where they are."""
    others = np.setdiff1d(np.arange(len(given)), fixed)
    if not len(others):
        raise InputError(f"atoms must be left to generate, received --fix {request.fix} that means "
                         f"all {len(given)} of --start: add --density or --atoms for new ones")
    faces = {}
    for axis in np.flatnonzero(~given.pbc):
        along = given.positions @ face_normal(given.cell, int(axis))
        faces[int(axis)] = (float(along.min()) - EDGE_OF_SLAB, float(along.max()) + EDGE_OF_SLAB)
    space = open_space(given.cell, given.pbc, regions, faces=faces)
    density = given.density * given.volume / max(space.volume, 1e-9)
    limit = densest(Counter(given.symbols))
    if regions and density > limit:
        raise InputError(f"regions must leave room for the {len(given)} atoms of --start, received "
                         f"{space.volume:.1f} angstrom^3, {density:.3g} g/cm3 where {limit:.3g} is "
                         f"most: correct --forbid")
    cell = _with_vacuum(given.cell, given.pbc, request.vacuum or 0.0)
    box = Box(cell, len(others), density, dict(Counter(np.array(given.symbols)[others].tolist())))
    return Arrangement(box, replace(given, cell=cell), fixed, others, space, None,
                       request.start_noise, request.forbid, 0)


def _with_vacuum(cell: np.ndarray, pbc: np.ndarray, vacuum: float) -> np.ndarray:
    """The cell, its vectors that are not periodic lengthened by ``vacuum`` across the faces."""
    longer = np.array(cell)
    for axis in np.flatnonzero(~pbc):
        height = cell[axis] @ face_normal(cell, int(axis))
        longer[axis] *= (height + vacuum) / height
    return longer
