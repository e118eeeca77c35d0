"""What a LAMMPS data file says beyond the atoms: the order of its atom types, and charges."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from diffxas.errors import InputError
from diffxas.lammps_library import lammps_box
from diffxas.structure import Structure

if TYPE_CHECKING:
    from ase import Atoms

NEUTRAL = 1e-6
"""Charge per atom (e) below which a cell counts as neutral."""


def parse_type_order(text: str) -> tuple[str, ...]:
    """Chemical symbols of a comma list such as ``Si,O``.

    Raises
    ------
    InputError
        If one is no element, or comes twice.
    """
    order = tuple(word.strip() for word in text.split(","))
    _check_symbols(order, f"--type-order must be a comma list of elements, received {text!r}: "
                          f"write it as --type-order Si,O")
    return order


def parse_charges(text: str) -> dict[str, float]:
    """Charges (e) of elements, from text such as ``Si=2.4,O=-1.2``.

    Raises
    ------
    InputError
        If it is written otherwise, or an element comes twice.
    """
    bad = (f"--charges must be ELEMENT=CHARGE joined by commas, received {text!r}: write it as "
           f"--charges Si=2.4,O=-1.2")
    words = [word.partition("=") for word in text.split(",")]
    symbols = [symbol.strip() for symbol, _, _ in words]
    _check_symbols(symbols, bad)
    try:
        charges = [float(number) for _, _, number in words]
    except ValueError as error:
        raise InputError(bad) from error
    if not np.isfinite(charges).all():
        raise InputError(bad)
    return dict(zip(symbols, charges, strict=True))


def _check_symbols(symbols: Sequence[str], bad: str) -> None:
    from ase.data import chemical_symbols

    if len(set(symbols)) != len(symbols) or not set(symbols) <= set(chemical_symbols[1:]):
        raise InputError(bad)


def checked_type_order(present: Collection[str], order: Sequence[str] | None) -> list[str]:
    """The elements in the order of their atom types; alphabetical if None.

    Raises
    ------
    InputError
        If one that is present is missing, or comes twice.
    """
    symbols = sorted(set(present))
    chosen = list(order) if order is not None else symbols
    if not set(symbols) <= set(chosen) or len(set(chosen)) != len(chosen):
        raise InputError(f"the order of types must name each of {', '.join(symbols)} once, "
                         f"received {' '.join(chosen)}: correct --type-order")
    return chosen


def check_charges(present: Collection[str], charges: Mapping[str, float]) -> None:
    """Refuse charges that leave out an element.

    Raises
    ------
    InputError
        If they do.
    """
    missing = sorted(set(present) - set(charges))
    if missing:
        given = ",".join(f"{symbol}={charge:g}" for symbol, charge in charges.items())
        raise InputError(f"charges must be given for each of {', '.join(sorted(set(present)))}, "
                         f"received {given} without {', '.join(missing)}: add "
                         f"{','.join(f'{symbol}=CHARGE' for symbol in missing)} to --charges")


def check_lammps_options(symbols: Sequence[str], type_order: Sequence[str] | None,
                         charges: Mapping[str, float] | None, written: bool, remedy: str) -> None:
    """Refuse what LAMMPS files cannot say, before long work.

    Parameters
    ----------
    symbols : of the structures' atoms
    written : whether a LAMMPS file is asked for at all; if not, ``remedy`` says how to

    Raises
    ------
    InputError
        If an option is given without such files, or leaves out an element.
    """
    for name, value in (("type-order", type_order), ("charges", charges)):
        if value is not None and not written:
            raise InputError(f"--{name} must go with LAMMPS data files, received it without them: "
                             f"{remedy}, or leave it out")
    checked_type_order(symbols, type_order)
    if charges is not None:
        check_charges(symbols, charges)


def total_charge(symbols: Sequence[str], charges: Mapping[str, float]) -> float:
    """Of a whole cell, e; zero where rounding alone is left."""
    total = sum(charges[symbol] for symbol in symbols)
    return float(total) if abs(total) > NEUTRAL * len(symbols) else 0.0


def charge_note(symbols: Sequence[str], charges: Mapping[str, float] | None) -> str:
    """One line about a cell that is not neutral; empty where it is, or has no charges."""
    total = total_charge(symbols, charges) if charges else 0.0
    if not total:
        return ""
    return (f"The charges add up to {total:+g} e a cell: LAMMPS' long-range solvers want a neutral "
            f"one (--charges).")


def lammps_atoms(structure: Structure, charges: Mapping[str, float] | None = None) -> Atoms:
    """The same crystal in LAMMPS' frame, for ASE's writer, whose own rotation is then none.

    Raises
    ------
    InputError
        If the structure is not periodic in three directions, or an element has no charge.
    """
    from ase import Atoms

    if not structure.pbc.all():
        raise InputError("a structure in a LAMMPS data file must be periodic along all three cell "
                         f"vectors, received pbc {structure.pbc.tolist()}: set pbc=\"T T T\"")
    box = lammps_box(structure.cell)
    atoms = Atoms(numbers=structure.numbers, positions=box.wrap(structure.positions),
                  cell=box.matrix, pbc=True)
    if charges is not None:
        check_charges(structure.symbols, charges)
        atoms.set_initial_charges([charges[symbol] for symbol in structure.symbols])
    return atoms
