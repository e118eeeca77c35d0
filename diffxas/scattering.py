"""How strongly elements scatter, from periodictable.

Neutrons: bound coherent scattering lengths (NIST's table). X-rays: f0(Q) of D. Waasmaier, A.
Kirfel, Acta Cryst. A51, 416 (1995), up to Q = 75 / angstrom; far from absorption edges.
"""

from __future__ import annotations

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure

WEIGHTINGS = ("atoms", "xray", "neutron")


def choose_weighting(said: str | None, system: Structure, label: str) -> str:
    """How elements weigh; one element needs no word.

    Raises
    ------
    InputError
        If there are several elements and nothing was said.
    """
    if said is not None:
        return said
    present = list(dict.fromkeys(system.symbols))
    if len(present) > 1:
        raise InputError(f"{label} must say how elements weigh where there are several, received "
                         f"none for {', '.join(present)}: add @xray or @neutron, or @atoms for "
                         f"all alike")
    return "atoms"


def scattering_lengths(numbers: np.ndarray, weighting: str) -> np.ndarray:
    """b of elements, (n_elements,): 1, electrons, or fm (coherent, real part).

    Raises
    ------
    InputError
        If neutrons have no known length of an element.
    """
    if weighting == "atoms":
        return np.ones(len(numbers))
    if weighting == "xray":
        return np.asarray(numbers, dtype=float)
    from periodictable import elements

    found = []
    for z in numbers:
        length = elements[int(z)].neutron.b_c
        if length is None:
            raise InputError(f"elements must have a known neutron scattering length, received "
                             f"{elements[int(z)].symbol}: ask for @xray")
        found.append(float(length))
    return np.array(found)


def form_factors(numbers: np.ndarray, q: np.ndarray, weighting: str) -> np.ndarray:
    """f of elements at wave numbers (1/angstrom), (n_elements, n_q)."""
    if weighting != "xray":
        return np.repeat(scattering_lengths(numbers, weighting)[:, None], len(q), axis=1)
    from periodictable import elements

    return np.array([elements[int(z)].xray.f0(q) for z in numbers])
