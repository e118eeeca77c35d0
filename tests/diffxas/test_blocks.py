"""Pieces of a structure: every atom once, all of its surroundings, in any cell."""

import numpy as np
import pytest

from diffxas import analysis, rings
from diffxas.blocks import pieces
from diffxas.neighbourhood import neighbour_pairs
from diffxas.structure import Structure

OBLIQUE = np.array([[30.0, 0, 0], [14, 28, 0], [-9, 11, 9]])
PERIODIC = [(1, 1, 1), (1, 1, 0), (0, 1, 0), (0, 0, 0)]


def scattered(pbc=(1, 1, 1), n=800, cell=OBLIQUE):
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 1, (n, 3)) @ cell + rng.normal(0, 20, 3)
    return Structure(x, rng.choice([6, 8], n), cell, np.array(pbc, bool))


@pytest.mark.parametrize("pbc", PERIODIC)
def test_pairs_of_the_pieces_are_those_of_the_whole(pbc):
    structure, cutoff = scattered(pbc), 6.0
    whole = neighbour_pairs(structure, cutoff)
    first, second, distance = [], [], []
    for piece in pieces(structure, cutoff, 100):
        pairs = neighbour_pairs(piece.cluster, cutoff)
        own = pairs.first < piece.inside
        first.append(piece.atoms[pairs.first[own]])
        second.append(piece.atoms[pairs.second[own]])
        distance.append(pairs.distance[own])
    assert len(first) > 8
    a, b = (np.lexsort((np.round(d, 6), j, i)) for i, j, d in (
        (whole.first, whole.second, whole.distance),
        tuple(map(np.concatenate, (first, second, distance)))))
    np.testing.assert_array_equal(whole.first[a], np.concatenate(first)[b])
    np.testing.assert_array_equal(whole.second[a], np.concatenate(second)[b])
    np.testing.assert_allclose(whole.distance[a], np.concatenate(distance)[b], atol=1e-9)


@pytest.mark.parametrize("pbc", PERIODIC)
def test_every_atom_is_inside_one_piece(pbc):
    structure = scattered(pbc)
    inside = np.concatenate([p.atoms[:p.inside] for p in pieces(structure, 2.0, 100)])
    np.testing.assert_array_equal(np.sort(inside), np.arange(len(structure)))


def test_only_chosen_atoms_are_inside():
    structure = scattered()
    chosen = np.random.default_rng(0).permutation(len(structure))[:50]
    found = list(pieces(structure, 3.0, 100, chosen))
    np.testing.assert_array_equal(np.sort(np.concatenate([p.atoms[:p.inside] for p in found])),
                                  np.sort(chosen))
    around = {p.inside: p for p in found}[max(p.inside for p in found)]
    assert len(around.atoms) > around.inside


def test_boxes_of_a_film_hold_what_was_asked_for_although_the_rest_is_empty():
    cell = np.diag([30.0, 30, 400])
    film = scattered(cell=np.diag([30.0, 30, 20]), n=3000)
    film = Structure(film.positions, film.numbers, cell)
    assert max(p.inside for p in pieces(film, 1.0, 200)) <= 300


def test_g_of_r_is_the_same_piece_by_piece(monkeypatch):
    structure = scattered()
    whole, partial = analysis.rdf(structure)[1], analysis.partial_rdf(structure)[1]
    monkeypatch.setattr(analysis, "MOST_ATOMS", 100)
    calls = []
    monkeypatch.setattr(analysis, "pieces",
                        lambda s, reach: calls.append(1) or pieces(s, reach, 100))
    np.testing.assert_allclose(analysis.rdf(structure)[1], whole, atol=1e-12)
    for name, g in analysis.partial_rdf(structure)[1].items():
        np.testing.assert_allclose(g, partial[name], atol=1e-12)
    assert len(calls) == 2


def test_rings_are_the_same_in_groups(monkeypatch):
    from ase.build import bulk

    atoms = bulk("C", cubic=True) * (5, 4, 4)
    rng = np.random.default_rng(0)
    del atoms[rng.choice(len(atoms), 60, replace=False)]
    structure = Structure.from_atoms(atoms)
    whole = rings.ring_statistics(structure, 8)
    some = rng.integers(0, len(structure), 70)
    monkeypatch.setattr(rings, "GROUP", 60)
    np.testing.assert_array_equal(rings.ring_statistics(structure, 8).through, whole.through)
    np.testing.assert_array_equal(rings.ring_statistics(structure, 8, centres=some).through,
                                  whole.through[some])
    assert len(set(map(tuple, whole.through))) > 3
