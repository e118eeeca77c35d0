"""Absorption edges: where an element's K and L edges are tabulated, and where data rise.

Energies in eV of Li to U (Z 3 to 92) from W. T. Elam, B. D. Ravel and J. R. Sieber, "A new atomic
database for X-ray spectroscopic calculations", Radiation Physics and Chemistry 63, 121 (2002), as
given by the XrayDB library 4.5.8 (M. Newville; MIT licence). Edges under 50 eV are left out. The
values are those of the pure elements; a compound or a monochromator may move an edge by several eV.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from diffxas.errors import InputError

_COLUMNS = ("K", "L1", "L2", "L3")
_TABLE = """
Li 54.7 - - - | Be 111.5 - - - | B 188 - - - | C 284.2 - - - | N 409.9 - - - | O 543.1 - - -
F 696.7 - - - | Ne 870.2 - - - | Na 1070.8 63.5 - - | Mg 1303 88.6 - - | Al 1559 117.8 72.9 72.5
Si 1839 149.7 99.8 99.2 | P 2145.5 189 136 135 | S 2472 230.9 163.6 162.5 | Cl 2822 270 202 200
Ar 3205.9 326.3 250.6 248.4 | K 3608.4 378.6 297.3 294.6 | Ca 4038.5 438.4 349.7 346.2
Sc 4492 498 403.6 398.7 | Ti 4966 560.9 460.2 453.8 | V 5465 626.7 519.8 512.1
Cr 5989 696 583.8 574.1 | Mn 6539 769.1 649.9 638.7 | Fe 7112 844.6 719.9 706.8
Co 7709 925.1 793.2 778.1 | Ni 8333 1008.6 870 852.7 | Cu 8979 1096.7 952.3 932.7
Zn 9659 1196.2 1044.9 1021.8 | Ga 10367 1299 1143.2 1116.4 | Ge 11103 1414.6 1248.1 1217
As 11867 1527 1359.1 1323.6 | Se 12658 1652 1474.3 1433.9 | Br 13474 1782 1596 1550
Kr 14326 1921 1730.9 1678.4 | Rb 15200 2065 1864 1804 | Sr 16105 2216 2007 1940
Y 17038 2373 2156 2080 | Zr 17998 2532 2307 2223 | Nb 18986 2698 2465 2371
Mo 20000 2866 2625 2520 | Tc 21044 3043 2793 2677 | Ru 22117 3224 2967 2838
Rh 23220 3412 3146 3004 | Pd 24350 3604 3330 3173 | Ag 25514 3806 3524 3351
Cd 26711 4018 3727 3538 | In 27940 4238 3938 3730 | Sn 29200 4465 4156 3929
Sb 30491 4698 4380 4132 | Te 31814 4939 4612 4341 | I 33169 5188 4852 4557
Xe 34561 5453 5107 4786 | Cs 35985 5714 5359 5012 | Ba 37441 5989 5624 5247
La 38925 6266 5891 5483 | Ce 40443 6548 6164 5723 | Pr 41991 6835 6440 5964
Nd 43569 7126 6722 6208 | Pm 45184 7428 7013 6459 | Sm 46834 7737 7312 6716
Eu 48519 8052 7617 6977 | Gd 50239 8376 7930 7243 | Tb 51996 8708 8252 7514
Dy 53789 9046 8581 7790 | Ho 55618 9394 8918 8071 | Er 57486 9751 9264 8358
Tm 59390 10116 9617 8648 | Yb 61332 10486 9978 8944 | Lu 63314 10870 10349 9244
Hf 65351 11271 10739 9561 | Ta 67416 11682 11136 9881 | W 69525 12100 11544 10207
Re 71676 12527 11959 10535 | Os 73871 12968 12385 10871 | Ir 76111 13419 12824 11215
Pt 78395 13880 13273 11564 | Au 80725 14353 13734 11919 | Hg 83102 14839 14209 12284
Tl 85530 15347 14698 12658 | Pb 88005 15861 15200 13035 | Bi 90526 16388 15711 13419
Po 93105 16939 16244 13814 | At 95730 17493 16785 14214 | Rn 98404 18049 17337 14619
Fr 101137 18639 17907 15031 | Ra 103922 19237 18484 15444 | Ac 106755 19840 19083 15871
Th 109651 20472 19693 16300 | Pa 112601 21105 20314 16733 | U 115606 21757 20948 17166
"""


@cache
def _edges() -> dict[tuple[str, str], float]:
    cells = (cell.split() for cell in _TABLE.replace("|", "\n").strip().splitlines())
    return {(symbol, name): float(value) for symbol, *values in cells
            for name, value in zip(_COLUMNS, values, strict=True) if value != "-"}


def edge_energy(element: str, edge: str) -> float:
    """Energy of an edge of the pure element, eV; ``L2,3`` and ``L23`` mean L3.

    Raises
    ------
    InputError
        If the table has no such edge.
    """
    name = "L3" if edge in ("L2,3", "L23") else edge
    try:
        return _edges()[element, name]
    except KeyError:
        known = [f"{element}:{n}" for n in _COLUMNS if (element, n) in _edges()]
        remedy = f"known are {', '.join(known)}" if known else "elements Li to U are known"
        raise InputError(f"an edge must be a tabulated one above 50 eV, received "
                         f"{element}:{edge}: {remedy}") from None


def nearest_edge(element: str, energy: float) -> str:
    """The tabulated edge of an element that is nearest to an energy (eV).

    Raises
    ------
    InputError
        If none of the element's edges is tabulated.
    """
    edge_energy(element, "K")  # refuses what is not in the table
    known = [name for name in _COLUMNS if (element, name) in _edges()]
    return min(known, key=lambda name: abs(edge_energy(element, name) - energy))


def search_range(nominal_edge: float) -> tuple[float, float]:
    """Where an edge tabulated at ``nominal_edge`` may be measured, eV.

    Compounds shift upwards (carbon's sigma* edge lies 5 to 10 eV above the pure element's value)
    and monochromators are off by a share of the energy; C K: 279 to 296 eV.
    """
    return nominal_edge * (1 - 0.002) - 5.0, nominal_edge * (1 + 0.003) + 11.0


def find_e0(energy: np.ndarray, mu: np.ndarray, nominal_edge: float | None = None) -> float:
    """Energy of the steepest rise, eV.

    At each point a line is fitted with Gaussian weights of width max(0.3 eV, 5e-5 E, 1.5 times the
    local spacing); for independent errors this is the least noisy estimate of a slope.
    """
    inside = np.ones(len(energy), dtype=bool)
    inside[[0, -1]] = False
    if nominal_edge is not None:
        low, high = search_range(nominal_edge)
        inside &= (energy >= low) & (energy <= high)
    if inside.sum() < 3:
        raise InputError(f"3 points or more must lie near the edge at {nominal_edge:g} eV, "
                         f"received {int(inside.sum())}: choose another --edge or other data")
    slopes = local_slopes(energy, mu, np.flatnonzero(inside))
    return float(energy[inside][int(np.argmax(slopes))])


def point_noise(mu: np.ndarray) -> float:
    """Standard deviation of a point, from the median of second differences.

    White noise of variance s^2 has second differences of variance 6 s^2; the median ignores the
    few points where the spectrum itself curves.
    """
    return float(np.median(np.abs(np.diff(mu, 2))) / 0.6745 / np.sqrt(6.0))


def local_slopes(energy: np.ndarray, mu: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Slopes ``(len(points),)`` of weighted linear fits around the points with those indices."""
    spacing = (energy[points + 1] - energy[points - 1]) / 2
    width = np.maximum(np.maximum(0.3, 5e-5 * energy[points]), 1.5 * spacing)
    slopes = np.empty(len(points))
    for k, (i, h) in enumerate(zip(points, width, strict=True)):
        first, last = np.searchsorted(energy, (energy[i] - 4 * h, energy[i] + 4 * h))
        x, y = energy[first:last] - energy[i], mu[first:last]
        weight = np.exp(-0.5 * (x / h) ** 2)
        x = x - (weight * x).sum() / weight.sum()
        slopes[k] = (weight * x * y).sum() / (weight * x * x).sum()
    return slopes
