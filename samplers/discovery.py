"""Discovery: guides over densities and compositions, judged and ranked.

Every member is an ordinary run of ``generate`` in a folder of its own, so that it resumes by
itself. All of them are set up before the first one samples.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffxas.errors import InputError, RunError
from diffxas.run_folder import SUMMARY, RunFolder
from diffxas.structure import Structure
from diffxas.structure_files import read_structures
from samplers.discovery_judges import Judge, achieved, choose_judges, names_of
from samplers.discovery_plan import Member, Plan, read_plan
from samplers.discovery_ranking import Found, sentence, unreached

if TYPE_CHECKING:
    from samplers.guides.base import Guide

OUT_OF_REACH = 3
"""Exit code where no ask is reached."""
SILENT = 10.0
"""Checks show a bar after this many seconds; what is wrong with a small plan is one line alone."""


@dataclass
class Discovery:
    """What has come of a plan so far.

    Attributes
    ----------
    found : samples, in the order of the members
    failed : member's name -> why
    asked : ask's name -> name of a quantity -> what is asked of it
    judges : guide's label -> who judges it, None where nothing does
    warnings : of the setups
    """

    plan: Plan
    found: list[Found]
    failed: dict[str, str]
    asked: dict[str, dict[str, Any]]
    judges: dict[str, Judge | None]
    warnings: list[str]

    def of_ask(self, name: str) -> list[Found]:
        """Samples of one ask."""
        return [one for one in self.found if one.member.ask.name == name]

    @property
    def out_of_reach(self) -> list[dict[str, Any]]:
        """Asks that no sample reaches."""
        rows = [unreached(ask, self.of_ask(ask.name)) for ask in self.plan.asks]
        return [row for row in rows if row is not None]


def discover(config: Path, out: Path, *, command: str = "", progress: bool = True) -> int:
    """Run or resume the plan in ``config``; the exit code: 0, or 3 if every ask is out of reach.

    Raises
    ------
    InputError
        Before anything is computed.
    RunError
        After everything is written, if members failed.
    """
    from samplers.discovery_report import write_all, write_rows

    plan = read_plan(config)
    folder = RunFolder(out, {"kind": "discover"})
    discovery = check(plan, out, progress)
    folder.begin(command=command, config=dict(plan.content))
    for warning in discovery.warnings:
        print(f"Warning: {warning}")
    for member in _bar(plan.members, "members", progress):
        try:
            run_member(member, out, command, progress)
            discovery.found += look_at(member, out, discovery.judges)
        except (ValueError, RuntimeError) as error:
            discovery.failed[member.name] = " ".join(str(error).split())
            print(f"Failed: {member.name}: {discovery.failed[member.name]}")
            if not isinstance(error, InputError | RunError):
                traceback.print_exc()
        write_rows(discovery, out)
    write_all(discovery, out, command)
    if discovery.failed:
        raise RunError(f"{len(discovery.failed)} of {len(plan.members)} members failed "
                       f"({', '.join(discovery.failed)}): {out / SUMMARY} says why, and the same "
                       f"command tries them again")
    unreachable = discovery.out_of_reach
    for row in unreachable:
        print(sentence(row))
    if progress:
        print(f"Report: {out / 'report.html'}")
    return OUT_OF_REACH if len(unreachable) == len(plan.asks) else 0


def check(plan: Plan, out: Path, progress: bool = False) -> Discovery:
    """Set up every member, and choose the judges; nothing is computed or written.

    Raises
    ------
    InputError
        Naming the member that cannot be.
    """
    from samplers.setup import set_up

    asked: dict[str, dict[str, Any]] = {}
    guides: dict[str, Guide] = {}
    warnings: list[str] = []
    for member in _bar(plan.members, "checking", progress, SILENT):
        try:
            setup = set_up(None, member.options)
            RunFolder(out / member.name, setup.identity)
        except InputError as error:
            raise InputError(f"{member.name}: {error}") from error
        asked.setdefault(member.ask.name, {})
        for guide in setup.guides:
            guides.setdefault(guide.label, guide)
            asked[member.ask.name] |= names_of(guide)
        warnings += [f"{member.name}: {warning}" for warning in setup.warnings]
    density = sum(member.density for member in plan.members) / len(plan.members)
    judges = choose_judges(list(guides.values()), plan.judges, density,
                           plan.members[0].options.device)
    warnings += [f"{label} is judged by nothing but what guides: name an independent model with "
                 f"judge = ..." for label, judge in judges.items() if judge is None]
    return Discovery(plan, [], {}, asked, judges, warnings)


def run_member(member: Member, out: Path, command: str, progress: bool) -> None:
    """Run, resume or skip a member."""
    from samplers.generation import run_in

    if (out / member.name / SUMMARY).is_file():
        return  # its identity was compared before
    run_in(None, out / member.name, member.options, command, progress)


def look_at(member: Member, out: Path, judges: Mapping[str, Judge | None]) -> list[Found]:
    """The samples of a finished member, as guides and judges see them."""
    from samplers.guides.kinds import guide_of

    folder = out / member.name
    rows = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["samples"]
    sampled = _by_number(folder / "structures.extxyz")
    relaxed = {number: structure for number, structure in
               _by_number(folder / "relaxed.extxyz").items()
               if structure.info.get("relaxed", True)}
    guides = [guide_of(text, next(iter(sampled.values())), member.options)
              for text in member.options.guides]
    found = []
    for row in rows:
        number = int(row["number"])
        final = relaxed.get(number, sampled[number])
        judged = {guide.label: _judged(judges[guide.label], guide, final) for guide in guides}
        found.append(Found(
            member, number, final.density, row["energy_relaxed"] if number in relaxed else None,
            {guide.label: achieved(guide, sampled[number]) for guide in guides},
            {guide.label: achieved(guide, final) for guide in guides}, judged,
            number in relaxed))
    return found


def _judged(judge: Judge | None, guide: Guide, structure: Structure) -> Any:
    return None if judge is None else judge.look(guide, structure)


def _by_number(path: Path) -> dict[int, Structure]:
    """Structures of a file by the number of their sample; empty without the file."""
    if not path.is_file():
        return {}
    return {int(structure.info["sample"]): structure for structure in read_structures(path)}


def _bar(members: Sequence[Member], what: str, progress: bool, delay: float = 0) -> Any:
    """The members, under a bar that is shown after ``delay`` seconds."""
    from tqdm import tqdm

    return tqdm(members, desc=what, unit="member", disable=not progress, delay=delay)
