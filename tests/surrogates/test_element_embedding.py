"""Elements by tabulated properties."""

import numpy as np
import pytest
import torch
from ase.data import chemical_symbols

from surrogates.element_embedding import N_DESCRIPTORS, ElementEmbedding, element_descriptors


def test_every_element_up_to_curium_has_finite_descriptors():
    rows = np.array([element_descriptors(symbol) for symbol in chemical_symbols[1:97]])
    assert rows.shape == (96, N_DESCRIPTORS) and np.isfinite(rows).all()
    assert len(np.unique(rows, axis=0)) == 96


def test_descriptors_are_those_of_the_tables():
    row = element_descriptors("Cu")
    assert row[:3] == [11, 4, 1.9] and row[7] == 29
    assert row[8:12] == [0, 0, 1, 0]  # d block
    assert row[12:16] == [1, 0, 10, 0]  # 4s1 3d10
    assert element_descriptors("Ce")[12:16] == [2, 0, 1, 1]  # 6s2 5d1 4f1
    assert row[16] == 2


@pytest.mark.parametrize(("alike", "unlike"), [(("La", "Pr"), "F"), (("Na", "K"), "W")])
def test_like_elements_start_near_each_other(alike, unlike):
    """What descriptors give before anything is learned; the table is random."""
    torch.manual_seed(0)
    elements = [*alike, unlike, "O", "Cu", "Fe"]
    embedding = ElementEmbedding(len(elements), 32)
    embedding.set_elements(elements)
    assert embedding.descriptors.mean(0).abs().max() < 1e-6
    embedding.table.weight.data.zero_()
    a, b, c = embedding(torch.arange(3)).detach()
    assert (a - b).norm() < 0.6 * (a - c).norm()
    assert embedding(torch.tensor([1, 1, 0])).shape == (3, 32)
