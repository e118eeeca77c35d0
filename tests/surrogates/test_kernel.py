"""The kernel surrogate as a fit: it recovers a law, uses the cheap theory, and is what is stored.

What holds whatever the weights (symmetry, gradients, smoothness) is in test_surrogate_laws.py.
"""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from surrogate_fakes import GRID
from synthetic_sites import FEFF_GRID, cell, labelled, spectra_of, wavy

from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.weights import read_config, read_tensors, save_model
from surrogates.datasets import SiteSpectra
from surrogates.descriptor import DescriptorConfig
from surrogates.kernel import (
    CLIP,
    SOFTPLUS_BETA,
    KernelConfig,
    KernelSurrogate,
    clipped,
    drawn,
    fit_kernel,
    invariants_of,
    kernel,
    principal,
    ridge,
)
from surrogates.loading import load_surrogate

DESCRIPTOR = {"radial_cutoff": 4.0, "shells": [[1.2, 3.8, 0.37]], "near_cutoff": 3.0, "n_near": 3,
              "far_cutoff": 3.6, "n_far": 3,
              "l_max": 2}
DFT = {"name": "DFT", "energy": GRID.tolist()}
FEFF = {"name": "FEFF", "energy": FEFF_GRID.tolist()}


def config(*theories: dict, **options: float) -> KernelConfig:
    return KernelConfig(elements=["C"], absorber="C", edge="K", theories=list(theories) or [DFT],
                        descriptor=DESCRIPTOR, **{"ridge_target": 0.01, **options})


def record(of: KernelConfig) -> dict:
    return {"kind": "surrogate", "family": "kernel", "model": asdict(of)}


def fitted(data: list[SiteSpectra], of: KernelConfig, seed: int = 0) -> KernelSurrogate:
    return KernelSurrogate("synthetic", record(of), fit_kernel(data, of, seed))


def error(surrogate: KernelSurrogate, items: list[SiteSpectra]) -> float:
    """Mean squared error of sites, over their variance."""
    truth = np.concatenate([item.spectra for item in items])
    found = np.concatenate([surrogate.predict_sites(item.structure) for item in items])
    return float(((found - truth) ** 2).mean() / truth.var(0).mean())


TRAINING = [labelled(seed) for seed in range(6)]
NEW = [labelled(seed) for seed in range(20, 24)]


@pytest.fixture(scope="module")
def surrogate() -> KernelSurrogate:
    return fitted(TRAINING, config())


def test_a_law_of_the_neighbourhood_is_recovered_on_cells_never_seen(surrogate):
    assert error(surrogate, TRAINING) < 0.02
    assert error(surrogate, NEW) < 0.15
    mixed = [replace(item, spectra=np.roll(item.spectra, 5, 0)) for item in TRAINING]
    assert error(fitted(mixed, config()), NEW) > 0.8  # the control: labels of other sites


def test_the_cheap_theory_on_many_networks_helps_where_the_costly_one_has_few():
    """Of a law that few sites do not tell; the control files the cheap spectra under others."""
    few = [labelled(0, law=wavy)]
    many = [labelled(seed, "FEFF", law=wavy) for seed in range(30, 54)]
    mixed = [replace(item, spectra=np.roll(item.spectra, 5, 0)) for item in many]
    new = [labelled(seed, law=wavy) for seed in range(20, 24)]
    one = config(sites_per_network=12)
    two = config(DFT, FEFF, sites_per_network=12, low_weight=4.0, ridge_low=0.001)
    alone, both, control = (error(fitted(few + other, of), new)
                            for other, of in (([], one), (many, two), (mixed, two)))
    assert both < 0.75 * alone
    assert control > 0.95 * alone


@pytest.mark.parametrize("low_weight", [0.2, 5.0])
def test_fit_and_prediction_give_the_cheap_theory_the_same_weight(low_weight):
    data = [*TRAINING[:2], *(labelled(seed, "FEFF") for seed in range(30, 34))]
    both = fitted(data, config(DFT, FEFF, low_weight=low_weight, ridge_target=1e-3))
    assert error(both, TRAINING[:2]) < 0.02


def test_what_is_saved_predicts_the_same(surrogate, tmp_path):
    save_model(tmp_path / "model", record(surrogate.config), surrogate.tensors)
    loaded = load_surrogate(tmp_path / "model")
    assert isinstance(loaded, KernelSurrogate)
    np.testing.assert_array_equal(loaded.predict_sites(NEW[0].structure),
                                  surrogate.predict_sites(NEW[0].structure))


def test_training_sites_are_stored_in_half_precision_and_fitted_as_stored(tmp_path):
    of = config(DFT, FEFF)
    tensors = fit_kernel([*TRAINING, labelled(30, "FEFF")], of)
    assert {k for k, v in tensors.items() if v.dtype == torch.float16} == {
        "low.sites", *(f"{k}.sites" for k in range(of.n_members))}
    save_model(tmp_path / "model", record(of), tensors)
    stored = read_tensors(tmp_path / "model")
    assert stored["0.sites"].dtype == torch.float16
    folder = tmp_path / "model"
    single, double = (KernelSurrogate("x", read_config(folder), stored, dtype)
                      for dtype in (torch.float32, torch.float64))
    np.testing.assert_allclose(single.predict_sites(NEW[0].structure),
                               double.predict_sites(NEW[0].structure), atol=2e-4)
    # The coefficients solve the equations of the sites as they are stored, not as they were.
    sites = stored["0.sites"].double()
    gram = kernel(sites, sites, stored["0.length"].double())
    left = gram @ stored["0.beta"].double() + of.ridge_target * stored["0.beta"].double()
    scores = left.T @ left / len(left)
    np.testing.assert_allclose(scores.diagonal(), 1.0, atol=1e-3)  # principal scores have spread 1


def test_far_from_all_sites_the_prediction_is_bounded_and_returns_towards_the_mean(surrogate):
    mean = np.concatenate([d.spectra for d in TRAINING]).mean(0)
    spread = np.concatenate([d.spectra for d in TRAINING]).std(0).max()
    rng = np.random.default_rng(0)
    isolated = Structure(np.zeros((1, 3)), [6], 30 * np.eye(3))
    dense = Structure(rng.random((60, 3)) * 4, np.full(60, 6), 4 * np.eye(3))
    for structure in (isolated, dense):
        away = np.abs(surrogate.predict_sites(structure) - mean).max()
        assert away < 4 * spread
    far = surrogate.spectra_from(torch.full((1, surrogate.tensors["center"].numel()), 1e9))
    further = surrogate.spectra_from(torch.full((1, surrogate.tensors["center"].numel()), 1e12))
    torch.testing.assert_close(far, further)  # clipped: very far is very far


def test_members_see_different_sites_and_one_seed_gives_one_fit():
    of = config(sites_per_network=12)
    first, again, other = (fit_kernel(TRAINING, of, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["0.sites"], other["0.sites"])
    assert not torch.equal(first["0.sites"], first["1.sites"])
    surrogate = KernelSurrogate("x", record(of), first)
    _, deviation = surrogate.predict_sites_with_uncertainty(NEW[0].structure)
    assert deviation.max() > 1e-3


def test_networks_weigh_equally_however_many_cells_they_have():
    copies = [labelled(seed, parent="one") for seed in range(5)] + [labelled(5, parent="two")]
    group = [(np.full((24, 2), k), d.spectra, d.parent) for k, d in enumerate(copies)]
    x, y = drawn(group, 10, np.random.default_rng(0))
    assert len(x) == len(y) == 20 and (x[:, 0] == 5).sum() == 10
    x, _ = drawn(group, 1000, np.random.default_rng(0))
    assert len(x) == 6 * 24  # no site twice


def test_clipping_leaves_ordinary_invariants_and_bounds_the_rest():
    zero, one = torch.zeros(1), torch.ones(1)
    values = torch.tensor([[-0.5], [0.5], [1e6], [-1e6]])
    np.testing.assert_allclose(clipped(values, zero, one, one)[:, 0], [-0.498, 0.498, CLIP, -CLIP],
                               atol=2e-3)


def test_the_kernel_is_one_at_a_site_and_positive_definite():
    x = torch.tensor(np.random.default_rng(0).standard_normal((40, 5)))
    gram = kernel(x, x, torch.tensor(2.0, dtype=torch.float64))
    np.testing.assert_allclose(gram.diagonal(), 1.0)
    assert np.linalg.eigvalsh(gram.numpy()).min() > 0


def test_ridge_without_weight_goes_through_its_points_and_with_weight_is_the_closed_form():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((15, 3)), rng.standard_normal((15, 2))
    gram = 1 / (1 + ((x[:, None] - x) ** 2).sum(2) / (2 * 1.5**2))
    np.testing.assert_allclose(gram @ ridge(x, y, 1.5, 1e-12), y, atol=1e-6)
    np.testing.assert_allclose(ridge(x, y, 1.5, 0.3),
                               np.linalg.inv(gram + 0.3 * np.eye(15)) @ y, atol=1e-10)


def test_principal_components_give_the_spectra_back():
    spectra = spectra_of(cell(0))
    mean, components, scores = principal(spectra, 100)
    np.testing.assert_allclose(mean + scores @ components, spectra, atol=1e-10)
    np.testing.assert_allclose(scores[:, 0].std(), 1.0, atol=1e-6)
    _, few, _ = principal(spectra, 2)
    assert few.shape == (2, len(GRID))


def test_spectra_are_never_negative_even_where_the_data_are_zero(surrogate):
    predicted = surrogate.predict_sites(NEW[0].structure)
    assert predicted.min() >= 0
    assert predicted[:, :5].max() < 1e-2 + np.log(2) / SOFTPLUS_BETA  # the pre-edge is zero


@pytest.mark.parametrize(("options", "told"), [({"n_far": 1}, "at least 2"),
                                               ({"group_weights": (1.0, 1.0)}, "6 numbers")])
def test_sizes_that_make_no_descriptor_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        DescriptorConfig(["C"], **options)


def test_invariants_know_the_element_of_a_neighbour():
    of = KernelConfig(elements=["C", "H"], absorber="C", edge="K", theories=[DFT],
                      descriptor=DESCRIPTOR)
    positions = np.array([[0, 0, 0], [1.3, 0, 0], [0, 1.4, 0.2]])
    found = [invariants_of(of, Structure(positions, numbers, 9 * np.eye(3)),
                           torch.tensor(positions))[0].numpy()
             for numbers in ([6, 6, 1], [6, 1, 6], [6, 6, 6])]
    assert all(np.abs(a - b).max() > 1e-2 for a, b in
               ((found[0], found[1]), (found[0], found[2]), (found[1], found[2])))
