"""Broadening of a piecewise-linear spectrum as a matrix, exact for Gaussian and Lorentzian.

A spectrum m on knots x_0 < ... < x_n is read as piecewise linear, constant beyond its ends:

    f(E) = m_0 + sum_k (m_{k+1} - m_k) s_k(E),    s_k the linear step from x_k to x_{k+1}.

Its convolution with a kernel K replaces s_k by a smooth step

    S_k(E) = [P(E - x_k) - P(E - x_{k+1})] / (x_{k+1} - x_k),    P'' = K,

and P is elementary for both kernels (constants in P cancel in S):

    Gaussian, standard deviation w:   P(x) = x Phi(x/w) + w phi(x/w)
    Lorentzian, half width w:         P(x) = x/2 + [x atan(x/w) - (w/2) ln(x^2 + w^2)] / pi

The matrix (n_points, n_knots) follows by differences of S. Each row sums to one, so that a
constant stays what it is; widths may differ from row to row (a photoelectron's lifetime shortens
with its energy). No grid has to be uniform and no kernel is cut off.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr


def _from_steps(primitive: np.ndarray, knots: np.ndarray, before: float) -> np.ndarray:
    """Matrix (n_points, n_knots) from ``primitive[i, k] = P(E_i - x_k)``.

    ``before`` is the step left of the first knot: 1 for weights, 0 for their derivatives.
    """
    steps = -np.diff(primitive, axis=1) / np.diff(knots)
    padded = np.empty((len(primitive), len(knots) + 1))
    padded[:, 0], padded[:, 1:-1], padded[:, -1] = before, steps, 0.0
    return -np.diff(padded, axis=1)


def gaussian_matrix(energy: np.ndarray, knots: np.ndarray, width: float,
                    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interpolate onto ``energy`` and broaden by a Gaussian.

    Parameters
    ----------
    energy : (n_points,), eV
    knots : (n_knots,), eV, strictly increasing
    width : standard deviation > 0, eV

    Returns
    -------
    matrix, its derivative by ``energy``, its derivative by ``width``; each (n_points, n_knots)
    """
    x = energy[:, None] - knots[None, :]
    z = x / width
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    cumulative = ndtr(z)
    return (_from_steps(x * cumulative + width * density, knots, 1.0),
            _from_steps(cumulative, knots, 0.0),
            _from_steps(density, knots, 0.0))


def lorentzian_matrix(knots: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Broaden on the knots themselves by a Lorentzian whose width varies with energy.

    Parameters
    ----------
    knots : (n_knots,), eV, strictly increasing
    width : (n_knots,), half width at half maximum > 0 at each knot, eV

    Returns
    -------
    matrix, derivative of each row by its own width; each (n_knots, n_knots)
    """
    x = knots[:, None] - knots[None, :]
    w = width[:, None]
    logarithm = 0.5 * np.log(x**2 + w**2)
    primitive = 0.5 * x + (x * np.arctan(x / w) - w * logarithm) / np.pi
    return (_from_steps(primitive, knots, 1.0),
            _from_steps(-logarithm / np.pi, knots, 0.0))
