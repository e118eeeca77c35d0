"""Heads on the frozen features of matgl models: features, gradients, training, loading, refusals.

What every surrogate must obey is in test_surrogate_laws.py, which tries this family too.
"""

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from command_runner import refused, run
from core_examples import random_structure
from random_surrogate import frozen, matgl_network, random_carbon, site_features
from synthetic_materials import materials
from synthetic_sites import write_files

from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.structure_files import write_structures
from diffxas.weights import read_config, read_tensors
from surrogates.datasets import load_site_spectra
from surrogates.feature_table import FeatureTable
from surrogates.frozen import FrozenSurrogate
from surrogates.frozen_training import read_features
from surrogates.loading import load_surrogate
from surrogates.matgl_features import VARIABLE, load_features

ELEMENTS = ("C", "O", "S", "Cu")
MODELS = {"TensorNet": "TensorNet-MatPES-PBE-v2025.1-PES", "M3GNet": "M3GNet-MP-2021.2.8-PES"}


@pytest.fixture(scope="module")
def matgl_folder(tmp_path_factory) -> Path:
    """A matgl potential of random weights, as the library saves it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matgl.apps.pes import Potential

        folder = tmp_path_factory.mktemp("matgl") / "tiny"
        Potential(matgl_network("TensorNet", ELEMENTS), calc_stresses=False).save(folder)
    return folder


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def config(path: Path, features: Path, steps: int = 80, rate: float = 0.01,
           **more: object) -> Path:
    """A quick training."""
    lines = {"family": "frozen", "loss": "log", **more}
    path.write_text("\n".join(
        [*(f"{key} = {json.dumps(value)}" for key, value in lines.items()),
         "[features]", f"path = {json.dumps(str(features))}", 'layers = "all"',
         "[model]", "n_members = 2", "hidden = [16]", "n_latent = 8", "dropout = 0.0",
         "n_components = 6",
         "[batch]", *(f'"{name}" = 6' for name in ("FEFF", "DFT", "FEFF Cu:K", "FEFF C:K")),
         "[schedule]", f"steps = {steps}", "warmup = 5", f"learning_rate = {rate}", "ema = 0.9"]))
    return path


def train(data: list[Path], out: Path, toml: Path) -> Path:
    result = run("train", "surrogate", *data, "--config", toml, "--out", out)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def trained(matgl_folder, tmp_path_factory) -> tuple[Path, Path]:
    """Data, and what the command line made of it."""
    folder = tmp_path_factory.mktemp("frozen")
    data = materials(folder)
    return data, train([data], folder / "model", config(folder / "run.toml", matgl_folder,
                                                        left_out_share=0.3))


@pytest.mark.parametrize("kind", ["TensorNet", "M3GNet"])
def test_features_lead_to_the_energies_that_matgl_itself_computes(kind):
    """The graph built here is the library's: its readout on our features gives its energy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matgl.ext.ase import Atoms2Graph

    features = site_features(kind)
    structure = random_structure(3, 14, np.diag([5.0, 6.0, 5.5]))
    mine = features.model.final_layer(
        features(torch.tensor(structure.positions), structure)).sum()
    graph, lattice, _ = Atoms2Graph(features.elements, 3.0).get_graph(structure.to_atoms())
    graph.pbc_offshift = graph.pbc_offset @ lattice[0]
    graph.pos = graph.frac_coords @ lattice[0]
    assert float(mine) == pytest.approx(float(features.model(graph)), rel=1e-4)


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("kind", ["TensorNet", "M3GNet"])
def test_gradients_to_positions_and_cell_are_the_numeric_ones(kind, layers):
    surrogate = frozen(kind, layers)
    structure = random_carbon()
    rng = np.random.default_rng(0)
    start, box = torch.tensor(structure.positions), torch.tensor(structure.cell)
    target = torch.tensor(rng.random(len(surrogate.energy)))

    def loss(x: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        return (surrogate.mean_spectrum(x, structure, cell) - target).square().mean()

    x, cell = start.clone().requires_grad_(), box.clone().requires_grad_()
    by_atoms, by_cell = torch.autograd.grad(loss(x, cell), (x, cell))
    h = 1e-6
    for _ in range(3):
        atoms, turn = (torch.tensor(rng.standard_normal(s)) for s in (start.shape, (3, 3)))
        numeric = (loss(start + h * atoms, box) - loss(start - h * atoms, box)) / (2 * h)
        assert float((by_atoms * atoms).sum()) == pytest.approx(float(numeric), rel=1e-3)
        numeric = (loss(start, box + h * turn) - loss(start, box - h * turn)) / (2 * h)
        assert float((by_cell * turn).sum()) == pytest.approx(float(numeric), rel=1e-3)


def test_m3gnet_features_are_invariant_and_a_lone_atom_has_some():
    features = site_features("M3GNet").to(dtype=torch.float64)
    structure = random_carbon()
    before = features(torch.tensor(structure.positions), structure)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    turned = Structure(structure.positions @ turn + 0.7, structure.numbers, structure.cell @ turn)
    after = features(torch.tensor(turned.positions), turned)
    assert before.std(0).max() > 1e-3
    torch.testing.assert_close(after, before, atol=1e-9, rtol=1e-9)
    lone = Structure([[0, 0, 0]], [6], 20 * np.eye(3))
    assert torch.isfinite(features(torch.tensor(lone.positions), lone)).all()


def test_a_trained_model_follows_its_data_and_is_loaded_as_it_was(trained, tmp_path):
    data, folder = trained
    surrogate = load_surrogate(folder)
    assert isinstance(surrogate, FrozenSurrogate)
    assert (surrogate.element, surrogate.edge, surrogate.elements) == ("Cu", "K", ELEMENTS)
    items = [item for item in load_site_spectra([data]) if item.part == 0]
    truth = np.concatenate([item.spectra for item in items])
    predicted = np.concatenate([surrogate.predict_sites(item.structure) for item in items])
    assert predicted.min() >= 0
    np.testing.assert_allclose(surrogate.training_mean(), truth.mean(0), atol=0.1)
    assert np.square(predicted - truth).mean() < 0.3 * np.square(truth - truth.mean(0)).mean()
    members = surrogate.record["left_out"]["members"]
    assert len(members) == 2 and all(member["materials"] == 2 for member in members)
    write_structures(tmp_path / "one.extxyz", [items[0].structure])
    out = tmp_path / "spectra.csv"
    result = run("predict", tmp_path / "one.extxyz", "--surrogate", folder, "--sites", "--out", out)
    assert result.exit_code == 0, result.output
    with out.open(newline="") as file:
        rows = list(csv.reader(file))
    assert float(rows[10][1]) == pytest.approx(float(predicted[0, 9]), rel=1e-4)


def test_the_weights_are_the_heads_alone(trained):
    _, folder = trained
    kept = {name.split(".")[1] for name in read_tensors(folder) if not name.startswith("domain.")}
    assert kept == {"centre", "scale", "layers", "readouts"}
    features = read_config(folder)["model"]["features"]
    assert features["name"] == "tiny" and len(features["sha256"]) == 64


def test_strange_sites_and_elements_new_to_the_heads_are_flagged(trained):
    data, folder = trained
    surrogate = load_surrogate(folder)
    known = [item.structure for item in load_site_spectra([data]) if item.part == 0]
    assert all(surrogate.domain_score(structure).max() <= 1 for structure in known)
    lone = Structure([[0, 0, 0]], [29], 20 * np.eye(3))
    assert surrogate.domain_score(lone)[0] > 1
    carbide = Structure(known[0].positions, [29, 29, 8, 6], known[0].cell)
    assert "C" in surrogate.elements and np.isinf(surrogate.domain_score(carbide)).all()


def test_a_stopped_run_goes_on_to_the_same_heads(trained, matgl_folder, tmp_path):
    data, folder = trained
    toml = config(tmp_path / "run.toml", matgl_folder, left_out_share=0.3)
    out = train([data], tmp_path / "model", toml)
    for name in ("config.json", "weights.safetensors"):
        (out / name).unlink()
    # As if it had been stopped before the second member: features and the first are there.
    for path in (out / "member_1").iterdir():
        path.unlink()
    before = (out / "features.safetensors").stat().st_mtime_ns
    train([data], out, toml)
    assert (out / "features.safetensors").stat().st_mtime_ns == before
    for key, tensor in read_tensors(folder).items():
        torch.testing.assert_close(read_tensors(out)[key], tensor)


def test_kernel_heads_follow_their_data_and_take_a_low_fidelity(matgl_folder, tmp_path):
    structures, dft, feff = (lambda p: (p[:2], p[2], p[3]))(write_files(tmp_path))

    def kernel(name: str, *data: Path) -> Path:
        toml = config(tmp_path / f"{name}.toml", matgl_folder, left_out_networks=True)
        toml.write_text(toml.read_text().replace(
            "[model]", '[model]\nhead = "kernel"\nridge = 1e-4\nsites_per_network = 20'))
        return train([*structures, *data], tmp_path / name, toml)

    plain, both = kernel("plain", dft), kernel("both", dft, feff)
    (item, *_) = load_site_spectra([*structures, dft])
    spread = np.square(item.spectra - item.spectra.mean(0)).mean()
    for folder in (plain, both):
        surrogate = load_surrogate(folder)
        assert surrogate.training_mean().shape == surrogate.energy.shape
        predicted = surrogate.predict_sites(item.structure)
        assert np.square(predicted - item.spectra).mean() < 0.2 * spread
        assert not np.allclose(*surrogate.spectra(
            torch.tensor(item.structure.positions), item.structure).numpy())  # members differ
    left_out = read_config(both)["left_out"]
    assert set(left_out["networks"]) == {"p0", "p1"} and len(left_out["site_error"]) == 100
    assert surrogate.predict_sites_with_uncertainty(item.structure)[1].mean() > 0
    inputs = {folder: read_tensors(folder)["0.0_sites"] for folder in (plain, both)}
    assert inputs[both].shape[1] == inputs[plain].shape[1] + 6  # six components of FEFF
    assert inputs[both].dtype == torch.float16 and len(inputs[both]) == 40
    assert np.isfinite(load_surrogate(both).energy).all()
    x = torch.tensor(item.structure.positions, requires_grad=True)
    exact = load_surrogate(both).to(torch.float64)
    weight = torch.tensor(np.random.default_rng(0).standard_normal(len(exact.energy)))
    (gradient,) = torch.autograd.grad(exact.mean_spectrum(x, item.structure) @ weight, x)
    step, h = torch.tensor(np.random.default_rng(1).standard_normal(x.shape)), 1e-5
    start = x.detach()
    numeric = (exact.mean_spectrum(start + h * step, item.structure)
               - exact.mean_spectrum(start - h * step, item.structure)) @ weight / (2 * h)
    assert float((gradient * step).sum()) == pytest.approx(float(numeric), rel=1e-3)


def test_features_are_computed_once(matgl_folder, tmp_path, monkeypatch):
    items = load_site_spectra([materials(tmp_path)])
    features, _ = read_features({"path": str(matgl_folder), "layers": "last"})
    first = FeatureTable(features, tmp_path / "f.safetensors")
    first.fill(items)
    again = FeatureTable(features, tmp_path / "f.safetensors")
    monkeypatch.setattr(type(features), "__call__", lambda *_: pytest.fail("computed again"))
    assert torch.equal(again.of(items[3]), first.of(items[3]))
    assert again.of(items[3]).shape == (len(items[3].sites), 8)


def test_a_universal_model_is_tuned_to_one_element_and_carried_to_another_theory(
        matgl_folder, tmp_path):
    """Cu and C by FEFF in one run; then each goes on, C to DFT."""
    cu, carbon = materials(tmp_path), write_files(tmp_path)
    structures, feff = carbon[:2], carbon[3]
    both = train([cu, *structures, feff], tmp_path / "both",
                 config(tmp_path / "both.toml", matgl_folder, 40))
    record = read_config(both)
    assert record["edges"] == ["Cu:K", "C:K"]
    assert load_surrogate(both, edge="C:K").element == "C"
    tuned = train([cu], tmp_path / "tuned",
                  config(tmp_path / "tuned.toml", matgl_folder, 10, 0.001, start=str(both)))
    carried = train([*structures, carbon[2]], tmp_path / "carried",
                    config(tmp_path / "carried.toml", matgl_folder, 10, 0.001, start=str(both)))
    fresh = train([*structures, carbon[2]], tmp_path / "fresh",
                  config(tmp_path / "fresh.toml", matgl_folder, 10, 0.001))

    def first_layer(folder: Path) -> torch.Tensor:
        return read_tensors(folder)["0.layers.0.weight"]

    def far(a: Path, b: Path) -> float:
        return float((first_layer(a) - first_layer(b)).norm())

    assert 0 < far(carried, both) < 0.2 * far(fresh, both)
    basis = "0.readouts.0.components"
    assert torch.equal(read_tensors(tuned)[basis], read_tensors(both)[basis])
    assert read_config(carried)["model"]["theories"][0]["name"] == "DFT"
    other = config(tmp_path / "other.toml", matgl_folder, start="cu-k-feff")
    assert "start must be a frozen surrogate" in refused(
        "train", "surrogate", cu, "--config", other, "--out", tmp_path / "other")


def test_the_pretrained_model_is_found_in_several_places(trained, matgl_folder, tmp_path,
                                                         monkeypatch):
    _, folder = trained
    moved = tmp_path / "here" / "model"
    moved.mkdir(parents=True)
    for name in ("config.json", "weights.safetensors"):
        (moved / name).write_bytes((folder / name).read_bytes())
    content = json.loads((moved / "config.json").read_text())
    content["model"]["features"]["path"] = "nowhere"
    (moved / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"needs the matgl model tiny .*set {VARIABLE}"):
        load_surrogate(moved)
    for value in (matgl_folder, matgl_folder.parent):
        monkeypatch.setenv(VARIABLE, str(value))
        assert load_surrogate(moved).element == "Cu"
    monkeypatch.delenv(VARIABLE)
    beside = moved.parent / "matgl" / "tiny"
    beside.mkdir(parents=True)
    for path in matgl_folder.iterdir():
        (beside / path.name).write_bytes(path.read_bytes())
    assert load_surrogate(moved).element == "Cu"
    (beside / "state.pt").write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"must have the weights .* received .*matgl/tiny with"):
        load_surrogate(moved)


def test_what_does_not_fit_is_refused_before_any_work(trained, matgl_folder, tmp_path):
    data, folder = trained
    out = tmp_path / "out"
    for changed, told in (
            ({"features": str(tmp_path)}, "features.path must be a folder with model.json"),
            ({"features": ""}, "must have path in \\[features\\]")):
        toml = config(tmp_path / "bad.toml", Path(changed["features"]))
        if not changed["features"]:
            toml.write_text(toml.read_text().replace('path = "."', ""))
        assert told.replace("\\", "") in refused(
            "train", "surrogate", data, "--config", toml, "--out", out)
    toml = config(tmp_path / "layers.toml", matgl_folder)
    toml.write_text(toml.read_text().replace('"all"', '"first"'))
    assert "one of last, all, received 'first'" in refused(
        "train", "surrogate", data, "--config", toml, "--out", out)
    assert not out.exists()
    with pytest.raises(InputError, match=r"--edge must be Cu:K for .* received O:K"):
        load_surrogate(folder, edge="O:K")
    surrogate = load_surrogate(folder)
    cuprous = Structure([[0, 0, 0], [1.9, 0, 0]], [29, 7], 6 * np.eye(3))
    with pytest.raises(InputError, match="received N"):
        surrogate.absorbers(cuprous)
    with pytest.raises(InputError, match="must hold Cu, the absorber"):
        surrogate.absorbers(Structure([[0, 0, 0]], [8], 6 * np.eye(3)))


def test_data_of_an_element_that_the_pretrained_model_lacks_are_refused(matgl_folder, tmp_path):
    data = materials(tmp_path, numbers=np.tile([29, 29, 8, 7], 8).astype(np.uint8))
    toml = config(tmp_path / "run.toml", matgl_folder)
    assert "elements must be ones that tiny knows, received N" in refused(
        "train", "surrogate", data, "--config", toml, "--out", tmp_path / "out")


@pytest.mark.parametrize(("kind", "n_last", "n_all"), [("TensorNet", 128, 1280),
                                                       ("M3GNet", 64, 192)])
def test_the_published_models_give_their_features_and_gradients(shared_data, kind, n_last, n_all):
    folder = shared_data / "matgl-models" / MODELS[kind]
    features = load_features(folder).to(dtype=torch.float64)
    assert len(features.elements) == 89
    structure = Structure([[0, 0, 0], [1.8, 0.2, 0], [0.3, 1.9, 1.7]], [29, 8, 8], 4.3 * np.eye(3))
    x = torch.tensor(structure.positions, requires_grad=True)
    found = features(x, structure)
    assert found.shape == (3, n_last)
    assert load_features(folder, "all")(x.detach(), structure).shape == (3, n_all)
    weight = torch.tensor(np.random.default_rng(0).standard_normal(found.shape))
    (gradient,) = torch.autograd.grad((found * weight).sum(), x)
    step, h = torch.tensor(np.random.default_rng(1).standard_normal((3, 3))), 1e-5

    def value(at: torch.Tensor) -> float:
        return float((features(at, structure) * weight).sum())

    start = x.detach()
    numeric = (value(start + h * step) - value(start - h * step)) / (2 * h)
    assert float((gradient * step).sum()) == pytest.approx(numeric, rel=1e-3)
