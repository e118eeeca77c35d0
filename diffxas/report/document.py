"""A self-contained HTML document of paragraphs, tables, figures and rotatable structures.

Everything that comes from a user (titles, names, commands) is escaped by the template; the
structures travel as JSON in a script element of their own, with ``<`` written as ``\\u003c``.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.analysis import chemical_symbol, coordination
from diffxas.files import replacing, write_text
from diffxas.neighbourhood import bonds
from diffxas.plots import COORDINATION_COLOURS, DPI
from diffxas.report.slices import THICKNESS, plot_slice
from diffxas.structure import Structure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Link:
    """A table entry that leads to a file beside the page, such as ``film/report.html``."""

    text: str
    href: str


Cell = str | float | int | Link | None

MAXIMUM_ATOMS_SHOWN = 5000
"""Of larger structures a cube around the middle is shown, and a slice through the whole."""

MAXIMUM_BYTES_EMBEDDED = 12_000_000
"""Of all structures and slices together; structures beyond are left out, and it is said. With
figures, tables and the viewer a page then stays below 20 MB."""


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

    @property
    def large(self) -> bool:
        """Whether only a part of it can be turned."""
        return len(self.structure) > MAXIMUM_ATOMS_SHOWN


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


@dataclass(frozen=True, eq=False)
class _Shown:
    """A view as it stands in the page: numbers for the viewer and, of a large one, a picture."""

    view: View
    payload: str
    slice_png: str
    caption: str

    @property
    def size(self) -> int:
        """Bytes in the page."""
        return len(self.payload) + len(self.slice_png)


def write_document(document: Document, path: str | Path,
                   figures_dir: str | Path | None = None) -> None:
    """Write the page atomically; it loads nothing from elsewhere.

    With ``figures_dir`` slices through large structures are written there too, as
    ``slice_LABEL_STATE.png``.
    """
    shown, left_out = _within_budget(document)
    if figures_dir is not None:
        for one in shown:
            if one.slice_png:
                name = re.sub(r"\W+", "_", f"slice {one.view.label} {one.view.state}")
                with replacing(Path(figures_dir) / f"{name}.png") as temporary:
                    temporary.write_bytes(base64.b64decode(one.slice_png))
    write_text(path, _page(document, shown, left_out))


def render(document: Document) -> str:
    """The page as text."""
    return _page(document, *_within_budget(document))


def _page(document: Document, shown: Sequence[_Shown], left_out: int) -> str:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    environment.filters["cell"] = format_cell
    environment.filters["png"] = figure_base64
    environment.filters["width"] = lambda figure: round(96 * figure.get_figwidth())
    environment.tests["link"] = lambda value: isinstance(value, Link)
    environment.tests["quantity"] = lambda value: isinstance(value, int | float) or value is None
    head = _safe_json({"colours": COORDINATION_COLOURS, "first": document.first_view})
    payload = f'{head[:-1]},"views":[{",".join(one.payload for one in shown)}]}}'
    template = environment.from_string(_package_text("report.html"))
    return template.render(
        document=document,
        sections=[s for s in document.sections if s.text or s.tables or s.figures],
        large=MAXIMUM_ATOMS_SHOWN if any(one.view.large for one in shown) else 0,
        views=shown, left_out=left_out, payload=payload if shown else "",
        library=_package_text("3Dmol-min.js") if shown else "",
        library_licence=_package_text("3Dmol-LICENSE.txt") if shown else "",
        viewer=_package_text("viewer.js") if shown else "")


def format_cell(value: Cell) -> str:
    """A table entry: four significant digits, a dash for a number that is missing."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"  # noqa: RUF001
    if isinstance(value, float):
        return f"{value:.4g}"
    return value.text if isinstance(value, Link) else str(value)


def figure_base64(figure: Figure) -> str:
    """PNG of a figure in base64."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _package_text(name: str) -> str:
    return resources.files("diffxas.report").joinpath(name).read_text(encoding="utf-8")


def _safe_json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _within_budget(document: Document) -> tuple[list[_Shown], int]:
    """The first views that fit the page, in their order, and how many are left out.

    The one to be shown first goes before all others.
    """
    views = document.views
    order = sorted(range(len(views)),
                   key=lambda k: (views[k].label, views[k].state) != document.first_view)
    shown: dict[int, _Shown] = {}
    size = 0
    for k in order:
        one = _shown(views[k], document.cutoffs)
        size += one.size
        if size > MAXIMUM_BYTES_EMBEDDED:
            break
        shown[k] = one
    return [shown[k] for k in sorted(shown)], len(views) - len(shown)


def _shown(view: View, cutoffs: Mapping[tuple[str, str], float]) -> _Shown:
    """What the page needs of a structure: atoms inside the cell and bonds that cross no face."""
    structure = view.structure.wrapped() if view.structure.pbc.any() else view.structure
    pairs = bonds(structure, cutoffs)
    shown = _middle(structure, MAXIMUM_ATOMS_SHOWN)
    place = np.full(len(structure), -1)
    place[shown] = np.arange(len(shown))
    inside = (~pairs.shift.any(axis=1)) & (pairs.first < pairs.second)
    ends = place[np.stack([pairs.first, pairs.second], axis=1)[inside]]
    whole = (f"{structure.formula}, {structure.density:.2f} g/cm³" if structure.volume > 1e-6
             else structure.formula)
    data: dict[str, Any] = {
        "label": view.label, "state": view.state, "atoms": len(structure), "summary": whole,
        "symbols": [chemical_symbol(z) for z in structure.numbers[shown]],
        "xyz": np.round(structure.positions[shown], 2).ravel().tolist(),
        "coordination": coordination(structure, pairs)[shown].tolist(),
        "bonds": ends[(ends >= 0).all(axis=1)].ravel().tolist(),
        "cell": np.round(structure.cell, 3).tolist() if structure.pbc.all() else None,
        "pi_star": None,
    }
    if "pi_star" in structure.arrays:
        column = np.asarray(structure.arrays["pi_star"], float)[shown]
        data["pi_star"] = [round(float(x), 4) if np.isfinite(x) else None for x in column]
    if not view.large:
        return _Shown(view, _safe_json(data), "", "")
    picture = figure_base64(plot_slice(structure, pairs))
    return _Shown(view, _safe_json(data), picture,
                  f"{view.label}, {view.state}, {whole}: the atoms of a slice {THICKNESS:g} Å "
                  f"thick through the middle of the whole cell, coloured by their number of bonds. "
                  f"The shares are those of all {len(structure):,} atoms; the structure above is a "
                  f"cut-out of {len(shown):,} of them.")


def _middle(structure: Structure, count: int) -> np.ndarray:
    """The ``count`` atoms of a cube around the middle, in their order; all if there are no more."""
    if len(structure) <= count:
        return np.arange(len(structure))
    middle = (structure.cell.sum(axis=0) / 2 if structure.pbc.all()
              else structure.positions.mean(axis=0))
    distance = np.abs(structure.positions - middle).max(axis=1)
    return np.sort(np.argpartition(distance, count)[:count])
