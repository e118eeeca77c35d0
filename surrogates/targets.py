"""From a target file's spectrum to the observation model that suits it.

A target whose energies are the surrogate's own is taken as computed: its units are the
surrogate's and nothing is fitted. Every other one is measured: normalised, and compared through
the nuisances of :mod:`surrogates.nuisances`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from diffxas.errors import InputError
from diffxas.spectrum import MINIMUM_POINTS, Spectrum
from surrogates.metrics import rms
from surrogates.nuisances import ADSORBATES, NuisanceOptions
from surrogates.observation import (
    ComputedObservation,
    MeasuredObservation,
    Observation,
    window_mask,
)

if TYPE_CHECKING:
    from diffxas.normalise import Normalisation
    from surrogates.reference import Reference

SAME_GRID = 1e-3
"""eV; energies closer than this to the surrogate's are the surrogate's."""
CARBON_WINDOW = (282.0, 300.0)
"""eV, pi* to the sigma* band; default for measured carbon K-edges."""
WINDOW_ABOUT_EDGE = (-3.0, 15.0)
"""eV about e0, default window for other measured edges."""
MEASURED_NOISE = 0.10
"""Share of the target's root mean square by which DFT and a measurement disagree: what is left
of the measured film (experiments/observation-film) under the best of the DFT cells."""
COMPUTED_NOISE = 0.03
"""The same for targets of the surrogate's own theory."""
EDGE_RISE = (0.1, 0.9)
"""Heights, of the edge step, between which the edge rises."""


def observation_for(target: Spectrum, model_energy: np.ndarray, *, target_kind: str = "auto",
                    window: tuple[float, float] | None = None,
                    normalisation: Normalisation | None = None,
                    options: NuisanceOptions | None = None,
                    exclude: tuple[tuple[float, float], ...] = (),
                    noise: float | None = None,
                    adsorbates: bool = False,
                    reference: Reference | None = None) -> tuple[Observation, str]:
    """Choose and build the observation model.

    Parameters
    ----------
    target : as read, not normalised
    model_energy : (n_grid,), eV
    target_kind : ``auto``, ``computed`` or ``measured``
    window : eV; default 282 to 300 for measured carbon, the whole grid for computed targets
    normalisation : of the target, if it is measured; by default ``normalise(target)``
    options : priors for measured targets
    exclude : ranges (eV) inside the window that do not count
    noise : target units (measured: of the normalised curve); default a share of the target's level
    adsorbates : whether C-H and C=O may absorb beside the structure
    reference : measured in the same beamtime; gives the priors of shift and resolution

    Returns
    -------
    the observation and one sentence that says why it is of this kind

    Raises
    ------
    InputError
        On an unknown kind, a computed target off the grid, a window that misses data or edge,
        ranges that leave nothing of the edge, or adsorbates or a reference for anything but a
        measured C:K target.
    """
    grid = np.asarray(model_energy, dtype=np.float64)
    kind, reason = choose_kind(target, grid, target_kind)
    check_measured_carbon(target, kind, adsorbates, reference is not None)
    if kind == "computed":
        chosen = window or (float(grid[0]), float(grid[-1]))
        # Where a computed spectrum rises fastest is its edge, however it is scaled.
        edge = float(target.energy[np.argmax(np.gradient(target.mu, target.energy))])
        height = target.mu - target.mu.min()
        mask = _checked_mask(target.energy, chosen, edge, exclude, height / height.max())
        level = COMPUTED_NOISE * float(rms(target.mu[mask]))
        return ComputedObservation(target.energy, target.mu, grid, chosen,
                                   noise or level, exclude), reason
    if normalisation is None:
        from diffxas.normalise import normalise

        normalisation = normalise(target)
    carbon = target.element in ("C", "")
    e0 = float(normalisation.e0)
    chosen = window or (CARBON_WINDOW if carbon else
                        (e0 + WINDOW_ABOUT_EDGE[0], e0 + WINDOW_ABOUT_EDGE[1]))
    curve = np.asarray(normalisation.norm, dtype=np.float64)
    mask = _checked_mask(target.energy, chosen, e0, exclude, curve)
    if chosen[0] < grid[0] or chosen[1] > grid[-1]:
        raise InputError(f"the window must lie within the surrogate's grid, {grid[0]:g} to "
                         f"{grid[-1]:g} eV, received {chosen[0]:g} to {chosen[1]:g}: "
                         f"choose another --window")
    priors = options or (NuisanceOptions() if carbon else replace(NuisanceOptions(), anchor=e0))
    if adsorbates:
        priors = replace(priors, adsorbates=ADSORBATES)
    if reference is not None:
        priors = reference.priors(priors)
    level = MEASURED_NOISE * float(rms(curve[mask]))
    return MeasuredObservation(target.energy, curve, grid, chosen, noise or level, exclude,
                               priors), reason


def choose_kind(target: Spectrum, grid: np.ndarray, target_kind: str) -> tuple[str, str]:
    """``computed`` or ``measured``, and a sentence that says why.

    Raises
    ------
    InputError
        On an unknown kind, or ``computed`` for a target off the surrogate's grid.
    """
    same = len(target) == len(grid) and bool(np.all(np.abs(target.energy - grid) <= SAME_GRID))
    if target_kind == "auto" and same:
        return "computed", (f"The target's energies equal the surrogate's grid within "
                            f"{SAME_GRID:g} eV, so it was taken as computed.")
    if target_kind == "auto":
        return "measured", ("The target's energies are not the surrogate's grid, "
                            "so it was taken as measured.")
    if target_kind == "measured":
        return "measured", "The target was declared measured (--target-kind measured)."
    if target_kind != "computed":
        raise InputError(f"the target's kind must be auto, computed or measured, received "
                         f"{target_kind!r}: choose one with --target-kind")
    if not same:
        raise InputError(f"a computed target must lie on the surrogate's grid, {len(grid)} points "
                         f"from {grid[0]:g} to {grid[-1]:g} eV, received {len(target)} from "
                         f"{target.energy[0]:g} to {target.energy[-1]:g}: interpolate it, or use "
                         f"--target-kind measured")
    return "computed", "The target was declared computed (--target-kind computed)."


def check_measured_carbon(target: Spectrum, kind: str, adsorbates: bool, reference: bool) -> None:
    """Refuse C-H and C=O bands, and marks of graphite and diamond, where they cannot be.

    Raises
    ------
    InputError
        If they are asked of a target that is not a measured C:K spectrum.
    """
    asked = "--adsorbates" if adsorbates else "--reference" if reference else ""
    if asked and (kind != "measured" or (target.element, target.edge) != ("C", "K")):
        name = f"{target.element}:{target.edge}" if target.element else "of no known edge"
        raise InputError(f"{asked} must go with a measured C:K target, received one that is "
                         f"{kind}, {name}: leave it out")


def _checked_mask(energy: np.ndarray, window: tuple[float, float], edge: float,
                  exclude: tuple[tuple[float, float], ...], height: np.ndarray) -> np.ndarray:
    """The points that count, after window and excluded ranges were checked.

    ``height`` is the target from 0 before the edge to 1 above it, (n_points,).
    """
    low, high = window
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InputError(f"a window must be two increasing energies in eV, received "
                         f"{low:g} {high:g}: give --window LO HI")
    if low > energy[-1] or high < energy[0]:
        raise InputError(f"the window must overlap the target, {energy[0]:g} to {energy[-1]:g} eV, "
                         f"received {low:g} to {high:g}: choose another --window")
    if not low <= edge <= high:
        raise InputError(f"the window must contain the target's edge at {edge:.1f} eV, received "
                         f"{low:g} to {high:g}: choose another --window, or look at "
                         f"the edge with `diffxas inspect`")
    whole = window_mask(energy, window)
    if whole.sum() < MINIMUM_POINTS:
        raise InputError(f"the window must hold at least {MINIMUM_POINTS} points of the target, "
                         f"received {int(whole.sum())} in {low:g} to {high:g} eV: widen --window")
    return _checked_exclusions(energy, window, exclude, height, whole)


def _checked_exclusions(energy: np.ndarray, window: tuple[float, float],
                        exclude: tuple[tuple[float, float], ...], height: np.ndarray,
                        whole: np.ndarray) -> np.ndarray:
    for low, high in exclude:
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise InputError(f"an excluded range must be two increasing energies in eV, received "
                             f"{low:g}:{high:g}: write it as --exclude 286.5:289")
        if high < window[0] or low > window[1]:
            raise InputError(f"an excluded range must overlap the window, {window[0]:g} to "
                             f"{window[1]:g} eV, received {low:g}:{high:g}: leave it out, or "
                             f"choose another --window")
    if not exclude:
        return whole
    mask = window_mask(energy, window, exclude)
    given = " ".join(f"{low:g}:{high:g}" for low, high in exclude)
    if mask.sum() < MINIMUM_POINTS:
        raise InputError(f"--exclude must leave at least {MINIMUM_POINTS} points of the target in "
                         f"the window, received {given}, which leaves {int(mask.sum())}: narrow "
                         f"it, or widen --window")
    begins, ends = (int(np.argmax(whole & (height >= level))) for level in EDGE_RISE)
    if not mask[begins:ends + 1].any():
        raise InputError(f"--exclude must leave a part of the edge, which rises from "
                         f"{energy[begins]:.1f} to {energy[ends]:.1f} eV, received {given}: "
                         f"narrow it")
    return mask
