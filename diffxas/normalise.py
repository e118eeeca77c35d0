"""Normalisation of an absorption edge: pre-edge to 0, edge step to 1.

``norm(E) = (mu(E) - pre(E)) / edge_step`` with a pre-edge line ``pre(E) = slope E + intercept``
fitted below the edge (M. Newville, "Fundamentals of XAFS", Reviews in Mineralogy and Geochemistry
78, 33 (2014), section "Pre-edge subtraction and normalization"; the ranges and degrees below are
ours, close to Athena's). Where the step is measured depends on how far the data go above the edge:

* from 75 eV on (XAFS): a polynomial through ``mu - pre`` far above the edge, followed back to
  ``e0``: linear, or quadratic if its range is over 350 eV;
* less (XANES, such as C K at 270-320 eV): the mean of the last few eV, since fine structure fills
  the rest. A line fitted to a short pre-edge is not followed over many times its own length; there
  the pre-edge is a constant.

``e0`` is the steepest rise near the tabulated edge, by local linear fits with Gaussian weights
whose width grows with the core-hole lifetime. ``flat`` is ``norm`` with the curvature of the
post-edge polynomial removed above ``e0``. What was decided without the user stands in ``notes``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffxas.edges import edge_energy, find_e0, local_slopes, point_noise, search_range
from diffxas.errors import InputError
from diffxas.spectrum import MINIMUM_POINTS, Spectrum

XAFS_SPAN = 75.0
"""Data that reach this far above the edge (eV) have their step measured by a polynomial at e0."""

LONGEST_EXTRAPOLATION = 3.0
"""A pre-edge line is followed over at most this many times its own length."""

SIGNIFICANCE = 5.0
"""An edge step must exceed its standard error by this factor."""


@dataclass(frozen=True, eq=False)
class Normalisation:
    """A spectrum with its edge normalised.

    Attributes
    ----------
    energy, mu : (n_points,) as in the spectrum, eV and the file's unit
    e0 : edge energy, eV
    edge_step : in the unit of mu
    edge_step_error : its standard error from point-to-point noise, in the unit of mu
    pre_edge : slope (per eV) and intercept of the pre-edge line
    pre_edge_range, norm_range : eV, where the lines were fitted
    pre_line, post_line : (n_points,) in the unit of mu
    norm, flat : (n_points,) normalised absorption
    noise : standard deviation of mu from point to point, in the unit of mu
    nominal_edge : tabulated edge, eV; None if the element is not known
    notes : what was decided without the user
    """

    energy: np.ndarray
    mu: np.ndarray
    e0: float
    edge_step: float
    edge_step_error: float
    pre_edge: tuple[float, float]
    pre_edge_range: tuple[float, float]
    norm_range: tuple[float, float]
    pre_line: np.ndarray
    post_line: np.ndarray
    norm: np.ndarray
    flat: np.ndarray
    noise: float
    nominal_edge: float | None
    notes: tuple[str, ...]


def normalise(spectrum: Spectrum, *, e0: float | None = None,
              pre_edge: tuple[float, float] | None = None,
              post: tuple[float, float] | None = None,
              nominal_edge: float | None = None) -> Normalisation:
    """Subtract the pre-edge and divide by the edge step.

    Parameters
    ----------
    spectrum : with element and edge, unless ``nominal_edge`` or ``e0`` is given
    e0 : edge energy, eV; found near the tabulated edge if not given
    pre_edge, post : ranges for the two fits, eV; chosen by the data's extent if not given
    nominal_edge : where to look for the edge, eV; from the table of elements if not given

    Raises
    ------
    InputError
        If the data miss the edge, a range holds no points, or nothing rises out of the noise.
    """
    energy, mu = spectrum.energy, spectrum.mu
    notes: list[str] = []
    where = f" in {spectrum.meta['path']}" if "path" in spectrum.meta else ""
    if nominal_edge is None and spectrum.element:
        nominal_edge = edge_energy(spectrum.element, spectrum.edge)
    if nominal_edge is not None:
        _check_bracket(spectrum, nominal_edge, where)
    elif e0 is None:
        notes.append("element and edge are not known: e0 is the steepest rise of all points")
    if e0 is None:
        e0 = find_e0(energy, mu, nominal_edge)
        if nominal_edge is not None and not _well_inside(energy, e0, nominal_edge):
            notes.append(f"the rise is steepest at the border of the search around "
                         f"{nominal_edge:g} eV: the energy axis may be shifted")
    if not energy[0] < e0 < energy[-1]:
        raise InputError(f"e0 must be inside the data ({energy[0]:g} to {energy[-1]:g} eV), "
                         f"received {e0:g}: give an energy in eV")
    norm_range = post or _default_post(energy, e0)
    measured_at, degree = _where_measured(energy, e0, norm_range)
    pre = _fit_pre(energy, mu, e0, pre_edge, measured_at, notes)
    rise = _fit(energy, mu - pre(energy), e0, norm_range, degree, "post-edge")
    step = float(rise(np.array(measured_at)))
    noise = point_noise(mu)
    error = noise * float(np.sqrt(pre.variance(measured_at) + rise.variance(measured_at)))
    _check_step(spectrum, e0, step, error, where)
    norm = (mu - pre(energy)) / step
    curvature = np.where(energy >= e0, rise(energy) / step - 1.0, 0.0)
    slope = float(pre.coefficients[0]) if len(pre.coefficients) == 2 else 0.0
    intercept = float(pre.coefficients[-1]) - slope * e0
    return Normalisation(
        energy=energy, mu=mu, e0=e0, edge_step=step, edge_step_error=error,
        pre_edge=(slope, intercept), pre_edge_range=pre.span,
        norm_range=rise.span, pre_line=pre(energy), post_line=pre(energy) + rise(energy),
        norm=norm, flat=norm - curvature, noise=noise, nominal_edge=nominal_edge,
        notes=tuple(notes))


def check_window(energy: np.ndarray, window: tuple[float, float], e0: float) -> None:
    """Refuse a fit window that misses the edge or the data.

    Raises
    ------
    InputError
        If the window is reversed, does not contain e0, or holds fewer than 20 points.
    """
    low, high = window
    data = f"the data reach from {energy[0]:g} to {energy[-1]:g} eV"
    if not low < high:
        raise InputError(f"--window must be two rising energies in eV, received {low:g} {high:g}: "
                         f"write the lower one first")
    if not low < e0 < high:
        raise InputError(f"--window must contain the edge at {e0:.1f} eV, received {low:g} "
                         f"{high:g}: choose another --window or --edge; {data}")
    n_points = int(((energy >= low) & (energy <= high)).sum())
    if n_points < MINIMUM_POINTS:
        raise InputError(f"--window must hold at least {MINIMUM_POINTS} points, received "
                         f"{low:g} {high:g} with {n_points}: widen it; {data}")



def _check_bracket(spectrum: Spectrum, nominal: float, where: str) -> None:
    energy = spectrum.energy
    name = f"{spectrum.element}:{spectrum.edge}" if spectrum.element else "the edge"
    if energy[0] > nominal * 1.001 or energy[-1] < nominal + 3.0:
        raise InputError(f"the data must contain the edge {name} at {nominal:g} eV, received "
                         f"{energy[0]:g} to {energy[-1]:g} eV{where}: choose the --edge that was "
                         f"measured, or the energy column with --columns")


def _check_step(spectrum: Spectrum, e0: float, step: float, error: float, where: str) -> None:
    energy, mu = spectrum.energy, spectrum.mu
    if step <= SIGNIFICANCE * error:
        what = "a falling signal" if step < -SIGNIFICANCE * error else (
            f"a step of {step:.2g} with an error of {error:.1g}")
        raise InputError(f"an edge must rise out of the noise near {e0:.1f} eV, received {what}"
                         f"{where}: choose another signal with --columns (raw transmission is "
                         f"i0=N,itrans=M), or the right --edge")
    index = np.clip(np.searchsorted(energy, e0), 1, len(energy) - 2)
    slope = float(local_slopes(energy, mu, np.array([index]))[0])
    mean_slope = (float(mu.max()) - float(mu.min())) / (energy[-1] - energy[0])
    if slope < 2.0 * mean_slope:  # a drift has no steep place
        raise InputError(f"an edge must rise steeply near {e0:.1f} eV, received a slope of "
                         f"{slope:.2g} per eV, like the whole range{where}: choose another signal "
                         f"with --columns (raw transmission is i0=N,itrans=M), or the right --edge")


def _well_inside(energy: np.ndarray, e0: float, nominal_edge: float) -> bool:
    """Whether e0 is neither the first nor the last point of the search."""
    low, high = search_range(nominal_edge)
    near = energy[(energy >= low) & (energy <= high)]
    return bool(near[0] < e0 < near[-1])


@dataclass(frozen=True, eq=False)
class _Polynomial:
    """A polynomial in ``E - e0`` fitted over ``span``; ``covariance`` is for unit noise."""

    e0: float
    coefficients: np.ndarray
    covariance: np.ndarray
    span: tuple[float, float]

    def __call__(self, energy: np.ndarray) -> np.ndarray:
        return np.polyval(self.coefficients, energy - self.e0)

    def variance(self, energy: float) -> float:
        """Variance of the value at one energy, for unit variance of each point."""
        basis = np.vander([energy - self.e0], len(self.coefficients))[0]
        return float(basis @ self.covariance @ basis)


def _fit(energy: np.ndarray, values: np.ndarray, e0: float, span: tuple[float, float], degree: int,
         name: str) -> _Polynomial:
    inside = (energy >= span[0]) & (energy <= span[1])
    if not span[0] < span[1] or inside.sum() < degree + 1:
        raise InputError(f"the {name} range must be two rising energies with {degree + 1} points "
                         f"or more between, received {span[0]:g} to {span[1]:g} eV with "
                         f"{int(inside.sum())}: the data reach from {energy[0]:g} to "
                         f"{energy[-1]:g} eV")
    basis = np.vander(energy[inside] - e0, degree + 1)
    coefficients = np.linalg.lstsq(basis, values[inside], rcond=None)[0]
    return _Polynomial(e0, coefficients, np.linalg.pinv(basis.T @ basis),
                       (float(energy[inside][0]), float(energy[inside][-1])))


def _default_post(energy: np.ndarray, e0: float) -> tuple[float, float]:
    """The last tenth of a short range (3 eV at least); of a long one, what is past 150 eV."""
    reach = energy[-1] - e0
    if reach < XAFS_SPAN:
        return float(energy[-1] - max(3.0, 0.1 * reach)), float(energy[-1])
    return float(e0 + min(150.0, reach / 3)), float(energy[-1])


def _where_measured(energy: np.ndarray, e0: float, span: tuple[float, float]) -> tuple[float, int]:
    """Energy at which the step is read, and the degree of the post-edge polynomial."""
    if min(span[1], energy[-1]) - e0 < XAFS_SPAN:
        return (span[0] + min(span[1], float(energy[-1]))) / 2, 0
    return e0, 2 if span[1] - span[0] > 350.0 else 1


def _fit_pre(energy: np.ndarray, mu: np.ndarray, e0: float, given: tuple[float, float] | None,
             measured_at: float, notes: list[str]) -> _Polynomial:
    """Line or constant below the edge; the minimum where there is no pre-edge at all.

    It ends a third of the pre-edge below e0, but 5 to 30 eV, to keep clear of the edge's foot, and
    begins at most 150 eV below it.
    """
    span = given or (max(float(energy[0]), e0 - 150.0),
                     e0 - float(np.clip((e0 - energy[0]) / 3, 5.0, 30.0)))
    n_points = int(((energy >= span[0]) & (energy <= span[1])).sum())
    if n_points < 3 and given is None:
        lowest = int(np.argmin(mu[energy <= e0])) if (energy <= e0).any() else 0
        notes.append(f"the data begin at {energy[0]:g} eV, too near the edge for a pre-edge: the "
                     f"minimum below e0 ({mu[lowest]:.4g}) is subtracted")
        return _Polynomial(e0, np.array([mu[lowest]]), np.ones((1, 1)),
                           (float(energy[lowest]), float(energy[lowest])))
    length = span[1] - span[0]
    far = measured_at - span[1]
    if n_points >= 5 and far <= LONGEST_EXTRAPOLATION * length:
        return _fit(energy, mu, e0, span, 1, "pre-edge")
    notes.append(f"the pre-edge is a constant: {length:.1f} eV with {n_points} points do not fix "
                 f"a slope over the {far:.1f} eV to where the step is read")
    return _fit(energy, mu, e0, span, 0, "pre-edge")
