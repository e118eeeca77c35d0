"""``diffxas discover``: plans, judgement, order, reach and resuming; members are made by a fake."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_runner import refused, run

from diffxas.errors import InputError, RunError
from diffxas.run_folder import RunFolder
from diffxas.structure import Structure
from diffxas.structure_files import write_structures
from samplers.discovery_judges import (
    REACH,
    Count,
    PropertyJudge,
    SpectrumJudge,
    achieved,
    choose_judges,
    of_values,
)
from samplers.discovery_plan import Member, plan_of
from samplers.discovery_ranking import Found, front, ranked, unreached
from samplers.guides.asked import Asked
from samplers.guides.kinds import guide_of
from samplers.setup import GenerateOptions

ATOMS = 64
PLAN: dict[str, Any] = {"densities": [2.0, 3.0], "guides": ["coordination:4=0.5+-0.02"],
                        "atoms": ATOMS, "samples": 2}


def diamond_and_chains(share: float, density: float = 2.0) -> Structure:
    """Atoms of which a share has four neighbours at 1.5 angstrom, and the others one."""
    bonded = round(share * ATOMS)
    edge = (ATOMS * 12.011 * 1.66053907 / density) ** (1 / 3)
    cell = np.diag([edge, edge, edge])
    positions = np.zeros((ATOMS, 3))
    return Structure(positions, np.full(ATOMS, 6), cell).with_arrays(
        wanted=(np.arange(ATOMS) < bonded).astype(np.int64))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every atom has the bonds that its column ``wanted`` says: four, or three."""
    import diffxas.neighbourhood

    def bonds(structure: Structure, _: Any = None) -> SimpleNamespace:
        numbers = np.where(structure.arrays["wanted"] == 1, 4, 3)
        first = np.repeat(np.arange(len(structure)), numbers)
        return SimpleNamespace(first=first, second=(first + 1) % len(structure))

    monkeypatch.setattr(diffxas.neighbourhood, "bonds", bonds)


@pytest.fixture
def members(monkeypatch: pytest.MonkeyPatch, counted: None) -> SimpleNamespace:
    """Members cost nothing; ``shares`` by density as (sampled, relaxed), ``bad`` ones raise."""
    import samplers.generation
    import samplers.setup

    record = SimpleNamespace(runs=[], shares={2.0: (0.5, 0.2), 3.0: (0.5, 0.5)}, bad=set(),
                             setups=[])

    def set_up(_: None, options: GenerateOptions) -> SimpleNamespace:
        assert not record.runs, "everything is checked before the first member runs"
        system = diamond_and_chains(0.0, float(options.density or 0))
        record.setups.append(options.density)
        guides = tuple(guide_of(text, system, options) for text in options.guides)
        identity = {"density": options.density, "guides": options.guides, "seed": options.seed}
        return SimpleNamespace(identity=identity, guides=guides, warnings=())

    def run_in(_: None, out: Path, options: GenerateOptions, *__: Any) -> None:
        record.runs.append(out.name)
        if options.density in record.bad:
            raise RunError("no more")
        identity = {"density": options.density, "guides": options.guides, "seed": options.seed}
        RunFolder(out, identity).begin()
        before, after = record.shares[options.density]
        for name, share in (("structures", before), ("relaxed", after)):
            write_structures(out / f"{name}.extxyz", [
                diamond_and_chains(share, options.density).with_info(sample=n)
                for n in range(options.samples)])
        rows = [{"number": n, "energy_relaxed": -7.0 - 0.1 * n} for n in range(options.samples)]
        (out / "summary.json").write_text(json.dumps({"samples": rows}))

    monkeypatch.setattr(samplers.setup, "set_up", set_up)
    monkeypatch.setattr(samplers.generation, "run_in", run_in)
    return record


@pytest.fixture
def unfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure is drawn, which takes most of the time."""
    import samplers.discovery_report

    monkeypatch.setattr(samplers.discovery_report, "figure_of", lambda *_: None)


def config(folder: Path, text: str = "", **changes: Any) -> Path:
    """A config file."""
    values = {**PLAN, **changes}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
    (folder / "config.toml").write_text("\n".join([*lines, text]))
    return folder / "config.toml"


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


BAD = {
    "unknown key": ({"density": [2.0]}, "received density"),
    "no densities": ({"densities": []}, "received []"),
    "density in words": ({"densities": ["2"]}, "received '2'"),
    "density 0": ({"densities": [0.0]}, "received 0.0"),
    "one density twice": ({"densities": [2.0, 2]}, "must differ, received 2"),
    "no guides": ({"guides": []}, "received []"),
    "guides in no list": ({"guides": "coordination:4=0.3"}, "must be a list"),
    "nothing asked": ({"guides": None}, "neither guides and [[ask]]"),
    "asked twice": ({"ask": [{"guides": ["coordination:4=0.3"]}]}, "both guides and [[ask]]"),
    "no compositions": ({"compositions": []}, "received []"),
    "no element": ({"compositions": ["Xy"]}, "Xy"),
    "no judge": ({"judge": []}, "received []"),
    "samples": ({"samples": 0}, "received 0"),
    "samples in words": ({"samples": "four"}, "type int"),
    "seed": ({"seed": -1}, "received -1"),
    "device": ({"device": "tpu"}, "received 'tpu'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_configs_are_refused(case: str) -> None:
    changes, told = BAD[case]
    content = {key: value for key, value in {**PLAN, **changes}.items() if value is not None}
    with pytest.raises(InputError) as error:
        plan_of(content, "config.toml")
    assert told in str(error.value)


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    assert "received" in refused("discover", tmp_path / "none.toml", "--out", tmp_path / "out")
    (tmp_path / "broken.toml").write_text("densities = [2.0")
    assert "TOML" in refused("discover", tmp_path / "broken.toml", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_asks_times_densities_times_compositions() -> None:
    content = {"densities": [2.0, 2.4], "compositions": ["C", "SiO2"], "seed": 5,
               "ask": [{"name": "few", "guides": ["coordination:4=0.1"]},
                       {"guides": ["coordination:4=0.9", "coordination:3=0.1"]}]}
    plan = plan_of(content, "config.toml")
    assert len(plan.members) == 8
    assert len({member.name for member in plan.members}) == 8
    assert plan.members[0].name == "few_C_2"
    assert plan.members[-1].options.guides == ("coordination:4=0.9", "coordination:3=0.1")
    assert {member.options.seed for member in plan.members} == {5}


def found(member: str, number: int, distance: float, energy: float | None,
          judged: float | None = None) -> Found:
    """A sample with the given distances."""
    text = "coordination:4=0.5+-0.01"
    ask = plan_of({"densities": [2.0], "guides": [text]}, "x").asks[0]
    request = {"coordination:4": Asked.parse("=0.5", 0.01, text)}
    own = of_values(request, {"coordination:4": 0.5 + 0.01 * distance})
    other = None if judged is None else of_values(request, {"coordination:4": 0.5 + 0.01 * judged})
    place = Member(member, ask, 2.0, None, GenerateOptions(density=2.0))
    return Found(place, number, 2.0, energy, {text: own}, {text: own}, {text: other}, True)


def test_order_is_by_distance_and_then_by_energy() -> None:
    far, near, low = found("a", 0, 2.5, -9.0), found("b", 1, 0.9, -7.0), found("c", 2, 0.1, -7.5)
    beyond, unrelaxed = found("d", 3, 5.0, -10.0), found("e", 4, 0.0, None)
    assert ranked([beyond, unrelaxed, far, near, low]) == [low, near, unrelaxed, far, beyond]


def test_a_sample_that_fooled_its_guide_comes_after_honest_ones() -> None:
    fooled, honest = found("a", 0, 0.0, -9.0, judged=8.0), found("b", 1, 2.0, -7.0, judged=2.0)
    assert fooled.fooled and not honest.fooled
    assert ranked([fooled, honest]) == [honest, fooled]


def test_the_front_holds_what_nothing_beats() -> None:
    rows = [found("a", 0, 1.5, -7.0), found("b", 1, 2.5, -8.0), found("c", 2, 2.6, -7.9),
            found("d", 3, 0.0, None)]
    assert front(rows) == [True, True, False, False]


def test_out_of_reach_is_what_no_sample_has() -> None:
    near, far = found("a", 0, REACH - 0.1, -7.0), found("b", 1, REACH + 0.1, -7.0)
    assert unreached(near.member.ask, [near, far]) is None
    told = unreached(far.member.ask, [far, found("c", 2, 9.0, -7.0)])
    assert told is not None and told["nearest"]["member"] == "b"
    assert told["never"] == ["coordination:4=0.5+-0.01"]
    assert unreached(far.member.ask, []) is None


def test_distances_do_not_grow_with_the_cell(counted: None) -> None:
    small = diamond_and_chains(0.25)
    guide = guide_of("coordination:4=0.5+-0.05", small, GenerateOptions(density=2.0))
    assert achieved(guide, small).distance == pytest.approx(5.0)
    assert achieved(guide, small).values == {"coordination:4": 0.25}


def test_the_error_of_a_judge_widens_what_is_reached() -> None:
    request = {"x": Asked.parse("=1.0", 0.1, "x")}
    assert not of_values(request, {"x": 1.5}).reached
    assert of_values(request, {"x": 1.5}, {"x": 0.2}).reached
    assert not of_values(request, {"x": float("nan")}).reached


def test_counts_judge_coordination_and_nothing_else_does() -> None:
    guide = guide_of("coordination:4=0.5", diamond_and_chains(0.0), GenerateOptions(density=2.0))
    assert isinstance(choose_judges([guide], (), 2.0, "cpu")[guide.label], Count)
    with pytest.raises(InputError, match="nothing to say"):
        choose_judges([guide], ("a-C",), 2.0, "cpu")
    with pytest.raises(InputError):
        choose_judges([guide], ("no-such-model",), 2.0, "cpu")


def test_members_are_ranked_and_the_page_says_so(tmp_path: Path, members: Any) -> None:
    result = run("discover", config(tmp_path), "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    best = summary(out)["ranking"][0]
    assert (best["rank"], best["density"], best["sample"]) == (1, pytest.approx(3.0, rel=1e-3), 1)
    assert best["coordination:4 relaxed"] == 0.5 and best["front"]
    assert summary(out)["out_of_reach"] == []
    with (out / "ranking.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["reached"] for row in rows] == ["1", "1", "0", "0"]
    assert rows[2]["coordination:4 sampled"] == "0.5"
    assert float(rows[2]["coordination:4 relaxed"]) == pytest.approx(0.2, abs=0.01)
    page = (out / "report.html").read_text()
    assert "coordination:4" in page and "counted" in page and "http-equiv" not in page
    assert (out / "figures" / "asked_against_achieved.png").stat().st_size > 1000
    with (out / "discover.csv").open(newline="") as handle:
        assert len(list(csv.DictReader(handle))) == 4


@pytest.mark.usefixtures("unfigured")
def test_nothing_near_ends_with_exit_code_3(tmp_path: Path, members: Any) -> None:
    members.shares = {2.0: (0.5, 0.2), 3.0: (0.5, 0.25)}
    result = run("discover", config(tmp_path), "--out", tmp_path / "out")
    assert result.exit_code == 3, result.output
    assert "Out of reach" in result.output
    (told,) = summary(tmp_path / "out")["out_of_reach"]
    assert told["nearest"]["relaxed"] == {"coordination:4": 0.25}
    assert "Out of reach" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.usefixtures("unfigured")
def test_one_ask_of_two_out_of_reach_is_named(tmp_path: Path, members: Any) -> None:
    asks = ('[[ask]]\nname = "half"\nguides = ["coordination:4=0.5"]\n'
            '[[ask]]\nname = "all"\nguides = ["coordination:4=1.0", "coordination:3=0:0.6"]\n')
    result = run("discover", config(tmp_path, asks, guides=None), "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (told,) = summary(tmp_path / "out")["out_of_reach"]
    assert (told["ask"], told["never"]) == ("all", ["coordination:4=1.0"])


@pytest.mark.usefixtures("unfigured")
def test_finished_members_are_skipped_and_new_ones_added(tmp_path: Path, members: Any) -> None:
    out = tmp_path / "out"
    assert run("discover", config(tmp_path, densities=[2.0]), "--out", out).exit_code == 3
    first = list(members.runs)
    members.runs.clear()
    assert run("discover", config(tmp_path), "--out", out).exit_code == 0
    assert first and not set(members.runs) & set(first) and len(members.runs) == 1
    members.runs.clear()
    assert run("discover", config(tmp_path), "--out", out).exit_code == 0
    assert members.runs == []
    assert "differs in seed" in refused("discover", config(tmp_path, seed=7), "--out", out)


@pytest.mark.usefixtures("unfigured")
def test_failed_members_are_listed_and_tried_again(tmp_path: Path, members: Any) -> None:
    members.bad, out = {2.0}, tmp_path / "out"
    result = run("discover", config(tmp_path), "--out", out)
    assert result.exit_code == 1 and "tries them again" in result.output
    assert list(summary(out)["failed"].values()) == ["no more"]
    densities = [row["density"] for row in summary(out)["ranking"]]
    assert densities == pytest.approx([3.0, 3.0], rel=1e-3)
    members.runs.clear()
    members.bad = set()
    assert run("discover", config(tmp_path), "--out", out).exit_code == 0
    assert len(members.runs) == 1


def test_everything_is_checked_before_anything_is_written(tmp_path: Path, members: Any) -> None:
    path = config(tmp_path, guides=["coordination:4=1.5"])
    assert "0 to 1" in refused("discover", path, "--out", tmp_path / "out")
    path = config(tmp_path, judge=["no-such-model"])
    assert "no-such-model" in refused("discover", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists() and members.runs == []


def test_judges_of_spectra_know_their_edge_and_properties_their_key() -> None:
    surrogate: Any = SimpleNamespace(element="C", edge="K")
    guide = guide_of("coordination:4=0.5", diamond_and_chains(0.0), GenerateOptions(density=2.0))
    assert not SpectrumJudge(surrogate, "x").knows(guide)
    model: Any = SimpleNamespace(key="modulus")
    assert not PropertyJudge(model, "x").knows(guide)
