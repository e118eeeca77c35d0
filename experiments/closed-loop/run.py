"""Does guidance recover structures, or fool its surrogate? Twenty truths that no model knows.

    python experiments/closed-loop/run.py [--keep-earlier] [STAGE ...]

Stages: unguided, guided, melts, pairs, coordination, pdf, sizes, cost, density, table; all of them
in this order if none is named. Samples are kept under ``runs/experiments/closed-loop`` and found
again; the same command may run in several processes at once, which share the jobs. With
``--keep-earlier`` samples of an earlier state of the source count where there are no others; the
README says which.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
os.environ.setdefault("OMP_NUM_THREADS", "1")

from density import density_lines  # noqa: E402
from jobs import Keep, work_through  # noqa: E402
from measures import measure_all  # noqa: E402
from stages import STAGES  # noqa: E402

from experiments.common import one_thread  # noqa: E402

EARLIER = "--keep-earlier"
ALL = (*STAGES, "density", "table")


def main(names: list[str]) -> None:
    """Run the stages."""
    Keep.earlier = EARLIER in names
    names = [name for name in names if name != EARLIER]
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise SystemExit(f"stages must be among {', '.join(ALL)}, received {unknown[0]}")
    one_thread()
    for name in names or ALL:
        if name == "table":
            from result import write

            write(density_lines())
            continue
        if name == "density":
            density_lines(make=True)
            continue
        cases = STAGES[name]()
        for line in work_through([case.job for case in cases], name):
            print(f"{name}, not done: {line}")
        if name != "cost":
            measure_all(cases, name)


if __name__ == "__main__":
    main(sys.argv[1:])
