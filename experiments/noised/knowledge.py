"""What can be said of a cell's spectrum from a noised structure: by the pupil, and by plug-in.

Truths are the teacher's spectra of cells that no model was trained on. The plug-in is the teacher's
spectrum of the prior's denoised estimate. Both are compared along the first principal component of
cell spectra, after the trend with density (a parabola over all cells) is taken out of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffxas.denoiser import PriorDenoiser, PriorNetwork
from diffxas.structure import Structure
from surrogates.base import Surrogate
from surrogates.noised import NoisedSurrogate

LEVELS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
DRAWS = 3
WINDOWS = ((1.2, 2.0), (2.0, 2.6), (2.6, 3.5))
"""Densities, g/cm3."""
QUANTILE = 1.6448536269514722


@dataclass(frozen=True, eq=False)
class Seen:
    """Cells, and what is said of each from its noised copies.

    Attributes
    ----------
    density : (n_cells,), g/cm3
    truth : (n_cells, n_grid)
    pupil, plug_in : (n_cells, n_levels, n_draws, n_grid)
    """

    density: np.ndarray
    truth: np.ndarray
    pupil: np.ndarray
    plug_in: np.ndarray


def noised(structure: Structure, number: int, level: int, draw: int) -> np.ndarray:
    """A noised copy, (n_atoms, 3), angstrom."""
    rng = np.random.default_rng([11, number, level, draw])
    return structure.positions + LEVELS[level] * rng.standard_normal((len(structure), 3))


def by_pupil(cells: Sequence[Structure], pupil: NoisedSurrogate) -> np.ndarray:
    """Cell spectra that the pupil expects, (n_cells, n_levels, DRAWS, n_grid)."""
    import torch

    with torch.no_grad():
        return np.array([[[pupil.sites(torch.tensor(noised(cell, n, k, draw)), sigma, cell)
                           .mean(0).numpy() for draw in range(DRAWS)]
                          for k, sigma in enumerate(LEVELS)] for n, cell in enumerate(cells)])


def by_plug_in(cells: Sequence[Structure], teacher: Surrogate, prior: PriorNetwork,
               cache: Path) -> np.ndarray:
    """Spectra of the denoised estimates of the first draws, (n_cells, n_levels, 1, n_grid).

    They are costly, and kept in the folder ``cache``.
    """
    import torch
    from tqdm import tqdm

    digest = hashlib.sha256(repr(LEVELS).encode())
    for cell in cells:
        digest.update(np.ascontiguousarray(cell.positions).tobytes())
    path = cache / f"plug_in_{digest.hexdigest()[:12]}.npz"
    if not path.is_file():
        found = np.empty((len(cells), len(LEVELS), 1, len(teacher.energy)))
        with torch.no_grad():
            for n, cell in enumerate(tqdm(cells, desc="denoised estimates", mininterval=5.0)):
                denoiser = PriorDenoiser(prior, cell)
                for k, sigma in enumerate(LEVELS):
                    estimate = denoiser(torch.tensor(noised(cell, n, k, 0)), sigma)
                    found[n, k, 0] = teacher.predict_sites(
                        cell.with_positions(estimate.numpy())).mean(0)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, plug_in=found)
    with np.load(path, allow_pickle=False) as content:
        return np.asarray(content["plug_in"])


def first_component(truth: np.ndarray) -> np.ndarray:
    """Unit vector along which cell spectra differ most, (n_grid,)."""
    _, _, v = np.linalg.svd(truth - truth.mean(0), full_matrices=False)
    return np.asarray(v[0] * np.sign(v[0][np.abs(v[0]).argmax()]))


def detrended(density: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (n_cells, ...) without their parabola in density."""
    basis = np.vander(density, 3)
    flat = values.reshape(len(values), -1)
    return np.asarray((flat - basis @ np.linalg.lstsq(basis, flat, rcond=None)[0]
                       ).reshape(values.shape))


def rows(found: Seen, pupil: NoisedSurrogate) -> list[dict[str, float]]:
    """A line for each level: correlation, slope of truth against what is said, errors, coverage."""
    along = first_component(found.truth)
    n_sites = 216
    table = []
    for k, sigma in enumerate(LEVELS):
        line: dict[str, float] = {"sigma": sigma}
        for name, said in (("pupil", found.pupil[:, k]), ("plug-in", found.plug_in[:, k])):
            error = found.truth[:, None] - said
            line[f"{name} rms"] = float(np.sqrt((error**2).mean()))
            line |= {f"{name} {key}": value for key, value in
                     _agreement(found.density, found.truth @ along, said @ along).items()}
        covariance = pupil.mean_covariance(sigma, n_sites)
        error = found.truth[:, None] - found.pupil[:, k]
        scale = np.sqrt(np.diag(covariance))
        line["covered"] = float((np.abs(error) <= QUANTILE * scale).mean())
        line["covered, first"] = float((np.abs(error @ along) <= QUANTILE * np.sqrt(
            along @ covariance @ along)).mean())
        for low, high in WINDOWS:
            inside = (found.density >= low) & (found.density < high)
            line[f"covered {low}-{high}"] = float(
                (np.abs(error[inside]) <= QUANTILE * scale).mean())
        table.append(line)
    return table


def _agreement(density: np.ndarray, truth: np.ndarray, said: np.ndarray) -> Mapping[str, float]:
    """Correlation and slope of truth against what is said (n_cells, draws), trends taken out."""
    t, s = detrended(density, truth), detrended(density, said)
    t = np.repeat(t[:, None], s.shape[1], 1)
    found = {"correlation": _correlation(t, s), "slope": float((t * s).sum() / (s**2).sum())}
    for low, high in WINDOWS:
        inside = (density >= low) & (density < high)
        found[f"correlation {low}-{high}"] = _correlation(t[inside], s[inside])
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
