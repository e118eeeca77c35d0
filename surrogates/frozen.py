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

The potential's weights are not stored: ``config.json`` names its folder and the hash of its weights
(:func:`surrogates.matgl_features.find_features`).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from diffxas.errors import InputError
from diffxas.structure import Structure
from surrogates.base import Surrogate
from surrogates.matgl_features import SiteFeatures, find_features
from surrogates.model import LATENT_BOUND, Readout, Theory

CLIP = 5.0
"""Standard deviations beyond which a feature says no more than "very far"."""


@dataclass(frozen=True)
class FrozenConfig:
    """Everything needed to rebuild the heads; stored in ``config.json``.

    ``theories[0]`` is predicted by default; ``elements`` are those that the pretrained model knows;
    ``features`` says which model that is (``name``, ``sha256``, ``layers``, ``path``).
    """

    elements: list[str]
    absorber: str
    edge: str
    theories: list[Theory]
    features: dict[str, Any]
    n_features: int
    n_members: int = 4
    hidden: list[int] = field(default_factory=lambda: [256, 256])
    n_latent: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
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

    def latent(self, features: Tensor) -> Tensor:
        """z of the absorbers, (n_sites, n_features) -> (n_sites, n_latent)."""
        x = CLIP * torch.tanh((features - self.centre) / (self.scale * CLIP))
        for layer in self.layers[:-1]:
            x = self.dropout(silu(layer(x)))
        z: Tensor = self.layers[-1](x)
        return LATENT_BOUND * torch.tanh(z / LATENT_BOUND)

    def forward(self, features: Tensor, theory: int = 0) -> Tensor:
        """Spectra of the absorbers, (n_sites, n_features) -> (n_sites, n_grid)."""
        spectra: Tensor = self.readouts[theory](self.latent(features))
        assert spectra.shape == (len(features), len(self.config.theories[theory].energy))
        return spectra


class FrozenSurrogate(Surrogate):
    """An ensemble of heads on one pretrained model; predicts its theory ``theory``."""

    def __init__(self, name: str, record: Mapping[str, Any], members: Sequence[FrozenHeads],
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
        members = []
        for k in range(config.n_members):
            heads, prefix = FrozenHeads(config), f"{k}."
            heads.load_state_dict({key.removeprefix(prefix): value
                                   for key, value in tensors.items() if key.startswith(prefix)})
            heads.requires_grad_(False)
            members.append(heads.eval())
        return cls(name, record, members, find_features(config.features, folder), theory)

    def to(self, dtype: torch.dtype | None = None,
           device: torch.device | str | None = None) -> FrozenSurrogate:
        """The same surrogate in another precision (float64 for numeric gradients) or place."""
        members = [copy.deepcopy(member).to(device=device, dtype=dtype) for member in self.members]
        return FrozenSurrogate(self.name, self.record, members,
                               self.features.to(dtype=dtype, device=device), self.theory)

    def spectra(self, positions: Tensor, structure: Structure,
                cell: Tensor | None = None) -> Tensor:
        """See :class:`surrogates.base.Surrogate`."""
        sites = torch.as_tensor(self.absorbers(structure), device=self.features.device)
        features = self.features(positions, structure, cell)[sites]
        return torch.stack([member(features, self.theory) for member in self.members])
