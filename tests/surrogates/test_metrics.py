"""Measures of spectra: known values, invariances, and the field's own code beside ours."""

import importlib.util

import numpy as np
import pytest

from diffxas.errors import InputError
from surrogates.metrics import (
    align,
    cosine,
    error_along_energy,
    error_table,
    eta,
    mae,
    mse,
    pearson,
    rms,
    scores,
    spearman,
)


def spectrum(energy: np.ndarray, e0: float = 285.0, height: float = 1.5) -> np.ndarray:
    """An edge with two resonances."""
    x = energy - e0
    return (1 / (1 + np.exp(-3 * x)) + height * np.exp(-0.5 * (x - 1) ** 2)
            + 0.6 * np.exp(-0.5 * ((x - 9) / 2.5) ** 2))


@pytest.fixture
def sites() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    true = rng.random((7, 30))
    return true + 0.1 * rng.standard_normal(true.shape), true


def test_values_that_are_known():
    p, q = np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 1.0])
    assert mse(p, q) == pytest.approx(8 / 3) and mae(p, q) == pytest.approx(4 / 3)
    assert cosine(p, q) == pytest.approx(12 / np.sqrt(14 * 18))
    assert pearson(p, 5 - 2 * p) == pytest.approx(-1) and pearson(p, q) == pytest.approx(0)
    assert spearman(p, np.exp(p)) == pytest.approx(1) and pearson(p, np.exp(p)) < 0.98
    assert rms(np.array([[3.0, 4.0], [0.0, 0.0]])) == pytest.approx(2.5)
    assert rms(np.array([[3.0, 4.0], [0.0, 0.0]]), 0) == pytest.approx([3 / 2**0.5, 4 / 2**0.5])


def test_measures_take_rows_and_flat_spectra_have_no_correlation(sites):
    predicted, true = sites
    for measure in (mse, mae, cosine, pearson, spearman):
        assert measure(predicted, true) == pytest.approx(
            [float(measure(p, q)) for p, q in zip(predicted, true, strict=True)])
    flat = np.ones(30)
    assert np.isnan(pearson(flat, true[0])) and np.isnan(spearman(true[0], flat))
    assert np.isnan(cosine(0 * flat, true[0])) and cosine(flat, 2 * flat) == pytest.approx(1)


def test_eta_is_of_medians_and_one_bad_site_does_not_count(sites):
    predicted, true = sites
    mean = true.mean(0)
    before = eta(predicted, true, mean)
    assert before == pytest.approx(np.median(mse(true, mean)) / np.median(mse(predicted, true)))
    assert eta(np.broadcast_to(mean, true.shape), true, mean) == pytest.approx(1)
    worst = int(np.argmax(mse(predicted, true)))
    spoilt = predicted.copy()
    spoilt[worst] += 100
    assert eta(spoilt, true, mean) == pytest.approx(before)
    assert scores(spoilt, true)["mse"] > 1000 * scores(predicted, true)["mse"]


def test_scores_of_the_mean_are_those_of_no_model(sites):
    _, true = sites
    table = scores(np.broadcast_to(true.mean(0), true.shape), true, true.mean(0))
    assert table["variance_share"] == pytest.approx(1) == table["eta"]
    assert scores(true, true)["mse"] == 0 and scores(true, true)["spearman"] == pytest.approx(1)
    assert "eta" not in scores(true, true)


def test_errors_are_means_over_structures():
    zero, two = np.zeros((3, 4)), np.array([[2.0] * 4, [-2.0] * 4])
    assert error_table([zero, two]) == {"site_mse": 2.0, "site_mae": 1.0, "cell_mean_mae": 0.0}
    site, mean = error_along_energy([zero, two + 1])
    assert site == pytest.approx(np.full(4, (9 + 1) / 4)) and mean == pytest.approx(np.full(4, 0.5))


@pytest.mark.parametrize("shift", [-7.3, 0.0, 4.62, 300.0])
def test_a_shift_is_found_whatever_the_grids_and_the_scale(shift):
    fine, coarse = np.arange(270, 330, 0.1), np.arange(268, 328, 0.25)
    found = align(fine, spectrum(fine), coarse - shift, 3 * spectrum(coarse))
    assert found.shift == pytest.approx(shift, abs=0.02)
    assert found.cosine > 0.9999 and found.pearson > 0.999 and found.spearman > 0.99


def test_the_alignment_is_that_of_the_largest_cosine():
    """Against a search of its own: another height makes the best shift not the true one."""
    energy = np.arange(270, 330, 0.1)
    one, other = spectrum(energy), spectrum(energy, 286.5, 0.4)
    found = align(energy, one, energy, other)
    inside = (energy > 284) & (energy < 315)
    trials = {s: float(cosine(one[inside], np.interp(energy[inside], energy + s, other)))
              for s in np.arange(-4, 4, 0.05)}
    assert found.shift == pytest.approx(max(trials, key=lambda s: trials[s]), abs=0.3)
    assert 0.9 < found.cosine < 0.9999


def test_what_cannot_be_aligned_is_refused():
    energy = np.arange(270, 330, 0.1)
    with pytest.raises(InputError, match="above zero"):
        align(energy, spectrum(energy), energy, -spectrum(energy))
    with pytest.raises(InputError, match="4 points or more"):
        align(energy, spectrum(energy), energy, np.where(energy > 329.65, 1.0, 0.0))


@pytest.mark.skipif(importlib.util.find_spec("lightshow") is None, reason="needs Lightshow")
@pytest.mark.parametrize(("e0", "height", "end"), [(287.3, 0.5, 330), (283.1, 2.5, 296)])
def test_lightshow_finds_the_same(e0, height, end, monkeypatch):
    """Its own code, given the name that numpy 2 took away; a short spectrum meets the decay."""
    from surrogates.lightshow_codes import lightshow

    monkeypatch.setattr(np, "NaN", np.nan, raising=False)
    theirs = lightshow("lightshow.postprocess.compare_utils")
    monkeypatch.setattr(theirs, "max_corr", _coarser(theirs.max_corr))
    energy, other = np.arange(270, 330, 0.2), np.arange(275, end, 0.25)
    one, two = spectrum(energy), spectrum(other, e0, height)
    r, rho, similarity, shift = theirs.compare_between_spectra(
        np.column_stack([energy, one]), np.column_stack([other, two]))
    found = align(energy, one, other, two)
    assert found.shift == pytest.approx(shift, abs=0.011)
    assert found.cosine == pytest.approx(similarity, abs=1e-5)
    assert found.pearson == pytest.approx(r, abs=1e-4)
    assert found.spearman == pytest.approx(rho, abs=2e-3)


def _coarser(max_corr):
    """Theirs builds two splines a shift: a second for 2,400; about the best shift is enough."""
    def about_the_best(one, two, step, method):
        _, rough = max_corr(one, two, step=0.5, method=method)
        return max_corr(one, two, start=rough + 0.5, stop=rough - 0.5, step=step, method=method)
    return about_the_best
