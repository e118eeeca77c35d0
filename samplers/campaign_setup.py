"""A campaign before it starts: every member read and set up as ``generate`` would.

Everything that is wrong is told at once, and nothing is written.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click

from diffxas.command_line import read_target
from diffxas.errors import InputError
from diffxas.run_folder import RunFolder
from diffxas.shared_models import sharing
from samplers.campaign_member import Task
from samplers.campaign_plan import Member, Plan, plan_of
from samplers.campaign_rows import row_of
from samplers.campaign_words import options_of
from samplers.cluster import versions
from samplers.csv_lines import Line
from samplers.generate_request import Read, request_of
from samplers.plan_checks import Problems

KIND = {"kind": "campaign"}
"""Identity of the folder: its members have their own, so that a campaign may grow."""
SILENT = 10.0
"""Checks show a bar after this many seconds."""


@dataclass
class Campaign:
    """A plan whose members are ready, and what they came to so far.

    Attributes
    ----------
    tasks : by the names of the members
    rows : the same, as in ``campaign.csv``
    warnings : of the setups
    """

    plan: Plan
    out: Path
    command: str
    tasks: dict[str, Task]
    rows: dict[str, Line]
    warnings: tuple[str, ...]

    def in_state(self, state: str) -> list[str]:
        """Names of members."""
        return [name for name, row in self.rows.items() if row["state"] == state]

    @property
    def models(self) -> dict[str, str]:
        """Hashes of all models, by ``prior:NAME`` and the like."""
        return {name: found for task in self.tasks.values() for name, found in task.models.items()}


def set_up_campaign(config: Path, out: Path, generate: click.Command, command: str = "",
                    progress: bool = False) -> Campaign:
    """Read the file and set up every member.

    Parameters
    ----------
    generate : the command whose options the members have

    Raises
    ------
    InputError
        With everything that is wrong, and with which members.
    """
    from diffxas.prior import read_toml

    if not config.is_file():
        raise InputError(f"FILE must be a TOML file, received {config}: check the path")
    content = read_toml(config)
    problems = Problems()
    with problems.of(str(out)):
        RunFolder(out, KIND)
    plan = plan_of(content, str(config), options_of(generate), problems)
    read: Read = cache(read_target)
    tasks: dict[str, Task] = {}
    warnings: dict[str, list[str]] = {}
    for member in _bar(plan.members, progress):
        with problems.of(member.name), sharing():
            tasks[member.name], told = _ready(member, out, generate, read)
            for warning in told:
                warnings.setdefault(warning, []).append(member.name)
    problems.tell(config)
    return Campaign(plan, out, command, tasks, {one.name: row_of(one, out) for one in plan.members},
                    tuple(f"{', '.join(names)}: {text}" for text, names in warnings.items()))


def _ready(member: Member, out: Path, generate: click.Command,
           read: Read) -> tuple[Task, tuple[str, ...]]:
    """What a worker needs, and the warnings of the set-up, which is not kept: it holds models."""
    from samplers.setup import set_up

    folder = out / member.name
    words = [*member.words, "--out", str(folder)]
    words += [] if member.target is None else ["--", str(member.target)]
    parsed = _parsed(generate, words)
    spectrum, options = request_of(parsed.pop("target"), parsed, read)
    setup = set_up(spectrum, options)
    RunFolder(folder, setup.identity)
    command = shlex.join(["diffxas", "generate", *words])
    return Task(folder.absolute(), spectrum, options, command, Path.cwd(), versions(),
                setup.models), setup.warnings


def _parsed(generate: click.Command, words: Sequence[str]) -> dict[str, Any]:
    """Options as click gives them to the command, without those of the campaign."""
    try:
        with generate.make_context("generate", list(words)) as context:
            parsed = dict(context.params)
    except click.UsageError as error:
        raise InputError(f"{' '.join(error.format_message().split()).rstrip('.')}: see `diffxas "
                         f"generate --help`") from error
    for name in ("out", "workers", "scheduler"):
        parsed.pop(name, None)
    return parsed


def _bar(members: Sequence[Member], progress: bool) -> Iterator[Member]:
    from tqdm import tqdm

    return iter(tqdm(members, desc="checking", unit="member", disable=not progress, delay=SILENT))
