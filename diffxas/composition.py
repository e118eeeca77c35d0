"""What a cell is made of: a formula for so many atoms, or counts.

``SiO2``            one part Si, two parts O; 216 atoms are 72 and 144
``Si0.9Ge0.1``      parts may be decimal numbers; ten atoms are the smallest cell
``Si:72,O:144``     counts, which say how many atoms there are
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction

from diffxas.errors import InputError

TERM = re.compile(r"([A-Z][a-z]?)(\d+(?:\.\d+)?|\.\d+)?")
EXAMPLES = "write a formula such as SiO2 or counts such as Si:72,O:144"


def parse_composition(text: str, atoms: int | None) -> dict[str, int]:
    """Atoms of each element, in the order of ``text``.

    Parameters
    ----------
    text : a formula or counts, see the module's text
    atoms : in the whole cell; None where counts say it

    Raises
    ------
    InputError
        If ``text`` is neither, names an unknown element, the formula does not divide ``atoms``
        (the two nearest numbers that it divides are named), the counts have another sum, or
        ``atoms`` is needed and missing.
    """
    text = "".join(text.split())
    if atoms is not None and atoms < 1:
        raise InputError(f"atoms must be 1 or more, received {atoms}: 216 is usual")
    if ":" in text:
        return _counts(text, atoms)
    unit = _unit(text)
    if atoms is None:
        raise InputError(f"a formula must go with a number of atoms, received {text!r} alone: "
                         f"give --atoms, or counts such as "
                         f"{','.join(f'{symbol}:{72 * n}' for symbol, n in unit.items())}")
    size = sum(unit.values())
    units, rest = divmod(atoms, size)
    if rest:
        nearest = [n * size for n in (units, units + 1) if n]
        raise InputError(f"atoms must be a multiple of {size} for {text}, received {atoms}: "
                         f"the nearest are {' and '.join(map(str, nearest))}")
    return {symbol: n * units for symbol, n in unit.items()}


def composition_elements(text: str) -> tuple[str, ...]:
    """The elements of a formula or of counts, in the order of ``text``.

    Raises
    ------
    InputError
        As :func:`parse_composition`, but for the number of atoms.
    """
    text = "".join(text.split())
    return tuple(_counts(text, None) if ":" in text else _unit(text))


def formula_unit(text: str) -> dict[str, int]:
    """The smallest whole numbers of a formula or of counts, in the order of ``text``.

    Raises
    ------
    InputError
        As :func:`composition_elements`.
    """
    text = "".join(text.split())
    unit = _counts(text, None) if ":" in text else _unit(text)
    divisor = math.gcd(*unit.values())
    return {symbol: n // divisor for symbol, n in unit.items()}


def composition_formula(counts: Mapping[str, int]) -> str:
    """The smallest formula of counts, such as ``SiO2`` for 72 Si and 144 O."""
    divisor = math.gcd(*counts.values())
    return "".join(symbol + (str(n // divisor) if n != divisor else "")
                   for symbol, n in counts.items())


def _counts(text: str, atoms: int | None) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in text.split(","):
        symbol, _, number = word.partition(":")
        if not re.fullmatch(r"\d{1,9}", number) or not int(number):
            raise InputError(f"counts must be ELEMENT:NUMBER joined by commas, received {text!r}: "
                             f"{EXAMPLES}")
        if symbol in found:
            raise InputError(f"counts must name each element once, received {symbol} twice in "
                             f"{text!r}: add them up")
        found[symbol] = int(number)
    _check_elements(found, text)
    total = sum(found.values())
    if atoms is not None and atoms != total:
        raise InputError(f"atoms must be the sum of the counts, {total} for {text}, received "
                         f"{atoms}: leave --atoms out, or give a formula")
    return found


def _unit(text: str) -> dict[str, int]:
    """The smallest whole numbers of a formula."""
    terms = TERM.findall(text)
    if not text or "".join(symbol + number for symbol, number in terms) != text:
        raise InputError(f"a composition must be a formula of elements and numbers, received "
                         f"{text!r}: {EXAMPLES}")
    parts: dict[str, Fraction] = {}
    for symbol, number in terms:
        parts[symbol] = parts.get(symbol, Fraction(0)) + Fraction(number or "1")
    _check_elements(parts, text)
    if not all(parts.values()):
        raise InputError(f"a composition must have some of each element, received {text!r}: "
                         f"leave out what is not there")
    scale = math.lcm(*(part.denominator for part in parts.values()))
    whole = {symbol: int(part * scale) for symbol, part in parts.items()}
    divisor = math.gcd(*whole.values())
    return {symbol: n // divisor for symbol, n in whole.items()}


def _check_elements(found: Mapping[str, object], text: str) -> None:
    from ase.data import chemical_symbols

    unknown = [symbol for symbol in found if symbol not in chemical_symbols[1:]]
    if unknown:
        raise InputError(f"a composition must name elements, received "
                         f"{', '.join(map(repr, unknown))} in {text!r}: {EXAMPLES}")
