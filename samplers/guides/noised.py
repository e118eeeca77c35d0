r"""Guides that see a noised structure itself, not only its denoised estimate.

With m(x_t) and C(x_t) mean and covariance of what a cell shows, given what is left of it in x_t,

    log p(y | x_t) ~ log N(y; A m(x_t), A C(x_t) A^T + the guide's own),

for spectra by a surrogate that was trained on noised structures (:mod:`surrogates.noised`). A mean
over many sites is nearly Gaussian whatever one site is, hence two moments suffice.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from diffxas.structure import Structure
from samplers.guides.base import Guide, Guides
from samplers.guides.spectrum import SpectrumGuide
from surrogates.noised import NoisedSurrogate, noised_for, noised_name


class NoisedGuide(Guide):
    """A guide that also gives the log-likelihood of a noised structure.

    Attributes
    ----------
    sigma_low, sigma_high : noise levels (angstrom) between which :meth:`noised` holds
    """

    sigma_low: float = 0.0
    sigma_high: float = float("inf")

    @abstractmethod
    def noised(self, x_t: Tensor, sigma: float) -> Tensor:
        """log p(y | x_t), scalar; differentiable.

        Parameters
        ----------
        x_t : (n_atoms, 3), angstrom
        sigma : angstrom
        """


class NoisedSpectrumGuide(NoisedGuide):
    """A target spectrum, seen from noised structures.

    Parameters
    ----------
    guide : of the same target; judges clean structures, and holds the scatter of finite cells
    surrogate : taught by the guide's own
    """

    def __init__(self, guide: SpectrumGuide, surrogate: NoisedSurrogate) -> None:
        self.guide, self.surrogate = guide, surrogate
        self.label, self.system = guide.label, guide.system
        self.sigma_low, self.sigma_high = surrogate.sigma_low, surrogate.config.sigma_max

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        """See :class:`samplers.guides.base.Guide`."""
        return self.guide(x_0, sigma)

    def at(self, system: Structure) -> NoisedSpectrumGuide:
        """See :class:`samplers.guides.base.Guide`."""
        return NoisedSpectrumGuide(self.guide.at(system), self.surrogate)

    @property
    def sigma_on(self) -> float:
        """The highest level that the surrogate was trained on."""
        return self.sigma_high

    @property
    def asked(self) -> Mapping[str, Any]:
        """See :class:`samplers.guides.base.Guide`."""
        return self.guide.asked

    def reached(self, structure: Structure) -> Mapping[str, float]:
        """See :class:`samplers.guides.base.Guide`."""
        return self.guide.reached(structure)

    def noised(self, x_t: Tensor, sigma: float) -> Tensor:
        """See :class:`NoisedGuide`."""
        sites = self.surrogate.sites(x_t, sigma, self.system)
        covariance = self.surrogate.mean_covariance(sigma, len(sites))
        if self.guide.calibration is not None:
            covariance = covariance + self.guide.calibration.finite_cell
        return self.guide.likelihood(sites.mean(0), np.asarray(covariance), sigma)


def each(guide: Guide) -> list[Guide]:
    """The terms of a sum of guides, or the guide alone."""
    return list(guide.guides) if isinstance(guide, Guides) else [guide]


def has_noised_form(guide: Guide) -> bool:
    """Whether a guide can see noised structures."""
    return isinstance(guide, SpectrumGuide) and noised_name(guide.surrogate) is not None


def noised_form(guide: Guide) -> Guide:
    """The guide as it sees noised structures; itself where no such form is known for its kind.

    Raises
    ------
    InputError
        If it is a spectrum by a surrogate that no noise-aware one was taught by.
    """
    if isinstance(guide, SpectrumGuide):
        return NoisedSpectrumGuide(guide, noised_for(guide.surrogate))
    return guide


def check_noised(guides: Sequence[Guide]) -> None:
    """Refuse guides that ``--algorithm noise-aware`` cannot follow, before anything is sampled.

    Raises
    ------
    InputError
        As :func:`noised_form`.
    """
    for guide in guides:
        noised_form(guide)
