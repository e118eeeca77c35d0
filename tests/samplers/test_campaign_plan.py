"""Files of campaigns: members of lists and tables, their names and words, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from diffxas.errors import InputError
from samplers.campaign_plan import Plan, plan_of
from samplers.campaign_words import options_of
from samplers.commands import generate
from samplers.plan_checks import Problems

FILE = Path("campaign.toml")


def plan(**content: Any) -> Plan:
    """The plan, or all that is wrong with it."""
    problems = Problems()
    found = plan_of(content, str(FILE), options_of(generate), problems)
    problems.tell(FILE)
    return found


def refused(**content: Any) -> str:
    with pytest.raises(InputError) as error:
        plan(**content)
    return str(error.value)


def test_lists_span_a_grid_whose_names_say_where_members_stand() -> None:
    found = plan(targets=[{"file": "a/film.csv", "label": 25}, {"file": "b.csv", "label": 600}],
                 densities=[2.0, "1.5:3.5"], guides=["coordination:4=0.3", ["x=1", "y=2"]],
                 samples=[2, 8])
    assert len(found.members) == 16 == len({member.name for member in found.members})
    first, last = found.members[0], found.members[-1]
    assert first.name == "film_2_coordination-4-0.3_2-samples"
    assert (first.label, first.target) == (25, Path("a/film.csv"))
    assert first.words == ("--density=2.0", "--guide=coordination:4=0.3", "--samples=2")
    assert last.words == ("--density=1.5:3.5", "--guide=x=1", "--guide=y=2", "--samples=8")
    assert (last.label, last.series) == (600, "1.5:3.5 g/cm³, x=1 and y=2, 8 samples")


def test_a_longer_list_keeps_the_members_that_were_there() -> None:
    short = {member.name: member for member in plan(targets=["a.csv"], densities=[2.0]).members}
    long = {member.name: member for member in
            plan(targets=["a.csv", "b.csv"], densities=[2.0, 2.4]).members}
    assert short.items() <= long.items() and len(long) == 4


def test_options_become_words() -> None:
    (member,) = plan(**{"no-relax": True, "adsorbates": False, "cell": [9, 9, 9.5], "seed": 4,
                        "guide_temperature": 0.5, "cutoff": ["C-C=1.8"], "exclude": "286:289"}
                     ).members
    assert member.words == ("--no-relax", "--cell", "9", "9", "9.5", "--seed=4",
                            "--guide-temperature=0.5", "--cutoff=C-C=1.8", "--exclude=286:289")


def test_tables_stand_beside_the_grid_and_override_what_is_common() -> None:
    found = plan(densities=[2.0], steps=8, samples=4, member=[
        {"name": "alone", "label": "thick", "target": "c.csv", "density": 3.0, "samples": 1}])
    assert [member.name for member in found.members] == ["2", "alone"]
    assert found.members[1].words == ("--steps=8", "--samples=1", "--density=3.0")
    assert found.members[1].label == "thick"
    (only,) = plan(steps=8, member=[{"name": "alone", "density": 3.0}]).members
    assert only.name == "alone"


def test_what_holds_for_one_target_alone() -> None:
    found = plan(window=[282, 300], targets=[
        "a.csv", {"file": "b.csv", "name": "B", "edge": "C:K", "window": [283, 299]}])
    assert [member.name for member in found.members] == ["a", "B"]
    assert found.members[0].words == ("--window", "282", "300")
    assert found.members[1].words == ("--window", "283", "299", "--edge=C:K")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"density": 2.0, "colour": "red"}, "received colour"),
    "what the campaign sets": ({"out": "x"}, "received out"),
    "label_name": ({"label_name": 3}, "label_name in campaign.toml must be a text"),
    "empty list": ({"densities": []}, "must be a list of one or more, received []"),
    "no list": ({"densities": 2.0}, "must be a list of one or more, received 2.0"),
    "density in no words": ({"densities": [True]}, "must be numbers or ranges"),
    "one density twice": ({"densities": [2, 2.0]}, "must differ, received 2"),
    "said twice": ({"densities": [2.0], "density": 3.0}, "say density once"),
    "guide and guides": ({"guides": ["x=1"], "guide": "x=2"}, "say guide once"),
    "list and target": ({"densities": [2.0], "targets": [{"file": "a", "density": 3}]},
                        "received it from a target and a list"),
    "target without file": ({"targets": [{"label": 3}]}, "or tables with a file"),
    "targets in no list": ({"targets": "film.csv"}, "must be a list"),
    "key of a target": ({"targets": [{"file": "a.csv", "temperature": 3}]},
                        "received temperature"),
    "two files of one name": ({"targets": ["a/x.csv", "b/x.csv"]}, "received x more than once"),
    "label": ({"targets": [{"file": "a.csv", "label": [1]}]}, "must be a number or a text"),
    "label of nan": ({"targets": [{"file": "a.csv", "label": float("nan")}]}, "received nan"),
    "composition": ({"compositions": [3]}, "must be texts, received 3"),
    "guide of nothing": ({"guides": [[]]}, "must be texts, received []"),
    "a list for one": ({"density": 2.0, "seed": [1, 2]}, "seed in campaign.toml must be one"),
    "flag": ({"no-relax": "yes"}, "must be true or false, received 'yes'"),
    "window": ({"window": 282}, "window = [LO, HI]"),
    "member in no tables": ({"member": "film"}, "write [[member]]"),
    "member without name": ({"member": [{"density": 2.0}]}, "received None"),
    "members of one name": ({"member": [{"name": "a"}, {"name": "a"}]}, "received a more than"),
    "reserved name": ({"member": [{"name": "figures"}]}, "must not be called figures"),
    "path as name": ({"member": [{"name": "../a"}]}, "received '../a'"),
    "key of a member": ({"member": [{"name": "a", "file": "x"}]}, "received file"),
    "target of a member": ({"member": [{"name": "a", "target": 3}]}, "received 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused(case: str) -> None:
    content, told = BAD[case]
    assert told in refused(**content)


def test_problems_are_told_together_and_alike_ones_once() -> None:
    told = refused(densities=[1.0, 2.0, 3.0, 4.0, 5.0], cell=3, member=[{"name": "a", "x": 1}],
                   label_name="")
    assert "received 3 problems" in told
    assert "1, 2, 3 and 2 more: cell in campaign.toml" in told
    assert told.index("label_name") < told.index("cell in") < told.index("received x")
