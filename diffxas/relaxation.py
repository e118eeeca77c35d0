"""Relaxation to the nearest minimum of a potential energy, with what it did to the structure.

Empirical potentials differ in what they do to amorphous carbon. Second-generation REBO (``rebo``)
moves DFT cells least of the fast ones and keeps their coordination, so it is the default.
Displacements are counted on unwrapped coordinates with the drift of the centre removed; with the
cell free, after the homogeneous strain has been taken out. With fixed atoms they are those of the
others, and nothing is taken out.

Potentials know periodic cells alone. A direction that is not periodic is relaxed as a periodic one
with at least VACUUM between the structure and its image; cell and flags come back as they were.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffxas.errors import InputError, RunError
from diffxas.lammps_data import check_lammps_options
from diffxas.lammps_library import LammpsMissing
from diffxas.lammps_parallel import RanksDied, check_ranks
from diffxas.minimisers import Evaluation, Minimum
from diffxas.potentials import Potential, PotentialSpec, check_potential, potential
from diffxas.structure import Structure
from diffxas.structure_files import labelled_structures, output_format, write_structures

MAXIMUM_STEPS = 100_000
SHORTEST_DISTANCE = 0.5
"""Closest approach of two atoms that is still chemistry, angstrom (H2 has 0.74)."""
LARGEST_VOLUME_CHANGE = 2.0
VACUUM = 15.0
"""Beside a structure where it is not periodic, angstrom; farther than potentials here reach."""
KEPT_INFO = ("name",)
KEPT_ARRAYS = ("masses", "tags", "initial_charges")
"""Columns that say which atom it is; all others belonged to the old positions."""


@dataclass(frozen=True)
class RelaxationOptions:
    """How to relax.

    Attributes
    ----------
    potential : a name (see :mod:`diffxas.potentials`) or an ASE calculator
    cell_too : relax the cell as well as the positions
    restraint : stiffness of harmonic springs to the given positions, eV/angstrom^2; None for none
    fmax : largest force left on an atom, eV/angstrom
    steps : largest number of iterations; None for the potential's own (5000, or 500 for ASE)
    fixed : indices of atoms that stay where they are, to the last digit
    ranks : processes that LAMMPS runs on, under MPI where more than 1; results agree to rounding

    Raises
    ------
    InputError
        If a number is out of range, or a restraint, fixed atoms or more than one rank are asked
        for with a free cell.
    """

    potential: PotentialSpec = "rebo"
    cell_too: bool = False
    restraint: float | None = None
    fmax: float = 0.01
    steps: int | None = None
    fixed: tuple[int, ...] = ()
    ranks: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.fmax < np.inf:
            raise InputError(f"fmax must be above 0 eV/angstrom, received {self.fmax}: "
                             f"0.01 is usual")
        if self.steps is not None and not 1 <= self.steps <= MAXIMUM_STEPS:
            raise InputError(f"steps must be 1 to {MAXIMUM_STEPS}, received {self.steps}: "
                             f"leave it out for the potential's own")
        if self.restraint is not None and not 0 <= self.restraint < np.inf:
            raise InputError(f"a restraint must be 0 eV/angstrom^2 or more, received "
                             f"{self.restraint}: 1 is gentle, 10 stiff")
        if self.restraint and self.cell_too:
            raise InputError(f"a restraint must go with a fixed cell, received restraint "
                             f"{self.restraint} and a free cell: choose one of the two")
        if self.fixed and self.cell_too:
            raise InputError(f"fixed atoms must go with a fixed cell, received {len(self.fixed)} "
                             f"of them and a free cell: choose one of the two")
        if self.ranks > 1 and self.cell_too:
            raise InputError(f"more than one rank must go with a fixed cell, received "
                             f"{self.ranks} ranks and a free cell: choose one of the two")
        check_ranks(self.ranks)


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What came of a relaxation.

    Attributes
    ----------
    structure : relaxed, with ``info["energy"]`` (eV, whole cell) and the column ``forces``;
        the unrelaxed one where ``failed``
    energy_before, energy_after : eV/atom, without the restraint's energy
    pressure_before, pressure_gpa : GPa, positive under compression; NaN without stresses
    fmax_before, fmax : largest force of the potential on an atom that is free, eV/angstrom
    rms_displacement : angstrom, without drift (and without strain where the cell moved); with fixed
        atoms, of the others
    converged : whether the forces fell below the threshold
    failed : whether the relaxation broke down
    message : one line; empty where all went well
    steps : iterations
    seconds : wall time
    potential : the potential's name
    """

    structure: Structure
    energy_before: float
    energy_after: float
    pressure_before: float
    pressure_gpa: float
    fmax_before: float
    fmax: float
    rms_displacement: float
    converged: bool
    failed: bool
    message: str
    steps: int
    seconds: float
    potential: str


def relax(structure: Structure, options: RelaxationOptions | None = None) -> Relaxation:
    """Relax one structure; a relaxation that breaks down returns ``failed``, it does not raise.

    Raises
    ------
    InputError
        If the potential is unknown, lacks an element, the cell is to move and is not periodic, or
        an atom to be fixed is not there.
    LammpsMissing
        If the potential needs LAMMPS and it cannot be loaded.
    RanksDied
        If processes of more than one rank are killed.
    """
    options = options or RelaxationOptions()
    _check("a structure to relax", structure, options)
    found = potential(options.potential, set(structure.symbols), options.ranks)
    result = _relax(enclosed(structure), found, options)
    if structure.pbc.all():
        return result
    return replace(result, structure=replace(result.structure, cell=structure.cell,
                                             pbc=structure.pbc))


def relax_many(labelled: Iterable[tuple[str, Structure]], options: RelaxationOptions | None = None,
               progress: bool = True) -> list[Relaxation]:
    """Relax structures one after the other, with a progress bar on stderr.

    All structures, and the potential for all their elements, are checked before the first begins.

    Raises
    ------
    InputError, LammpsMissing, RanksDied
        As :func:`relax`.
    """
    from tqdm import tqdm

    options, labelled = options or RelaxationOptions(), list(labelled)
    for label, structure in labelled:
        _check(label, structure, options)
    check_potential(options.potential, {s for _, one in labelled for s in one.symbols},
                    options.ranks)
    results = []
    with tqdm(total=len(labelled), desc="relaxing", unit="structure", disable=not progress) as bar:
        for label, structure in labelled:
            bar.set_postfix_str(label)
            results.append(relax(structure, options))
            bar.update()
    return results


def _check(name: str, structure: Structure, options: RelaxationOptions) -> None:
    if options.cell_too and not structure.pbc.all():
        raise InputError(f"{name} must be periodic along all three cell vectors for its cell to "
                         f"relax, received pbc {structure.pbc.tolist()}: relax at fixed cell")
    beyond = [i for i in options.fixed if not 0 <= i < len(structure)]
    if beyond:
        raise InputError(f"fixed atoms must be 0 to {len(structure) - 1} in {name}, received "
                         f"{beyond[0]}: correct their indices")


def enclosed(structure: Structure, vacuum: float = VACUUM) -> Structure:
    """The atoms where they are, in a periodic cell with vacuum where the structure ends.

    Parameters
    ----------
    vacuum : least distance between the structure and its image, angstrom, along directions that
        are not periodic; their cell vectors are lengthened where they leave less
    """
    if structure.pbc.all():
        return structure
    from ase.geometry import complete_cell

    cell = np.array(complete_cell(structure.cell))
    for axis in np.flatnonzero(~structure.pbc):
        normal = np.linalg.inv(cell)[:, axis]  # of the plane of the two others
        normal = normal / np.linalg.norm(normal)
        wanted = np.ptp(structure.positions @ normal) + vacuum
        cell[axis] *= max(1.0, wanted / (cell[axis] @ normal))
    return replace(structure, cell=cell, pbc=np.ones(3, dtype=bool))


def relax_file(paths: Sequence[str | Path], out: str | Path,
               options: RelaxationOptions | None = None, progress: bool = True,
               type_order: Sequence[str] | None = None,
               charges: Mapping[str, float] | None = None) -> list[Relaxation]:
    """Relax every frame of files and write them in order, energy and forces readable through ASE.

    ``type_order`` and ``charges`` belong to LAMMPS files, see
    :func:`diffxas.structure_files.write_structures`.

    Raises
    ------
    InputError
        If a file, the output's format or the potential is unusable; nothing is written.
    LammpsMissing
        If LAMMPS is needed and cannot be loaded.
    """
    labelled = labelled_structures(paths)
    check_lammps_options([s for _, one in labelled for s in one.symbols], type_order, charges,
                         output_format(out, n_structures=len(labelled)) == "lammps-data",
                         "name --out FILE.data")
    results = relax_many(labelled, options, progress)
    write_structures(out, [_labelled(result, label)
                           for result, (label, _) in zip(results, labelled, strict=True)],
                     type_order=type_order, charges=charges)
    return results


def _relax(structure: Structure, found: Potential, options: RelaxationOptions) -> Relaxation:
    started = time.perf_counter()
    before, minimum, message = None, None, ""
    try:
        before = found.evaluate(structure)
        if not before.finite:
            raise RunError("energy or forces of the given structure are not finite numbers")
        minimum = found.minimise(
            structure, fmax=options.fmax, steps=options.steps or found.default_steps,
            cell_too=options.cell_too, restraint=options.restraint, fixed=options.fixed)
        message = _breakdown(structure, minimum)
    except (InputError, LammpsMissing, RanksDied):
        raise  # these say nothing about the structure
    except (RuntimeError, ArithmeticError, ValueError) as error:  # also of users' calculators
        message = (str(error).strip().splitlines() or [type(error).__name__])[0]
    failed = minimum is None or bool(message)
    free = np.setdiff1d(np.arange(len(structure)), options.fixed)
    if not failed and minimum is not None and not minimum.converged:
        message = (f"not converged after {minimum.steps} steps: largest force "
                   f"{_fmax(minimum.evaluation, free):.3g} eV/angstrom")
    end = before if failed or minimum is None else minimum.evaluation
    kept = structure if failed or minimum is None else _moved(structure, minimum)
    return Relaxation(
        structure=_with_results(kept, end),
        energy_before=_per_atom(before, structure), energy_after=_per_atom(end, structure),
        pressure_before=before.pressure_gpa if before else np.nan,
        pressure_gpa=end.pressure_gpa if end else np.nan,
        fmax_before=_fmax(before, free), fmax=_fmax(end, free),
        rms_displacement=rms_displacement(structure, kept, options.fixed),
        converged=not failed and minimum is not None and minimum.converged, failed=failed,
        message=f"relaxation failed, unrelaxed structure kept: {message}" if failed else message,
        steps=minimum.steps if minimum else 0, seconds=time.perf_counter() - started,
        potential=found.label)


def _fmax(found: Evaluation | None, free: np.ndarray) -> float:
    """Largest force on an atom that may move, eV/angstrom."""
    if found is None:
        return float("nan")
    return float(np.linalg.norm(found.forces[free], axis=1).max(initial=0.0))


def rms_displacement(before: Structure, after: Structure, fixed: Sequence[int] = ()) -> float:
    """Root mean square displacement, angstrom, of unwrapped positions with the drift removed.

    A homogeneous strain of the cell is taken out: positions are compared in the second cell. With
    ``fixed`` atoms it is that of the others as they moved; 0 where there are none.
    """
    if len(fixed):
        others = np.delete(after.positions - before.positions, list(fixed), axis=0)
        return float(np.sqrt((others**2).sum() / max(1, len(others))))
    strain = np.linalg.solve(before.cell, after.cell)
    moved = after.positions - before.positions @ strain
    moved = moved - moved.mean(axis=0)
    return float(np.sqrt((moved**2).sum(axis=1).mean()))


def _breakdown(structure: Structure, minimum: Minimum) -> str:
    """Why the result is not a structure; empty if it is."""
    if not (minimum.evaluation.finite and np.isfinite(minimum.positions).all()
            and np.isfinite(minimum.cell).all()):
        return "energy, forces or positions are not finite numbers"
    ratio = abs(np.linalg.det(minimum.cell)) / structure.volume
    if not 1 / LARGEST_VOLUME_CHANGE <= ratio <= LARGEST_VOLUME_CHANGE:
        return f"the volume changed by a factor of {ratio:.2f}"
    shortest = _shortest_distance(minimum, structure)
    if shortest < SHORTEST_DISTANCE:
        return f"two atoms are {shortest:.2f} angstrom apart"
    return ""


def _shortest_distance(minimum: Minimum, structure: Structure) -> float:
    """Distance of the closest pair, images included, angstrom; infinite beyond 1 angstrom."""
    from matscipy.neighbours import neighbour_list

    distances = neighbour_list("d", positions=minimum.positions, cell=minimum.cell,
                               pbc=structure.pbc, cutoff=1.0)
    return float(distances.min(initial=np.inf))


def _moved(structure: Structure, minimum: Minimum) -> Structure:
    return Structure(
        minimum.positions, structure.numbers, minimum.cell, structure.pbc,
        {key: structure.info[key] for key in KEPT_INFO if key in structure.info},
        {key: structure.arrays[key] for key in KEPT_ARRAYS if key in structure.arrays})


def _with_results(structure: Structure, found: Evaluation | None) -> Structure:
    if found is None or not found.finite:
        return structure
    return structure.with_info(energy=found.energy).with_arrays(forces=found.forces)


def _labelled(result: Relaxation, label: str) -> Structure:
    """The structure with its name, and with what went wrong, for the file."""
    named = result.structure.with_info(name=result.structure.info.get("name", label))
    return named.with_info(relaxation=result.message) if result.message else named


def _per_atom(found: Evaluation | None, structure: Structure) -> float:
    return found.energy / len(structure) if found else float("nan")
