"""Which atoms of a structure are meant.

    0-63,70                  by number, from 0
    element:C                by element
    below:z=8, above:z=8     by place, Cartesian, angstrom
"""

from __future__ import annotations

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.regions import HalfSpace, parse_plane

GRAMMAR = "0-63,70 (numbers from 0), element:C, below:z=8 or above:z=8"


def select(text: str, structure: Structure) -> np.ndarray:
    """Indices of the atoms meant by ``text``, rising, (n_selected,) int64.

    Raises
    ------
    InputError
        If the text is no selection, names an atom or an element that is not there, or means none.
    """
    kind, _, rest = text.partition(":")
    if kind == "element":
        found = np.flatnonzero(np.array(structure.symbols) == rest)
        held = f"the file holds {', '.join(sorted(set(structure.symbols)))}"
    elif kind in ("below", "above"):
        axis, value = parse_plane(text, rest)
        found = np.flatnonzero(HalfSpace(axis, value, kind == "below").inside(structure.positions))
        along = structure.positions[:, axis]
        held = f"its atoms lie from {along.min():.2f} to {along.max():.2f} along {'xyz'[axis]}"
    else:
        found, held = _by_number(text, len(structure)), ""
    if not len(found):
        raise InputError(f"a selection must mean at least one atom, received {text!r} and none: "
                         f"{held}")
    return found.astype(np.int64)


def _by_number(text: str, n_atoms: int) -> np.ndarray:
    chosen: set[int] = set()
    for word in text.split(","):
        first, dash, last = (part.strip() for part in word.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(f"a selection must be {GRAMMAR}, received {text!r}: write one of "
                             f"these")
        begin, end = int(first), int(last if dash else first)
        if not begin <= end < n_atoms:
            raise InputError(f"a selection must name atoms 0 to {n_atoms - 1}, received {word!r}: "
                             f"write ranges as 0-63, from the lower number to the higher")
        chosen.update(range(begin, end + 1))
    return np.array(sorted(chosen))
