"""Site features of labelled atoms, computed once and kept in a file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffxas.errors import InputError
from diffxas.files import replacing
from surrogates.datasets import SiteSpectra
from surrogates.matgl_features import SiteFeatures

SAVE_EVERY = 120.0
"""Seconds between writes, so that a stopped run goes on."""


class FeatureTable:
    """Features of labelled sites, found again by structure, sites and model."""

    def __init__(self, model: SiteFeatures, path: Path | None = None) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        self.model, self.path = model, path
        self.known: dict[str, Tensor] = {}
        if path is not None and path.is_file():
            try:
                self.known = load_file(path)
            except SafetensorError as error:
                raise InputError(f"{path} must be a safetensors file of features, received a "
                                 f"damaged one ({error}): remove it") from error

    def fill(self, items: Sequence[SiteSpectra]) -> None:
        """Compute what is not known yet; written now and then, so a stopped run goes on."""
        from tqdm import tqdm

        groups: dict[int, list[SiteSpectra]] = {}
        for item in items:
            if self.key(item) not in self.known:
                groups.setdefault(id(item.structure), []).append(item)
        written = time.monotonic()
        for group in tqdm(groups.values(), desc=f"features of {self.model.name}", mininterval=5.0,
                          disable=not groups):
            structure = group[0].structure
            with torch.no_grad():
                every = self.model(torch.tensor(structure.positions), structure)
            for item in group:
                self.known[self.key(item)] = every[torch.as_tensor(item.sites)].float().cpu()
            if time.monotonic() - written > SAVE_EVERY:
                self.save()
                written = time.monotonic()
        if groups:
            self.save()

    def save(self) -> None:
        """Write all of them, if there is a path."""
        from safetensors.torch import save_file

        if self.path is not None:
            with replacing(self.path) as temporary:
                save_file({k: v.contiguous() for k, v in self.known.items()}, temporary)

    def of(self, item: SiteSpectra) -> Tensor:
        """Features of an item's sites, (n_sites, n_features) float32."""
        if self.key(item) not in self.known:
            self.fill([item])
        return self.known[self.key(item)]

    def key(self, item: SiteSpectra) -> str:
        """Hash of model, structure and sites."""
        one = item.structure
        digest = hashlib.sha256(f"{self.model.sha256} {self.model.layers}".encode())
        for array in (one.positions, one.numbers, one.cell, one.pbc, item.sites):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:32]
