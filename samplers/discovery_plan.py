"""What ``diffxas discover`` is asked: a TOML file -> members, one ``generate`` run each.

A member is one ask (guides that hold at once) at one density and composition. Its name says which,
so that a config may grow: members that are there stay, new ones are added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffxas.composition import composition_elements
from diffxas.errors import InputError
from samplers.algorithms import AUTO
from samplers.plan_checks import (
    LONGEST_NAME,
    check_known,
    check_name,
    check_unique,
    filled_list,
    filled_texts,
    slug,
)
from samplers.setup import GenerateOptions

COMMON: Mapping[str, Any] = {
    "samples": 4, "seed": 0, "atoms": 216, "steps": 64, "algorithm": AUTO, "prior": "a-C",
    "surrogate": "a-C", "kind": "any", "potential": "rebo", "device": "cpu"}
"""Keys that go to every member as they are, with an example of their type."""
KEYS = ("densities", "compositions", "guides", "ask", "judge", "cutoffs", *COMMON)
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Ask:
    """Guides that are asked for together."""

    name: str
    guides: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """One ``generate`` run: its folder's name, and what it is of."""

    name: str
    ask: Ask
    density: float
    composition: str | None
    options: GenerateOptions


@dataclass(frozen=True)
class Plan:
    """All that a config asks.

    Attributes
    ----------
    judges : surrogates or models of a property, by name or folder; empty for the default
    content : the config as read
    """

    asks: tuple[Ask, ...]
    members: tuple[Member, ...]
    judges: tuple[str, ...]
    content: Mapping[str, Any]


def read_plan(path: Path) -> Plan:
    """The plan in a TOML file.

    Raises
    ------
    InputError
        If there is no such file, or as :func:`plan_of`.
    """
    from diffxas.prior import read_toml

    if not path.is_file():
        raise InputError(f"CONFIG must be a TOML file, received {path}: check the path")
    return plan_of(read_toml(path), str(path))


def plan_of(content: Mapping[str, Any], where: str) -> Plan:
    """Check a config's content; models and files are looked at later.

    Raises
    ------
    InputError
        For unknown keys, empty lists, values of another type, or names that are not unique.
    """
    check_known(content, KEYS, where)
    densities = filled_list(content, "densities", where, "[2.0, 2.4]")
    for density in densities:
        if isinstance(density, bool) or not isinstance(density, int | float) or not density > 0:
            raise InputError(f"densities in {where} must be numbers above 0 (g/cm3), received "
                             f"{density!r}: such as densities = [2.0, 2.4]")
    check_unique([f"{density:g}" for density in densities], "densities", where)
    compositions: list[str | None] = [None]
    if "compositions" in content:
        compositions = list(filled_texts(content, "compositions", where, '["SiO2"]'))
        check_unique(compositions, "compositions", where)
        for one in compositions:
            composition_elements(str(one))
    asks = _asks(content, where)
    judges = content.get("judge", [])
    judges = [judges] if isinstance(judges, str) else judges
    if "judge" in content:
        judges = filled_texts({"judge": judges}, "judge", where, '["DIR"]')
    common = _common(content, where)
    members = []
    for ask in asks:
        for composition in compositions:
            for density in map(float, densities):
                words = [ask.name, *([composition] if composition else []), f"{density:g}"]
                options = GenerateOptions(**common, density=density, composition=composition,
                                          guides=ask.guides)
                members.append(Member(slug("_".join(words), 2 * LONGEST_NAME), ask, density,
                                      composition, options))
    check_unique([member.name for member in members], "names of asks and compositions", where)
    return Plan(tuple(asks), tuple(members), tuple(judges), dict(content))


def _asks(content: Mapping[str, Any], where: str) -> list[Ask]:
    """``guides`` of one ask, or the tables ``[[ask]]``."""
    tables = content.get("ask")
    if (tables is None) == ("guides" not in content):
        raise InputError(f'{where} must say what is asked once, received '
                         f'{"neither" if tables is None else "both"} guides and [[ask]]: write '
                         f'guides = ["coordination:4=0.37"], or tables [[ask]] with guides each')
    if tables is None:
        tables = [{"guides": content["guides"]}]
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise InputError(f"ask in {where} must be tables, received {tables!r}: write [[ask]] and "
                         f"guides = [...] below it")
    asks = []
    for number, table in enumerate(tables, 1):
        place = where if "guides" in content else f"[[ask]] {number} of {where}"
        check_known(table, ("name", "guides"), place)
        guides = filled_texts(table, "guides", place, '["coordination:4=0.37"]')
        name = table.get("name", slug("+".join(guides), LONGEST_NAME))
        check_name(name, place)
        asks.append(Ask(name, tuple(guides)))
    check_unique([ask.name for ask in asks], "asks (give each a name)", where)
    return asks


def _common(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options that all members share."""
    from diffxas.cutoffs import parse_cutoffs

    found: dict[str, Any] = {}
    for key, example in COMMON.items():
        if key in content:
            value = content[key]
            if isinstance(value, bool) or not isinstance(value, type(example)):
                raise InputError(f"{key} in {where} must be of type {type(example).__name__} such "
                                 f"as {example!r}, received {value!r}: correct it")
            found[key] = value
    for key, lowest in (("samples", 1), ("seed", 0), ("atoms", 1), ("steps", 2)):
        if key in found and found[key] < lowest:
            raise InputError(f"{key} in {where} must be {lowest} or more, received {found[key]}: "
                             f"{COMMON[key]} is usual")
    if found.get("device", "cpu") not in DEVICES:
        raise InputError(f"device in {where} must be {' or '.join(DEVICES)}, received "
                         f"{found['device']!r}: leave it out")
    if "cutoffs" in content:
        table = content["cutoffs"]
        if not isinstance(table, dict):
            raise InputError(f"cutoffs in {where} must be a table, received {table!r}: write "
                             f"[cutoffs] and Si-O = 2.2 below it")
        found["cutoffs"] = parse_cutoffs([f"{pair}={length}" for pair, length in table.items()])
    return found
