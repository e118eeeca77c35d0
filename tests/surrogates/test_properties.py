"""Models of properties: what holds for every family, and that they learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from synthetic_properties import KERNEL, NETWORK, SIZES, config, labelled, write_properties

from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.weights import read_config, read_tensors, save_model
from surrogates.loading import load_surrogate
from surrogates.properties import PropertySurrogate, load_property
from surrogates.property_data import load_properties
from surrogates.property_network import PropertyLoss
from surrogates.property_training import train_property

PER = {"bulk": "atom-mean", "energy": "sum", "crowd": "atom"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_properties(tmp_path_factory.mktemp("data") / "cells.extxyz")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PropertySurrogate]:
    """A model of every family and kind of target; one network serves all three kinds."""
    folder = tmp_path_factory.mktemp("models")
    found: dict[str, PropertySurrogate] = {}
    for key in PER:
        done = train_property([data], folder / key, key, config(folder, KERNEL))
        assert done.target.per == PER[key]
        found[f"kernel-{key}"] = load_property(done.folder)
    done = train_property([data], folder / "network", "crowd", config(folder, NETWORK))
    record, tensors = read_config(done.folder), read_tensors(done.folder)
    for key, per in PER.items():
        save_model(folder / f"network-{key}", {**record, "target": {
            "key": key, "per": per, "unit": ""}}, tensors)
        found[f"equivariant-{key}"] = load_property(folder / f"network-{key}")
    return found


@pytest.fixture(params=[f"{family}-{key}" for family in ("kernel", "equivariant") for key in PER])
def model(request, trained) -> PropertySurrogate:
    return trained[request.param]


def values(model: PropertySurrogate, structure: Structure) -> np.ndarray:
    return model.value(torch.tensor(structure.positions), structure).numpy()


def test_shapes_are_those_of_the_target(model):
    n = model.n_members
    found = values(model, labelled(50))
    assert found.shape == ((n, 24) if model.target.per_atom else (n,)) and found.dtype == float
    assert np.ptp(found, axis=0).max() > 0  # members differ
    estimate = model.predict(labelled(50))
    np.testing.assert_allclose(estimate.value, found.reshape(n, -1).mean(0))


def test_a_repeated_cell_has_the_same_mean_and_twice_the_sum(model):
    one = labelled(50)
    two = Structure.from_atoms(one.to_atoms().repeat((1, 1, 2)))
    once, twice = values(model, one), values(model, two)
    expected = {"atom-mean": once, "sum": 2 * once,
                "atom": np.concatenate([once, once], -1)}[model.target.per]
    np.testing.assert_allclose(twice, expected, rtol=1e-4, atol=1e-4)
    assert model.target.per != "sum" or abs(once).min() > 1


def test_rotation_translation_image_and_order_do_not_matter(model):
    one = labelled(50)
    turn = Rotation.random(random_state=1).as_matrix()
    order = np.random.default_rng(0).permutation(24)
    moved = (one.positions + one.cell[0] * (np.arange(24) % 2)[:, None] + 0.37) @ turn
    other = Structure(moved[order], one.numbers, one.cell @ turn)
    expected = values(model, one)
    if model.target.per_atom:
        expected = expected[:, order]
    np.testing.assert_allclose(values(model, other), expected, rtol=1e-4, atol=1e-4)


def test_gradients_to_positions_and_cell_are_those_of_finite_differences(model):
    exact, one = model.to(torch.float64), labelled(50)
    rng = np.random.default_rng(2)
    step = torch.tensor(rng.standard_normal(one.positions.shape))
    strain = torch.tensor(rng.standard_normal((3, 3)))
    x0, cell0, eye = torch.tensor(one.positions), torch.tensor(one.cell), torch.eye(3).double()

    def energy(amount: torch.Tensor) -> torch.Tensor:
        deform = eye + amount * strain
        found = exact.value((x0 + amount * step) @ deform, one, cell0 @ deform)
        return (found if found.ndim == 1 else found[:, 3]).mean()

    amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(energy(amount), amount)
    h = 1e-4
    with torch.no_grad():
        numeric = (energy(torch.tensor(h)) - energy(torch.tensor(-h))).item() / (2 * h)
    assert abs(numeric) > 1e-6
    assert slope.item() == pytest.approx(numeric, rel=1e-3)


def test_the_deviation_joins_the_members_spread_and_the_left_out_error(model):
    one = labelled(50)
    error = model.record["left_out"]["rmse"] * (24 if model.target.per == "sum" else 1)
    expected = np.sqrt(values(model, one).reshape(model.n_members, -1).var(0) + error**2)
    np.testing.assert_allclose(model.predict(one).deviation, expected, rtol=1e-6)


def test_an_unknown_element_is_refused(model):
    one = labelled(50)
    with pytest.raises(InputError, match="Si"):
        values(model, Structure(one.positions, [14] * 24, one.cell))


def test_what_wants_spectra_refuses_a_model_of_a_property(model):
    with pytest.raises(InputError, match=f"predicts {model.key}: use it with `diffxas predict"):
        load_surrogate(model.name)
    with pytest.raises(InputError, match=r"a surrogate of C:K spectra"):
        load_property("a-C")


def error_on_unseen(folder: Path, key: str) -> float:
    """Rms error over the spread, on cells that no member has seen."""
    model = load_property(folder)
    unseen = [labelled(k) for k in range(60, 66)]
    true = np.concatenate([np.atleast_1d(s.arrays[key] if model.target.per_atom else s.info[key])
                           for s in unseen])
    told = np.concatenate([model.predict(s).value for s in unseen])
    return float(np.sqrt(np.mean((told - true) ** 2)) / true.std())


@pytest.mark.parametrize("key", PER)
def test_the_kernel_learns_from_few_cells(key, data, tmp_path):
    train_property([data], tmp_path / "model", key, config(tmp_path, KERNEL))
    assert error_on_unseen(tmp_path / "model", key) < 0.2


def test_the_network_learns_a_number_of_each_atom(data, tmp_path):
    text = f"""[model]
n_members = 1
{SIZES}
[schedule]
steps = 150
warmup = 10
learning_rate = 0.02
ema = 0.9
"""
    done = train_property([data], tmp_path / "model", "crowd", config(tmp_path, text))
    assert error_on_unseen(done.folder, "crowd") < 0.4
    assert done.left_out["rmse"] < 0.4 * done.spread


def test_an_ensemble_without_left_out_networks_states_its_spread_alone(data, tmp_path):
    text = KERNEL.replace("[model]", "left_out_share = 0.0\n[model]", 1)
    done = train_property([data], tmp_path / "model", "bulk", config(tmp_path, text))
    model = load_property(done.folder)
    assert done.left_out == {} and "left_out" not in model.record
    found = values(model, labelled(50))
    assert model.predict(labelled(50)).deviation == pytest.approx([found.std(ddof=1)])


def test_elements_have_means_of_their_own(tmp_path):
    """A sum that the composition explains alone is predicted for a composition never seen."""
    from diffxas.structure_files import write_structures

    rng = np.random.default_rng(0)
    frames = []
    for k in range(10):
        numbers = rng.permutation([6] * (8 + k) + [14] * (16 - k))
        one = labelled(k)
        frames.append(Structure(one.positions, numbers, one.cell, info={
            "parent": f"p{k}", "energy": -7.0 * (8 + k) - 4.0 * (16 - k) + 1e-3 * k % 2}))
    write_structures(tmp_path / "x.extxyz", frames)
    train_property([tmp_path / "x.extxyz"], tmp_path / "model", "energy", config(tmp_path, KERNEL))
    model = load_property(tmp_path / "model")
    one = labelled(50)
    other = Structure(one.positions, [6] * 20 + [14] * 4, one.cell)
    assert model.predict(other).value == pytest.approx([-156.0], abs=0.5)


def test_the_record_says_what_was_trained_on_what(data, tmp_path):
    text = 'unit = "A"\nlicence = "CC0"\n' + KERNEL
    done = train_property([data], tmp_path / "model", "bulk", config(tmp_path, text))
    record = read_config(done.folder, "surrogate")
    assert record["target"] == {"key": "bulk", "per": "atom-mean", "unit": "A"}
    assert record["family"] == "kernel" and record["licence"] == "CC0"
    assert record["elements"] == ["C"] and len(record["training"]["structures"]) == 16
    assert record["training"]["parents"] == sorted(f"p{k}" for k in range(12))
    low, high = record["density_range"]
    densities = [item.structure.density for item in load_properties([data], "bulk")[1]]
    assert (low, high) == pytest.approx((min(densities), max(densities)), abs=1e-3)
    assert [one["networks"] for one in record["left_out"]["members"]] == 5 * [2]
    assert 0 < record["left_out"]["mae"] <= record["left_out"]["rmse"] < 1


def test_excluded_networks_take_no_part_and_a_leak_is_refused(data, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("p0 c1\n")
    text = f'exclude = "{names}"\n{KERNEL}'
    done = train_property([data], tmp_path / "model", "bulk", config(tmp_path, text))
    seen = set(read_config(done.folder)["training"]["structures"])
    assert not seen & {"c0", "c100", "c1"} and len(seen) == 13
    names.write_text("c100\n")  # a descendant of p0, which stays
    with pytest.raises(InputError, match="received p0 on both"):
        train_property([data], tmp_path / "leak", "bulk", config(tmp_path, text))
    train_property([data], tmp_path / "leak", "bulk",
                   config(tmp_path, f"allow_leak = true\n{text}"))


def test_a_left_out_density_leaves_its_surroundings(data, tmp_path):
    items = load_properties([data], "bulk")[1]
    density = items[0].structure.density
    text = f"leave_out_density = [{density}]\nleave_out_margin = 0.05\n{KERNEL}"
    done = train_property([data], tmp_path / "model", "bulk", config(tmp_path, text))
    near = {i.name for i in items if abs(i.structure.density - density) <= 0.05}
    assert near and set(read_config(done.folder)["training"]["structures"]) == {
        i.name for i in items} - near


@pytest.mark.parametrize("text, told", [
    ('loss = "log"', "loss, which is of spectra"), ("weight = 1", "weight"),
    ('family = "forest"', "forest"), ("[batch]\nFEFF = 2", "name the target, bulk = 4"),
    ("leave_out_density = [2.0]\nleave_out_margin = 9.0", "none after"),
    ('per = "atom"', "per atom crowd"),
])
def test_a_bad_config_is_refused_before_training(data, tmp_path, text, told):
    with pytest.raises(InputError, match=told):
        train_property([data], tmp_path / "model", "bulk", config(tmp_path, text))
    assert not (tmp_path / "model").exists()


def test_per_and_unit_are_refused_with_spectra(tmp_path):
    from synthetic_sites import write_files

    from surrogates.training import train_surrogate

    with pytest.raises(InputError, match="--target"):
        train_surrogate(write_files(tmp_path), tmp_path / "model", config(tmp_path, 'per = "sum"'))


def test_a_seed_gives_the_same_weights_and_another_other(data, tmp_path):
    """Of networks the next test says so."""
    first, second = (read_tensors(train_property([data], tmp_path / name, "bulk",
                                                 config(tmp_path, KERNEL)).folder)
                     for name in ("a", "b"))
    assert all(torch.equal(first[k], second[k]) for k in first)
    other = f"seed = 1\n{KERNEL}"
    with pytest.raises(InputError, match="differs in training"):
        train_property([data], tmp_path / "a", "bulk", config(tmp_path, other))
    third = read_tensors(train_property([data], tmp_path / "c", "bulk",
                                        config(tmp_path, other)).folder)
    assert any(not torch.equal(first[k], third[k]) for k in first)


def test_an_interrupted_training_resumes_to_the_same_weights(data, tmp_path, monkeypatch):
    file = config(tmp_path, NETWORK.replace("n_members = 2", "n_members = 1"))
    whole = read_tensors(train_property([data], tmp_path / "whole", "bulk", file).folder)
    loss, steps = PropertyLoss.__call__, []

    def interrupted(self, model, step):
        if step == 2:
            raise KeyboardInterrupt
        return loss(self, model, step)

    with monkeypatch.context() as patch:
        patch.setattr(PropertyLoss, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_property([data], tmp_path / "parts", "bulk", file)
    with monkeypatch.context() as patch:
        patch.setattr(PropertyLoss, "__call__", lambda self, model, step: (
            steps.append(step), loss(self, model, step))[1])
        resumed = read_tensors(train_property([data], tmp_path / "parts", "bulk", file).folder)
    assert steps == [2]
    assert all(torch.equal(resumed[k], whole[k]) for k in whole)


def test_damaged_weights_are_refused(data, tmp_path):
    done = train_property([data], tmp_path / "model", "bulk", config(tmp_path, KERNEL))
    record, tensors = read_config(done.folder), read_tensors(done.folder)
    save_model(done.folder, record, {k: v for k, v in tensors.items() if k != "1.weights"})
    with pytest.raises(InputError, match=r"1\.weights"):
        load_property(done.folder)
    save_model(done.folder, {**record, "family": "forest"}, tensors)
    with pytest.raises(InputError, match="forest"):
        load_property(done.folder)
