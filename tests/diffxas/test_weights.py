"""Model folders: what is written comes back, and what does not fit is refused."""

import json

import pytest
import torch
from torch import nn

from diffxas.errors import InputError
from diffxas.weights import (
    CONFIG,
    WEIGHTS,
    find_model,
    load_weights,
    read_config,
    read_tensors,
    save_model,
    shipped_names,
    weights_hash,
)

TENSORS = {"a": torch.arange(6, dtype=torch.float64).reshape(2, 3).T, "b.c": torch.tensor(7)}


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "model", {"kind": "prior", "elements": ["C"]}, TENSORS)
    return tmp_path / "model"


def test_a_model_comes_back_as_it_was_saved(folder):
    assert read_config(folder, "prior") == {"format": 1, "kind": "prior", "elements": ["C"]}
    tensors = read_tensors(folder)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_a_model_folder_holds_two_files_that_others_may_read(folder):
    assert sorted(p.name for p in folder.iterdir()) == [CONFIG, WEIGHTS]
    modes = {(folder / name).stat().st_mode & 0o777 for name in (CONFIG, WEIGHTS)}
    (folder / "ordinary").touch()
    assert modes == {(folder / "ordinary").stat().st_mode & 0o777}


def test_weights_go_into_the_module_that_they_are_of(tmp_path):
    module, other = nn.Linear(3, 2), nn.Linear(3, 2)
    save_model(tmp_path / "linear", {"kind": "prior"}, module.state_dict())
    load_weights(other, tmp_path / "linear")
    assert torch.equal(module.weight, other.weight) and torch.equal(module.bias, other.bias)
    with pytest.raises(InputError, match=r"must hold the tensors that config.json describes") as e:
        load_weights(nn.Linear(4, 2), tmp_path / "linear")
    assert "\n" not in str(e.value)


def test_damaged_weights_are_refused(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged"):
        read_tensors(folder)


@pytest.mark.parametrize("text", ["{", "[1, 2]", ""])
def test_a_damaged_config_is_refused(folder, text):
    (folder / CONFIG).write_text(text)
    with pytest.raises(InputError, match=r"must (be JSON|hold a JSON object)"):
        read_config(folder)


def test_the_wrong_kind_is_refused(folder):
    with pytest.raises(InputError, match="must be a surrogate, received a prior"):
        read_config(folder, "surrogate")


@pytest.mark.parametrize("version", [0, 2, None])
def test_another_format_is_refused(folder, version):
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**content, "format": version}))
    with pytest.raises(InputError, match=f"format 1, received {version}"):
        read_config(folder, "prior")


@pytest.mark.parametrize("missing", [CONFIG, WEIGHTS])
def test_half_a_model_is_refused(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(InputError, match=r"must be a folder with config.json and weights"):
        read_config(folder)


def test_the_hash_sees_config_and_weights(folder):
    before = weights_hash(folder)
    assert before == weights_hash(folder)
    save_model(folder, {"kind": "prior", "elements": ["H"]}, TENSORS)
    other_config = weights_hash(folder)
    save_model(folder, {"kind": "prior", "elements": ["C"]}, {**TENSORS, "b.c": torch.tensor(8)})
    assert len({before, other_config, weights_hash(folder)}) == 3


def test_models_are_found_by_name_and_by_path(folder, tmp_path):
    assert shipped_names(tmp_path) == ["model"]
    assert find_model("model", tmp_path) == folder
    assert find_model(str(folder), tmp_path / "nowhere") == folder
    with pytest.raises(InputError, match="one of model, received 'modell'"):
        find_model("modell", tmp_path)
