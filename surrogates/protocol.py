"""What the observation model, ``predict`` and ``compare`` ask of a surrogate, and input checks.

Any object with these members serves: the shipped network, a table in a test, a user's own model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from diffxas.errors import InputError
from diffxas.spectrum import Spectrum
from diffxas.structure import Structure


@runtime_checkable
class SurrogateModel(Protocol):
    """Structure -> absorption of each absorber; the cell's spectrum is their mean.

    Attributes
    ----------
    energy : (n_grid,) float64, eV, strictly increasing: the grid of every prediction
    element, edge : the absorber and its edge, such as ``C`` and ``K``
    elements : every chemical symbol that the model accepts in a structure, absorber included
    name : for tables and run records
    """

    @property
    def energy(self) -> np.ndarray:
        """Energy grid, (n_grid,), eV."""

    @property
    def element(self) -> str:
        """Chemical symbol of the absorber."""

    @property
    def edge(self) -> str:
        """Absorption edge."""

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that structures may hold."""

    @property
    def name(self) -> str:
        """Name of the model."""

    def absorbers(self, structure: Structure) -> np.ndarray:
        """Indices of the absorbing atoms, (n_absorbers,) int."""

    def predict_sites(self, structure: Structure) -> np.ndarray:
        """Absorption of each absorber, (n_absorbers, n_grid), model units."""


@runtime_checkable
class UncertainSurrogate(SurrogateModel, Protocol):
    """A surrogate that also states its uncertainty, such as an ensemble."""

    def predict_sites_with_uncertainty(self, structure: Structure,
                                       ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and one standard deviation, each (n_absorbers, n_grid), model units."""


@runtime_checkable
class BoundedSurrogate(SurrogateModel, Protocol):
    """A surrogate that also knows which sites are like those it was trained on."""

    def domain_score(self, structure: Structure) -> np.ndarray | None:
        """(n_absorbers,), above 1 is outside; None where it was not learned."""


NEAREST = 0.5
"""angstrom; no two nuclei of a solid are nearer (H2 has 0.74)."""

MOST_NAMED = 10
"""Elements that a message names; more are counted."""

ALONE = 3.5
"""angstrom; an absorber without a neighbour within it has no bond, and no near-edge structure."""


def check_structure(label: str, structure: Structure, model: SurrogateModel) -> None:
    """Refuse a structure that the model cannot predict.

    Raises
    ------
    InputError
        If the absorber is absent, an element is one that the model does not know, or two atoms
        share a place.
    """
    present = sorted(set(structure.symbols))
    if model.element not in present:
        raise InputError(f"a structure must hold the absorber {model.element} for the surrogate "
                         f"{model.name} ({model.element}:{model.edge}), received "
                         f"{'/'.join(present)} in {label}: give another structure, --edge or "
                         f"--surrogate")
    check_atoms(label, structure, model.elements, model.name)


def check_atoms(label: str, structure: Structure, elements: Sequence[str], name: str) -> None:
    """Refuse elements that the model ``name`` does not know, and atoms that share a place.

    Raises
    ------
    InputError
        Naming them.
    """
    unknown = sorted(set(structure.symbols) - set(elements))
    if unknown:
        known = ("/".join(elements) if len(elements) <= MOST_NAMED else
                 f"the {len(elements)} that `diffxas models {name}` lists")
        raise InputError(f"elements must be among {known} for the surrogate {name}, "
                         f"received {'/'.join(unknown)} in {label}: choose another --surrogate")
    check_apart(label, structure)


def check_apart(label: str, structure: Structure) -> None:
    """Refuse atoms nearer than :data:`NEAREST`, images included.

    Raises
    ------
    InputError
        Naming the first two.
    """
    from diffxas.graph import neighbors

    first, second, _ = neighbors(structure.positions, structure.cell, structure.pbc, NEAREST)
    if len(first):
        raise InputError(f"atoms must be {NEAREST:g} angstrom apart or more, received atoms "
                         f"{first[0]} and {second[0]} of {label} nearer than that: take out "
                         f"atoms that stand twice in the file")


def lone_absorbers(structure: Structure, absorbers: np.ndarray) -> np.ndarray:
    """Whether each absorber has no neighbour within :data:`ALONE`, (n_absorbers,) bool."""
    from diffxas.graph import neighbors

    first, _, _ = neighbors(structure.positions, structure.cell, structure.pbc, ALONE)
    return ~np.isin(absorbers, first)


def check_target(target: Spectrum, model: SurrogateModel) -> None:
    """Refuse a target of another edge than the model's; an unnamed element or edge passes.

    Raises
    ------
    InputError
        If element or edge differ from the model's.
    """
    given = f"{target.element or model.element}:{target.edge or model.edge}"
    known = f"{model.element}:{model.edge}"
    if given != known:
        raise InputError(f"the target's edge must be {known} for the surrogate {model.name}, "
                         f"received {given}: choose another --surrogate, or --edge {known} if "
                         f"the file is mislabelled")
