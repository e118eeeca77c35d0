"""The tables, the figure and the page of a discovery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffxas.files import write_json
from diffxas.report.document import Cell, Document, FigureBlock, Section, Table, write_document
from samplers.csv_lines import Line, write_lines
from samplers.discovery_figure import figure_of
from samplers.discovery_judges import REACH, Achieved
from samplers.discovery_ranking import SAME, Found, front, ranked, sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from samplers.discovery import Discovery

CAPTION = (
    f"Within an ask, samples that reach it, by the guides and by the independent model, come "
    f"first, then the nearer ones, then those of lower energy. Distance: of the relaxed "
    f"structure from what was asked, in the deviations that were asked for; below {SAME:g} it "
    f"does not rank. Reached: within {REACH:g} of them, spectra with a residual below half of "
    f"the target's standard deviation. Front: no other sample of the ask and composition is "
    f"both nearer and lower in energy. A dash: nothing that did not guide can tell.")


def values_of(one: Found) -> dict[str, dict[str, float]]:
    """State -> name -> value: as sampled, relaxed, and by the judges."""
    def joined(found: Mapping[str, Achieved | None]) -> dict[str, float]:
        return {name: value for each in found.values() if each is not None
                for name, value in each.values.items()}

    return {"sampled": joined(one.sampled), "relaxed": joined(one.relaxed),
            "judged": joined(one.judged)}


def line_of(discovery: Discovery, one: Found) -> Line:
    """A sample as a flat row."""
    line: Line = {
        "member": one.member.name, "ask": one.member.ask.name,
        "composition": one.member.composition or "", "density": one.density,
        "sample": one.number, "is_relaxed": one.is_relaxed, "energy_per_atom": one.energy,
        "distance": one.distance, "distance_judged": one.judged_distance,
        "reached": one.reached, "fooled": one.fooled}
    states = values_of(one)
    for name, asked in discovery.asked[one.member.ask.name].items():
        line[f"{name} asked"] = asked
        line |= {f"{name} {state}": found.get(name) for state, found in states.items()}
    return line


def ranking(discovery: Discovery) -> list[Line]:
    """All samples, ask by ask, best first, with ``rank`` (from 1) and ``front``."""
    lines = []
    for ask in discovery.plan.asks:
        best_first = ranked(discovery.of_ask(ask.name))
        for rank, (one, on_front) in enumerate(zip(best_first, front(best_first), strict=True), 1):
            lines.append({"rank": rank, "front": on_front, **line_of(discovery, one)})
    return lines


def write_rows(discovery: Discovery, out: Path) -> None:
    """``discover.csv``: a row a sample, in the order of the members; so far."""
    write_lines(out / "discover.csv", [line_of(discovery, one) for one in discovery.found])


def write_all(discovery: Discovery, out: Path, command: str) -> None:
    """``discover.csv``, ``ranking.csv``, the figure, the report, and last ``summary.json``."""
    from diffxas.plots import save_figure

    write_rows(discovery, out)
    lines = ranking(discovery)
    write_lines(out / "ranking.csv", lines)
    figure = figure_of(discovery.asked, lines)
    if figure is not None:
        save_figure(figure, out / "figures" / "asked_against_achieved.png")
    write_document(document_of(discovery, lines, figure, command), out / "report.html")
    write_json(out / "summary.json", summary(discovery, lines, command))


def summary(discovery: Discovery, lines: Sequence[Line], command: str) -> dict[str, Any]:
    """The content of ``summary.json``."""
    import diffxas

    return {
        "asks": [{"name": ask.name, "guides": list(ask.guides),
                  "asked": discovery.asked[ask.name],
                  "reached": any(one.reached for one in discovery.of_ask(ask.name))}
                 for ask in discovery.plan.asks],
        "members": [{"name": member.name, "ask": member.ask.name, "density": member.density,
                     "composition": member.composition,
                     "failed": discovery.failed.get(member.name)}
                    for member in discovery.plan.members],
        "judges": judge_names(discovery), "ranking": list(lines),
        "out_of_reach": discovery.out_of_reach, "failed": discovery.failed,
        "warnings": all_warnings(discovery), "config": dict(discovery.plan.content),
        "command": command, "version": diffxas.__version__}


def judge_names(discovery: Discovery) -> dict[str, str | None]:
    """Guide's label -> name of who judges it."""
    return {label: None if judge is None else judge.name
            for label, judge in discovery.judges.items()}


def all_warnings(discovery: Discovery) -> list[str]:
    """What a reader must know before the numbers."""
    found = [sentence(row) for row in discovery.out_of_reach]
    found += [f"Failed: {name}: {why}" for name, why in discovery.failed.items()]
    fooled = [one for one in discovery.found if one.fooled]
    found += [f"Sample {one.number} of {one.member.name} is as asked by what guided it, but not by "
              f"the independent model: it was fooled." for one in fooled]
    found += [f"Sample {one.number} of {one.member.name} is unrelaxed: it is compared as sampled."
              for one in discovery.found if not one.is_relaxed]
    return found + discovery.warnings


def document_of(discovery: Discovery, lines: Sequence[Line], figure: Figure | None,
                command: str) -> Document:
    """The page."""
    plan = discovery.plan
    densities = dict.fromkeys(f"{member.density:g}" for member in plan.members)
    unreachable = {row["ask"] for row in discovery.out_of_reach}
    tables = [_table(discovery, ask.name, [line for line in lines if line["ask"] == ask.name],
                     ask.name in unreachable) for ask in plan.asks]
    figures = () if figure is None else (FigureBlock(
        "asked_against_achieved", "Asked against achieved",
        "Filled: relaxed structures, by the independent model where there is one, else by what "
        "guided; open: as sampled. Colour: energy per atom of the relaxed structure. Black: as "
        "asked; where one value was asked, it is drawn across the densities.", figure),)
    judges = Table("Who judges", ("guide", "independent model"), tuple(
        (label, name or "missing") for label, name in judge_names(discovery).items()))
    members = Table("Members", ("folder", "ask", "density (g/cm³)", "composition", "state"), tuple(
        (m.name, m.ask.name, m.density, m.composition or "of the prior",
         "failed" if m.name in discovery.failed else "finished") for m in plan.members))
    return Document(
        "Discovery: asked against achieved", command=command,
        lead=(f"Asks: {len(plan.asks)}; densities: {', '.join(densities)} g/cm³; members: "
              f"{len(plan.members)}; samples: {len(discovery.found)}. Each member's folder holds "
              f"its own report.",),
        warnings=tuple(all_warnings(discovery)),
        sections=(Section("Ranking", (CAPTION,), tuple(tables), figures),
                  Section("Models and members", tables=(judges, members))))


def _table(discovery: Discovery, name: str, lines: Sequence[Line], unreachable: bool) -> Table:
    """The ranking of one ask."""
    quantities = discovery.asked[name]
    columns = ["rank", "front", "density (g/cm³)", "composition", "sample"]
    for quantity, asked in quantities.items():
        told = "" if asked is None else f", asked {asked}"
        columns += [f"{quantity}{told}: as sampled", "relaxed", "independent"]
    columns += ["energy (eV/atom)", "distance", "distance, independent", "reached"]
    rows: list[tuple[Cell, ...]] = []
    for line in lines:
        values = [line.get(f"{quantity} {state}") for quantity in quantities
                  for state in ("sampled", "relaxed", "judged")]
        energy = line["energy_per_atom"]
        rows.append((line["rank"], "front" if line["front"] else "", line["density"],
                     line["composition"] or "–", line["sample"], *values,  # noqa: RUF001
                     None if energy is None else f"{energy:.3f}", line["distance"],
                     line["distance_judged"], "yes" if line["reached"] else
                     "fooled" if line["fooled"] else "no"))
    return Table(f"{name}{': out of reach' if unreachable else ''}", tuple(columns), tuple(rows),
                 strong=frozenset({0}) if rows and lines[0]["reached"] else frozenset())
