"""A residual that one peak would explain: something in the sample that the structure has not.

A Gaussian of the position and width that take most of the residual is added to the observation
model, all nuisances are fitted again, and the residuals are compared. An adsorbate, another phase
or a glitch of the beam has this form. A structure that is wrong leaves bands as wide as those of a
network (pi* of amorphous carbon: about 2 eV); such a band is not named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from surrogates.metrics import rms
from surrogates.nuisances import Peak
from surrogates.observation import Fit, MeasuredObservation, Observation

HALVED = 0.5
"""A peak that leaves less than this share of the residual is named."""
SMALL = 0.2
"""A residual below this share of the noise expected is good enough without another peak."""
WIDEST = 0.7
"""eV, standard deviation of a peak; what is wider is a band of the structure."""
STEP = 0.1
"""eV, between the positions tried."""
WIDTHS = (0.2, 0.3, 0.4, 0.55, 0.75)
"""eV, standard deviations tried."""
FULL_WIDTH = 2 * np.sqrt(2 * np.log(2))
NAME = "unexplained"


@dataclass(frozen=True)
class UnexplainedPeak:
    """One peak that would more than halve a residual.

    Attributes
    ----------
    position, full_width : eV, on the target's axis; full width at half maximum
    area : target units times eV
    before, after : residual rms without and with it, target units
    """

    position: float
    full_width: float
    area: float
    before: float
    after: float

    def sentence(self, unit: float = 1.0, remedy: str = "--adsorbates or --exclude") -> str:
        """For the user; ``unit`` brings residuals to the units of the target's file."""
        return (f"one peak at {self.position:.1f} eV of width {self.full_width:.1f} eV would lower "
                f"the residual rms from {unit * self.before:.3g} to {unit * self.after:.3g}: an "
                f"adsorbate or a phase the model does not know? Try {remedy}.")


def unexplained_peak(observation: Observation, fit: Fit,
                     mu_grid: np.ndarray) -> UnexplainedPeak | None:
    """The peak that would more than halve the residual of a fit; None where there is none.

    Parameters
    ----------
    observation : of a measured target; others have no peaks beside the structure
    fit : of ``mu_grid`` to it
    mu_grid : (n_grid,), the cell spectrum, model units
    """
    before = fit.residual_rms
    if not isinstance(observation, MeasuredObservation) or before < SMALL * observation.noise:
        return None
    position, width, area = _candidate(fit.energy, fit.residual)
    if area <= 0:
        return None
    peak = Peak(NAME, (position - fit.theta["shift"], 0.15), (width, 0.15), max(area, 0.5))
    options = replace(observation.options, adsorbates=(*observation.options.adsorbates, peak))
    wider = MeasuredObservation(observation.energy, observation.target, observation.grid,
                                observation.window, observation.noise, observation.exclude, options)
    start = {**fit.theta, f"area_{NAME}": area, f"position_{NAME}": peak.position[0],
             f"width_{NAME}": width}
    better = wider.fit(mu_grid, start=start)
    found = better.theta
    if better.residual_rms >= HALVED * before or found[f"width_{NAME}"] > WIDEST:
        return None
    return UnexplainedPeak(found[f"position_{NAME}"] + found["shift"],
                           float(FULL_WIDTH * found[f"width_{NAME}"]), found[f"area_{NAME}"],
                           before, better.residual_rms)


def _candidate(energy: np.ndarray, residual: np.ndarray) -> tuple[float, float, float]:
    """Position, width and area of the positive Gaussian that takes most of a residual."""
    best, least = (float(energy[0]), WIDTHS[0], 0.0), float(rms(residual))
    for position in np.arange(energy[0], energy[-1], STEP):
        for width in WIDTHS:
            shape = np.exp(-0.5 * ((energy - position) / width) ** 2)
            height = float(shape @ residual) / float(shape @ shape)
            left = float(rms(residual - height * shape))
            if height > 0 and left < least:
                best = (float(position), width, height * width * float(np.sqrt(2 * np.pi)))
                least = left
    return best
