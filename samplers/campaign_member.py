"""One member of a campaign where it is computed: in this process, or on a worker.

What goes to a worker is plain data; what comes back is why it failed, if it did. The results are
in the member's folder, which all workers share.
"""

from __future__ import annotations

import io
import traceback
from collections.abc import Mapping
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from diffxas.errors import InputError, RunError
from diffxas.run_folder import RUN
from diffxas.shared_models import sharing
from diffxas.spectrum import Spectrum
from samplers.cluster import differences, one_thread, what_is_here
from samplers.setup import GenerateOptions


@dataclass(frozen=True, eq=False)
class Task:
    """What a worker needs.

    Attributes
    ----------
    folder : of the member, absolute
    command : the equivalent command line
    directory : from which paths in the options are taken
    versions : of the client
    models : SHA-256 of the client's, by ``prior:NAME`` or ``surrogate:NAME``
    """

    folder: Path
    spectrum: Spectrum | None
    options: GenerateOptions
    command: str
    directory: Path
    versions: Mapping[str, str]
    models: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """``reason`` is empty unless it failed; ``defect`` is the traceback of an error of ours."""

    reason: str = ""
    defect: str = ""


def run_member(task: Task, progress: bool = False) -> Outcome:
    """Run or resume a member with one thread; nothing that fails is raised.

    What the run prints is in its summary and report, and not shown.
    """
    from samplers.generation import run_in

    try:
        _check_place(task)
        with chdir(task.directory), one_thread(), sharing(), redirect_stdout(io.StringIO()):
            run_in(task.spectrum, task.folder, task.options, task.command, progress)
    except (InputError, RunError, OSError, MemoryError) as error:
        return Outcome(" ".join(str(error).split()) or type(error).__name__)
    except Exception as error:
        words = " ".join(str(error).split())
        return Outcome(f"{type(error).__name__}: {words}", traceback.format_exc())
    return Outcome()


def _check_place(task: Task) -> None:
    """Refuse a worker that sees other files, or came later with other versions."""
    for folder, file in ((task.directory, ""), (task.folder.parent, RUN)):
        if not (folder / file).exists():
            raise InputError(f"workers must share the folder {folder}, received one that does not "
                             f"see {folder / file}: run the campaign in a folder that all share")
    there = what_is_here(list(task.models), str(task.directory))
    if differing := differences({**task.versions, **task.models}, there):
        raise InputError(f"workers must have the versions and weights of this command, received "
                         f"one with {differing}: start it from the same environment")
