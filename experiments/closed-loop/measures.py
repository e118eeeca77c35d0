"""What is measured of a sample, against its truth: one row a sample, kept by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jobs import HOME, Job, Outcome, claimed, meaning
from tqdm import tqdm
from truths import Truth, by_guide, by_judge, folders_of, residual, target

from diffxas.files import write_json
from diffxas.networks import CURVES, Profile, difference
from diffxas.structure import Structure
from diffxas.weights import weights_hash
from experiments.common import relaxed

Row = Mapping[str, Any]
SOURCE = meaning(Path(__file__))
"""As it was when this process began."""


@dataclass(frozen=True, eq=False)
class Case:
    """Samples of a truth by a method."""

    truth: Truth
    method: str
    job: Job

    @property
    def path(self) -> Path:
        """Where its rows lie."""
        digest = hashlib.sha256(SOURCE.encode())
        digest.update(self.job.folder.name.encode() + target(self.truth).mu.tobytes())
        for folder in folders_of(self.truth):
            digest.update(weights_hash(folder).encode())
        name = self.job.name.replace("/", "-")
        return HOME / "rows" / f"{name}-for-{self.truth.name}-{digest.hexdigest()[:10]}.json"

    @property
    def measured(self) -> bool:
        """Whether the rows are there."""
        return self.path.is_file()

    def rows(self) -> list[Row]:
        """A row a sample; measured where they are not kept."""
        path = self.path
        if not path.is_file():
            write_json(path, [row_of(self.truth, self.method, k, one)
                              for k, one in enumerate(self.job.outcomes())])
        found: list[Row] = json.loads(path.read_text(encoding="utf-8"))
        return found


def measure_all(cases: Sequence[Case], what: str) -> None:
    """Measure what is done and not measured; cases of another process are left to it."""
    bar = tqdm([one for one in cases if one.job.done and not one.measured],
               desc=f"{what}, measuring", unit="job")
    for case in bar:
        bar.set_postfix_str(case.path.stem)
        with claimed(case.path.stem) as mine:
            if mine and not case.measured:
                case.rows()


def row_of(truth: Truth, method: str, number: int, one: Outcome) -> dict[str, Any]:
    """Numbers of one sample, as sampled and relaxed."""
    return {"truth": truth.name, "method": method, "sample": number, "atoms": len(one.sampled),
            "sampled": state(truth, one.sampled, False), "relaxed": state(truth, one.relaxed, True),
            "energy": one.energy, "energy_sampled": one.energy_sampled, "seconds": one.seconds,
            "calls": one.calls}


def state(truth: Truth, structure: Structure, is_relaxed: bool) -> dict[str, Any]:
    """Residuals (DFT units), shares, and distances to the truth in the same state."""
    profile = Profile.of(structure)
    reference = profile_of(truth, is_relaxed)
    return {"guide": residual(by_guide(truth, structure), truth),
            "judge": residual(by_judge(truth, structure), truth),
            "sp": profile.shares["2"], "sp2": profile.shares["3"], "sp3": profile.shares["4"],
            **{curve: difference(profile, reference, curve) for curve in CURVES}}


@lru_cache
def profile_of(truth: Truth, is_relaxed: bool) -> Profile:
    """Of the truth as it is, or of REBO's nearest minimum."""
    return Profile.of(relaxed(truth.structure).structure if is_relaxed else truth.structure)


@lru_cache
def truth_row(truth: Truth) -> dict[str, Any]:
    """The same numbers of the truth itself."""
    found = relaxed(truth.structure)
    return {"truth": truth.name, "sampled": state(truth, truth.structure, False),
            "relaxed": state(truth, found.structure, True), "energy": found.energy_after}
