"""Campaigns: many runs of ``generate`` from one file, on one core or on many workers.

Every member is an ordinary run in a folder of its own, so that it resumes by itself. All of them
are read and set up before the first one starts. A member that fails is listed and the rest goes on;
the same command skips what is finished and tries the others again. Members share nothing and each
is computed by one thread, so that workers change no digit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from diffxas.errors import RunError
from diffxas.run_folder import SUMMARY, RunFolder
from samplers.campaign_member import Outcome, run_member
from samplers.campaign_plan import Member
from samplers.campaign_rows import FAILED, row_of
from samplers.campaign_setup import KIND, Campaign, set_up_campaign
from samplers.cluster import check_cluster_options, check_workers, open_cluster
from samplers.csv_lines import Line

if TYPE_CHECKING:
    from distributed import Client, Future

REDRAWN = 60.0
"""Seconds between two drawings of the report while members run; the table is written for each."""


def campaign(config: Path, out: Path, generate: click.Command, *, workers: int | None = None,
             scheduler: str | None = None, command: str = "", progress: bool = True) -> None:
    """Run or resume the campaign in ``config``.

    Parameters
    ----------
    generate : the command whose options the members have

    Raises
    ------
    InputError
        Before anything is computed or written.
    RunError
        After everything is written, if members failed.
    """
    from samplers.campaign_report import write_all

    check_cluster_options(workers, scheduler)
    found = set_up_campaign(config, out, generate, command, progress)
    todo = [member for member in found.plan.members
            if not (out / member.name / SUMMARY).is_file()]
    if todo:
        with open_cluster(workers and min(workers, len(todo)), scheduler) as client:
            if client is not None:
                check_workers(client, found.models)
            RunFolder(out, KIND).begin(command=command, config=dict(found.plan.content))
            try:
                _run(found, todo, client, progress)
            finally:
                write_all(found)
    else:
        write_all(found)
    failed = found.in_state(FAILED)
    if failed:
        raise RunError(f"{len(failed)} of {len(found.rows)} members failed ({', '.join(failed)}): "
                       f"{out / 'report.html'} says why, and the same command tries them again")
    if progress:
        print(f"Report: {out / 'report.html'}")


def _run(found: Campaign, todo: Sequence[Member], client: Client | None, progress: bool) -> None:
    """Run the members; the tables are written after each."""
    from tqdm import tqdm

    from samplers.campaign_report import write_all, write_tables

    for warning in found.warnings:
        print(f"Warning: {warning}")
    write_tables(found)
    drawn = time.monotonic()
    outcomes = (_here(found, todo, progress) if client is None else
                _on_workers(found, todo, client))
    for member, outcome in tqdm(outcomes, desc="members", unit="member", total=len(todo),
                                disable=not progress):
        found.rows[member.name] = row = row_of(member, found.out, outcome.reason)
        tqdm.write(_line(row))
        if outcome.defect:
            tqdm.write(outcome.defect, file=sys.stderr)
        write_tables(found)
        if time.monotonic() - drawn > REDRAWN:
            write_all(found)
            drawn = time.monotonic()


def _here(found: Campaign, todo: Sequence[Member],
          progress: bool) -> Iterator[tuple[Member, Outcome]]:
    """One after the other in this process."""
    for member in todo:
        yield member, run_member(found.tasks[member.name], progress)


def _on_workers(found: Campaign, todo: Sequence[Member],
                client: Client) -> Iterator[tuple[Member, Outcome]]:
    """As workers finish them; a member whose worker dies goes on, on another."""
    from distributed import as_completed

    members = {client.submit(run_member, found.tasks[member.name], pure=False,
                             key=f"{member.name}-{uuid4().hex}"): member for member in todo}
    for future in as_completed(list(members)):
        member = members.pop(future)
        yield member, future.result() if future.status == "finished" else _lost(future)


def _lost(future: Future) -> Outcome:
    """Why a member came to nothing though it raises nothing itself: workers or scheduler died."""
    try:
        error = future.exception()
    except Exception as raised:  # a future whose scheduler is gone raises what it would return
        error = raised
    words = " ".join(str(error).split())
    return Outcome(f"its workers died, or the scheduler did ({type(error).__name__}: {words})")


def _line(row: Line) -> str:
    """What is said of a member when it ends."""
    if row["reason"]:
        return f"{row['name']}: {row['state']}: {row['reason']}"
    return (f"{row['name']}: {row['state']}, {row['density']:.2f} g/cm3, sp/sp2/sp3 "
            f"{100 * row['sp']:.0f}/{100 * row['sp2']:.0f}/{100 * row['sp3']:.0f} %, "
            f"{row['seconds']:.0f} s")
