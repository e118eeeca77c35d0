"""g(r) and S(Q) as tables that ``diffxas generate --guide pdf:FILE`` and ``sq:FILE`` take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.analysis import chemical_symbol, partial_rdf
from diffxas.files import replacing
from diffxas.scattering import scattering_lengths
from diffxas.structure import Structure
from diffxas.structure_factor import structure_factor


def write_curves(folder: Path, structures: Sequence[Structure],
                 numbers: Sequence[Mapping[str, Any]]) -> None:
    """Means over the structures that are periodic in three directions; nothing without one.

    ``rdf.csv`` holds r (angstrom) and g, ``structure_factor.csv`` q (1/angstrom) and s. Of several
    elements, all atoms count alike in g and s, and columns ``g_xray``, ``g_neutron``, ``s_xray``
    and ``s_neutron`` hold what is measured.

    Parameters
    ----------
    numbers : of each structure, by :func:`diffxas.analyse.analyse_structure`
    """
    bulk = [(one, row) for one, row in zip(structures, numbers, strict=True) if row["rdf"]]
    if not bulk:
        return
    several = any(len(set(one.symbols)) > 1 for one, _ in bulk)
    r, q = (np.array(bulk[0][1][name][x], float) for name, x in (("rdf", "r"),
                                                                 ("structure_factor", "q")))
    pairs = {"r": r, "g": np.mean([row["rdf"]["g"] for _, row in bulk], axis=0)}
    factors = {"q": q, "s": np.mean([np.array(row["structure_factor"]["s"], float)
                                     for _, row in bulk], axis=0)}
    for weighting in ("xray", "neutron") if several else ():
        pairs[f"g_{weighting}"] = np.mean(
            [total_rdf(one, weighting, r) for one, _ in bulk], axis=0)
        factors[f"s_{weighting}"] = structure_factor(
            [one for one, _ in bulk], q[-1] + q[0], 2 * q[0], weighting=weighting)[1]
    for name, columns in (("rdf", pairs), ("structure_factor", factors)):
        rows = np.column_stack(list(columns.values()))
        with replacing(folder / f"{name}.csv") as path:
            np.savetxt(path, rows[np.isfinite(rows).all(axis=1)], fmt="%.8g", delimiter=",",
                       header=",".join(columns), comments="")


def total_rdf(structure: Structure, weighting: str, r: np.ndarray) -> np.ndarray:
    """Sum of the partial g(r), each by the share of its elements in scattering, (n_bins,).

    Parameters
    ----------
    weighting : "atoms", "xray" or "neutron" (:mod:`diffxas.scattering`)
    r : (n_bins,), centres of bins of equal width that begin at 0, angstrom
    """
    numbers, counts = np.unique(structure.numbers, return_counts=True)
    b = scattering_lengths(numbers, weighting) * counts
    shares = dict(zip(map(chemical_symbol, numbers), b / b.sum(), strict=True))
    total = np.zeros(len(r))
    for pair, g in partial_rdf(structure, r[-1] + r[0], 2 * r[0])[1].items():
        one, other = pair.split("-")
        total += (1 if one == other else 2) * shares[one] * shares[other] * g
    return total
