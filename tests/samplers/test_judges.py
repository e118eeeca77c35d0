"""The judge is another model than the guide, and says when it sees no gain where the guide does."""

import numpy as np
import pytest

from diffxas.errors import InputError
from samplers.judges import disagreement, find_judge
from surrogates.loading import load_surrogate


@pytest.fixture(scope="module")
def surrogate():
    return load_surrogate("a-C")


@pytest.mark.parametrize(("density", "name"), [(2.0, "a-C-judge-without-3.0"),
                                               (3.1, "a-C-judge-without-2.0")])
def test_the_judge_knows_the_density(surrogate, density, name):
    judge = find_judge(None, surrogate, density)
    assert judge is not None and judge.name == name
    np.testing.assert_allclose(judge.energy, surrogate.energy, atol=1e-3)


def test_the_guide_is_no_judge(surrogate):
    with pytest.raises(InputError, match="a judge must be another model"):
        find_judge("a-C", surrogate, 2.0)


def test_another_edge_is_no_judge(surrogate):
    with pytest.raises(InputError, match="C:K"):
        find_judge("cu-k-feff", surrogate, 2.0)


def test_a_gain_that_the_judge_does_not_see_is_named():
    free = {"guide": np.array([0.03, 0.03]), "judge": np.array([0.03, 0.032])}
    fooled = disagreement(np.array([0.01]), np.array([0.028]), free)
    assert fooled is not None and "fooled" in fooled
    assert disagreement(np.array([0.01]), np.array([0.015]), free) is None
    assert disagreement(np.array([0.031]), np.array([0.05]), free) is None  # nothing was gained
