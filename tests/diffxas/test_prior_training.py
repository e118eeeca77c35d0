"""Training a prior from files: labels, exclusions, records, resuming, and refusals."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from core_examples import OBLIQUE, small_prior

from diffxas.denoiser import PriorDenoiser
from diffxas.errors import InputError
from diffxas.graph import build_graph
from diffxas.prior import (
    DenoisingLoss,
    PriorTraining,
    build_options,
    load_prior,
    load_samples,
    read_toml,
    train_prior,
)

MODEL = """
[model]
cutoff = 2.5
n_layers = 1
n_scalars = 8
n_vectors = 4
n_tensors = 4
n_products = 4
hidden = 8
n_basis = 8
"""
STEPS = "\n[schedule]\nsteps = 3\nwarmup = 1\n"


def cell(name: str, seed: int, **info: str) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = Atoms("C4H3", rng.random((7, 3)) @ OBLIQUE, cell=OBLIQUE, pbc=True)
    atoms.info.update(name=name, **info)
    return atoms


@pytest.fixture
def data(tmp_path):
    """Five cells of C and H: a network, two of its descendants, another, one without a label."""
    write(tmp_path / "cells.extxyz", [
        cell("a", 0, kind="melt-quenched"), cell("a1", 1, kind="variant", parent="a"),
        cell("a2", 2, kind="variant", parent="a"), cell("b", 3, kind="melt-quenched"),
        cell("c", 4)])
    return tmp_path / "cells.extxyz"


def config(tmp_path, text: str = "", model: str = MODEL, steps: str = STEPS):
    path = tmp_path / "config.toml"
    path.write_text(text + model + steps)
    return path


def test_a_prior_is_trained_recorded_and_loaded(tmp_path, data):
    folder = train_prior([data], tmp_path / "prior", config(tmp_path))
    record = json.loads((folder / "config.json").read_text())
    assert record["kind"] == "prior" and record["elements"] == ["C", "H"]
    assert record["model"]["kinds"] == ["any", "melt-quenched", "variant"]
    assert record["training"]["structures"] == ["a", "a1", "a2", "b", "c"]
    assert record["training"]["parents"] == ["a", "b", "c"]
    assert len(record["training"]["data_hash"]) == 64
    assert (folder / "loss.csv").is_file() and (folder / "loss.png").is_file()
    network = load_prior(folder)
    system = load_samples([data], PriorTraining())[0].structure
    x_0 = PriorDenoiser(network, system, "variant")(torch.tensor(system.positions), 0.3)
    assert x_0.shape == (7, 3) and torch.isfinite(x_0).all()
    assert not any(p.requires_grad for p in network.parameters())


def test_the_typical_number_of_neighbours_is_that_of_the_model_s_cutoff(tmp_path, data):
    folder = train_prior([data], tmp_path / "prior", config(tmp_path))
    structures = [s.structure for s in load_samples([data], PriorTraining())]
    graph = build_graph(structures, 2.5)
    expected = len(graph.center) / graph.n_atoms
    assert load_prior(folder).config.degree == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("names, left", [
    ("b", ["a", "a1", "a2", "c"]), ("a", ["b", "c"]), ("a1\nc", ["a", "a2", "b"]),
])
def test_excluded_structures_and_their_descendants_take_no_part(tmp_path, data, names, left):
    (tmp_path / "heldout.txt").write_text(names)
    text = f'exclude = "{tmp_path / "heldout.txt"}"\n'
    folder = train_prior([data], tmp_path / "prior", config(tmp_path, text))
    record = json.loads((folder / "config.json").read_text())
    assert record["training"]["structures"] == left


def test_kinds_come_from_the_structure_then_from_the_config_then_are_any(data):
    kinds = [s.kind for s in load_samples([data], PriorTraining())]
    assert kinds == ["melt-quenched", "variant", "variant", "melt-quenched", "any"]
    named = load_samples([data], PriorTraining(kinds={"cells": "DFT"}))
    assert [s.kind for s in named] == [*kinds[:4], "DFT"]


def test_folders_are_read_whole_and_frames_without_a_name_are_numbered(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    unnamed = [cell("", k) for k in range(2)]
    for atoms in unnamed:
        del atoms.info["name"]
    write(folder / "two.extxyz", unnamed)
    write(folder / "one.vasp", unnamed[0], sort=True)
    (folder / "README.md").write_text("not a structure")
    assert [s.name for s in load_samples([folder], PriorTraining())] == ["one", "two#0", "two#1"]


def test_labels_are_hidden_and_weighted_as_the_config_says(data):
    options = PriorTraining(drop_kind=0.25, weights={"variant": 0.0, "any": 0.0}, batch=4)
    samples = load_samples([data], options)
    seen = []

    class Spy(torch.nn.Module):
        """Answers with x_t and writes down the labels."""

        def __init__(self, config):
            super().__init__()
            self.config = config
            self.zero = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x_t, sigma, species, kind, graph):
            seen.extend(kind.reshape(-1, 7)[:, 0].tolist())
            assert (sigma >= self.config.sigma_min).all() and (sigma <= self.config.sigma_max).all()
            return x_t + self.zero

    network = small_prior()  # kinds: any, melt-quenched, variant
    loss = DenoisingLoss(samples, network, options)
    spy = Spy(network.config)
    values = [float(loss(spy, step).detach()) for step in range(150)]
    # D(x_t) = x_t leaves the whole noise: chi squared of one degree, mean 1
    assert np.mean(values) == pytest.approx(1, abs=4 * (2 / (600 * 21)) ** 0.5)
    assert set(seen) == {0, 1}  # the variants' weight is zero
    assert np.mean(np.array(seen) == 0) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 600) ** 0.5)


def test_a_step_sees_the_same_batch_whenever_it_is_taken(data):
    network = small_prior()
    loss = DenoisingLoss(load_samples([data], PriorTraining()), network, PriorTraining())
    seventh = float(loss(network, 7))
    assert float(loss(network, 8)) != seventh
    assert float(loss(network, 7)) == seventh


def test_the_same_command_again_changes_nothing_and_another_is_refused(tmp_path, data):
    folder = train_prior([data], tmp_path / "prior", config(tmp_path))
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".png"}
    train_prior([data], folder, config(tmp_path))
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".png"} == before
    with pytest.raises(InputError, match=r"differs in training: choose another --out"):
        train_prior([data], folder, config(tmp_path, "seed = 5\n"))
    write(data, [cell("a", 9)])
    with pytest.raises(InputError, match="must be empty or hold this same training"):
        train_prior([data], folder, config(tmp_path))
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".png"} == before


def test_a_folder_of_other_files_is_refused(tmp_path, data):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="received other files"):
        train_prior([data], tmp_path / "mine", config(tmp_path))
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_prior_goes_on_from_another_and_inherits_its_record(tmp_path, data):
    write(tmp_path / "more.extxyz", [cell("d", 5, kind="variant"), cell("e", 6, kind="DFT")])
    room = 'more_kinds = ["DFT"]\n'
    first = train_prior([data], tmp_path / "first", config(tmp_path, room))
    text = f'init = "{first}"\n'
    steps = "\n[schedule]\nsteps = 1\nwarmup = 1\nlearning_rate = 0.0\n"
    more = 'more_kinds = ["melt-quenched"]\n' + text
    second = train_prior([tmp_path / "more.extxyz"], tmp_path / "second",
                         config(tmp_path, more, steps=steps))
    record = json.loads((second / "config.json").read_text())
    assert record["training"]["structures"] == ["a", "a1", "a2", "b", "c", "d", "e"]
    one, two = load_prior(first).state_dict(), load_prior(second).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)  # a rate of zero: the weights are its
    with pytest.raises(InputError, match=r"init must be a prior of the same model.*kinds"):
        train_prior([tmp_path / "more.extxyz"], tmp_path / "third", config(tmp_path, text))


@pytest.mark.parametrize("text, model, message", [
    ("dropkind = 0.1\n", MODEL, "the config must hold keys among.*received dropkind"),
    ("", MODEL + "layers = 4\n", r"\[model\] must hold keys among.*received layers"),
    ('batch = "two"\n', MODEL, "batch in the config must be of type int such as 2, received 'two'"),
    ("", MODEL.replace("2.5", '"long"'), r"cutoff in \[model\] must be of type float"),
    ('exclude = "nowhere.txt"\n', MODEL, "exclude must be a text file of names"),
    ("batch = \n", MODEL, "the config must be a TOML file"),
])
def test_a_wrong_config_is_refused_before_anything_is_written(tmp_path, data, text, model, message):
    with pytest.raises(InputError, match=message):
        train_prior([data], tmp_path / "prior", config(tmp_path, text, model))
    assert not (tmp_path / "prior").exists()


def test_options_take_integers_for_numbers_and_defaults_for_the_rest():
    options = build_options(PriorTraining, {"sigma_median": 1}, "the config")
    assert options.sigma_median == 1 and options.batch == PriorTraining().batch
    assert read_toml(None) == {}


@pytest.mark.parametrize("atoms, message", [
    (Atoms("C2", [[0, 0, 0], [1, 1, 1]], cell=OBLIQUE, pbc=[1, 1, 0]), "must be periodic"),
    (cell("big", 0).repeat((3, 1, 1)), "at most 20 atoms"),
])
def test_structures_that_cannot_be_trained_on_are_refused(tmp_path, atoms, message):
    write(tmp_path / "bad.extxyz", atoms)
    with pytest.raises(InputError, match=message):
        load_samples([tmp_path / "bad.extxyz"], PriorTraining(max_atoms=20))


def test_nothing_to_train_on_is_refused(tmp_path, data):
    (tmp_path / "heldout.txt").write_text("a b c")
    with pytest.raises(InputError, match="at least one structure, received none"):
        load_samples([data], PriorTraining(exclude=str(tmp_path / "heldout.txt")))


def test_tensors_of_another_architecture_are_refused(tmp_path, data):
    folder = train_prior([data], tmp_path / "prior", config(tmp_path))
    record = json.loads((folder / "config.json").read_text())
    record["model"]["n_scalars"] = 16
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"must hold the tensors that config.json describes"):
        load_prior(folder)
