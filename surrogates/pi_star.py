"""The estimate that experimentalists know: sp2 fraction from the share of pi* absorption.

    f = [ I(pi*) / I(total) ]_sample / [ I(pi*) / I(total) ]_reference of pure sp2

S. D. Berger, D. R. McKenzie, P. J. Martin, Philos. Mag. Lett. 57, 285 (1988), for electron
energy loss; the same is done with x-ray absorption. I(pi*) is the area up to the dip behind pi*,
I(total) the area up to about 300 eV. It assumes that every sp2 atom absorbs alike and that nothing
else absorbs there. Neither is true of amorphous carbon: a two-fold atom has two pi* orbitals, so
what f follows is the number of pi orbitals per atom, (sp2 + 2 sp), which may exceed one; and
sigma* of strained four-fold atoms reaches below the dip. ``experiments/pi-star`` shows f against
counted atoms on DFT cells, where both are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from diffxas.errors import InputError
from surrogates.observation import Fit, Observation

PI_STAR_RANGE = (282.0, 286.5)
"""eV: from below the onset to the dip behind pi* of DFT cells and of the measured film."""
TOTAL_RANGE = (282.0, 300.0)
"""eV: the usual choice of total 1s absorption."""
PI_STAR_ENERGY = 285.0
"""eV; the per-atom column ``pi_star`` is the predicted absorption there."""


@dataclass(frozen=True)
class PiStarEstimate:
    """The classical estimate and what it is made of.

    Attributes
    ----------
    fraction : f of the module's docstring; above one where atoms carry two pi orbitals
    share, reference_share : I(pi*) / I(total) of the sample and of the reference
    pi_star, total : ranges, eV
    reference : what the reference is
    """

    fraction: float
    share: float
    reference_share: float
    pi_star: tuple[float, float]
    total: tuple[float, float]
    reference: str


def pi_star_share(energy: np.ndarray, mu: np.ndarray,
                  pi_star: tuple[float, float] = PI_STAR_RANGE,
                  total: tuple[float, float] = TOTAL_RANGE) -> float:
    """I(pi*) / I(total) by trapezoids, exact for the piecewise linear curve.

    Parameters
    ----------
    energy : (n_points,), eV, increasing
    mu : (n_points,), pre-edge at zero, any unit
    pi_star, total : ranges, eV

    Raises
    ------
    InputError
        If the energies do not cover the ranges, or the total area is not positive.
    """
    if min(pi_star[0], total[0]) < energy[0] or max(pi_star[1], total[1]) > energy[-1]:
        raise InputError(f"a spectrum must cover {total[0]:g} to {total[1]:g} eV for its pi* "
                         f"share, received {energy[0]:g} to {energy[-1]:g}: measure further")
    whole = _area(energy, mu, total)
    if whole <= 0:
        raise InputError(f"the absorption from {total[0]:g} to {total[1]:g} eV must be positive, "
                         f"received an area of {whole:.3g}: check the normalisation")
    return _area(energy, mu, pi_star) / whole


def pi_star_fraction(energy: np.ndarray, mu: np.ndarray, reference_energy: np.ndarray,
                     reference_mu: np.ndarray, *,
                     pi_star: tuple[float, float] = PI_STAR_RANGE,
                     total: tuple[float, float] = TOTAL_RANGE,
                     reference: str = "given") -> PiStarEstimate:
    """The sp2 fraction against a reference of pure sp2 with the same energy axis and broadening.

    Parameters
    ----------
    energy, mu : (n_points,), eV and any unit; pre-edge at zero
    reference_energy, reference_mu : (n_reference,), the same of the reference, such as graphite
    pi_star, total : ranges, eV
    reference : words for reports

    Raises
    ------
    InputError
        If either spectrum does not cover the ranges, or has no area there.
    """
    share = pi_star_share(energy, mu, pi_star, total)
    of_reference = pi_star_share(reference_energy, reference_mu, pi_star, total)
    if of_reference <= 0:
        raise InputError(f"the reference must absorb between {pi_star[0]:g} and {pi_star[1]:g} "
                         f"eV, received a share of {of_reference:.3g}: give a spectrum of "
                         f"graphite with its pre-edge at zero")
    return PiStarEstimate(share / of_reference, share, of_reference, pi_star, total, reference)


def pi_star_of_target(observation: Observation, fit: Fit, *,
                      pi_star: tuple[float, float] = PI_STAR_RANGE,
                      total: tuple[float, float] = TOTAL_RANGE) -> PiStarEstimate:
    """The sp2 fraction of a carbon K-edge target against three-fold sites of the DFT cells.

    The reference passes through the fitted nuisances, so that it has the target's axis,
    broadening and envelope. It thereby inherits their uncertainty, and the continuum that the
    DFT spectra lack is the envelope's. Fitted adsorbates are taken off the target.

    Parameters
    ----------
    observation : of the target
    fit : of any spectrum to it; the best that there is
    """
    energy, mu = threefold_reference()
    grid = observation.grid
    if grid[0] > TOTAL_RANGE[0] or grid[-1] < TOTAL_RANGE[1]:
        raise InputError(f"the pi* share is defined for the carbon K edge, received a surrogate "
                         f"from {grid[0]:g} to {grid[-1]:g} eV: leave it out for other edges")
    reference = observation.apply(np.interp(grid, energy, mu), fit.theta)
    target = observation.target - observation.offset(fit.theta)
    return pi_star_fraction(observation.energy, target, observation.energy, reference,
                            pi_star=pi_star, total=total,
                            reference="mean of three-fold sites of the DFT cells")


def pi_star_if_covered(observation: Observation, fit: Fit) -> PiStarEstimate | None:
    """:func:`pi_star_of_target`, or None where the target does not allow it.

    A target that ends below 300 eV or absorbs nothing there may be met all the same.
    """
    try:
        return pi_star_of_target(observation, fit)
    except InputError:
        return None


def pi_star_per_atom(sites: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Predicted absorption at 285 eV: the per-atom column ``pi_star``.

    Parameters
    ----------
    sites : (n_absorbers, n_grid), model units
    energy : (n_grid,), eV

    Returns
    -------
    (n_absorbers,), model units
    """
    return np.array([np.interp(PI_STAR_ENERGY, energy, site) for site in sites])


def pi_orbitals_per_atom(coordination: Mapping[str, float]) -> float:
    """sp2 + 2 sp: what the classical estimate follows where there are two-fold atoms.

    Parameters
    ----------
    coordination : fractions keyed "0" to "6"
    """
    return float(coordination.get("3", 0.0) + 2.0 * coordination.get("2", 0.0))


def threefold_reference() -> tuple[np.ndarray, np.ndarray]:
    """Mean DFT spectrum of three-fold sites, as shipped: energy (100,), eV; mu (100,), DFT units.

    Made by ``experiments/pi-star/run.py``: within each of the four densities the mean over all
    three-fold sites, then over densities weighed by three-fold sites a cell, so that networks
    count alike whatever the number of their snapshots.
    """
    with files("surrogates").joinpath("data/threefold_reference.csv").open() as lines:
        table = np.loadtxt(lines, delimiter=",", skiprows=1)
    return table[:, 0], table[:, 1]


def _area(energy: np.ndarray, mu: np.ndarray, bounds: tuple[float, float]) -> float:
    inside = energy[(energy > bounds[0]) & (energy < bounds[1])]
    points = np.concatenate([[bounds[0]], inside, [bounds[1]]])
    return float(np.trapezoid(np.interp(points, energy, mu), points))
