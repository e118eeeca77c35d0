"""An X-ray absorption spectrum: energies, absorption, and whose edge it is.

Words are Larch's: ``energy`` (eV), ``mu`` (absorption, in whatever unit it came in), ``e0`` (edge
energy), ``edge_step``, ``norm``, ``flat``. Files are read in :mod:`diffxas.spectrum_files`,
normalised in :mod:`diffxas.normalise`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.errors import InputError

MINIMUM_POINTS = 20


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Absorption against energy at one edge of one element.

    Attributes
    ----------
    energy : (n_points,) float64, eV, strictly increasing
    mu : (n_points,) float64, absorption; unit in ``meta`` if known
    element : chemical symbol of the absorber, such as ``C``; empty if unknown
    edge : ``K``, ``L3``, ...; empty if unknown
    meta : where it came from: ``path``, ``format``, ``columns``, ``hash``, ...

    Raises
    ------
    InputError
        On NaN, fewer than 20 points, energies that decrease or repeat, or a flat curve.
    """

    energy: np.ndarray
    mu: np.ndarray
    element: str = ""
    edge: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        energy = np.array(self.energy, dtype=np.float64)
        mu = np.array(self.mu, dtype=np.float64)
        where = f" in {self.meta['path']}" if "path" in self.meta else ""
        if energy.ndim != 1 or energy.shape != mu.shape:
            raise InputError(f"energy and mu must be two columns of one length, received "
                             f"{energy.shape} and {mu.shape}{where}: check the columns chosen")
        if len(energy) < MINIMUM_POINTS:
            raise InputError(f"a spectrum must have at least {MINIMUM_POINTS} points, received "
                             f"{len(energy)}{where}: give the whole measured range")
        if not (np.isfinite(energy).all() and np.isfinite(mu).all()):
            bad = int(np.flatnonzero(~(np.isfinite(energy) & np.isfinite(mu)))[0])
            raise InputError(f"energy and mu must be finite, received {energy[bad]} and {mu[bad]} "
                             f"at point {bad}{where}: remove or interpolate such points")
        steps = np.diff(energy)
        if (steps <= 0).any():
            bad = int(np.flatnonzero(steps <= 0)[0])
            what = "repeat" if steps[bad] == 0 else "decrease"
            raise InputError(f"energies must increase, received {energy[bad]:g} then "
                             f"{energy[bad + 1]:g} eV{where} (they {what}): sort the points, "
                             f"average repeats, or choose other columns with --columns")
        if np.ptp(mu) <= 1e-9 * max(1e-300, float(np.abs(mu).max())):
            raise InputError(f"mu must vary, received a flat curve of {mu[0]:g}{where}: "
                             f"choose another signal column with --columns")
        energy.setflags(write=False)
        mu.setflags(write=False)
        object.__setattr__(self, "energy", energy)
        object.__setattr__(self, "mu", mu)

    def __len__(self) -> int:
        return len(self.energy)

    @classmethod
    def read(cls, path: str | Path, *, columns: str | None = None, edge: str | None = None,
             ) -> Spectrum:
        """Read XDI, Athena .prj, EMSA .msa or columns of text; see ``diffxas.spectrum_files``.

        Parameters
        ----------
        path : the file
        columns : such as ``"energy=1,signal=2,i0=3"``, counted from 1 or by name
        edge : such as ``"C:K"``; overrides what the file says
        """
        from diffxas.spectrum_files import read_spectrum

        return read_spectrum(path, columns=columns, edge=edge)


def parse_edge(text: str) -> tuple[str, str]:
    """Split ``C:K`` into element and edge.

    Raises
    ------
    InputError
        If the text is not ``ELEMENT:EDGE`` with a known element.
    """
    from ase.data import chemical_symbols

    element, _, edge = text.partition(":")
    if element not in chemical_symbols[1:] or edge not in ("K", "L1", "L2", "L3", "L2,3", "L23"):
        raise InputError(f"an edge must be ELEMENT:EDGE such as C:K or Cu:L3, received {text!r}: "
                         f"write the element's symbol, a colon and the edge")
    return element, edge
