"""Which potential makes amorphous carbon? sp3 against density of quenched networks.

Each potential melts and quenches a few cells with ``diffxas.quench``; the reference are the 58
networks of ``experiments/data/a-C-NEP``, quenched with a machine-learned potential near DFT. A run
that was interrupted goes on where it stopped (per cell, under ``runs/experiments/potentials``).

    python experiments/potentials/run.py
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.analysis import coordination_fractions  # noqa: E402
from diffxas.files import write_json  # noqa: E402
from diffxas.melt_quench import Protocol, default_protocol  # noqa: E402
from diffxas.networks import straight_line  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from diffxas.quench import Corpus, quench_to  # noqa: E402
from diffxas.quench_plan import QuenchOptions  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from experiments.common import (  # noqa: E402
    RUNS,
    dft_cells,
    markdown,
    networks,
    write_numbers,
)
from experiments.potentials.figure import Series, draw  # noqa: E402

ALL, SOME = ("1.5", "2.0", "2.5", "3.0", "3.5"), ("2.0", "3.0", "3.5")
USUAL_ATOMS = 216
SEED = 0


@dataclass(frozen=True)
class Case:
    """A potential and what is spent on it; ``changes`` are of the default protocol of carbon."""

    potential: str
    densities: tuple[str, ...]
    atoms: int
    cells: int
    changes: dict[str, float] = field(default_factory=dict)

    @property
    def options(self) -> QuenchOptions:
        """What ``diffxas quench`` would be told."""
        return QuenchOptions(self.densities, self.atoms, "C", self.potential,
                             self.cells * len(self.densities), SEED, 1, self.changes)


CASES = (
    Case("rebo", ALL, 216, 1),
    Case("tersoff:SiC_Erhart-Albe.tersoff", ALL, 216, 1),
    Case("tersoff:SiC_1994.tersoff", ALL, 216, 1),
    Case("tersoff:BNC.tersoff", ALL, 216, 1),
    Case("edip", ALL, 216, 1),
    Case("lcbop", ALL, 64, 1),
    Case("airebo-m", SOME, 64, 1),
    Case("snap", ("3.0",), 64, 1, {"melt_ps": 0.5, "rate": 2000.0, "timestep_fs": 1.0}),
)


def steps(protocol: Protocol) -> int:
    """Of the dynamics of one cell."""
    return sum(stage.steps(protocol.timestep_fs) for stage in protocol.stages())


def series(case: Case, corpus: Corpus) -> Series:
    """sp, sp2, sp3 of the networks, in percent, by density."""
    return Series(case.potential, np.array([row["density"] for row in corpus.rows]),
                  100 * np.array([[row[f"share {n}"] for n in "234"] for row in corpus.rows]))


def cost(case: Case, corpus: Corpus) -> dict[str, object]:
    """What a network costs in processor time, and one of 216 atoms by the default protocol."""
    spent = sum(row["cpu_seconds"] for row in corpus.rows)
    speed = len(corpus.rows) * case.atoms * steps(corpus.plan.protocol) / spent
    usual = USUAL_ATOMS * steps(default_protocol({"C"})) / speed
    return {"potential": case.potential, "atoms": case.atoms, "networks": len(corpus.rows),
            "failed": len(corpus.failures),
            "timestep fs": float(corpus.plan.protocol.timestep_fs),
            "atom-steps/s": round(speed, -2), "s per 216-atom network": usual,
            "216-atom networks per core-hour": 3600 / usual}


def counted(name: str, cells: Sequence[Structure]) -> Series:
    """Structures that are given, by the cutoff of carbon."""
    shares = [coordination_fractions(cell) for cell in cells]
    return Series(name, np.array([cell.density for cell in cells]),
                  100 * np.array([[one[n] for n in "234"] for one in shares]))


def sp3_table(found: list[Series], near_dft: Series) -> list[dict[str, object]]:
    """A row a potential: mean sp3 in percent at each density, and the distance to the reference."""
    expected = {float(at): straight_line(near_dft.density, near_dft.shares[:, 2], float(at))[0]
                for at in ALL}
    rows: list[dict[str, object]] = [
        {"potential": near_dft.name, **{at: expected[float(at)] for at in ALL}, "mean error": None}]
    for one in found:
        means = {at: float(one.shares[np.abs(one.density - float(at)) < 0.01, 2].mean())
                 if (np.abs(one.density - float(at)) < 0.01).any() else None for at in ALL}
        errors = [abs(value - expected[float(at)]) for at, value in means.items()
                  if value is not None]
        rows.append({"potential": one.name, **means, "mean error": float(np.mean(errors))})
    return rows


def main() -> None:
    """Quench what is missing, then figure, numbers and README."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made = []
    for case in CASES:
        folder = RUNS / "potentials" / case.potential.replace(":", "-")
        corpus = quench_to(folder, case.options)
        for name, reason in corpus.failures.items():
            print(f"{case.potential}: {name} failed: {reason}")
        if corpus.rows:
            made.append((case, corpus))
    found = [series(*pair) for pair in made]
    near_dft, dft = counted("NEP (near DFT)", networks()), counted("DFT cells", dft_cells())
    sp3, costs = sp3_table(found, near_dft), [cost(*pair) for pair in made]
    save_figure(draw(found, (near_dft, dft)),
                HERE / "expected" / "sp3_against_density.png")
    write_json(HERE / "expected" / "potentials.json", {
        "sp3_percent": sp3, "cost": costs,
        "networks": {one.name: {"density": one.density, "sp_sp2_sp3_percent": one.shares}
                     for one in found}})
    write_numbers(HERE / "README.md", "sp3 in percent at each density (g/cm3), and the mean "
                  "distance to the networks near DFT, in points:\n\n" + markdown(sp3)
                  + "\nProcessor time, relaxation included:\n\n" + markdown(costs))


if __name__ == "__main__":
    main()
