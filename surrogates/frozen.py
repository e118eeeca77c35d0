r"""The frozen-feature surrogate: heads on the site features of a pretrained potential.

The features x of an absorber (:mod:`surrogates.matgl_features`), standardised and softly clipped,

    d = C tanh((x - m) / (s C)),

go through a trunk that all absorbers and theories share, a small perceptron with a bounded end,

    z = Z tanh(MLP(d) / Z),

from which each theory t (FEFF Cu:K, FEFF C:K, DFT C:K, ...) reads its spectrum linearly in the
basis of the principal components of its own training spectra, non-negative by softplus
(:class:`surrogates.model.Readout`). So one model is universal over absorbers, and going on from it
(``start``) tunes it to one of them, or carries it from a cheap theory to a costly one: the protocol
of OmniXAS (arXiv:2409.19552), with derivatives. A theory has a head only if it was trained on.

Instead of the trunk, ``head = "kernel"`` takes kernel ridge regression for each theory, with the
kernel of :mod:`surrogates.kernel` on d, each of its numbers divided by the spread of the training
sites:

    mu_t(E) = softplus_beta(m_t(E) + sum_a k(d, d_a) sum_k alpha_ak P_tk(E)).

Other theories of the absorber of the first are its low fidelities there: their predicted components
are appended to d. With few thousand sites it is the more accurate one.

The potential's weights are not stored: ``config.json`` names its folder and the hash of its weights
(:func:`surrogates.matgl_features.find_features`).
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from diffxas.errors import InputError
from diffxas.structure import Structure
from surrogates.base import Surrogate
from surrogates.kernel import kernel
from surrogates.matgl_features import SiteFeatures, find_features
from surrogates.model import LATENT_BOUND, SOFTPLUS_BETA, Readout, Theory

HEADS = ("dense", "kernel")
KERNEL_TENSORS = ("centre", "scale", "sites", "alpha", "mean", "components")
CLIP = 5.0
"""Standard deviations beyond which a feature says no more than "very far"."""


@dataclass(frozen=True)
class FrozenConfig:
    """Everything needed to rebuild the heads; stored in ``config.json``.

    ``theories[0]`` is predicted by default; ``elements`` are those that the pretrained model knows;
    ``features`` says which model that is (``name``, ``sha256``, ``layers``, ``path``). ``hidden``,
    ``n_latent`` and ``dropout`` are of dense heads. Of kernel heads: ``length`` in units of the
    spread of the training sites, ``ridge`` relative to the kernel's diagonal of 1, ``low_weight``
    of low fidelities against the features, and how many sites of a network (parent) a member draws.
    """

    elements: list[str]
    absorber: str
    edge: str
    theories: list[Theory]
    features: dict[str, Any]
    n_features: int
    n_members: int = 4
    head: str = "dense"
    hidden: list[int] = field(default_factory=lambda: [256, 256])
    n_latent: int = 64
    dropout: float = 0.1
    length: float = 0.5
    ridge: float = 0.01
    low_weight: float = 1.0
    sites_per_network: int = 400

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise InputError(f"head must be one of {', '.join(HEADS)}, received {self.head!r}: "
                             f"correct [model]")
        if self.length <= 0 or self.ridge <= 0:
            raise InputError(f"length and ridge must be above 0, received {self.length:g} and "
                             f"{self.ridge:g}: correct [model]")
        if self.n_members < 1 or self.n_latent < 1 or min(self.hidden, default=1) < 1:
            raise InputError(f"n_members, n_latent and hidden must be at least 1, received "
                             f"{self.n_members}, {self.n_latent}, {self.hidden}: correct [model]")

    def to_dict(self) -> dict[str, Any]:
        """For ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> FrozenConfig:
        """From ``config.json``."""
        return cls(**{**content, "theories": [Theory(**t) for t in content["theories"]]})


class FrozenHeads(nn.Module):
    """One member: features to spectra of every theory."""

    centre: Tensor
    scale: Tensor

    def __init__(self, config: FrozenConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centre", torch.zeros(config.n_features))
        self.register_buffer("scale", torch.ones(config.n_features))
        sizes = [config.n_features, *config.hidden, config.n_latent]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.dropout = nn.Dropout(config.dropout)
        self.readouts = nn.ModuleList(Readout(t, config.n_latent) for t in config.theories)

    def mean_of(self, theory: int) -> Tensor:
        """Mean spectrum of the training sites, (n_grid,)."""
        readout = self.readouts[theory]
        assert isinstance(readout, Readout)
        return readout.mean

    def latent(self, features: Tensor) -> Tensor:
        """z of the absorbers, (n_sites, n_features) -> (n_sites, n_latent)."""
        x = clipped(features, self.centre, self.scale)
        for layer in self.layers[:-1]:
            x = self.dropout(silu(layer(x)))
        z: Tensor = self.layers[-1](x)
        return LATENT_BOUND * torch.tanh(z / LATENT_BOUND)

    def forward(self, features: Tensor, theory: int = 0) -> Tensor:
        """Spectra of the absorbers, (n_sites, n_features) -> (n_sites, n_grid)."""
        spectra: Tensor = self.readouts[theory](self.latent(features))
        assert spectra.shape == (len(features), len(self.config.theories[theory].energy))
        return spectra


class KernelHeads(nn.Module):
    """One member: features to spectra of every theory by kernel ridge regression.

    Tensors, for theory t: ``t_centre`` and ``t_scale`` (n_features,), ``t_sites`` (n_sites,
    n_inputs), ``t_alpha`` (n_sites, n_components), ``t_mean`` (n_grid,), ``t_components``
    (n_components, n_grid).
    """

    def __init__(self, config: FrozenConfig, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        for k in range(len(config.theories)):
            for key in KERNEL_TENSORS:
                self.register_buffer(f"{k}_{key}", tensors[f"{k}_{key}"].float())
        self.low = low_fidelities(config)

    def of(self, theory: int, key: str) -> Tensor:
        """A tensor of a theory."""
        return self.get_buffer(f"{theory}_{key}")

    def mean_of(self, theory: int) -> Tensor:
        """Mean spectrum of the training sites, (n_grid,)."""
        return self.of(theory, "mean")

    def inputs(self, features: Tensor, theory: int) -> Tensor:
        """What the kernel compares, (n_sites, n_inputs), of spread 1 over the training sites."""
        x = clipped(features, self.of(theory, "centre"), self.of(theory, "scale"))
        x = x / math.sqrt(x.shape[1])
        lows = [self.scores(features, low) * (self.config.low_weight / math.sqrt(n))
                for low in (self.low if theory == 0 else ())
                for n in (self.of(low, "alpha").shape[1],)]
        return torch.cat([x, *lows], 1)

    def scores(self, features: Tensor, theory: int) -> Tensor:
        """Predicted components, (n_sites, n_components)."""
        near = kernel(self.inputs(features, theory), self.of(theory, "sites"), self.length(theory))
        return near @ self.of(theory, "alpha")

    def length(self, theory: int) -> Tensor:
        """The kernel's length: low fidelities widen the spread of the inputs."""
        lows = len(self.low) if theory == 0 else 0
        return self.of(theory, "mean").new_tensor(
            self.config.length * math.sqrt(1 + lows * self.config.low_weight**2))

    def forward(self, features: Tensor, theory: int = 0) -> Tensor:
        """Spectra of the absorbers, (n_sites, n_features) -> (n_sites, n_grid)."""
        mu = self.of(theory, "mean") + self.scores(features, theory) @ self.of(theory, "components")
        return softplus(mu, beta=SOFTPLUS_BETA)


Heads = FrozenHeads | KernelHeads


def clipped(features: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Standardised and softly clipped features, the module's d."""
    return CLIP * torch.tanh((features - centre) / (scale * CLIP))


def low_fidelities(config: FrozenConfig) -> list[int]:
    """The other theories of the absorber and edge of the first."""
    first = config.theories[0]
    return [k for k, theory in enumerate(config.theories)
            if k and (theory.absorber, theory.edge) == (first.absorber, first.edge)]


class FrozenSurrogate(Surrogate):
    """An ensemble of heads on one pretrained model; predicts its theory ``theory``."""

    def __init__(self, name: str, record: Mapping[str, Any], members: Sequence[Heads],
                 features: SiteFeatures, theory: int = 0) -> None:
        super().__init__(name, record, theory)
        self.members = members
        self.features = features
        self.config = members[0].config

    @classmethod
    def from_tensors(cls, name: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor],
                     folder: Path, theory: int = 0) -> FrozenSurrogate:
        """From what a model folder holds; the pretrained model is looked for.

        Raises
        ------
        InputError
            If the pretrained model is missing or another.
        """
        config = FrozenConfig.from_dict(record["model"])
        members: list[Heads] = []
        for k in range(config.n_members):
            prefix = f"{k}."
            own = {key.removeprefix(prefix): value
                   for key, value in tensors.items() if key.startswith(prefix)}
            if config.head == "kernel":
                members.append(KernelHeads(config, own).eval())
                continue
            heads = FrozenHeads(config)
            heads.load_state_dict(own)
            members.append(heads.requires_grad_(False).eval())
        return cls(name, record, members, find_features(config.features, folder), theory)

    def to(self, dtype: torch.dtype | None = None,
           device: torch.device | str | None = None) -> FrozenSurrogate:
        """The same surrogate in another precision (float64 for numeric gradients) or place."""
        members = [copy.deepcopy(member).to(device=device, dtype=dtype) for member in self.members]
        copied = FrozenSurrogate(self.name, self.record, members,
                                 self.features.to(dtype=dtype, device=device), self.theory)
        copied.domain = self.domain
        return copied

    def training_mean(self) -> np.ndarray:
        """See :class:`surrogates.base.Surrogate`."""
        means = [member.mean_of(self.theory).cpu() for member in self.members]
        return np.asarray(torch.stack(means).double().mean(0).cpu())

    @property
    def reach(self) -> float:
        """See :class:`surrogates.base.Surrogate`; that of the pretrained model."""
        return self.features.reach

    def spectra(self, positions: Tensor, structure: Structure, cell: Tensor | None = None,
                sites: Tensor | None = None) -> Tensor:
        """See :class:`surrogates.base.Surrogate`."""
        sites = torch.as_tensor(self.absorbers(structure)) if sites is None else sites
        features = self.features(positions, structure, cell)[sites.to(self.features.device)]
        return torch.stack([member(features, self.theory) for member in self.members])

    def domain_score(self, structure: Structure,
                     sites: np.ndarray | None = None) -> np.ndarray | None:
        """As :class:`surrogates.base.Surrogate`; infinite beside elements new to the heads.

        (The pretrained model may know them.)
        """
        score = super().domain_score(structure, sites)
        known = set(self.record.get("training", {}).get("elements", self.elements))
        if score is not None and set(structure.symbols) - known:
            return np.full_like(score, np.inf)
        return score
