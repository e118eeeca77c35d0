r"""Denoisers with part of the answer known: atoms that are fixed, regions that are closed.

An atom at a known place a has p(x_0) = delta(x_0 - a), so that its denoised estimate is a at every
noise level:

    D_held(x; sigma)_i = a_i  for atoms that are held,  D(x; sigma)_i  for the others.

A walk that begins at a_i + sigma_max z then keeps held atoms at a_i + sigma z with fresh noise
mixed in at every step, and ends at a_i; the others see neighbours that are noised as in training.
That is inpainting by replacement. It neglects that x_t of the others should know a itself and not
only its noised place; walking up and down between noise levels again and again, which the walk does
everywhere, makes up for most of it (A. Lugmayr and others, RePaint: inpainting using denoising
diffusion probabilistic models, arXiv:2201.09865 (2022), sections 4.1 and 4.2). On correlated
Gaussians 85 % of the pull of a held atom arrives in 64 steps, 44 % without the way up (tested).

Of the others none may be in a closed region. Given x_t, an atom is taken to be at D with a Gaussian
uncertainty of width

    s(sigma)^2 = sigma^2 - c_out(sigma)^2 = sigma^4 / (sigma^2 + SIGMA_BOND^2)

a coordinate: of the noise, c_out is what the prior can know (:mod:`diffxas.denoiser`). Outside of
the region its mean is that of the truncated Gaussian (:mod:`samplers.open_space`), D_cleared. Mere
projection to the surface, the limit s -> 0, would deposit there all that strays into the region at
high noise: a layer of twice the density. Both wrap a denoiser and are the outermost ones, since
guidance and tempering move the estimate once more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffxas.denoiser import SIGMA_BOND, Denoiser
from samplers.open_space import OpenSpace


@dataclass(frozen=True, eq=False)
class HeldDenoiser:
    """D_held of the module's docstring: a :class:`diffxas.denoiser.Denoiser`.

    Parameters
    ----------
    denoiser : of all atoms
    held : (n_held,) int64, indices of the atoms that are known
    places : (n_held, 3), angstrom, where they are
    """

    denoiser: Denoiser
    held: np.ndarray
    places: np.ndarray

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        """See :class:`diffxas.denoiser.Denoiser`."""
        x_0 = self.denoiser(x_t, sigma).clone()
        x_0[torch.as_tensor(self.held)] = torch.as_tensor(self.places).to(x_0)
        return x_0


@dataclass(frozen=True, eq=False)
class ClearedDenoiser:
    """D_cleared of the module's docstring: a :class:`diffxas.denoiser.Denoiser`.

    It is not differentiable.

    Parameters
    ----------
    denoiser : of all atoms
    space : what is open
    others : (n_others,) int64, indices of the atoms that keep to it
    """

    denoiser: Denoiser
    space: OpenSpace
    others: np.ndarray

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        """See :class:`diffxas.denoiser.Denoiser`."""
        x_0 = self.denoiser(x_t, sigma).detach().clone()
        chosen = torch.as_tensor(self.others)
        width = sigma**2 / (sigma**2 + SIGMA_BOND**2) ** 0.5
        kept = self.space.expected(x_0[chosen].double().cpu().numpy(), width)
        x_0[chosen] = torch.as_tensor(kept).to(x_0)
        return x_0
