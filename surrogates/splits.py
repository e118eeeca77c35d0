"""Which structures share a bond network, and splits that do not cut through one.

Cells of one network (a parent and its descendants, snapshots of one run, strained copies of one
crystal) are near-copies, and sites of one cell share neighbours: a split over sites or cells tests
memory. What is held out are whole networks.

A structure's network is the end of its chain of ``info["parent"]``. Without a parent it joins an
earlier structure of the same composition and size of which it is a copy: either its scaled
positions differ by less than 1.5 angstrom and a tenth of the cell, rms, once the common drift is
taken out, or half of its environments, four bonds far, stand there too (atoms in another order).
Measured: among the 352 cells of 216 carbon atoms in ``a-C-NEP`` (networks, snapshots, descendants
at other densities) any two of one network lie within 1.3 angstrom and no other two within 3; the
re-indexed DFT snapshots of one network share 64 % of their environments or more, two networks at
most 23 %. With their names taken away, all 990 pairs of one network are found, and no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from diffxas.analysis import environment_hashes
from diffxas.errors import InputError
from diffxas.structure import Structure

COPY, OF_CELL = 1.5, 0.1
"""angstrom rms, and at most this share of the cubic root of the cell's volume."""
SHARED, DEPTH = 0.5, 4
"""Share of the environments, and how many bonds far they reach."""
TRAINING, HELD_OUT = 0, 1


def networks(named: Sequence[tuple[str, Structure]]) -> dict[str, str]:
    """Name of every structure -> name of its network.

    Parameters
    ----------
    named : name and structure, names unlike
    """
    parents = {name: str(s.info["parent"]) for name, s in named if "parent" in s.info}
    firsts: dict[str, list[tuple[str, Structure]]] = {}
    marks: dict[str, Counter[str]] = {}
    found: dict[str, str] = {}
    for name, structure in named:
        if name in parents:
            continue
        alike = firsts.setdefault(structure.formula, [])
        twin = next((n for n, other in alike if displaced(structure, other)), None)
        if twin is None and alike and structure.pbc.all():
            for one, it in (*alike, (name, structure)):
                if one not in marks:
                    marks[one] = Counter(environment_hashes(it, DEPTH))
            twin = next((n for n, other in alike if other.pbc.all() and
                         shared(marks[name], marks[n]) > SHARED), None)
        found[name] = twin or name
        if twin is None:
            alike.append((name, structure))
    for name in parents:
        root, seen = name, {name}
        while root in parents and parents[root] not in seen:
            root = parents[root]
            seen.add(root)
        found[name] = found.get(root, root)
    return {name: found[name] for name, _ in named}


def shared(one: Counter[str], other: Counter[str]) -> float:
    """Share of the environments of the first that the second holds too."""
    return (one & other).total() / one.total()


def displaced(one: Structure, other: Structure) -> bool:
    """Whether two structures hold the same atoms in the same order at nearly the same places."""
    if len(one) != len(other) or not np.array_equal(one.numbers, other.numbers):
        return False
    if not (one.pbc.all() and other.pbc.all()):
        return False
    scaled = [np.linalg.solve(s.cell.T, s.positions.T).T for s in (one, other)]
    difference = scaled[0] - scaled[1]
    drift = difference[0]  # images are taken about one atom, lest the mean mix images
    difference = difference - drift - np.round(difference - drift)
    difference -= difference.mean(0)
    difference -= np.round(difference)
    moved = float(np.sqrt(np.mean(np.sum((difference @ one.cell) ** 2, axis=1))))
    return moved < min(COPY, OF_CELL * one.volume ** (1 / 3))


def draw_networks(parents: Sequence[str], share: float, seed: int) -> set[str]:
    """Networks to hold out: about ``share`` of them, at least one, never all; by seed.

    Raises
    ------
    InputError
        If the share is not between 0 and 1, or there are fewer than two networks.
    """
    names = sorted(set(parents))
    check_share(share)
    if len(names) < 2:
        raise InputError(f"two networks or more must be there to hold one out, received "
                         f"{', '.join(names)}: collect more materials, or leave --held-out away")
    number = min(max(1, round(share * len(names))), len(names) - 1)
    order = np.random.default_rng(seed).permutation(len(names))
    return {names[k] for k in order[:number]}


def check_share(share: float) -> None:
    """Refuse a share of the networks that is none.

    Raises
    ------
    InputError
        If it is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise InputError(f"--held-out must be a share between 0 and 1 or a file of names, "
                         f"received {share:g}: give, for instance, 0.2")


def hold_out(rows: Sequence[tuple[str, str]], names: set[str], *,
             allow_leak: bool = False) -> np.ndarray:
    """0 for training and 1 for held-out rows, (n_rows,) int8.

    Parameters
    ----------
    rows : structure and network of each row (site)
    names : structures or networks to hold out; a network stands for all its structures

    Raises
    ------
    InputError
        If a name is none of the rows', everything would be held out, or a network would stand on
        both sides.
    """
    known = {name for row in rows for name in row}
    unknown = sorted(names - known)
    if unknown:
        raise InputError(f"held-out names must be structures or networks of the data, received "
                         f"{unknown[0]!r}: known are {', '.join(sorted(known)[:6])}, ...")
    part = np.array([HELD_OUT if names & set(row) else TRAINING for row in rows], dtype=np.int8)
    if part.all():
        raise InputError("something must be left to train on, received a split that holds out "
                         "everything: name fewer")
    check_split([network for _, network in rows], part, allow_leak=allow_leak)
    return part


def check_split(parents: Sequence[str], part: Sequence[int] | np.ndarray, *,
                allow_leak: bool = False) -> None:
    """Refuse a split that cuts through a network; negative parts take no side.

    Raises
    ------
    InputError
        If rows of one network stand on both sides and ``allow_leak`` does not permit it.
    """
    if allow_leak:
        return
    sides: dict[str, set[int]] = {}
    for parent, side in zip(parents, part, strict=True):
        if side >= 0:
            sides.setdefault(parent, set()).add(int(side))
    torn = sorted(parent for parent, found in sides.items() if len(found) > 1)
    if torn:
        more = f" and {len(torn) - 1} more" if len(torn) > 1 else ""
        raise InputError(f"a split must keep each material, or network with its descendants, on "
                         f"one side, received {torn[0]}{more} on both, which tests memory: hold "
                         f"out whole networks, or allow it (--allow-leak, allow_leak = true)")
