"""Composition and density from spectra: the fit, its calibration, and the shipped model."""

import numpy as np
import pytest
from description_targets import MODEL, dft_spectrum, needs_model, shifted

from diffxas.errors import InputError
from diffxas.spectrum import Spectrum
from diffxas.weights import CONFIG, WEIGHTS
from surrogates.description import (
    SHIPPED,
    DescriptionModel,
    describe,
    described,
    load_description,
)
from surrogates.description_fit import Basis, fit_components
from surrogates.description_training import (
    DescriptionOptions,
    correlated,
    fit_description,
    simulated,
    transfer_error,
)
from surrogates.mixtures import CARBON_MASS, QUANTITIES, CellSites, Mixtures, whole

ENERGY = 274.4 + 0.4 * np.arange(100)
KINDS = 1e-3 + np.stack([
    np.exp(-0.5 * ((ENERGY - centre) / 1.2) ** 2) * height
    + 0.5 / (1 + np.exp(-(ENERGY - rise) / 0.8)) * np.exp(-(ENERGY - rise).clip(0) / 12)
    for centre, height, rise in ((285.0, 0.35, 291.0), (285.5, 0.2, 291.5), (293.0, 0.1, 289.0),
                                 (290.0, 0.1, 290.0))])
"""Spectra of two-, three-, four-fold and other atoms in a made-up world."""
WAVES = 0.03 * np.stack([np.exp(-0.5 * ((ENERGY - centre) / 1.5) ** 2)
                         for centre in (286.0, 289.0, 295.0)])
"""What else varies from site to site."""
ERROR = np.full(100, 0.003)


def world(n_networks: int, seed: int) -> list[CellSites]:
    """Networks whose density follows sp3 loosely; sites vary about the spectrum of their kind."""
    rng = np.random.default_rng(seed)
    cells = []
    for k in range(n_networks):
        sp3 = rng.random()
        sp = 0.25 * (1 - sp3) * rng.random()
        kinds = rng.choice(4, 60, p=[sp, 1 - sp - sp3, sp3, 0])
        volume = 11 - 5 * sp3 + 0.5 * rng.standard_normal()
        spectra = KINDS[kinds] + (rng.standard_normal((60, 3)) + rng.standard_normal(3)) @ WAVES
        cells.append(CellSites(f"n{k}", f"n{k}", CARBON_MASS / volume, spectra, np.column_stack(
            [np.eye(4)[kinds], np.full(60, volume)]), rng.random((60, 3)), 8 * np.eye(3)))
    return cells


@pytest.fixture(scope="module")
def made() -> DescriptionModel:
    record, tensors = fit_description(world(24, 0), ENERGY, ERROR, options=DescriptionOptions(
        n_mixtures=600, n_components=6, n_folds=4, n_simulated=32))
    return DescriptionModel("made", record, {k: v.double().numpy() for k, v in tensors.items()})


@pytest.mark.parametrize(("kind", "n", "error"), [("computed", 60, 0.3), ("measured", 16, 0.6)])
def test_intervals_hold_nine_of_ten_unseen_mixtures(made, kind, n, error):
    rng = np.random.default_rng(5)
    spectra, values = Mixtures(world(24, 1)).draw(n, rng)
    inside, errors = [], []
    for spectrum, truth in zip(spectra, values, strict=True):
        noisy = spectrum + ERROR * correlated(ENERGY, rng)
        observation = simulated(kind, noisy, ENERGY, 0.2, rng)
        found = described(made, observation, fit_components(observation, made.basis))
        inside.append([found[q].low <= t <= found[q].high
                       for q, t in zip(QUANTITIES, truth, strict=True) if q != "other"])
        errors.append(found["sp3"].value - truth[2])
        assert sum(found[q].value for q in QUANTITIES[:4]) == pytest.approx(1)
        assert all(0 <= found[q].low <= found[q].value <= found[q].high <= 1
                   for q in QUANTITIES[:4])
    assert 0.8 <= np.mean(inside) <= 0.99
    assert np.sqrt(np.mean(np.square(errors))) < error * values[:, 2].std()


def test_exact_components_are_found_and_noise_widens_their_covariance(made):
    truth = np.linspace(-1, 1, 6)
    spectrum = made.basis.mean + truth @ made.basis.components
    basis = Basis(ENERGY, made.basis.mean, made.basis.components, ERROR / 100)
    rng = np.random.default_rng(0)
    sharp = fit_components(simulated("computed", spectrum, ENERGY, 0.2, rng), basis)
    noisy = fit_components(simulated("computed", spectrum + 0.02 * correlated(ENERGY, rng),
                                     ENERGY, 0.2, rng), basis)
    assert sharp.z[:5] == pytest.approx(truth[:5], abs=0.1)  # the made world has five
    assert sharp.misfit < 0.1 < 1 < noisy.misfit
    assert np.trace(noisy.covariance) > 2 * np.trace(sharp.covariance)


def test_transfer_is_the_error_on_cells_of_another_making():
    cells, (other,) = world(12, 0), world(1, 3)
    options = DescriptionOptions(n_mixtures=400, n_components=6)
    same = transfer_error(cells, ENERGY, ERROR, [other], options)
    biased = transfer_error(cells, ENERGY, ERROR, [CellSites(
        other.name, other.parent, other.density, other.spectra + 0.1 * (KINDS[2] - KINDS[1]),
        other.values, other.scaled, other.cell)], options)
    assert np.abs(same[:3]).max() < 0.05
    assert biased[2] - same[2] == pytest.approx(0.1, abs=0.03)  # a tenth looks like sp3
    record, _ = fit_description(cells, ENERGY, ERROR, np.stack([same, biased]),
                                DescriptionOptions(n_mixtures=200, n_components=4, n_folds=3,
                                                   n_simulated=6))
    assert record["transfer"]["factor"] == pytest.approx(2.92, abs=0.01)  # Student's t of two


@needs_model
def test_the_shipped_model_is_small_and_has_not_seen_what_is_held_out():
    from experiments.common import held_out

    folder = SHIPPED / MODEL
    assert (folder / CONFIG).stat().st_size + (folder / WEIGHTS).stat().st_size < 300_000
    training = load_description().record["training"]
    assert not held_out() & {*training["structures"], *training["parents"]}
    assert "nep_100" in training["parents"] and len(training["data_hash"]) == 64


@needs_model
@pytest.mark.parametrize("density", [1.5, 3.5])
def test_a_measured_spectrum_is_described_wherever_its_axis_and_scale_are(density):
    target, _ = dft_spectrum(density)
    plain = describe(shifted(target, 0.0, 1.0))
    moved = describe(shifted(target, 0.5, 1.3))
    assert plain.kind == moved.kind == "measured"
    for one, other in zip(plain.estimates, moved.estimates, strict=True):
        assert abs(one.value - other.value) <= max(1e-3, 0.5 * (one.high - one.low))
    assert moved.fit.theta["shift"] > plain.fit.theta["shift"] + 0.2


@needs_model
def test_a_spectrum_that_no_network_has_is_flagged_and_its_intervals_widen():
    target, _ = dft_spectrum(2.0)
    good = describe(target)
    wave = Spectrum(target.energy, target.mu + 0.1 * np.sin(target.energy), "C", "K")
    bad = describe(wave)
    assert not good.warnings and good.widened == 1
    assert bad.warnings and "No mixture" in bad.warnings[0] and bad.widened > 2
    assert bad["density"].high - bad["density"].low > good["density"].high - good["density"].low
    scaled = describe(Spectrum(target.energy, 3 * target.mu, "C", "K"))
    assert scaled.warnings and "--target-kind measured" in scaled.warnings[0]
    energy = np.arange(275.0, 312.0, 0.2)
    lines = 1 / (1 + np.exp(-(energy - 283) / 0.1)) + 2 * np.exp(-((energy - 297) / 0.4) ** 2)
    assert "No mixture" in describe(Spectrum(energy, lines, "C", "K")).warnings[0]


@needs_model
def test_what_the_spectrum_leaves_open_is_said():
    target, _ = dft_spectrum(2.0)
    found = describe(shifted(target, 0.0, 1.0))
    assert found["density"].openness > 0.3
    for one in found.estimates[:3] + found.estimates[4:]:
        said = any(f"does not fix {one.quantity}:" in note for note in found.notes)
        assert said == (one.openness > 0.5)
    assert "pores" in found.notes[-1]


@needs_model
def test_targets_of_other_edges_and_narrow_ones_are_refused():
    target, _ = dft_spectrum(2.0)
    copper = Spectrum(np.linspace(8900, 9100, 200), np.linspace(0, 1, 200) ** 2, "Cu", "K")
    with pytest.raises(InputError, match=r"must be of C:K.*received Cu:K"):
        describe(copper)
    moved = shifted(target, 0.0, 1.0)
    keep = moved.energy < 296
    with pytest.raises(InputError, match=r"282 to 300 eV, received .* to 295"):
        describe(Spectrum(moved.energy[keep], moved.mu[keep], "C", "K"))


@needs_model
def test_weights_of_another_shape_or_kind_are_refused(tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(SHIPPED / MODEL, folder)
    tensors = load_file(folder / WEIGHTS)
    save_file({**tensors, "mean": tensors["mean"][:50].clone()}, folder / WEIGHTS)
    with pytest.raises(InputError, match="mean has shape"):
        load_description(folder)
    with pytest.raises(InputError, match="must be a description, received a surrogate"):
        load_description(SHIPPED / "a-C")


@needs_model
def test_estimates_of_dft_cells_agree_with_counts():
    for density in (1.5, 2.0, 3.0, 3.5):
        target, cell = dft_spectrum(density)
        found = describe(target)
        for name, truth in zip(QUANTITIES, whole(cell), strict=True):
            assert found[name].low <= truth + 1e-6 and truth - 1e-6 <= found[name].high, name
