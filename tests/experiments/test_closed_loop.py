"""The harness of experiments/closed-loop: truths, claims, reverse Monte Carlo, the arithmetic."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parents[2] / "experiments" / "closed-loop"
sys.path.insert(0, str(HERE))

import figures  # noqa: E402
import jobs  # noqa: E402
import reverse  # noqa: E402
import table  # noqa: E402
import truths  # noqa: E402

from diffxas.errors import RunError  # noqa: E402


def test_there_are_twenty_truths_that_no_model_knows() -> None:
    found = truths.truths()
    assert [sum(one.kind == kind for one in found) for kind in ("DFT", "pair", "network")] \
        == [5, 4, 11]
    assert len({one.name for one in found}) == len({one.number for one in found}) == 20
    assert all(len({one.surrogate, one.judge, one.maker}) == 3 for one in found)
    by_name = {one.name: one for one in found}
    for name, percent in (("high_2.40", 37), ("low_2.40", 10), ("high_3.10", 89), ("low_3.10", 38)):
        assert 100 * by_name[name].sp3 == pytest.approx(percent, abs=0.5)


def test_a_target_maker_was_trained_without_the_farther_density() -> None:
    assert truths.maker_at(1.3) == truths.maker_at(2.4) == "a-C-judge-without-3.0"
    assert truths.maker_at(2.6) == truths.maker_at(3.4) == "a-C-judge-without-2.0"


def test_peers_are_independent_and_alike() -> None:
    truth = truths.truth_named("nep_106")
    others = truths.peers(truth)[1:]
    parents = [str(one.info.get("parent", one.info["name"])) for one in others]
    assert len(set(parents)) == len(parents) > 3 and truth.name not in parents
    assert all(abs(one.density - truth.density) <= 0.1 for one in others)


def job(home: Path, name: str, fails: bool = False) -> jobs.Job:
    def make(work: Path) -> list[jobs.Outcome]:
        if fails:
            raise RunError("no luck")
        cell = truths.truths()[0].structure
        return [jobs.Outcome(cell, cell, float("nan"), -7.0, 1.0, None)]

    return jobs.Job(name, "key", make)


def test_jobs_are_made_once_claimed_by_one_and_failures_are_told(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "HOME", tmp_path)
    good, bad, taken = (job(tmp_path, name, name == "a/bad") for name in ("a/good", "a/bad", "b"))
    with jobs.claimed("b-key") as mine:
        assert mine
        missing = jobs.work_through([good, bad, taken], "test")
    assert [line.split(":")[0] for line in missing] == ["a/bad", "b"]
    assert good.done and not bad.done and not taken.done
    (one,) = good.outcomes()
    assert np.isnan(one.energy) and one.energy_sampled == -7.0 and one.calls is None
    assert jobs.work_through([taken], "test") == [] and taken.done


def test_samples_of_an_earlier_source_count_if_asked(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "HOME", tmp_path)
    job(tmp_path, "a/one-4").run()
    later = replace(job(tmp_path, "a/one-4"), key="yek")
    assert not later.done
    monkeypatch.setattr(jobs.Keep, "earlier", True)
    assert later.done and later.is_earlier and len(later.outcomes()) == 1
    assert not replace(later, name="a/on-4").done
    assert replace(later, name="a/one-2").done
    later.run()
    assert later.done and not later.is_earlier


def test_keys_follow_source_and_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ROOT", tmp_path)
    def key(text: str, fact: int = 1) -> str:
        jobs.meaning.cache_clear()
        (tmp_path / "a.py").write_text(text)
        return jobs.key_of(["a.py"], [], fact)

    first = key("def f():\n    return 1\n")
    assert key("def f():\n    'Said.'\n    return 1  # so\n") == first
    assert first not in (key("def f():\n    return 2\n"), key("def f():\n    return 1\n", 2))


def test_reverse_monte_carlo_has_the_law_of_energy_and_likelihood() -> None:
    """One atom in a spring, k T = 1, asked to lie at 1 +- 1: mean 1/2, variance 1/2 along x."""
    rng = np.random.default_rng(3)

    def energy(x: np.ndarray) -> float:
        return float(0.5 * (x**2).sum())

    def likelihood(x: np.ndarray) -> float:
        return float(-0.5 * (x[0, 0] - 1) ** 2)

    place = reverse.Place(np.zeros((1, 3)), 0.0, -0.5)
    seen = []
    for _ in range(12_000):
        place, _ = reverse.moved(place, energy, likelihood, 1.0, 3, 1.5, rng)
        seen.append(place.x[0])
    x, y, _ = np.array(seen).T
    assert x.mean() == pytest.approx(0.5, abs=0.05) and x.var() == pytest.approx(0.5, abs=0.07)
    assert y.mean() == pytest.approx(0, abs=0.07) and y.var() == pytest.approx(1, abs=0.12)


def row(sp3: float) -> dict[str, object]:
    return {"sampled": {"sp3": sp3}, "relaxed": {"sp3": sp3 / 2}}


def test_recovered_is_the_share_of_the_true_difference() -> None:
    high, low = [row(0.3), row(0.4)], [row(0.15), row(0.15)]
    true = 0.3704 - 0.1019
    assert table.recovered("2.4", high, low) == pytest.approx(0.2 / true, rel=1e-3)
    assert table.recovered("2.4", high, low, "relaxed") == pytest.approx(0.1 / true, rel=1e-3)


def test_a_rate_has_its_interval() -> None:
    assert table.binomial(18, 20) == "18 of 20 (68 to 99 %)"


def test_figures_draw_what_they_are_given() -> None:
    inside = {"mean": 20.0, "interval50": (18, 22), "interval90": (15, 25)}
    figure = figures.draw_recovered([{"kind": "pair", "sp3": 22.0, "guided": inside,
                                      "unguided": None}])
    assert len(figure.axes[0].get_lines()) > len(figure.axes[1].get_lines())
    pairs = figures.draw_pairs([{"method": "dps", "pair": "2.4", "high": [30.0], "low": [10.0]}],
                               {"2.4": {"high": 37.0, "low": 10.0}})
    assert pairs.axes[0].get_title().startswith("2.4")
