r"""What a surrogate is worth: its spectra against computed ones, site by site.

Every labelled site of DATA is predicted in its whole structure, with the stated deviation s(E). A
row of the table is a set of sites: of one theory and edge, of one part (seen in training, related
to it, unseen: :mod:`surrogates.evaluation_data`), and of one group of them. Beside the measures of
:mod:`surrogates.metrics` it says how often the truth lies within the stated 90 % interval,

    |mu_true(E) - mu(E)| < 1.645 s(E),

over sites and energies, and which share of the sites the model itself flags as outside its domain.
Below each part stands the mean predictor, the floor that a model must clear: the mean of the
training sites if the weights hold it, else that of DATA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.errors import InputError, RunError
from surrogates.base import Surrogate
from surrogates.datasets import SiteSpectra
from surrogates.evaluation_data import (
    PARTS,
    SEEN,
    SPLITS,
    Label,
    choose_theories,
    chosen_sites,
    common_grid,
    data_splits,
    group_names,
    of,
    resampled,
    training_parts,
    with_grid,
)
from surrogates.metrics import error_table, scores

RESULT = "evaluation.json"
OUTPUTS = ("run.json", RESULT, "evaluation.csv", "sites.csv", "report.html")
NINETY = 1.645
"""Standard deviations of a central 90 % interval, if errors are normal."""
OUTSIDE = 1.0
"""A site whose domain score is above lies outside what the model was trained on."""
MEAN = "mean of training"
MEAN_OF_DATA = "mean of DATA"


@dataclass(frozen=True)
class EvaluationOptions:
    """See ``diffxas evaluate surrogate --help``."""

    surrogate: str
    theories: tuple[str, ...] = ()
    edge: str | None = None


@dataclass(frozen=True, eq=False)
class Judged:
    """The labelled sites of one structure.

    Attributes
    ----------
    item : with the true spectra on the common grid
    predicted, deviation : (n_sites, n_grid), model units
    outside : (n_sites,) domain score, above 1 outside; None where the model has none
    alone : (n_sites,) bool, without a neighbour
    split : (n_sites,) what the data's own split says: 1 held out, 0 training, -1 neither
    part, group : see :mod:`surrogates.evaluation_data`
    """

    item: SiteSpectra
    predicted: np.ndarray
    deviation: np.ndarray
    outside: np.ndarray | None
    alone: np.ndarray
    split: np.ndarray
    part: str
    group: str

    @property
    def true(self) -> np.ndarray:
        """(n_sites, n_grid)."""
        return self.item.spectra

    def of_split(self, split: int) -> Judged:
        """The sites that the data's own split puts there."""
        rows = np.flatnonzero(self.split == split)
        item = replace(self.item, sites=self.item.sites[rows], spectra=self.true[rows])
        return replace(self, item=item, predicted=self.predicted[rows], split=self.split[rows],
                       deviation=self.deviation[rows], alone=self.alone[rows],
                       outside=None if self.outside is None else self.outside[rows])


@dataclass(frozen=True, eq=False)
class Findings:
    """One theory of a model against data.

    Attributes
    ----------
    theory : which
    energy : (n_grid,) eV, the common grid
    mean : (n_grid,), the mean predictor
    mean_of : where that comes from, ``mean of training`` or ``mean of DATA``
    mean_error : (n_grid,), rms error of a structure's mean on left-out data, as the model's config
        says; zero where it says nothing
    judged : the structures, in the order of the data
    notes : what a reader must know
    """

    theory: Label
    energy: np.ndarray
    mean: np.ndarray
    mean_of: str
    mean_error: np.ndarray
    judged: Sequence[Judged]
    notes: tuple[str, ...]

    def of_part(self, part: str) -> list[Judged]:
        """The structures of one part."""
        return [one for one in self.judged if one.part == part]


def evaluate_surrogate(paths: Sequence[Path], out: Path, options: EvaluationOptions,
                       command: str = "", progress: bool = False) -> dict[str, Any]:
    """Judge a surrogate and write the evaluation; returns the content of ``evaluation.json``.

    Parameters
    ----------
    paths : as :func:`surrogates.training_data.load_training_data` takes them
    out : folder; an earlier evaluation there is replaced

    Raises
    ------
    InputError
        Before anything is predicted or written: on another command's folder, a model that is no
        surrogate, data of other theories, edges or energies, structures it cannot predict.
    RunError
        If a prediction is not finite.
    """
    from diffxas.weights import find_model, read_config
    from surrogates.evaluation_report import content_of, write_evaluation
    from surrogates.loading import SHIPPED, load_surrogate
    from surrogates.training_data import load_training_data

    check_folder(out)
    record = read_config(find_model(options.surrogate, SHIPPED), "surrogate")
    load_surrogate(options.surrogate)  # damaged weights are refused before the data are read
    items = load_training_data(paths)
    theories = choose_theories(options.surrogate, record, items, options.theories, options.edge)
    models = {one.name: load_surrogate(options.surrogate, theory=one.name) for one in theories}
    prepared = [prepare(models[one.name], one, items) for one in theories]
    found = [judge(models[one.name], one, *ready, progress=progress)
             for one, ready in zip(theories, prepared, strict=True)]
    content = content_of(options, record, found, items, command)
    write_evaluation(found, content, out)
    return content


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something else.

    Raises
    ------
    InputError
        If ``out`` is a file, or holds files of our names without our mark.
    """
    import json

    if out.exists() and not out.is_dir():
        raise InputError(f"--out must be a folder, received the file {out}: choose another")
    if (out / RESULT).is_file() and not (out / "run.json").exists():
        try:
            mine = "surrogate" in json.loads((out / RESULT).read_text(encoding="utf-8"))
        except ValueError:
            mine = False
        if mine:
            return
    foreign = [name for name in OUTPUTS if (out / name).exists()]
    if foreign:
        raise InputError(f"--out must be a new folder or that of an earlier evaluation of a "
                         f"surrogate, received {out} with another command's {foreign[0]}: choose "
                         f"another --out")


def prepare(model: Surrogate, theory: Label,
            items: Sequence[SiteSpectra],
            ) -> tuple[list[SiteSpectra], list[np.ndarray], tuple[str, ...]]:
    """The sites of a theory on the common grid, all of which the model can predict; the data's own
    split of each; notes.

    Raises
    ------
    InputError
        On structures that cannot be predicted, or other energies.
    """
    from surrogates.protocol import check_structure

    sites = chosen_sites(items, theory)
    for item in sites:
        check_structure(item.name, item.structure, model)
    grid = common_grid(model.energy, sites, model.name)
    notes = []
    other = [item for item in sites if len(item.energy) != len(model.energy)
             or not np.allclose(item.energy, model.energy, atol=1e-6)]
    if other:
        what = "DATA's spectra" if grid is model.energy else "predictions"
        notes.append(f"{theory}: {what} are interpolated to {grid[0]:g} to {grid[-1]:g} eV in "
                     f"{len(grid)} points ({len(other)} of {len(sites)} structures have other "
                     f"energies than the surrogate)")
    unnamed = sum("name" not in item.structure.info for item in sites)
    if unnamed:
        notes.append(f"{theory}: {unnamed} of {len(sites)} structures have no name of their own, "
                     f"so it cannot be told whether the surrogate was trained on them")
    return [with_grid(item, grid) for item in sites], data_splits(items, sites), tuple(notes)


def judge(model: Surrogate, theory: Label, sites: Sequence[SiteSpectra],
          splits: Sequence[np.ndarray], notes: tuple[str, ...],
          progress: bool = False) -> Findings:
    """Predict every site; see :func:`prepare` for what is given."""
    from tqdm import tqdm

    grid = sites[0].energy
    parts = training_parts(model.record, theory, sites)
    groups = group_names([item.structure for item in sites])
    judged = [_judged(model, item, *words) for item, *words in tqdm(
        zip(sites, splits, parts, groups, strict=True), total=len(sites),
        desc=f"predict {theory}", unit="structure", disable=not progress)]
    mean = model.training_mean()
    known = mean is not None
    mean = (np.concatenate([one.true for one in judged]).astype(float).mean(0) if mean is None
            else resampled(model.energy, mean, grid))
    if not any(one.deviation.any() for one in judged):
        notes += (f"{theory}: the surrogate states no deviation, so there are no intervals",)
    lone = sum(int(one.alone.sum()) for one in judged)
    if lone:
        notes += (f"{theory}: without a neighbour, not to be trusted: {lone} of "
                  f"{sum(map(len, splits))} sites",)
    return Findings(theory, grid, mean, MEAN if known else MEAN_OF_DATA,
                    resampled(model.energy, model.mean_error, grid), judged, notes)


def _judged(model: Surrogate, item: SiteSpectra, split: np.ndarray, part: str,
            group: str) -> Judged:
    from surrogates.protocol import lone_absorbers

    absorbers = model.absorbers(item.structure)
    rows = {int(atom): k for k, atom in enumerate(absorbers)}
    chosen = [rows[int(site)] for site in item.sites]
    score = model.domain_score(item.structure)
    mean, deviation = model.predict_sites_with_uncertainty(item.structure, score)
    if not np.isfinite(mean).all():
        raise RunError(f"the surrogate {model.name} predicted NaN or infinity for {item.name}: "
                       f"look for atoms that nearly coincide")
    return Judged(item, resampled(model.energy, mean[chosen], item.energy),
                  resampled(model.energy, deviation[chosen], item.energy),
                  None if score is None else score[chosen],
                  lone_absorbers(item.structure, absorbers)[chosen], split, part, group)


def table_rows(found: Findings) -> list[dict[str, Any]]:
    """A row for each part, its groups and the mean predictor, in the order of :data:`PARTS`."""
    rows = []
    for part in PARTS:
        group = found.of_part(part)
        if not group:
            continue
        rows.append(_row(found, part, "all", group))
        held = {int(k) for one in group for k in one.split}
        rows += [_row(found, part, word, [one.of_split(k) for one in group if k in one.split])
                 for k, word in SPLITS.items() if len(held) > 1 and k in held]
        names = sorted({one.group for one in group})
        if len(names) > 1:
            rows += [_row(found, part, name, [one for one in group if one.group == name])
                     for name in names]
        rows.append(_row(found, part, found.mean_of, group, floor=True))
    return rows


def _row(found: Findings, part: str, name: str, judged: Sequence[Judged],
         floor: bool = False) -> dict[str, Any]:
    true = np.concatenate([one.true for one in judged]).astype(float)
    predictions = [np.broadcast_to(found.mean, one.true.shape) if floor else one.predicted
                   for one in judged]
    predicted = np.concatenate(predictions)
    row = {
        "theory": found.theory.kind, "edge": f"{found.theory.element}:{found.theory.edge}",
        "part": part, "group": name, "structures": len(judged),
        "networks": len({one.item.parent for one in judged}), "sites": len(true),
        **scores(predicted, true, found.mean),
        "cell_mean_mae": error_table([p - one.true for p, one in
                                      zip(predictions, judged, strict=True)])["cell_mean_mae"],
        "coverage_90": None, "out_of_domain": None,
    }
    if floor:
        return row
    deviation = np.concatenate([one.deviation for one in judged])
    if deviation.any():
        row["coverage_90"] = float((np.abs(predicted - true) <= NINETY * deviation).mean())
    outside = [one.outside for one in judged if one.outside is not None]
    if outside:
        row["out_of_domain"] = float((np.concatenate(outside) > OUTSIDE).mean())
    return row


def left_out(items: Sequence[SiteSpectra], found: Sequence[Findings]) -> Mapping[str, int]:
    """Sites of DATA by theory and edge that no row holds."""
    used = {one.theory.key for one in found}
    counts: dict[str, int] = {}
    for item in items:
        if of(item).key not in used:
            counts[str(of(item))] = counts.get(str(of(item)), 0) + len(item.sites)
    return counts


def seen_sentence(found: Findings) -> str:
    """How many sites the surrogate was trained on; empty if none."""
    seen = sum(len(one.item.sites) for one in found.of_part(SEEN))
    return f"seen: {seen} sites of {found.theory}, memory not skill" if seen else ""
