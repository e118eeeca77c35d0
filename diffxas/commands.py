"""The commands that need no trained model, from ``inspect`` to ``quench`` and ``train prior``.

:mod:`samplers.commands` collects them. Each imports what it needs when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffxas.command_line import (
    PATH,
    SpreadingCommand,
    check_output_file,
    cutoff_option,
    existing,
    lammps_options,
    out_option,
    pair_columns,
    potential_options,
    read_target,
    shares,
    target_options,
    text_table,
    training_options,
    window_option,
)
from diffxas.errors import InputError, RunError

if TYPE_CHECKING:
    from diffxas.cutoffs import Cutoffs
    from diffxas.relaxation import Relaxation
    from diffxas.structure import Structure

    Labelled = Sequence[tuple[str, Structure]]


@click.command(short_help="Draw how a target file is read and normalised.")
@click.argument("target", type=PATH)
@out_option("Folder for inspect.png, inspect.json and normalised.csv; an earlier inspection "
            "there is replaced.")
@target_options
@window_option("of the fit, shaded in the figure")
def inspect(target: Path, out: Path, edge: str | None, columns: str | None,
            window: tuple[float, float] | None) -> None:
    """Draw how TARGET is read and normalised, and print the settings as flags to copy."""
    spectrum = read_target(target, columns, edge)
    from diffxas.inspection import inspect_target

    found = inspect_target(spectrum, out, window=window)
    click.echo(f"e0 {found['e0']:.2f} eV, edge step {found['edge_step']:.4g}, "
               f"{found['points_in_window']} points in the window")
    for note in found["notes"]:
        click.echo(f"note: {note}")
    click.echo(f"flags: {found['flags']}")
    click.echo(f"figure: {out / 'inspect.png'}")


@click.command(short_help="Relax structures with a potential energy.")
@click.argument("structures", metavar="STRUCTURE...", type=PATH, nargs=-1, required=True)
@out_option("Relaxed structures, every frame in order: .extxyz (with energy and forces), .cif, "
            ".vasp or .data (LAMMPS).", "FILE")
@potential_options
@click.option("--ranks", type=int, default=1, show_default=True, metavar="N",
              help="Processes that LAMMPS runs on under MPI, for large cells at fixed cell.")
@cutoff_option
@lammps_options
def relax(structures: tuple[Path, ...], out: Path, potential: str | None, cell_too: bool,
          relax_restraint: float | None, ranks: int, cutoffs: dict[str, float],
          type_order: tuple[str, ...] | None, charges: dict[str, float] | None) -> None:
    """Relax every frame of STRUCTURE files to the nearest minimum of a potential energy."""
    check_output_file(out, structures)
    from diffxas.cutoffs import choose_cutoffs, cutoff_text
    from diffxas.default_potential import default_potential
    from diffxas.relaxation import RelaxationOptions, relax_file
    from diffxas.structure_files import labelled_structures

    given = labelled_structures(structures)
    elements = {symbol for _, one in given for symbol in one.symbols}
    chosen = choose_cutoffs(elements, cutoffs)
    name = potential or default_potential(elements)
    options = RelaxationOptions(potential=name, cell_too=cell_too, restraint=relax_restraint,
                                ranks=ranks)
    found = relax_file(structures, out, options, type_order=type_order, charges=charges)
    click.echo(relaxation_table(given, found, chosen))
    click.echo(f"longest bonds: {cutoff_text(chosen, 'A')}")
    click.echo(f"written: {out}")
    failed = [label for (label, _), one in zip(given, found, strict=True) if one.failed]
    if failed:
        raise RunError(f"{len(failed)} of {len(found)} relaxations failed ({', '.join(failed)}), "
                       f"{out} holds them unrelaxed: look at their shortest distances with "
                       f"`diffxas analyse`, or choose another --potential")


def relaxation_table(given: Labelled, found: Sequence[Relaxation], cutoffs: Cutoffs) -> str:
    """A row a structure, before and after."""
    from diffxas.analysis import bonding
    from diffxas.cutoffs import bond_lengths
    from diffxas.neighbourhood import bonds

    lengths = bond_lengths(cutoffs)
    before, after = ([bonding(one, bonds(one, lengths)) for one in group] for group in (
        [structure for _, structure in given], [one.structure for one in found]))
    rows = [[label, f"{one.energy_before:.4f} -> {one.energy_after:.4f}",
             f"{one.pressure_before:.2f} -> {one.pressure_gpa:.2f}", f"{one.fmax:.3g}",
             f"{one.rms_displacement:.3f}",
             f"{shares(was['coordination'])} -> {shares(now['coordination'])}",
             *(f"{x} -> {y}" for x, y in zip(*pairs, strict=True)),
             f"{one.seconds:.1f}", one.message]
            for (label, _), one, was, now, *pairs in zip(
                given, found, before, after, by_row(before), by_row(after), strict=True)]
    return text_table(["structure", "eV/atom", "GPa", "largest eV/A", "rms A",
                       "2/3/4-fold %", *pair_columns(after), "s", ""], rows)


def by_row(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The entries of :func:`pair_columns`, a list for each row."""
    columns = pair_columns(found)
    return [[column[row] for column in columns.values()] for row in range(len(found))]


@click.command(cls=SpreadingCommand, short_help="Coordination, g(r), rings, ... of structures.")
@click.argument("structures", metavar="STRUCTURE...", type=PATH, nargs=-1, required=True)
@out_option("Folder for report.html, analysis.json, analysis.csv, structures.extxyz and figures; "
            "an earlier analysis there is replaced.")
@click.option("--reference", type=PATH, multiple=True, metavar="STRUCTURE...",
              help="Structures to compare with: all files up to the next option.")
@cutoff_option
@click.pass_obj
def analyse(command: str, structures: tuple[Path, ...], out: Path,
            reference: tuple[Path, ...], cutoffs: dict[str, float]) -> None:
    """Coordination, g(r), S(Q), bond angles and rings of every frame of STRUCTURE files."""
    from diffxas.analyse import AnalysisOptions, check_folder
    from diffxas.analyse import analyse as write_analysis
    from diffxas.cutoffs import cutoff_text, from_record
    from diffxas.structure_files import labelled_structures

    check_folder(out)
    labelled = labelled_structures(structures)
    references = labelled_structures(reference) if reference else None
    found = write_analysis(labelled, out, references, AnalysisOptions(cutoffs=cutoffs),
                           command=command, progress=True)
    rows = [one for group in ("structures", "references") for one in found[group]]
    pairs = pair_columns(rows)
    click.echo(text_table(
        ["structure", "atoms", "g/cm3", "2/3/4-fold %", "shortest A", *pairs],
        [[one["label"], str(one["atoms"]),
          "-" if one["density"] is None else f"{one['density']:.3f}",
          shares(one["coordination"]), f"{one['minimum_distance']:.3f}",
          *(column[k] for column in pairs.values())] for k, one in enumerate(rows)]))
    click.echo(f"longest bonds: {cutoff_text(from_record(found), 'A')}")
    click.echo(f"report: {out / 'report.html'}")


@click.command(short_help="Melt and quench amorphous networks.")
@click.option("--density", "densities", metavar="RHO|A:B", multiple=True, required=True,
              help="Mass density, g/cm3, or a range over which the cells are spread evenly; may be "
                   "repeated, the cells are then dealt in turn.")
@click.option("--atoms", type=int, metavar="N",
              help="Atoms in each cell, a cube.  [default: 216, unless the composition counts]")
@click.option("--composition", default="C", show_default=True, metavar="FORMULA|COUNTS",
              help="What the cell is made of: SiO2, or Si:72,O:144.")
@click.option("--potential", metavar="NAME",
              help="Potential energy: rebo, lcbop, airebo-m, snap (slow), "
                   "tersoff[:FILE], vashishta[:FILE], FILE.lmp or matgl:FOLDER.  [default: rebo "
                   "for C and H, vashishta for Si and O, tersoff for Si and C]")
@click.option("--rate", type=float, metavar="K_PER_PS",
              help="Cooling, K/ps.  [default: 1000 for C and H, otherwise 100]")
@click.option("--cells", type=int, default=4, show_default=True, metavar="N",
              help="How many networks in all.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N",
              help="One seed gives the same networks, whatever the number of workers.")
@out_option("Folder of networks.extxyz, report.html, summary.json, quench.csv and cells/; an "
            "unfinished run of the same command there resumes.")
@click.option("--melt", type=float, metavar="K",
              help="Temperature of the melt.  [default: 8000 for C and H, 6000 for Si and C, "
                   "otherwise 4000]")
@click.option("--melt-ps", type=float, metavar="PS",
              help="How long it is molten.  [default: 3 for C and H, otherwise 10]")
@click.option("--timestep", "timestep_fs", type=float, metavar="FS",
              help="Of the dynamics.  [default: 0.5 for C, 0.25 with H, otherwise 1]")
@click.option("--anneal", type=float, metavar="K",
              help="Hold at this temperature after cooling, and cool again.  [default: none]")
@click.option("--anneal-ps", type=float, metavar="PS", help="How long.  [default: 10]")
@click.option("--snapshot-300K", "snapshot_ps", type=float, metavar="PS",
              help="Also write networks_300K.extxyz, after so long at 300 K: what priors are "
                   "trained on.  [default: none]")
@click.option("--workers", type=int, default=1, show_default=True, metavar="N",
              help="Processes, one thread each.")
@click.pass_obj
def quench(command: str, densities: tuple[str, ...], atoms: int | None, composition: str,
           potential: str | None, cells: int, seed: int, out: Path, workers: int,
           **changes: float | None) -> None:
    """Make amorphous networks by melting and quenching, then relax them.

    Atoms on a random start are molten, cooled to 300 K and relaxed in a cell of fixed density.
    Empirical potentials make far too little sp3 carbon at high density; see experiments/potentials.
    """
    from diffxas.quench import quench_to
    from diffxas.quench_plan import QuenchOptions
    from diffxas.quench_report import corpus_table, protocol_text

    if changes["anneal_ps"] is not None and changes["anneal"] is None:
        raise InputError(f"--anneal-ps must go with --anneal, received {changes['anneal_ps']:g} "
                         f"alone: add --anneal 1500, or leave it out")
    atoms = 216 if atoms is None and ":" not in composition else atoms
    options = QuenchOptions(
        densities=densities, atoms=atoms, composition=composition, potential=potential,
        cells=cells, seed=seed, workers=workers,
        changes={key: value for key, value in changes.items() if value is not None})
    corpus = quench_to(out, options, command=command)
    click.echo(corpus_table(corpus))
    click.echo(f"{corpus.plan.label}: {protocol_text(corpus)}")
    if corpus.rows:
        click.echo(f"report: {out / 'report.html'}")
    if corpus.failures:
        raise RunError(f"{len(corpus.failures)} of {len(corpus.plan.jobs)} cells failed, the "
                       f"others are in {out}: use a smaller --timestep, another --potential or a "
                       f"lower --density; the same command tries them again")


@click.command("prior", short_help="Train a prior on structures.")
@training_options
def train_prior(data: tuple[Path, ...], out: Path, config: Path | None) -> None:
    """Train a prior on DATA: structure files, or folders of them, in any format that ASE reads."""
    paths = existing(data)
    from diffxas.prior import train_prior as train

    folder = train(paths, out, config)
    click.echo(f"prior: {folder} (use it with --prior {folder})")
