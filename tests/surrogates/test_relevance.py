"""Weights by relevance: noise is turned down, and only what other networks confirm is turned up."""

import numpy as np
import torch

from surrogates.kernel import kernel
from surrogates.relevance import relevance


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One invariant that matters among six, 8 networks of 20 sites."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((160, 6))
    y = np.sin(2 * x[:, :1])
    return x, (y - y.mean()) / y.std(), [str(k // 20) for k in range(160)]


def test_what_matters_gains_on_what_does_not():
    x, y, groups = problem()
    factor = relevance(x, y, np.ones(1), kernel, 4.0, 0.01, 40, groups)
    assert factor[0] > 2 * factor[1:].max()


def test_the_error_of_new_networks_falls():
    x, y, groups = problem()
    new_x, new_y, _ = problem(1)
    length = torch.tensor(4.0, dtype=torch.float64)

    def error(factor: np.ndarray) -> float:
        a, b = torch.tensor(x * factor), torch.tensor(new_x * factor)
        solved = np.linalg.solve(kernel(a, a, length).numpy() + 0.01 * np.eye(len(x)), y)
        return float(np.mean((kernel(b, a, length).numpy() @ solved - new_y) ** 2))

    factor = relevance(x, y, np.ones(1), kernel, 4.0, 0.01, 40, groups)
    assert error(factor) < 0.5 * error(np.ones(6))


def test_a_mark_of_the_network_is_not_taken_for_knowledge():
    """Column 5 tells the network, whose sites share a level: memory that no new network has."""
    x, y, groups = problem()
    level = np.repeat(np.random.default_rng(2).standard_normal(8), 20)
    x[:, 5] = 3 * level
    apart = relevance(x, y + level[:, None], np.ones(1), kernel, 4.0, 0.01, 40, groups)
    inside = relevance(x, y + level[:, None], np.ones(1), kernel, 4.0, 0.01, 40,
                       [str(k) for k in range(160)])
    assert apart[5] < inside[5]


def test_without_a_second_network_or_steps_nothing_is_weighed():
    x, y, groups = problem()
    np.testing.assert_array_equal(relevance(x, y, np.ones(1), kernel, 4.0, 0.01, 40, ["a"] * 160),
                                  np.ones(6))
    np.testing.assert_array_equal(relevance(x, y, np.ones(1), kernel, 4.0, 0.01, 0, groups),
                                  np.ones(6))
