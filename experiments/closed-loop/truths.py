r"""Truths that no model was trained on, what is asked of the sampler, and the floor.

A truth has a guide, a prior and a judge that know neither itself nor its network, and a target:

    DFT cell             the mean DFT spectrum
    pair, network        m(truth) + e,   e ~ N(0, C)

with m the cell spectrum by the target-maker, which neither guides nor judges, and C the covariance
of its left-out error (:func:`surrogates.calibration.correlated`), whose size is its rms error on
the DFT cells of the density that it was trained without. The noise is counter-based: a truth has
one target.

The floor of a residual is the larger of the judge's residual on the truth itself and the median rms
between judge spectra of networks of different parents within 0.1 g/cm3 and 5 points of sp3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np

from diffxas import noise
from diffxas.errors import RunError
from diffxas.files import replacing
from diffxas.networks import CURVES, NEAR, Profile, difference, near
from diffxas.prior import find_prior
from diffxas.spectrum import Spectrum
from diffxas.structure import Structure
from diffxas.structure_files import read_structures
from diffxas.weights import weights_hash
from experiments.common import (
    DATA,
    RUNS,
    dft_cells,
    dft_means,
    held_out,
    networks,
    refuse_known,
    shares,
    variants,
)
from surrogates.base import Surrogate
from surrogates.calibration import correlated
from surrogates.committee import PARTS, CommitteeSurrogate
from surrogates.loading import SHIPPED, load_surrogate
from surrogates.metrics import rms

LEFT_OUT = {2.0: "dft_2.0", 3.0: "dft_3.0"}
"""Density (g/cm3) that leave-out weights were trained without, and the network of its DFT cells."""
SAME_SP3 = 0.05
STREAM_TARGET, TARGET_SEED = 601, 6
NETWORK_PART = "a-C equivariant"
"""The equivariant part of the committee a-C."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is to be recovered, and by which models.

    Attributes
    ----------
    kind : ``DFT``, ``pair`` or ``network``
    number : seed of its samples
    prior, surrogate, judge : names; the guide is the surrogate's guiding part
    maker : name of the target-maker; empty where the target is DFT
    """

    name: str
    kind: str
    number: int
    structure: Structure
    prior: str
    surrogate: str
    judge: str
    maker: str = ""

    @property
    def density(self) -> float:
        """g/cm3, as samples are asked for."""
        return round(self.structure.density, 4)

    @property
    def sp3(self) -> float:
        """Share of atoms with four neighbours."""
        return float(shares(self.structure)[4])


@lru_cache
def truths() -> tuple[Truth, ...]:
    """All of them: DFT cells, pairs, networks, each by increasing density.

    Raises
    ------
    InputError
        If a model was trained on a truth or on another cell of its network.
    """
    pairs = read_structures(DATA / "a-C-NEP" / "pairs.extxyz")
    taken = {str(one.info["parent"]) for one in pairs}
    unseen = [one for one in networks()
              if one.info["name"] in held_out() and one.info["name"] not in taken]
    found: list[Truth] = []
    for density, parent in LEFT_OUT.items():
        found += [Truth(str(one.info["name"]), "DFT", len(found) + k, one, "a-C-no-dft",
                        f"a-C-without-{density}", f"a-C-judge-without-{density}")
                  for k, one in enumerate(c for c in dft_cells() if c.info["parent"] == parent)]
    for kind, group in (("pair", pairs), ("network", unseen)):
        found += [Truth(str(one.info["name"]), kind, len(found) + k, one, "a-C", "a-C",
                        NETWORK_PART, maker_at(one.density)) for k, one in enumerate(group)]
    for truth in found:
        for folder in folders_of(truth):
            refuse_known(truth.structure, folder)
    return tuple(found)


def maker_at(density: float) -> str:
    """The target-maker that knows DFT of the nearer density and not of the farther one."""
    farthest = max(LEFT_OUT, key=lambda d: abs(d - density))
    return f"a-C-judge-without-{farthest}"


def model_folder(name: str) -> Path:
    """Where a surrogate's weights lie."""
    return SHIPPED / name.split()[0]


def folders_of(truth: Truth) -> list[Path]:
    """Prior, surrogate, judge and target-maker."""
    names = [truth.surrogate, truth.judge, *([truth.maker] if truth.maker else [])]
    return [find_prior(truth.prior), *(model_folder(name) for name in names)]


@lru_cache
def model(name: str) -> Surrogate:
    """A surrogate, or the network part of one, by name."""
    found = load_surrogate(name.split()[0])
    if name != NETWORK_PART:
        return found
    assert isinstance(found, CommitteeSurrogate)
    return found.parts[PARTS.index("equivariant")]


@lru_cache
def guide(name: str) -> Surrogate:
    """What guides, of a surrogate's name."""
    return load_surrogate(name).guiding()


def mean_spectrum(surrogate: Surrogate, name: str, structure: Structure) -> np.ndarray:
    """Cell spectrum (n_grid,), kept for the next run; ``name`` tells parts of a model apart."""
    digest = hashlib.sha256(weights_hash(model_folder(name)).encode())
    digest.update(name.encode())
    for array in (structure.positions, structure.cell, structure.numbers):
        digest.update(np.ascontiguousarray(array).tobytes())
    path = RUNS / "closed-loop" / "spectra" / f"{digest.hexdigest()[:20]}.npy"
    if not path.is_file():
        with replacing(path) as temporary, temporary.open("wb") as handle:
            np.save(handle, surrogate.predict_sites(structure).mean(0))
    return np.asarray(np.load(path, allow_pickle=False))


def by_judge(truth: Truth, structure: Structure) -> np.ndarray:
    """Cell spectrum by the truth's judge, (n_grid,)."""
    return mean_spectrum(model(truth.judge), truth.judge, structure)


def by_guide(truth: Truth, structure: Structure) -> np.ndarray:
    """Cell spectrum by what guides, (n_grid,)."""
    return mean_spectrum(guide(truth.surrogate), f"{truth.surrogate} guide", structure)


@lru_cache
def left_out_error(maker: str) -> float:
    """Rms error of a cell's mean spectrum on the density that the maker was trained without.

    Over energies and the DFT cells of that density, DFT units.
    """
    parent = LEFT_OUT[float(maker.rpartition("-")[2])]
    cells = [one for one in dft_cells() if one.info["parent"] == parent]
    for one in cells:
        refuse_known(one, model_folder(maker))
    return float(rms(np.array([mean_spectrum(model(maker), maker, one)
                               - dft_means()[str(one.info["name"])] for one in cells])))


@lru_cache
def target(truth: Truth) -> Spectrum:
    """What is asked; see the module's text."""
    energy = model(truth.surrogate).energy
    if not truth.maker:
        return Spectrum(energy, dft_means()[truth.name], "C", "K")
    shape = model("a-C").site_error
    deviation = left_out_error(truth.maker) * shape / rms(shape)
    rows = -(-len(energy) // 3)
    z = noise.normal(TARGET_SEED, truth.number, 0, rows, stream=STREAM_TARGET).ravel()
    error = np.linalg.cholesky(correlated(energy, deviation)) @ z[:len(energy)]
    return Spectrum(energy, mean_spectrum(model(truth.maker), truth.maker, truth.structure) + error,
                    "C", "K")


def residual(spectrum: np.ndarray, truth: Truth) -> float:
    """Rms over the whole grid, DFT units."""
    return float(rms(spectrum - target(truth).mu))


@lru_cache
def misfit(truth: Truth) -> float:
    """-2 l / n of the truth itself by what guides, at a temperature of 1, for n energies.

    About 1 where the target errs as the guide's likelihood says; above, intervals are too narrow.
    """
    import torch

    from samplers.guides.spectrum import SpectrumGuide
    from samplers.target import Target

    one = SpectrumGuide(guide(truth.surrogate), Target.of(target(truth), model(truth.surrogate)),
                        truth.structure).untempered()
    with torch.no_grad():
        value = float(one(torch.tensor(truth.structure.positions), 0.0))
    return -2 * value / one.degrees


def peers(truth: Truth) -> list[Structure]:
    """The truth and independent networks like it: one of a parent, the nearest in density."""
    found: dict[str, Structure] = {}
    alike = [one for one in near([*networks(), *variants()], truth.density, NEAR)
             if abs(shares(one)[4] - truth.sp3) <= SAME_SP3]
    own = {truth.name, str(truth.structure.info.get("parent", truth.name))}
    for one in sorted(alike, key=lambda s: abs(s.density - truth.density)):
        parent = str(one.info.get("parent", one.info["name"]))
        if parent not in own and str(one.info["name"]) not in own:
            found.setdefault(parent, one)
    return [truth.structure, *found.values()]


@dataclass(frozen=True)
class Floor:
    """What cannot be beaten.

    Attributes
    ----------
    truth : the judge's residual on the truth itself
    networks : median rms between judge spectra of ``count`` independent networks; NaN of fewer
        than two
    distance : for each of ``CURVES`` the median distance between those networks
    """

    truth: float
    networks: float
    count: int
    distance: Mapping[str, float]

    @property
    def residual(self) -> float:
        """The larger one."""
        return max(self.truth, 0.0 if np.isnan(self.networks) else self.networks)


@lru_cache
def floor(truth: Truth) -> Floor:
    """The floor of a truth."""
    group = peers(truth)
    spectra = [by_judge(truth, one) for one in group]
    return Floor(residual(spectra[0], truth),
                 _median([float(rms(a - b)) for a, b in combinations(spectra, 2)]), len(group),
                 network_distance(group))


def network_distance(group: Sequence[Structure]) -> dict[str, float]:
    """Median distance of every two of the structures, for each of ``CURVES``."""
    profiles = [Profile.of(one) for one in group]
    return {curve: _median([difference(a, b, curve) for a, b in combinations(profiles, 2)])
            for curve in CURVES}


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def truth_named(name: str) -> Truth:
    """A truth by its name.

    Raises
    ------
    RunError
        If there is none.
    """
    for one in truths():
        if one.name == name:
            return one
    raise RunError(f"a truth must be one of {', '.join(t.name for t in truths())}, received {name}")
