r"""From a spectrum alone to what bonds its atoms have and how dense they stand.

A cell's spectrum m and its shares f of two-, three- and four-fold atoms are means over the same
atoms, so both sides of a map m -> f mix linearly, and a linear map is the one that mixing does not
break; the density rho is mapped along. With m = mean + z C in principal components,

    (f, rho) = b + z W + e,    e ~ N(0, R)

is fitted to mixtures of sites (:mod:`surrogates.mixtures`), R on networks that were left out. A
target gives z with a covariance P (:mod:`surrogates.description_fit`), and the variance of the
estimate is s^2 = W^T P W + R. Half the width of an interval is sqrt(q^2 s^2 + t^2 T^2 + u^2 U^2):

- q is the 90 % quantile of errors over s on mixtures of left-out networks, seen through the same
  observation model with noise (split conformal prediction with locally weighted residuals: J. Lei
  and others, J. Am. Stat. Assoc. 113, 1094 (2018), sections 2.2 and 5.2);
- T is the rms error on DFT spectra of networks whose densities had been left out of everything,
  what a material of other making costs beyond that, and t Student's for their small number;
- U, for measured targets alone, is the rms error on FEFF spectra of the training networks, which
  pass for measurements: as far as an experiment is from DFT, another theory is, and its errors,
  unlike noise, do not average out.

Shares sum to one because the map is linear and the training's do; what leaves [0, 1] is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError
from diffxas.spectrum import Spectrum
from diffxas.weights import WEIGHTS, find_model, read_config, read_tensors
from surrogates.description_fit import Basis, ComponentFit, fit_components
from surrogates.mixtures import QUANTITIES
from surrogates.observation import MeasuredObservation, Observation
from surrogates.pi_star import PiStarEstimate, pi_star_if_covered
from surrogates.targets import CARBON_WINDOW, MEASURED_NOISE, observation_for

if TYPE_CHECKING:
    from diffxas.normalise import Normalisation
    from surrogates.reference import Reference

SHIPPED = Path(__file__).parent / "weights"
DEFAULT = "describe-a-C"
KIND = "description"
LEVEL = 0.90
"""Share of the truths that intervals are made to hold."""
UNDECIDED = 0.5
"""An interval wider than this share of the training's own is said to leave the quantity open."""
DENSITIES = (0.1, 4.0)
"""g/cm3; no interval of a density reaches further (diamond has 3.5)."""


@dataclass(frozen=True)
class Estimate:
    """One quantity with its interval.

    Attributes
    ----------
    quantity : sp, sp2, sp3, other (shares of atoms) or density
    value, low, high : best estimate and 90 % interval
    unit : empty for shares
    prior : the middle 90 % of the training mixtures
    """

    quantity: str
    value: float
    low: float
    high: float
    unit: str
    prior: tuple[float, float]

    @property
    def openness(self) -> float:
        """Width of the interval over that of the training; infinite where that is nothing."""
        if self.prior[0] == self.prior[1]:
            return float("inf")
        return (self.high - self.low) / (self.prior[1] - self.prior[0])


@dataclass(frozen=True, eq=False)
class Description:
    """What a spectrum says of the atoms.

    Attributes
    ----------
    estimates : sp, sp2, sp3, other, density
    warnings : why the estimates should not be trusted, such as a target unlike the training
    notes : what the spectrum leaves open
    kind, reason : computed or measured, and a sentence that says why
    observation, fit : the target and its most probable spectrum
    widened : factor on the intervals for what is unlike the training; 1 if nothing is
    pi_star : the classical estimate, where it can be made
    """

    estimates: tuple[Estimate, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    kind: str
    reason: str
    observation: Observation
    fit: ComponentFit
    widened: float
    pi_star: PiStarEstimate | None

    def __getitem__(self, quantity: str) -> Estimate:
        return next(one for one in self.estimates if one.quantity == quantity)


@dataclass(frozen=True, eq=False)
class DescriptionModel:
    """A spectrum -> composition and density map.

    Attributes
    ----------
    name : shipped name or folder
    record : ``config.json``
    tensors : mean, components, error, slopes (n_components, 5); intercept, rest, transfer,
        theory (5,)
    """

    name: str
    record: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray] = field(repr=False)

    @cached_property
    def basis(self) -> Basis:
        """Principal components of the training spectra."""
        energy = np.array(self.record["model"]["energy"], dtype=np.float64)
        basis = Basis(energy, *(self.tensors[key] for key in ("mean", "components", "error")))
        n, k = len(energy), len(basis.components)
        shapes = {"mean": (n,), "components": (k, n), "error": (n,), "intercept": (5,),
                  "slopes": (k, len(QUANTITIES)), "rest": (5,), "transfer": (5,),
                  "theory": (5,)}
        for key, shape in shapes.items():
            if self.tensors[key].shape != shape:
                raise ValueError(f"{key} has shape {self.tensors[key].shape}, not {shape}")
        return basis

    @property
    def element(self) -> str:
        """Symbol of the absorber."""
        return str(self.record["model"]["absorber"])

    @property
    def edge(self) -> str:
        """Edge of the absorber."""
        return str(self.record["model"]["edge"])

    def moments(self, fit: ComponentFit) -> tuple[np.ndarray, np.ndarray]:
        """Estimates of the quantities and their standard deviations before calibration, (5,) each.
        """
        slopes = self.tensors["slopes"]
        values: np.ndarray = self.tensors["intercept"] + fit.z @ slopes
        variance = np.einsum("kq,kl,lq->q", slopes, fit.covariance, slopes)
        return values, np.sqrt(variance + self.tensors["rest"] ** 2)

    def half_widths(self, deviations: np.ndarray, kind: str) -> np.ndarray:
        """Half the widths of the 90 % intervals, (5,)."""
        factors = self.record["calibration"][kind]["factors"]
        q = np.array([factors[name] for name in QUANTITIES])
        t = float(self.record["transfer"]["factor"])
        u = float(self.record["theory"]["factor"]) if kind == "measured" else 0.0
        half: np.ndarray = np.sqrt((q * deviations) ** 2 + (t * self.tensors["transfer"]) ** 2
                                   + (u * self.tensors["theory"]) ** 2)
        return half


def load_description(name: str | Path = DEFAULT) -> DescriptionModel:
    """A description model from a shipped name or a folder.

    Raises
    ------
    InputError
        If there is none, it is of another kind, or its tensors are not those of its config.
    """
    folder = find_model(str(name), SHIPPED)
    record = read_config(folder, KIND)
    label = folder.name if folder.parent == SHIPPED else str(folder)
    tensors = {key: value.double().numpy() for key, value in read_tensors(folder).items()}
    try:
        model = DescriptionModel(label, record, tensors)
        _ = model.basis
    except (KeyError, ValueError) as error:
        raise InputError(f"{folder / WEIGHTS} must hold the tensors that config.json describes, "
                         f"received others ({error}): copy the model's folder again") from error
    return model


def describe(target: Spectrum, model: DescriptionModel | None = None, *,
             target_kind: str = "auto", window: tuple[float, float] | None = None,
             normalisation: Normalisation | None = None,
             exclude: tuple[tuple[float, float], ...] = (),
             adsorbates: bool = False,
             reference: Reference | None = None) -> Description:
    """Shares of sp, sp2 and sp3 atoms and the density, from a spectrum alone.

    Parameters
    ----------
    target : as read
    model : the shipped one by default
    target_kind, window, normalisation, exclude, adsorbates, reference : of
        :func:`surrogates.targets.observation_for`

    Raises
    ------
    InputError
        If the target is of another edge, does not cover the window, or as ``observation_for``.
    """
    model = model or load_description()
    check_edge(target, model)
    observation, reason = observation_for(
        target, model.basis.energy, target_kind=target_kind, window=window,
        normalisation=normalisation, exclude=exclude, adsorbates=adsorbates, reference=reference)
    _check_covered(target, observation)
    fit = fit_components(observation, model.basis)
    return described(model, observation, fit, reason)


def described(model: DescriptionModel, observation: Observation, fit: ComponentFit,
              reason: str = "") -> Description:
    """The estimates that a fit amounts to."""
    warnings, widened = unlike_training(model, observation.kind, fit)
    values, deviations = model.moments(fit)
    half = model.half_widths(deviations, observation.kind) * widened
    prior = model.record["prior"]
    best = np.append(_shares(values[:4]), np.clip(values[4], *DENSITIES))
    estimates = []
    for name, value, low, high in zip(QUANTITIES, best, values - half, values + half, strict=True):
        limits, unit = (DENSITIES, "g/cm3") if name == "density" else ((0.0, 1.0), "")
        low, high = np.clip([low, high], *limits)
        estimates.append(Estimate(name, float(value), float(min(low, value)),
                                  float(max(high, value)), unit, tuple(prior[name])))
    outside = [f"{name} came out as {100 * value:.0f} %" for name, value, width
               in zip(QUANTITIES[:4], values, half, strict=False)
               if value < -max(width, 0.02) or value > 1 + max(width, 0.02)]
    if outside:
        warnings += (f"No composition has this spectrum: {', '.join(outside)} before it was cut "
                     f"to 0 to 100 %.",)
    estimate = None
    if (model.element, model.edge) == ("C", "K"):
        estimate = pi_star_if_covered(observation, observation.fit(
            fit.spectrum, start=fit.theta or None))
    return Description(tuple(estimates), warnings, undecided(estimates), observation.kind, reason,
                       observation, fit, widened, estimate)


def unlike_training(model: DescriptionModel, kind: str,
                    fit: ComponentFit) -> tuple[tuple[str, ...], float]:
    """Sentences on what is unlike the training, and the factor by which intervals widen for it.

    The intervals of measured targets allow for a misfit between theory and experiment; a residual
    that is merely larger than the training's own is told, and only one above that widens them.
    """
    limits = model.record["calibration"][kind]
    excess = {key: float(np.sqrt(value / limits[key])) for key, value in
              (("misfit", fit.misfit), ("distance", fit.distance), ("strain", fit.strain))
              if limits[key] > 0}
    widened = max(1.0, *excess.values())
    warnings = []
    if fit.residual_share > limits["residual_share"]:
        allowed = (f"the intervals were widened {widened:.1f} times" if excess["misfit"] > 1 else
                   f"the intervals allow for {100 * MEASURED_NOISE:.0f} %" if kind == "measured"
                   else "")
        hint = ("if it is not in the surrogate's own units, add --target-kind measured"
                if kind == "computed" else "other elements in the sample, normalisation or axis "
                "may be why (`diffxas inspect`)")
        warnings.append(
            f"No mixture of the training networks has this spectrum: the nearest leaves "
            f"{100 * fit.residual_share:.1f} % of its root mean square, where 99 % of the training "
            f"leave less than {100 * limits['residual_share']:.1f} %; "
            f"{allowed + '; ' if allowed else ''}{hint}.")
    for key, what in (("distance", "The spectrum lies {:.1f} times further from the training's "
                       "mean than 99 % of the training: the estimates extrapolate."),
                      ("strain", "Energy axis, broadening or envelope had to move {:.1f} times "
                       "further than 99 % of simulated measurements need.")):
        if excess.get(key, 0.0) > 1:
            warnings.append(what.format(excess[key]))
    return tuple(warnings), widened


def undecided(estimates: list[Estimate]) -> tuple[str, ...]:
    """What the spectrum leaves open, in sentences."""
    notes = []
    for one in estimates:
        if one.quantity != "other" and one.openness > UNDECIDED:
            scale, unit = (1.0, " g/cm3") if one.unit else (100.0, " %")
            width = ("no narrower than" if one.openness >= 1 else
                     f"{100 * one.openness:.0f} % as wide as")
            notes.append(f"The spectrum does not fix {one.quantity}: {scale * one.low:.3g} to "
                         f"{scale * one.high:.3g}{unit} is {width} without any spectrum.")
    notes.append("The density is that of the bonded network; pores absorb nothing and are not "
                 "seen.")
    return tuple(notes)


def check_edge(target: Spectrum, model: DescriptionModel) -> None:
    """Refuse a target of another edge.

    Raises
    ------
    InputError
        Naming both edges.
    """
    given = f"{target.element or model.element}:{target.edge or model.edge}"
    known = f"{model.element}:{model.edge}"
    if given != known:
        raise InputError(f"a target to describe must be of {known}, the edge of the model "
                         f"{model.name}, received {given}: describe has no model of that edge; "
                         f"`diffxas compare` ranks structures of your own where there is a "
                         f"surrogate, or give --edge {known} if the file is mislabelled")


def _check_covered(target: Spectrum, observation: Observation) -> None:
    """Refuse a measured target that ends inside the window."""
    if isinstance(observation, MeasuredObservation):
        low, high = observation.window
        step = float(np.max(np.diff(target.energy)))
        if target.energy[0] > low + step or target.energy[-1] < high - step:
            raise InputError(f"a target to describe must cover {low:g} to {high:g} eV, received "
                             f"{target.energy[0]:g} to {target.energy[-1]:g} eV: measure the rest, "
                             f"or choose a narrower --window within {CARBON_WINDOW[0]:g} to "
                             f"{CARBON_WINDOW[1]:g} eV that holds pi* and sigma*")


def _shares(values: np.ndarray) -> np.ndarray:
    """The nearest shares that are not negative and sum to one.

    J. Duchi and others, Efficient projections onto the l1-ball, ICML 2008, figure 1.
    """
    ordered = np.sort(values)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(values) + 1)
    shares: np.ndarray = np.maximum(values - excess[np.flatnonzero(ordered > excess)[-1]], 0)
    return shares

