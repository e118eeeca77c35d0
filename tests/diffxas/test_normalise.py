"""Normalisation recovers known edges, agrees with Athena, and refuses what has no edge."""

import math

import numpy as np
import pytest

from diffxas.edges import edge_energy, find_e0, point_noise
from diffxas.errors import InputError
from diffxas.normalise import check_window, normalise
from diffxas.spectrum import Spectrum


def edge_curve(energy, e0, width=0.6):
    return 0.5 + np.arctan((energy - e0) / width) / math.pi


def xanes(step=0.3, offset=0.07, e0=284.6, energy=None, **kwargs):
    energy = np.arange(270.0, 321.0, 0.2) if energy is None else energy
    return Spectrum(energy, offset + step * edge_curve(energy, e0), "C", "K", **kwargs)


def test_a_short_spectrum_gives_back_its_step_and_edge():
    result = normalise(xanes())
    assert result.e0 == pytest.approx(284.6, abs=0.1)
    assert result.edge_step == pytest.approx(0.3, rel=0.03)  # the arctangent's own tails
    assert result.norm[-1] == pytest.approx(1.0, abs=0.01)
    assert abs(result.norm[:40].mean()) < 0.01
    assert result.pre_edge[0] == 0.0 and "constant" in result.notes[0]


def test_a_long_spectrum_gives_back_its_pre_edge_line_and_step():
    energy = np.concatenate([np.arange(8800.0, 8960.0, 5), np.arange(8960.0, 9030.0, 0.5),
                             np.arange(9030.0, 9800.0, 2.0)])
    slope, step, e0 = -4e-4, 2.4, 8981.0
    above = energy > e0
    mu = 1.0 + slope * (energy - e0) + step * above * (1 - 2e-4 * (energy - e0))
    result = normalise(Spectrum(energy, mu, "Cu", "K"))
    assert result.pre_edge[0] == pytest.approx(slope, rel=1e-6)
    assert result.edge_step == pytest.approx(step, rel=2e-4)  # e0 is a point of the data
    assert result.e0 == pytest.approx(e0, abs=0.6)
    assert np.allclose(result.flat[above], 1.0, atol=1e-6)
    assert result.norm[-1] < 0.9 < result.flat[-1]


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-12, 0.0), (5e4, 2e5), (3.0, -7.0)])
def test_units_and_offsets_of_the_data_do_not_matter(scale, offset):
    reference, other = normalise(xanes()), xanes()
    other = normalise(Spectrum(other.energy, scale * other.mu + offset, "C", "K"))
    assert np.allclose(other.norm, reference.norm, atol=1e-8)
    assert other.e0 == reference.e0


@pytest.mark.parametrize(("name", "columns", "tolerance"), [
    ("MnO_bv.prj", None, 0.01), ("MoO3-tutorial.prj", None, 0.02),
    ("cu_ex.prj", "group=1", 0.01), ("cu_ex.prj", "group=2", 0.01)])
def test_edge_steps_are_those_that_athena_stored(shared_data, name, columns, tolerance):
    spectrum = Spectrum.read(shared_data / "formats" / name, columns=columns)
    result = normalise(spectrum)
    header = spectrum.meta["header"]
    assert result.edge_step == pytest.approx(float(header["bkg_step"]), rel=tolerance)
    assert result.e0 == pytest.approx(float(header["bkg_e0"]), abs=2.0)


def test_the_measured_film_has_the_heights_that_design_states(shared_data):
    spectrum = Spectrum.read(shared_data / "experimental/dlc_c_k_nexafs.csv", edge="C:K")
    result = normalise(spectrum)
    assert 283.5 < result.e0 < 285.2
    pi_star = result.norm[(spectrum.energy > 284.5) & (spectrum.energy < 286)].max()
    sigma_star = result.norm[(spectrum.energy > 290) & (spectrum.energy < 305)].max()
    assert pi_star == pytest.approx(1.1, abs=0.05) and sigma_star == pytest.approx(1.4, abs=0.05)


def test_step_error_is_the_scatter_over_repeats():
    rng = np.random.default_rng(0)
    clean = xanes()
    results = [normalise(Spectrum(clean.energy, clean.mu + rng.normal(0, 0.004, len(clean)),
                                  "C", "K"), e0=284.6) for _ in range(200)]
    scatter = np.std([r.edge_step for r in results])
    assert np.mean([r.edge_step_error for r in results]) == pytest.approx(scatter, rel=0.15)


def test_point_noise_of_white_noise():
    noise = np.random.default_rng(1).normal(0, 0.02, 20000)
    assert point_noise(noise) == pytest.approx(0.02, rel=0.03)


def test_e0_stays_at_the_edge_in_noise():
    rng = np.random.default_rng(2)
    clean = xanes()
    for _ in range(20):
        noisy = clean.mu + rng.normal(0, 0.01, len(clean))
        assert find_e0(clean.energy, noisy, 284.2) == pytest.approx(284.6, abs=0.7)


def test_no_pre_edge_falls_back_to_the_minimum_and_says_so():
    result = normalise(xanes(energy=np.arange(283.0, 320.0, 0.2)))
    assert "minimum" in result.notes[0]
    assert result.norm[result.energy <= result.e0].min() == 0.0


def test_ranges_given_by_the_user_are_used():
    result = normalise(xanes(), pre_edge=(272.1, 278.1), post=(310.1, 320.1))
    assert result.pre_edge_range == pytest.approx((272.2, 278.0))
    assert result.norm_range == pytest.approx((310.2, 320.0))
    for wrong in ({"pre_edge": (250, 260)}, {"post": (320, 310)}, {"e0": 250.0}):
        with pytest.raises(InputError, match="received"):
            normalise(xanes(), **wrong)


def test_unknown_element_is_searched_over_all_points():
    clean = xanes()
    result = normalise(Spectrum(clean.energy, clean.mu))
    assert result.e0 == pytest.approx(284.6, abs=0.1) and result.nominal_edge is None
    assert "not known" in result.notes[0]


def test_a_shifted_axis_is_noted():
    assert any("border" in note for note in normalise(xanes(e0=277.0)).notes)


@pytest.mark.parametrize("element", ["Cu", "N", "B"])
def test_data_that_miss_the_edge_are_refused(element):
    clean = xanes()
    with pytest.raises(InputError, match=f"must contain the edge {element}:K"):
        normalise(Spectrum(clean.energy, clean.mu, element, "K"))


@pytest.mark.parametrize("seed", range(10))
def test_noise_has_no_edge(seed):
    energy = np.arange(270.0, 320.0, 0.2)
    noise = np.random.default_rng(seed).normal(1.0, 0.1, len(energy))
    with pytest.raises(InputError, match="out of the noise"):
        normalise(Spectrum(energy, noise, "C", "K"))


@pytest.mark.parametrize("shape", [
    lambda e: e - 200.0, lambda e: np.exp((e - 300) / 30), lambda e: -edge_curve(e, 284.6),
    lambda e: 1 / e, lambda e: np.exp(-edge_curve(e, 290.0))])
def test_drifts_and_falling_signals_have_no_edge(shape):
    energy = np.arange(270.0, 320.0, 0.2)
    with pytest.raises(InputError, match=r"an edge must rise .* received .* --columns"):
        normalise(Spectrum(energy, shape(energy), "C", "K"))


@pytest.mark.parametrize("window", [(300, 282), (290, 310), (250, 260), (330, 340), (284, 285)])
def test_windows_that_miss_are_refused(window):
    spectrum = xanes()
    with pytest.raises(InputError, match="--window must"):
        check_window(spectrum.energy, window, 284.6)
    check_window(spectrum.energy, (282, 300), 284.6)


def test_edge_energies_follow_moseley():
    """K edges of the table rise as (Z - s)^2, which a misplaced row would break."""
    from ase.data import chemical_symbols

    roots = [math.sqrt(edge_energy(s, "K")) for s in chemical_symbols[6:50]]
    steps = np.diff(roots)
    assert (steps > 3.0).all() and (steps < 3.8).all()
    assert edge_energy("Fe", "L2,3") == edge_energy("Fe", "L3") < edge_energy("Fe", "L2")
    with pytest.raises(InputError, match="known are C:K"):
        edge_energy("C", "L3")
