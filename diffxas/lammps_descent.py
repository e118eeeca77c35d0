r"""L-BFGS on the atoms of a LAMMPS instance: the minimiser of large cells.

A minimiser's price is its number of force evaluations. LAMMPS' conjugate gradients pay two to three
of them for every iteration in the line search, and their iterations grow with the size of the cell.
L-BFGS (Liu and Nocedal, On the limited memory BFGS method for large scale optimization,
Mathematical Programming 45, 503, 1989), here scipy's L-BFGS-B, pays hardly more than one:

    d = -H_k g,    H_k from the last m pairs s = x_{k+1} - x_k, y = g_{k+1} - g_k

with a line search on the strong Wolfe conditions. Amorphous carbon of 1,728 atoms (``rebo``, from
noised cells to 0.01 eV/angstrom): conjugate gradients 2,249 evaluations, FIRE 1,622, L-BFGS 259;
the displacements of the atoms have the same quantiles to 0.01 angstrom.

Between evaluations only positions go in and forces come out; LAMMPS keeps its neighbour lists
until an atom has moved by half their skin. Under MPI every rank runs the same lines on the same
numbers: ``gather_atoms`` and LAMMPS' global sums are the same on all ranks, and so is every step.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffxas.lammps_library import LammpsBox

PAIRS = 10
"""m, the pairs that L-BFGS remembers; 20 need as many evaluations."""
SEARCH = 40
"""Most evaluations of one line search."""


def gather(lmp: Any, name: str) -> np.ndarray:
    """A per-atom vector in the order of atom numbers, (n_atoms, 3), LAMMPS' frame."""
    return np.array(lmp.gather_atoms(name, 0 if name == "image" else 1, 3)).reshape(-1, 3)


def unwrapped(lmp: Any, box: LammpsBox) -> np.ndarray:
    """Positions with the crossings of periodic boundaries undone, (n_atoms, 3), angstrom."""
    return gather(lmp, "x") + gather(lmp, "image") @ box.matrix


def largest_force(lmp: Any) -> float:
    """Of all atoms, with what fixes add, eV/angstrom."""
    return float(np.linalg.norm(gather(lmp, "f"), axis=1).max())


@dataclass(eq=False)
class _Energy:
    """Energy (eV) and gradient (eV/angstrom) at unwrapped positions in LAMMPS' frame."""

    lmp: Any
    box: LammpsBox
    fmax: float = field(default=np.inf, init=False)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        inside = x.reshape(-1, 3) - gather(self.lmp, "image") @ self.box.matrix
        flat = np.ascontiguousarray(inside).ctypes.data_as(ctypes.POINTER(ctypes.c_double))
        self.lmp.scatter_atoms("x", 1, 3, flat)
        self.lmp.command("run 1 pre no post no")  # nothing integrates: one evaluation
        forces = gather(self.lmp, "f")
        self.fmax = float(np.linalg.norm(forces, axis=1).max())
        return float(self.lmp.get_thermo("pe")), -forces.ravel()


def lbfgs(lmp: Any, box: LammpsBox, fmax: float, steps: int) -> int:
    """Minimise at fixed cell until the largest force is ``fmax`` (eV/angstrom) or less.

    Parameters
    ----------
    lmp : an instance with atoms and a potential; fixes that add forces and energies count
    steps : largest number of iterations

    Returns
    -------
    iterations made; the forces may still be above ``fmax`` if the line search gave up
    """
    from scipy.optimize import minimize

    lmp.commands_list(["neigh_modify delay 0 every 1 check yes", "thermo_style custom step pe",
                       "thermo_modify norm no lost error", "run 0 post no"])
    energy = _Energy(lmp, box)

    def stop_when_small(intermediate_result: Any) -> None:
        if energy.fmax <= fmax:
            raise StopIteration

    found = minimize(energy, unwrapped(lmp, box).ravel(), jac=True, method="L-BFGS-B",
                     callback=stop_when_small,
                     options={"maxcor": PAIRS, "maxls": SEARCH, "maxiter": steps,
                              "maxfun": 20 * steps, "ftol": 0.0, "gtol": 0.0})
    if not np.array_equal(found.x, unwrapped(lmp, box).ravel()):
        energy(found.x)  # the last evaluation was a trial that was refused
    return int(found.nit)
