"""Errors of the description models, with the classical pi* share beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from experiments.describe import models
from surrogates.description import Description, DescriptionModel, described, load_description
from surrogates.description_fit import fit_components
from surrogates.description_training import simulated
from surrogates.loading import load_surrogate
from surrogates.mixtures import QUANTITIES, whole
from surrogates.observation import Observation
from surrogates.pi_star import pi_star_fraction

SHOWN = ("sp", "sp2", "sp3", "density")
KINDS = ("computed", "measured")
DRAWS = 24
"""Simulated measurements of each density."""


@dataclass(frozen=True, eq=False)
class Row:
    """Cells of one density, described by a model that has not seen it.

    ``found`` and ``truth`` (5,) belong together; ``pi_star`` is the classical estimate with a
    reference that has no sites of the density.
    """

    density: float
    kind: str
    found: list[Description]
    truth: list[np.ndarray]
    pi_star: list[float]

    def points(self, name: str) -> list[tuple[float, float, float, float]]:
        """Truth, estimate, low and high of a quantity for every cell."""
        k = QUANTITIES.index(name)
        return [(float(truth[k]), found[name].value, found[name].low, found[name].high)
                for found, truth in zip(self.found, self.truth, strict=True)]

    def errors(self, name: str) -> np.ndarray:
        """Estimate less truth, (n_cells,)."""
        return np.array([value - truth for truth, value, _, _ in self.points(name)])

    def inside(self, name: str) -> np.ndarray:
        """Whether the interval holds the truth, (n_cells,)."""
        return np.array([low - 1e-9 <= truth <= high + 1e-9
                         for truth, _, low, high in self.points(name)])

    def mean_errors(self) -> dict[str, float]:
        """Mean absolute errors, shares of atoms and g/cm3."""
        return {name: float(np.abs(self.errors(name)).mean()) for name in SHOWN}

    def table(self) -> dict[str, Any]:
        """A line: mean absolute errors, half widths, the pi* share's errors, targets too unlike."""
        truth = np.array(self.truth)
        line: dict[str, Any] = {"left out": str(self.density), "target": self.kind}
        for name in SHOWN:
            scale = 1 if name == "density" else 100
            half = np.mean([high - low for _, _, low, high in self.points(name)]) / 2
            line[name] = f"{scale * np.abs(self.errors(name)).mean():.2g} (±{scale * half:.2g})"
        star = np.array(self.pi_star)
        line["pi* as sp2"] = float(100 * np.abs(star - truth[:, 1]).mean())
        line["pi* as sp2 + 2 sp"] = float(100 * np.abs(star - truth[:, 1] - 2 * truth[:, 0]).mean())
        line["widened"] = _widened(self.found)
        return line


@cache
def left_out_model(density: float) -> DescriptionModel:
    """The model without a density."""
    return models.as_model(*models.fit((density,), n_simulated=240))


@cache
def density_rows(density: float) -> tuple[Row, ...]:
    """Computed and simulated measured targets from the DFT spectra of a density left out."""
    model = left_out_model(density)
    cells = models.of_density(models.dft(), density)
    energy = model.basis.energy
    rng = np.random.default_rng(0)
    reference = threefold(density)
    rows = []
    for kind in KINDS:
        chosen = cells if kind == "computed" else [cells[k % len(cells)] for k in range(DRAWS)]
        found, stars = [], []
        for cell in chosen:
            observation = simulated(kind, cell.spectra.mean(0), energy, 0.2, rng)
            fit = fit_components(observation, model.basis)
            found.append(described(model, observation, fit))
            brought = observation.apply(reference, fit.theta)
            stars.append(pi_star_fraction(observation.energy, observation.target,
                                          observation.energy, brought).fraction)
        rows.append(Row(density, kind, found, [whole(cell) for cell in chosen], stars))
    return tuple(rows)


def threefold(without: float) -> np.ndarray:
    """Mean DFT spectrum of three-fold sites, (n_grid,), with a density left out.

    Densities weigh by their three-fold sites a cell, as in ``experiments/pi-star``.
    """
    means, weights = [], []
    for density in models.DENSITIES:
        if density == without:
            continue
        cells = models.of_density(models.dft(), density)
        sites = np.concatenate([cell.spectra[cell.values[:, 1] == 1] for cell in cells])
        means.append(sites.mean(0))
        weights.append(len(sites) / len(cells))
    mean: np.ndarray = np.average(means, axis=0, weights=weights)
    return mean


def mean_errors(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Mean absolute errors, densities alike in weight."""
    table = []
    for kind in KINDS:
        own = [row for row in rows if row.kind == kind]
        line: dict[str, Any] = {"target": kind}
        for name in SHOWN:
            scale = 1 if name == "density" else 100
            line[name] = float(np.mean([scale * np.abs(row.errors(name)).mean() for row in own]))
        line["pi* as sp2"] = float(np.mean([row.table()["pi* as sp2"] for row in own]))
        line["pi* as sp2 + 2 sp"] = float(np.mean([row.table()["pi* as sp2 + 2 sp"]
                                                   for row in own]))
        table.append(line)
    return table


def coverage(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Share of the truths inside the intervals, densities alike in weight."""
    return [{"target": kind, **{name: float(np.mean([row.inside(name).mean() for row in rows
                                                     if row.kind == kind])) for name in SHOWN}}
            for kind in KINDS]


def held_out_rows() -> list[dict[str, Any]]:
    """Held-out networks with their descendants, described by the shipped model."""
    model = load_description()
    rng = np.random.default_rng(1)
    table = []
    for label, name in (("a-C (its own training's)", "a-C"),
                        ("a-C-judge-without-2.0, another family", "a-C-judge-without-2.0"),
                        ("a-C-judge-without-3.0, another family", "a-C-judge-without-3.0")):
        cells = models.held_by(load_surrogate(name))
        for kind in KINDS:
            targets = [(simulated(kind, cell.spectra.mean(0), model.basis.energy, 0.2, rng),
                        whole(cell)) for cell in cells]
            table.append(_held(label, kind, model, targets))
    table.append(_held("FEFF, 4.6 eV added, four cells a target", "measured", model,
                       models.feff_targets(model.basis.energy, held=True)))
    return table


def _held(label: str, kind: str, model: DescriptionModel,
          targets: Sequence[tuple[Observation, np.ndarray]]) -> dict[str, Any]:
    found = [described(model, one, fit_components(one, model.basis)) for one, _ in targets]
    row = Row(0.0, kind, found, [truth for _, truth in targets], [0.0] * len(found))
    line: dict[str, Any] = {"spectra by": label, "target": kind, "targets": len(found)}
    for name in SHOWN:
        scale = 1 if name == "density" else 100
        line[name] = float(scale * np.abs(row.errors(name)).mean())
    for name in SHOWN:
        line[f"{name} inside"] = float(row.inside(name).mean())
    line["widened"] = _widened(found)
    return line


def pair_rows() -> list[dict[str, Any]]:
    """Equal density, unlike sp3: what a model that ties the two together cannot tell."""
    model = load_description()
    table = []
    for cell in models.held_by(load_surrogate("a-C")):
        if cell.name.startswith(("low_", "high_")):
            observation = simulated("computed", cell.spectra.mean(0), model.basis.energy, 0.2,
                                    np.random.default_rng(0))
            found = described(model, observation, fit_components(observation, model.basis))
            truth = whole(cell)
            table.append({"cell": cell.name, "sp3 counted": float(100 * truth[2]),
                          "sp3": _text(found, "sp3", 100), "density counted": float(truth[4]),
                          "density": _text(found, "density", 1)})
    return table


def film_rows(found: Description) -> list[dict[str, Any]]:
    """The film's estimates, and the classical one."""
    rows: list[dict[str, Any]] = [{"quantity": one.quantity, "estimate": round(one.value, 3),
                                   "90 % interval": f"{one.low:.2f} to {one.high:.2f}"}
                                  for one in found.estimates]
    orbitals = found["sp2"].value + 2 * found["sp"].value
    rows.append({"quantity": "sp2 + 2 sp", "estimate": round(orbitals, 3), "90 % interval": None})
    if found.pi_star is not None:
        rows.append({"quantity": "classical pi* share", "estimate":
                     round(found.pi_star.fraction, 3), "90 % interval": None})
    return rows


def _widened(found: Sequence[Description]) -> str:
    """How many targets are so unlike the training that their intervals were widened."""
    return f"{sum(one.widened > 1 for one in found)} of {len(found)}"


def _text(found: Description, name: str, scale: float) -> str:
    one = found[name]
    return f"{scale * one.value:.3g} ({scale * one.low:.3g} to {scale * one.high:.3g})"
