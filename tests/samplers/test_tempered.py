"""A tempered walk samples p^(1/T) where it tempers, and p where it does not."""

import numpy as np
import pytest
import torch

from diffxas.errors import InputError
from samplers.tempered import TemperedDenoiser, tempering

WIDTH = 0.3


def gaussian(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Exact denoiser of independent normal coordinates of standard deviation WIDTH about 0."""
    return x * WIDTH**2 / (WIDTH**2 + sigma**2)


def test_the_score_is_divided_by_the_temperature_within_the_range_only():
    x = torch.linspace(-1, 1, 30, dtype=torch.float64).reshape(10, 3)
    tempered = TemperedDenoiser(gaussian, temperature=0.5, low=0.1, high=0.6)
    for sigma, factor in ((0.05, 1.0), (0.1, 1.0), (0.2, 2.0), (0.5, 2.0), (0.6, 1.0), (1.0, 1.0)):
        score = (gaussian(x, sigma) - x) / sigma**2
        assert torch.allclose((tempered(x, sigma) - x) / sigma**2, factor * score)


def test_langevin_steps_with_the_tempered_score_have_the_narrower_law():
    rng, sigma = np.random.default_rng(0), 0.2
    widths = {}
    for temperature in (1.0, 0.5):
        denoiser = TemperedDenoiser(gaussian, temperature, low=0.1, high=0.6)
        x = torch.zeros(4000, 3, dtype=torch.float64)
        step = 0.02 * sigma**2
        for _ in range(600):
            score = (denoiser(x, sigma) - x) / sigma**2
            x = x + step * score + (2 * step) ** 0.5 * torch.tensor(rng.standard_normal(x.shape))
        widths[temperature] = float(x.std())
    full = (WIDTH**2 + sigma**2) ** 0.5
    assert widths[1.0] == pytest.approx(full, rel=0.03)
    assert widths[0.5] == pytest.approx(full * 0.5**0.5, rel=0.03)


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1.5])
def test_a_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(InputError, match="temperature must be"):
        TemperedDenoiser(gaussian, temperature)


def test_the_table_is_interpolated_and_constant_beyond_its_ends():
    table = [[2.5, 0.8, 0.9], [3.5, 0.4, 0.7]]
    assert tempering(table, 3.0) == pytest.approx((0.6, 0.8))
    assert tempering(table, 1.0) == pytest.approx((0.8, 0.9))
    assert tempering(table, 4.0) == pytest.approx((0.4, 0.7))
    assert tempering([], 3.0) == (1.0, 1.0)
