"""Curves in files: g(r), G(r) and S(Q), two or three columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffxas.errors import InputError
from diffxas.spectrum_text import parse_table

FEWEST = 10
"""Points that a curve must have at least."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve of a file.

    Attributes
    ----------
    x : (n_points,), increasing
    y : (n_points,)
    deviation : (n_points,), of y; None where the file has none
    name : of the column of y, may be empty
    path : of the file
    """

    x: np.ndarray
    y: np.ndarray
    deviation: np.ndarray | None
    name: str
    path: str

    @property
    def spacing(self) -> float:
        """Median distance between points."""
        return float(np.median(np.diff(self.x)))


def read_curve(path: Path, axis: str, columns: Sequence[str] = ()) -> Curve:
    """Read a curve.

    Parameters
    ----------
    path : text; columns of x, y and, where there is a third, one standard deviation of y
    axis : what x is, such as "r (angstrom)"
    columns : names of the y column, the one most wanted first, where a file has several

    Raises
    ------
    InputError
        If the file has other columns, values that are not finite, or x that does not increase.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"a target curve must be a file that can be read, received {path} "
                         f"({error.strerror}): name another") from error
    try:
        table = parse_table(text, str(path))
    except InputError as error:
        raise InputError(f"{path} must hold two columns of numbers, {axis} and values, with an "
                         f"optional third of deviations; it could not be read so: {error}"
                         ) from error
    data, names = table.data, [name.strip() for name in table.names]
    data = data[~np.isnan(data[:, 1:]).all(axis=1)] if data.shape[1] > 2 else data
    column, deviation = _columns(names, data.shape[1], columns, path, axis)
    x, y = data[:, 0], data[:, column]
    spread = None if deviation is None else data[:, deviation]
    if len(x) < FEWEST:
        raise InputError(f"a curve must have at least {FEWEST} points, received {len(x)} in "
                         f"{path}: give one with more")
    if not all(np.isfinite(v).all() for v in (x, y, *([] if spread is None else [spread]))):
        raise InputError(f"a curve must be finite, received NaN or infinity in {path}: "
                         f"take these rows out")
    if (np.diff(x) <= 0).any():
        row = int(np.argmax(np.diff(x) <= 0))
        raise InputError(f"{axis} must increase down the rows, received {x[row]:g} and then "
                         f"{x[row + 1]:g} in {path}: sort the rows")
    if x[0] < 0:
        raise InputError(f"{axis} must not be negative, received {x[0]:g} in {path}: "
                         f"the first column must be {axis}")
    if spread is not None and (spread <= 0).any():
        raise InputError(f"deviations must be above 0, received {spread.min():g} in {path}: "
                         f"correct or leave out the third column")
    return Curve(x, y, spread, names[column], str(path))


def _columns(names: Sequence[str], count: int, wanted: Sequence[str], path: Path,
             axis: str) -> tuple[int, int | None]:
    """Index of the y column and of its deviations, if any."""
    lower = [name.lower() for name in names]
    for name in wanted:
        if count > 2 and name.lower() in lower[1:]:
            return lower.index(name.lower(), 1), None
    if count == 2:
        return 1, None
    if count == 3 and not any(name.lower() in lower for name in wanted):
        return 1, 2
    raise InputError(f"{path} must hold two columns, {axis} and values, with an optional third of "
                     f"deviations, received {count}: {', '.join(filter(None, names)) or 'no names'}"
                     f"; keep the columns that are meant")


def smoothed(curve: Curve, grid: np.ndarray, width: float) -> np.ndarray:
    """The curve convolved with a Gaussian of this standard deviation, at the grid's points.

    Each point of the file weighs as much as it stands for of the axis; before its first point the
    curve is taken to be constant.
    """
    share = np.gradient(curve.x)
    ahead = np.arange(1, int(np.ceil(4 * width / share[0])) + 1)[::-1]
    x = np.concatenate([curve.x[0] - ahead * share[0], curve.x])
    y = np.concatenate([np.full(len(ahead), curve.y[0]), curve.y])
    share = np.concatenate([np.full(len(ahead), share[0]), share])
    weights = share * np.exp(-0.5 * ((grid[:, None] - x) / width) ** 2)
    return np.asarray(weights @ y / weights.sum(1))
