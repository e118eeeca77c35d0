"""The commands ``diffxas evaluate ...``: what a model of one's own is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from diffxas.command_line import PATH, existing, out_option


@click.group(no_args_is_help=False, short_help="Judge a prior against networks.")
def evaluate() -> None:
    """Judge a trained model against data; the same command resumes."""


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
