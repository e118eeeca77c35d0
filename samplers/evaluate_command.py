"""The commands ``diffxas evaluate ...``: what a model of one's own is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from diffxas.command_line import PATH, existing, out_option
from diffxas.spectrum import parse_edge


@click.group(no_args_is_help=False, short_help="Judge a prior or a surrogate.")
def evaluate() -> None:
    """Judge a trained model against data; of a prior, the same command resumes."""


@evaluate.command("prior", short_help="Is a prior usable, short of networks, or a memory?")
@click.argument("prior", metavar="PRIOR")
@click.argument("data", metavar="DATA...", type=PATH, nargs=-1, required=True)
@out_option("Folder for evaluation.json, evaluation.csv, report.html, figures and the samples; an "
            "unfinished evaluation there resumes.")
@click.option("--samples", type=int, default=4, show_default=True, metavar="N",
              help="Samples at each density.")
@click.option("--density", "densities", type=float, multiple=True, metavar="RHO",
              help="Mass density, g/cm3; may be repeated.  [default: up to five of DATA's]")
@click.option("--atoms", type=int, metavar="N",
              help="Atoms in a sample.  [default: the median of DATA's]")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N",
              help="One seed gives the same samples.")
@click.option("--kind", metavar="LABEL",
              help="Which training data to resemble, one of the prior's labels.  [default: "
                   "melt-quenched where the prior has it, else any]")
@click.option("--potential", "potentials", multiple=True, metavar="NAME",
              help="Potential to relax with, as `diffxas relax` takes it; may be repeated.  "
                   "[default: the usual one of the elements, rebo for carbon]")
@click.option("--quenched", type=PATH, multiple=True, metavar="FILE",
              help="Melt-quenched cells (`diffxas quench`) for the ceiling row; may be repeated.")
@click.option("--no-quench", "quench", is_flag=True, flag_value=False, default=True,
              help="Without --quenched, make no melt-quenched cells (one a density, with the "
                   "elements' usual potential).")
@click.option("--cutoff", "cutoffs", multiple=True, metavar="PAIR=LENGTH",
              help="Longest bond of a pair of elements, angstrom, such as Si-O=2.2; may be "
                   "repeated.")
@click.option("--curve-steps", type=int, default=2000, show_default=True, metavar="N",
              help="Training steps of each small prior of the learning curve; 0 for no curve.")
@click.pass_obj
def evaluate_prior(command: str, prior: str, data: tuple[Path, ...], out: Path,
                   cutoffs: tuple[str, ...], **options: Any) -> None:
    """Sample PRIOR at the densities of DATA and say what the samples are worth.

    DATA are structure files or folders: networks that PRIOR was trained on, and networks that it
    never saw (names and parents in its config tell which). Prints coordination, g(r), angles,
    rings, energy and memorisation beside floor and ceiling, the losses over the number of networks,
    and one sentence: usable, too few networks, or memorised.
    """
    paths = existing(data)
    from diffxas.cutoffs import parse_cutoffs
    from samplers.evaluation import evaluate_prior as run
    from samplers.evaluation_setup import EvaluationOptions

    chosen = EvaluationOptions(prior=prior, cutoffs=parse_cutoffs(cutoffs), **options)
    run(paths, out, chosen, command=command)


@evaluate.command("surrogate", short_help="How far are predicted spectra from computed ones?")
@click.argument("surrogate", metavar="SURROGATE")
@click.argument("data", metavar="DATA...", type=PATH, nargs=-1, required=True)
@out_option("Folder for evaluation.csv, evaluation.json, sites.csv, report.html and figures; an "
            "earlier evaluation there is replaced.")
@click.option("--theory", "theories", multiple=True, metavar="NAME",
              help="Which of the surrogate's theories, such as FEFF; may be repeated.  [default: "
                   "the first of each edge]")
@click.option("--edge", metavar="ELEMENT:EDGE",
              help="Absorber and edge.  [default: all that SURROGATE and DATA share]")
@click.pass_obj
def evaluate_surrogate(command: str, surrogate: str, data: tuple[Path, ...], out: Path,
                       theories: tuple[str, ...], edge: str | None) -> None:
    """Predict every labelled site of DATA and say how far SURROGATE is off.

    DATA are as for `diffxas train surrogate`: structure files with .npz files of their site
    spectra, folders, sets of `diffxas collect`. Structures that SURROGATE was trained on (by name,
    its config lists them) stand in rows apart from unseen ones. Beside them: the mean predictor,
    how often the truth lies in the stated 90 % intervals, and the share of sites flagged as out of
    domain.
    """
    paths = existing(data)
    if edge is not None:
        parse_edge(edge)
    from surrogates.evaluation import EvaluationOptions
    from surrogates.evaluation import evaluate_surrogate as run
    from surrogates.evaluation_report import text_of

    content = run(paths, out, EvaluationOptions(surrogate, theories, edge), command, progress=True)
    click.echo(text_of(content))
    click.echo(f"report: {out / 'report.html'}")
