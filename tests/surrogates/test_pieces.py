"""A large structure is predicted piece by piece as it is whole."""

import numpy as np
import pytest
import torch
from ase.build import bulk

import surrogates.pieces
from diffxas.structure import Structure
from surrogates.base import Surrogate
from surrogates.loading import load_surrogate


def rattled(symbol, size, amount):
    atoms = bulk(symbol, cubic=True) * size
    atoms.rattle(amount, seed=1)
    return Structure.from_atoms(atoms)


@pytest.mark.parametrize(("name", "structure"), [
    ("a-C", rattled("C", (3, 3, 2), 0.15)),
    pytest.param("cu-k-feff", rattled("Cu", (5, 3, 3), 0.1), marks=pytest.mark.slow)])
def test_pieces_predict_what_the_whole_does(name, structure, monkeypatch):
    model = load_surrogate(name).to(torch.float64)
    monkeypatch.setattr(surrogates.pieces, "MOST_ATOMS", 10**6)
    whole, deviation = model.predict_sites_with_uncertainty(structure)
    score = model.domain_score(structure)
    some = np.random.default_rng(0).permutation(len(structure))[:40]
    np.testing.assert_allclose(model.predict_sites(structure, some), whole[some], atol=1e-9)
    monkeypatch.setattr(surrogates.pieces, "MOST_ATOMS", 60)
    found, beside = model.predict_sites_with_uncertainty(structure)
    np.testing.assert_allclose(found, whole, atol=1e-9)
    np.testing.assert_allclose(beside, deviation, atol=1e-9)
    np.testing.assert_allclose(model.predict_sites(structure, some), whole[some], atol=1e-9)
    np.testing.assert_allclose(model.predict_members(structure).mean(0), whole, atol=1e-9)
    np.testing.assert_allclose(model.domain_score(structure), score, atol=1e-9)
    np.testing.assert_allclose(model.domain_score(structure, some), score[some], atol=1e-9)
    assert whole.std(0).max() > 0.01


def test_too_short_a_reach_would_show(monkeypatch):
    """The control of the test above: pieces that lack surroundings predict other spectra."""
    structure = rattled("C", (3, 3, 2), 0.15)
    model = load_surrogate("a-C")
    whole = model.predict_sites(structure)
    monkeypatch.setattr(surrogates.pieces, "MOST_ATOMS", 60)
    monkeypatch.setattr(type(model), "reach", 2.0)
    assert np.abs(model.predict_sites(structure) - whole).max() > 0.01


def test_a_surrogate_of_unknown_reach_sees_the_whole_structure(monkeypatch):
    seen = []

    class Index(Surrogate):
        def spectra(self, positions, structure):
            seen.append(len(structure))
            return positions[:, :1][None].expand(2, -1, 3)

    model = Index("index", {"model": {"theories": [{"name": "t", "energy": [1.0, 2.0, 3.0]}],
                                      "absorber": "C", "edge": "K", "elements": ["C"]}})
    structure = rattled("C", (3, 3, 3), 0.1)
    monkeypatch.setattr(surrogates.pieces, "MOST_ATOMS", 60)
    some = np.array([7, 3, 100])
    np.testing.assert_allclose(model.predict_sites(structure, some)[:, 1],
                               structure.positions[some, 0])
    assert seen == [len(structure)]
