"""Values as they are asked for: written, likely, contradictory."""

import math

import pytest
import torch
from asking_guides import of

from diffxas.errors import InputError
from samplers.guides.asked import Asked, check_consistent, split_asked


@pytest.mark.parametrize(("text", "low", "high", "deviation"), [
    ("=0.37", 0.37, 0.37, 0.05), ("=-1.5+-0.2", -1.5, -1.5, 0.2), ("=-2:3", -2, 3, 0.05),
    ("=<-7.2", -math.inf, -7.2, 0.05), ("=>1e2", 100, math.inf, 0.05)])
def test_the_five_forms(text, low, high, deviation):
    one = Asked.parse(text, 0.05, "q")
    assert (one.low, one.high, one.deviation, one.text) == (low, high, deviation, text)


@pytest.mark.parametrize("text", ["0.3", "=", "=a", "=1+-", "=1+-2+-3", "=1:2:3", "=<", "=nan",
                                  "=inf", "=1+-0", "=1+--1", "=3:2", "=>=2"])
def test_other_forms_are_refused_with_the_guide_named(text):
    with pytest.raises(InputError, match="property:q"):
        Asked.parse(text, 0.05, f"property:q{text}")


def test_what_stands_before_the_value():
    assert split_asked("runs/a=b/model=>3") == ("runs/a=b/model", "=>3")
    assert split_asked("mine:f") == ("mine:f", "")


def test_flat_inside_and_gaussian_outside_with_the_estimates_variance_added():
    one = Asked.parse("=1:2", 0.1, "q")
    value = torch.tensor([1.0, 1.5, 2.0, 2.3, 0.7], dtype=torch.float64)
    expected = -0.5 * torch.tensor([0, 0, 0, 0.09, 0.09]).double() / (0.01 + 0.03)
    torch.testing.assert_close(one.log_likelihood(value, 0.03), expected)
    assert [one.distance(v) for v in (1.5, 2.5, 0.5)] == [0.0, 0.5, 0.5]


@pytest.mark.parametrize("text", ["=1.2", "=1:1.4", "=<1.2", "=>1.2"])
def test_the_gradient_is_that_of_differences(text):
    one = Asked.parse(text, 0.1, "q")
    for value in (0.8, 1.25, 1.7):
        x = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(one.log_likelihood(x, 0.02), x)
        step = torch.tensor(1e-6, dtype=torch.float64)
        numeric = (one.log_likelihood(x.detach() + step, 0.02)
                   - one.log_likelihood(x.detach() - step, 0.02)) / 2e-6
        assert float(gradient) == pytest.approx(float(numeric), abs=1e-6)


def test_a_large_cell_is_asked_more_sharply_as_its_prior_is():
    one = Asked.parse("=1", 0.1, "q")
    value = torch.tensor(1.2)
    assert float(one.log_likelihood(value, 0.0, 0.1)) == pytest.approx(
        10 * float(one.log_likelihood(value)))


@pytest.mark.parametrize("pair", [("=0.3", "=0.6"), ("=<1", "=>2"), ("=0:1", "=1.5"),
                                  ("=0:1", "=1.4:2")])
def test_requests_that_nothing_satisfies_are_refused_by_name(pair):
    guides = [of("first", a=pair[0]), of("second", a=pair[1])]
    with pytest.raises(InputError, match=r"first.*second.*a to be"):
        check_consistent(guides)


@pytest.mark.parametrize("pair", [("=0.3", "=0.32"), ("=<2", "=>1"), ("=0:1", "=0.5"),
                                  ("=0.3+-0.2", "=0.6+-0.2")])
def test_requests_that_agree_are_left_alone(pair):
    check_consistent([of("first", a=pair[0]), of("second", a=pair[1]), of("third", b="=0.6")])


def test_shares_of_one_whole_sum_to_one_at_most():
    check_consistent([of("first", whole="all", a="=0.6"), of("second", whole="all", b="=0.4")])
    check_consistent([of("first", whole="all", a="=0.6"), of("second", whole="other", b="=0.6")])
    with pytest.raises(InputError, match="'first' and 'second'"):
        check_consistent([of("first", whole="all", a="=0.8"), of("second", whole="all", b="=0.6")])
