"""Particles against posteriors that are known: weighted laws, evidence, and what must fail."""

import numpy as np
import pytest
import torch
from known_posteriors import LINE, SQUARE_WELLS, TOYS, Seen, Toy
from scipy.stats import norm

from samplers.algorithms.dps import DPS
from samplers.algorithms.particles import Particles, Population, proposed
from samplers.algorithms.weights import normalised
from samplers.sampling import SamplingSchedule, Step, transition

SHORT = SamplingSchedule(steps=12, eta=1.0, sigma_max=4.0, bond_high=0.9, bond_low=0.1,
                         bond_share=0.5)
WALKS = 100


class WithoutGradient(Seen):
    """The same likelihood; nothing may differentiate it."""

    differentiable = False

    def __call__(self, x_0, sigma):
        assert not x_0.requires_grad and not torch.is_grad_enabled()
        return super().__call__(x_0, sigma)


def population(toy: Toy, guide: Seen | None, walks: int = WALKS, number: int = 0,
               schedule: SamplingSchedule = SHORT) -> Population:
    with torch.no_grad():
        return Particles(walks).population(toy.problem(1, guide, schedule), number)


def blind(guide: Seen) -> WithoutGradient:
    return WithoutGradient(guide.f, guide.y, guide.error, guide.system, guide.left,
                           guide.strength)


def weighted(toy: Toy, end: Population) -> tuple[float, float, float]:
    """Mean, share on the right, and distance of Kolmogorov and Smirnov of the weighted ends."""
    x, w = end.positions[:, 0, 0].numpy(), normalised(end.log_weights)
    order = np.argsort(x)
    below = np.cumsum(w[order])
    law = toy.law(x[order])
    misfit = max(np.abs(below - law).max(), np.abs(below - w[order] - law).max())
    return float(w @ x), float(w[x > 0].sum()), float(misfit)


@pytest.mark.parametrize(("name", "gradient"), [
    ("line", True), ("square_wells", True), ("line_wells", False), ("square_wells", False)])
def test_weighted_particles_follow_the_posterior_and_give_its_evidence(name, gradient):
    toy = TOYS[name]
    guide = toy.guide(1)
    end = population(toy, guide if gradient else blind(guide))
    mean, right, misfit = weighted(toy, end)
    number = end.effective.min()
    assert number > 0.2 * WALKS
    assert mean == pytest.approx(toy.mean, abs=4 * toy.std / np.sqrt(number))
    assert right == pytest.approx(toy.right(), abs=4 * 0.5 / np.sqrt(number))
    assert misfit < 1.63 / np.sqrt(number)
    assert end.log_evidence == pytest.approx(toy.log_evidence, abs=0.4)


def test_without_the_ratio_of_prior_and_proposal_what_is_asked_counts_twice(monkeypatch):
    """The likelihood pulls and weighs: the evidence is too large."""
    import samplers.algorithms.particles as module

    def free(*arguments):
        x, ratio = proposed(*arguments)
        return x, 0 * ratio

    monkeypatch.setattr(module, "proposed", free)
    end = population(LINE, LINE.guide(1))
    assert end.log_evidence > LINE.log_evidence + 0.4


def test_unweighted_ends_of_walks_that_never_resample_are_the_prior(monkeypatch):
    import samplers.algorithms.particles as module

    monkeypatch.setattr(module, "RESAMPLE", 0.0)
    end = population(SQUARE_WELLS, blind(SQUARE_WELLS.guide(1)))
    assert SQUARE_WELLS.misfit(end.positions[:, 0, 0].numpy()) > 1.63 / np.sqrt(WALKS)
    assert end.effective[-1] < WALKS


@pytest.mark.parametrize("sigma", [1.0, 0.3, 0.11])
def test_the_weight_of_a_step_is_the_ratio_of_its_densities(sigma):
    """In the tempered range and out of it, where steps have histories of their own."""
    schedule = SamplingSchedule(temperature=0.8, noise_scale=0.7, eta=5.0)
    problem = LINE.problem(4, None, schedule)
    rng = np.random.default_rng(0)
    x, prior, guided = (torch.tensor(rng.standard_normal((3, 4, 3))) * 0.1 for _ in range(3))
    steps = tuple(Step(0, 1.1 * sigma, 0.1 * torch.tensor(rng.standard_normal((3, 4, 3))), x)
                  for _ in range(2))
    levels = (sigma, 0.93 * sigma)
    new, ratio = proposed(problem, x, (prior, guided), levels, steps, 1, [0, 1, 2])
    densities = []
    for estimate, step in zip((prior, guided), steps, strict=True):
        mean, width = transition(x, estimate, *levels, schedule, step)
        densities.append(norm(mean.numpy(), width).logpdf(new.numpy()).sum((1, 2)))
    np.testing.assert_allclose(ratio, densities[0] - densities[1], rtol=1e-9)


def test_one_particle_without_a_guide_is_the_plain_walk_and_numbers_key_the_noise():
    problem = LINE.problem(2, None, SHORT)
    one = Particles(1).draw(problem, 5)
    torch.testing.assert_close(one.positions, DPS().draw(problem, 5).positions,
                               atol=1e-12, rtol=0)
    assert one.log_evidence == 0.0 and one.calls == SHORT.calls
    guided = LINE.problem(1, LINE.guide(1), SHORT)
    first, again, other = (Particles(3).draw(guided, n).positions for n in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_every_step_of_every_particle_is_seen():
    seen = []
    Particles(3).draw(LINE.problem(1, LINE.guide(1), SHORT), 0, seen.append)
    assert len(seen) == 3 * SHORT.calls and seen[0].x.shape == (1, 3)
