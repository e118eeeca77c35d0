import numpy as np
import pytest
from scipy.special import expit, voigt_profile

from diffxas.errors import InputError
from diffxas.spectrum import Spectrum
from surrogates.nuisances import NuisanceOptions
from surrogates.reference import MODEL_AXIS, of_spectrum, parse_reference, read_reference
from surrogates.targets import observation_for

GRID = 274.4 + 0.40 * np.arange(100)
ENERGY = np.arange(275.0, 330.0, 0.1)


def spectrum(energy, curve, noise):
    wobble = noise * np.random.default_rng(0).normal(size=len(energy))
    return Spectrum(energy, 0.3 + 2 * curve + 1e-3 * energy + wobble, "C", "K")


def graphite(shift=0.0, resolution=0.2, step=0.1, noise=0.005, ends=330.0):
    """pi*, the exciton on the rise to sigma*, and the band behind it."""
    energy = np.arange(275.0, ends, step)
    x = energy - shift
    curve = (1.2 * voigt_profile(x - 285.4, resolution, 0.35)
             + 0.9 * expit((x - 291.0) / (0.1 + 0.6 * resolution)) + 0.1 * expit((x - 288) / 0.8)
             + 0.8 * voigt_profile(x - 291.65, resolution, 0.2)
             + 0.9 * voigt_profile(x - 293.0, 0.9, 0.5))
    return spectrum(energy, curve, noise)


def diamond(shift=0.0, resolution=0.1, step=0.05, gap=0.4):
    """A core exciton before the edge, bands, the second gap, and traces of pi* and C-H."""
    energy = np.arange(275.0, 330.0, step)
    x = energy - shift
    curve = (0.8 * expit((x - 289.75) / (0.2 + 0.5 * resolution)) + 0.2 * expit((x - 295) / 5)
             + 0.3 * voigt_profile(x - 289.2, resolution, 0.1)
             + 0.6 * np.exp(-0.5 * ((x - 293) / 1.2)**2) + 0.4 * np.exp(-0.5 * ((x - 298) / 2)**2)
             - gap * np.exp(-0.5 * ((x - 302.4) / 0.7)**2)
             + 0.05 * np.exp(-0.5 * ((x - 285.2) / 0.5)**2)
             + 0.06 * np.exp(-0.5 * ((x - 287.5) / 0.4)**2))
    return spectrum(energy, curve, 0.0)


@pytest.mark.parametrize("shift, resolution", [(0.0, 0.1), (0.37, 0.3), (-0.8, 0.5), (2.5, 0.2)])
def test_shift_and_broadening_of_graphite_are_recovered(shift, resolution):
    found = of_spectrum(graphite(shift, resolution), "graphite")
    assert found.offset == pytest.approx(shift, abs=0.03)
    assert found.resolution == pytest.approx(resolution, abs=0.05)
    assert 0.03 <= found.offset_sd < 0.06 and 0.01 < found.resolution_sd < 0.15


@pytest.mark.parametrize("shift, resolution", [(0.0, 0.05), (0.4, 0.1), (-0.8, 0.2)])
def test_shift_and_broadening_of_diamond_are_recovered(shift, resolution):
    found = of_spectrum(diamond(shift, resolution), "diamond")
    assert found.offset == pytest.approx(shift, abs=0.03)
    assert found.resolution == pytest.approx(resolution, abs=0.04)
    assert found.check == pytest.approx(0.0, abs=0.1)


def test_a_stretched_axis_shows_in_the_second_mark():
    straight = graphite(0.0, 0.1)
    energy = 285.4 + 1.05 * (straight.energy - 285.4)
    found = of_spectrum(Spectrum(energy, straight.mu, "C", "K"), "graphite")
    assert found.offset == pytest.approx(0.0, abs=0.03)
    assert found.check == pytest.approx(0.05 * (291.65 - 285.4), abs=0.1)


@pytest.mark.parametrize("what, material, words", [
    (graphite(4.0), "graphite", "within 3 eV of 285.4 eV, received its first peak at 289.4"),
    (diamond(), "graphite", "received its first peak at 289.2"),
    (Spectrum(ENERGY, 0.3 + expit(ENERGY - 290), "C", "K"), "graphite", "without such a peak"),
    (graphite(), "diamond", "check that this is diamond"),
    (diamond(resolution=0.4), "diamond", "core exciton"),
    (diamond(gap=0.0), "diamond", "second gap"),
    (graphite(step=0.5), "graphite", "at least 10 points"),
])
def test_a_file_without_the_mark_is_refused(what, material, words):
    with pytest.raises(InputError, match=words):
        of_spectrum(what, material)


@pytest.mark.parametrize("text", ["graphite", "graphite:", "gold:film.csv", "film.csv"])
def test_other_words_are_refused(text):
    with pytest.raises(InputError, match="graphite:FILE or diamond:FILE"):
        parse_reference(text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="existing file"):
        read_reference(f"graphite:{tmp_path / 'none.csv'}")


def test_a_file_gives_the_priors_of_a_fit(tmp_path):
    reference = graphite(0.6, 0.25)
    path = tmp_path / "hopg.csv"
    np.savetxt(path, np.column_stack([reference.energy, reference.mu]), delimiter=",",
               header="energy,mu", comments="", fmt="%.10g")
    found = read_reference(f"graphite:{path}")
    options = found.priors(NuisanceOptions())
    assert options.axis_offset == pytest.approx(0.6, abs=0.03)
    assert MODEL_AXIS < options.shift_width < 0.16 < NuisanceOptions().shift_width
    assert options.resolution[0] == pytest.approx(0.25, abs=0.05)
    assert "pi* at 286.0" in found.sentence() and str(path) in found.sentence()
    film = graphite(0.6, 0.25)
    observation, _ = observation_for(film, GRID, reference=found)
    shift = observation.nuisances[0]
    assert shift.mean == pytest.approx(0.6, abs=0.03) and shift.upper < 1.1
    computed = Spectrum(GRID, np.interp(GRID, film.energy, film.mu), "C", "K")
    with pytest.raises(InputError, match="--reference must go with a measured C:K"):
        observation_for(computed, GRID, reference=found)
