"""Structures to a property, as a table: ``diffxas predict`` with a model of a property."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from diffxas.errors import InputError, RunError
from diffxas.structure import Structure
from surrogates.prediction import write_csv
from surrogates.protocol import check_atoms, lone_absorbers

if TYPE_CHECKING:
    from surrogates.properties import PropertySurrogate

UNCERTAIN = 2.0
"""A row is flagged when its deviation exceeds the left-out error by this factor."""
OUTSIDE = 0.1
"""A structure is flagged when more than this share of its atoms is outside the domain."""
FLAG = "flag"


def property_table(labelled: Sequence[tuple[str, Structure]], model: PropertySurrogate, *,
                   progress: bool = False) -> tuple[list[str], list[list[object]]]:
    """Header and rows: ``structure``, ``atom`` where per atom, KEY, KEY_uncertainty and ``flag``.

    The uncertainty is one standard deviation, empty if nothing tells it. Flags: ``uncertain``
    (it exceeds twice the left-out error), ``isolated`` (an atom without a neighbour), ``outside``
    (an atom unlike those of the training, or more than a tenth of a structure's).

    Raises
    ------
    InputError
        Before anything is computed: on equal labels, elements that the model does not know or
        atoms that share a place.
    RunError
        If the model returns numbers that are not finite.
    """
    from tqdm import tqdm

    for label, structure in labelled:
        check_atoms(label, structure, model.elements, model.name)
    if len(dict(labelled)) < len(labelled):
        raise InputError("labels must differ, received one twice: rename a file")
    rows: list[list[object]] = []
    for label, structure in tqdm(labelled, desc="predict", unit="structure",
                                 disable=not progress):
        estimate = model.predict(structure)
        if not np.isfinite(estimate.value).all():
            raise RunError(f"the surrogate {model.name} predicted NaN or infinity for {label}: "
                           f"look for atoms that nearly coincide")
        flags = flags_of(structure, model, estimate.deviation)
        for k, value in enumerate(estimate.value):
            place = [label, k] if model.target.per_atom else [label]
            deviation = "" if estimate.deviation is None else float(estimate.deviation[k])
            rows.append([*place, float(value), deviation, " ".join(flags[k])])
    first = ["structure", "atom"] if model.target.per_atom else ["structure"]
    return [*first, model.key, f"{model.key}_uncertainty", FLAG], rows


def flags_of(structure: Structure, model: PropertySurrogate,
             deviation: np.ndarray | None) -> list[list[str]]:
    """Words for each row of a structure: one for each atom, or one for all."""
    n, per_atom = len(structure), model.target.per_atom
    alone = lone_absorbers(structure, np.arange(n))
    found: list[list[str]] = [[] for _ in range(n if per_atom else 1)]
    error = model.left_out_error
    if error is not None and deviation is not None:
        size = n if model.target.per == "sum" else 1
        for k in np.flatnonzero(deviation > UNCERTAIN * error * size):
            found[k].append("uncertain")
    for k in np.flatnonzero(alone if per_atom else [alone.any()]):
        found[k].append("isolated")
    score = model.domain_score(structure)
    if score is not None:
        strange = score > 1
        for k in np.flatnonzero(strange if per_atom else [strange.mean() > OUTSIDE]):
            found[k].append("outside")
    return found


def record_of_property(name: str) -> dict[str, Any] | None:
    """The config of a model of a property; None for any other, and what is no model."""
    from diffxas.weights import find_model, read_config

    try:
        record = read_config(find_model(name, Path(__file__).parent / "weights"))
    except InputError:
        return None
    return record if record.get("kind") == "surrogate" and "target" in record else None


def predict_command(name: str, record: Mapping[str, Any], paths: Sequence[Path], out: Path, *,
                    edge: str | None, sites: bool) -> None:
    """``diffxas predict`` for a model of a property.

    Raises
    ------
    InputError
        As :func:`property_table`, for options of spectra, and an ``out`` that is another's file.
    """
    given = [word for word, there in (("--edge", edge is not None), ("--sites", sites)) if there]
    key = record["target"]["key"]
    if given:
        raise InputError(f"{' and '.join(given)} must go with a surrogate of spectra, received "
                         f"{name}, which predicts {key}: leave it out")
    check_earlier_table(out, key)
    from diffxas.structure_files import labelled_structures
    from surrogates.properties import load_property

    labelled = labelled_structures(paths)
    model = load_property(name)
    header, rows = property_table(labelled, model, progress=True)
    write_csv(out, header, rows)
    click.echo(f"{model.target.words}: {len(rows)} rows of {len(labelled)} structures by "
               f"{model.name}")
    flagged = [" ".join(map(str, row[:len(header) - 3])) for row in rows if row[-1]]
    if flagged:
        more = f" and {len(flagged) - 6} more" if len(flagged) > 6 else ""
        click.echo(f"flagged, not to be trusted: {', '.join(flagged[:6])}{more}")
    click.echo(f"written: {out}")


def check_earlier_table(out: Path, key: str) -> None:
    """Refuse to replace a file that is not a table of this property.

    Raises
    ------
    InputError
        If the file exists and does not begin with our header.
    """
    if not out.exists():
        return
    with out.open(newline="", encoding="utf-8", errors="replace") as file:
        header = next(csv.reader(file), [])
    if header[:1] != ["structure"] or header[-3:] != [key, f"{key}_uncertainty", FLAG]:
        raise InputError(f"--out must be a new file or an earlier prediction of {key}, received "
                         f"{out} with other content: choose another --out")


def train_command(paths: Sequence[Path], out: Path, key: str, config: Path | None) -> None:
    """``diffxas train surrogate --target KEY``: train and say what came of it."""
    from surrogates.property_training import train_property

    done = train_property(paths, out, key, config)
    click.echo(f"target: {done.target.words} (per = \"{done.target.per}\"); {done.structures} "
               f"structures of {done.networks} networks")
    each = " an atom" if done.target.per == "sum" else ""
    unit = f" {done.target.unit}{each}" if done.target.unit else each
    if done.left_out:
        click.echo(f"left-out networks: MAE {done.left_out['mae']:.3g}, RMSE "
                   f"{done.left_out['rmse']:.3g}{unit} (spread of the labels {done.spread:.3g})")
    else:
        click.echo("no network was left out, so no error is known: set left_out_share")
    click.echo(f"surrogate: {done.folder} (use it with `diffxas predict --surrogate "
               f"{done.folder}`)")
