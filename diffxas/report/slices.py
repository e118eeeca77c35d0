r"""A slice through a structure that is too large to be turned: atoms coloured by coordination.

The slice lies in the plane of the two cell vectors that span the largest face, through the middle
of the cell: with ``n`` the normal of that face, it holds the atoms with

    |(r - middle) . n|  <=  THICKNESS / 2.

Seen along ``n``, the nearer atoms are drawn over the farther; bonds of two atoms of the slice are
drawn unless they cross a face of the cell. The shares in the legend are those of the whole
structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffxas.analysis import coordination
from diffxas.neighbourhood import Pairs
from diffxas.plots import COORDINATION_COLOURS, DPI
from diffxas.structure import Structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THICKNESS = 4.0
"""angstrom; about two atoms of a solid lie over each other."""
RADIUS = 0.5
"""angstrom, of the dots; bonded atoms touch."""
LONGER_SIDE = 8.0
"""Of the drawing, inches."""
LEAST_SHARE = 5e-4
"""Rarer numbers of bonds are left out of the legend: they would read 0.0 %."""


@dataclass(frozen=True, eq=False)
class Slice:
    """Atoms of a slice in its plane.

    Attributes
    ----------
    atoms : (n_shown,) indices, the farthest first
    places : (n_shown, 2), angstrom, along the first vector of the face and across it
    depth : (n_shown,), angstrom above the plane
    outline : (4, 2), corners of the face, angstrom
    """

    atoms: np.ndarray
    places: np.ndarray
    depth: np.ndarray
    outline: np.ndarray


def slice_of(structure: Structure, thickness: float = THICKNESS) -> Slice:
    """The atoms within half of ``thickness`` (angstrom) of the plane through the middle.

    Without a cell the box along x, y and z that holds the atoms stands for it.
    """
    cell, origin = _frame(structure)
    faces = [(0, 1), (1, 2), (2, 0)]
    areas = [np.linalg.norm(np.cross(cell[a], cell[b])) for a, b in faces]
    a, b = faces[int(np.argmax(np.round(areas, 6)))]
    normal = np.cross(cell[a], cell[b])
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, cell[a])
    axes = np.stack([cell[a] / np.linalg.norm(cell[a]), across / np.linalg.norm(across)])
    from_origin = structure.positions - origin
    depth = from_origin @ normal - cell.sum(axis=0) @ normal / 2
    # The face through the middle begins half of the third vector away from the origin.
    begin = (cell.sum(axis=0) - cell[a] - cell[b]) / 2
    inside = np.flatnonzero(np.abs(depth) <= thickness / 2)
    inside = inside[np.argsort(depth[inside], kind="stable")]
    corners = np.stack([np.zeros(3), cell[a], cell[a] + cell[b], cell[b]])
    return Slice(inside, (from_origin[inside] - begin) @ axes.T, depth[inside], corners @ axes.T)


def _frame(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Cell (3, 3) and where it begins (3,), or those of the atoms' extent."""
    if structure.volume > 1e-6:
        return np.array(structure.cell), np.zeros(3)
    low, span = structure.positions.min(axis=0), np.ptp(structure.positions, axis=0)
    return np.diag(np.maximum(span, 1.0)), low


def plot_slice(structure: Structure, pairs: Pairs) -> Figure:
    """The slice of :func:`slice_of` through a wrapped structure with these bonds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found, counts = slice_of(structure), coordination(structure, pairs)
    span = np.ptp(found.outline, axis=0)
    scale = LONGER_SIDE / span.max()
    figure = Figure(figsize=(max(5.0, span[0] * scale + 0.6), max(2.0, span[1] * scale) + 1.0),
                    dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.fill(*found.outline.T, facecolor="none", edgecolor="#999999", lw=0.8)
    _draw_bonds(axis, found, pairs, len(structure))
    _draw_atoms(axis, found, counts)
    reached = np.concatenate([found.outline, found.places])
    low, high = reached.min(axis=0) - 1.0, reached.max(axis=0) + 1.0
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axis.set_xlabel("Å")
    axis.spines[["top", "right"]].set_visible(False)
    _legend(figure, np.bincount(np.minimum(counts, 6), minlength=7) / len(counts))
    return figure


def _draw_atoms(axis: Axes, found: Slice, counts: np.ndarray) -> None:
    from matplotlib.collections import EllipseCollection

    colours = [COORDINATION_COLOURS[str(min(int(n), 6))] for n in counts[found.atoms]]
    width = np.full(len(found.atoms), 2 * RADIUS)
    axis.add_collection(EllipseCollection(
        width, width, np.zeros(len(width)), units="xy", offsets=found.places,
        offset_transform=axis.transData, facecolors=colours, edgecolors="white", linewidths=0.2,
        zorder=3))


def _draw_bonds(axis: Axes, found: Slice, pairs: Pairs, n_atoms: int) -> None:
    from matplotlib.collections import LineCollection

    place = np.full(n_atoms, -1)
    place[found.atoms] = np.arange(len(found.atoms))
    once = (~pairs.shift.any(axis=1)) & (pairs.first < pairs.second)
    ends = place[np.stack([pairs.first, pairs.second], axis=1)[once]]
    ends = ends[(ends >= 0).all(axis=1)]
    axis.add_collection(LineCollection(found.places[ends], colors="#777777", linewidths=0.7,
                                       zorder=2))


def _legend(figure: Figure, shares: np.ndarray) -> None:
    from matplotlib.lines import Line2D

    shown = {str(n): float(x) for n, x in enumerate(shares) if x >= LEAST_SHARE}
    handles = [Line2D([], [], ls="", marker="o", ms=6, color=COORDINATION_COLOURS[n],
                      label=f"{'6 or more' if n == '6' else n} bonds: {100 * x:.1f} %")
               for n, x in shown.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(3, len(handles)),
                  frameon=False, fontsize=8.5)
