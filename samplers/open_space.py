r"""Where new atoms may lie: the cell without forbidden regions, fixed atoms and vacuum.

The volume that is open is the share of open points of a sequence that fills the cell evenly, R_3
(M. Roberts, The unreasonable effectiveness of quasirandom sequences, 2018): the n-th point is
n (1/g, 1/g^2, 1/g^3) modulo 1, g^4 = g + 1. Its error falls faster than that of random points; the
stated one is the standard error over eight runs of the sequence, an upper estimate. No two of the
points share a coordinate, so the open ones can be halved again and again in proportion to the atoms
on each side: one atom for each equal share of the open volume, which generalises the boxes of
:mod:`samplers.start`.

An atom whose place is known up to a Gaussian of width s, and that is known to be outside of a
region, is on average not where that Gaussian has its mean but farther out: for a plane surface at
the distance d of the mean, by

    s phi(d / s) / Phi(d / s)

along the normal (mean of a truncated Gaussian: N. L. Johnson, S. Kotz, N. Balakrishnan, Continuous
Univariate Distributions 1, 2nd ed., Wiley (1994), equation 13.134). Regions are taken as plane over
a length of s.

Along periodic directions every image of a region and of a fixed atom counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from diffxas import noise
from diffxas.errors import InputError
from samplers.regions import MARGIN, Region, Wall
from samplers.start import STREAM_GRID

POINTS, POINTS_PER_ATOM = 200_000, 64
SCOUTS = 4000
"""Points that tell whether an image of a region comes near to the cell."""
BLOCKS = 8
WIDTHS = 5.0
"""Beyond so many widths of an atom's place a region does not move it."""
REACH = 7.5
"""Images of regions farther from the cell than this, angstrom, are left out."""
Image = tuple[Region, np.ndarray]
"""A region, and what is added to a place for the region's image to be where the region is."""


def even_points(n_points: int, first: int = 0) -> np.ndarray:
    """Points of the sequence R_3 from index ``first`` on, (n_points, 3) fractional."""
    g = 1.2207440846057596
    index = np.arange(first + 1, first + n_points + 1, dtype=np.float64)[:, None]
    return np.asarray((0.5 + index / g ** np.arange(1, 4)) % 1.0)


@dataclass(frozen=True, eq=False)
class OpenSpace:
    """The part of a cell that is open to the centres of new atoms.

    Attributes
    ----------
    cell : (3, 3), angstrom, without vacuum
    pbc : (3,) bool
    images : of regions and walls, those that matter in this cell
    points : (n_open, 3) fractional, evenly spread over what is open
    volume, error : angstrom^3; the error is 0 where nothing is taken away
    """

    cell: np.ndarray
    pbc: np.ndarray
    images: tuple[Image, ...]
    points: np.ndarray
    volume: float
    error: float

    def forbidden(self, positions: np.ndarray) -> np.ndarray:
        """Whether each of (n_atoms, 3) positions lies in a region, images counted, (n_atoms,)."""
        return _forbidden(self.wrapped(positions), self.images)

    def wrapped(self, positions: np.ndarray) -> np.ndarray:
        """Positions, (n_atoms, 3), moved into the cell along periodic directions."""
        return _wrapped(positions, self.cell, self.pbc)

    def expected(self, positions: np.ndarray, width: float) -> np.ndarray:
        """Mean places, (n_atoms, 3), of atoms known to be outside of every region.

        Parameters
        ----------
        positions : (n_atoms, 3), angstrom, mean places without that knowledge
        width : s of the module's text, angstrom
        """
        from scipy.special import log_ndtr

        moved = np.array(positions)
        for region, shift in self.images:
            distance, normal = region.distance(self.wrapped(moved) + shift)
            near = distance < WIDTHS * width
            u = distance[near] / width
            outward = width * np.exp(-0.5 * u**2 - log_ndtr(u)) / np.sqrt(2 * np.pi)
            moved[near] += outward[:, None] * normal[near]
        return self.cleared(moved)

    def cleared(self, positions: np.ndarray) -> np.ndarray:
        """Positions, (n_atoms, 3), those in a region moved to its surface.

        Where regions overlap and one leads into another, an atom goes to a nearby open point.
        """
        moved = np.array(positions)
        lost = np.flatnonzero(self.forbidden(moved))
        for _ in range(8):
            if not len(lost):
                return moved
            for region, shift in self.images:
                distance, normal = region.distance(self.wrapped(moved[lost]) + shift)
                inside = distance < 0
                moved[lost[inside]] += (MARGIN - distance[inside])[:, None] * normal[inside]
            lost = lost[self.forbidden(moved[lost])]
        known = self.points[:20_000] @ self.cell
        for atom, here in zip(lost, self.wrapped(moved[lost]), strict=True):
            nearest = known[np.argmin(((known - here) ** 2).sum(1))]
            moved[atom] += nearest - here
        return moved

    def shares(self, n_atoms: int) -> list[np.ndarray]:
        """Indices of ``points`` in ``n_atoms`` compact shares of equal volume.

        Shares that follow one another are neighbours. The number of points in a share is the same
        but for one.
        """
        lengths = np.linalg.norm(self.cell, axis=1)
        order = np.arange(len(self.points))
        ends = np.zeros((n_atoms, 2), dtype=np.int64)
        stack = [(0, n_atoms, 0, len(order))]
        while stack:
            first, count, begin, end = stack.pop()
            if count == 1:
                ends[first] = begin, end
                continue
            part = order[begin:end]
            axis = int(np.argmax(np.ptp(self.points[part], axis=0) * lengths))
            left = count // 2
            cut = round(len(part) * left / count)
            order[begin:end] = part[np.argpartition(self.points[part, axis], cut)]
            stack.append((first, left, begin, begin + cut))
            stack.append((first + left, count - left, begin + cut, end))
        return [order[begin:end] for begin, end in ends]

    def places(self, shares: Sequence[np.ndarray], seed: int, sample: int) -> np.ndarray:
        """One point of each share, any with equal probability, (n_atoms, 3), angstrom."""
        u = noise.uniform(seed, sample, 0, len(shares), stream=STREAM_GRID)[:, 0]
        chosen = [share[int(x * len(share))] for share, x in zip(shares, u, strict=True)]
        return np.asarray(self.points[chosen] @ self.cell)


def open_space(cell: np.ndarray, pbc: np.ndarray, regions: Sequence[Region] = (),
               fixed: np.ndarray | None = None, reach: np.ndarray | None = None,
               faces: Mapping[int, tuple[float, float]] | None = None,
               n_points: int = POINTS) -> OpenSpace:
    """What is left of a cell.

    Parameters
    ----------
    cell : (3, 3), angstrom, without vacuum
    pbc : (3,) bool
    regions : forbidden
    fixed : (n_fixed, 3), angstrom, atoms that are there already
    reach : (n_fixed,), angstrom, nearest that the centre of a new atom comes to each of them
    faces : heights (angstrom) of the two walls across vectors that are not periodic, by the
        number of the vector; those of the cell where left out
    n_points : of the sequence

    Raises
    ------
    InputError
        If a region lies outside of the cell, or its plane does not repeat with it.
    """
    pbc = np.asarray(pbc, dtype=bool)
    points = even_points(n_points)
    positions = points @ cell
    images: list[Image] = []
    for region in regions:
        placed = region.within(cell, pbc)
        if not placed.inside(positions).any():
            edges = " x ".join(f"{edge:.2f}" for edge in np.linalg.norm(cell, axis=1))
            raise InputError(f"a forbidden region must lie in the cell ({edges} angstrom), "
                             f"received {region}, which holds none of it: correct --forbid")
        images += _images(placed, cell, pbc, positions[:SCOUTS])
    for axis in np.flatnonzero(~pbc):
        images += [(wall, np.zeros(3)) for wall in
                   walls(cell, int(axis), (faces or {}).get(int(axis)))]
    closed = _forbidden(positions, images)
    if fixed is not None and reach is not None and len(fixed):
        closed |= _near(positions, cell, pbc, fixed, reach)
    whole = float(abs(np.linalg.det(cell)))
    blocks = [1 - block.mean() for block in np.array_split(closed, BLOCKS)]
    error = whole * float(np.std(blocks, ddof=1)) / BLOCKS**0.5
    return OpenSpace(cell, pbc, tuple(images), points[~closed],
                     whole * float(1 - closed.mean()), error)


def open_share(cell: np.ndarray, pbc: np.ndarray, regions: Sequence[Region],
               n_points: int = POINTS // 4) -> float:
    """The share of a cell that regions leave open; those outside of it take nothing."""
    positions = even_points(n_points) @ cell
    images = [image for region in regions
              for image in _images(region.within(cell, pbc), cell, pbc, positions[:SCOUTS])]
    return 1 - float(_forbidden(positions, images).mean())


def face_normal(cell: np.ndarray, axis: int) -> np.ndarray:
    """The unit vector across the face that the two other vectors span, (3,)."""
    normal = np.linalg.inv(cell)[:, axis]
    return np.asarray(normal / np.linalg.norm(normal))


def walls(cell: np.ndarray, axis: int, heights: tuple[float, float] | None = None) -> list[Wall]:
    """The two walls across a vector of the cell, at its faces or at given heights (angstrom)."""
    normal = face_normal(cell, axis)
    low, high = (0.0, float(cell[axis] @ normal)) if heights is None else heights
    return [Wall(normal, low), Wall(-normal, -high)]


def _wrapped(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    home = np.where(pbc, np.floor(positions @ np.linalg.inv(cell)), 0.0)
    return np.asarray(positions - home @ cell)


def _images(region: Region, cell: np.ndarray, pbc: np.ndarray,
            positions: np.ndarray) -> Iterator[Image]:
    """The images of a region that come near to one of (n, 3) positions all over the cell."""
    for steps in product(*((0, -1, 1) if periodic else (0,) for periodic in pbc)):
        shift = np.array(steps, dtype=float) @ cell
        if not any(steps) or (region.distance(positions + shift)[0] < REACH).any():
            yield region, shift


def _forbidden(home: np.ndarray, images: Sequence[Image]) -> np.ndarray:
    """Whether (n, 3) positions in the cell lie in a region, (n,) bool."""
    found = np.zeros(len(home), dtype=bool)
    for region, shift in images:
        found |= region.inside(home + shift)
    return found


def _near(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, fixed: np.ndarray,
          reach: np.ndarray) -> np.ndarray:
    """Whether positions inside the cell are nearer to a fixed atom than its reach, (n,) bool."""
    from scipy.spatial import cKDTree

    home = _wrapped(fixed, cell, pbc)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    most = np.where(pbc, np.ceil(reach.max() / heights), 0).astype(int)
    steps = np.array(list(product(*(range(-m, m + 1) for m in most))), dtype=float)
    found = np.zeros(len(positions), dtype=bool)
    for radius in np.unique(reach):
        images = (home[reach == radius][None] + (steps @ cell)[:, None]).reshape(-1, 3)
        inner = images @ np.linalg.inv(cell)
        margin = radius / heights
        images = images[((inner > -margin) & (inner < 1 + margin)).all(1)]
        if len(images):
            distance, _ = cKDTree(images).query(positions, distance_upper_bound=float(radius))
            found |= np.isfinite(distance)
    return found
