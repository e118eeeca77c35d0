r"""A pair distribution as a guide: g(r), or G(r) = 4 pi rho r (g(r) - 1).

With w_ab = b_a b_b / <b>^2 and b the scattering length of an element (its number of electrons for
X-rays, 1 where all atoms count alike),

    g(r) = 1/N sum_i sum_b w_ab n_ib(r) / (4 pi r^2 rho dr),

n_ib the pairs of :mod:`samplers.guides.pairs` (D. A. Keen, A comparison of various commonly used
correlation functions for describing total scattering, J. Appl. Cryst. 34, 172 (2001), equations 8,
10 and 42). Asked and observed curves are brought to one resolution: both are convolved with a
Gaussian of standard deviation SMOOTHING (or the file's spacing, if that is larger); points of a
file are taken as means over their spacing (a histogram), and a measured G(r) that was transformed
from Q up to QMAX is matched by

    G_Q(r) = int G(r') [sin(QMAX (r - r')) / (r - r') - sin(QMAX (r + r')) / (r + r')] dr' / pi,

of the observed (``@qmax=QMAX``; B. H. Toby, T. Egami, Acta Cryst. A48, 336 (1992), equation 11).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.guides.curve_files import Curve, read_curve, smoothed
from samplers.guides.pairs import (
    SHARE_OF_CELL,
    SPACING,
    PairGuide,
    PairMap,
    elements_of,
    fine_grid,
    shortest_height,
)

if TYPE_CHECKING:
    from samplers.setup import GenerateOptions

FORM = "pdf:FILE[@g|@G][@atoms|@xray|@neutron][@qmax=QMAX]"
R_MIN, R_MAX = 0.8, 8.0
"""Angstrom: curves are compared between these, or where the file and the cell end before."""
STEP = 0.05
"""Angstrom, between the points that are compared."""
SMOOTHING = 0.05
"""Angstrom, standard deviation."""
NOISE = 0.02
"""Standard deviation of an asked g(r) that states none, times sqrt(max(1, g))."""
TENDS = 0.25
"""g(r) tends to 1 and G(r) to 0: the mean over the outer half may differ by this much."""


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked, for any system.

    Attributes
    ----------
    curve : of the file
    form : "g" or "G"
    weighting : "atoms", "xray" or "neutron"
    qmax : 1/angstrom, None where the curve is not cut in Q
    """

    curve: Curve
    form: str
    weighting: str
    qmax: float | None = None


class PairDistributionGuide(PairGuide):
    """Log-likelihood of an asked g(r) or G(r); see the module's docstring.

    Parameters
    ----------
    grid : (n_values,), angstrom, where curves are compared; by default as far as the cell allows
    """

    def __init__(self, request: Request, system: Structure, label: str = "pdf",
                 grid: np.ndarray | None = None) -> None:
        self.request = request
        curve = request.curve
        width = max(SMOOTHING, curve.spacing)
        grid = grid_of(curve, system, width) if grid is None else grid
        asked = smoothed(curve, grid, width)
        density = len(system) / system.volume
        scale = np.ones(len(grid)) if request.form == "g" else 4 * np.pi * density * grid
        g = asked if request.form == "g" else 1 + asked / scale
        deviation = NOISE * np.sqrt(np.maximum(1.0, g)) * scale
        if curve.deviation is not None:
            deviation = smoothed(replace(curve, y=curve.deviation), grid, width)
        super().__init__(system, label, grid, asked, deviation, width,
                         pair_map(request, system, grid, width), curve.path)

    @property
    def quantity(self) -> str:
        """``g(r)`` or ``G(r)``."""
        return f"{self.request.form}(r)"

    def at(self, system: Structure) -> PairDistributionGuide:
        """See :class:`samplers.guides.base.Guide`; on the same points, so that values compare."""
        return PairDistributionGuide(self.request, system, self.label, self.grid)

    @property
    def degrees(self) -> int:
        """Points that the smoothing leaves independent."""
        return max(1, int((self.grid[-1] - self.grid[0]) / (np.sqrt(2 * np.pi) * self.correlation)))

    def g(self, values: np.ndarray) -> np.ndarray:
        """g(r) of a curve (n_values,)."""
        if self.request.form == "g":
            return values
        density = len(self.system) / self.system.volume
        return np.asarray(1 + values / (4 * np.pi * density * self.grid))

    def counted(self, values: np.ndarray) -> dict[str, float]:
        """First maximum (angstrom), and neighbours up to the asked first minimum behind it."""
        asked, found, r = self.g(self.asked_values), self.g(values), self.grid
        top = first_maximum(asked)
        falling = asked[top:]
        rises = np.flatnonzero(np.diff(falling) > 0)
        end = top + (int(rises[0]) if len(rises) else len(falling) - 1)
        density = len(self.system) / self.system.volume
        shell = 4 * np.pi * density * r[:end + 1] ** 2 * found[:end + 1]
        return {"first_maximum": float(r[first_maximum(found)]),
                "neighbours": float(np.trapezoid(shell, r[:end + 1]))}


def first_maximum(g: np.ndarray) -> int:
    """Index of the first maximum that rises above half of the highest."""
    inner = (g[1:-1] >= g[:-2]) & (g[1:-1] > g[2:]) & (g[1:-1] > g.max() / 2)
    return int(np.argmax(inner)) + 1 if inner.any() else int(np.argmax(g))


def grid_of(curve: Curve, system: Structure, width: float) -> np.ndarray:
    """Where a curve and a structure of the system are compared, (n_values,), angstrom.

    Raises
    ------
    InputError
        If less than 1 angstrom is left.
    """
    reach = SHARE_OF_CELL * shortest_height(system)
    low = max(R_MIN, curve.x[0])
    high = min(R_MAX, curve.x[-1] - 2 * width, reach)
    if high - low < 1:
        raise InputError(f"the range of r must overlap {R_MIN:g} to {min(R_MAX, reach):.2f} "
                         f"angstrom ({SHARE_OF_CELL:g} of the cell's shortest height) by 1 "
                         f"angstrom at least, received {curve.x[0]:g} to {curve.x[-1]:g} in "
                         f"{curve.path}: choose a larger cell, or give r in angstrom")
    return np.asarray(low + STEP * np.arange(int((high - low) / STEP + 1e-9) + 1))


def pair_map(request: Request, system: Structure, grid: np.ndarray, width: float) -> PairMap:
    """From pairs to g(r) or G(r) on the grid, at the resolution of what is asked."""
    from diffxas.scattering import scattering_lengths

    numbers, index = elements_of(system)
    density = len(system) / system.volume
    ripple = 0.0 if request.qmax is None else 8 * np.pi / request.qmax
    cutoff = grid[-1] + 5 * width + ripple
    r = fine_grid(cutoff)
    variance = width**2 + request.curve.spacing**2 / 12 - SPACING**2 / 3
    broad = np.exp(-0.5 * (grid[:, None] - r) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
    if request.qmax is not None:
        broad = broad @ termination(r, request.qmax) * SPACING
    # In r (g - 1): what counts from pairs is 1 / (4 pi rho r), less the uniform r.
    inverse = 1 / (4 * np.pi * density * np.maximum(r, R_MIN / 4))
    if request.form == "G" or request.qmax is not None:
        rows, uniform = broad * inverse, -broad @ np.where(r < cutoff, r, 0) * SPACING
        if request.qmax is None:
            uniform = -grid
        if request.form == "G":
            rows, uniform = 4 * np.pi * density * rows, 4 * np.pi * density * uniform
        else:
            rows, uniform = rows / grid[:, None], 1 + uniform / grid
    else:
        rows, uniform = broad * inverse / np.maximum(r, R_MIN / 4), np.zeros(len(grid))
    lengths = scattering_lengths(numbers, request.weighting)
    mean = lengths[index].mean()
    weights = lengths[:, None] * lengths / mean**2
    return PairMap(weights[:, :, None, None] * rows.T, uniform, float(cutoff))


def termination(r: np.ndarray, qmax: float) -> np.ndarray:
    """The kernel of G_Q in the module's docstring, (n, n), 1/angstrom."""
    def part(distance: np.ndarray) -> np.ndarray:
        return np.asarray(qmax / np.pi * np.sinc(qmax * distance / np.pi))

    return part(r[:, None] - r) - part(r[:, None] + r)


def form_of(curve: Curve, said: str | None) -> str:
    """Whether a curve is "g" or "G".

    Raises
    ------
    InputError
        If it is neither, or not what was said.
    """
    outer = curve.x >= 0.5 * (curve.x[0] + curve.x[-1])
    level = float(np.average(curve.y[outer], weights=np.gradient(curve.x)[outer]))
    named = curve.name.split("(")[0].split("_")[0].strip()
    said = said or (named if named in ("g", "G") else None)
    found = "g" if abs(level - 1) < TENDS else "G" if abs(level) < TENDS else None
    if found == "g" and curve.y.min() < -1:
        found = None
    if found is None or (said is not None and said != found):
        called = "g(r) or G(r)" if said is None else f"{said}(r)"
        raise InputError(f"{curve.path} must hold {called}, g(r) tending to 1 or G(r) = 4 pi rho r "
                         f"(g - 1) to 0, received a curve with mean {level:.3g} over the outer "
                         f"half of its range and minimum {curve.y.min():.3g}: convert it, or say "
                         f"@g or @G")
    return found


def from_text(rest: str, system: Structure, options: GenerateOptions) -> PairDistributionGuide:
    """``FILE[@g|@G][@atoms|@xray|@neutron][@qmax=QMAX]``.

    Raises
    ------
    InputError
        If the file or a suffix cannot be used.
    """
    from diffxas.scattering import choose_weighting

    name, *suffixes = rest.split("@")
    form, weighting, qmax = None, None, None
    for suffix in suffixes:
        if suffix in ("g", "G"):
            form = suffix
        elif suffix in ("atoms", "xray", "neutron"):
            weighting = suffix
        elif suffix.startswith("qmax="):
            qmax = positive(suffix[5:], f"qmax of pdf:{rest}", "1/angstrom")
        else:
            raise InputError(f"pdf must be written {FORM}, received @{suffix}: correct it")
    chosen = choose_weighting(weighting, system, f"pdf:{rest}")
    columns = [f"g_{chosen}"] if chosen != "atoms" else []
    curve = read_curve(Path(name), "r in angstrom", [*columns, "g", "G"])
    return PairDistributionGuide(Request(curve, form_of(curve, form), chosen, qmax), system,
                                 f"pdf:{rest}")


def positive(text: str, what: str, unit: str) -> float:
    """A number above zero.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < np.inf:
        raise InputError(f"{what} must be a number above 0 ({unit}), received {text!r}: "
                         f"correct it")
    return value
