"""The measured film, its density sought, with and without adsorbates: what is found.

    python experiments/closed-loop/film.py [FOLDER]

Two runs of ``diffxas generate`` (resumed where they stopped) into FOLDER/plain and
FOLDER/adsorbates (default runs/experiments/film); a table of posteriors, nuisances and residuals
into the README beside.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas import Spectrum  # noqa: E402
from diffxas.files import write_json, write_text  # noqa: E402
from experiments.common import DATA, RUNS, markdown  # noqa: E402
from samplers.evidence import DensityPrior  # noqa: E402
from samplers.generation import run_in  # noqa: E402
from samplers.setup import GenerateOptions  # noqa: E402

FILM = DATA / "experimental" / "dlc_c_k_nexafs.csv"
SOUGHT, SAMPLES = "1.5:3.5", 8
BEGIN, END = "<!-- film -->", "<!-- end of film -->"


def found(folder: Path, adsorbates: bool) -> dict[str, Any]:
    """Run, and return the summary."""
    prior = DensityPrior.parse(SOUGHT)
    assert isinstance(prior, DensityPrior)
    options = GenerateOptions(density=prior.middle, density_prior=prior, samples=SAMPLES, seed=1,
                              adsorbates=adsorbates)
    more = " --adsorbates" if adsorbates else ""
    run_in(Spectrum.read(FILM, edge="C:K"), folder, options,
           f"diffxas generate {FILM.name} --density {SOUGHT} --samples {SAMPLES} --seed 1{more}",
           progress=True)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def rows_of(plain: dict[str, Any], adsorbates: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a number, a column a run: mean, and the 90 % interval."""
    columns = {"without": plain, "with --adsorbates": adsorbates}
    paths = [("density, g/cm3", ("posterior", "density"), 1)]
    paths += [(f"{name}, %", ("posterior", "coordination", key), 100)
              for name, key in (("sp", "2"), ("sp2", "3"), ("sp3", "4"))]
    paths += [(key, ("nuisance", key), 1) for key in adsorbates["nuisance"]]
    rows = []
    for label, path, scale in paths:
        row: dict[str, Any] = {"number": label}
        for name, summary in columns.items():
            value: Any = summary
            for key in path:
                value = None if value is None else value.get(key)
            row[name] = None if value is None else "{:.3g} ({:.3g} to {:.3g})".format(
                *(scale * x for x in (value["mean"], *value["interval90"])))
        rows.append(row)
    for label, key in (("residual, sampled", "residual_sampled"),
                       ("residual, relaxed", "residual_relaxed")):
        rows.append({"number": f"{label}, best", **{
            name: f"{min(one[key] for one in s['samples'] if one[key] is not None):.3g}"
            for name, s in columns.items()}})
    rows.append({"number": "warnings that name a peak", **{
        name: " ".join(w for w in s["warnings"] if "peak" in w) or "none"
        for name, s in columns.items()}})
    return rows


def main(folder: Path) -> None:
    """Both runs, and the table."""
    rows = rows_of(found(folder / "plain", False), found(folder / "adsorbates", True))
    write_json(HERE / "expected" / "film.json", rows)
    readme = HERE / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    write_text(readme, f"{before}{BEGIN}\n{markdown(rows)}\n{END}{after}")
    print(markdown(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RUNS / "film")
