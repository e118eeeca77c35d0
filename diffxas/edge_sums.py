r"""Loops over edges, compiled by numba: products of features with harmonics, summed at centres.

Sent are scalars (n_atoms, n0 + n1 + n2), of which the first n0 go on as scalars, n1 times the
harmonics of l = 1 as vectors and n2 times those of l = 2 as tensors; vectors (n_atoms, 3, nv) and
tensors (n_atoms, 5, nt) go on as they are, and contracted with the harmonics as scalars. Every path
and channel has a weight an edge: (n_edges, n0 + n1 + n2 + 2 nv + 2 nt). Received are scalars
(n_centres, n0 + nv + nt), vectors (n_centres, 3, n1 + nv) and tensors (n_centres, 5, n2 + nt), each
message times the envelope of its edge. Contractions to scalars are divided by sqrt(2 l + 1), as
e3nn does.

The numbers of channels are constants of the compiled loops (one compilation for each network's
shape, kept on disk): only so can the compiler see that rows of one sum do not overlap, and take
many channels at once.
"""
# numba derives the types
# mypy: disable-error-code="no-untyped-def, misc, arg-type, call-overload, untyped-decorator"

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

COMPILED = {"cache": True, "nogil": True, "fastmath": {"contract", "reassoc", "nsz"}}
THIRD, FIFTH = 1 / math.sqrt(3.0), 1 / math.sqrt(5.0)
ROOT3, ROOT5, ROOT15 = math.sqrt(3.0), math.sqrt(5.0), math.sqrt(15.0)
INVERSE_E = math.exp(-1.0)
REACH = 10
"""Gaussians so many widths away are zero: exp(-REACH^2 / 2) is below double precision."""


@numba.njit(**COMPILED)
def geometry(vectors, width, cutoff, core, basis, fade, y):
    """Of every edge: radial basis, envelope, harmonics (:class:`diffxas.network.Radial`).

    Centres of the Gaussians are k times their width, so that neighbours in the row have a ratio
    exp(+-(r / width - k) - 1 / 2), which falls by e a step: one row takes two exponentials.

    Parameters
    ----------
    vectors : (n_edges, 3), angstrom
    width : of the Gaussians, angstrom
    cutoff, core : angstrom
    basis, fade, y : (n_edges, n_basis), (n_edges,), (n_edges, 9), written
    """
    n_basis, real = basis.shape[1], vectors.dtype.type
    half, inverse_e = real(0.5), real(INVERSE_E)
    for e in range(len(vectors)):
        a, b, c = vectors[e, 0], vectors[e, 1], vectors[e, 2]
        r2 = a * a + b * b + c * c
        r = math.sqrt(r2 + 1e-12)
        row = basis[e]
        row[:] = 0
        u = r / width
        nearest = min(int(u + half), n_basis - 1)
        u -= real(nearest)
        most = math.exp(-half * u * u)
        row[nearest] = most
        value, ratio = most, math.exp(u - half)
        for k in range(nearest + 1, min(n_basis, nearest + REACH)):
            value *= ratio
            ratio *= inverse_e
            row[k] = value
        value, ratio = most, math.exp(-u - half)
        for k in range(nearest - 1, max(-1, nearest - REACH), -1):
            value *= ratio
            ratio *= inverse_e
            row[k] = value
        u = min(r / cutoff, 1.0)
        cube = u * u * u
        fade[e] = 1 - cube * cube * (28 - 48 * u + 21 * u * u)
        short = 1 / math.sqrt(r2 + core * core)
        a, b, c = a * short, b * short, c * short
        y[e, 0] = 1.0
        y[e, 1], y[e, 2], y[e, 3] = ROOT3 * a, ROOT3 * b, ROOT3 * c
        y[e, 4], y[e, 5] = ROOT15 * a * c, ROOT15 * a * b
        y[e, 6] = ROOT5 * (b * b - 0.5 * (a * a + c * c))
        y[e, 7], y[e, 8] = ROOT15 * b * c, 0.5 * ROOT15 * (c * c - a * a)


@numba.njit(**COMPILED)
def add_ends(start, first, last, neighbor, to_center, to_neighbor, hidden):
    """Add what an edge's two atoms say to ``hidden`` (n_edges, n_hidden), in place."""
    for i in range(first, last):
        for e in range(start[i], start[i + 1]):
            k, j = e - start[first], neighbor[e]
            for c in range(hidden.shape[1]):
                hidden[k, c] += to_center[i, c] + to_neighbor[j, c]


@cache
def compiled_gather(n0: int, n1: int, n2: int, nv: int, nt: int) -> Callable[..., None]:
    """The sum of messages at their centres, for these numbers of channels."""
    wv, wt = n0 + n1 + n2, n0 + n1 + n2 + 2 * nv
    n_s, n_v, n_t = n0 + nv + nt, n1 + nv, n2 + nt
    v0, v1, v2 = n_s, n_s + n_v, n_s + 2 * n_v
    t0 = n_s + 3 * n_v
    t1, t2, t3, t4 = t0 + n_t, t0 + 2 * n_t, t0 + 3 * n_t, t0 + 4 * n_t
    n_all = t0 + 5 * n_t
    s1, s2 = n0, n0 + n1
    sv, st = n0, n0 + nv
    xt0, xt1, xt2, xt3, xt4 = 0, nt, 2 * nt, 3 * nt, 4 * nt

    @numba.njit(**COMPILED)
    def gather(start, first, last, neighbor, s, v, t, weights, bias, fade, y, out_s, out_v, out_t):
        """Messages of centres ``first`` to ``last``; ``v`` and ``t`` are flat, (n_atoms, 3 nv)."""
        total = np.empty(n_all, dtype=s.dtype)
        third, fifth = s.dtype.type(THIRD), s.dtype.type(FIFTH)
        for i in range(first, last):
            total[:] = 0
            for e in range(start[i], start[i + 1]):
                k, j = e - start[first], neighbor[e]
                w, a, b, d, f = weights[k], s[j], v[j], t[j], fade[k]
                for c in range(n0):
                    total[c] += f * (w[c] + bias[c]) * a[c]
                x, p, z = f * y[k, 1], f * y[k, 2], f * y[k, 3]
                for c in range(n1):
                    q = (w[s1 + c] + bias[s1 + c]) * a[s1 + c]
                    total[v0 + c] += x * q
                    total[v1 + c] += p * q
                    total[v2 + c] += z * q
                for c in range(nv):
                    q = (w[wv + c] + bias[wv + c]) * f
                    h = (w[wv + nv + c] + bias[wv + nv + c]) * third
                    total[v0 + n1 + c] += q * b[c]
                    total[v1 + n1 + c] += q * b[nv + c]
                    total[v2 + n1 + c] += q * b[2 * nv + c]
                    total[sv + c] += h * (x * b[c] + p * b[nv + c] + z * b[2 * nv + c])
                x, p, z = f * y[k, 4], f * y[k, 5], f * y[k, 6]
                g, r = f * y[k, 7], f * y[k, 8]
                for c in range(n2):
                    q = (w[s2 + c] + bias[s2 + c]) * a[s2 + c]
                    total[t0 + c] += x * q
                    total[t1 + c] += p * q
                    total[t2 + c] += z * q
                    total[t3 + c] += g * q
                    total[t4 + c] += r * q
                for c in range(nt):
                    q = (w[wt + c] + bias[wt + c]) * f
                    h = (w[wt + nt + c] + bias[wt + nt + c]) * fifth
                    total[t0 + n2 + c] += q * d[xt0 + c]
                    total[t1 + n2 + c] += q * d[xt1 + c]
                    total[t2 + n2 + c] += q * d[xt2 + c]
                    total[t3 + n2 + c] += q * d[xt3 + c]
                    total[t4 + n2 + c] += q * d[xt4 + c]
                    total[st + c] += h * (x * d[xt0 + c] + p * d[xt1 + c] + z * d[xt2 + c]
                                          + g * d[xt3 + c] + r * d[xt4 + c])
            out_s[i] = total[:v0]
            out_v[i] = total[v0:t0]
            out_t[i] = total[t0:]

    gathered: Any = gather
    return gathered


@numba.njit(**COMPILED)
def geometry_back(vectors, width, cutoff, core, d_exponents, d_fade, d_y, d_vectors):
    """The derivative of :func:`geometry`; the last is written, (n_edges, 3).

    ``d_exponents`` is that in the exponents of the basis, (n_edges, n_basis).
    """
    for e in range(len(vectors)):
        a, b, c = vectors[e, 0], vectors[e, 1], vectors[e, 2]
        r2 = a * a + b * b + c * c
        r = math.sqrt(r2 + 1e-12)
        d_r = d_fade[e] * 0
        for k in range(d_exponents.shape[1]):
            d_r -= d_exponents[e, k] * (r - k * width)
        d_r /= width * width
        u = r / cutoff
        if u < 1:
            d_r -= d_fade[e] * 168 * u**5 * (1 - u) * (1 - u) / cutoff
        short = 1 / math.sqrt(r2 + core * core)
        x, y, z = a * short, b * short, c * short
        g = d_y[e]
        d_a = ROOT3 * g[1] + ROOT15 * (z * g[4] + y * g[5] - x * g[8]) - ROOT5 * x * g[6]
        d_b = ROOT3 * g[2] + ROOT15 * (x * g[5] + z * g[7]) + 2 * ROOT5 * y * g[6]
        d_c = ROOT3 * g[3] + ROOT15 * (x * g[4] + y * g[7] + z * g[8]) - ROOT5 * z * g[6]
        along = x * d_a + y * d_b + z * d_c
        d_vectors[e, 0] = d_r * a / r + short * (d_a - x * along)
        d_vectors[e, 1] = d_r * b / r + short * (d_b - y * along)
        d_vectors[e, 2] = d_r * c / r + short * (d_c - z * along)


@cache
def compiled_scatter(n0: int, n1: int, n2: int, nv: int, nt: int) -> Callable[..., None]:
    """The derivative of :func:`compiled_gather`'s sum, for these numbers of channels."""
    wv, wt = n0 + n1 + n2, n0 + n1 + n2 + 2 * nv
    s1, s2, sv, st = n0, n0 + n1, n0, n0 + nv
    v0, v1, v2 = 0, n1 + nv, 2 * (n1 + nv)
    n_t = n2 + nt
    t0, t1, t2, t3, t4 = 0, n_t, 2 * n_t, 3 * n_t, 4 * n_t
    x0, x1, x2, x3, x4 = 0, nt, 2 * nt, 3 * nt, 4 * nt

    @numba.njit(**COMPILED)
    def scatter(start, first, last, neighbor, s, v, t, weights, fade, y, g_s, g_v, g_t,
                d_weights, d_fade, d_y, d_s, d_v, d_t):
        """Written: d_weights, d_fade, d_y of the edges; added to: d_s, d_v, d_t of the senders."""
        for i in range(first, last):
            gs, gv, gt = g_s[i], g_v[i], g_t[i]
            for e in range(start[i], start[i + 1]):
                k, j = e - start[first], neighbor[e]
                w, a, b, d, f = weights[k], s[j], v[j], t[j], fade[k]
                dw, da, db, dd = d_weights[k], d_s[j], d_v[j], d_t[j]
                # Of everything that the envelope multiplies; harmonics with and without it.
                of_f = f * 0
                for c in range(n0):
                    q = gs[c] * a[c]
                    of_f += q * w[c]
                    dw[c] = f * q
                    da[c] += f * gs[c] * w[c]
                x, p, z = y[k, 1], y[k, 2], y[k, 3]
                dx, dp, dz = f * 0, f * 0, f * 0
                for c in range(n1):
                    u = a[s1 + c] * w[s1 + c]
                    q = x * gv[v0 + c] + p * gv[v1 + c] + z * gv[v2 + c]
                    of_f += q * u
                    dx += gv[v0 + c] * u
                    dp += gv[v1 + c] * u
                    dz += gv[v2 + c] * u
                    dw[s1 + c] = f * q * a[s1 + c]
                    da[s1 + c] += f * q * w[s1 + c]
                for c in range(nv):
                    one, h = w[wv + c], w[wv + nv + c] * THIRD
                    g, m = gs[sv + c], gs[sv + c] * h
                    b0, b1, b2 = b[c], b[nv + c], b[2 * nv + c]
                    q = gv[v0 + n1 + c] * b0 + gv[v1 + n1 + c] * b1 + gv[v2 + n1 + c] * b2
                    r = x * b0 + p * b1 + z * b2
                    of_f += q * one + r * m
                    dw[wv + c] = f * q
                    dw[wv + nv + c] = f * THIRD * g * r
                    dx += m * b0
                    dp += m * b1
                    dz += m * b2
                    db[c] += f * (gv[v0 + n1 + c] * one + m * x)
                    db[nv + c] += f * (gv[v1 + n1 + c] * one + m * p)
                    db[2 * nv + c] += f * (gv[v2 + n1 + c] * one + m * z)
                d_y[k, 0] = 0
                d_y[k, 1], d_y[k, 2], d_y[k, 3] = f * dx, f * dp, f * dz
                y4, y5, y6, y7, y8 = y[k, 4], y[k, 5], y[k, 6], y[k, 7], y[k, 8]
                d4, d5, d6, d7, d8 = f * 0, f * 0, f * 0, f * 0, f * 0
                for c in range(n2):
                    u = a[s2 + c] * w[s2 + c]
                    q = (y4 * gt[t0 + c] + y5 * gt[t1 + c] + y6 * gt[t2 + c] + y7 * gt[t3 + c]
                         + y8 * gt[t4 + c])
                    of_f += q * u
                    d4 += gt[t0 + c] * u
                    d5 += gt[t1 + c] * u
                    d6 += gt[t2 + c] * u
                    d7 += gt[t3 + c] * u
                    d8 += gt[t4 + c] * u
                    dw[s2 + c] = f * q * a[s2 + c]
                    da[s2 + c] += f * q * w[s2 + c]
                for c in range(nt):
                    one, h = w[wt + c], w[wt + nt + c] * FIFTH
                    g, m = gs[st + c], gs[st + c] * h
                    b0, b1, b2, b3, b4 = d[x0 + c], d[x1 + c], d[x2 + c], d[x3 + c], d[x4 + c]
                    g0, g1, g2 = gt[t0 + n2 + c], gt[t1 + n2 + c], gt[t2 + n2 + c]
                    g3, g4 = gt[t3 + n2 + c], gt[t4 + n2 + c]
                    q = g0 * b0 + g1 * b1 + g2 * b2 + g3 * b3 + g4 * b4
                    r = y4 * b0 + y5 * b1 + y6 * b2 + y7 * b3 + y8 * b4
                    of_f += q * one + r * m
                    dw[wt + c] = f * q
                    dw[wt + nt + c] = f * FIFTH * g * r
                    d4 += m * b0
                    d5 += m * b1
                    d6 += m * b2
                    d7 += m * b3
                    d8 += m * b4
                    dd[x0 + c] += f * (g0 * one + m * y4)
                    dd[x1 + c] += f * (g1 * one + m * y5)
                    dd[x2 + c] += f * (g2 * one + m * y6)
                    dd[x3 + c] += f * (g3 * one + m * y7)
                    dd[x4 + c] += f * (g4 * one + m * y8)
                d_y[k, 4], d_y[k, 5], d_y[k, 6] = f * d4, f * d5, f * d6
                d_y[k, 7], d_y[k, 8] = f * d7, f * d8
                d_fade[k] = of_f

    scattered: Any = scatter
    return scattered
