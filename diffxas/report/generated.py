"""What the report of ``diffxas generate`` shows: a run's samples, spectra and figures.

The caller fills :class:`ReportContent` with numbers and structures; what was not computed (no
target, no relaxation, no unguided samples) stays empty and its part of the page is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.analysis import bonding
from diffxas.cutoffs import BondCutoff, bond_lengths, cutoff_text
from diffxas.neighbourhood import bonds
from diffxas.plots import save_figure
from diffxas.report.document import (
    Cell,
    Document,
    FigureBlock,
    Section,
    Table,
    View,
    write_document,
)
from diffxas.report.session_figures import session_figures
from diffxas.structure import Structure

MAXIMUM_COLUMNS = 6
"""With more samples than this, nuisances are given as mean and range."""

Trace = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class SampleContent:
    """One sample; ``None`` where a number was not computed.

    Attributes
    ----------
    number : of the sample, which ``sampled_0`` and so on name
    answer : "sampled" or "relaxed", the structure that the run offers as its result
    residual_sampled, residual_relaxed : rms over the window after the nuisances, target's unit
    energy_sampled, energy_relaxed : eV per atom
    rms_displacement : of the relaxation, angstrom
    pressure : of the relaxed structure, GPa
    largest_force : left after the relaxation, eV/angstrom
    seconds_sampling, seconds_relaxing : wall time
    spectrum_sampled, spectrum_relaxed : (n_points,) on the content's ``energy``, target's unit
    convergence : noise levels (angstrom) and residual of the denoised estimate at each
    note : such as why the relaxation failed
    """

    number: int
    sampled: Structure
    relaxed: Structure | None = None
    answer: str = "sampled"
    seed: int | None = None
    residual_sampled: float | None = None
    residual_relaxed: float | None = None
    energy_sampled: float | None = None
    energy_relaxed: float | None = None
    rms_displacement: float | None = None
    pressure: float | None = None
    largest_force: float | None = None
    seconds_sampling: float | None = None
    seconds_relaxing: float | None = None
    spectrum_sampled: np.ndarray | None = None
    spectrum_relaxed: np.ndarray | None = None
    convergence: Trace | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """``sample 0``."""
        return f"sample {self.number}"

    @property
    def residual(self) -> float | None:
        """Residual of the structure that is the answer."""
        return self.residual_relaxed if self.answer == "relaxed" else self.residual_sampled


@dataclass(frozen=True, eq=False)
class UnguidedContent:
    """An unguided sample at the same density, for comparison."""

    structure: Structure
    spectrum: np.ndarray | None = None
    convergence: Trace | None = None


@dataclass(frozen=True)
class NuisanceRow:
    """What the experiment does not fix: prior, and the value that each sample took."""

    name: str
    unit: str
    prior: str
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class DensityPreference:
    """Residuals of samples at several densities, g/cm3 and target's unit."""

    density: np.ndarray
    residuals: tuple[np.ndarray, ...]
    unguided: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything that the report of a run shows.

    Attributes
    ----------
    title : one line
    samples : in the order of their number
    energy, target : (n_points,) eV and ``unit``; None without a target
    window : eV, where the residual is judged
    exclude : ranges (eV) of the window where it is not
    target_spread : standard deviation of the target over the window, what a residual is held to
    target_kind, target_reason : ``measured`` or ``computed``, and why
    shares : panel to coordination ("2", "3", "4", "other") to (n_points,) on ``energy``
    reference : a structure to compare with (the target's own, if it is known), and its name
    guided_below : noise level at which guidance sets in, angstrom
    facts : further lines for the table at the top, such as the classical pi* share
    versions, weights : name to version or hash
    cutoffs : longest bonds by the name of the pair (:mod:`diffxas.cutoffs`)
    answers : first section of the page, such as asked against achieved
    """

    title: str
    samples: tuple[SampleContent, ...]
    command: str = ""
    energy: np.ndarray | None = None
    target: np.ndarray | None = None
    unit: str = "absorption"
    target_name: str = ""
    target_kind: str | None = None
    target_reason: str = ""
    window: tuple[float, float] | None = None
    exclude: tuple[tuple[float, float], ...] = ()
    target_spread: float | None = None
    nuisances: tuple[NuisanceRow, ...] = ()
    shares: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    unguided: tuple[UnguidedContent, ...] = ()
    reference: Structure | None = None
    reference_name: str = "reference"
    guided_below: float | None = None
    density_preference: DensityPreference | None = None
    potential: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    cutoffs: Mapping[str, BondCutoff] = field(default_factory=dict)
    answers: Section | None = None

    def bonding(self, structure: Structure) -> dict[str, Any]:
        """:func:`diffxas.analysis.bonding` with the content's cutoffs."""
        return bonding(structure, bonds(structure, bond_lengths(self.cutoffs)))

    @property
    def best(self) -> SampleContent | None:
        """The sample whose answer fits best, or None without residuals."""
        fitted = [s for s in self.samples if s.residual is not None]
        return min(fitted, key=lambda s: s.residual or 0.0) if fitted else None


def report_figures(content: ReportContent) -> list[FigureBlock]:
    """The figures that the content allows, each with its file name and caption."""
    return [*(content.answers.figures if content.answers else ()), *session_figures(content)]


def write_report(content: ReportContent, path: str | Path,
                 figures_dir: str | Path | None = None) -> None:
    """Write the page; with ``figures_dir`` the same figures as ``NAME.png`` there."""
    figures = report_figures(content)
    if figures_dir is not None:
        for block in figures:
            save_figure(block.figure, Path(figures_dir) / f"{block.name}.png")
    write_document(_document(content, figures), path, figures_dir)


def _document(content: ReportContent, figures: Sequence[FigureBlock]) -> Document:
    best = content.best
    spectral = {"spectra", "shares", "convergence", "density_preference"}
    first = () if content.answers is None else (content.answers,)
    shown = {f.name for section in first for f in section.figures}
    figures = [f for f in figures if f.name not in shown]
    sections = (
        *first,
        Section("Samples", tables=(_sample_table(content), *_coordination_tables(content))),
        Section("Spectra", text=_spectra_text(content), tables=_nuisance_tables(content),
                figures=tuple(f for f in figures if f.name in spectral)),
        Section("Distances and coordination",
                figures=tuple(f for f in figures if f.name not in spectral)),
    )
    views = [View(s.name, state, structure) for s in content.samples
             for state, structure in (("as sampled", s.sampled), ("relaxed", s.relaxed))
             if structure is not None]
    views += [View(f"unguided {k}", "as sampled", u.structure)
              for k, u in enumerate(content.unguided)]
    if content.reference is not None:
        views.append(View(content.reference_name, "as given", content.reference))
    viewed = best or content.samples[0]
    return Document(
        title=content.title, lead=_lead(content), command=content.command, facts=_facts(content),
        warnings=content.warnings, sections=sections, views=tuple(views),
        first_view=(viewed.name, "relaxed" if viewed.answer == "relaxed" else "as sampled"),
        cutoffs=bond_lengths(content.cutoffs))


def _lead(content: ReportContent) -> tuple[str, ...]:
    structure = content.samples[0].sampled
    guided = "guided by the target spectrum" if content.target is not None else "without a target"
    held = [s.sampled.density for s in content.samples]
    density = (f"{structure.density:.2f}" if max(held) - min(held) < 0.005 else
               f"{min(held):.2f} to {max(held):.2f}")
    lines = [f"{len(content.samples)} periodic structure{'s' if len(content.samples) > 1 else ''} "
             f"of {len(structure)} atoms at {density} g/cm³, made {guided}."]
    best = content.best
    if best is not None and best.residual is not None:
        line = (f"The best fit is {best.name}, {_state(best.answer)}: residual "
                f"{best.residual:.3g} in the target's unit")
        if content.target_spread:
            line += (f", {best.residual / content.target_spread:.2f} of the target's standard "
                     f"deviation in the window")
        lines.append(line + ". Structures that fit equally well are equally good answers: compare "
                            "them before reading much into one.")
    return tuple(lines)


def _state(answer: str) -> str:
    return "relaxed" if answer == "relaxed" else "as sampled"


def _facts(content: ReportContent) -> tuple[tuple[str, str], ...]:
    facts = []
    if content.target_name:
        facts.append(("target", content.target_name))
    if content.target_kind:
        reason = f": {content.target_reason}" if content.target_reason else ""
        facts.append(("kind of target", content.target_kind + reason))
    if content.window is not None:
        without = "".join(f", without {low:g} to {high:g}" for low, high in content.exclude)
        facts.append(("window", f"{content.window[0]:g} to {content.window[1]:g} eV{without}"))
    if content.potential:
        facts.append(("potential", content.potential))
    if content.cutoffs:
        facts.append(("longest bonds", cutoff_text(content.cutoffs)))
    facts += content.facts.items()
    facts += [(f"weights, {name}", value) for name, value in content.weights.items()]
    if content.versions:
        facts.append(("versions", ", ".join(f"{k} {v}" for k, v in content.versions.items())))
    return tuple(facts)


def _sample_table(content: ReportContent) -> Table:
    columns: dict[str, list[Cell]] = {
        "sample": [s.number for s in content.samples],
        "seed": [s.seed for s in content.samples],
        "answer": [_state(s.answer) for s in content.samples],
        "residual, sampled": [s.residual_sampled for s in content.samples],
        "residual, relaxed": [s.residual_relaxed for s in content.samples],
        "energy, sampled (eV/atom)": [s.energy_sampled for s in content.samples],
        "energy, relaxed (eV/atom)": [s.energy_relaxed for s in content.samples],
        "moved by relaxation (Å rms)": [s.rms_displacement for s in content.samples],
        "pressure (GPa)": [s.pressure for s in content.samples],
        "largest force (eV/Å)": [s.largest_force for s in content.samples],
        "sampling (s)": [s.seconds_sampling for s in content.samples],
        "relaxing (s)": [s.seconds_relaxing for s in content.samples],
        "note": [s.note for s in content.samples],
    }
    shown = {k: v for k, v in columns.items() if any(value not in (None, "") for value in v)}
    caption = "Sampled: as the reverse diffusion left it. "
    if "energy, relaxed (eV/atom)" in shown:
        caption += ("Relaxed: at the nearest minimum of the potential; pressure and largest force "
                    "are those of the relaxed structure. ")
    if content.best is not None:
        caption += ("Residual: root mean square difference of target and achieved spectrum over "
                    "the window, after the nuisances were fitted, by the surrogate that guided. "
                    "The bold row has the smallest residual.")
    strong = frozenset(n for n, s in enumerate(content.samples) if s is content.best)
    return Table("Numbers", tuple(shown), tuple(zip(*shown.values(), strict=True)), caption, strong)


def _coordination_tables(content: ReportContent) -> tuple[Table, ...]:
    structures = [(s.name, state, structure) for s in content.samples
                  for state, structure in (("as sampled", s.sampled), ("relaxed", s.relaxed))
                  if structure is not None]
    structures += [(f"unguided {k}", "as sampled", u.structure)
                   for k, u in enumerate(content.unguided)]
    if content.reference is not None:
        structures.append((content.reference_name, "as given", content.reference))
    found = [content.bonding(structure) for _, _, structure in structures]
    fractions = [one["coordination"] for one in found]
    keys = [key for key in fractions[0] if any(f[key] > 0 for f in fractions)]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, state, structure.density, *(round(100 * f[key], 1) for key in keys))
        for (name, state, structure), f in zip(structures, fractions, strict=True))
    header = ("structure", "state", "density (g/cm³)", *(f"{k} bonds (%)" for k in keys))
    reach = f"; bonded up to {cutoff_text(content.cutoffs)}" if content.cutoffs else ""
    table = Table("Coordination", header, rows, f"Atoms by their number of bonds{reach}.")
    labels = [f"{name}, {state}" for name, state, _ in structures]
    return (table, *pair_tables(labels, found))


def pair_tables(labels: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[Table, ...]:
    """Bonds between elements, for structures of several; ``found`` as :func:`bonding` gives it."""
    names = dict.fromkeys(name for one in found for name in one["coordination_pairs"])
    unlike = [name for name in names if len(set(name.split("-"))) == 2]
    if not unlike:
        return ()
    columns: dict[str, list[Cell]] = {"structure": list(labels)}
    for name in unlike:
        counts = sorted({n for one in found for n in one["coordination_pairs"].get(name, ())},
                        key=int)
        for n in counts:
            shares = [one["coordination_pairs"].get(name, {}).get(n, 0.0) for one in found]
            columns[f"{name} {n} (%)"] = [round(100 * share, 1) for share in shares]
    for name in dict.fromkeys(name for one in found for name in one["like_bonds"]):
        columns[f"{name} bonds (%)"] = [round(100 * one["like_bonds"].get(name, 0.0), 1)
                                        for one in found]
    first, second = unlike[0].split("-")
    caption = (f"{unlike[0]} 4: the share of {first} atoms with four bonds to {second}, and so on. "
               f"Bonds of like atoms as a share of all bonds.")
    return (Table("Bonds between elements", tuple(columns),
                  tuple(zip(*columns.values(), strict=True)), caption),)


def _spectra_text(content: ReportContent) -> tuple[str, ...]:
    if content.target is None:
        return ()
    return ("An achieved spectrum is the mean of the predicted spectra of all absorbers, passed "
            "through the observation model. It carries the surrogate's error: a small residual "
            "says that the surrogate cannot tell the structure from the target, not that the "
            "structure is the only one.",)


def _nuisance_tables(content: ReportContent) -> tuple[Table, ...]:
    if not content.nuisances:
        return ()
    rows: tuple[tuple[Cell, ...], ...]
    header: tuple[str, ...]
    if len(content.samples) <= MAXIMUM_COLUMNS:
        header = tuple(s.name for s in content.samples)
        rows = tuple((n.name, n.unit, n.prior, *n.values) for n in content.nuisances)
    else:
        header = ("mean", "smallest", "largest")
        rows = tuple((n.name, n.unit, n.prior, float(np.mean(n.values)), min(n.values),
                      max(n.values)) for n in content.nuisances)
    return (Table("Nuisances", ("name", "unit", "prior", *header), rows,
                  "What the experiment does not fix and the fit was free to choose, within its "
                  "prior. What a nuisance took up is not evidence for the structure; one far "
                  "from its prior says that the model lacks something."),)
