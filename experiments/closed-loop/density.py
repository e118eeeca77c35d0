"""Density unknown: what the evidence over a bank of unguided samples says of it.

Every truth's target, the density even over the range of the prior; no sample is drawn
(:mod:`samplers.evidence`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jobs import HOME, SPECTRUM, Keep, claimed, key_of
from torch import Tensor
from tqdm import tqdm
from truths import Truth, guide, model, model_folder, target, truths

from diffxas.files import write_json
from diffxas.prior import find_prior
from diffxas.structure import Structure
from samplers.evidence import DensityPrior, density_posterior
from samplers.guides.spectrum import SpectrumGuide
from samplers.prior_samples import read_bank
from samplers.target import Target

RANGE = (1.2, 3.6)
"""g/cm3: that of the training networks; truths lie from 1.33 to 3.43."""
SOURCES = (*SPECTRUM, "samplers/guides/base.py", "samplers/evidence.py")
WITHIN = 0.2


class Remembering(SpectrumGuide):
    """A guide that knows again what it saw of a bank, which all truths share."""

    seen: ClassVar[dict[tuple[str, bytes], Tensor]] = {}

    def at(self, system: Structure) -> Remembering:
        """See :class:`samplers.guides.base.Guide`."""
        return Remembering(self.surrogate, self.target, system, self.label, self.temperature)

    def sites(self, x: Tensor) -> Tensor:
        """See :class:`samplers.guides.base.ObservedGuide`."""
        key = (self.surrogate.name, np.asarray(x).tobytes() + self.system.cell.tobytes())
        if key not in self.seen:
            self.seen[key] = super().sites(x)
        return self.seen[key]


def density_lines(make: bool = False) -> list[dict[str, Any]]:
    """A line a truth; without ``make`` of those that were computed before."""
    lines = []
    for truth in tqdm(truths(), desc="density", disable=not make):
        path = _path(truth)
        if not path.is_file() and make:
            with claimed(path.stem) as mine:
                if mine:
                    write_json(path, posterior(truth))
        others = sorted(path.parent.glob(f"density-{truth.name}-*.json"),
                        key=lambda one: one.stat().st_mtime) if Keep.earlier else []
        path = path if path.is_file() or not others else others[-1]
        if path.is_file():
            lines.append(_line(truth, json.loads(path.read_text(encoding="utf-8"))))
    return lines


def _path(truth: Truth) -> Path:
    key = key_of(SOURCES, [find_prior(truth.prior), model_folder(truth.surrogate)], RANGE,
                 target(truth).mu.tobytes())
    return HOME / "density" / f"density-{truth.name}-{key}.json"


def posterior(truth: Truth) -> dict[str, Any]:
    """Mean and intervals of the density, g/cm3."""
    bank = read_bank(find_prior(truth.prior))
    asked = Remembering(guide(truth.surrogate), Target.of(target(truth), model(truth.surrogate)),
                          bank[0])
    return density_posterior([asked], bank, DensityPrior(*RANGE)).numbers()


def _line(truth: Truth, found: dict[str, Any]) -> dict[str, Any]:
    error = found["mean"] - truth.density
    inside = {share: bool(found[key][0] <= truth.density <= found[key][1])
              for share, key in (("50 %", "interval50"), ("90 %", "interval90"))}
    return {"truth": truth.name, "kind": truth.kind, "g/cm3": f"{truth.density:.2f}",
            "mean": f"{found['mean']:.2f}", "error": f"{error:+.2f}",
            "within 0.2": bool(abs(error) <= WITHIN),
            "90 %": " to ".join(f"{x:.2f}" for x in found["interval90"]),
            "50 % covers": inside["50 %"], "90 % covers": inside["90 %"]}
