r"""Products of an atom's features with themselves, channel by channel, in compiled loops.

Given p with n channels of l = 0, 1 and 2, first divided by sqrt(1 + mean(p^2)) to q, the products

    out^(l)_m = sum_ab C^(l1 l2 l)_abm q^(l1)_a q^(l2)_b

of every path (l1, l2, l), times the weights of its channels, paths of one l side by side. A table
of Clebsch-Gordan coefficients is mostly zeros, and symmetric where both factors are one and the
same: the sum runs over its different entries alone, which is a tenth of the work of e3nn's product
of full tables.
"""
# numba derives the types
# mypy: disable-error-code="no-untyped-def, misc, arg-type, call-overload, untyped-decorator"

from __future__ import annotations

from collections.abc import Callable
from functools import cache
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
        forward, _ = compiled(made.n_channels, made.n_paths)
        forward(*_flat(s, v, t), made.terms, made.factors, *_flat(*out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        given, made = ctx.saved_tensors, ctx.made
        found = tuple(torch.empty_like(x) for x in given)
        _, back = compiled(made.n_channels, made.n_paths)
        back(*_flat(*given), made.terms, made.factors,
             *_flat(*(g.contiguous() for g in gradients)), *_flat(*found))
        return (*found, None)


def _flat(*blocks: Tensor) -> list[np.ndarray]:
    """(n_atoms, everything)."""
    return [block.flatten(1).numpy() for block in blocks]


@cache
def compiled(n: int, n_paths: tuple[int, int, int]) -> tuple[Callable[..., None], ...]:
    """Both loops for so many channels and paths to every l, which are constants of the code."""
    import numba

    from diffxas.edge_sums import COMPILED

    n3, n4, n9 = n, 4 * n, 9 * n
    out1, out2 = n * n_paths[0], n * (n_paths[0] + 3 * n_paths[1])
    n_out = out2 + 5 * n * n_paths[2]

    @numba.njit(**COMPILED)
    def forward(s, v, t, terms, factors, out_s, out_v, out_t):
        q, out = np.empty(n9, dtype=s.dtype), np.empty(n_out, dtype=s.dtype)
        one, many = s.dtype.type(1), s.dtype.type(n9)
        for i in range(len(s)):
            q[:n3], q[n3:n4], q[n4:] = s[i], v[i], t[i]
            size = one * 0
            for c in range(n9):
                size += q[c] * q[c]
            size = one / np.sqrt(one + size / many)
            for c in range(n9):
                q[c] *= size
            out[:] = 0
            for k in range(len(terms)):
                a, b, o = terms[k, 0], terms[k, 1], terms[k, 2]
                for c in range(n):
                    out[o + c] += factors[k, c] * q[a + c] * q[b + c]
            out_s[i], out_v[i], out_t[i] = out[:out1], out[out1:out2], out[out2:]

    @numba.njit(**COMPILED)
    def back(s, v, t, terms, factors, g_s, g_v, g_t, d_s, d_v, d_t):
        q, d = np.empty(n9, dtype=s.dtype), np.empty(n9, dtype=s.dtype)
        g = np.empty(n_out, dtype=s.dtype)
        one, many = s.dtype.type(1), s.dtype.type(n9)
        for i in range(len(s)):
            q[:n3], q[n3:n4], q[n4:] = s[i], v[i], t[i]
            size = one * 0
            for c in range(n9):
                size += q[c] * q[c]
            size = one / np.sqrt(one + size / many)
            for c in range(n9):
                q[c] *= size
            g[:out1], g[out1:out2], g[out2:] = g_s[i], g_v[i], g_t[i]
            d[:] = 0
            for k in range(len(terms)):
                a, b, o = terms[k, 0], terms[k, 1], terms[k, 2]
                for c in range(n):
                    some = factors[k, c] * g[o + c]
                    x, y = some * q[a + c], some * q[b + c]
                    d[a + c] += y
                    d[b + c] += x
            # q = p size(p): the size falls as p grows.
            along = one * 0
            for c in range(n9):
                along += d[c] * q[c]
            along /= many
            for c in range(n9):
                d[c] = size * (d[c] - along * q[c])
            d_s[i], d_v[i], d_t[i] = d[:n3], d[n3:n4], d[n4:]

    return forward, back
