"""The command ``diffxas``: collects the sub-commands of the three packages.

``generate`` is defined here, ``models`` in :mod:`samplers.models_command`, the others in
:mod:`diffxas.commands` and :mod:`surrogates.commands`; ``train`` is one group with a sub-command
of each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    read_target,
    target_options,
    window_option,
)
from diffxas.commands import analyse, inspect, quench, relax, train_prior
from diffxas.composition import composition_elements
from diffxas.errors import InputError
from diffxas.spectrum import parse_edge
from samplers.algorithms import AUTO, NAMES
from samplers.discover_command import discover
from samplers.evaluate_command import evaluate
from samplers.geometry import DENSEST, DENSEST_OF_ALL, LOOSEST
from samplers.models_command import models
from samplers.temperature import TEMPERATURE
from surrogates.commands import (
    collect,
    compare,
    decks,
    edge_of,
    predict,
    surrogate_option,
    target_kind_option,
    train_surrogate,
)
from surrogates.describe_command import describe

DEFAULT_PRIOR = "a-C"
FORMATS = ("data", "vasp", "cif")
MOST_ATOMS = 10_000_000


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
@click.option("--format", "formats", default="", metavar=",".join(FORMATS),
              help="Further structure files, a comma list.  [default: extended XYZ alone]")
@lammps_options
@cutoff_option
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
              help="Where the networks run.")
@click.option("--prior", default=DEFAULT_PRIOR, show_default=True, metavar="NAME|PATH",
              help="Diffusion model: a name that `diffxas models` lists, or a folder.")
@surrogate_option
@click.pass_context
def generate(ctx: click.Context, target: Path | None, out: Path, **options: Any) -> None:
    """Generate periodic structures whose spectrum is that of TARGET.

    TARGET is a measured or computed spectrum: XDI, Athena .prj, EMSA .msa or columns of text
    (`diffxas inspect TARGET` shows how it is read). Without one, --no-guidance samples the prior.
    """
    formats = parse_formats(options["formats"])
    options |= parse_density(options["density"])
    if target is None:
        target, more = target_of_guides(options)
        options |= more
    check_request(target, options)
    edge, columns = options["edge"], options.pop("columns")
    if edge is not None:
        parse_edge(edge)
    spectrum = None if target is None else read_target(target, columns, edge)
    check_device(options["device"])
    from samplers.generation import GenerateOptions, generate_to
    from samplers.known_models import surrogate_of_target

    of_target = None if spectrum is None else edge_of(spectrum)
    options["surrogate"] = options["surrogate"] or surrogate_of_target(edge or of_target)

    run = GenerateOptions(**{**options, "formats": formats})
    ctx.exit(generate_to(spectrum, out, run, command=ctx.obj))


def parse_density(text: str | None) -> dict[str, Any]:
    """``density`` and ``density_prior`` of the options: a number, or what is known of it."""
    from samplers.evidence import DensityPrior

    found = None if text is None else DensityPrior.parse(text)
    if isinstance(found, DensityPrior):
        return {"density": found.middle, "density_prior": found}
    return {"density": found}


def target_of_guides(options: Mapping[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The first ``xanes:FILE[@EDGE[@SURROGATE]]`` as TARGET, and the options that follow.

    Raises
    ------
    InputError
        If the file is not there, or --edge or --surrogate says otherwise.
    """
    first = next((text for text in options["guides"] if text.startswith("xanes:")), None)
    if first is None or not options["guidance"]:
        return None, {}
    name, *said = first.removeprefix("xanes:").split("@")
    if not Path(name).is_file():
        raise InputError(f"xanes: must name a spectrum file, received {name}, which is not there: "
                         f"write --guide xanes:FILE")
    found: dict[str, Any] = {"guides": tuple(g for g in options["guides"] if g != first)}
    for key, value in zip(("edge", "surrogate"), said, strict=False):
        if options[key] not in (None, value):
            raise InputError(f"--{key} must be that of {first}, received {options[key]}: leave it "
                             f"out")
        found[key] = value
    return Path(name), found


def parse_formats(text: str) -> tuple[str, ...]:
    """The comma list of ``--format``.

    Raises
    ------
    InputError
        If one is unknown.
    """
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise InputError(f"--format must be a comma list of {', '.join(FORMATS)}, received "
                         f"{', '.join(unknown)}: write it as --format {','.join(FORMATS)}")
    return names


def check_request(target: Path | None, options: Mapping[str, Any]) -> None:
    """Refuse what is wrong whatever the models say, before anything heavy is imported.

    Raises
    ------
    InputError
        On numbers out of range, or neither a target nor ``--no-guidance``.
    """
    density, atoms, cell = options["density"], options["atoms"], options["cell"]
    composition = options["composition"]
    elements = ("C",) if composition is None else composition_elements(composition)
    of_carbon = options["edge"] is None or parse_edge(options["edge"])[0] == "C"
    carbon = options["prior"] == DEFAULT_PRIOR and elements == ("C",) and of_carbon
    limit = DENSEST["C"] if carbon else DENSEST_OF_ALL
    if density is not None and not LOOSEST <= density <= limit:
        what = " for carbon" if carbon else ""
        raise InputError(f"--density must be {LOOSEST:g} to at most {limit:g} g/cm3{what}, "
                         f"received {density:g}: amorphous carbon has 1.2 to 3.5")
    if atoms is not None and not 1 <= atoms <= MOST_ATOMS:
        raise InputError(f"--atoms must be 1 to {MOST_ATOMS}, received {atoms}: 216 is usual")
    if cell is not None and not all(0 < edge < math.inf for edge in cell):
        raise InputError(f"--cell must be three lengths above 0 angstrom, received "
                         f"{' '.join(f'{edge:g}' for edge in cell)}: write it as --cell 13 13 13")
    for name, lowest, usual in (("samples", 1, 4), ("steps", 2, 64), ("seed", 0, 0)):
        if options[name] < lowest:
            raise InputError(f"--{name} must be {lowest} or more, received {options[name]}: "
                             f"{usual} is the default")
    if density is None and cell is None and options["start"] is None:
        raise InputError("--density or --cell must be given, received neither: of density, atoms "
                         "and cell any two suffice, such as --density 2.0 --atoms 216")
    restraint = options["relax_restraint"]
    if restraint is not None and not 0 <= restraint < math.inf:
        raise InputError(f"--relax-restraint must be 0 eV/angstrom^2 or more, received "
                         f"{restraint:g}: 1 is gentle, 10 stiff")
    if target is None and options["guidance"] and not options["guides"]:
        raise InputError("TARGET must be a spectrum file, received none: name one, ask for "
                         "something with --guide, or add --no-guidance to sample the prior alone")
    if target is None and options["columns"] is not None:
        raise InputError(f"--columns must go with a TARGET, received {options['columns']!r} "
                         f"without one: leave it out")
    for name in ("exclude", "adsorbates", "reference"):
        if target is None and options[name]:
            raise InputError(f"--{name} must go with a TARGET, received none: leave it out")
    if options["reference"] is not None:
        from surrogates.reference import parse_reference

        parse_reference(options["reference"])


def check_device(device: str) -> None:
    """Refuse a GPU where there is none.

    Raises
    ------
    InputError
        If torch finds no CUDA device.
    """
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise InputError(f"--device must be cpu on this machine, received {device} where torch "
                             f"{torch.__version__} finds no GPU: leave --device out")


train.add_command(train_prior)
train.add_command(train_surrogate)
for _command in (generate, discover, predict, compare, describe, inspect, relax, analyse, quench,
                 decks, collect, train, evaluate, models):
    main.add_command(_command)
