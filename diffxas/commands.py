"""The commands that need no trained model: ``inspect``, ``relax``, ``analyse``, ``train prior``.

:mod:`samplers.commands` collects them. Each imports what it needs when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffxas.command_line import (
    PATH,
    SpreadingCommand,
    check_output_file,
    existing,
    out_option,
    potential_options,
    read_target,
    shares,
    target_options,
    text_table,
    training_options,
    window_option,
)
from diffxas.errors import RunError

if TYPE_CHECKING:
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
def relax(structures: tuple[Path, ...], out: Path, potential: str | None, cell_too: bool,
          relax_restraint: float | None) -> None:
    """Relax every frame of STRUCTURE files to the nearest minimum of a potential energy."""
    check_output_file(out, structures)
    from diffxas.default_potential import default_potential
    from diffxas.relaxation import RelaxationOptions, relax_file
    from diffxas.structure_files import labelled_structures

    given = labelled_structures(structures)
    name = potential or default_potential({s for _, one in given for s in one.symbols})
    options = RelaxationOptions(potential=name, cell_too=cell_too, restraint=relax_restraint)
    found = relax_file(structures, out, options)
    click.echo(relaxation_table(given, found))
    click.echo(f"written: {out}")
    failed = [label for (label, _), one in zip(given, found, strict=True) if one.failed]
    if failed:
        raise RunError(f"{len(failed)} of {len(found)} relaxations failed ({', '.join(failed)}), "
                       f"{out} holds them unrelaxed: look at their shortest distances with "
                       f"`diffxas analyse`, or choose another --potential")


def relaxation_table(given: Labelled, found: Sequence[Relaxation]) -> str:
    """A row a structure, before and after."""
    from diffxas.analysis import coordination_fractions

    rows = [[label, f"{one.energy_before:.4f} -> {one.energy_after:.4f}",
             f"{one.pressure_before:.2f} -> {one.pressure_gpa:.2f}", f"{one.fmax:.3g}",
             f"{one.rms_displacement:.3f}",
             f"{shares(coordination_fractions(structure))} -> "
             f"{shares(coordination_fractions(one.structure))}",
             f"{one.seconds:.1f}", one.message]
            for (label, structure), one in zip(given, found, strict=True)]
    return text_table(["structure", "eV/atom", "GPa", "largest eV/A", "rms A",
                       "2/3/4-fold %", "s", ""], rows)


@click.command(cls=SpreadingCommand, short_help="Coordination, g(r), rings, ... of structures.")
@click.argument("structures", metavar="STRUCTURE...", type=PATH, nargs=-1, required=True)
@out_option("Folder for report.html, analysis.json, analysis.csv, structures.extxyz and figures; "
            "an earlier analysis there is replaced.")
@click.option("--reference", type=PATH, multiple=True, metavar="STRUCTURE...",
              help="Structures to compare with: all files up to the next option.")
@click.pass_obj
def analyse(command: str, structures: tuple[Path, ...], out: Path,
            reference: tuple[Path, ...]) -> None:
    """Coordination, g(r), S(Q), bond angles and rings of every frame of STRUCTURE files."""
    from diffxas.analyse import analyse as write_analysis
    from diffxas.analyse import check_folder
    from diffxas.structure_files import labelled_structures

    check_folder(out)
    labelled = labelled_structures(structures)
    references = labelled_structures(reference) if reference else None
    found = write_analysis(labelled, out, references, command=command, progress=True)
    click.echo(text_table(
        ["structure", "atoms", "g/cm3", "2/3/4-fold %", "shortest A"],
        [[one["label"], str(one["atoms"]),
          "-" if one["density"] is None else f"{one['density']:.3f}",
          shares(one["coordination"]), f"{one['minimum_distance']:.3f}"]
         for group in ("structures", "references") for one in found[group]]))
    click.echo(f"report: {out / 'report.html'}")


@click.command("prior", short_help="Train a prior on structures.")
@training_options
def train_prior(data: tuple[Path, ...], out: Path, config: Path | None) -> None:
    """Train a prior on DATA: structure files, or folders of them, in any format that ASE reads."""
    paths = existing(data)
    from diffxas.prior import train_prior as train

    folder = train(paths, out, config)
    click.echo(f"prior: {folder} (use it with --prior {folder})")
