"""What ``diffxas campaign`` is asked: a TOML file -> members, one ``generate`` command each.

A member is the words of that command, so that every option of ``generate`` may stand in the file
under its own name. Lists span a grid,

    targets x densities x compositions x guides x samples,

and tables ``[[member]]`` are what is no grid. A member's name says where it stands in the lists, so
that a file may grow: members that are there stay, new ones are added.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from diffxas.errors import InputError
from samplers.campaign_words import with_dashes, words_of
from samplers.plan_checks import (
    LONGEST_NAME,
    Problems,
    check_known,
    check_name,
    check_unique,
    filled_list,
    slug,
)

AXES = {"targets": "target", "densities": "density", "compositions": "composition",
        "guides": "guide", "samples": "samples"}
"""Lists that span the grid, and the option of ``generate`` that each varies."""
EXAMPLES = {"targets": '["film.csv"]', "densities": '[2.0, "1.5:3.5"]', "compositions": '["SiO2"]',
            "guides": '["coordination:4=0.37"]', "samples": "[4, 16]"}
OF_TARGET = ("file", "name", "label")
OF_MEMBER = ("target", "name", "label")
RESERVED = ("figures", "report.html", "run.json", "campaign.json", "campaign.csv")
"""What stands in the folder of a campaign beside the members."""

Label = float | str


@dataclass(frozen=True)
class Member:
    """One ``generate`` run.

    Attributes
    ----------
    name : of its folder
    label : where it stands in the trend, None if nothing was said
    target : spectrum file, None without one
    series : what else than the target varies, in words; points of one series belong together
    words : of the command line, without TARGET and --out
    """

    name: str
    label: Label | None
    target: Path | None
    series: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All that a file asks; ``content`` is the file as read."""

    label_name: str
    members: tuple[Member, ...]
    content: Mapping[str, Any]


def plan_of(content: Mapping[str, Any], where: str, options: Mapping[str, click.Option],
            problems: Problems) -> Plan:
    """The members; what the options say is looked at later.

    Parameters
    ----------
    options : of ``generate``, by their names without dashes
    problems : is told what is wrong
    """
    keys = ["label_name", "member", *AXES, *(key for key in options if key not in AXES)]
    with problems.of(where):
        check_known(with_dashes(content, options), keys, where)
    name = content.get("label_name", "label")
    with problems.of(where):
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"label_name in {where} must be a text, received {name!r}: write "
                             f'label_name = "anneal temperature (C)"')
    axes = {key: value for key, value in content.items()
            if key in AXES and (key not in options or isinstance(value, list))}
    common = {key: value for key, value in with_dashes(content, options).items()
              if key in options and key not in axes}
    members: list[Member] = []
    if axes or "member" not in content:
        members += _grid(axes, common, where, options, problems)
    if "member" in content:
        members += _tables(content["member"], common, where, options, problems)
    with problems.of(where):
        check_unique([member.name for member in members],
                     "names of members (give targets and members a name)", where)
    return Plan(str(name), tuple(members), dict(content))


def _grid(axes: Mapping[str, Any], common: Mapping[str, Any], where: str,
          options: Mapping[str, click.Option], problems: Problems) -> list[Member]:
    """All combinations of the lists."""
    lists = []
    for key, option in AXES.items():
        points: list[_Point] = []
        if key not in axes:
            points = [_Point()]
        else:
            with problems.of(where):
                if option in common:
                    raise InputError(f"{where} must say {option} once, received {key} and "
                                     f"{option}: leave one out")
                entries = filled_list(axes, key, where, EXAMPLES[key])
                points = [_point(key, one, f"{key} of {where}", options) for one in entries]
                check_unique([one.name for one in points], f"{key} (or their names)", where)
        lists.append(points)
    members = []
    for combination in itertools.product(*lists):
        target, *others = combination
        name = "_".join(one.name for one in combination if one.name) or "member"
        with problems.of(name):
            asked = dict(common)
            for one in combination:
                twice = [k for k in one.asked if k in asked and k not in common]
                if twice:
                    raise InputError(f"{where} must say {twice[0]} once, received it from a target "
                                     f"and a list: leave one out")
                asked |= one.asked
            _check_folder(name)
            members.append(Member(
                name, target.label, target.file,
                ", ".join(one.text for one in others if one.text),
                tuple(words_of(asked, options, where))))
    return members


@dataclass(frozen=True)
class _Point:
    """An entry of a list: its part of the name, in words, and what it asks."""

    name: str = ""
    text: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    label: Label | None = None


def _point(key: str, entry: Any, where: str, options: Mapping[str, click.Option]) -> _Point:
    if key == "targets":
        return _target(entry, where, options)
    if key == "densities":
        if isinstance(entry, bool) or not isinstance(entry, int | float | str):
            raise InputError(f"{where} must be numbers or ranges (g/cm3), received {entry!r}: "
                             f"write densities = {EXAMPLES[key]}")
        text = entry if isinstance(entry, str) else f"{entry:g}"
        return _Point(slug(text, LONGEST_NAME, "density"), f"{text} g/cm³", {"density": entry})
    if key == "samples":
        return _Point(f"{entry}-samples", f"{entry} samples", {"samples": entry})
    texts = entry if isinstance(entry, list) and key == "guides" else [entry]
    if not texts or not all(isinstance(one, str) and one.strip() for one in texts):
        raise InputError(f"{where} must be texts, received {entry!r}: write {key} = "
                         f"{EXAMPLES[key]}")
    text = " and ".join(texts)
    return _Point(slug("+".join(texts), LONGEST_NAME, key), text,
                  {AXES[key]: list(texts) if key == "guides" else entry})


def _target(entry: Any, where: str, options: Mapping[str, click.Option]) -> _Point:
    """A file, or a table with one, its label, and what holds for it alone."""
    table = {"file": entry} if isinstance(entry, str) else entry
    if not isinstance(table, Mapping) or not isinstance(table.get("file"), str):
        raise InputError(f"{where} must be files, or tables with a file, received {entry!r}: write "
                         f'targets = {EXAMPLES["targets"]}, or [[targets]] and file = "film.csv" '
                         f'below it')
    table = with_dashes(table, options)
    place = f"the target {table['file']} of {where}"
    check_known(table, [*OF_TARGET, *options], place)
    name = table.get("name", slug(Path(table["file"]).stem, LONGEST_NAME, "target"))
    check_name(name, place)
    return _Point(name, "", {k: v for k, v in table.items() if k in options}, Path(table["file"]),
                  _label(table, place))


def _tables(tables: Any, common: Mapping[str, Any], where: str,
            options: Mapping[str, click.Option], problems: Problems) -> list[Member]:
    """The tables ``[[member]]``."""
    members = []
    if not isinstance(tables, list) or not all(isinstance(one, Mapping) for one in tables):
        with problems.of(where):
            raise InputError(f"member in {where} must be tables, received {tables!r}: write "
                             f'[[member]] and name = "film" below it')
        return []
    for number, entry in enumerate(tables, 1):
        table = with_dashes(entry, options)
        place = f"[[member]] {number}"
        with problems.of(str(table.get("name", place))):
            check_known(table, [*OF_MEMBER, *options], f"{place} of {where}")
            check_name(table.get("name"), f"{place} of {where}")
            _check_folder(table["name"])
            target = table.get("target")
            if target is not None and not isinstance(target, str):
                raise InputError(f"target of {place} must be a file, received {target!r}: write "
                                 f'target = "film.csv"')
            own = {k: v for k, v in table.items() if k in options}
            members.append(Member(
                table["name"], _label(table, place), None if target is None else Path(target), "",
                tuple(words_of({**common, **own}, options, place))))
    return members


def _label(table: Mapping[str, Any], where: str) -> Label | None:
    label = table.get("label")
    known = label is None or (isinstance(label, int | float) and not isinstance(label, bool)
                              and math.isfinite(label)) or (isinstance(label, str) and label)
    if not known:
        raise InputError(f"label of {where} must be a number or a text, received {label!r}: write "
                         f"label = 600")
    return label


def _check_folder(name: str) -> None:
    if name in RESERVED:
        raise InputError(f"a member must not be called {name}, which the campaign's own files are: "
                         f"give it another name")
