"""Figures, numbers and the README from the rows that are there."""

from __future__ import annotations

from pathlib import Path

from diffxas.files import write_json
from diffxas.plots import save_figure
from diffxas.structure_files import read_structures
from diffxas.tiles import Partition
from experiments.common import markdown, model_label, write_numbers
from experiments.scale.kept import HOME, PRIOR, SMALL, Row, mark, rows
from experiments.scale.plots import draw_quality, draw_sizes, draw_slice
from experiments.scale.quality import is_good
from experiments.scale.sizes import HUNDRED_THOUSAND, structure_file
from experiments.scale.verdicts import lines

HERE = Path(__file__).resolve().parent
EXPECTED = HOME / "expected" if SMALL else HERE / "expected"


def table_stage() -> None:
    """Write what stands in ``expected`` and in the README; nothing of it in small runs."""
    from diffxas.prior import find_prior

    found = {str(row["name"]): row for row in rows("")}
    verdicts = [line.row() for line in lines(found)]
    text = "\n".join([f"{model_label(find_prior(PRIOR))}.", "", markdown(verdicts),
                      *call_text(found), *sizes_text(found), *quality_text(found)])
    write_json(EXPECTED / "rows.json", found)
    write_json(EXPECTED / "table.json", verdicts)
    sizes = [row for name, row in found.items() if name.startswith("sizes-")]
    if sizes:
        save_figure(draw_sizes(sizes), EXPECTED / "sizes.png")
    unguided, guided = quality_rows(found)
    if unguided:
        save_figure(draw_quality(unguided, guided), EXPECTED / "quality.png")
    path = structure_file(HUNDRED_THOUSAND)
    if path is not None:
        (large,) = read_structures(path)
        tiles = Partition.of(large.cell, large.pbc, len(large)).counts
        save_figure(draw_slice(large, tiles), EXPECTED / "slice.png")
    if SMALL:
        print(text)
        print(f"A small run: nothing of it is a result. Figures in {EXPECTED}")
        return
    write_numbers(HERE / "README.md", text)


def quality_rows(found: dict[str, Row]) -> tuple[list[Row], list[Row]]:
    """Unguided and guided rows of quality against calls."""
    return tuple([row for name, row in found.items()  # type: ignore[return-value]
                  if name.startswith(f"calls-{kind}-")] for kind in ("unguided", "guided"))


def call_text(found: dict[str, Row]) -> list[str]:
    """One call of the denoiser."""
    some = sorted((row for name, row in found.items() if name.startswith("call-") and
                   "gradient" in row), key=lambda row: (row["gradient"], row["atoms"]))
    text = []
    if some:
        text += ["One call, one thread, float32:", "", markdown([{
            "atoms": f"{row['atoms']:,}", "gradient": "with" if row["gradient"] else "without",
            "ms per atom, cpu": row["ms_per_atom"], "wall": row["ms_per_atom_wall"],
            "machine": "busy" if mark(row) else "-"} for row in some])]
    if "call-exact" in found:
        row = found["call-exact"]
        text += [f"float32 against float64: at most {row['single_double']:.2g} angstrom in D; "
                 f"{row['tiles']} tiles against the whole, float64: {row['tiled_whole']:.2g} "
                 f"({row['atoms']:,} atoms).", ""]
    return text


def sizes_text(found: dict[str, Row]) -> list[str]:
    """Whole commands."""
    some = sorted((row for name, row in found.items() if name.startswith("sizes-")),
                  key=lambda row: (row["kind"], row["atoms"], row["workers"] or 0))
    if not some:
        return []
    return ["Whole commands, imports and report included; memory is the largest sum over all "
            "processes:", "", markdown([{
                "what": row["kind"], "atoms": f"{row['atoms']:,}",
                "workers": "-" if row["workers"] is None else row["workers"],
                "wall s": row["wall"], "cpu s": row["cpu"],
                "sampling s": row.get("seconds_sampling"),
                "relaxing s": row.get("seconds_relaxing"), "calls": row.get("calls"),
                "peak MiB": round(row["peak"]), "largest process": round(row["largest"]),
                "report MiB": row["report_mib"], "notes": mark(row).strip(" ()") or "-"}
                for row in some])]


def quality_text(found: dict[str, Row]) -> list[str]:
    """Quality against calls."""
    unguided, guided = quality_rows(found)
    text = []
    if unguided:
        text += ["Unguided samples of 216 atoms; times are distances to networks over those of "
                 "networks among themselves:", "", markdown([{
                     "g/cm3": str(row["density"]), "calls": row["calls"],
                     "samples": row["samples"],
                     "sp/sp2/sp3 %": "/".join(f"{100 * x:.1f}" for x in row["shares"]),
                     "off, points": row["points"], "g(r), times": row["times g(r)"],
                     "angles": row["times angles"], "rings": row["times rings"],
                     "eV/atom": f"{row['energy_sampled']:.3f} -> {row['energy_relaxed']:.3f}",
                     "networks": f"{row['energy_networks']:.3f}", "good": is_good(row)}
                     for row in sorted(unguided, key=lambda r: (r["density"], r["calls"]))])]
    if guided:
        text += ["Guided to DFT means that no model knows, residuals by the judge:", "",
                 markdown([{
                     "g/cm3": str(row["density"]), "calls": row["calls"],
                     "samples": row["samples"], "over the truth's": row["over_truth"],
                     "over unguided": row["over_unguided"],
                     "relaxed, over the truth's": row["residual_relaxed_over_truth"],
                     "sp/sp2/sp3 %": "/".join(f"{100 * x:.0f}" for x in row["shares"]),
                     "good": is_good(row)}
                     for row in sorted(guided, key=lambda r: (r["density"], r["calls"]))])]
    return text
