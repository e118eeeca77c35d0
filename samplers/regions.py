"""Parts of space that are closed to the centres of new atoms.

    sphere:X,Y,Z,R            within R of (X, Y, Z)
    box:X0,Y0,Z0,X1,Y1,Z1     between two corners
    below:z=V, above:z=V      on one side of a plane

All lengths are in angstrom, Cartesian, as in structure files. A half-space ends at the face of the
cell along a direction that is periodic; along others it does not, and the two faces of the cell are
walls. Images are counted in :mod:`samplers.open_space`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from diffxas.errors import InputError

MARGIN = 1e-6
"""How far outside a region an atom is put, angstrom; more than files round."""
AXES = "xyz"
GRAMMAR = "sphere:X,Y,Z,R, box:X0,Y0,Z0,X1,Y1,Z1, below:z=V or above:z=V"


class Region(ABC):
    """A part of space that is closed to new atoms, without its periodic images."""

    @abstractmethod
    def distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far (n, 3) points are from its surface, angstrom, and which way is out.

        Returns
        -------
        distance : (n,), positive outside
        normal : (n, 3), unit vectors along which the distance grows
        """

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Whether each of (n, 3) points lies in it, (n,) bool."""
        return np.asarray(self.distance(points)[0] < 0)

    def within(self, cell: np.ndarray, pbc: np.ndarray) -> Region:
        """The region as it is in a cell."""
        return self


@dataclass(frozen=True)
class Sphere(Region):
    """All points nearer than ``radius`` to ``centre``, angstrom."""

    centre: tuple[float, float, float]
    radius: float

    def __str__(self) -> str:
        return f"sphere:{_text((*self.centre, self.radius))}"

    def distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Region`; along the radius."""
        vector = points - self.centre
        length = np.linalg.norm(vector, axis=1)
        middle = length < 1e-9
        vector[middle] = [1.0, 0.0, 0.0]
        return length - self.radius, vector / np.where(middle, 1.0, length)[:, None]

    def inside(self, points: np.ndarray) -> np.ndarray:
        """See :class:`Region`."""
        return np.asarray(((points - self.centre) ** 2).sum(1) < self.radius**2)


@dataclass(frozen=True)
class Brick(Region):
    """All points between ``low`` and ``high`` on each axis, angstrom; infinite where it is open."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def __str__(self) -> str:
        return f"box:{_text((*self.low, *self.high))}"

    def distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Region`; to the nearest face from inside, to the nearest point from outside.
        """
        beyond = points - np.clip(points, self.low, self.high)
        outside = np.linalg.norm(beyond, axis=1)
        faces = np.concatenate([self.low - points, points - self.high], 1)  # negative inside
        nearest = np.argmax(faces, 1)
        normal = np.where(nearest < 3, -1.0, 1.0)[:, None] * np.eye(3)[nearest % 3]
        is_out = outside > 0
        normal[is_out] = beyond[is_out] / outside[is_out, None]
        return np.where(is_out, outside, faces[np.arange(len(points)), nearest]), normal

    def inside(self, points: np.ndarray) -> np.ndarray:
        """See :class:`Region`."""
        return np.asarray(((points > self.low) & (points < self.high)).all(1))


@dataclass(frozen=True, eq=False)
class Wall(Region):
    """All points below ``height`` (angstrom) along the unit vector ``normal``, (3,)."""

    normal: np.ndarray
    height: float

    def distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Region`."""
        return points @ self.normal - self.height, np.broadcast_to(self.normal, points.shape)


@dataclass(frozen=True)
class HalfSpace(Region):
    """All points below (or above) a plane across Cartesian ``axis``, 0 to 2, at ``value``."""

    axis: int
    value: float
    below: bool

    def __str__(self) -> str:
        return f"{'below' if self.below else 'above'}:{AXES[self.axis]}={self.value:g}"

    def distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Region`."""
        sign = 1.0 if self.below else -1.0
        return Wall(sign * np.eye(3)[self.axis], sign * self.value).distance(points)

    def within(self, cell: np.ndarray, pbc: np.ndarray) -> Region:
        """See :class:`Region`.

        Raises
        ------
        InputError
            If the plane does not repeat with the cell.
        """
        others = [k for k in range(3) if k != self.axis]
        if np.abs(cell[others, self.axis]).max() > 1e-9 * np.abs(cell).max():
            name = AXES[self.axis]
            raise InputError(f"a plane across {name} must repeat with the cell, received a cell "
                             f"whose vectors {' and '.join('abc'[k] for k in others)} have "
                             f"components along {name}: turn the cell, or use box: and sphere:")
        if not pbc[self.axis]:
            return self
        height = float(cell[self.axis, self.axis])
        low, high = np.full(3, -np.inf), np.full(3, np.inf)
        low[self.axis], high[self.axis] = ((min(0.0, height), self.value) if self.below
                                           else (self.value, max(0.0, height)))
        return Brick((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def parse_region(text: str) -> Region:
    """A region from the notation of the module's text.

    Raises
    ------
    InputError
        If it is not that notation, or the region is empty.
    """
    kind, _, rest = text.partition(":")
    if kind in ("below", "above"):
        axis, value = parse_plane(text, rest)
        return HalfSpace(axis, value, kind == "below")
    numbers = _numbers(rest)
    if kind == "sphere" and len(numbers) == 4:
        if numbers[3] <= 0:
            raise InputError(f"a sphere must have a radius above 0 angstrom, received {text!r}: "
                             f"write sphere:X,Y,Z,R")
        return Sphere((numbers[0], numbers[1], numbers[2]), numbers[3])
    if kind == "box" and len(numbers) == 6:
        if not all(low < high for low, high in zip(numbers[:3], numbers[3:], strict=True)):
            raise InputError(f"a box must have its lower corner first, received {text!r}: write "
                             f"box:X0,Y0,Z0,X1,Y1,Z1 with X0 < X1, Y0 < Y1, Z0 < Z1")
        return Brick((numbers[0], numbers[1], numbers[2]), (numbers[3], numbers[4], numbers[5]))
    raise InputError(f"a region must be {GRAMMAR}, lengths in angstrom, received {text!r}: write "
                     f"it as in sphere:6,6,6,4")


def parse_plane(text: str, rest: str) -> tuple[int, float]:
    """Axis, 0 to 2, and value of ``z=8``, the ``rest`` of ``text``.

    Raises
    ------
    InputError
        If it is not of that form.
    """
    axis, _, value = rest.partition("=")
    numbers = _numbers(value)
    if axis not in tuple(AXES) or len(numbers) != 1:
        raise InputError(f"a plane must be given by x, y or z and a length in angstrom, received "
                         f"{text!r}: write it as in {text.partition(':')[0]}:z=8")
    return AXES.index(axis), numbers[0]


def _text(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _numbers(text: str) -> list[float]:
    """The comma list of finite numbers; empty if it is none."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        return []
    return numbers if np.isfinite(numbers).all() else []
