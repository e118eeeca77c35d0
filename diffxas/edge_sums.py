"""Loops over edges, compiled by numba: products of features with harmonics, summed at centres.

Sent are scalars (n_atoms, n0 + n1 + n2), of which the first n0 go on as scalars, n1 times the
harmonics of l = 1 as vectors and n2 times those of l = 2 as tensors; vectors (n_atoms, 3, nv) and
tensors (n_atoms, 5, nt) go on as they are, and contracted with the harmonics as scalars. Every path
and channel has a weight an edge: (n_edges, n0 + n1 + n2 + 2 nv + 2 nt). Received are scalars
(n_centres, n0 + nv + nt), vectors (n_centres, 3, n1 + nv) and tensors (n_centres, 5, n2 + nt).
Contractions to scalars are divided by sqrt(2 l + 1), as e3nn does.
"""
# numba derives the types
# mypy: disable-error-code="no-untyped-def, misc, arg-type, call-overload, untyped-decorator"

from __future__ import annotations

import math

import numba

COMPILED = {"cache": True, "nogil": True, "fastmath": {"contract", "reassoc", "nsz"}}
THIRD, FIFTH = 1 / math.sqrt(3.0), 1 / math.sqrt(5.0)


@numba.njit(**COMPILED)
def gather(sizes, start, first, last, neighbor, s, v, t, weights, y, out_s, out_v, out_t):
    """Add the messages of centres ``first`` to ``last`` to what they have received."""
    n0, n1, n2, nv, nt = sizes
    wv = n0 + n1 + n2
    wt = wv + 2 * nv
    for i in range(first, last):
        to_s, to_v, to_t = out_s[i], out_v[i], out_t[i]
        for e in range(start[i], start[i + 1]):
            k, j = e - start[first], neighbor[e]
            w, a = weights[k], s[j]
            for c in range(n0):
                to_s[c] += w[c] * a[c]
            for m in range(3):
                f, row = y[k, 1 + m], to_v[m]
                for c in range(n1):
                    row[c] += f * w[n0 + c] * a[n0 + c]
            for m in range(5):
                f, row = y[k, 4 + m], to_t[m]
                for c in range(n2):
                    row[c] += f * w[n0 + n1 + c] * a[n0 + n1 + c]
            for m in range(3):
                f, row, b = y[k, 1 + m] * THIRD, to_v[m], v[j, m]
                for c in range(nv):
                    row[n1 + c] += w[wv + c] * b[c]
                    to_s[n0 + c] += f * w[wv + nv + c] * b[c]
            for m in range(5):
                f, row, b = y[k, 4 + m] * FIFTH, to_t[m], t[j, m]
                for c in range(nt):
                    row[n2 + c] += w[wt + c] * b[c]
                    to_s[n0 + nv + c] += f * w[wt + nt + c] * b[c]


@numba.njit(**COMPILED)
def scatter(sizes, start, first, last, neighbor, s, v, t, weights, y, g_s, g_v, g_t,
            d_weights, d_y, d_s, d_v, d_t):
    """The derivative of :func:`gather`, given that of what was received; all are added to."""
    n0, n1, n2, nv, nt = sizes
    wv = n0 + n1 + n2
    wt = wv + 2 * nv
    for i in range(first, last):
        from_s, from_v, from_t = g_s[i], g_v[i], g_t[i]
        for e in range(start[i], start[i + 1]):
            k, j = e - start[first], neighbor[e]
            w, a, d_w, d_a = weights[k], s[j], d_weights[k], d_s[j]
            for c in range(n0):
                d_w[c] += from_s[c] * a[c]
                d_a[c] += from_s[c] * w[c]
            for m in range(3):
                f, row = y[k, 1 + m], from_v[m]
                total = f * 0
                for c in range(n1):
                    d_w[n0 + c] += f * row[c] * a[n0 + c]
                    d_a[n0 + c] += f * row[c] * w[n0 + c]
                    total += row[c] * w[n0 + c] * a[n0 + c]
                d_y[k, 1 + m] += total
            for m in range(5):
                f, row = y[k, 4 + m], from_t[m]
                total = f * 0
                for c in range(n2):
                    d_w[n0 + n1 + c] += f * row[c] * a[n0 + n1 + c]
                    d_a[n0 + n1 + c] += f * row[c] * w[n0 + n1 + c]
                    total += row[c] * w[n0 + n1 + c] * a[n0 + n1 + c]
                d_y[k, 4 + m] += total
            for m in range(3):
                f, row, b, d_b = y[k, 1 + m] * THIRD, from_v[m], v[j, m], d_v[j, m]
                total = f * 0
                for c in range(nv):
                    one, two = row[n1 + c], from_s[n0 + c]
                    d_w[wv + c] += one * b[c]
                    d_w[wv + nv + c] += f * two * b[c]
                    d_b[c] += one * w[wv + c] + f * two * w[wv + nv + c]
                    total += two * w[wv + nv + c] * b[c]
                d_y[k, 1 + m] += total * THIRD
            for m in range(5):
                f, row, b, d_b = y[k, 4 + m] * FIFTH, from_t[m], t[j, m], d_t[j, m]
                total = f * 0
                for c in range(nt):
                    one, two = row[n2 + c], from_s[n0 + nv + c]
                    d_w[wt + c] += one * b[c]
                    d_w[wt + nt + c] += f * two * b[c]
                    d_b[c] += one * w[wt + c] + f * two * w[wt + nt + c]
                    total += two * w[wt + nt + c] * b[c]
                d_y[k, 4 + m] += total * FIFTH
