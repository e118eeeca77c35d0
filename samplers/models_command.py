"""The command ``diffxas models``: what is shipped, and what models of one's own are."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import diffxas
from diffxas.command_line import text_table
from diffxas.errors import InputError
from diffxas.weights import CONFIG, read_config, shipped_names

SHIPPED = {
    "prior": Path(diffxas.__file__).parent / "weights_prior",
    "surrogate": Path(__file__).parents[1] / "surrogates" / "weights",
}
"""Where the shipped models lie, without the imports that loading them needs."""
WIDTH = 100
"""Columns that the listing needs at most."""
MOST_ELEMENTS, MOST_EDGES = 4, 2
"""Symbols and edges that are named in the listing; more are counted."""
MOST_LINES = 200
"""Names of training structures that stand on lines of their own."""
NO_ERRORS = ("density", "materials", "sites", "networks", "structures", "labels")
"""Numbers beside the errors of what was left out."""


@click.command(short_help="List the shipped models and others.")
@click.argument("names", metavar="[NAME|PATH ...]", nargs=-1)
@click.option("--json", "as_json", is_flag=True,
              help="Everything as JSON, for scripts; with the names of the training structures.")
def models(names: tuple[str, ...], as_json: bool) -> None:
    """List the shipped models; tell all about one, NAME or a folder of your own.

    Several names, or a folder of model folders, are listed beside each other.
    """
    folders = [folder for name in names for folder in find_models(name)] or [
        folder / one for folder in SHIPPED.values() for one in shipped_names(folder)]
    if as_json:
        click.echo(json.dumps([model_facts(folder) for folder in folders], indent=2))
    elif not folders:
        click.echo("no models are shipped here")
    elif len(names) == 1 and not is_collection(names[0]):
        click.echo("\n\n".join(model_details(folder) for folder in folders))
    else:
        click.echo(models_table(folders))


def find_models(name: str) -> list[Path]:
    """Folders of the shipped models of that name, or the folder ``name``, or those within it.

    Raises
    ------
    InputError
        If there is none.
    """
    known = {kind: shipped_names(folder) for kind, folder in SHIPPED.items()}
    found = [SHIPPED[kind] / name for kind, listed in known.items() if name in listed]
    if not found and is_collection(name):
        found = [path.parent for path in sorted(Path(name).glob(f"*/{CONFIG}"))]
    if not found and (Path(name) / CONFIG).is_file():
        found = [Path(name)]
    if found:
        return found
    all_names = ", ".join(sorted({one for listed in known.values() for one in listed}))
    raise InputError(f"a model must be a folder with {CONFIG}, a folder of such, or one of "
                     f"{all_names or '(none)'}, received {name!r}: `diffxas models` lists them")


def is_collection(name: str) -> bool:
    """Whether a path is a folder of model folders and no model itself."""
    folder = Path(name)
    return not (folder / CONFIG).is_file() and any(folder.glob(f"*/{CONFIG}"))


def models_table(folders: Sequence[Path]) -> str:
    """Two lines a model, no longer than :data:`WIDTH`: columns, then error and licence."""
    facts = [model_facts(folder) for folder in folders]
    header = ["name", "kind", "family", "elements", "edge", "window eV", "g/cm3", "networks"]
    rows = [[one["name"], one["kind"], one["family"] or "-",
             short(one["elements"], MOST_ELEMENTS, "elements"),
             (one["target"] or {}).get("key") or short(one["edges"], MOST_EDGES, "edges"),
             span(one["energy_range"], "{:.0f}"), span(one["density_range"], "{:.2f}"),
             "-" if one["networks"] is None else str(one["networks"])] for one in facts]
    first, *lines = text_table(header, rows).splitlines()
    both = [first]
    for line, one in zip(lines, facts, strict=True):
        measured = left_out_text(one["left_out"])
        second = (f"left-out error: {'not stated' if measured == '-' else measured}; "
                  f"licence: {one['licence'] or 'not stated'}")
        both += [line, f"    {textwrap.shorten(second, WIDTH - 4, placeholder=' ...')}"]
    return "\n".join(both)


def model_facts(folder: Path) -> dict[str, Any]:
    """What a model's config says of it, but arrays; None or empty where it says nothing."""
    config = read_config(folder)
    training = config.get("training", {})
    edges = config.get("edges") or ([config["edge"]] if config.get("edge") else [])
    model = config.get("model", {})
    return {
        "name": folder.name, "path": str(folder),
        "kind": "property" if "target" in config else config.get("kind"),
        "target": config.get("target"),
        "family": config.get("family"), "elements": config.get("elements", []),
        "edges": list(dict.fromkeys(edges)),
        "theories": [t["name"] for t in model.get("theories", [])],
        "members": model.get("n_members"),
        "energy_range": config.get("energy_range"), "density_range": config.get("density_range"),
        "networks": len(training["parents"]) if "parents" in training else None,
        "structures": len(training["structures"]) if "structures" in training else None,
        "sites": training.get("sites"), "left_out": left_out(config),
        "licence": config.get("licence"), "version": config.get("version"),
        "format": config["format"], "training": {
            key: training.get(key) for key in ("data_hash", "structures", "parents", "options")},
    }


def left_out(config: Mapping[str, Any]) -> dict[str, float]:
    """Mean over left-out networks, or members, of each error that all of them state.

    A model that states errors once for all that was left out has those.
    """
    found = config.get("left_out", {})
    rows = left_out_rows(config) or [found]
    keys = [key for key in (rows[0] if rows else ()) if key not in NO_ERRORS and all(
        isinstance(row.get(key), int | float) for row in rows)]
    return {key: sum(row[key] for row in rows) / len(rows) for key in keys}


def left_out_rows(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Errors of each left-out network, or of each member on what it left out."""
    found = config.get("left_out", {})
    networks = found.get("networks")
    return [*(networks.values() if isinstance(networks, Mapping) else ()),
            *found.get("members", [])]


WORDS = {"site_mse": "site MSE", "site_mae": "site MAE", "cell_mean_mae": "cell MAE"}


def left_out_text(errors: Mapping[str, float]) -> str:
    """Such as ``site MSE 0.0043, cell MAE 0.0057``; a dash where nothing was measured."""
    shown = {key: value for key, value in errors.items() if key != "site_mae"} or errors
    return ", ".join(f"{WORDS.get(key, key)} {value:.2f}" if key == "eta" else
                     f"{WORDS.get(key, key)} {value:.4f}" for key, value in shown.items()) or "-"


def short(words: Sequence[str], most: int, what: str) -> str:
    """The words, or their number where there are many; a dash for none."""
    return f"{len(words)} {what}" if len(words) > most else " ".join(words) or "-"


def span(pair: Sequence[float] | None, form: str) -> str:
    """Two numbers with a dash between."""
    return "-" if pair is None else f"{form.format(pair[0])}-{form.format(pair[1])}"


def model_details(folder: Path) -> str:
    """Everything that a model's config says of it, but arrays."""
    config, facts = read_config(folder), model_facts(folder)
    model, training = config.get("model", {}), facts["training"]
    rows = {
        "family": facts["family"], "elements": " ".join(facts["elements"]),
        "edge": " ".join(facts["edges"]),
        "predicts": ", ".join(f"{k} {v}" for k, v in (facts["target"] or {}).items()),
        "theories": ", ".join(facts["theories"]),
        "members": facts["members"], "energy window": _range(facts["energy_range"], " eV"),
        "energy axis": config.get("axis_note"),
        "density range": _range(facts["density_range"], " g/cm3"),
        "kinds": ", ".join(model.get("kinds", [])),
        "longest bonds": ", ".join(f"{pair} {length:g} A"
                                   for pair, length in config.get("cutoffs", {}).items()),
        "left-out error": left_out_text(facts["left_out"]), "licence": facts["licence"],
        "written by": f"diffxas {facts['version']}, format {facts['format']}",
        "training data": training["data_hash"],
        "training sites": ", ".join(f"{n} {name}" for name, n in (facts["sites"] or {}).items()),
    }
    lines = [f"{folder.name}, a {facts['kind']} ({folder})"]
    for key, value in rows.items():
        if value not in (None, "", "-"):
            lines += textwrap.wrap(f"{key}: {value}", WIDTH, subsequent_indent="  ",
                                   break_long_words=False, break_on_hyphens=False)
    found = config.get("left_out", {})
    networks = found.get("networks", {})
    if isinstance(networks, Mapping):
        lines += [f"  without {name}: {_numbers(errors)}" for name, errors in networks.items()]
    lines += [f"  member {number} on what it left out: {_numbers(errors)}"
              for number, errors in enumerate(found.get("members", []), 1)]
    names = training["structures"] or []
    lines.append(f"trained on {len(names)} structures of {facts['networks'] or 0} networks:")
    if len(names) > MOST_LINES:
        names = textwrap.wrap(" ".join(names), WIDTH - 2, break_long_words=False,
                              break_on_hyphens=False)
    return "\n".join([*lines, *(f"  {one}" for one in names)])


def _numbers(errors: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in errors.items()
                     if isinstance(value, int | float))


def _range(pair: Sequence[float] | None, unit: str) -> str:
    return "" if pair is None else f"{pair[0]:g} to {pair[1]:g}{unit}"
