r"""What a reference measured in the same beamtime fixes: energy axis and instrument's width.

``graphite:FILE`` or ``diamond:FILE``. The first mark of the material is a narrow peak whose energy
is known. A Voigt profile on a straight line (for diamond also a step) is fitted to it: a
Lorentzian of the mark's own full width (core hole and vibrations), a Gaussian of standard deviation
s, which is the instrument's, a position and an area. The offset of the position against the known
energy centres the prior of ``shift``, s that of ``resolution``:

    sd(shift)^2      = sd(position)^2 + POSITION^2 + MODEL_AXIS^2
    sd(resolution)^2 = sd(s)^2 + s_own^2 + THEORY^2

with s_own what s changes by when the mark's own width is wrong by its uncertainty. The second mark
checks the slope of the axis and is only reported; of diamond, whose exciton a poor instrument
blurs, it must be there.

- graphite: pi* 285.4 eV (J. Stöhr, NEXAFS Spectroscopy, Springer 1992; 285.38 eV in P. E. Batson,
  Phys. Rev. B 48, 2608 (1993)), sigma* exciton 291.65 eV (Batson; Y. Ma and others, Phys. Rev.
  Lett. 71, 3725 (1993)).
- diamond: core exciton 289.2 eV and the minimum at the second gap, 302.4 eV (J. F. Morar and
  others, Phys. Rev. Lett. 54, 1960 (1985); Ma and others).

The marks' own widths are rough, and stated with what that leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffxas.errors import InputError
from diffxas.spectrum import Spectrum
from surrogates.nuisances import NuisanceOptions

POSITION = 0.03
"""eV, by which published energies of a mark differ."""
MODEL_AXIS = 0.12
"""eV: the spectra that the surrogate learned from carry no axis; where it was put is known to half
a point of 0.4 eV, 0.4 / sqrt(12)."""
THEORY = 0.05
"""eV, of disorder that the theory lacks and the instrument has no part in."""
FURTHEST = 3.0
"""eV; an axis further off than this is taken for another spectrum."""
SEARCH = 6.0
"""eV about the mark in which it is looked for, so that a distant one can be named."""
SMOOTH = 0.06
"""eV, over which noise is smoothed in the search alone."""
STEP_BEHIND, STEP_WIDTH = 0.4, 0.25
"""eV, of diamond's absorption edge behind its core exciton."""
BLURRED = 0.3
"""eV; with a wider instrument the second mark moves with its surroundings and checks nothing."""


@dataclass(frozen=True)
class Mark:
    """A feature of known energy.

    Attributes
    ----------
    name, energy : eV
    own_width : eV, full width of its own, mean and uncertainty
    height, prominence : least of the peak, edge steps, above zero and above its surroundings
    region : eV about the peak that is fitted
    on_edge : whether the absorption steps up at the peak
    sign : -1 for a dip
    """

    name: str
    energy: float
    own_width: tuple[float, float] = (0.0, 0.0)
    height: float = 0.0
    prominence: float = 0.0
    region: float = 1.2
    on_edge: bool = False
    sign: int = 1


MARKS = {
    "graphite": (Mark("pi*", 285.4, (0.7, 0.2), 0.1, 0.1),
                 Mark("sigma* exciton", 291.65, (0.4, 0.1), 0.5, 0.03)),
    "diamond": (Mark("core exciton", 289.2, (0.2, 0.05), 0.3, 0.02, 0.7, True),
                Mark("second gap", 302.4, (0.0, 0.0), 0.0, 0.05, sign=-1)),
}
"""Material -> the mark that is fitted, and the one that checks it."""


@dataclass(frozen=True)
class Reference:
    """What a reference said.

    Attributes
    ----------
    material, path : as given
    mark : name of the feature that was fitted
    found : eV, where it is; ``known`` where it should be
    offset, offset_sd : eV, of the target's axis against the true one
    resolution, resolution_sd : eV, standard deviation of the instrument's Gaussian
    check : offset of the second mark minus that of the first, eV; None where it was not found
    """

    material: str
    path: str
    mark: str
    known: float
    found: float
    offset_sd: float
    resolution: float
    resolution_sd: float
    check_mark: str
    check: float | None

    @property
    def offset(self) -> float:
        """eV, of the target's axis against the true one."""
        return self.found - self.known

    def priors(self, options: NuisanceOptions) -> NuisanceOptions:
        """The priors with shift and resolution from the reference."""
        return replace(options, axis_offset=self.offset,
                       shift_width=float(np.hypot(self.offset_sd, MODEL_AXIS)),
                       resolution=(self.resolution,
                                   float(np.hypot(self.resolution_sd, THEORY))))

    def sentence(self) -> str:
        """For reports."""
        check = (f"its {self.check_mark} was not found as a check" if self.check is None else
                 f"its {self.check_mark} is {self.check:+.2f} eV off that")
        return (f"{self.material} ({self.path}): {self.mark} at {self.found:.2f} eV, known "
                f"{self.known:g}: the axis is off by {self.offset:+.2f} +- {self.offset_sd:.2f} "
                f"eV, the instrument's Gaussian {self.resolution:.2f} +- "
                f"{self.resolution_sd:.2f} eV; {check}")


def parse_reference(text: str) -> tuple[str, Path]:
    """``graphite:FILE`` or ``diamond:FILE``.

    Raises
    ------
    InputError
        On another material, or no file.
    """
    material, colon, name = text.partition(":")
    if material not in MARKS or not colon or not name:
        raise InputError(f"--reference must be graphite:FILE or diamond:FILE, received {text!r}: "
                         f"name a spectrum measured in the same beamtime")
    path = Path(name)
    if not path.is_file():
        raise InputError(f"--reference must name an existing file, received {name}: check the "
                         f"path")
    return material, path


def read_reference(text: str) -> Reference:
    """Read a reference's file and find its marks.

    Raises
    ------
    InputError
        If it cannot be read, is of another edge, or its mark is not found or too far off.
    """
    material, path = parse_reference(text)
    spectrum = Spectrum.read(path)
    if spectrum.element and (spectrum.element, spectrum.edge) != ("C", "K"):
        raise InputError(f"--reference must be a C:K spectrum, received {path} of "
                         f"{spectrum.element}:{spectrum.edge}: name one of {material} measured "
                         f"in the same beamtime")
    return of_spectrum(replace(spectrum, element="C", edge="K"), material, str(path))


def of_spectrum(spectrum: Spectrum, material: str, path: str = "reference") -> Reference:
    """The marks of a reference spectrum as read; see :func:`read_reference`."""
    from diffxas.normalise import normalise

    normalisation = normalise(spectrum)
    energy = np.asarray(normalisation.energy, dtype=np.float64)
    curve = np.asarray(normalisation.norm, dtype=np.float64)
    mark, second = MARKS[material]
    where = find_mark(energy, curve, mark)
    if where is None:
        raise InputError(f"--reference {material}:{path} must show {mark.name} near "
                         f"{mark.energy:g} eV, received a spectrum without such a peak: is it "
                         f"{material}? (`diffxas inspect {path}`)")
    if abs(where - mark.energy) > FURTHEST:
        raise InputError(f"--reference {material}:{path} must show {mark.name} within "
                         f"{FURTHEST:g} eV of {mark.energy:g} eV, received its first peak at "
                         f"{where:.1f} eV: calibrate the axis, check that this is {material}, or "
                         f"leave --reference out")
    found, found_sd, width, width_sd = fit_mark(energy, curve, mark, where)
    offset = found - mark.energy
    moved = replace(second, energy=second.energy + offset)
    other = find_mark(energy, curve, moved, 1.5)
    if other is None and mark.on_edge:
        raise InputError(f"--reference {material}:{path} must show its {second.name} near "
                         f"{moved.energy:.1f} eV behind the {mark.name}, found at {found:.1f} eV, "
                         f"received none there: the exciton is blurred, the scan ends too early, "
                         f"or this is not {material}; leave --reference out")
    return Reference(material, path, mark.name, mark.energy, found,
                     float(np.hypot(found_sd, POSITION)), width, width_sd, second.name,
                     None if other is None or width > BLURRED else other - moved.energy)


def find_mark(energy: np.ndarray, curve: np.ndarray, mark: Mark,
              within: float = SEARCH) -> float | None:
    """Energy of the first peak (or dip) that may be the mark, eV; None where there is none.

    Parameters
    ----------
    energy, curve : (n_points,), eV and edge steps
    within : eV about the mark
    """
    from scipy.signal import find_peaks

    grid = np.arange(max(energy[0], mark.energy - within), min(energy[-1], mark.energy + within),
                     0.02)
    if len(grid) < 3:
        return None
    weights = np.exp(-0.5 * ((grid[:, None] - energy) / SMOOTH) ** 2) * np.gradient(energy)
    smooth = mark.sign * (weights @ curve) / weights.sum(1)
    peaks, _ = find_peaks(smooth, prominence=mark.prominence,
                          height=mark.height if mark.sign > 0 else None)
    return float(grid[peaks[0]]) if len(peaks) else None


def fit_mark(energy: np.ndarray, curve: np.ndarray, mark: Mark,
             where: float) -> tuple[float, float, float, float]:
    """Position and the instrument's Gaussian of a peak with standard deviations, eV.

    Raises
    ------
    InputError
        If too few points hold the peak.
    """
    near = np.abs(energy - where) <= mark.region
    if near.sum() < 10:
        raise InputError(f"--reference must have at least 10 points within {mark.region:g} eV of "
                         f"{mark.name} at {where:.1f} eV, received {int(near.sum())}: measure it "
                         f"in finer steps")
    x, y = energy[near], curve[near]
    own, own_sd = mark.own_width
    position, sd, width, width_sd = _voigt(x, y, where, own, mark.on_edge)
    *_, narrower, _ = _voigt(x, y, where, own + own_sd, mark.on_edge)
    *_, wider, _ = _voigt(x, y, where, max(own - own_sd, 0.0), mark.on_edge)
    return position, sd, width, float(np.hypot(width_sd, 0.5 * (wider - narrower)))


def _voigt(x: np.ndarray, y: np.ndarray, where: float, own: float,
           on_edge: bool) -> tuple[float, float, float, float]:
    """Position, its standard deviation, Gaussian width, its standard deviation."""
    from scipy.optimize import least_squares
    from scipy.special import ndtr, voigt_profile

    line = np.stack([np.ones_like(x), x - where], axis=1)

    def parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at, s = values
        step = [ndtr((x - at - STEP_BEHIND) / np.hypot(s, STEP_WIDTH))] if on_edge else []
        basis = np.column_stack([voigt_profile(x - at, s, 0.5 * own), line, *step])
        return basis, np.linalg.lstsq(basis, y, rcond=None)[0]

    def residual(values: np.ndarray) -> np.ndarray:
        basis, factors = parts(values)
        return np.asarray(basis @ factors - y)

    result = least_squares(residual, [where, 0.3], bounds=([where - 1.0, 0.01],
                                                           [where + 1.0, 1.5]), x_scale=[0.1, 0.1])
    free = max(1, len(x) - 6)
    variance = float(np.sum(result.fun**2)) / free
    covariance = np.linalg.pinv(result.jac.T @ result.jac) * variance
    return (float(result.x[0]), float(np.sqrt(covariance[0, 0])), float(result.x[1]),
            float(np.sqrt(covariance[1, 1])))
