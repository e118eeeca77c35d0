from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from surrogates.broadening import gaussian_matrix, lorentzian_matrix

KNOTS = np.array([0.0, 0.5, 1.1, 1.5, 2.6])
VALUES = np.array([0.2, 0.7, 0.1, 0.9, 0.4])


def convolved(kernel, at: float) -> float:
    """Quadrature over the pieces, with the constant ends, of kernel(at - x) f(x)."""
    def f(x):
        return kernel(at - x) * np.interp(x, KNOTS, VALUES)

    pieces = [(-np.inf, KNOTS[0]), *pairwise(KNOTS), (KNOTS[-1], np.inf)]
    return sum(quad(f, low, high, epsabs=1e-12)[0] for low, high in pieces)


def gaussian(width):
    return lambda x: np.exp(-0.5 * (x / width)**2) / np.sqrt(2 * np.pi) / width


def lorentzian(width):
    return lambda x: width / np.pi / (x**2 + width**2)


@pytest.mark.parametrize("width", [0.1, 0.7])
def test_gaussian_equals_quadrature(width):
    energy = np.array([-0.4, 0.3, 1.1, 2.0, 3.5])
    matrix, _, _ = gaussian_matrix(energy, KNOTS, width)
    expected = [convolved(gaussian(width), at) for at in energy]
    np.testing.assert_allclose(matrix @ VALUES, expected, atol=1e-8)


def test_lorentzian_of_varying_width_equals_quadrature():
    widths = np.array([0.1, 0.2, 0.5, 0.9, 1.5])
    matrix, _ = lorentzian_matrix(KNOTS, widths)
    expected = [convolved(lorentzian(w), at) for at, w in zip(KNOTS, widths, strict=True)]
    np.testing.assert_allclose(matrix @ VALUES, expected, atol=1e-8)


def test_a_constant_stays_and_a_narrow_kernel_interpolates():
    energy = np.linspace(-5, 9, 40)
    wide, _, _ = gaussian_matrix(energy, KNOTS, 2.0)
    np.testing.assert_allclose(wide.sum(axis=1), 1.0, atol=1e-12)
    rows, _ = lorentzian_matrix(KNOTS, np.full(5, 3.0))
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-12)
    narrow, _, _ = gaussian_matrix(energy, KNOTS, 1e-6)
    np.testing.assert_allclose(narrow @ VALUES, np.interp(energy, KNOTS, VALUES), atol=1e-5)


def test_derivatives_equal_finite_differences():
    energy, h = np.linspace(-1, 4, 12), 1e-6
    _, by_energy, by_width = gaussian_matrix(energy, KNOTS, 0.3)
    numeric = (gaussian_matrix(energy + h, KNOTS, 0.3)[0]
               - gaussian_matrix(energy - h, KNOTS, 0.3)[0]) / (2 * h)
    np.testing.assert_allclose(by_energy, numeric, atol=1e-7)
    numeric = (gaussian_matrix(energy, KNOTS, 0.3 + h)[0]
               - gaussian_matrix(energy, KNOTS, 0.3 - h)[0]) / (2 * h)
    np.testing.assert_allclose(by_width, numeric, atol=1e-7)
    widths = np.linspace(0.1, 1.0, 5)
    numeric = (lorentzian_matrix(KNOTS, widths + h)[0]
               - lorentzian_matrix(KNOTS, widths - h)[0]) / (2 * h)
    np.testing.assert_allclose(lorentzian_matrix(KNOTS, widths)[1], numeric, atol=1e-7)
