"""What was measured: one JSON file a measurement, under ``runs/experiments/scale``.

A folder is named after a hash of the prior's weights and of the source that decides what a
measurement gives; other weights or another sampler begin anew. Each row says when and on which
machine it was taken, and how much of that machine other processes took meanwhile.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from diffxas.errors import InputError, RunError
from diffxas.files import write_json
from diffxas.prior import find_prior
from experiments.common import RUNS, machine, sampler_key

PRIOR = "a-C"
SMALL = bool(os.environ.get("SCALE_SMALL"))
"""Tiny cells and few steps, to see that every stage works; nothing of it is a result."""
HOME = RUNS / ("scale-small" if SMALL else "scale")
BUSY = 0.1
"""Share of the machine's cores that others took, above which a row is marked."""
SOURCES = ("diffxas/lean.py", "diffxas/edge_sums.py", "diffxas/edges.py", "diffxas/tiled.py",
           "diffxas/tiles.py", "diffxas/graph.py", "samplers/drawing.py", "samplers/tiling.py",
           "samplers/cluster.py")

Row = Mapping[str, Any]


class Keep:
    """Whether rows of an earlier state of the source count where there are no others."""

    earlier = False


@lru_cache
def key() -> str:
    """Of the rows of this state of the source."""
    return sampler_key(find_prior(PRIOR), more=SOURCES)


def work_folder(name: str) -> Path:
    """Where a measurement leaves its files."""
    return HOME / key() / "work" / name


def find(name: str) -> Row | None:
    """A row that is there; the newest of an earlier state where that counts."""
    own = HOME / key() / f"{name}.json"
    found = [own] if own.is_file() else []
    if not found and Keep.earlier:
        found = sorted(HOME.glob(f"*/{name}.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        return None
    row: Row = json.loads(found[-1].read_text(encoding="utf-8"))
    return {**row, "earlier": found[-1] != own}


def done(name: str) -> Row | None:
    """A row that is there and did not fail."""
    row = find(name)
    return None if row is None or "failed" in row else row


def measure(name: str, make: Callable[[], Row]) -> Row | None:
    """A row, from its file or made; None if it failed, which is kept too and tried again."""
    row = done(name)
    if row is not None:
        print(f"{name}: known", flush=True)
        return row
    print(f"{name} ...", flush=True)
    before = _Used()
    failed = None
    try:
        made: Row = make()
    except (InputError, RunError) as error:
        made, failed = {"failed": str(error)}, str(error)
    write_json(HOME / key() / f"{name}.json", {
        **made, "name": name, "machine": machine(), "others": _Used().others_since(before)})
    print(f"{name}: {failed or 'done'}", flush=True)
    return None if failed else done(name)


def rows(beginning: str) -> Iterator[Row]:
    """Rows whose names begin so, by name."""
    where = "*" if Keep.earlier else key()
    for name in sorted({path.stem for path in HOME.glob(f"{where}/{beginning}*.json")}):
        row = done(name)
        if row is not None:
            yield row


def mark(row: Row) -> str:
    """What a reader must know of a row: a busy machine, an earlier state of the source."""
    notes = []
    if row.get("others", 0.0) > BUSY:
        notes.append(f"busy machine: others took {100 * row['others']:.0f} %")
    if row.get("earlier"):
        notes.append("earlier source")
    return f" ({'; '.join(notes)})" if notes else ""


class _Used:
    """Processor seconds, the machine's and our own, and the time."""

    def __init__(self) -> None:
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        self.own = sum(one.ru_utime + one.ru_stime for one in own)
        self.time = time.perf_counter()
        stat = Path("/proc/stat")
        self.all = self.own
        if stat.is_file():
            words = stat.read_text(encoding="utf-8").splitlines()[0].split()[1:]
            user, nice, system, _, _, irq, softirq, *_ = map(int, words)
            self.all = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")

    def others_since(self, before: _Used) -> float:
        """Share of all cores that other processes took."""
        used = (self.all - before.all) - (self.own - before.own)
        return max(0.0, used) / max(1e-9, (self.time - before.time) * (os.cpu_count() or 1))


