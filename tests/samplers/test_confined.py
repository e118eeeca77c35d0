"""Walks with part of the answer known, against laws that are known."""

import numpy as np
import pytest
import torch
from analytic_denoisers import GaussianDenoiser
from torch import Tensor

from samplers.confined import ClearedDenoiser, HeldDenoiser
from samplers.open_space import open_space
from samplers.regions import HalfSpace, Sphere
from samplers.sampling import SamplingSchedule, sample

SCHEDULE = SamplingSchedule()
PAIRS, WIDTH, CORRELATION, PLACE = 2000, 0.4, 0.8, 0.5


class PairDenoiser:
    """Of pairs of atoms, the first half and the second, whose coordinates are correlated Gaussians.

    E[x_0 | x_t] = C (C + sigma^2)^-1 x_t with C the covariance of a pair.
    """

    def __call__(self, x_t: Tensor, sigma: float) -> Tensor:
        covariance = WIDTH**2 * torch.tensor([[1.0, CORRELATION], [CORRELATION, 1.0]],
                                             dtype=x_t.dtype)
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(2, dtype=x_t.dtype))
        return torch.einsum("ij,jnx->inx", gain, x_t.reshape(2, -1, 3)).reshape(x_t.shape)


def start(n_atoms: int, places: np.ndarray | float = 0.0) -> Tensor:
    z = np.random.default_rng(2).standard_normal((n_atoms, 3))
    return torch.tensor(places + SCHEDULE.sigma_max * z)


def held_pairs(schedule: SamplingSchedule) -> np.ndarray:
    """The second atoms of pairs whose first is held at ``PLACE``."""
    held, places = np.arange(PAIRS), np.full((PAIRS, 3), PLACE)
    x = start(2 * PAIRS, np.concatenate([places, np.zeros_like(places)]))
    x = sample(HeldDenoiser(PairDenoiser(), held, places), x, schedule, 4, 0)
    np.testing.assert_allclose(x[:PAIRS], places, atol=1e-6)
    return x[PAIRS:].numpy()


def test_the_others_follow_the_law_given_the_atoms_that_are_held():
    """Mean r a and width sqrt(1 - r^2) of the second given the first at a; free, 0 and 1."""
    second = held_pairs(SCHEDULE)
    assert 0.82 < second.mean() / (CORRELATION * PLACE) < 1.02
    given = WIDTH * np.sqrt(1 - CORRELATION**2)
    assert 0.9 < second.std() / given < 1.05
    straight = held_pairs(SamplingSchedule(eta=0.0))  # the controls
    assert straight.mean() < 0.5 * CORRELATION * PLACE and straight.std() > 1.2 * given
    free = sample(PairDenoiser(), start(2 * PAIRS), SCHEDULE, 4, 0).numpy()
    assert abs(free[PAIRS:].mean()) < 0.02 and free[PAIRS:].std() > 1.3 * given


def test_held_atoms_carry_the_noise_of_their_level_on_the_way():
    places = np.full((3000, 3), 7.0)
    seen = []

    def watching(x_t: Tensor, sigma: float) -> Tensor:
        seen.append((sigma, float((x_t - 7.0).std())))
        return torch.zeros_like(x_t)

    sample(HeldDenoiser(watching, np.arange(3000), places), start(3000, 7.0), SCHEDULE, 1, 0)
    assert len(seen) == SCHEDULE.steps
    for sigma, spread in seen:
        assert spread == pytest.approx(sigma, rel=0.05)


def test_no_estimate_and_no_atom_of_the_others_lies_in_a_closed_region():
    cell = 10.0 * np.eye(3)
    space = open_space(cell, np.array([True, True, False]),
                       [Sphere((5.0, 5.0, 5.0), 3.0), HalfSpace(0, 2.0, True)])
    cloud = GaussianDenoiser(5.0, 1.5)  # most of it in the sphere
    others = np.arange(200, 1000)
    denoiser = ClearedDenoiser(cloud, space, others)
    x = start(1000, 5.0)
    estimate = denoiser(x, 1.2)
    assert not space.forbidden(estimate[200:].numpy()).any()
    np.testing.assert_array_equal(estimate[:200], cloud(x, 1.2)[:200])  # held atoms are let be
    end = sample(denoiser, x, SCHEDULE, 0, 0).numpy()
    assert not space.forbidden(end[others]).any()
    assert space.forbidden(end[:200]).mean() > 0.3
    assert space.forbidden(sample(cloud, x, SCHEDULE, 0, 0).numpy()).mean() > 0.3  # the control


def test_entering_the_walk_late_keeps_what_the_noise_has_left():
    """At a low level the wells of a start are kept, at the highest they are drawn anew."""
    from analytic_denoisers import MixtureDenoiser

    wells = MixtureDenoiser((-1.0, 1.0), (0.5, 0.5), 0.1)
    z = torch.tensor(np.random.default_rng(3).standard_normal((1000, 3)))
    kept = []
    for begin in (0.2, 1.2):
        schedule = SamplingSchedule(begin=begin)
        x = sample(wells, 1.0 + begin * z, schedule, 0, 0)
        kept.append(float((x > 0).double().mean()))
    assert kept[0] > 0.99 and 0.4 < kept[1] < 0.9
