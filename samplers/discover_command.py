"""The command ``diffxas discover``: structures that have what is asked, if there are any."""

from __future__ import annotations

from pathlib import Path

import click

from diffxas.command_line import PATH, out_option


@click.command(short_help="Guides over densities and compositions, ranked.")
@click.argument("config", metavar="CONFIG", type=PATH)
@out_option("Folder of the discovery: report.html, ranking.csv, discover.csv, summary.json and a "
            "`generate` folder a member. The same command resumes; members that a longer CONFIG "
            "adds are added.")
@click.pass_context
def discover(ctx: click.Context, config: Path, out: Path) -> None:
    """Ask for structures at several densities and compositions, and rank what comes.

    CONFIG is a TOML file: densities = [2.0, 2.8]; guides = ["coordination:4=0.37"], all at once,
    or tables [[ask]] with guides (and a name) each; and if wanted compositions, samples, seed,
    atoms, steps, prior, surrogate, kind, algorithm, potential, device, a table [cutoffs], and
    judge, models that did not guide. Paths are taken from the working folder. Values that nothing
    reaches are named; with exit code 3 no ask is reached.
    """
    from samplers.discovery import discover as run

    ctx.exit(run(config, out, command=ctx.obj))
