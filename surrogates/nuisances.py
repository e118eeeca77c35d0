"""What an experiment adds to a computed spectrum, and how little of it is known beforehand.

For a cell spectrum m on the surrogate's grid x, the measured curve at energy E is modelled as

    y(E) = exp[ ln(scale) + tilt r(E) + curve r(E)^2 ]  ( G L m )(u(E)) + b(E)
    u(E) = anchor + (E - anchor - shift) / stretch

- ``shift``, ``stretch``: the DFT spectra carry no axis, and DFT bands are compressed, so an
  offset alone forces a false fit at sigma*. ``anchor`` is pi* (285.4 eV in graphite).
- L: Lorentzian of half width ``lifetime`` (x - anchor) above the anchor, the photoelectron's
  lifetime. J. E. Müller, O. Jepsen, J. W. Wilkins, Solid State Commun. 42, 365 (1982) take a
  full width of about a tenth of the energy above the edge: ``lifetime`` 0.05.
- G: Gaussian of standard deviation ``resolution``, the beamline and what the DFT lacks of disorder.
- The envelope (``tilt``, ``curve``) makes up for the continuum of ionised states that the DFT
  spectra lack. It is one below the ionisation threshold and bends above it:
  r(E) = softplus(E - threshold) / 10 eV. A tilt over the whole window would trade with the ratio of
  pi* to sigma*, which is what tells sp2 from sp3; this one leaves that ratio alone. Beyond the
  window, where nothing holds it, the envelope keeps its value at the window's end.

- b (``adsorbates``): what absorbs in the sample and is in no structure, C-H and C=O of its
  surface, as Gaussians of non-negative ``area`` in edge steps times eV. Their distance to pi* is
  what is known of them: ``position`` is on the axis that ``shift`` brings to the target's.

For fixed theta, y is linear in m. Each nuisance has a Gaussian prior within hard bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from surrogates.broadening import gaussian_matrix, lorentzian_matrix

CARBON_PI_STAR = 285.4
"""eV, 1s -> pi* of graphite: J. Stöhr, NEXAFS Spectroscopy (Springer, 1992)."""
LIFETIME_FLOOR = 0.02
"""eV, half width of the Lorentzian at and below the anchor; keeps the kernel regular."""
ENVELOPE_UNIT = 10.0
"""eV; ``tilt`` is the logarithmic gain over this distance above the threshold."""
THRESHOLD_SOFTNESS = 1.0
"""eV, over which the envelope sets in."""


@dataclass(frozen=True)
class Nuisance:
    """One unknown of the experiment: a Gaussian prior within bounds."""

    name: str
    unit: str
    mean: float
    width: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Peak:
    """A Gaussian band beside the structure's absorption.

    Attributes
    ----------
    name : in the nuisances ``area_NAME``, ``position_NAME``, ``width_NAME``
    position : eV, mean and standard deviation; bounds are 0.3 about the mean
    width : eV, mean and standard deviation of the Gaussian's own; bounds are 0.2 to 0.8
    area : edge steps times eV, standard deviation of its prior about zero; bounds are 0 to 3
    """

    name: str
    position: tuple[float, float]
    width: tuple[float, float] = (0.4, 0.15)
    area: float = 0.5

    def table(self) -> tuple[Nuisance, ...]:
        """Area, position and width."""
        centre = self.position[0]
        return (Nuisance(f"area_{self.name}", "eV", 0.0, self.area, 0.0, 3.0),
                Nuisance(f"position_{self.name}", "eV", *self.position, centre - 0.3,
                         centre + 0.3),
                Nuisance(f"width_{self.name}", "eV", *self.width, 0.2, 0.8))


ADSORBATES = (Peak("CH", (287.5, 0.15)), Peak("CO", (288.5, 0.15)))
"""C-H sigma* and C=O pi* of a carbon surface: J. Stöhr, as above."""


@dataclass(frozen=True)
class NuisanceOptions:
    """Priors of the observation model; means and widths in the units given.

    Attributes
    ----------
    anchor : eV, fixed point of the stretch, below which lifetime broadening is absent
    threshold : eV above the anchor where the envelope sets in (carbon: 289.4 eV, ionisation)
    axis_offset : eV, known offset of the target's axis against the model's; centre of ``shift``
    shift_width : eV, prior standard deviation of ``shift``
    stretch : mean and standard deviation; bounds are 1.00 to 1.09
    resolution : eV, mean and standard deviation; bounds are 0.05 to 1.0
    lifetime : mean and standard deviation; bounds are 0 to 0.2
    tilt_width, curve_width : prior standard deviations about zero
    scale_width : prior standard deviation of ln(scale)
    level : typical root mean square of a model spectrum in the window, model units; the prior of
        ``scale`` is centred on the target's root mean square over it
    adsorbates : bands of b(E); none by default
    """

    anchor: float = CARBON_PI_STAR
    threshold: float = 4.0
    axis_offset: float = 0.0
    shift_width: float = 0.3
    stretch: tuple[float, float] = (1.04, 0.03)
    resolution: tuple[float, float] = (0.2, 0.2)
    lifetime: tuple[float, float] = (0.05, 0.05)
    tilt_width: float = 0.7
    curve_width: float = 0.4
    scale_width: float = 1.0
    level: float = 0.4
    adsorbates: tuple[Peak, ...] = ()

    def table(self, target_rms: float) -> tuple[Nuisance, ...]:
        """The nuisances in their order; ``target_rms`` is over the window, target units."""
        scale = float(np.log(target_rms / self.level))
        return (
            Nuisance("shift", "eV", self.axis_offset, self.shift_width,
                     self.axis_offset - 3 * self.shift_width,
                     self.axis_offset + 3 * self.shift_width),
            Nuisance("stretch", "", *self.stretch, 1.0, 1.09),
            Nuisance("resolution", "eV", *self.resolution, 0.05, 1.0),
            Nuisance("lifetime", "eV/eV", *self.lifetime, 0.0, 0.2),
            Nuisance("log_scale", "", scale, self.scale_width,
                     scale - 5 * self.scale_width, scale + 5 * self.scale_width),
            Nuisance("tilt", "", 0.0, self.tilt_width,
                     -3 * self.tilt_width, 3 * self.tilt_width),
            Nuisance("curve", "", 0.0, self.curve_width,
                     -3 * self.curve_width, 3 * self.curve_width),
            *(nuisance for peak in self.adsorbates for nuisance in peak.table()),
        )


OF_SPECTRUM = 7
"""Nuisances that act on the cell spectrum; those of the adsorbates follow them."""
_Three = tuple[np.ndarray, np.ndarray, np.ndarray]
_Factors = tuple[_Three, _Three, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class ForwardModel:
    """From a spectrum on the model's grid to the target's points, with derivatives.

    Attributes
    ----------
    energy : (n_points,), eV, the target's points
    grid : (n_grid,), eV, the model's grid
    window : eV; the envelope is held constant outside
    options : constants of the model
    """

    energy: np.ndarray
    grid: np.ndarray
    window: tuple[float, float]
    options: NuisanceOptions

    def ramp(self) -> np.ndarray:
        """r(E), (n_points,)."""
        above = np.minimum(self.energy, self.window[1]) - (self.options.anchor
                                                           + self.options.threshold)
        return THRESHOLD_SOFTNESS * np.logaddexp(0.0, above / THRESHOLD_SOFTNESS) / ENVELOPE_UNIT

    def _lorentzian(self, lifetime: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        above = np.maximum(self.grid - self.options.anchor, 0.0)
        matrix, by_width = lorentzian_matrix(self.grid, LIFETIME_FLOOR + lifetime * above)
        return matrix, by_width, above

    def matrix(self, theta: Mapping[str, float]) -> np.ndarray:
        """A(theta), (n_points, n_grid): the prediction is ``A @ m``."""
        anchor, stretch = self.options.anchor, theta["stretch"]
        u = anchor + (self.energy - anchor - theta["shift"]) / stretch
        gaussian, _, _ = gaussian_matrix(u, self.grid, theta["resolution"] / stretch)
        lorentzian, _, _ = self._lorentzian(theta["lifetime"])
        r = self.ramp()
        gain = np.exp(theta["log_scale"] + theta["tilt"] * r + theta["curve"] * r**2)
        return gain[:, None] * (gaussian @ lorentzian)

    def offset(self, theta: Mapping[str, float]) -> np.ndarray:
        """b(theta), (n_points,): what absorbs beside the structure."""
        bands = [[theta[f"{what}_{peak.name}"] for what in ("area", "position", "width")]
                 for peak in self.options.adsorbates]
        return self._bands(theta["shift"], np.ravel(bands))[0]

    def evaluate(self, values: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and its Jacobian at fixed ``m``.

        Parameters
        ----------
        values : (n_nuisances,), in the order of :meth:`NuisanceOptions.table`
        m : (n_grid,), model units

        Returns
        -------
        prediction (n_points,), Jacobian (n_points, n_nuisances)
        """
        return self._evaluated(values, m, self._factors(values))

    def evaluate_with_matrix(self, values: np.ndarray, m: np.ndarray,
                             ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """:meth:`evaluate`, and A(theta), (n_points, n_grid)."""
        factors = self._factors(values)
        (gaussian, _, _), (lorentzian, _, _), gain, _ = factors
        matrix = gain[:, None] * (gaussian @ lorentzian)
        return (*self._evaluated(values, m, factors), matrix)

    def _factors(self, values: np.ndarray) -> _Factors:
        """Gaussian and Lorentzian matrices with derivatives, gain and ramp."""
        shift, stretch, resolution, lifetime, log_scale, tilt, curve = values[:OF_SPECTRUM]
        u = self.options.anchor + (self.energy - self.options.anchor - shift) / stretch
        r = self.ramp()
        return (gaussian_matrix(u, self.grid, resolution / stretch), self._lorentzian(lifetime),
                np.exp(log_scale + tilt * r + curve * r**2), r)

    def _evaluated(self, values: np.ndarray, m: np.ndarray,
                   factors: _Factors) -> tuple[np.ndarray, np.ndarray]:
        shift, stretch, resolution = values[:3]
        (gaussian, by_u, by_sigma), (lorentzian, by_gamma, above), gain, r = factors
        distance = self.energy - self.options.anchor - shift
        broad = lorentzian @ m
        slope, sharp = gain * (by_u @ broad), gain * (by_sigma @ broad)
        prediction = gain * (gaussian @ broad)
        bands, by_shift, by_bands = self._bands(shift, values[OF_SPECTRUM:])
        jacobian = np.stack([
            -slope / stretch + by_shift,
            -(slope * distance + sharp * resolution) / stretch**2,
            sharp / stretch,
            gain * (gaussian @ ((by_gamma @ m) * above)),
            prediction, prediction * r, prediction * r**2,
            *by_bands,
        ], axis=1)
        return prediction + bands, jacobian

    def _bands(self, shift: float, values: np.ndarray,
               ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """b, its derivative by the shift, and by area, position and width of each band."""
        total, by_shift = np.zeros(len(self.energy)), np.zeros(len(self.energy))
        columns: list[np.ndarray] = []
        for area, position, width in values.reshape(-1, 3):
            z = (self.energy - shift - position) / width
            shape = np.exp(-0.5 * z**2) / (width * np.sqrt(2 * np.pi))
            by_position = area * shape * z / width
            columns += [shape, by_position, area * shape * (z**2 - 1) / width]
            total += area * shape
            by_shift += by_position
        return total, by_shift, columns
