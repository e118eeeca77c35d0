"""Weighted walks: effective number, resampling, a draw; all by counter-based noise."""

from __future__ import annotations

import numpy as np

from diffxas import noise
from samplers.start import STREAM_CHOICE

WALKS_APART = 1 << 32
"""Walk k of a sample has its number plus k times this: no two samples share noise."""


def walk_number(sample: int, k: int) -> int:
    """Number of the k-th walk of a sample; that of the first is the sample's own."""
    return sample + k * WALKS_APART


def normalised(log_weights: np.ndarray) -> np.ndarray:
    """Weights of sum 1, (n,)."""
    w = np.exp(log_weights - log_weights.max())
    return np.asarray(w / w.sum())


def log_mean(log_weights: np.ndarray) -> float:
    """ln mean exp."""
    top = float(log_weights.max())
    return top + float(np.log(np.mean(np.exp(log_weights - top))))


def effective_number(log_weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2, between 1 and n (A. Kong, Univ. of Chicago tech. rep. 348 (1992))."""
    return float(1 / np.square(normalised(log_weights)).sum())


def chosen(log_weights: np.ndarray, count: int, seed: int, sample: int, step: int) -> np.ndarray:
    """Systematic resampling: ``count`` indices, each n w on average, (count,) int64.

    One uniform number for all: J. Carpenter, P. Clifford, P. Fearnhead, IEE Proc. Radar 146, 2
    (1999).
    """
    u = noise.uniform(seed, sample, step, 1, stream=STREAM_CHOICE)[0, 0]
    ends = np.cumsum(normalised(log_weights))
    places = (np.arange(count) + u) / count * ends[-1]
    return np.asarray(np.searchsorted(ends, places, side="right").clip(max=len(ends) - 1))
