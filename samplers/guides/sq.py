r"""A total structure factor S(Q) as a guide, for X-rays and neutrons.

In the normalisation of Faber and Ziman, with f the form factors (neutrons: scattering lengths) and
<> the mean over atoms,

    S(Q) - 1 = (I(Q) / N - <f^2>) / <f>^2
             = 1/N sum_i sum_b f_a f_b / <f>^2 sum_(j of b) W(r_ij) sin(Q r_ij) / (Q r_ij)
               - 4 pi rho int r^2 W(r) sin(Q r) / (Q r) dr,

Debye's sum over pairs without the uniform part (D. A. Keen, J. Appl. Cryst. 34, 172 (2001),
equations 19, 20 and 45), windowed with W(r) = sin(pi r / R) / (pi r / R) up to R (E. Lorch, J.
Phys. C 2, 229 (1969)). It is a mean over atoms, of a cost that grows with their number, and smooth.
The exact sum over wave vectors of the cell has none of the three: each vector scatters about S(Q)
by S(Q) itself, and other cells allow others. The price is resolution: W is a convolution in Q of
half width 2.8 / R. An asked S(Q) is therefore convolved alike, Q (S - 1) being odd in Q:

    Q (S_W - 1)(Q) = 1/pi int_0^inf Q' (S - 1)(Q') [w(Q - Q') - w(Q + Q')] dQ',
    w(k) = int_0^R W(r) cos(k r) dr,

and what a file leaves out beyond its ends (S(Q) constant below, 1 above) spoils REACH / R there,
which is not compared. The weights of X-rays change too slowly with Q to be told from that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.guides.curve_files import Curve, read_curve
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

FORM = "sq:FILE@xray|neutron"
Q_MIN, Q_MAX = 0.5, 20.0
"""1/angstrom: curves are compared between these, or where the file ends before."""
R_MAX = 8.0
"""R, angstrom, or SHARE_OF_CELL of the cell's shortest height if that is less."""
STEP = 0.1
"""1/angstrom, between the points that are compared."""
REACH = 2 * np.pi
"""Share of 1 / R at an end of the file that is not compared."""
NOISE = 0.02
"""Standard deviation of an asked S(Q) that states none, times max(1, S)."""
TENDS = 0.2
"""S(Q) tends to 1: the mean over the outer third may differ by this much."""


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked, for any system: the curve of a file, and "atoms", "xray" or "neutron"."""

    curve: Curve
    weighting: str


class StructureFactorGuide(PairGuide):
    """Log-likelihood of an asked S(Q); see the module's docstring.

    Parameters
    ----------
    cutoff : R, angstrom; by default as far as the cell allows
    """

    def __init__(self, request: Request, system: Structure, label: str = "sq",
                 cutoff: float | None = None) -> None:
        self.request = request
        curve = request.curve
        cutoff = cutoff or min(R_MAX, SHARE_OF_CELL * shortest_height(system))
        grid = grid_of(curve, cutoff)
        asked = windowed(curve, grid, cutoff)
        deviation = NOISE * np.maximum(1.0, asked)
        if curve.deviation is not None:
            deviation = np.interp(grid, curve.x, curve.deviation)
        super().__init__(system, label, grid, asked, deviation, 2.8 / cutoff,
                         pair_map(request.weighting, system, grid, cutoff), curve.path)

    @property
    def quantity(self) -> str:
        """``S(Q)``."""
        return "S(Q)"

    def at(self, system: Structure) -> StructureFactorGuide:
        """See :class:`samplers.guides.base.Guide`; at the same R, so that values compare."""
        return StructureFactorGuide(self.request, system, self.label, self.pair_map.cutoff)

    @property
    def degrees(self) -> int:
        """Independent values of a curve of this resolution."""
        return max(1, int((self.grid[-1] - self.grid[0]) * self.pair_map.cutoff / np.pi))

    def counted(self, values: np.ndarray) -> dict[str, float]:
        """Place (1/angstrom) and height of the highest maximum."""
        top = int(np.argmax(values))
        return {"highest_maximum": float(self.grid[top]), "height": float(values[top])}


def window(r: np.ndarray, cutoff: float) -> np.ndarray:
    """W(r) of the module's docstring."""
    return np.where(r < cutoff, np.sinc(r / cutoff), 0.0)


def grid_of(curve: Curve, cutoff: float) -> np.ndarray:
    """Where a curve and a structure are compared, (n_values,), 1/angstrom.

    Raises
    ------
    InputError
        If less than 1 / angstrom is left, or the file's points are too far apart.
    """
    low, high = max(Q_MIN, curve.x[0]), min(Q_MAX, curve.x[-1] - REACH / cutoff)
    if low > REACH / cutoff:  # what is missing below counts little next to Q = 0
        low += REACH / cutoff
    if high - low < 1:
        raise InputError(f"the range of Q must overlap {Q_MIN:g} to {Q_MAX:g} / angstrom by 1 / "
                         f"angstrom more than the {REACH / cutoff:.2f} that a cell of this size "
                         f"blurs at either end, received {curve.x[0]:g} to {curve.x[-1]:g} in "
                         f"{curve.path}: choose a larger cell, or give Q in 1/angstrom")
    gap = float(np.diff(curve.x).max())
    if gap > np.pi / cutoff:
        raise InputError(f"points of S(Q) must be within {np.pi / cutoff:.2f} / angstrom of each "
                         f"other, received a gap of {gap:.2f} in {curve.path}: give more points")
    return np.asarray(low + STEP * np.arange(int((high - low) / STEP + 1e-9) + 1))


def windowed(curve: Curve, grid: np.ndarray, cutoff: float) -> np.ndarray:
    """S_W of the module's docstring, (n_values,)."""
    step = min(0.02, curve.spacing)
    q = step * (np.arange(int(curve.x[-1] / step)) + 0.5)
    odd = q * (np.interp(q, curve.x, curve.y) - 1)
    # Through real space: cos(Q - Q') r - cos(Q + Q') r is 2 sin Q r sin Q' r.
    r = SPACING * (np.arange(int(np.ceil(cutoff / SPACING))) + 0.5)
    real = window(r, cutoff) * (np.sin(r[:, None] * q) @ odd) * step
    return np.asarray(1 + 2 / np.pi * (np.sin(grid[:, None] * r) @ real) * SPACING / grid)


def pair_map(weighting: str, system: Structure, grid: np.ndarray, cutoff: float) -> PairMap:
    """From pairs to S(Q) on the grid."""
    from diffxas.scattering import form_factors

    numbers, index = elements_of(system)
    f = form_factors(numbers, grid, weighting)
    mean = f[index].mean(0)
    r = fine_grid(cutoff)
    wave = np.sinc(grid * r[:, None] / np.pi)
    # The spline by which distances are spread takes sinc^4 of every wave; at the window's end
    # it reaches over, so that the window itself is not cut there.
    spline = np.sinc(grid * SPACING / (2 * np.pi)) ** 4
    rows = np.sinc(r / cutoff)[:, None] * wave / spline
    weights = f[:, None] * f / mean**2
    fine = SPACING / 5 * (np.arange(5 * int(np.ceil(cutoff / SPACING))) + 0.5)
    part = 4 * np.pi * fine**2 * window(fine, cutoff) * SPACING / 5
    density = len(system) / system.volume
    uniform = 1 - density * part @ np.sinc(grid * fine[:, None] / np.pi)
    return PairMap(weights[:, :, None] * rows[None, None], uniform, cutoff)


def check_tends(curve: Curve) -> None:
    """Refuse what is not S(Q), such as intensities or Q (S - 1).

    Raises
    ------
    InputError
        If the curve does not tend to 1, or is far below 0.
    """
    outer = curve.x >= curve.x[0] + 2 / 3 * (curve.x[-1] - curve.x[0])
    level = float(np.average(curve.y[outer], weights=np.gradient(curve.x)[outer]))
    if abs(level - 1) > TENDS or curve.y.min() < -1:
        raise InputError(f"{curve.path} must hold S(Q), tending to 1 (Faber-Ziman), received a "
                         f"curve with mean {level:.3g} over the outer third of its range and "
                         f"minimum {curve.y.min():.3g}: convert it")


def from_text(rest: str, system: Structure, options: GenerateOptions) -> StructureFactorGuide:
    """``FILE@xray|neutron``; for one element the word may be left out.

    Raises
    ------
    InputError
        If the file or a suffix cannot be used.
    """
    from diffxas.scattering import WEIGHTINGS, choose_weighting

    name, *suffixes = rest.split("@")
    if len(suffixes) > 1 or not set(suffixes) <= set(WEIGHTINGS):
        raise InputError(f"sq must be written {FORM}, received {rest!r}: correct what stands "
                         f"behind the file")
    chosen = choose_weighting(suffixes[0] if suffixes else None, system, f"sq:{rest}")
    columns = [f"s_{chosen}", "s"] if chosen != "atoms" else ["s"]
    curve = read_curve(Path(name), "Q in 1/angstrom", columns)
    check_tends(curve)
    return StructureFactorGuide(Request(curve, chosen), system, f"sq:{rest}")
