"""A self-contained HTML document of paragraphs, tables, figures and rotatable structures.

Everything that comes from a user (titles, names, commands) is escaped by the template; the
structures travel as JSON in a script element of their own, with ``<`` written as ``\\u003c``.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.analysis import coordination
from diffxas.files import write_text
from diffxas.neighbourhood import bonds
from diffxas.plots import COORDINATION_COLOURS, DPI
from diffxas.structure import Structure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | float | int | None

MAXIMUM_ATOMS_SHOWN = 3000
"""Larger structures are shown as the atoms nearest to the middle of the cell."""

MAXIMUM_ATOMS_EMBEDDED = 120_000
"""Atoms of all structures together, about 6 MB; structures beyond are left out, and it is said."""


@dataclass(frozen=True)
class Table:
    """Rows under a header; numbers are set right, ``None`` is a dash, ``strong`` rows are bold."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class FigureBlock:
    """A figure, its file name without suffix, and what it shows."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, tables and figures below; empty sections are not shown."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[FigureBlock, ...] = ()


@dataclass(frozen=True, eq=False)
class View:
    """A structure to be turned: what it is (``sample 0``) and in which state (``relaxed``)."""

    label: str
    state: str
    structure: Structure


@dataclass(frozen=True, eq=False)
class Document:
    """A whole page.

    Attributes
    ----------
    facts : name and value, a short table at the top
    command : the command line that made it, or empty
    first_view : label and state of the structure shown first, or None
    cutoffs : longest bonds, as :func:`diffxas.neighbourhood.bond_cutoffs` takes them
    """

    title: str
    lead: tuple[str, ...] = ()
    command: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    views: tuple[View, ...] = ()
    first_view: tuple[str, str] | None = None
    cutoffs: Mapping[tuple[str, str], float] = field(default_factory=dict)


def write_document(document: Document, path: str | Path) -> None:
    """Write the page atomically; it loads nothing from elsewhere."""
    write_text(path, render(document))


def render(document: Document) -> str:
    """The page as text."""
    import jinja2

    shown, left_out = _within_budget(document.views)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    environment.filters["cell"] = format_cell
    environment.filters["png"] = figure_base64
    environment.filters["width"] = lambda figure: round(96 * figure.get_figwidth())
    environment.tests["quantity"] = lambda value: isinstance(value, int | float) or value is None
    payload = {"colours": COORDINATION_COLOURS, "first": document.first_view,
               "views": [_view_data(view, document.cutoffs) for view in shown]}
    template = environment.from_string(_package_text("report.html"))
    return template.render(
        document=document,
        sections=[s for s in document.sections if s.text or s.tables or s.figures],
        views=shown, left_out=left_out, payload=_safe_json(payload) if shown else "",
        library=_package_text("3Dmol-min.js") if shown else "",
        library_licence=_package_text("3Dmol-LICENSE.txt") if shown else "",
        viewer=_package_text("viewer.js") if shown else "")


def format_cell(value: Cell) -> str:
    """A table entry: four significant digits, a dash for a number that is missing."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"  # noqa: RUF001
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def figure_base64(figure: Figure) -> str:
    """PNG of a figure in base64."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _package_text(name: str) -> str:
    return resources.files("diffxas.report").joinpath(name).read_text(encoding="utf-8")


def _safe_json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _within_budget(views: Sequence[View]) -> tuple[list[View], int]:
    """The first views whose atoms fit the page, and how many are left out."""
    sizes = np.cumsum([min(len(v.structure), MAXIMUM_ATOMS_SHOWN) for v in views])
    n_shown = int((sizes <= MAXIMUM_ATOMS_EMBEDDED).sum())
    return list(views[:n_shown]), len(views) - n_shown


def _view_data(view: View, cutoffs: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    """What the viewer needs of a structure: atoms inside the cell and bonds that cross no face."""
    structure = view.structure.wrapped() if view.structure.pbc.any() else view.structure
    pairs = bonds(structure, cutoffs)
    shown = _middle(structure, MAXIMUM_ATOMS_SHOWN)
    place = np.full(len(structure), -1)
    place[shown] = np.arange(len(shown))
    inside = (~pairs.shift.any(axis=1)) & (pairs.first < pairs.second)
    ends = place[np.stack([pairs.first, pairs.second], axis=1)[inside]]
    symbols = structure.symbols
    data: dict[str, Any] = {
        "label": view.label, "state": view.state, "atoms": len(structure),
        "summary": f"{structure.formula}, {structure.density:.2f} g/cm³"
                   if structure.volume > 1e-6 else structure.formula,
        "symbols": [symbols[n] for n in shown],
        "xyz": np.round(structure.positions[shown], 2).ravel().tolist(),
        "coordination": coordination(structure, pairs)[shown].tolist(),
        "bonds": ends[(ends >= 0).all(axis=1)].ravel().tolist(),
        "cell": np.round(structure.cell, 3).tolist() if structure.pbc.all() else None,
        "pi_star": None,
    }
    if "pi_star" in structure.arrays:
        column = np.asarray(structure.arrays["pi_star"], float)[shown]
        data["pi_star"] = [round(float(x), 4) if np.isfinite(x) else None for x in column]
    return data


def _middle(structure: Structure, count: int) -> np.ndarray:
    """The ``count`` atoms nearest to the middle, in their order; all if there are no more."""
    if len(structure) <= count:
        return np.arange(len(structure))
    middle = (structure.cell.sum(axis=0) / 2 if structure.pbc.all()
              else structure.positions.mean(axis=0))
    distance = np.linalg.norm(structure.positions - middle, axis=1)
    return np.sort(np.argpartition(distance, count)[:count])
