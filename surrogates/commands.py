"""The commands of surrogates and their data.

``predict``, ``compare``, ``train surrogate``, ``decks`` and ``collect``.
"""

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
    observation_options,
    out_option,
    read_target,
    shares,
    target_options,
    text_table,
    training_options,
    window_option,
)
from diffxas.errors import InputError, RunError
from diffxas.spectrum import parse_edge

if TYPE_CHECKING:
    from diffxas.spectrum import Spectrum
    from surrogates.base import Surrogate

MOST_NAMED = 6
"""Labels that a line names; more are counted."""
TARGET_KINDS = click.Choice(["auto", "computed", "measured"])


def surrogate_option(command: AnyCommand) -> AnyCommand:
    """``--surrogate NAME|PATH``."""
    return click.option("--surrogate", metavar="NAME|PATH",
                        help="Structure -> spectrum model: a name that `diffxas models` lists, or "
                        "a folder.  [default: the shipped one of the edge, a-C for C:K]")(command)


def target_kind_option(command: AnyCommand) -> AnyCommand:
    """``--target-kind auto|computed|measured``."""
    return click.option(
        "--target-kind", type=TARGET_KINDS, default="auto", show_default=True,
        help="Whether TARGET is in the surrogate's own units (computed) or is normalised and "
             "compared through fitted nuisances (measured); auto: computed if its energies are the "
             "surrogate's.")(command)


def surrogate_for_edge(name: str | None, edge: str | None) -> Surrogate:
    """Load a surrogate, the shipped one of ``edge`` by default; one that is named must have it.

    Raises
    ------
    InputError
        If there is no such model, or it predicts another edge.
    """
    if edge is not None:
        parse_edge(edge)
    from surrogates.loading import load_surrogate, surrogate_name

    return load_surrogate(name or surrogate_name(edge), edge=edge)


def edge_of(target: Spectrum) -> str | None:
    """Element and edge of a target, such as ``C:K``; None if it does not say."""
    return f"{target.element}:{target.edge}" if target.element and target.edge else None


@click.command(short_help="Structures to spectra or properties.")
@click.argument("structures", metavar="STRUCTURE...", type=PATH, nargs=-1, required=True)
@out_option("The table: energy, then a column for each structure; uncertainties go to a second "
            "file beside it. An earlier table there is replaced.", "spectra.csv")
@click.option("--sites", is_flag=True,
              help="A column STRUCTURE:ATOM for each absorber instead of their mean.")
@click.option("--edge", metavar="ELEMENT:EDGE",
              help=f"Absorber and edge.  [default: {DEFAULT_EDGE}, or those of --surrogate]")
@surrogate_option
def predict(structures: tuple[Path, ...], out: Path, sites: bool, edge: str | None,
            surrogate: str | None) -> None:
    """Spectra of every frame of STRUCTURE files, in any format that ASE reads.

    A --surrogate of a property writes a row for each structure, or each atom, instead: the property
    under its own name, its uncertainty, and a flag.
    """
    check_output_file(out, structures)
    if surrogate is not None:
        from surrogates.property_prediction import predict_command, record_of_property

        record = record_of_property(surrogate)
        if record is not None:
            predict_command(surrogate, record, structures, out, edge=edge, sites=sites)
            return
    check_earlier_table(out)
    from diffxas.structure_files import labelled_structures

    labelled = labelled_structures(structures)
    model = surrogate_for_edge(surrogate, edge)
    from surrogates.prediction import predict_table, write_prediction

    prediction = predict_table(labelled, model, sites, progress=True)
    files = write_prediction(out, prediction)
    click.echo(f"{model.element}:{model.edge} spectra of {len(labelled)} structures by "
               f"{model.name}, {len(model.energy)} points from {model.energy[0]:g} to "
               f"{model.energy[-1]:g} eV")
    if prediction.lone:
        click.echo(f"without a neighbour, not to be trusted: {', '.join(sorted(prediction.lone))}")
    if prediction.outside:
        click.echo(f"unlike the training sites, a guess: {some(sorted(prediction.outside))}")
    click.echo(f"written: {', '.join(map(str, files))}")


def some(labels: list[str]) -> str:
    """The first few of many labels."""
    rest = len(labels) - MOST_NAMED
    return ", ".join(labels[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


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
@observation_options
@surrogate_option
def compare(target: Path, structures: tuple[Path, ...], out: Path, edge: str | None,
            columns: str | None, window: tuple[float, float] | None, target_kind: str,
            exclude: tuple[tuple[float, float], ...], adsorbates: bool,
            reference: str | None, surrogate: str | None) -> None:
    """Rank every frame of STRUCTURE files by how well its spectrum fits TARGET."""
    spectrum = read_target(target, columns, edge)
    from diffxas.structure_files import labelled_structures

    labelled = labelled_structures(structures)
    from surrogates.comparison import check_folder
    from surrogates.comparison import compare as write_comparison
    from surrogates.loading import load_surrogate, surrogate_name
    from surrogates.reference import read_reference

    check_folder(out)
    measured = None if reference is None else read_reference(reference)
    model = load_surrogate(surrogate or surrogate_name(edge_of(spectrum)))
    rows = write_comparison(spectrum, labelled, model, out,
                            target_kind=target_kind, window=window, exclude=exclude,
                            adsorbates=adsorbates, reference=measured, progress=True)
    if measured is not None:
        click.echo(measured.sentence())
    click.echo(text_table(
        ["rank", "structure", "residual", "g/cm3", "2/3/4-fold %", "notes"],
        [[str(row.rank), row.label, f"{row.residual:.4f}", f"{row.density:.3f}",
          shares(row.coordination), "; ".join(row.notes)] for row in rows]))
    click.echo(f"report: {out / 'report.html'}")


@click.command("surrogate", short_help="Train a surrogate on site spectra or a property.")
@training_options
@click.option("--target", metavar="KEY",
              help="Train on a property instead of spectra: a number of each structure, or a "
              "column with one for each atom, under this name in the structure files.")
def train_surrogate(data: tuple[Path, ...], out: Path, config: Path | None,
                    target: str | None) -> None:
    """Train a surrogate on DATA: structure files with .npz files of their site spectra, folders
    of both, sets of `diffxas collect`, or folders of FEFF runs; with --target, structure files."""
    paths = existing(data)
    if target is not None:
        from surrogates.property_prediction import train_command

        train_command(paths, out, target, config)
        return
    from surrogates.training import train_surrogate as train

    folder = train(paths, out, config)
    click.echo(f"surrogate: {folder} (use it with --surrogate {folder})")


CODE_NAMES = click.Choice(["feff", "vasp", "xspectra", "exciting", "ocean"])


@click.command(short_help="Input decks for new spectra.")
@click.argument("structures", metavar="STRUCTURE...", type=PATH, nargs=-1, required=True)
@click.option("--code", type=CODE_NAMES, default="feff", show_default=True,
              help="Which program the decks are for.")
@click.option("--sites", default="12", show_default=True, metavar="N|all",
              help="Absorbers of each structure, drawn among those that symmetry leaves different.")
@out_option("Folder of the decks; it must be new, or hold these same decks.")
@click.option("--edge", metavar="ELEMENT:EDGE", default=DEFAULT_EDGE, show_default=True,
              help="Absorber and edge.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the draw.")
@click.option("--card", "cards", multiple=True, metavar="'NAME VALUES'",
              help="A card of FEFF instead of the default's, such as 'FMS 5.0 0'; without values "
                   "it is left out. Repeatable.  [default for C:K: SCF 3.0, FMS 4.2, COREHOLE FSR, "
                   "XANES 3.6 0.07 0.2; otherwise Lightshow's]")
@click.option("--radius", type=float, metavar="R",
              help="Radius of FEFF's clusters, angstrom.  [default: 6.5 for C:K, otherwise 9]")
def decks(structures: tuple[Path, ...], code: str, sites: str, out: Path, edge: str, seed: int,
          cards: tuple[str, ...], radius: float | None) -> None:
    """Write the inputs of a program (by Lightshow) for absorbers of every frame of STRUCTURE files.

    `diffxas collect` takes finished FEFF runs from there to a training set. What cannot be given
    away (VASP's POTCAR, pseudopotentials) is named in MISSING.txt.
    """
    element, name = parse_edge(edge)
    number = _sites(sites)
    from diffxas.structure_files import labelled_structures
    from surrogates.decks import NOTE, DeckOptions, write_decks

    changed = {words[0].upper(): " ".join(words[1:]) for words in map(str.split, cards) if words}
    options = DeckOptions(code, element, "L23" if name == "L2,3" else name, number, seed, changed,
                          radius)
    written = write_decks(labelled_structures(structures), out, options, progress=True)
    what = "already there" if written.already else "written"
    click.echo(f"{what}: {written.decks} decks of {written.structures} structures for {code}, "
               f"{element}:{options.edge}, in {out}")
    if code == "feff":
        click.echo(f"run FEFF in each folder that has a feff.inp, then `diffxas collect {out}`")
    if written.missing:
        names = sorted({name for absent in written.missing.values() for name in absent})
        click.echo(f"missing: {', '.join(names)} (see {out / NOTE})")


def _sites(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit():
        raise InputError(f"--sites must be a number or `all`, received {text!r}: give the "
                         f"absorbers of each structure")
    return int(text)


@click.command(short_help="Finished FEFF runs to a training set.")
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--out", type=PATH, metavar="SET",
              help="Folder for structures.extxyz, spectra.npz and collect.json; an earlier set "
                   "there is replaced.  [default: DIR/collected]")
@click.option("--grid", type=float, nargs=3, metavar="LO HI STEP",
              help="Common energies, eV.  [default: what all runs cover, in steps of 0.25]")
@click.option("--held-out", metavar="SHARE|FILE",
              help="Networks kept out of training: a share of them, or a file of names of "
                   "structures or networks, one a line.  [default: none]")
@click.option("--networks", "networks_file", type=PATH, metavar="FILE",
              help="Lines FOLDER,NETWORK or STRUCTURE,NETWORK, where the runs do not tell of which "
                   "material or network they are.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N",
              help="Of the draw of --held-out.")
@click.option("--allow-leak", is_flag=True,
              help="Let --held-out cut through a network, which tests memory.")
@click.option("--keep-unconverged", is_flag=True,
              help="Take runs whose potentials did not converge.")
def collect(folder: Path, out: Path | None, grid: tuple[float, float, float] | None,
            held_out: str | None, networks_file: Path | None, seed: int, allow_leak: bool,
            keep_unconverged: bool) -> None:
    """Turn the finished FEFF runs below DIR into a training set, and list the unfinished.

    DIR was written by `diffxas decks`, or is any folder of runs (feff.inp, xmu.dat); there each
    cluster becomes a structure.
    """
    from surrogates import collection

    out = folder / "collected" if out is None else out
    options = collection.CollectOptions(
        grid, None if held_out is None else collection.read_held_out(held_out),
        None if networks_file is None else collection.read_networks(networks_file), seed,
        allow_leak, keep_unconverged)
    if folder.is_dir():
        collection.check_set(out)
    found = collection.collect(folder, options, progress=True)
    if found.unfinished:
        click.echo(text_table(["no spectrum", "reason"],
                              [[run.folder, run.reason] for run in found.unfinished]))
    total = len(found.finished) + len(found.unfinished)
    if not found.finished:
        raise RunError(f"none of {total} runs in {folder} is finished: nothing was written")
    collection.write_collection(found, out, folder)
    click.echo(f"{len(found.finished)} of {total} runs finished, {found.element}:{found.edge}, "
               f"{len(found.structures)} structures, {len(found.energy)} points from "
               f"{found.energy[0]:g} to {found.energy[-1]:g} eV")
    if found.held_out:
        click.echo(f"held out: {', '.join(found.held_out)} ({int(found.part.sum())} sites)")
    click.echo(f"training set: {out} (`diffxas train surrogate {out} --out MODEL`)")
