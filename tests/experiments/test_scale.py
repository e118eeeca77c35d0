"""The table of experiments/scale: a yes is measured, what is missing is not run, the rest is no."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffxas.errors import RunError
from diffxas.structure import Structure
from experiments.scale import kept, verdicts
from experiments.scale.call import SHARED
from experiments.scale.sizes import DEFAULT, LARGE, Job, jobs
from experiments.scale.verdicts import NOT_RUN, Line

GOOD = {"points": 1.0, "times g(r)": 1.1, "times angles": 1.1}


def sizes(kind: str, atoms: int, workers: int | None, seconds: float, peak: float = 100.0,
          sha256: str = "a", steps: int | None = None) -> dict[str, dict[str, Any]]:
    return {Job(kind, atoms, workers, steps=steps).name: {
        "atoms": atoms, "calls": steps or 64, "seconds_sampling": seconds, "wall": seconds + 5,
        "peak": peak, "sha256": sha256}}


def met(rows: dict[str, dict[str, Any]]) -> dict[str, object]:
    return {line.what: line.row()["met"] for line in verdicts.lines(rows)}


def test_what_was_not_measured_is_not_run_on_every_line() -> None:
    found = verdicts.lines({})
    assert len(found) > 15
    assert all(line.met is None and line.row()["found"] == line.row()["met"] == NOT_RUN
               for line in found)


def test_limits_need_both_time_and_memory() -> None:
    what = "unguided 100,000 atoms, sampling"
    for seconds, peak, expected in ((600, 2000, True), (800, 2000, False), (600, 4000, False)):
        assert met(sizes("sampling", 100_000, 2, seconds, peak))[what] is expected
    both = sizes("sampling", 100_000, None, 900) | sizes("sampling", 100_000, 2, 600)
    assert met(both)[what] is True  # the quicker one


def test_a_call_is_held_against_an_eighth_of_the_published_one() -> None:
    what = "one denoiser call, 216 atoms, one core"
    for ms, expected in ((0.068, True), (0.07, False)):
        assert met({"call-call-216": {"ms_per_atom": ms}})[what] is expected


def shared(workers: int | None, wall: float, sha256: str = "a") -> dict[str, dict[str, Any]]:
    more = "" if workers is None else f"-{workers}-workers"
    return {f"call-shared-{SHARED}{more}": {"wall": wall, "sha256": sha256}}


def test_workers_speed_up_and_give_the_same_bytes_or_not() -> None:
    speed, bits = f"two workers against one, a call of {SHARED:,} atoms, 2 cores", \
        "structures with no, one and two workers"
    one = shared(1, 17)
    assert met(one)[speed] == met(one)[bits] == NOT_RUN
    for seconds, name, expected in ((9.9, "a", (True, True)), (12, "b", (False, False))):
        found = met(one | shared(None, 16) | shared(2, seconds, name))
        assert (found[speed], found[bits]) == expected


def test_samples_of_any_workers_must_be_the_same_bytes() -> None:
    bits = "structures with no, one and two workers"
    for name, expected in (("a", True), ("b", False)):
        assert met(sizes("sampling", 10_000, None, 9)
                   | sizes("sampling", 10_000, 2, 6, sha256=name))[bits] is expected


def test_time_per_atom_and_call_compares_equal_means() -> None:
    what = "time per atom and call, 1,000,000 against 10,000 atoms"
    rows = sizes("sampling", 1_000_000, 2, 600, steps=32) | sizes("sampling", 10_000, None, 10)
    assert met(rows)[what] == NOT_RUN
    assert met(rows | sizes("sampling", 10_000, 2, 10))[what] is True
    assert met(rows | sizes("sampling", 10_000, 2, 9))[what] is False


def test_fewest_calls_are_good_and_so_are_all_more_at_every_density() -> None:
    bad = {**GOOD, "points": 5.0}
    rows = [{**GOOD, "calls": 8}, {**bad, "calls": 16}, {**GOOD, "calls": 32},
            {**GOOD, "calls": 64}]
    assert verdicts.fewest_good(rows) == 32
    assert verdicts.fewest_good([*rows, {**bad, "calls": 32}]) == 64
    assert verdicts.fewest_good([*rows, {**bad, "calls": 64}]) is None
    unguided = {f"calls-unguided-{row['calls']}": row for row in rows}
    what = "denoiser calls for a sample of the quality asked"
    assert met(unguided)[what] == NOT_RUN  # of guided ones nothing is known
    guided = {"calls": 64, "over_truth": 1.4}
    assert met({**unguided, "calls-guided-64": guided})[what] is False
    assert met({**unguided, "calls-guided-64": guided,
                "calls-guided-32": {**guided, "calls": 32}})[what] is True


def test_a_test_of_structure_needs_a_control_that_fails() -> None:
    def row(p: float, control: float) -> dict[str, Any]:
        every = {"large": p, "control": control, "uniform_start": 0.3}
        one = {"mean": 0.4, "spread": 0.1, "p": every}
        return {"edges": {"10": {"reduced": {**every, "mosaics of samples": 0.41},
                                 "repeated networks": one, "mosaics of networks": one}}}

    first = "100,000 atoms: variance over mean of the number of atoms in cubes of 10 angstrom"
    for p, control, expected in ((0.5, 0.001, True), (0.5, 0.5, False), (0.001, 0.001, False)):
        found = met({"structure-variance": row(p, control)})
        for name in ("repeated networks", "mosaics of networks"):
            assert found[f"{first}, against {name}"] is expected


def test_numbers_of_atoms_in_mosaics_are_told_from_random_ones() -> None:
    from experiments.scale.large import against, mosaic, reduced

    rng, cell = np.random.default_rng(0), 10.0 * np.eye(3)
    grid = np.stack(np.meshgrid(*3 * [np.arange(5)], indexing="ij"), -1).reshape(-1, 3) + 0.5
    blocks = [Structure((grid + rng.uniform(-0.3, 0.3, grid.shape)) * 2, np.full(125, 6), cell)
              for _ in range(4)]
    made = [mosaic(blocks, 3, cell, rng) for _ in range(6)]
    assert len(made[0]) == 27 * 125 and made[0].density == pytest.approx(blocks[0].density)
    reference = np.array([reduced(s, 8.0) for s in made[:5]])
    uniform = made[0].with_positions(rng.uniform(size=made[0].positions.shape) @ made[0].cell)
    p = against({"same": reduced(made[5], 8.0), "random": reduced(uniform, 8.0)}, reference)["p"]
    assert p["same"] > 0.05 and p["random"] < 0.01


def test_curves_of_one_law_are_alike_and_others_are_not() -> None:
    from experiments.scale.large import compare

    rng = np.random.default_rng(0)
    law = rng.uniform(1, 2, 30)
    many = law + 0.1 * rng.standard_normal((40, 40, 30))
    p = np.array([compare(law, samples, 10**9)["p"] for samples in many])
    assert (p <= 0.05).mean() < 0.2 and 0.3 < p.mean() < 0.7
    assert compare(law * np.linspace(0.8, 1.2, 30), many[0], 100_000)["p"] <= 0.01


def test_rows_are_kept_failures_are_tried_again_and_never_count(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "HOME", tmp_path)
    monkeypatch.setattr(kept, "key", lambda: "now")
    made: list[int] = []

    def make() -> dict[str, int]:
        made.append(1)
        if len(made) == 1:
            raise RunError("no luck")
        return {"value": len(made)}

    assert kept.measure("some", make) is None and list(kept.rows("some")) == []
    assert "no luck" in str(kept.find("some"))
    for _ in range(2):
        row = kept.measure("some", make)
        assert row is not None and row["value"] == 2
    monkeypatch.setattr(kept, "key", lambda: "later")
    assert kept.find("some") is None
    monkeypatch.setattr(kept.Keep, "earlier", True)
    assert [row["value"] for row in kept.rows("")] == [2]
    assert "earlier source" in kept.mark(next(kept.rows("")))


def test_busy_machines_are_told() -> None:
    assert kept.mark({"others": 0.4}) == " (busy machine: others took 40 %)"
    assert kept.mark({"others": 0.01}) == ""
    row = {"call-call-216": {"ms_per_atom": 0.01, "others": 0.4}}
    assert any("busy" in line.found for line in verdicts.lines(row))


def test_more_is_asked_for_by_flags() -> None:
    usual = list(jobs(frozenset({DEFAULT})))
    assert max(job.atoms for job in usual) == 10_000
    more = list(jobs(frozenset({DEFAULT, LARGE})))
    assert len(more) > len(usual) and max(job.atoms for job in more) == 100_000
    assert len({job.name for job in more}) == len(more)
    assert Line("a", "b", "c", False).row()["met"] is False
