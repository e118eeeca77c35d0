r"""What pulls a walk: any structure -> log-likelihood.

A guide looks at a structure (or at its denoised estimate at a noise level) and says how likely what
was asked is, given it. Guides add, since what they ask of one structure are independent data:
log p(y_1, y_2 | x) = log p(y_1 | x) + log p(y_2 | x).

Most of what can be asked is a mean over atoms: a cell's spectrum, shares of coordination numbers,
g(r). Such a guide is an :class:`ObservedGuide`: it gives the contribution of every site, and the
likelihood of their mean under a covariance of what the estimate does not know
(:mod:`samplers.calibration`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffxas.structure import Structure

if TYPE_CHECKING:
    from samplers.calibration import Calibration

N_REFERENCE = 216
"""Atoms at which the systematic part of a likelihood counts once (:mod:`samplers.calibration`)."""


class Guide(ABC):
    """A log-likelihood of structures of one system.

    Attributes
    ----------
    label : as the user wrote it, such as ``coordination:4=0.37``
    system : species and cell of the structures; positions are not read
    differentiable : whether :meth:`__call__` has a gradient in the positions
    """

    label: str
    system: Structure
    differentiable: bool = True

    @abstractmethod
    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        """Log-likelihood, scalar.

        Parameters
        ----------
        x_0 : (n_atoms, 3), angstrom, denoised estimate at noise level ``sigma``
        sigma : angstrom; 0 for a structure itself
        """

    @abstractmethod
    def at(self, system: Structure) -> Guide:
        """The same request for a system of another cell or number of atoms, uncalibrated."""

    @property
    def sigma_on(self) -> float:
        """Noise level (angstrom) above which the guide is silent."""
        return float("inf")

    @property
    def asked(self) -> Mapping[str, Any]:
        """What is asked: name -> value, for ``summary.json``."""
        return {}

    def reached(self, structure: Structure) -> Mapping[str, float]:
        """What a structure has of what is asked, under the same names as far as they are scalar.

        Always holds ``log_likelihood``, unless it is overridden.
        """
        with torch.no_grad():
            value = self(torch.tensor(structure.positions), 0.0)
        return {"log_likelihood": float(value)}

    def distance(self, structure: Structure) -> float:
        """How far a structure is from what is asked, in standard deviations; 0 within it."""
        return float(np.sqrt(max(0.0, -2.0 * self.reached(structure)["log_likelihood"])))


    def state(self) -> dict[str, Any]:
        """What a walk leaves in the guide from call to call; plain JSON."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state` said."""
        assert not state, "a guide that keeps something puts it back"


class ObservedGuide(Guide):
    """A guide by means over sites.

    Attributes
    ----------
    calibration : of denoised estimates, None until :meth:`calibrated`; without it an estimate is
        taken for the structure
    """

    calibration: Calibration | None = None

    @abstractmethod
    def sites(self, x: Tensor) -> Tensor:
        """Contributions of the sites to what is observed, (n_sites, n_values); differentiable.

        One row where the observed is no mean over sites. Their mean is the observed.
        """

    def estimated_sites(self, x_0: Tensor, sigma: float) -> Tensor:
        """What :meth:`sites` of the structure behind a denoised estimate may be expected to be.

        By default those of the estimate itself; the calibration adds what is left.
        """
        return self.sites(x_0)

    @abstractmethod
    def likelihood(self, values: Tensor, covariance: np.ndarray, sigma: float) -> Tensor:
        """Log-likelihood of what is asked given observed values, scalar; differentiable.

        Parameters
        ----------
        values : (n_values,), the mean over sites, corrected for the bias of estimates
        covariance : (n_values, n_values), of what the structure behind the estimate may have
            instead, to be added to the guide's own
        sigma : angstrom, of the estimate
        """

    @abstractmethod
    def at(self, system: Structure) -> ObservedGuide:
        """See :class:`Guide`."""

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        """See :class:`Guide`."""
        values = self.estimated_sites(x_0, sigma).mean(0)
        if self.calibration is None:
            n = len(values)
            return self.likelihood(values, np.zeros((n, n)), sigma)
        bias = torch.as_tensor(self.calibration.bias_at(sigma), dtype=values.dtype,
                               device=values.device)
        return self.likelihood(values + bias, self.calibration.covariance_at(sigma), sigma)

    @property
    def degrees(self) -> int:
        """Independent numbers that are asked, at most: by which a misfit is judged."""
        return 1

    def untempered(self) -> ObservedGuide:
        """The guide with its likelihood as it is, for evidence; itself if it has no knob."""
        return self

    @property
    def sigma_on(self) -> float:
        """Where the error of estimates reaches the spread of unguided samples."""
        return float("inf") if self.calibration is None else self.calibration.sigma_on


class Guides(Guide):
    """The sum of guides of one system; each is silent above its own level."""

    def __init__(self, guides: Sequence[Guide]) -> None:
        assert guides, "a sum of guides needs one"
        self.guides = tuple(guides)
        self.system = guides[0].system
        self.label = " + ".join(guide.label for guide in guides)
        self.differentiable = all(guide.differentiable for guide in guides)

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        """See :class:`Guide`."""
        awake = [guide(x_0, sigma) for guide in self.guides if sigma <= guide.sigma_on]
        if not awake:
            return x_0.sum() * 0.0
        return torch.stack([value.to(x_0.dtype).reshape(()) for value in awake]).sum()

    def at(self, system: Structure) -> Guides:
        """See :class:`Guide`."""
        return Guides([guide.at(system) for guide in self.guides])

    @property
    def sigma_on(self) -> float:
        """The highest of the guides'."""
        return max(guide.sigma_on for guide in self.guides)

    def reached(self, structure: Structure) -> Mapping[str, float]:
        """Of every guide, under its label; and the sum of the log-likelihoods."""
        found = {guide.label: guide.reached(structure) for guide in self.guides}
        flat = {f"{label}/{key}": value for label, row in found.items()
                for key, value in row.items()}
        return {**flat, "log_likelihood": sum(r["log_likelihood"] for r in found.values())}
