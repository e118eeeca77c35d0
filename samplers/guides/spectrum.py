r"""A target spectrum as a guide.

With m the cell's spectrum by the surrogate and A(theta) what stands between it and the data
(:mod:`surrogates.observation`), the likelihood of the target y is Gaussian,

    y = A(theta) m + e,   e ~ N(0, (N_REFERENCE / N) (C_data + A C_surrogate A^T)
                                   + A (S / N + C_sigma) A^T),

with the last two from :mod:`samplers.calibration`. C_surrogate is what the surrogate errs by on the
mean spectra of cells left out of its training (:func:`surrogates.calibration.mean_covariance`),
wider where its members disagree about the estimate at hand. C_data is the noise of the measurement,
and for measured targets what is left between theory and experiment under the best structures. Both
are correlated along the energy. The guide's weight follows. ``temperature`` divides the
log-likelihood and is a knob: at 1 the walk would draw from the posterior if it had time. It lags
behind, since bonds must change. With 64 calls and 216 atoms the judge's residual on DFT cells of
2.0 and 3.0 g/cm3 is 1.5 and 1.9 of its own on the truth at a temperature of 0.3, 1.2 and 1.5 to
1.9 at 0.1; two samples each, by dps (experiments/guided).

Nuisances theta of a measured target are fitted anew at every call, starting from the last ones; the
gradient needs no pass through that fit (envelope theorem). The covariance takes A at the nuisances
of the call before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffxas.structure import Structure
from samplers.guides.base import N_REFERENCE, ObservedGuide
from samplers.target import Target
from samplers.temperature import TEMPERATURE
from surrogates.base import Surrogate
from surrogates.calibration import mean_covariance
from surrogates.observation import Fit
from surrogates.pieces import spectra_by_pieces

if TYPE_CHECKING:
    from samplers.setup import GenerateOptions


class SpectrumGuide(ObservedGuide):
    """Log-likelihood of a target spectrum.

    Parameters
    ----------
    surrogate : that guides
    target : what is to be met
    system : species and cell
    label : as the user wrote it
    temperature : divides the log-likelihood

    Attributes
    ----------
    trace : (sigma, residual rms over the window) of every call with a gradient, target's file units
    theta : nuisances of the last call
    """

    def __init__(self, surrogate: Surrogate, target: Target, system: Structure,
                 label: str = "xanes", temperature: float = TEMPERATURE) -> None:
        self.surrogate, self.target, self.system = surrogate, target, system
        self.label, self.temperature = label, temperature
        self.trace: list[tuple[float, float]] = []
        self.theta: dict[str, float] = {}
        self._doubt = 0.0

    def state(self) -> dict[str, Any]:
        """See :class:`samplers.guides.base.Guide`."""
        return {"theta": self.theta, "doubt": self._doubt, "trace": self.trace}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See :class:`samplers.guides.base.Guide`."""
        self.theta, self._doubt = dict(state["theta"]), float(state["doubt"])
        self.trace = [(float(a), float(b)) for a, b in state["trace"]]

    def at(self, system: Structure) -> SpectrumGuide:
        """See :class:`samplers.guides.base.Guide`."""
        return SpectrumGuide(self.surrogate, self.target, system, self.label, self.temperature)

    @property
    def degrees(self) -> int:
        """Points in the window."""
        return int(self.target.observation.mask.sum())

    def untempered(self) -> SpectrumGuide:
        """At a temperature of 1."""
        return SpectrumGuide(self.surrogate, self.target, self.system, self.label, 1.0)

    @property
    def asked(self) -> Mapping[str, Any]:
        """The target's file."""
        return {"residual": 0.0,
                "target": str(self.target.spectrum.meta.get("path", "target"))}

    def sites(self, x: Tensor) -> Tensor:
        """Spectra of the absorbers, mean over the members, (n_absorbers, n_grid)."""
        members = spectra_by_pieces(self.surrogate, x, self.system)
        self._doubt = doubt(members.mean(1))
        return members.mean(0)

    def likelihood(self, values: Tensor, covariance: np.ndarray, sigma: float) -> Tensor:
        """See :class:`samplers.guides.base.ObservedGuide`."""
        fit = self.fit(values.detach().double().cpu().numpy(), covariance)
        if values.requires_grad:
            self.trace.append((sigma, self.target.residual(fit)))
        gradient = torch.as_tensor(fit.gradient(), dtype=values.dtype, device=values.device)
        # The value is the log-likelihood, the gradient that of the profiled one.
        value = fit.log_likelihood + fit.log_prior + (
            (values - values.detach()) * gradient).sum()
        return value / self.temperature

    def fit(self, mean: np.ndarray, covariance: np.ndarray) -> Fit:
        """The target fitted by a cell's spectrum (n_grid,) under S / N + C_sigma."""
        observation = self.target.observation
        own = mean_covariance(self.surrogate, self._doubt)
        share = N_REFERENCE / len(self.system)
        if not self.theta and observation.kind == "measured":
            self.theta = dict(observation.fit(mean).theta)
        fit = observation.fit(mean, start=self.theta or None,
                              covariance=observation.covariance(share * own + covariance,
                                                                self.theta, share))
        self.theta = dict(fit.theta)
        return fit

    def reached(self, structure: Structure) -> Mapping[str, float]:
        """Residual (file units) and log-likelihood of a structure."""
        with torch.no_grad():
            values = self.sites(torch.tensor(structure.positions)).mean(0)
        fit = self.target.observation.fit(values.double().cpu().numpy())
        return {"residual": self.target.residual(fit),
                **super().reached(structure)}


def doubt(members: Tensor) -> float:
    """Rms over energies of the spread of the members' cell spectra, (n_members, n_grid)."""
    if len(members) < 2:
        return 0.0
    return float(members.detach().std(0).square().mean().sqrt())


def from_text(rest: str, system: Structure, options: GenerateOptions) -> SpectrumGuide:
    """``FILE[@EDGE[@SURROGATE]]``: a target beside TARGET, such as a second edge.

    Raises
    ------
    InputError
        If the file, the edge or the surrogate cannot be used.
    """
    from diffxas.command_line import read_target
    from diffxas.spectrum import parse_edge
    from samplers.known_models import surrogate_of_target
    from surrogates.commands import edge_of
    from surrogates.loading import load_surrogate

    name, _, more = rest.partition("@")
    edge, _, chosen = more.partition("@")
    spectrum = read_target(Path(name), None, edge or None)
    wanted = ":".join(parse_edge(edge)) if edge else None
    surrogate = load_surrogate(chosen or surrogate_of_target(wanted or edge_of(spectrum)),
                               options.device, wanted)
    surrogate.absorbers(system)
    return SpectrumGuide(surrogate.guiding(), Target.of(spectrum, surrogate), system,
                         f"xanes:{rest}", options.guide_temperature)
