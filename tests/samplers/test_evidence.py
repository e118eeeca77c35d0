"""The density that a target speaks for, on a material whose spectrum is a known function of it."""

import numpy as np
import pytest

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers import evidence
from samplers.evidence import DensityPrior, density_posterior
from samplers.guides.base import Guide, ObservedGuide

SCATTER, NOISE = 0.05, 0.02


def cell(density: float, seed: int) -> Structure:
    """Ten atoms whose mean x is density - 2 plus the cell's own scatter."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((10, 3))
    x[:, 0] += density - 2 + SCATTER * rng.standard_normal() - x[:, 0].mean()
    edge = (10 * 12.011 / 0.602214076 / density) ** (1 / 3)
    return Structure(x, np.full(10, 6), edge * np.eye(3))


BANK = [cell(rho, k) for k, rho in enumerate(np.linspace(1.2, 3.6, 80))]


class MeanX(ObservedGuide):
    """Asks for the mean x of the atoms."""

    label = "mean x"

    def __init__(self, value: float, system: Structure = BANK[0]) -> None:
        self.value, self.system = value, system

    def at(self, system):
        return MeanX(self.value, system)

    def sites(self, x):
        return x[:, :1]

    def likelihood(self, values, covariance, sigma):
        return -0.5 * (values[0] - self.value) ** 2 / (NOISE**2 + covariance[0, 0])


class Opaque(Guide):
    """The same as a guide that is no mean over sites and has no gradient."""

    label, differentiable = "opaque", False

    def __init__(self, value: float, system: Structure = BANK[0]) -> None:
        self.value, self.system = value, system

    def at(self, system):
        return Opaque(self.value, system)

    def __call__(self, x_0, sigma):
        return -0.5 * (x_0[:, 0].mean() - self.value) ** 2 / NOISE**2


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Without the widening that is measured on carbon."""
    monkeypatch.setattr(evidence, "CALIBRATION", 0.0)


def test_the_posterior_is_the_gaussian_that_theory_says():
    found = density_posterior([MeanX(0.4)], BANK, DensityPrior(1.5, 3.5))
    assert found.mean == pytest.approx(2.4, abs=0.02)
    low, high = found.interval(0.9)
    assert high - low == pytest.approx(2 * 1.645 * np.hypot(NOISE, SCATTER), rel=0.2)
    assert found.probability.sum() == pytest.approx(1)


def test_intervals_cover_the_density_of_other_cells():
    inside = [low <= rho <= high for k, rho in enumerate(np.linspace(1.7, 3.2, 60))
              for x in [cell(rho, 1000 + k).positions[:, 0].mean()]
              for low, high in [density_posterior([MeanX(float(x))], BANK,
                                                  DensityPrior(1.3, 3.5)).interval(0.9)]]
    assert 0.8 <= np.mean(inside) <= 0.98


def test_a_prior_moves_the_posterior_and_is_stated():
    found = density_posterior([MeanX(0.4)], BANK, DensityPrior.parse("2.3+-0.05"))
    width = np.hypot(NOISE, SCATTER)
    expected = (2.4 / width**2 + 2.3 / 0.05**2) / (1 / width**2 + 1 / 0.05**2)
    assert found.mean == pytest.approx(expected, abs=0.02)
    assert found.numbers()["prior"] == "normal, 2.3 +- 0.05 g/cm3"


def test_a_guide_that_is_no_mean_is_weighed_structure_by_structure():
    found = density_posterior([Opaque(0.4)], BANK, DensityPrior(1.5, 3.5))
    assert found.mean == pytest.approx(2.4, abs=0.08)
    assert found.interval(0.9)[1] - found.interval(0.9)[0] < 0.8


def test_guides_add():
    one = density_posterior([MeanX(0.4)], BANK, DensityPrior(1.5, 3.5))
    two = density_posterior([MeanX(0.4), MeanX(0.4)], BANK, DensityPrior(1.5, 3.5))
    np.testing.assert_allclose(two.log_evidence, 2 * one.log_evidence)


def test_samples_are_spread_as_the_posterior_is():
    found = density_posterior([MeanX(0.4)], BANK, DensityPrior(1.5, 3.5))
    drawn = found.drawn(40)
    assert np.mean(drawn) == pytest.approx(found.mean, abs=0.01)
    assert np.mean([found.interval(0.5)[0] <= rho <= found.interval(0.5)[1]
                    for rho in drawn]) == pytest.approx(0.5, abs=0.051)


@pytest.mark.parametrize(("text", "result"), [
    ("2.0", 2.0), ("1.5:3.5", DensityPrior(1.5, 3.5)),
    ("2.1+-0.1", DensityPrior(2.1 - 0.4, 2.1 + 0.4, 2.1, 0.1))])
def test_how_a_density_is_written(text, result):
    assert DensityPrior.parse(text) == result


@pytest.mark.parametrize("text", ["dense", "3:2", "2+-0", "1:2:3", "2+-", ":"])
def test_what_is_no_density(text):
    with pytest.raises(InputError, match="--density must be a number, LO:HI or V"):
        DensityPrior.parse(text)


def test_a_range_where_the_prior_holds_nothing_is_refused():
    with pytest.raises(InputError, match=r"1\.20 to 3\.60 g/cm3, received 4:5"):
        density_posterior([MeanX(0.4)], BANK, DensityPrior(4, 5))


def test_the_widening_widens(monkeypatch):
    narrow = density_posterior([MeanX(0.4)], BANK, DensityPrior(1.5, 3.5))
    monkeypatch.setattr(evidence, "CALIBRATION", 0.2)
    wide = density_posterior([MeanX(0.4)], BANK, DensityPrior(1.5, 3.5))
    variance = [(p.probability * (p.density - p.mean) ** 2).sum() for p in (narrow, wide)]
    assert variance[1] == pytest.approx(variance[0] + 0.04, rel=0.05)
