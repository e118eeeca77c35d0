"""Loops over atoms, compiled by numba: products of their features (:mod:`diffxas.atom_products`).

As in :mod:`diffxas.edge_sums`, numbers of channels are constants of the compiled loops.
"""
# numba derives the types
# mypy: disable-error-code="no-untyped-def, misc, arg-type, call-overload, untyped-decorator"

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numba
import numpy as np

from diffxas.edge_sums import COMPILED


@numba.njit(**COMPILED)
def normalise(s, v, t, q):
    """Write one atom's features, divided by sqrt(1 + their mean square), to ``q``; the factor."""
    one, n = q.dtype.type(1), len(s)
    q[:n], q[n : 4 * n], q[4 * n :] = s, v, t
    size = one * 0
    for c in range(len(q)):
        size += q[c] * q[c]
    size = one / np.sqrt(one + size / q.dtype.type(len(q)))
    for c in range(len(q)):
        q[c] *= size
    return size


@cache
def compiled(n: int, n_paths: tuple[int, int, int]) -> tuple[Callable[..., None], ...]:
    """Both loops for so many channels and paths to every l, which are constants of the code."""
    n4, n9 = 4 * n, 9 * n
    out1, out2 = n * n_paths[0], n * (n_paths[0] + 3 * n_paths[1])
    n_out = out2 + 5 * n * n_paths[2]

    @numba.njit(**COMPILED)
    def forward(s, v, t, terms, factors, out_s, out_v, out_t):
        q, out = np.empty(n9, dtype=s.dtype), np.empty(n_out, dtype=s.dtype)
        for i in range(len(s)):
            normalise(s[i], v[i], t[i], q)
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
            size = normalise(s[i], v[i], t[i], q)
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
            d_s[i], d_v[i], d_t[i] = d[:n], d[n:n4], d[n4:]

    return forward, back
