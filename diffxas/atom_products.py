r"""Products of an atom's features with themselves, channel by channel, in compiled loops.

Given p with n channels of l = 0, 1 and 2, first divided by sqrt(1 + mean(p^2)) to q, the products

    out^(l)_m = sum_ab C^(l1 l2 l)_abm q^(l1)_a q^(l2)_b

of every path (l1, l2, l), times the weights of its channels, paths of one l side by side. A table
of Clebsch-Gordan coefficients is mostly zeros, and symmetric where both factors are one and the
same: the sum runs over its different entries alone, less than a quarter of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor
from torch.autograd.function import once_differentiable

DIMS = (1, 3, 5)
"""Components of l = 0, 1, 2."""
SMALLEST = 1e-6
"""Entries of a table below this are zero (e3nn keeps tables in single precision)."""


class AtomProducts:
    """The products that ``product`` takes, with its weights.

    Parameters
    ----------
    product : of p with itself, n channels of 0e, 1o and 2e, paths "uuu"
    """

    def __init__(self, product: o3.TensorProduct) -> None:
        self.n_channels = product.irreps_in1[0].mul
        degrees = [ir.l for _, ir in product.irreps_out]
        self.n_paths = tuple(degrees.count(degree) for degree in range(3))
        terms: list[tuple[int, int, int]] = []
        factors: list[Tensor] = []
        seen, start = [0, 0, 0], 0
        for i in product.instructions:
            a, b, out = (int(irreps[k].ir.l) for irreps, k in (
                (product.irreps_in1, i.i_in1), (product.irreps_in2, i.i_in2),
                (product.irreps_out, i.i_out)))
            weight = product.weight[start : start + self.n_channels] * i.path_weight
            start += self.n_channels
            for (m, k, o), value in _entries(a, b, out, weight.dtype).items():
                row = self._row(out, o, seen[out])
                terms.append((sum(DIMS[:a]) + m, sum(DIMS[:b]) + k, row))
                factors.append(weight * value)
            seen[out] += 1
        order = sorted(range(len(terms)), key=lambda k: terms[k][2])
        self.terms = np.array([terms[k] for k in order], dtype=np.int64) * self.n_channels
        self.factors = torch.stack([factors[k] for k in order]).detach().numpy()

    def _row(self, degree: int, component: int, path: int) -> int:
        """Of a result among all, in channels."""
        before = sum(n * dim for n, dim in zip(self.n_paths[:degree], DIMS, strict=False))
        return before + component * self.n_paths[degree] + path

    def loops(self) -> tuple[Callable[..., None], ...]:
        """Forward and back, compiled at first use."""
        from diffxas.atom_loops import compiled

        return compiled(self.n_channels, self.n_paths)

    def __call__(self, s: Tensor, v: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """Scalars (n_atoms, 1, n), vectors (n_atoms, 3, n) and tensors (n_atoms, 5, n) ->
        (n_atoms, 1, paths n), (n_atoms, 3, ...), (n_atoms, 5, ...)."""
        found: tuple[Tensor, ...] = _Products.apply(s, v, t, self)
        return found


def _entries(a: int, b: int, out: int, dtype: torch.dtype) -> dict[tuple[int, int, int], float]:
    """What of a table is not zero; both orders of factors of one l taken together."""
    table = o3.wigner_3j(a, b, out, dtype=dtype)
    found: dict[tuple[int, int, int], float] = {}
    for m, k, o in torch.nonzero(table.abs() > SMALLEST).tolist():
        key = (min(m, k), max(m, k), o) if a == b else (m, k, o)
        found[key] = found.get(key, 0.0) + float(table[m, k, o])
    return {key: value for key, value in found.items() if abs(value) > SMALLEST}


class _Products(torch.autograd.Function):
    """The products; no gradient in the weights."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, v: Tensor, t: Tensor, made: AtomProducts
                ) -> tuple[Tensor, ...]:
        s, v, t = s.contiguous(), v.contiguous(), t.contiguous()
        ctx.save_for_backward(s, v, t)
        ctx.made = made
        out = tuple(s.new_empty(len(s), dim, n * made.n_channels)
                    for dim, n in zip(DIMS, made.n_paths, strict=True))
        forward, _ = made.loops()
        forward(*_flat(s, v, t), made.terms, made.factors, *_flat(*out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        given, made = ctx.saved_tensors, ctx.made
        found = tuple(torch.empty_like(x) for x in given)
        _, back = made.loops()
        back(*_flat(*given), made.terms, made.factors,
             *_flat(*(g.contiguous() for g in gradients)), *_flat(*found))
        return (*found, None)


def _flat(*blocks: Tensor) -> list[np.ndarray]:
    """(n_atoms, everything)."""
    return [block.flatten(1).numpy() for block in blocks]
