"""The command ``diffxas``: collects the sub-commands of the three packages.

``generate`` is defined here, ``models`` in :mod:`samplers.models_command`, the others in
:mod:`diffxas.commands` and :mod:`surrogates.commands`; ``train`` is one group with a sub-command
of each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import diffxas
from diffxas.command_line import (
    PATH,
    DiffxasGroup,
    cutoff_option,
    lammps_options,
    observation_options,
    out_option,
    potential_options,
    target_options,
    window_option,
)
from diffxas.commands import analyse, inspect, quench, relax, train_prior
from samplers.algorithms import AUTO, NAMES
from samplers.campaign_command import campaign
from samplers.cluster import cluster_options
from samplers.discover_command import discover
from samplers.evaluate_command import evaluate
from samplers.generate_request import DEFAULT_PRIOR, FORMATS, request_of
from samplers.models_command import models
from samplers.temperature import TEMPERATURE
from surrogates.commands import (
    collect,
    compare,
    decks,
    predict,
    surrogate_option,
    target_kind_option,
    train_surrogate,
)
from surrogates.describe_command import describe


@click.group(cls=DiffxasGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(diffxas.__version__, prog_name="diffxas")
def main() -> None:
    """From an X-ray absorption spectrum of a disordered solid to its atoms.

    Lengths are in angstrom, energies in eV, densities in g/cm3. Exit codes: 0 done, 1 failed while
    running, 2 bad input, 3 what was asked is out of reach (generate, discover).
    """


@click.group(no_args_is_help=False, short_help="Train a prior or a surrogate.")
def train() -> None:
    """Train a prior or a surrogate on your own data; the same command resumes."""


@click.command(short_help="Spectrum in, structures out.")
@click.argument("target", type=PATH, required=False)
@click.option("--density", metavar="RHO|LO:HI|V+-S",
              help="Mass density, g/cm3. Of density, atoms and cell any two suffice. LO:HI or V+-S "
                   "is what is known of it: its posterior is sampled.")
@click.option("--atoms", type=int, metavar="N",
              help="Atoms in the cell.  [default: 216, unless density and cell give it]")
@click.option("--cell", type=float, nargs=3, metavar="A B C",
              help="Edges of an orthorhombic cell, angstrom.  [default: a cube]")
@click.option("--composition", metavar="FORMULA|COUNTS",
              help="What the cell is made of: SiO2, or Si:72,O:144.  [default: the element of a "
                   "prior of one]")
@click.option("--start", type=PATH, metavar="FILE",
              help="Structure to begin from: its cell, and its atoms noised to --start-noise, or "
                   "those that --fix keeps.")
@click.option("--start-noise", type=float, metavar="SIGMA",
              help="Noise that --start is entered with, angstrom: 0.3 keeps most bonds, 0.8 few.")
@click.option("--fix", metavar="SELECTION",
              help="Atoms of --start that stay to the last digit: 0-63,70 (numbers from 0), "
                   "element:C, below:z=8 or above:z=8. With --density or --atoms, new atoms are "
                   "generated around them and the file's others go; without, the others go on from "
                   "--start-noise.")
@click.option("--forbid", multiple=True, metavar="REGION",
              help="Where no new atom may be, angstrom: sphere:X,Y,Z,R, box:X0,Y0,Z0,X1,Y1,Z1, "
                   "below:z=V or above:z=V; repeatable. Density counts the volume left open.")
@click.option("--pbc", metavar="TTT|TTF|...",
              help="Which cell vectors are periodic; TTF is a slab.  [default: those of --start, "
                   "or all]")
@click.option("--vacuum", type=float, metavar="L",
              help="Vacuum added above the cell where it is not periodic, angstrom.")
@click.option("--samples", type=int, default=4, show_default=True, metavar="N",
              help="How many structures.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N",
              help="One seed gives the same structures.")
@out_option("Folder of the run: report.html, summary.json, structures.extxyz, relaxed.extxyz, ... "
            "An unfinished run of the same command there resumes.")
@target_options
@window_option("in which the fit counts (the whole grid for computed targets)")
@target_kind_option
@observation_options
@click.option("--steps", type=int, default=64, show_default=True, metavar="N",
              help="Steps of the reverse diffusion.")
@click.option("--no-guidance", "guidance", is_flag=True, flag_value=False, default=True,
              help="Sample the prior alone; a TARGET is then only compared with.")
@click.option("--guide", "guides", multiple=True, metavar="KIND:WHAT",
              help="What else is asked of the structures; repeatable, guides add. "
                   "See README, Guides.")
@click.option("--algorithm", default=AUTO, show_default=True, metavar="NAME",
              help=f"How the posterior is sampled: {', '.join(NAMES)}, or {AUTO}: noise-aware "
                   "where the surrogate has a companion for noised structures, dps elsewhere.")
@click.option("--guide-temperature", type=float, default=TEMPERATURE, show_default=True,
              metavar="T",
              help="Divides the log-likelihood of spectra: 1 is the posterior if walks had time, "
                   "less makes up for their lag.")
@click.option("--judge", metavar="NAME|PATH",
              help="Surrogate that scores the samples and does not guide.  [default: the judge of "
                   "the surrogate]")
@click.option("--kind", metavar="LABEL",
              help="Which training data to resemble, one of the prior's labels.  [default: any "
                   "when guided, melt-quenched when not]")
@click.option("--no-relax", "relax", is_flag=True, flag_value=False, default=True,
              help="Leave the structures as sampled.")
@potential_options
@click.option("--relax-ranks", type=int, default=1, show_default=True, metavar="N",
              help="Processes of LAMMPS under MPI for a relaxation; part of what a run is.")
@click.option("--format", "formats", default="", metavar=",".join(FORMATS),
              help="Further structure files, a comma list.  [default: extended XYZ alone]")
@lammps_options
@cutoff_option
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
              help="Where the networks run.")
@cluster_options
@click.option("--prior", default=DEFAULT_PRIOR, show_default=True, metavar="NAME|PATH",
              help="Diffusion model: a name that `diffxas models` lists, or a folder.")
@surrogate_option
@click.pass_context
def generate(ctx: click.Context, target: Path | None, out: Path, **options: Any) -> None:
    """Generate periodic structures whose spectrum is that of TARGET.

    TARGET is a measured or computed spectrum: XDI, Athena .prj, EMSA .msa or columns of text
    (`diffxas inspect TARGET` shows how it is read). Without one, --no-guidance samples the prior.
    """
    spectrum, run = request_of(target, options)
    from samplers.generation import generate_to

    ctx.exit(generate_to(spectrum, out, run, command=ctx.obj))


train.add_command(train_prior)
train.add_command(train_surrogate)
for _command in (generate, campaign, discover, predict, compare, describe, inspect, relax, analyse,
                 quench, decks, collect, train, evaluate, models):
    main.add_command(_command)
