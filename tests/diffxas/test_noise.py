"""Counter-based noise: its law, with a control that fails, and its independence of who asks."""

import numpy as np
import pytest
from scipy import stats

from diffxas import noise

N = 100_000


def level(sample: np.ndarray, law: str = "norm") -> float:
    """Probability of a Kolmogorov-Smirnov distance as large as this one, for the law."""
    return float(stats.kstest(sample, law).pvalue)


def test_normal_numbers_have_the_moments_of_the_normal_law():
    z = noise.normal(0, 0, 0, N)
    assert z.shape == (N, 3) and np.isfinite(z).all()
    for column in z.T:  # each within four standard errors of 0, 1, 0, 3
        assert abs(column.mean()) < 4 * N**-0.5
        assert abs(column.var() - 1) < 4 * (2 / N) ** 0.5
        assert abs((column**3).mean()) < 4 * (15 / N) ** 0.5
        assert abs((column**4).mean() - 3) < 4 * (96 / N) ** 0.5
    # the axes, their squares too: Box and Muller give two numbers from one radius
    assert abs(np.corrcoef(z.T) - np.eye(3)).max() < 4 * N**-0.5
    assert abs(np.corrcoef((z**2).T) - np.eye(3)).max() < 4 * N**-0.5


def test_normal_numbers_pass_kolmogorov_and_smirnov_and_a_control_does_not():
    z = noise.normal(1, 2, 3, N)
    assert all(level(column) > 1e-3 for column in z.T)
    assert level(1.02 * z.ravel()) < 1e-3  # two per cent too wide is seen
    assert level(z.ravel() + 0.01) < 1e-3  # and so is a hundredth aside


def test_uniform_numbers_pass_kolmogorov_and_smirnov_and_a_control_does_not():
    u = noise.uniform(1, 2, 3, N)
    assert u.min() > 0 and u.max() < 1
    assert all(level(column, "uniform") > 1e-3 for column in u.T)
    assert level(u.ravel() ** 1.02, "uniform") < 1e-3


def test_the_ends_of_the_uniform_range_are_never_reached():
    ends = noise._unit(np.array([0, noise.MASK], dtype=np.uint64))
    assert 0 < ends[0] < 1e-15 and 1 - 1e-15 < ends[1] < 1


@pytest.mark.parametrize("draw", [noise.normal, noise.uniform, noise.words])
def test_an_atom_has_its_numbers_whoever_asks_and_in_whatever_order(draw):
    whole = draw(5, 6, 7, 50, stream=8)
    late = draw(5, 6, 7, 10, stream=8, first_atom=40)
    draw(0, 0, 0, 1000)  # somebody else, between
    early = draw(5, 6, 7, 40, stream=8)
    assert np.array_equal(np.concatenate([early, late]), whole)
    one_by_one = [draw(5, 6, 7, 1, stream=8, first_atom=k) for k in reversed(range(50))]
    assert np.array_equal(np.concatenate(one_by_one[::-1]), whole)


def key(**changed: int) -> dict[str, int]:
    return {"seed": 3, "sample": 4, "step": 5, "stream": 6, **changed}


@pytest.mark.parametrize("what", ["seed", "sample", "step", "stream"])
@pytest.mark.parametrize("by", [1, -1, 2**32])
def test_another_seed_sample_step_or_stream_is_independent(what, by):
    n = 20_000
    one = noise.normal(n_atoms=n, **key())
    other = noise.normal(n_atoms=n, **key(**{what: key()[what] + by}))
    assert abs(np.corrcoef(one.T, other.T)[:3, 3:]).max() < 4.5 * n**-0.5
    # nor is it the same numbers further along
    words = noise.words(n_atoms=n, **key())
    others = noise.words(n_atoms=n, **key(**{what: key()[what] + by}))
    assert not np.intersect1d(words, others).size


def test_the_four_keys_are_not_interchangeable():
    drawn = {tuple(noise.words(*order[:3], 1, stream=order[3])[0].tolist())
             for order in [(1, 2, 3, 4), (2, 1, 3, 4), (1, 3, 2, 4), (1, 2, 4, 3), (4, 3, 2, 1)]}
    assert len(drawn) == 5


def test_neighbouring_atoms_are_independent():
    z = noise.normal(0, 0, 0, N)
    assert abs(np.corrcoef(z[:-1].T, z[1:].T)[:3, 3:]).max() < 4.5 * N**-0.5


def test_negative_seeds_are_seeds():
    assert np.array_equal(noise.normal(-1, 0, 0, 5), noise.normal(2**64 - 1, 0, 0, 5))
    assert not np.array_equal(noise.normal(-1, 0, 0, 5), noise.normal(1, 0, 0, 5))
