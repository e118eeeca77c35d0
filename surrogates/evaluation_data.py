"""What an evaluation compares: labelled sites of the theories that a model predicts, and groups.

Sites count for one of three parts. ``seen``: the model's config lists their structure among those
that it was trained on. ``related``: it lists their network or material, or the structure by another
theory. ``unseen``: neither. Structures are known by name, as the config holds names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffxas.errors import InputError
from diffxas.spectrum import parse_edge
from diffxas.structure import Structure
from surrogates.datasets import SiteSpectra, joined
from surrogates.loading import predictable

SEEN, RELATED, UNSEEN = "seen", "related", "unseen"
PARTS = (UNSEEN, RELATED, SEEN)

SPLITS = {1: "held out in DATA", 0: "training in DATA", -1: "neither in DATA"}
"""What the data's own split says of a site, which is not what the surrogate was trained on."""

MOST_GROUPS = 8
BIN_WIDTHS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""g/cm3; the narrowest is taken that gives no more than :data:`MOST_GROUPS` bins."""


@dataclass(frozen=True)
class Label:
    """One theory of a model or of data: its name, the kind of calculation, absorber and edge."""

    name: str
    kind: str
    element: str
    edge: str

    def __str__(self) -> str:
        return f"{self.kind} {self.element}:{self.edge}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two the same."""
        return self.kind, self.element, self.edge


def label(name: str, element: str, edge: str) -> Label:
    """A theory by its name, which may end with the edge where a model has several."""
    return Label(name, name.removesuffix(f" {element}:{edge}"), element, edge)


def model_labels(record: Mapping[str, Any]) -> list[Label]:
    """Every theory of a model, in its order."""
    model = record["model"]
    return [label(str(t["name"]), str(t.get("absorber") or model["absorber"]),
                  str(t.get("edge") or model["edge"])) for t in model["theories"]]


def choose_theories(name: str, record: Mapping[str, Any], items: Sequence[SiteSpectra],
                    theories: Sequence[str] = (), edge: str | None = None) -> list[Label]:
    """The theories to judge a model by: those named, else the first of every edge that DATA hold.

    Parameters
    ----------
    name, record : of the model
    items : all data
    theories : names from ``--theory``
    edge : such as ``Cu:K``; others are left out

    Raises
    ------
    InputError
        If the model predicts none of the data's theories, or lacks what was asked for.
    """
    known = {one.name: one for one in model_labels(record)}
    able = predictable(record)
    for theory in theories:
        if theory not in able:
            raise InputError(f"--theory must be {' or '.join(able)} for the surrogate {name}, "
                             f"received {theory}: choose another --theory or surrogate")
    chosen = [known[theory] for theory in dict.fromkeys(theories)] or _firsts(known, able)
    if edge is not None:
        wanted = tuple(parse_edge(edge))
        edges = list(dict.fromkeys(f"{one.element}:{one.edge}" for one in known.values()))
        chosen = [one for one in chosen if (one.element, one.edge) == wanted]
        if not chosen:
            raise InputError(f"--edge must be {' or '.join(edges)} for the surrogate {name}, "
                             f"received {':'.join(wanted)}: choose another surrogate "
                             f"(`diffxas models` lists them)")
    held = {of(item).key: str(of(item)) for item in items}
    found = [one for one in chosen if one.key in held]
    if not found or (theories and len(found) < len(chosen)):
        missing = next(one for one in chosen if one not in found)
        raise InputError(f"DATA must hold spectra of {missing}, which the surrogate {name} "
                         f"predicts, received {', '.join(held.values())}: "
                         f"{_remedy(record, known, able, held)}")
    return found


def of(item: SiteSpectra) -> Label:
    """The theory of an item."""
    return label(item.theory, item.element, item.edge)


def _firsts(known: Mapping[str, Label], able: Sequence[str]) -> list[Label]:
    firsts: dict[tuple[str, str], Label] = {}
    for name in able:
        firsts.setdefault((known[name].element, known[name].edge), known[name])
    return list(firsts.values())


def _remedy(record: Mapping[str, Any], known: Mapping[str, Label], able: Sequence[str],
            held: Mapping[tuple[str, str, str], str]) -> str:
    others = [one for one in known.values() if one.key in held]
    named = [one.name for one in others if one.name in able]
    if named:
        return f"add --theory {named[0]!r} to judge that one" if " " in named[0] else (
            f"add --theory {named[0]} to judge that one")
    return "give spectra of that theory and edge, or another surrogate"


def chosen_sites(items: Sequence[SiteSpectra], theory: Label) -> list[SiteSpectra]:
    """The sites of one theory, one item a structure, whatever the data's own split says."""
    return joined([item for item in items if of(item).key == theory.key])


def data_splits(items: Sequence[SiteSpectra],
                chosen: Sequence[SiteSpectra]) -> list[np.ndarray]:
    """The data's own split of every site, (n_sites,) for each of ``chosen``: 0, 1 or -1."""
    known = {(id(item.structure), item.theory, int(site)): item.part
             for item in items for site in item.sites}
    return [np.array([known[id(one.structure), one.theory, int(site)] for site in one.sites])
            for one in chosen]


def training_parts(record: Mapping[str, Any], theory: Label,
                   items: Sequence[SiteSpectra]) -> list[str]:
    """``seen``, ``related`` or ``unseen`` for each item."""
    training = record.get("training", {})
    listed = set(training.get("structures", []))
    names = {one.partition(":")[2] for one in listed}
    networks = set(training.get("parents", []))
    return [SEEN if f"{theory.name}:{item.name}" in listed or
            f"{theory.kind}:{item.name}" in listed
            else RELATED if item.name in names or item.parent in networks else UNSEEN
            for item in items]


def common_grid(model: np.ndarray, items: Sequence[SiteSpectra], name: str) -> np.ndarray:
    """The energies on which prediction and truth are compared, (n_grid,), eV.

    The model's, where every item covers them; else the items', where they have one grid and it lies
    inside the model's. Nothing is extrapolated.

    Raises
    ------
    InputError
        If neither holds, with both ranges.
    """
    slack = 1e-6
    if all(_inside(model, item.energy, slack) for item in items):
        return model
    first = items[0].energy
    same = all(len(i.energy) == len(first) and np.allclose(i.energy, first, atol=1e-6)
               for i in items)
    if same and _inside(first, model, slack):
        return np.asarray(first, dtype=float)
    odd = next(i for i in items if not _inside(model, i.energy, slack))
    raise InputError(f"energies must cover those of the surrogate {name}, "
                     f"{_range(model)}, or lie within them, received {_range(odd.energy)} for "
                     f"{odd.name}: nothing is extrapolated; give spectra of that range, or a "
                     f"surrogate of theirs")


def _inside(grid: np.ndarray, other: np.ndarray, slack: float) -> bool:
    return bool(other[0] <= grid[0] + slack and grid[-1] <= other[-1] + slack)


def _range(energy: np.ndarray) -> str:
    return f"{energy[0]:g} to {energy[-1]:g} eV in {len(energy)} points"


def resampled(energy: np.ndarray, rows: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Rows (..., n_points) on another grid that lies inside, (..., n_grid).

    Monotone cubic pieces (F. N. Fritsch and J. Butland, SIAM J. Sci. Stat. Comput. 5, 300 (1984)):
    nothing overshoots the points. Equal grids give the rows as they are.
    """
    if len(energy) == len(grid) and np.allclose(energy, grid, atol=1e-6):
        return np.asarray(rows, dtype=float)
    from scipy.interpolate import PchipInterpolator

    places = np.clip(grid, energy[0], energy[-1])
    return np.asarray(PchipInterpolator(energy, np.asarray(rows, dtype=float), axis=-1)(places))


def group_names(structures: Sequence[Structure]) -> list[str]:
    """A group for each structure: density bins for one kind of material, else sets of elements.

    More sets than :data:`MOST_GROUPS` are gathered by their number of elements.
    """
    systems = ["-".join(sorted(set(s.symbols))) for s in structures]
    found = sorted(set(systems))
    if len(found) > MOST_GROUPS:
        return [f"{one.count('-') + 1} elements" for one in systems]
    return systems if len(found) > 1 else density_bins([s.density for s in structures])


def density_bins(densities: Sequence[float]) -> list[str]:
    """A bin such as ``1.9-2.1 g/cm3`` for each density."""
    values = np.asarray(densities, dtype=float)
    for width in BIN_WIDTHS:
        place = np.round(values / width).astype(int)
        if len(set(place.tolist())) <= MOST_GROUPS:
            break
    return [f"{(k - 0.5) * width:.3g}-{(k + 0.5) * width:.3g} g/cm3" for k in place]


def with_grid(item: SiteSpectra, grid: np.ndarray) -> SiteSpectra:
    """The item on another grid."""
    spectra = resampled(item.energy, item.spectra, grid).astype(np.float32)
    return replace(item, spectra=spectra, energy=grid)
