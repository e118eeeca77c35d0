"""The command ``diffxas campaign``: many runs of ``generate`` from one file."""

from __future__ import annotations

from pathlib import Path

import click

from diffxas.command_line import PATH, out_option
from samplers.cluster import cluster_options


@click.command(short_help="Many runs of generate, side by side.")
@click.argument("config", metavar="FILE", type=PATH)
@out_option("Folder of the campaign: report.html, campaign.csv, campaign.json and a `generate` "
            "folder a member. The same command resumes; members that a longer FILE adds are added.")
@cluster_options
@click.pass_context
def campaign(ctx: click.Context, config: Path, out: Path, workers: int | None,
             scheduler: str | None) -> None:
    """Generate from many targets, at many densities, compositions, guides or numbers of samples.

    FILE is a TOML file with lists targets, densities, compositions, guides and samples, of which
    every combination is a member; any option of `generate` under its own name (steps = 64,
    no-relax = true); and tables [[member]] with a name for what is no grid. A target may be a
    table with file, label and options of its own; label_name says what labels are, such as
    anneal temperature. Paths are taken from the working folder. Everything is checked before
    anything starts. Without --workers members run one after the other on one core.
    """
    from samplers.campaign import campaign as run

    root = ctx.find_root().command
    assert isinstance(root, click.Group)
    run(config, out, root.commands["generate"], workers=workers, scheduler=scheduler,
        command=ctx.obj)
