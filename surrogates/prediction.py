"""Structures to spectra, as tables: ``diffxas predict``.

The cell's spectrum is the mean over its absorbers, as in an experiment. A model that states its
uncertainty gets a second table: for sites the model's standard deviation; for cells the mean of
the sites' deviations, an upper bound that holds even if every site errs in the same direction.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diffxas.errors import InputError, RunError
from diffxas.files import replacing
from diffxas.structure import Structure
from surrogates.metrics import rms
from surrogates.protocol import (
    BoundedSurrogate,
    SurrogateModel,
    UncertainSurrogate,
    check_structure,
    lone_absorbers,
)

UNCERTAIN = 0.25
"""A column is flagged when its uncertainty exceeds this share of its own root mean square."""
OUTSIDE = 0.05
"""Share of a cell's absorbers outside the training domain that flags the cell; 1 % is usual."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Columns of absorption on the model's grid.

    Attributes
    ----------
    energy : (n_grid,), eV
    columns : label -> (n_grid,), model units, in the order of the input
    uncertainty : label -> (n_grid,), one standard deviation, model units; empty if not known
    lone : labels of absorbers without a neighbour, and of cells that hold one
    outside : labels of absorbers outside the model's training domain, and of cells of which more
        than :data:`OUTSIDE` are
    """

    energy: np.ndarray
    columns: Mapping[str, np.ndarray]
    uncertainty: Mapping[str, np.ndarray] = field(default_factory=dict)
    lone: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()


def predict_table(labelled: Sequence[tuple[str, Structure]], model: SurrogateModel,
                  sites: bool = False, *, progress: bool = False) -> Prediction:
    """Spectra of structures, a column for each cell or for each absorber.

    Parameters
    ----------
    labelled : label and structure, such as ``("cu#3", structure)``
    model : the surrogate
    sites : a column ``LABEL:ATOM`` for each absorber instead of one for the cell
    progress : show a bar

    Raises
    ------
    InputError
        Before anything is computed: on no structures, equal labels, a structure without the
        absorber, with elements that the model does not know or with atoms that share a place.
    RunError
        If the model returns numbers that are not finite.
    """
    from tqdm import tqdm

    check_labelled(labelled, model)
    columns: dict[str, np.ndarray] = {}
    uncertainty: dict[str, np.ndarray] = {}
    lone: list[str] = []
    outside: list[str] = []
    for label, structure in tqdm(labelled, desc="predict", unit="structure",
                                 disable=not progress):
        if isinstance(model, UncertainSurrogate):
            mean, deviation = model.predict_sites_with_uncertainty(structure)
        else:
            mean, deviation = model.predict_sites(structure), None
        if not np.isfinite(mean).all():
            raise RunError(f"the surrogate {model.name} predicted NaN or infinity for {label}: "
                           f"look for atoms that nearly coincide")
        absorbers = model.absorbers(structure)
        names = [f"{label}:{atom}" for atom in absorbers] if sites else [label]
        alone = lone_absorbers(structure, absorbers)
        lone += [names[k] for k in np.flatnonzero(alone)] if sites else [label] * int(alone.any())
        score = model.domain_score(structure) if isinstance(model, BoundedSurrogate) else None
        if score is not None:
            outside += ([names[k] for k in np.flatnonzero(score > 1)] if sites
                        else [label] * int((score > 1).mean() > OUTSIDE))
        columns.update(zip(names, mean if sites else mean.mean(axis=0)[None], strict=True))
        if deviation is not None:
            uncertainty.update(zip(names, deviation if sites else deviation.mean(axis=0)[None],
                                   strict=True))
    return Prediction(np.asarray(model.energy), columns, uncertainty, frozenset(lone),
                      frozenset(outside))


def check_labelled(labelled: Sequence[tuple[str, Structure]], model: SurrogateModel) -> None:
    """Refuse what cannot be predicted or told apart.

    Raises
    ------
    InputError
        On no structures, equal labels, or a structure that the model cannot predict.
    """
    if not labelled:
        raise InputError("there must be at least one structure, received none: "
                         "name structure files")
    seen: set[str] = set()
    for label, structure in labelled:
        if label in seen:
            raise InputError(f"labels must differ, received {label!r} twice: rename a file")
        seen.add(label)
        check_structure(label, structure, model)


def write_prediction(path: str | Path, prediction: Prediction) -> list[Path]:
    """Write the table, and beside it the uncertainties if there are any.

    ``spectra.csv`` gets ``spectra_uncertainty.csv``: a row for each column of the first file with
    ``label``, ``flag`` (any of ``uncertain``, ``isolated`` where an absorber has no neighbour and
    ``outside`` where it is unlike the training sites, or empty), ``relative`` (root mean square of
    the deviation over that of the spectrum), then one standard deviation at each energy. An earlier
    such file is removed where there is no uncertainty to write.

    Returns
    -------
    the files written
    """
    path = Path(path)
    header = ["energy", *prediction.columns]
    write_csv(path, header, np.column_stack([prediction.energy, *prediction.columns.values()]))
    beside = path.with_name(f"{path.stem}_uncertainty.csv")
    if not prediction.uncertainty:
        beside.unlink(missing_ok=True)
        return [path]
    rows = []
    for label, deviation in prediction.uncertainty.items():
        relative = relative_uncertainty(prediction.columns[label], deviation)
        flags = (["uncertain"] * (relative > UNCERTAIN) + ["isolated"] * (label in prediction.lone)
                 + ["outside"] * (label in prediction.outside))
        rows.append([label, " ".join(flags), relative, *deviation])
    write_csv(beside, ["label", "flag", "relative", *(_text(e) for e in prediction.energy)], rows)
    return [path, beside]


def relative_uncertainty(mu: np.ndarray, deviation: np.ndarray) -> float:
    """Root mean square of the deviation over that of the spectrum, both (n_grid,)."""
    return float(rms(deviation) / max(float(rms(mu)), 1e-150))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Comma-separated, header first, numbers in nine digits; quotes only where a label needs them.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_text(value) for value in row] for row in rows)


def _text(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float | np.floating) else str(value)
