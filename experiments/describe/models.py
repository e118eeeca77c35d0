"""Description models with densities left out, and what they are made from.

A density is left out of everything: the surrogate that predicts the training spectra has not seen
its DFT cells, their FEFF rows or any source within 0.15 g/cm3 (:mod:`experiments.surrogate.table`),
no such network gives sites to the mixtures, and no mixture has such a density. How far a map errs
on a network of another making is measured on the other densities, each left out in its turn, so
that the interval of the first owes nothing to its own error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffxas.files import replacing
from diffxas.structure import Structure
from diffxas.structure_files import read_structures
from diffxas.weights import WEIGHTS, read_config, read_tensors, save_model, weights_hash
from experiments.common import DATA, ROOT, RUNS, dft_cells, held_out, networks, variants
from experiments.surrogate.table import all_data, settings
from surrogates.base import Surrogate
from surrogates.datasets import SiteSpectra
from surrogates.description import DescriptionModel
from surrogates.description_training import (
    DescriptionOptions,
    fit_description,
    transfer_error,
    with_theory,
)
from surrogates.kernel import KernelConfig, KernelSurrogate, fit_kernel
from surrogates.loading import SHIPPED, load_surrogate
from surrogates.metrics import rms
from surrogates.mixtures import CellSites, cell_sites
from surrogates.observation import MeasuredObservation, Observation
from surrogates.targets import CARBON_WINDOW, MEASURED_NOISE
from surrogates.training import configure, split, training_record

DENSITIES = (1.5, 2.0, 3.0, 3.5)
"""Of the DFT cells, g/cm3; cells of one density share one network."""
MARGIN = 0.15
NEAR = 0.1
CACHE = RUNS / "describe"
FEFF_TO_DFT = 4.6
"""eV that FEFF energies lack against the DFT axis (4.25 to 5 over the sites that have both)."""
POOLED = 4
"""Cells whose FEFF sites make one target."""
SPECTRA = ("kernel", "descriptor", "training", "left_out")
CELLS = ("volumes",)
FITS = ("mixtures", "description", "description_fit", "description_training", "observation",
        "nuisances")


def surrogate_without(densities: Sequence[float]) -> Surrogate:
    """A surrogate that was trained without these densities: shipped, or fitted and kept."""
    return _surrogate(tuple(sorted(densities)))


@cache
def _surrogate(key: tuple[float, ...]) -> Surrogate:
    shipped = {(): "a-C", (2.0,): "a-C-without-2.0", (3.0,): "a-C-without-3.0"}
    if key in shipped:
        return load_surrogate(shipped[key])
    options = replace(settings(), leave_out_density=list(key), left_out_networks=False)
    rest = split(data(), options)
    config = configure(rest, options)
    assert isinstance(config, KernelConfig)
    record = training_record(rest, options, config)
    folder = CACHE / f"surrogate-without-{'-'.join(map(str, key))}-{_key(record)}"
    if not (folder / WEIGHTS).is_file():
        save_model(folder, {"kind": "surrogate", **record}, fit_kernel(rest, config, options.seed))
    return KernelSurrogate(f"a-C without {key}", record, read_tensors(folder))


@cache
def data() -> list[SiteSpectra]:
    """All site spectra, DFT first."""
    return all_data()


def _key(*what: object, sources: Sequence[str] = SPECTRA) -> str:
    digest = hashlib.sha256(repr(what).encode())
    for name in sources:
        digest.update((ROOT / "surrogates" / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]


def _fit_key(densities: Sequence[float], n_simulated: int) -> str:
    known = weights_hash(SHIPPED / "a-C"), surrogate_without(densities).record
    return _key(densities, n_simulated, known, sources=(*SPECTRA, *CELLS, *FITS))


@cache
def structures() -> tuple[tuple[str, Structure], ...]:
    """``nep`` or ``dft``, and every structure that takes part."""
    pairs = read_structures(DATA / "a-C-NEP" / "pairs.extxyz")
    return (*(("nep", s) for s in (*networks(), *variants(), *pairs)),
            *(("dft", s) for s in dft_cells()))


def training_by(model: Surrogate) -> list[CellSites]:
    """The NEP networks that are not held out, their sites predicted by the model."""
    mu, held = site_spectra(model), held_out()
    return [replace(cell, spectra=mu[cell.name]) for kind, _, cell in counted()
            if kind == "nep" and not held & {cell.name, cell.parent}]


def held_by(model: Surrogate) -> list[CellSites]:
    """The held-out networks, their sites predicted by the model."""
    held = held_out()
    return [replace(cell, spectra=model.predict_sites(s).astype(float))
            for kind, s, cell in counted() if kind == "nep" and held & {cell.name, cell.parent}]


@cache
def site_spectra(model: Surrogate) -> dict[str, np.ndarray]:
    """Name of every cell -> its sites' spectra by the model, (n_atoms, n_grid); kept."""
    path = CACHE / f"sites-{_key(model.record)}.npz"
    if not path.is_file():
        mu = [model.predict_sites(s) for _, s in tqdm(structures(), desc="sites", leave=False)]
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, mu=np.float32(mu))
    with np.load(path, allow_pickle=False) as content:
        return {str(s.info["name"]): mu.astype(float)
                for (_, s), mu in zip(structures(), content["mu"], strict=True)}


@cache
def dft() -> tuple[CellSites, ...]:
    """The DFT cells with their DFT spectra."""
    with np.load(DATA / "a-C-K-edge" / "xanes.npz", allow_pickle=False) as content:
        mu = {str(name): mu.astype(float)
              for name, mu in zip(content["name"], content["mu"], strict=True)}
    return tuple(replace(cell, spectra=mu[cell.name]) for kind, _, cell in counted()
                 if kind == "dft")


@cache
def counted() -> tuple[tuple[str, Structure, CellSites], ...]:
    """Kind, structure, and its atoms counted and measured, kept in the cache; no spectra yet."""
    path = CACHE / f"cells-{_key(len(structures()), sources=CELLS)}.npz"
    if not path.is_file():
        found = [cell_sites(s, np.zeros((len(s), 0)))
                 for _, s in tqdm(structures(), desc="volumes")]
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, values=np.stack([cell.values for cell in found]))
    with np.load(path, allow_pickle=False) as content:
        values = content["values"]
    return tuple((kind, s, CellSites(
        str(s.info["name"]), str(s.info.get("parent", s.info["name"])), s.density,
        np.zeros((len(s), 0)), one, np.linalg.solve(s.cell.T, s.positions.T).T, s.cell))
        for (kind, s), one in zip(structures(), values, strict=True))


def outside(cells: Iterable[CellSites], densities: Sequence[float]) -> list[CellSites]:
    """Cells that are not within the margin of any of the densities."""
    return [cell for cell in cells
            if all(abs(cell.density - density) > MARGIN for density in densities)]


def of_density(cells: Iterable[CellSites], density: float) -> list[CellSites]:
    """The DFT cells of one density."""
    return [cell for cell in cells if abs(cell.density - density) < NEAR]


def transferred(densities: Sequence[float]) -> tuple[dict[float, np.ndarray], np.ndarray]:
    """Errors on the other densities, each left out in its turn.

    Returns
    -------
    left-out density -> error of the map (5,), and the rms error of the surrogates' cell means
    (n_grid,)
    """
    others = [density for density in DENSITIES if density not in densities]
    return ({density: _transfer(density) for density in others},
            rms(np.stack([spectrum_error(density) for density in others]), 0))


@cache
def spectrum_error(density: float) -> np.ndarray:
    """Error of the cell means of a density that the surrogate has not seen, (n_grid,)."""
    predicted = site_spectra(surrogate_without((density,)))
    error: np.ndarray = np.mean([predicted[cell.name].mean(0) - cell.spectra.mean(0)
                                 for cell in of_density(dft(), density)], axis=0)
    return error


@cache
def _transfer(density: float) -> np.ndarray:
    model = surrogate_without((density,))
    error = rms(np.stack([spectrum_error(other) for other in DENSITIES if other != density]), 0)
    cells = outside([*training_by(model), *dft()], (density,))
    return transfer_error(cells, model.energy, error,
                          of_density(dft(), density), _options((density,)))


def _options(left: Sequence[float], **sizes: int) -> DescriptionOptions:
    """The first density left out is the one that no mixture has."""
    without = (left[0] - MARGIN, left[0] + MARGIN) if left else None
    return DescriptionOptions(without=without, **sizes)


def fit(densities: tuple[float, ...] = (), n_simulated: int = 360,
        ) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and tensors of a description model without these densities; all data by default.
    """
    record, tensors = _fitted(densities, n_simulated)
    tensors.setdefault("theory", torch.zeros(5))
    energy = np.array(record["model"]["energy"])
    return with_theory(record, tensors, feff_targets(energy, densities))


def _fitted(densities: tuple[float, ...],
            n_simulated: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    folder = CACHE / f"model-{'-'.join(map(str, densities))}-{_fit_key(densities, n_simulated)}"
    if (folder / WEIGHTS).is_file():
        return read_config(folder), read_tensors(folder)
    errors, mean_error = transferred(densities)
    model = surrogate_without(densities)
    used = outside([*training_by(model), *dft()], densities)
    record, tensors = fit_description(used, model.energy, mean_error,
                                      np.stack(list(errors.values())),
                                      _options(densities, n_simulated=n_simulated))
    record["transfer"]["errors"] = {str(key): value.tolist() for key, value in errors.items()}
    record["surrogate"] = model.name
    save_model(folder, record, tensors)
    return record, tensors


def as_model(record: dict[str, Any], tensors: dict[str, Tensor]) -> DescriptionModel:
    """What :func:`fit` gives, ready to describe."""
    return DescriptionModel("left out", record,
                            {key: value.double().numpy() for key, value in tensors.items()})


def source_hash() -> str:
    """Hash of the networks' files and of the shipped surrogate: what the model was made from."""
    digest = hashlib.sha256(weights_hash(SHIPPED / "a-C").encode())
    for path in sorted([*(DATA / "a-C-NEP").glob("*.extxyz"), *_files(DATA / "a-C-K-edge")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return [folder / "dft_cells.extxyz", folder / "xanes.npz"]




def feff_targets(grid: np.ndarray, without: Sequence[float] = (), held: bool = False,
                 ) -> list[tuple[Observation, np.ndarray]]:
    """FEFF spectra of NEP networks as measured targets, with their true quantities.

    Only about eight sites of a cell have FEFF spectra, so :data:`POOLED` cells of like density make
    a target. Shares are counted on these sites; the density is the cells' mean.
    """
    apart = held_out()
    known = {cell.name: cell for kind, _, cell in counted() if kind == "nep"}
    items = sorted((item for item in data() if item.theory == "FEFF" and item.name in known
                    and bool(apart & {item.name, item.parent}) == held
                    and all(abs(item.structure.density - d) > MARGIN for d in without)),
                   key=lambda item: item.structure.density)
    targets: list[tuple[Observation, np.ndarray]] = []
    for k in range(0, len(items) - POOLED + 1, POOLED):
        group = items[k:k + POOLED]
        mu = np.concatenate([item.spectra for item in group]).mean(0).astype(float)
        energy = group[0].energy + FEFF_TO_DFT
        inside = (energy > CARBON_WINDOW[0]) & (energy < CARBON_WINDOW[1])
        values = np.concatenate([known[item.name].values[item.sites] for item in group]).mean(0)
        density = float(np.mean([item.structure.density for item in group]))
        targets.append((MeasuredObservation(
            energy, mu, grid, CARBON_WINDOW, MEASURED_NOISE * float(rms(mu[inside]))),
            np.append(values[:-1], density)))
    return targets
