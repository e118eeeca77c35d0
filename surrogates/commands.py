"""The commands that need a surrogate: ``predict``, ``compare`` and ``train surrogate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffxas.command_line import (
    DEFAULT_EDGE,
    PATH,
    AnyCommand,
    check_output_file,
    existing,
    out_option,
    read_target,
    shares,
    target_options,
    text_table,
    training_options,
    window_option,
)
from diffxas.errors import InputError
from diffxas.spectrum import parse_edge

if TYPE_CHECKING:
    from surrogates.base import Surrogate

DEFAULT_SURROGATE = "a-C"
TARGET_KINDS = click.Choice(["auto", "computed", "measured"])


def surrogate_option(command: AnyCommand) -> AnyCommand:
    """``--surrogate NAME|PATH``."""
    return click.option("--surrogate", default=DEFAULT_SURROGATE, show_default=True,
                        metavar="NAME|PATH", help="Structure -> spectrum model: a name that "
                        "`diffxas models` lists, or a folder.")(command)


def target_kind_option(command: AnyCommand) -> AnyCommand:
    """``--target-kind auto|computed|measured``."""
    return click.option(
        "--target-kind", type=TARGET_KINDS, default="auto", show_default=True,
        help="Whether TARGET is in the surrogate's own units (computed) or is normalised and "
             "compared through fitted nuisances (measured); auto: computed if its energies are the "
             "surrogate's.")(command)


def surrogate_for_edge(name: str, edge: str | None) -> Surrogate:
    """Load a surrogate, which must be of ``edge`` if one was asked for.

    Raises
    ------
    InputError
        If there is no such model, or it predicts another edge.
    """
    wanted = None if edge is None else ":".join(parse_edge(edge))
    from surrogates.loading import load_surrogate

    model = load_surrogate(name)
    known = f"{model.element}:{model.edge}"
    if wanted not in (None, known):
        raise InputError(f"--edge must be {known} for the surrogate {model.name}, received "
                         f"{wanted}: choose another --surrogate (`diffxas models` lists them)")
    return model


@click.command(short_help="Structures to spectra.")
@click.argument("structures", metavar="STRUCTURE...", type=PATH, nargs=-1, required=True)
@out_option("The table: energy, then a column for each structure; uncertainties go to a second "
            "file beside it. An earlier table there is replaced.", "spectra.csv")
@click.option("--sites", is_flag=True,
              help="A column STRUCTURE:ATOM for each absorber instead of their mean.")
@click.option("--edge", metavar="ELEMENT:EDGE",
              help=f"Absorber and edge.  [default: {DEFAULT_EDGE}, or those of --surrogate]")
@surrogate_option
def predict(structures: tuple[Path, ...], out: Path, sites: bool, edge: str | None,
            surrogate: str) -> None:
    """Spectra of every frame of STRUCTURE files, in any format that ASE reads."""
    check_output_file(out, structures)
    check_earlier_table(out)
    from diffxas.structure_files import labelled_structures

    labelled = labelled_structures(structures)
    model = surrogate_for_edge(surrogate, edge)
    from surrogates.prediction import predict_table, write_prediction

    files = write_prediction(out, predict_table(labelled, model, sites, progress=True))
    click.echo(f"{model.element}:{model.edge} spectra of {len(labelled)} structures by "
               f"{model.name}, {len(model.energy)} points from {model.energy[0]:g} to "
               f"{model.energy[-1]:g} eV")
    click.echo(f"written: {', '.join(map(str, files))}")


def check_earlier_table(out: Path) -> None:
    """Refuse to replace a file that is not a table of spectra.

    Raises
    ------
    InputError
        If the file exists and does not begin with our header.
    """
    if not out.exists():
        return
    from diffxas.spectrum_names import role_of

    with out.open(encoding="utf-8", errors="replace") as file:
        first, *others = file.readline().strip().split(",")
    named = {role_of(word).kind for word in others}
    # A measurement may begin with "energy," too, and goes on with mu, i0, ...; ours with names.
    if first != "energy" or not others or "target" in others or named - {"unknown"}:
        raise InputError(f"--out must be a new file or an earlier prediction, received {out} with "
                         f"other content: choose another --out")


@click.command(short_help="Rank structures against a target spectrum.")
@click.argument("target", type=PATH)
@click.argument("structures", metavar="STRUCTURE...", type=PATH, nargs=-1, required=True)
@out_option("Folder for compare.csv, compare.json, spectra.csv, report.html and figures; an "
            "earlier comparison there is replaced.")
@target_options
@window_option("in which they are compared (the whole grid for computed targets)")
@target_kind_option
@surrogate_option
def compare(target: Path, structures: tuple[Path, ...], out: Path, edge: str | None,
            columns: str | None, window: tuple[float, float] | None, target_kind: str,
            surrogate: str) -> None:
    """Rank every frame of STRUCTURE files by how well its spectrum fits TARGET."""
    spectrum = read_target(target, columns, edge)
    from diffxas.structure_files import labelled_structures

    labelled = labelled_structures(structures)
    from surrogates.comparison import check_folder
    from surrogates.comparison import compare as write_comparison
    from surrogates.loading import load_surrogate

    check_folder(out)
    rows = write_comparison(spectrum, labelled, load_surrogate(surrogate), out,
                            target_kind=target_kind, window=window, progress=True)
    click.echo(text_table(
        ["rank", "structure", "residual", "g/cm3", "2/3/4-fold %", "notes"],
        [[str(row.rank), row.label, f"{row.residual:.4f}", f"{row.density:.3f}",
          shares(row.coordination), "; ".join(row.notes)] for row in rows]))
    click.echo(f"report: {out / 'report.html'}")


@click.command("surrogate", short_help="Train a surrogate on site spectra.")
@training_options
def train_surrogate(data: tuple[Path, ...], out: Path, config: Path | None) -> None:
    """Train a surrogate on DATA: structure files and .npz files of their site spectra."""
    paths = existing(data)
    from surrogates.training import train_surrogate as train

    folder = train(paths, out, config)
    click.echo(f"surrogate: {folder} (use it with --surrogate {folder})")
