"""Products of an atom's features with themselves: e3nn's, value and derivative."""

import pytest
import torch

from diffxas.atom_products import SMALLEST, AtomProducts
from diffxas.network import _node_product

N, ATOMS = 6, 7


def blocks(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(ATOMS, dim, N, generator=generator, dtype=torch.float64).to(dtype)
            for dim in (1, 3, 5)]


def flat(parts) -> torch.Tensor:
    """As e3nn orders features: channel by channel."""
    return torch.cat([part.transpose(1, 2).flatten(1) for part in parts], 1)


def product():
    torch.manual_seed(1)
    return _node_product(N).double().requires_grad_(False)


def by_e3nn(p: list[torch.Tensor]) -> list[torch.Tensor]:
    """The same by e3nn, paths of one l put side by side."""
    made = product()
    q = flat(p)
    q = q * (1 + q.square().mean(1, keepdim=True)).rsqrt()
    found: list[list[torch.Tensor]] = [[], [], []]
    for (mul, ir), part in zip(made.irreps_out,
                               made(q, q).split([mul * ir.dim for mul, ir in made.irreps_out], 1),
                               strict=True):
        found[ir.l].append(part.reshape(ATOMS, mul, ir.dim).transpose(1, 2))
    return [torch.cat(parts, 2) for parts in found]


def test_products_are_those_of_e3nn():
    for a, b in zip(AtomProducts(product())(*blocks()), by_e3nn(blocks()), strict=True):
        assert a.shape == b.shape
        assert b.abs().max() > 0.1
        torch.testing.assert_close(a, b, atol=3e-7, rtol=0)  # e3nn's tables are single precision


def test_single_precision():
    singles = AtomProducts(product().float())(*blocks(torch.float32))
    for a, b in zip(singles, by_e3nn(blocks()), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, atol=1e-5, rtol=0)


def test_the_derivative_is_that_of_the_products():
    p = [block.requires_grad_(True) for block in blocks()]
    assert torch.autograd.gradcheck(AtomProducts(product()), p)


def test_far_fewer_terms_than_tables_have_entries():
    made = AtomProducts(product())
    entries = sum(a * b * c for a, b, c in [(1, 1, 1), (1, 3, 3), (1, 5, 5), (3, 3, 1), (5, 5, 1),
                                            (3, 3, 5), (3, 5, 3), (5, 5, 5)])
    assert len(made.terms) < entries / 4
    assert (abs(made.factors).max(1) > SMALLEST).all()


@pytest.mark.parametrize("atoms", [0, 1])
def test_few_atoms(atoms):
    out = AtomProducts(product())(*(block[:atoms] for block in blocks()))
    assert [len(part) for part in out] == [atoms] * 3
