"""Spectra of a large cell, piece by piece: the same spectra and the same gradient."""

import numpy as np
import pytest
import torch

from diffxas.structure import Structure
from samplers.start import start_positions
from surrogates.loading import SHIPPED, load_surrogate
from surrogates.pieces import spectra_by_pieces


@pytest.mark.skipif(not (SHIPPED / "a-C").is_dir(), reason="needs the weights a-C")
@pytest.mark.parametrize("most_atoms", [10, 40])
def test_pieces_have_the_spectra_and_the_gradient_of_the_whole(most_atoms):
    cell = np.array([[9.0, 0, 0], [3.0, 9.5, 0], [-2.0, 1.0, 10.0]])
    n = 90
    system = Structure(np.zeros((n, 3)), np.full(n, 6), cell)
    surrogate = load_surrogate("a-C").guiding()
    start = torch.tensor(start_positions(n, cell, 0.1, 0, 0))
    found = []
    for most in (10**6, most_atoms):
        x = start.clone().requires_grad_(True)
        spectra = spectra_by_pieces(surrogate, x, system, most)
        weights = torch.cos(torch.arange(spectra.numel()).to(spectra.dtype)).reshape(spectra.shape)
        (gradient,) = torch.autograd.grad((spectra * weights).sum(), x)
        found.append((spectra.detach(), gradient))
    (a, da), (b, db) = found
    scale = float(da.abs().max())
    assert scale > 1e-3
    # float32, in another order
    torch.testing.assert_close(a, b, atol=5e-4, rtol=0)
    torch.testing.assert_close(da, db, atol=2e-3 * scale, rtol=0)
    assert a.std() > 0.1
