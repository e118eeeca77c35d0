"""Numbers and figures of structures that one has: the work behind ``diffxas analyse``.

Each structure gets its coordination, shortest distance, g(r), bond angles, S(Q) and shortest-path
rings (:mod:`diffxas.analysis`, :mod:`diffxas.structure_factor`, :mod:`diffxas.rings`). Against
reference structures, each curve is compared with the mean curve of the references: the integral of
the absolute difference over the integral of the reference. With two references or more, each
reference is compared with the mean of the others too: differences of that size mean nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.analysis import (
    angle_distribution,
    bond_angles,
    bonding,
    coordination,
    minimum_distance,
    partial_rdf,
    rdf,
)
from diffxas.curve_tables import write_curves
from diffxas.cutoffs import bond_lengths, choose_cutoffs, cutoff_record
from diffxas.errors import InputError
from diffxas.files import replacing, write_json
from diffxas.neighbourhood import bonds
from diffxas.plots import save_figure
from diffxas.report.analysed import analysis_document, analysis_figures
from diffxas.report.document import write_document
from diffxas.rings import ring_statistics
from diffxas.structure import Structure
from diffxas.structure_factor import structure_factor
from diffxas.structure_files import write_structures

Labelled = Sequence[tuple[str, Structure]]

CURVES = {"rdf": "g", "structure_factor": "s", "angles": "density"}
"""Curves that are compared with a reference, and the key of their ordinate."""


@dataclass(frozen=True)
class AnalysisOptions:
    """How fine and how far; lengths in angstrom, angles in degrees, q in 1/angstrom.

    Attributes
    ----------
    cutoffs : longest bonds, such as ``{"Si-O": 2.2}``; other pairs by :mod:`diffxas.cutoffs`
    largest_ring : atoms of the largest rings that are counted
    """

    r_max: float = 6.0
    r_bin: float = 0.05
    angle_bin: float = 5.0
    q_max: float = 16.0
    q_bin: float = 0.1
    largest_ring: int = 10
    cutoffs: Mapping[str, float] = field(default_factory=dict)


def analyse_structure(structure: Structure, options: AnalysisOptions | None = None,
                      ) -> dict[str, Any]:
    """Everything that is measured of one structure, as plain numbers and lists.

    Returns
    -------
    numbers : ``formula``, ``atoms``, ``density`` (g/cm3), ``number_density`` (1/angstrom^3),
        ``minimum_distance`` (angstrom), ``coordination`` (fractions, "0" to "6"),
        ``coordination_pairs`` and ``like_bonds`` (:func:`diffxas.analysis.bonding`),
        ``mean_coordination``, ``mean_angle`` (degrees), ``rings_per_atom`` (size to number),
        ``energy_per_atom`` (eV, if the structure holds an energy), and the curves ``rdf`` (``r``,
        ``g``), ``partial_rdf`` (by the name of the pair, empty for one element), ``angles``
        (``angle``, ``density``) and ``structure_factor`` (``q``, ``s``); g(r) and S(Q) are None for
        a structure that is not periodic in three directions
    """
    options = options or AnalysisOptions()
    pairs = bonds(structure, _lengths(structure, options))
    angles = bond_angles(structure, pairs)
    angle, density = angle_distribution(structure, options.angle_bin, pairs)
    rings = ring_statistics(structure, options.largest_ring, pairs)
    energy = structure.info.get("energy")
    bulk = bool(structure.pbc.all())
    numbers: dict[str, Any] = {
        "formula": structure.formula,
        "atoms": len(structure),
        "density": structure.density if bulk else None,
        "number_density": len(structure) / structure.volume if bulk else None,
        "minimum_distance": minimum_distance(structure),
        **bonding(structure, pairs),
        "mean_coordination": float(coordination(structure, pairs).mean()),
        "mean_angle": float(angles.mean()) if len(angles) else None,
        "rings_per_atom": {str(n): float(x) for n, x in zip(rings.sizes, rings.per_atom,
                                                            strict=True)},
        "energy_per_atom": None if energy is None else float(energy) / len(structure),
        "angles": {"angle": angle.tolist(), "density": density.tolist()},
        "rdf": None, "partial_rdf": {}, "structure_factor": None,
    }
    if bulk:
        r, g = rdf(structure, options.r_max, options.r_bin)
        q, s = structure_factor(structure, options.q_max, options.q_bin)
        numbers["rdf"] = {"r": r.tolist(), "g": g.tolist()}
        if len(set(structure.symbols)) > 1:
            r, partial = partial_rdf(structure, options.r_max, options.r_bin)
            numbers["partial_rdf"] = {pair: {"r": r.tolist(), "g": g.tolist()}
                                      for pair, g in partial.items()}
        numbers["structure_factor"] = {
            "q": q.tolist(), "s": [float(x) if np.isfinite(x) else None for x in s]}
    return numbers


def analyse(labelled: Labelled, out_dir: str | Path, reference: Labelled | None = None,
            options: AnalysisOptions | None = None, command: str = "", progress: bool = False,
            ) -> dict[str, Any]:
    """Analyse structures and write what was found to a folder.

    Writes ``analysis.json`` (everything), ``analysis.csv`` (a row a structure, references last),
    ``rdf.csv`` and ``structure_factor.csv`` (:func:`diffxas.curve_tables.write_curves`),
    ``structures.extxyz`` (with the per-atom column ``coordination``), ``figures/*.png`` and
    ``report.html``; earlier output of this function is replaced.

    Parameters
    ----------
    labelled : label and structure
    reference : the same for structures to compare with, or None
    command : the command line, for the report
    progress : show a progress bar

    Returns
    -------
    content : of ``analysis.json``: ``structures`` and ``references``, lists of
        :func:`analyse_structure` with ``label`` and, with references, ``distances``; ``cutoffs``
        and ``cutoffs_from``, the longest bonds and the rules that gave them

    Raises
    ------
    InputError
        If there is no structure, a cutoff is of a pair that is not there, or the folder holds
        something else.
    """
    from tqdm import tqdm

    out_dir = Path(out_dir)
    if not labelled:
        raise InputError("analyse must have at least one structure, received none: name a file")
    check_folder(out_dir)
    options = options or AnalysisOptions()
    everything = [*labelled, *(reference or ())]
    cutoffs = choose_cutoffs({symbol for _, one in everything for symbol in one.symbols},
                             options.cutoffs, reference=[one for _, one in reference or ()])
    options = replace(options, cutoffs={name: one.length for name, one in cutoffs.items()})
    numbers = [{"label": label, **analyse_structure(structure, options)}
               for label, structure in tqdm(everything, disable=not progress, unit="structure")]
    structures, references = numbers[:len(labelled)], numbers[len(labelled):]
    if references:
        structures = [{**one, "distances": _distances(one, references)} for one in structures]
    if len(references) > 1:
        references = [{**one, "distances": _distances(one, [o for o in references if o is not one])}
                      for one in references]
    content = {"structures": structures, "references": references, **cutoff_record(cutoffs)}
    write_json(out_dir / "analysis.json", content)
    _write_csv(out_dir / "analysis.csv", structures, references)
    write_curves(out_dir, [structure for _, structure in labelled], structures)
    write_structures(out_dir / "structures.extxyz",
                     [_with_coordination(s, options) for _, s in labelled])
    figures = analysis_figures(structures, references)
    for block in figures:
        save_figure(block.figure, out_dir / "figures" / f"{block.name}.png")
    write_document(analysis_document(structures, references, labelled, figures, command, cutoffs),
                   out_dir / "report.html", out_dir / "figures")
    return content


def check_folder(out_dir: Path) -> None:
    """Refuse to replace the output of another command.

    Raises
    ------
    InputError
        If ``out_dir`` is a file, or holds a report that ``analyse`` did not write.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"the output must be a folder, received the file {out_dir}: "
                         f"choose another --out")
    ours = (out_dir / "analysis.json").exists() and not (out_dir / "run.json").exists()
    taken = [name for name in ("run.json", "report.html", "structures.extxyz", "analysis.csv")
             if (out_dir / name).exists()]
    if taken and not ours:
        raise InputError(f"the output folder must be new or of an earlier analyse, received "
                         f"{out_dir} with {taken[0]} of something else: choose another --out")


def _lengths(structure: Structure, options: AnalysisOptions) -> dict[tuple[str, str], float]:
    """The options' longest bonds of pairs that the structure has."""
    present = set(structure.symbols)
    given = {name: x for name, x in options.cutoffs.items() if set(name.split("-")) <= present}
    return bond_lengths(choose_cutoffs(present, given))


def _with_coordination(structure: Structure, options: AnalysisOptions) -> Structure:
    pairs = bonds(structure, _lengths(structure, options))
    return structure.with_arrays(coordination=coordination(structure, pairs))


def _distances(one: Mapping[str, Any], references: Sequence[Mapping[str, Any]],
               ) -> dict[str, float | None]:
    """Relative integral difference to the mean of the references, for each curve.

    For coordination and rings the integral is a sum over their kinds.
    """
    found: dict[str, float | None] = {}
    for name, key in CURVES.items():
        curves = [other[name][key] for other in references if other[name] is not None]
        found[name] = None if one[name] is None or not curves else _relative(
            np.array(one[name][key], float), np.array(curves, float))
    for pair, curve in one["partial_rdf"].items():
        curves = [other["partial_rdf"][pair]["g"] for other in references
                  if pair in other["partial_rdf"]]
        found[f"rdf_{pair}"] = None if not curves else _relative(
            np.array(curve["g"], float), np.array(curves, float))
    for name in ("coordination", "rings_per_atom"):
        found[name] = _relative(np.array(list(one[name].values())),
                                np.array([list(other[name].values()) for other in references]))
    return found


def _relative(values: np.ndarray, references: np.ndarray) -> float | None:
    """Sum of ``|values - mean of references|`` over the sum of the mean; where both are known.

    Bins of S(Q) without an allowed wave vector are NaN, in other bins for other cells.
    """
    known = np.isfinite(references)
    mean = np.where(known, references, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    both = np.isfinite(values) & known.any(axis=0)
    whole = mean[both].sum()
    return float(np.abs(values - mean)[both].sum() / whole) if whole > 0 else None


def _write_csv(path: Path, structures: Iterable[Mapping[str, Any]],
               references: Iterable[Mapping[str, Any]]) -> None:
    """One row a structure: scalars, coordination fractions, rings and distances."""
    rows = [_flat(one, role) for role, group in (("structure", structures),
                                                 ("reference", references)) for one in group]
    header = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _flat(one: Mapping[str, Any], role: str) -> dict[str, Any]:
    scalars = ("formula", "atoms", "density", "number_density", "minimum_distance",
               "mean_coordination", "mean_angle", "energy_per_atom")
    return {"label": one["label"], "role": role, **{key: one[key] for key in scalars},
            **{f"coordination_{key}": x for key, x in one["coordination"].items()},
            **{f"bonds_{pair}_{n}": x for pair, kinds in one["coordination_pairs"].items()
               for n, x in kinds.items()},
            **{f"like_bonds_{pair}": x for pair, x in one["like_bonds"].items()},
            **{f"rings_{key}_per_atom": x for key, x in one["rings_per_atom"].items()},
            **{f"distance_{key}": x for key, x in one.get("distances", {}).items()}}
