"""Noise-aware guidance on a mixture of Gaussians, where mean and variance given x_t are known.

A cell is N coordinates drawn from a mixture of two narrow modes, as far apart as bonds are: which
mode is decided at high noise. Observed is the cell's mean of x^2, with Gaussian noise, as a
spectrum is a mean over sites. Given x_t every E[x_0^2 | x_t] and Var[x_0^2 | x_t] is a closed
expression. The posterior of the cell's mean is known from the prior's own draws, weighed by their
likelihood.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from analytic_denoisers import MixtureDenoiser
from scipy.stats import kstest
from torch import Tensor

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.algorithms import find_algorithm
from samplers.algorithms.base import Problem
from samplers.algorithms.dps import DPS
from samplers.algorithms.noise_aware import NoiseAware
from samplers.guides.base import Guide, Guides
from samplers.guides.noised import NoisedGuide
from samplers.sampling import SamplingSchedule

PRIOR = MixtureDenoiser((-0.9, 0.3), (0.4, 0.6), 0.1)
N, BLOCKS = 40, 100
"""Coordinates of a cell; there is a cell of each axis in every block of N atoms."""
ASKED, NOISE = 0.5, 0.04
SCHEDULE = SamplingSchedule()
SYSTEM = Structure(np.zeros((N * BLOCKS, 3)), np.full(N * BLOCKS, 6), np.eye(3) * 1e3)


def moments(x_t: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """E and Var of x_0^2 given x_t, each of the shape of x_t."""
    means = torch.tensor(PRIOR.means, dtype=x_t.dtype)
    total = PRIOR.width**2 + sigma**2
    distance = x_t[..., None] - means
    chance = torch.softmax(torch.tensor(PRIOR.weights, dtype=x_t.dtype).log()
                           - 0.5 * distance**2 / total, -1)
    m, v = means + PRIOR.width**2 / total * distance, PRIOR.width**2 * sigma**2 / total
    second = (chance * (m**2 + v)).sum(-1)
    fourth = (chance * (m**4 + 6 * m**2 * v + 3 * v**2)).sum(-1)
    return second, fourth - second**2


def cells(values: Tensor) -> Tensor:
    """Means over the blocks, (BLOCKS, n_axes)."""
    return values.reshape(BLOCKS, N, -1).mean(1)


@dataclass(eq=False)
class Known(NoisedGuide):
    """The exact moments; ``share`` of the variance is admitted."""

    share: float = 1.0
    axes: int = 3
    label: str = "mean square"
    system: Structure = SYSTEM

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        return -0.5 * ((cells(x_0[:, :self.axes] ** 2) - ASKED) ** 2).sum() / NOISE**2

    def noised(self, x_t: Tensor, sigma: float) -> Tensor:
        mean, variance = moments(x_t[:, :self.axes], sigma)
        total = NOISE**2 + self.share * cells(variance) / N
        return (-0.5 * (cells(mean) - ASKED) ** 2 / total - 0.5 * total.log()).sum()

    def at(self, system: Structure) -> Guide:
        return self


def start(number: int) -> Tensor:
    z = np.random.default_rng([7, number]).standard_normal((N * BLOCKS, 3))
    return torch.tensor(SCHEDULE.sigma_max * z + np.random.default_rng([8, number]).choice(
        PRIOR.means, (N * BLOCKS, 3), p=PRIOR.weights))


def observed(guide: Guide, algorithm: NoiseAware | DPS = NoiseAware()) -> np.ndarray:  # noqa: B008
    """Mean square of every cell that was drawn, (3 BLOCKS,)."""
    with torch.no_grad():
        x = algorithm.draw(Problem(PRIOR, guide, SCHEDULE, start, 3), 0).positions
    return cells(x**2).flatten().numpy()


def prior_draws(n_cells: int = 100_000) -> np.ndarray:
    rng = np.random.default_rng(1)
    x = rng.choice(PRIOR.means, (n_cells, N), p=PRIOR.weights)
    return ((x + PRIOR.width * rng.standard_normal(x.shape)) ** 2).mean(1)


@pytest.fixture(scope="module")
def posterior():
    """Cumulative distribution, mean and standard deviation of a cell's mean square given ASKED."""
    v = np.sort(prior_draws())
    weight = np.exp(-0.5 * ((v - ASKED) / NOISE) ** 2)
    weight /= weight.sum()
    mean = weight @ v
    total = np.cumsum(weight)
    return lambda q: np.interp(q, v, total), mean, np.sqrt(weight @ (v - mean) ** 2)


def test_cells_follow_the_posterior(posterior):
    law, mean, width = posterior
    found = observed(Known())
    assert found.mean() == pytest.approx(mean, abs=0.15 * width)
    assert found.std() == pytest.approx(width, rel=0.1)
    assert kstest(found, law).pvalue > 0.01


def test_unguided_cells_do_not(posterior):
    law, mean, width = posterior
    found = prior_draws(3 * BLOCKS)
    assert abs(found.mean() - mean) > width
    assert kstest(found, law).pvalue < 1e-6


def test_a_guide_that_takes_the_mean_for_certain_is_refuted(posterior):
    assert kstest(observed(Known(share=0.0)), posterior[0]).pvalue < 1e-3


def test_the_square_of_the_estimate_is_refuted(posterior):
    """The plug-in at the estimate, which knows nothing of what it leaves open."""
    assert kstest(observed(Known(), DPS()), posterior[0]).pvalue < 1e-3


@dataclass(eq=False)
class Pulled(Guide):
    """y of every atom observed at 0.5, without a form for noised structures."""

    label: str = "y"
    system: Structure = SYSTEM

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        return -0.5 * ((x_0[:, 1] - 0.5) ** 2).sum() / (1 + sigma**2)

    def at(self, system: Structure) -> Guide:
        return self


def test_guides_without_a_noised_form_add_as_in_dps():
    with torch.no_grad():
        both, alone, dps = (
            algorithm.draw(Problem(PRIOR, guide, SCHEDULE, start, 3), 0).positions
            for algorithm, guide in ((NoiseAware(), Guides([Known(axes=1), Pulled()])),
                                     (NoiseAware(), Known(axes=1)), (DPS(), Pulled())))
    assert torch.allclose(both[:, 0], alone[:, 0], atol=1e-3)
    assert torch.allclose(both[:, 1], dps[:, 1], atol=1e-3)
    assert not torch.allclose(both[:, 1], alone[:, 1], atol=0.1)


class Silent(Known):
    """Known only where nothing of the walk happens."""

    sigma_low = 50.0


def test_below_the_lowest_level_the_estimate_is_seen_without_its_gradient():
    calls = []

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        calls.append(x.requires_grad and torch.is_grad_enabled())
        return PRIOR(x, sigma)

    guide = Silent()
    with torch.no_grad():
        drawn = NoiseAware().draw(Problem(denoiser, guide, SCHEDULE, start, 3), 0)
    assert not any(calls)
    assert abs(float((drawn.positions**2).mean()) - ASKED) < NOISE
    assert len(drawn.trace) == SCHEDULE.calls


def test_an_unguided_draw_is_that_of_dps():
    problem = Problem(PRIOR, None, SCHEDULE, start, 3)
    with torch.no_grad():
        assert torch.equal(NoiseAware().draw(problem, 0).positions,
                           DPS().draw(problem, 0).positions)


def test_it_is_found_by_name_and_refuses_a_surrogate_that_taught_none():
    from position_surrogate import PositionSurrogate

    from surrogates.noised import noised_for

    assert isinstance(find_algorithm("noise-aware"), NoiseAware)
    with pytest.raises(InputError, match=r"noise-aware surrogate of positions .* dps"):
        noised_for(PositionSurrogate())
