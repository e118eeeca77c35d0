"""Spectra of a structure with more absorbers than are predicted."""

from types import SimpleNamespace

import numpy as np
import pytest
from position_surrogate import PositionSurrogate

from diffxas.neighbourhood import bonds
from diffxas.structure import Structure
from samplers import judged


@pytest.fixture
def structure():
    rng = np.random.default_rng(0)
    return Structure(rng.uniform(0, 12, (300, 3)), np.full(300, 6), 12 * np.eye(3))


def seen_with(structure, seed=1):
    setup = SimpleNamespace(bonds=bonds, arrangement=None, surrogate=PositionSurrogate(),
                            options=SimpleNamespace(seed=seed), target=None)
    return setup, judged.look_at(setup, structure)


def test_some_absorbers_speak_for_all(structure, monkeypatch):
    setup, whole = seen_with(structure)
    assert judged.drawn_sentence(setup, whole) == ""
    assert np.isfinite(whole.structure.arrays["pi_star"]).all()
    monkeypatch.setattr(judged, "MOST_SITES", 120)
    setup, seen = seen_with(structure)
    assert len(seen.absorbers) == len(np.unique(seen.absorbers)) == 120
    np.testing.assert_allclose(seen.sites, whole.sites[seen.absorbers])
    pi_star = seen.structure.arrays["pi_star"]
    assert np.isnan(pi_star).sum() == 180 and np.isfinite(pi_star[seen.absorbers]).all()
    spread = whole.sites.std(0).max() / np.sqrt(120)
    assert 0 < np.abs(seen.mean - whole.mean).max() < 4 * spread
    assert "120 of 300 absorbers" in judged.drawn_sentence(setup, seen)


def test_the_seed_draws_the_absorbers(structure, monkeypatch):
    monkeypatch.setattr(judged, "MOST_SITES", 120)
    one, again, other = (seen_with(structure, seed)[1].absorbers for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
