"""Training surrogates: what is left out stays out, what is shipped says so, runs resume."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_sites import cell, labelled, write_files

import diffxas
from diffxas.errors import InputError
from diffxas.prior import read_toml
from diffxas.structure_files import read_structures
from diffxas.weights import CONFIG, read_config, read_tensors, shipped_names
from surrogates.datasets import SiteSpectra, load_site_spectra
from surrogates.loading import SHIPPED, load_surrogate
from surrogates.training import (
    SpectraLoss,
    SurrogateTraining,
    network_weights,
    split,
    stacked,
    train_surrogate,
)

PRIORS = Path(diffxas.__file__).parent / "weights_prior"
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SILICA = EXPERIMENTS / "silica"
DATA = EXPERIMENTS / "data"
HELDOUT = DATA / "a-C-NEP" / "heldout.txt"
NETWORKS = [DATA / "a-C-NEP" / f"{name}_300K.extxyz" for name in ("networks", "variants")]
PAIRS = DATA / "a-C-NEP" / "pairs.extxyz"
DFT = DATA / "a-C-K-edge" / "dft_cells.extxyz"
SPECTRA = [DATA / "a-C-K-edge" / "xanes.npz", DATA / "a-C-FEFF" / "feff_c_k.npz"]


@pytest.fixture(scope="module")
def carried() -> list[SiteSpectra]:
    """All that may be trained on, from the data in the repository."""
    return load_site_spectra([*NETWORKS, PAIRS, DFT, *SPECTRA])


def heldout() -> set[str]:
    return set(HELDOUT.read_text().split())


def test_the_data_that_are_carried_along_are_those_that_were_made(carried):
    counts = {theory: (len(items), sum(len(i.sites) for i in items)) for theory in ("DFT", "FEFF")
              for items in [[i for i in carried if i.theory == theory]]}
    assert counts["DFT"] == (21, 21 * 216) and counts["FEFF"][1] == 1630
    assert {i.parent for i in carried if i.theory == "DFT"} == {
        "dft_1.5", "dft_2.0", "dft_3.0", "dft_3.5"}
    assert heldout() & {i.name for i in carried}  # there is something to leave out


def test_excluded_networks_take_their_descendants_with_them(carried):
    kept = split(carried, SurrogateTraining(exclude=str(HELDOUT)))
    gone = [i for i in carried if not any(i is k for k in kept)]
    assert gone and all(heldout() & {i.name, i.parent} for i in gone)
    assert not heldout() & {x for i in kept for x in (i.name, i.parent)}
    assert any(i.name not in heldout() for i in gone)  # variants and pairs, by their parents
    pairs = {s.info["name"] for s in read_structures(PAIRS)}
    assert len(pairs) == 4 and not pairs & {i.name for i in kept}


@pytest.mark.parametrize("density", [2.0, 3.0])
def test_a_left_out_density_leaves_all_theories_and_its_surroundings(carried, density):
    kept = split(carried, SurrogateTraining(leave_out_density=[density]))
    for item in carried:
        near = abs(item.structure.density - density) <= 0.15
        assert near != any(item is k for k in kept)
    gone = [i for i in carried if not any(i is k for k in kept)]
    assert {i.theory for i in gone} == {"DFT", "FEFF"}
    assert f"dft_{density}" not in {i.parent for i in kept}


def shipped_configs() -> list[Path]:
    """Folders of the models that were trained on carbon."""
    found = [folder / name for folder in (SHIPPED, PRIORS) for name in shipped_names(folder)]
    return [folder for folder in found if read_config(folder)["elements"] == ["C"]]


def bare(name: str) -> str:
    """``FEFF:nep_100_v1`` to ``nep_100_v1``."""
    return name.split(":")[-1].split("/")[-1]


@pytest.mark.parametrize("folder", shipped_configs(), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_no_shipped_model_saw_a_held_out_structure_its_variants_or_a_pair(folder):
    parents = {str(s.info["name"]): str(s.info.get("parent", s.info["name"]))
               for path in (*NETWORKS, PAIRS, DFT) for s in read_structures(path)}
    training = read_config(folder)["training"]
    names = {bare(name) for name in training["structures"]}
    assert names and names <= set(parents)
    assert not names & {s.info["name"] for s in read_structures(PAIRS)}
    assert not heldout() & (names | {parents[name] for name in names} | set(training["parents"]))


@pytest.mark.parametrize("density", [2.0, 3.0])
def test_the_leave_out_weights_saw_nothing_near_their_density(density):
    densities = {str(s.info["name"]): s.density
                 for path in (*NETWORKS, DFT) for s in read_structures(path)}
    record = read_config(SHIPPED / f"a-C-without-{density}")
    near = [name for name in record["training"]["structures"]
            if abs(densities[bare(name)] - density) <= 0.15]
    assert not near
    full = read_config(SHIPPED / "a-C")["training"]["structures"]
    assert any(abs(densities[bare(name)] - density) <= 0.15 for name in full)  # the control


OF_OTHER_MATERIALS = ("cu", "silica")
"""Folders, and beginnings of the names of configs, with nothing of carbon."""


@pytest.mark.parametrize("path", sorted(
    path for path in EXPERIMENTS.glob("*/*.toml") if path.parent.name not in OF_OTHER_MATERIALS
    and not path.name.startswith(("cu-", "discover", "campaign"))),
    ids=lambda p: p.stem)
def test_every_config_that_makes_weights_leaves_the_held_out_structures_out(path):
    excluded = EXPERIMENTS.parent / read_toml(path)["exclude"]
    assert excluded == (SILICA / "heldout.txt" if path.parent == SILICA else HELDOUT)


def test_the_prior_of_silica_saw_none_of_its_held_out_networks():
    training = read_config(PRIORS / "sio2")["training"]
    held = set((SILICA / "heldout.txt").read_text(encoding="utf-8").split())
    known = {str(s.info["name"]) for s in read_structures(SILICA / "networks_300K.extxyz")}
    assert held and held < known
    assert set(training["structures"]) == set(training["parents"]) == known - held


def test_networks_weigh_equally_not_cells():
    group = [labelled(k, parent="one") for k in range(3)] + [labelled(3, parent="two")]
    np.testing.assert_allclose(network_weights(group), [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    spectra, weights = stacked(group, network_weights(group))
    assert len(spectra) == len(weights) == 4 * 24
    assert weights[:72].sum() == pytest.approx(0.5) == weights[72:].sum()


KERNEL = """
family = "kernel"
left_out_networks = true
licence = "CC0"
[model]
sites_per_network = 20
ridge_target = 0.01
[model.descriptor]
shells = [[1.2, 3.4, 0.4]]
near_cutoff = 3.0
n_near = 3
n_far = 3
l_max = 2
"""
EQUIVARIANT = """
max_sites = 6
[model]
n_members = 1
n_layers = 1
n_scalars = 8
n_vectors = 4
n_tensors = 4
n_products = 4
hidden = 8
n_basis = 6
n_latent = 6
cutoff = 3.0
degree = 12.0
[schedule]
steps = 3
warmup = 1
checkpoint_every = 1
"""


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return write_files(tmp_path)


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_a_kernel_surrogate_is_trained_recorded_and_loaded(tmp_path, paths):
    folder = train_surrogate(paths, tmp_path / "model", config(tmp_path, KERNEL))
    record = json.loads((folder / CONFIG).read_text())
    assert record["kind"] == "surrogate" and record["family"] == "kernel"
    assert record["edge"] == "C:K" and record["elements"] == ["C"] and record["licence"] == "CC0"
    assert record["training"]["structures"] == ["DFT:c0", "DFT:c1", "FEFF:n10", "FEFF:n11",
                                                "FEFF:n12"]
    assert record["training"]["parents"] == ["n10", "n11", "n12", "p0", "p1"]
    assert record["training"]["sites"] == {"DFT": 48, "FEFF": 36}
    surrogate = load_surrogate(folder)
    assert surrogate.energy[0] == 274.4 and len(surrogate.energy) == 100
    assert surrogate.predict_sites(cell(9)).shape == (24, 100)


def test_the_left_out_error_is_that_of_networks_left_out(tmp_path, paths):
    """Two networks of unlike density: each is predicted by what was fitted to the other alone."""
    folder = train_surrogate(paths, tmp_path / "model", config(tmp_path, KERNEL))
    left_out, surrogate = read_config(folder)["left_out"], load_surrogate(folder)
    assert set(left_out["networks"]) == {"p0", "p1"}
    for item in (i for i in load_site_spectra(paths) if i.theory == "DFT"):
        told = left_out["networks"][item.parent]
        assert told["density"] == pytest.approx(item.structure.density, rel=1e-6)
        seen = ((surrogate.predict_sites(item.structure) - item.spectra) ** 2).mean()
        assert told["site_mse"] > 3 * seen  # the whole fit has seen it, the left-out one has not
    mean = np.mean([n["site_mse"] for n in left_out["networks"].values()])
    assert np.mean(surrogate.site_error**2) == pytest.approx(mean, rel=1e-6)
    assert (surrogate.mean_error <= surrogate.site_error + 1e-12).all()


def test_left_out_errors_that_would_leave_nothing_are_refused(tmp_path, paths):
    text = "leave_out_margin = 5.0\n" + KERNEL
    with pytest.raises(InputError, match="left_out_networks"):
        train_surrogate(paths, tmp_path / "model", config(tmp_path, text))
    assert not (tmp_path / "model").exists()


def test_the_same_training_gives_the_same_weights_and_another_is_refused(tmp_path, paths):
    file = config(tmp_path, KERNEL)
    folder = train_surrogate(paths, tmp_path / "model", file)
    before = {k: v.clone() for k, v in read_tensors(folder).items()}
    train_surrogate(paths, folder, file)
    assert all(torch.equal(v, before[k]) for k, v in read_tensors(folder).items())
    with pytest.raises(InputError, match="differs in training"):
        train_surrogate(paths, folder, config(tmp_path, "seed = 1\n" + KERNEL))


def test_nothing_left_a_strange_family_or_a_mistyped_key_is_refused(tmp_path, paths):
    for text, told in (("leave_out_density = [2.0]\nleave_out_margin = 9.0\n" + KERNEL, "none"),
                       (KERNEL.replace('"kernel"', '"forest"'), "forest"),
                       (KERNEL.replace("licence", "license"), "license"),
                       (KERNEL.replace("ridge_target", "ridge"), "ridge")):
        with pytest.raises(InputError, match=told):
            train_surrogate(paths, tmp_path / "model", config(tmp_path, text))
        assert not (tmp_path / "model").exists()


def test_an_exclude_file_that_is_missing_is_refused_before_training(tmp_path, paths):
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        train_surrogate(paths, tmp_path / "model",
                        config(tmp_path, 'exclude = "nowhere.txt"\n' + KERNEL))


def test_an_interrupted_equivariant_training_resumes_to_the_same_weights(
        tmp_path, paths, monkeypatch):
    file = config(tmp_path, EQUIVARIANT)
    whole = read_tensors(train_surrogate(paths, tmp_path / "whole", file))
    loss = SpectraLoss.__call__

    def interrupted(self, model, step):
        if step == 2:
            raise KeyboardInterrupt
        return loss(self, model, step)

    with monkeypatch.context() as patch:
        patch.setattr(SpectraLoss, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_surrogate(paths, tmp_path / "parts", file)
    assert not (tmp_path / "parts" / CONFIG).exists()
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(SpectraLoss, "__call__", lambda self, model, step: (
            steps.append(step), loss(self, model, step))[1])
        resumed = read_tensors(train_surrogate(paths, tmp_path / "parts", file))
    assert steps == [2]
    assert set(resumed) == set(whole)
    assert all(torch.equal(resumed[k], whole[k]) for k in whole)
    spectra = load_surrogate(tmp_path / "parts").predict_sites(cell(9))
    assert spectra.shape == (24, 100) and np.isfinite(spectra).all()
