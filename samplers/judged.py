"""Samples as judged: their spectra, their fit to the target, and which structure is the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.analysis import (
    COORDINATION_KEYS,
    bonding,
    coordination,
    coordination_shares,
    minimum_distance,
)
from diffxas.structure import Structure
from samplers.setup import Sample, Setup
from surrogates.metrics import rms
from surrogates.pi_star import pi_star_per_atom

if TYPE_CHECKING:
    from surrogates.base import Surrogate
    from surrogates.observation import Fit

MOST_SITES = 20_000
"""Absorbers whose spectra are predicted; of more, so many are drawn at random. Their mean errs by
the spread of the sites over the root of their number, under 1 % of it."""
UNDONE = 1.5
"""A relaxation that raises the residual by more than this factor has undone the fit."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A structure with its spectra: what the tables and the report need of it.

    Attributes
    ----------
    structure : with the columns ``coordination`` and, where there are spectra, ``pi_star``,
        ``mu_deviation`` (rms over energies of one standard deviation, surrogate units) and
        ``domain_score`` (above 1: outside the surrogate's training domain); NaN at absorbers that
        were not drawn
    sites : (n_absorbers, n_grid), surrogate units, None without a surrogate; ``absorbers`` their
        atoms, at most :data:`MOST_SITES`
    fit : to the target, or None without one
    curve : (n_points,), after the observation model, target units; None without a target
    residual : rms over the window, target units
    judged : the same by the judge (:mod:`samplers.judges`), None without one
    bonding : coordination, by pairs of elements too (:func:`diffxas.analysis.bonding`)
    """

    structure: Structure
    sites: np.ndarray | None
    absorbers: np.ndarray
    fit: Fit | None
    curve: np.ndarray | None
    residual: float | None
    bonding: Mapping[str, Any]
    judged: float | None = None

    @property
    def mean(self) -> np.ndarray | None:
        """The cell's spectrum, (n_grid,), surrogate units."""
        return None if self.sites is None else self.sites.mean(0)

    @property
    def strangers(self) -> float:
        """Share of the absorbers outside the surrogate's training domain; 0 where not known."""
        score = self.structure.arrays.get("domain_score")
        return 0.0 if score is None else float((score[self.absorbers] > 1).mean())


def drawn_absorbers(surrogate: Surrogate, structure: Structure, seed: int) -> np.ndarray:
    """Indices of the absorbers, or of :data:`MOST_SITES` of them where there are more, in order."""
    absorbers = surrogate.absorbers(structure)
    if len(absorbers) <= MOST_SITES:
        return absorbers
    rng = np.random.default_rng([seed, len(absorbers)])
    return np.sort(rng.choice(absorbers, MOST_SITES, replace=False))


def drawn_sentence(setup: Setup, seen: Seen) -> str:
    """Of which absorbers spectra were predicted, if not of all; empty otherwise."""
    if setup.surrogate is None:
        return ""
    n_all = len(setup.surrogate.absorbers(seen.structure))
    if len(seen.absorbers) == n_all:
        return ""
    return (f"predicted for {len(seen.absorbers):,} of {n_all:,} absorbers, drawn at random with "
            f"the run's seed")


def look_at(setup: Setup, structure: Structure) -> Seen:
    """Predict, fit and label a structure."""
    pairs = setup.bonds(structure)
    found = bonding(structure, pairs)
    labelled = structure.with_arrays(coordination=coordination(structure, pairs))
    if setup.arrangement is not None and len(setup.arrangement.fixed):
        fixed = np.isin(np.arange(len(structure)), setup.arrangement.fixed)
        labelled = labelled.with_arrays(fixed=fixed.astype(np.int64))
    if setup.surrogate is None:
        return Seen(labelled, None, np.empty(0, dtype=np.int64), None, None, None, found)
    absorbers = drawn_absorbers(setup.surrogate, structure, setup.options.seed)
    score = setup.surrogate.domain_score(structure, absorbers)
    sites, deviation = setup.surrogate.predict_sites_with_uncertainty(structure, score, absorbers)
    found_of = {"mu_deviation": rms(deviation, 1), "pi_star": np.zeros(len(absorbers))}
    if setup.surrogate.element == "C":
        found_of["pi_star"] = pi_star_per_atom(sites, setup.surrogate.energy)
    if score is not None:
        found_of["domain_score"] = score
    columns = {name: np.zeros(len(structure)) for name in found_of}
    for name, values in found_of.items():
        columns[name][setup.surrogate.absorbers(structure)] = np.nan
        columns[name][absorbers] = values
    labelled = labelled.with_arrays(**columns)
    if setup.target is None:
        return Seen(labelled, sites, absorbers, None, None, None, found)
    fit = setup.target.observation.fit(sites.mean(0))
    judged = None
    if setup.judge is not None:
        mean = setup.judge.predict_sites(structure, absorbers).mean(0)
        judged = setup.target.residual(setup.target.observation.fit(mean))
    return Seen(labelled, sites, absorbers, fit, setup.target.curve(fit),
                setup.target.residual(fit), found, judged)


@dataclass(frozen=True, eq=False)
class Row:
    """A sample as judged: sampled, relaxed (the same where relaxation failed), the answer."""

    sample: Sample
    sampled: Seen
    relaxed: Seen | None

    @property
    def answer(self) -> str:
        """``relaxed``, unless there is none or the relaxation undid the fit."""
        if self.relaxed is None or self.sample.relaxation.get("failed", False):
            return "sampled"
        before, after = self.sampled.residual, self.relaxed.residual
        undone = before is not None and after is not None and after > UNDONE * before
        return "sampled" if undone else "relaxed"

    @property
    def offered(self) -> Seen:
        """The structure that is the answer."""
        return self.relaxed if self.answer == "relaxed" and self.relaxed else self.sampled

    def numbers(self, setup: Setup) -> dict[str, Any]:
        """Every number of the sample, for ``summary.json`` and ``samples.csv``."""
        relaxation = self.sample.relaxation
        relaxed = self.relaxed
        return {
            "number": self.sample.number, "seed": setup.options.seed,
            "density": self.offered.structure.density, "answer": self.answer,
            **self.offered.bonding,
            "coordination_sampled": self.sampled.bonding["coordination"],
            "coordination_relaxed": relaxed.bonding["coordination"] if relaxed else None,
            **self._around(setup),
            "minimum_distance": minimum_distance(self.offered.structure),
            "out_of_domain": self.offered.strangers,
            "residual_sampled": self.sampled.residual,
            "residual_relaxed": relaxed.residual if relaxed else None,
            "judge_sampled": self.sampled.judged,
            "judge_relaxed": relaxed.judged if relaxed else None,
            "denoiser_calls": self.sample.calls,
            "energy_sampled": relaxation.get("energy_before"),
            "energy_relaxed": relaxation.get("energy_after"),
            "pressure_GPa": relaxation.get("pressure"), "largest_force": relaxation.get("fmax"),
            "rms_displacement": relaxation.get("rms_displacement"),
            "relaxation_message": relaxation.get("message", ""),
            "seconds_sampling": self.sample.seconds_sampling,
            "seconds_relaxing": relaxation.get("seconds"),
            "nuisance": dict(self.offered.fit.theta) if self.offered.fit else {},
        }


    def _around(self, setup: Setup) -> dict[str, Any]:
        """Coordination of the atoms that are not fixed, and how many are in forbidden regions."""
        arrangement = setup.arrangement
        if arrangement is None:
            return {}
        bonds = self.offered.structure.arrays["coordination"][arrangement.others]
        shares = np.bincount(np.minimum(bonds, 6), minlength=7) / len(bonds)
        inside, depth = arrangement.intruders(self.offered.structure.positions)
        return {"coordination_not_fixed": {key: float(share) for key, share in zip(
                    COORDINATION_KEYS, shares, strict=True)},
                "in_forbidden": inside, "depth_in_forbidden": depth}


def best_of(rows: Sequence[Row]) -> Row | None:
    """The row whose answer fits best; None where nothing was fitted."""
    fitted = [row for row in rows if row.offered.residual is not None]
    return min(fitted, key=lambda row: row.offered.residual or 0.0, default=None)


def fits_of(rows: Sequence[Row]) -> list[Fit]:
    """The fits of the answers to the target; none without one."""
    return [row.offered.fit for row in rows if row.offered.fit is not None]


def judge(setup: Setup, sample: Sample) -> Row:
    """Look at a sample before and after relaxation."""
    relaxed = sample.relaxed
    if relaxed is None and setup.relaxation is not None:
        relaxed = sample.sampled  # a failed relaxation keeps the unrelaxed structure
    return Row(sample, look_at(setup, sample.sampled),
               None if relaxed is None else look_at(setup, relaxed))


def shares_of(setup: Setup, seen: Seen) -> dict[str, np.ndarray]:
    """The shares of 2-, 3-, 4-coordinated and other absorbers in the achieved spectrum."""
    if seen.sites is None:
        return {}
    counts = seen.structure.arrays["coordination"][seen.absorbers]
    shares = coordination_shares(seen.sites, counts)
    if setup.target is None or seen.fit is None:
        return shares
    found = {k: setup.target.share(mu, seen.fit) for k, mu in shares.items()}
    beside = setup.target.beside(seen.fit)
    return {**found, "adsorbates": beside} if beside.any() else found
