"""How many sites a second a surrogate predicts, and which share of the machine's peak that is.

    python experiments/surrogate-speed/run.py [--surrogate NAME|PATH]
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch starts its threads

import torch
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.files import write_json  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from experiments.common import markdown, networks, write_numbers  # noqa: E402
from surrogates.base import Surrogate  # noqa: E402
from surrogates.loading import load_surrogate  # noqa: E402

CELLS, TILES = 47, (4, 4, 3)
"""47 networks of 216 atoms, and one of them repeated: 10,152 and 10,368 sites."""
REPEATS, MATRIX = 1, 3072
THREADS = (1, 2)
COLOURS = {"spectra": "#0072B2", "spectra and gradients": "#D55E00"}


@dataclass(frozen=True)
class Timing:
    """Of one run: wall and own processor seconds, and the share of the machine that others took."""

    wall: float
    cpu: float
    others: float


def measured(work: Callable[[], object]) -> Timing:
    """Time one call."""
    busy, own, wall = _busy(), _own(), time.perf_counter()
    work()
    wall, own, busy = time.perf_counter() - wall, _own() - own, _busy() - busy
    return Timing(wall, own, max(0.0, busy - own) / (wall * (os.cpu_count() or 1)))


def _own() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _busy() -> float:
    """Processor seconds that the machine has worked since it started; own ones elsewhere."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return _own()
    words = stat.read_text(encoding="utf-8").splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = map(int, words)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def fastest(work: Callable[[], object]) -> Timing:
    """The run that was least disturbed, of one or several."""
    return min((measured(work) for _ in range(REPEATS)), key=lambda one: one.wall)


def peak() -> Timing:
    """A product of two large float32 matrices."""
    a, b = (torch.randn(MATRIX, MATRIX, generator=torch.Generator().manual_seed(k))
            for k in range(2))
    return fastest(lambda: torch.mm(a, b))


def predict(surrogate: Surrogate, cells: Sequence[Structure], gradients: bool) -> None:
    """Spectra of every site, one cell after the other; or those and a gradient of each cell."""
    for cell in cells:
        x = torch.tensor(cell.positions, requires_grad=gradients)
        with torch.set_grad_enabled(gradients):
            spectra = surrogate.spectra(x, cell)
            if gradients:
                torch.autograd.grad(spectra.mean((0, 1)).square().mean(), x)


def operations(surrogate: Surrogate, cells: Sequence[Structure], gradients: bool) -> int:
    """Floating-point operations of the matrix products alone, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        predict(surrogate, cells, gradients)
    return int(counter.get_total_flops())


def rows_of(surrogate: Surrogate, batches: dict[str, list[Structure]]) -> list[dict[str, Any]]:
    """A row for each number of threads, batch and kind of work."""
    rows: list[dict[str, Any]] = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        top = peak()
        highest = 2 * MATRIX**3 / top.cpu / 1e9
        rows.append({"threads": threads, "work": f"matrix product, {MATRIX} x {MATRIX}",
                     "sites": None, "wall s": top.wall, "own cpu s": top.cpu, "sites/s": None,
                     "sites/cpu s": None, "GFLOP/cpu s": highest, "share of peak": 1.0,
                     "others' cpu": top.others})
        for name, cells in batches.items():
            sites = sum(len(surrogate.absorbers(cell)) for cell in cells)
            for gradients, kind in ((False, "spectra"), (True, "spectra and gradients")):
                flops = operations(surrogate, cells[:1], gradients) * len(cells)  # a warm-up too
                one = fastest(lambda c=cells, g=gradients: predict(surrogate, c, g))
                speed = flops / one.cpu / 1e9
                rows.append({
                    "threads": threads, "work": f"{kind}, {name}", "sites": sites,
                    "wall s": one.wall, "own cpu s": one.cpu, "sites/s": sites / one.wall,
                    "sites/cpu s": sites / one.cpu, "GFLOP/cpu s": speed,
                    "share of peak": speed / highest, "others' cpu": one.others})
                print(rows[-1], flush=True)
    return rows


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Sites a processor second, bars by threads."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    axis = figure.subplots()
    shown = [row for row in rows if row["sites"] is not None]
    names = [f"{row['threads']} thread{'s' if row['threads'] != 1 else ''}\n"
             f"{str(row['work']).split(', ')[1]}" for row in shown]
    places = {name: k for k, name in enumerate(dict.fromkeys(names))}
    for row, name in zip(shown, names, strict=True):
        kind = row["work"].split(", ")[0]
        place = places[name] + (0.2 if "gradients" in kind else -0.2)
        bar = axis.bar(place, row["sites/cpu s"], 0.38, color=COLOURS[kind])
        axis.bar_label(bar, [f"{100 * float(str(row['share of peak'])):.1f} %"], fontsize=8.5)
    axis.set_xticks(list(places.values()), list(places))
    axis.set_ylabel("sites a processor second\n(share of the matrix product's speed)")
    axis.spines[["top", "right"]].set_visible(False)
    for kind, colour in COLOURS.items():
        axis.bar(0, 0, color=colour, label=kind)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return figure


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surrogate", default="a-C", help="a name or folder")
    name = parser.parse_args().surrogate
    surrogate = load_surrogate(name)
    if surrogate.element != "C":
        raise SystemExit(f"needs a surrogate of carbon, received one of {surrogate.element}")
    cells = networks()[:CELLS]
    middle = cells[len(cells) // 2]
    batches = {f"{CELLS} cells": cells, "one cell": [Structure.from_atoms(
        middle.to_atoms().repeat(TILES))]}
    family = surrogate.record["family"]
    rows = rows_of(surrogate, batches)
    with torch.no_grad():
        members = len(surrogate.spectra(torch.tensor(middle.positions), middle))
    write_json(HERE / "expected" / "speed.json", {
        "surrogate": name, "family": family, "members": members, "rows": rows,
        "load": list(os.getloadavg())})
    save_figure(draw(rows), HERE / "expected" / "speed.png")
    report(name, family, members, rows)


def report(name: str, family: str, members: int, rows: Sequence[dict[str, Any]]) -> None:
    """The README's numbers."""
    best = max((row for row in rows if row["sites"]), key=lambda row: row["sites/s"])
    per_core = max(row["sites/cpu s"] for row in rows if row["sites"])
    busy = np.mean([row["others' cpu"] for row in rows])
    write_numbers(HERE / "README.md", f"""{name}: family {family}, {members} members. At most \
{best["sites/s"]:,.0f} sites a second ({best["work"]}, {best["threads"]} threads), \
{100 * best["share of peak"]:.1f} % of the matrix product's speed. Other processes \
took {100 * busy:.0f} % of the machine's {os.cpu_count()} cores meanwhile; of its own processor \
time the surrogate makes at most {per_core:,.0f} sites a second and core.

{markdown(rows)}""")


if __name__ == "__main__":
    main()
