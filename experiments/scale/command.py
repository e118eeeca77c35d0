"""The command ``diffxas`` as a user runs it, a process of its own, with what it costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from diffxas.errors import RunError
from experiments.common import ROOT

START = "from samplers.commands import main; main(prog_name='diffxas')"
EVERY = 0.1
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Cost:
    """Of one run of the command.

    Attributes
    ----------
    wall, cpu : seconds; processor time of the command and all that it started
    peak : MiB, largest sum of resident memory over its processes (shared pages count in each)
    largest : MiB, of the largest process alone, as the system accounts for it (ru_maxrss)
    """

    wall: float
    cpu: float
    peak: float
    largest: float


def run_command(words: Sequence[object], out: Path) -> Cost:
    """Run it into an empty folder; its output goes to a file beside.

    Raises
    ------
    RunError
        If it ends with a code other than 0 and 3 (target out of reach).
    """
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    log = out.with_suffix(".log")
    line = [sys.executable, "-c", START, *map(str, words), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OMP_NUM_THREADS", None)
    with log.open("w", encoding="utf-8") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=output,
                                   stderr=subprocess.STDOUT)
        watch = _Watch(process.pid)
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
    if process.returncode not in (0, 3):
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise RunError(f"diffxas {' '.join(map(str, words))} must end with 0, received "
                       f"{process.returncode}: {' / '.join(last)}")
    largest = used.ru_maxrss / 1024  # KiB on Linux
    return Cost(wall, used.ru_utime + used.ru_stime, max(watch.peak, largest), largest)


class _Watch(threading.Thread):
    """Looks at the memory of a process and all that it started."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self._ended = pid, 0.0, threading.Event()

    def run(self) -> None:
        try:
            top = psutil.Process(self.pid)
        except psutil.NoSuchProcess:
            return
        while not self._ended.wait(EVERY):
            total = 0
            try:
                for one in (top, *top.children(recursive=True)):
                    try:
                        total += one.memory_info().rss
                    except psutil.Error:  # ended meanwhile
                        continue
            except psutil.Error:
                return
            self.peak = max(self.peak, total / 2**20)

    def stop(self) -> None:
        """No more looks."""
        self._ended.set()
        self.join()
