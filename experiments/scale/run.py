"""Any size: time, memory and quality of what ``diffxas generate`` makes, from 216 atoms on.

    python experiments/scale/run.py [--keep-earlier] [--large] [--huge] [--gpu] [STAGE ...]

Stages: call, sizes, calls, structure, table; all of them in this order if none is named. What was
measured is kept under ``runs/experiments/scale`` and found again. ``--large`` adds 100,000 atoms,
``--huge`` a million, ``--gpu`` a million on a GPU; without ``--large`` the stage structure is left
out. With ``--keep-earlier`` rows of an earlier state of the source count where there are no others;
the README says which. ``SCALE_SMALL=1`` runs tiny cells, to see that everything works;
``SCALE_SAMPLES=2`` takes fewer samples for quality against calls.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from experiments.scale.kept import Keep  # noqa: E402
from experiments.scale.sizes import DEFAULT, GPU, HUGE, LARGE, sizes_stage  # noqa: E402

EARLIER = "--keep-earlier"
STAGES = ("call", "sizes", "calls", "structure", "table")


def main(words: list[str]) -> None:
    """Run the stages."""
    flags = {word for word in words if word.startswith("--")}
    names = [word for word in words if word not in flags]
    known = {EARLIER, LARGE, HUGE, GPU}
    wrong = [*sorted(flags - known), *(name for name in names if name not in STAGES)]
    if wrong:
        raise SystemExit(f"words must be among {', '.join([*STAGES, *sorted(known)])}, received "
                         f"{wrong[0]}")
    Keep.earlier = EARLIER in flags
    levels = frozenset(flags & {LARGE, HUGE, GPU} | {DEFAULT})
    for name in STAGES:
        if name in names or not names:
            stage(name, levels)


def stage(name: str, levels: frozenset[str]) -> None:
    """One stage; what it needs is imported here."""
    if name == "call":
        from experiments.scale.call import call_stage

        call_stage()
    elif name == "sizes":
        sizes_stage(levels)
    elif name == "calls":
        from experiments.scale.quality import calls_stage

        calls_stage()
    elif name == "structure":
        if LARGE not in levels:
            print(f"structure: left out without {LARGE}")
            return
        from experiments.scale.large import structure_stage

        structure_stage()
    else:
        from experiments.scale.table import table_stage

        table_stage()


if __name__ == "__main__":
    main(sys.argv[1:])
