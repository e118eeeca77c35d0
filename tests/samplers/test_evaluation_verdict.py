"""The sentence comes out each way, and by the reason that the numbers give."""

import numpy as np
import pytest

from samplers.evaluation_verdict import Evidence, thresholds, verdict

GOOD = {"known": 0.31, "expected": 0.30, "excess_error": 0.01, "gap": 0.02, "gap_error": 0.01,
        "fall": 0.03, "fall_error": 0.01, "ratio": {"g(r)": 1.1, "angles": 1.0, "rings": 1.2}}


def word(**changes: object) -> str:
    return verdict(Evidence(**{**GOOD, **changes}))[0]  # type: ignore[arg-type]


def sentence(**changes: object) -> str:
    return verdict(Evidence(**{**GOOD, **changes}))[1]  # type: ignore[arg-type]


def test_a_prior_that_is_right_in_everything_is_usable_and_its_misses_are_named() -> None:
    assert word() == "usable"
    assert sentence().startswith("usable: ") and "Beyond" not in sentence()
    text = sentence(beyond=("energy +0.100 eV by rebo (asked 0.05)",))
    assert text.startswith("usable: ") and "energy +0.100 eV by rebo" in text


def test_environments_of_the_training_set_beyond_those_of_unseen_networks_are_memorised() -> None:
    assert word(known=0.36) == "memorised"
    assert "36.0 %" in sentence(known=0.36) and "30.0 %" in sentence(known=0.36)
    # Two standard errors protect from a verdict by few samples.
    assert word(known=0.36, excess_error=0.03) == "usable"
    # Copies outweigh whatever else is wrong.
    assert word(known=0.9, gap=0.5, ratio={"g(r)": 2.0}) == "memorised"


def test_a_loss_that_doubles_on_unseen_networks_is_memorised_if_environments_are_alike() -> None:
    assert word(known=0.99, expected=0.99, gap=1.5) == "memorised"
    assert "2.50 times" in sentence(gap=1.5)
    assert "cannot be told" in sentence(known=0.99, expected=0.99)


@pytest.mark.parametrize(("changes", "error", "reason"), [
    ({"gap": 0.2}, "gap_error", "1.20 times"), ({"fall": 0.2}, "fall_error", "by 20 %"),
    ({"gap": np.nan, "curve_gap": 0.3}, "curve_gap_error", "small prior"),
])
def test_losses_that_ask_for_more_networks_say_too_few(changes, error, reason) -> None:
    sharp, loose = ({**changes, error: size} for size in (0.01, 0.2))
    assert word(**sharp) == "too few networks"
    assert sentence(**sharp).startswith("too few networks: ") and reason in sentence(**sharp)
    assert word(**loose) == "usable"


def test_distances_alone_do_not_blame_the_number_of_networks_for_certain() -> None:
    text = sentence(ratio={"g(r)": 1.1, "rings": 1.6})
    assert text.startswith("too few networks, or too short a training")
    assert "1.60 times in rings" in text and "g(r)" not in text
    assert word(ratio={"rings": 1.6}, ratio_error={"rings": 0.2}) == "usable"


def test_what_is_not_known_is_said_and_accuses_nobody() -> None:
    text = verdict(Evidence(ratio={"g(r)": 1.0}))[1]
    assert text.startswith("usable: memorisation could not be judged")
    assert "loss on unseen networks is not known" in text


def test_the_thresholds_are_stated() -> None:
    for number in ("0.02", "2 times", "1.1 times", "10 %", "1.3 times"):
        assert number in thresholds()
