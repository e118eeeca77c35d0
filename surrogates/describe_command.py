"""``diffxas describe``: bonding and density from a spectrum alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffxas.command_line import (
    PATH,
    observation_options,
    read_target,
    target_options,
    text_table,
    window_option,
)
from surrogates.commands import target_kind_option

if TYPE_CHECKING:
    from surrogates.description import Description


@click.command(short_help="A spectrum to sp, sp2, sp3 and density.")
@click.argument("target", type=PATH)
@click.option("--out", type=PATH, metavar="DIR",
              help="Folder for description.json, description.csv, report.html and figures; an "
                   "earlier description there is replaced.  [default: the table alone, printed]")
@target_options
@window_option("that counts (the whole grid for computed targets)")
@target_kind_option
@observation_options
@click.option("--model", metavar="NAME|PATH",
              help="A description model: a name that `diffxas models` lists, or a folder.  "
                   "[default: describe-a-C]")
@click.pass_context
def describe(ctx: click.Context, target: Path, out: Path | None, edge: str | None,
             columns: str | None, window: tuple[float, float] | None, target_kind: str,
             exclude: tuple[tuple[float, float], ...], adsorbates: bool,
             reference: str | None, model: str | None) -> None:
    """Estimate the shares of sp, sp2 and sp3 atoms and the mass density from TARGET alone.

    Intervals are meant to hold the truth in nine cases of ten; a TARGET unlike anything that the
    model was made from is flagged, and its intervals widened.
    """
    from surrogates.description import DEFAULT, check_edge, load_description
    from surrogates.description import describe as estimate
    from surrogates.description_report import check_folder, write_description
    from surrogates.reference import read_reference

    if out is not None:
        check_folder(out)
    spectrum = read_target(target, columns, edge)
    measured = None if reference is None else read_reference(reference)
    loaded = load_description(model or DEFAULT)
    check_edge(spectrum, loaded)
    found = estimate(spectrum, loaded, target_kind=target_kind, window=window,
                     exclude=exclude, adsorbates=adsorbates, reference=measured)
    click.echo(found.reason)
    if measured is not None:
        click.echo(measured.sentence())
    click.echo(description_table(found))
    for line in (*(f"warning: {one}" for one in found.warnings), *found.notes):
        click.echo(line)
    if out is not None:
        write_description(out, found, loaded, spectrum, ctx.obj or "")
        click.echo(f"report: {out / 'report.html'}")


def description_table(found: Description) -> str:
    """Quantity, value and interval, for the terminal; the classical estimate below."""
    rows = []
    for one in found.estimates:
        scale, unit, digits = (1, " g/cm3", 2) if one.unit else (100, " %", 0)
        rows.append([one.quantity, f"{scale * one.value:.{digits}f}{unit}",
                     f"{scale * one.low:.{digits}f} to {scale * one.high:.{digits}f}{unit}"])
    table = text_table(["quantity", "estimate", "90 % interval"], rows)
    if found.pi_star is not None:
        orbitals = found["sp2"].value + 2 * found["sp"].value
        table += (f"\nclassical pi* share: sp2 {found.pi_star.fraction:.2f} (it follows "
                  f"sp2 + 2 sp, above {orbitals:.2f})")
    return table
