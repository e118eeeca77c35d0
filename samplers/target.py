"""The target of a run: a spectrum with its observation model, in the units of its own file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from diffxas.spectrum import Spectrum
from surrogates.base import Surrogate
from surrogates.observation import Fit, Observation
from surrogates.protocol import check_target
from surrogates.reference import Reference
from surrogates.targets import check_measured_carbon, choose_kind, observation_for


@dataclass(frozen=True, eq=False)
class Target:
    """What is to be met.

    Attributes
    ----------
    spectrum : as read
    observation : model of the measurement; measured targets are normalised to an edge step of one
    kind, reason : ``computed`` or ``measured``, and one sentence why
    unit_step, pre_line : a curve of the observation times ``unit_step`` plus ``pre_line``
        (n_points,) is in the units of the target's file
    reference : measured in the same beamtime, if one was given
    """

    spectrum: Spectrum
    observation: Observation
    kind: str
    reason: str
    unit_step: float
    pre_line: np.ndarray
    reference: Reference | None = None

    @classmethod
    def of(cls, spectrum: Spectrum, surrogate: Surrogate, target_kind: str = "auto",
           window: tuple[float, float] | None = None,
           exclude: tuple[tuple[float, float], ...] = (), adsorbates: bool = False,
           reference: Reference | None = None) -> Target:
        """Check the target against the surrogate and choose its observation model.

        Raises
        ------
        InputError
            On another edge, a window or excluded ranges that miss data or edge, adsorbates or a
            reference where they cannot be, or a curve without an edge.
        """
        check_target(spectrum, surrogate)
        kind, _ = choose_kind(spectrum, surrogate.energy, target_kind)
        check_measured_carbon(spectrum, kind, adsorbates, reference is not None)
        unit_step, pre_line, normalisation = 1.0, np.zeros(len(spectrum)), None
        if kind == "measured":
            from diffxas.normalise import normalise

            normalisation = normalise(spectrum)
            unit_step, pre_line = float(normalisation.edge_step), normalisation.pre_line
        observation, reason = observation_for(
            spectrum, surrogate.energy, target_kind=target_kind, window=window,
            normalisation=normalisation, exclude=exclude, adsorbates=adsorbates,
            reference=reference)
        return cls(spectrum, observation, kind, reason, unit_step, np.asarray(pre_line), reference)

    @property
    def hash(self) -> str:
        """SHA-256 of energies and absorption."""
        digest = hashlib.sha256(np.ascontiguousarray(self.spectrum.energy).tobytes())
        digest.update(np.ascontiguousarray(self.spectrum.mu).tobytes())
        return digest.hexdigest()

    @property
    def window(self) -> tuple[float, float]:
        """Energies that count, eV."""
        return self.observation.window

    @property
    def spread(self) -> float:
        """Standard deviation of the target over the window, target units."""
        return float(self.spectrum.mu[self.observation.mask].std())

    def curve(self, fit: Fit) -> np.ndarray:
        """A fitted cell spectrum on the target's points and in its units, (n_points,)."""
        return self.pre_line + self.unit_step * fit.full_prediction

    def residual(self, fit: Fit) -> float:
        """Rms over the window after the nuisances, target units."""
        return fit.residual_rms * self.unit_step

    def share(self, mu: np.ndarray, fit: Fit) -> np.ndarray:
        """A part of a cell's spectrum (n_grid,) above the pre-edge line, target units."""
        return self.unit_step * self.observation.apply(mu, fit.theta)

    def beside(self, fit: Fit) -> np.ndarray:
        """What absorbs beside the structure, target units, (n_points,); zero without adsorbates."""
        return self.unit_step * self.observation.offset(fit.theta)
