"""The out-of-domain score: strangers stand out, networks that were never seen do not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.lattice.hexagonal import Graphite
from scipy.spatial.transform import Rotation

from diffxas.structure import Structure
from diffxas.structure_files import read_structures
from surrogates.domain import domain_features, domain_of, domain_score, fit_domain

DATA = Path(__file__).parents[2] / "experiments" / "data" / "a-C-NEP"
HELD_OUT = (DATA / "heldout.txt").read_text(encoding="utf-8").split()


@pytest.fixture(scope="module")
def networks() -> tuple[list[Structure], list[Structure]]:
    """Every third network to learn from, some that are held out."""
    every = read_structures(DATA / "networks_300K.extxyz")
    held = [s for s in every if s.info["name"] in HELD_OUT]
    rest = [s for s in every if s.info["name"] not in HELD_OUT]
    return rest[::3], held[::4]


@pytest.fixture(scope="module")
def domain(networks: tuple[list[Structure], list[Structure]]) -> dict[str, torch.Tensor]:
    """Fitted to every fourth site."""
    features = [domain_features(s, ["C"]).numpy()[::4] for s in networks[0]]
    groups = [s.info["name"] for s, f in zip(networks[0], features, strict=True) for _ in f]
    return fit_domain(np.concatenate(features), groups)


def scores(structure: Structure, domain: dict[str, torch.Tensor]) -> np.ndarray:
    return domain_score(domain_features(structure, ["C"]), domain).numpy()


def ranked_higher(strange: np.ndarray, usual: np.ndarray) -> float:
    """Area under the receiver operating characteristic."""
    return float((strange[:, None] > usual).mean())


def crystal(kind: str) -> Structure:
    atoms = (Graphite("C", latticeconstant={"a": 2.461, "c": 6.708}) if kind == "graphite" else
             bulk("C", kind, a={"fcc": 3.5, "sc": 1.8}[kind], cubic=True).repeat(2))
    return Structure(atoms.positions, atoms.numbers, np.array(atoms.cell))


@pytest.mark.parametrize("kind", ["graphite", "fcc", "sc"])
def test_crystals_that_were_never_seen_stand_out(kind, networks, domain):
    usual = np.concatenate([scores(s, domain) for s in networks[1]])
    assert ranked_higher(scores(crystal(kind), domain), usual) > 0.95


@pytest.mark.parametrize("spoilt", ["noised", "random"])
def test_spoilt_networks_stand_out(spoilt, networks, domain):
    rng = np.random.default_rng(0)
    usual = np.concatenate([scores(s, domain) for s in networks[1]])
    strange = []
    for s in networks[1]:
        positions = (s.positions + 0.3 * rng.standard_normal((len(s), 3)) if spoilt == "noised"
                     else rng.random((len(s), 3)) @ s.cell)
        strange.append(scores(Structure(positions, s.numbers, s.cell), domain))
    assert ranked_higher(np.concatenate(strange), usual) > 0.95


def test_few_sites_of_unseen_networks_are_flagged_and_networks_are_no_strangers(networks, domain):
    usual = np.concatenate([scores(s, domain) for s in networks[1]])
    assert (usual > 1).mean() < 0.05
    assert usual.max() > 0.2  # not a score that is small for everything


def test_the_score_does_not_turn_move_or_reorder(networks, domain):
    s = networks[1][0]
    rotation = Rotation.from_euler("xyz", [0.3, 1.0, 2.0]).as_matrix()
    order = np.random.default_rng(1).permutation(len(s))
    moved = Structure(((s.positions + 0.7) @ rotation)[order], s.numbers, s.cell @ rotation)
    np.testing.assert_allclose(scores(moved, domain), scores(s, domain)[order], rtol=1e-6)


def test_sites_of_its_own_network_are_no_witnesses():
    rng = np.random.default_rng(2)
    middles = 10 * rng.standard_normal((4, 3))
    clusters = np.concatenate([m + 0.01 * rng.standard_normal((40, 3)) for m in middles])
    apart = fit_domain(clusters, [str(k) for k in range(4) for _ in range(40)])
    mixed = fit_domain(clusters, [str(k % 4) for k in range(160)])
    assert apart["domain.threshold"] > 5 * mixed["domain.threshold"]


def test_one_network_alone_still_gives_a_threshold():
    features = np.random.default_rng(3).standard_normal((50, 4))
    one = fit_domain(features, ["a"] * 50)
    near = domain_score(torch.tensor(features), one)
    assert (near < 0.1).all()
    assert (domain_score(torch.tensor(features + 20), one) > 3).all()


def test_elements_count_by_their_properties():
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    swapped = salt.copy()
    swapped.symbols[:] = ["Cl" if x == "Na" else "Na" for x in salt.symbols]
    one, other = (domain_features(Structure(a.positions, a.numbers, np.array(a.cell)), ["Cl", "Na"])
                  for a in (salt, swapped))
    assert not torch.allclose(one, other)
    np.testing.assert_allclose(one[salt.symbols == "Na"][0], other[swapped.symbols == "Na"][0],
                               rtol=1e-9)


def test_only_the_domains_tensors_are_taken():
    assert set(domain_of({"domain.sites": torch.ones(1), "beta": torch.ones(1)})) == {
        "domain.sites"}
