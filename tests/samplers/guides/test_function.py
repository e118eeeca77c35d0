"""Users' own functions as guides, and what is refused before sampling."""

import numpy as np
import pytest
import torch

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.guides.function import OwnGuide, OwnQuantityGuide, probe_of
from samplers.guides.kinds import KINDS, guide_of
from samplers.setup import GenerateOptions

OPTIONS = GenerateOptions(density=2.0)
SYSTEM = Structure(np.zeros((20, 3)), np.full(20, 6), 6.0 * np.eye(3))
MINE = """
import math
import torch

def spread(positions, structure):
    return positions.std() / structure.volume

def pull(positions, structure):
    return -positions.square().sum()

def mass(structure):
    return structure.density

def scored(structure):
    return -structure.density

def nothing(structure):
    return math.nan

def many(positions, structure):
    return positions.sum(1)

def broken(positions, structure):
    return positions[999].sum()

def cut(positions, structure):
    return positions.detach().sum()

def still(positions, structure):
    return torch.ones(1, requires_grad=True).sum()

def root(positions, structure):
    return (positions * 0).sum().sqrt()

def text(structure):
    return "heavy"

def three(a, b, c):
    return 0.0

number = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine_of_this_test.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine_of_this_test.py"


@pytest.mark.parametrize("where", ["mine_of_this_test", "mine_of_this_test.py",
                                   "./mine_of_this_test.py"])
def test_a_module_or_a_file_of_the_current_folder_is_found(where, mine):
    guide = guide_of(f"{where}:spread=0.02+-0.001", SYSTEM, OPTIONS)
    assert isinstance(guide, OwnQuantityGuide) and guide.differentiable
    probe = probe_of(SYSTEM)
    x = torch.tensor(probe.positions, requires_grad=True)
    value = float(x.detach().std()) / SYSTEM.volume
    assert guide.reached(probe)[f"{where}:spread"] == pytest.approx(value)
    scale = 216 / 20
    assert float(guide(x, 0.0).detach()) == pytest.approx(
        -0.5 * (value - 0.02) ** 2 / (scale * 0.001**2))
    (gradient,) = torch.autograd.grad(guide(x, 0.0), x)
    assert gradient.abs().max() > 0


def test_without_a_value_the_function_is_the_log_likelihood(mine):
    guide = guide_of(f"{mine}:pull", SYSTEM, OPTIONS)
    assert isinstance(guide, OwnGuide)
    x = torch.tensor(probe_of(SYSTEM).positions, requires_grad=True)
    (gradient,) = torch.autograd.grad(guide(x, 0.1), x)
    torch.testing.assert_close(gradient, -2 * x.detach())


def test_a_function_of_the_structure_has_no_gradient(mine):
    for text, name in ((f"{mine}:mass=<3", f"{mine}:mass"), (f"{mine}:scored", "log_likelihood")):
        guide = guide_of(text, SYSTEM, OPTIONS)
        assert not guide.differentiable
        value = guide.reached(probe_of(SYSTEM))[name]
        assert abs(value) == pytest.approx(SYSTEM.density)
    assert guide_of(f"{mine}:mass=<3", SYSTEM, OPTIONS).distance(SYSTEM) == 0


def test_another_cell_is_seen_by_the_function(mine):
    larger = Structure(np.zeros((20, 3)), np.full(20, 6), 12.0 * np.eye(3))
    guide = guide_of(f"{mine}:mass=<3", SYSTEM, OPTIONS).at(larger)
    x = torch.tensor(probe_of(larger).positions)
    assert float(guide.sites(x)) == pytest.approx(SYSTEM.density / 8)


@pytest.mark.parametrize(("function", "message"), [
    ("nothing", "finite number, received nan"), ("many", r"one number, received .* \(20,\)"),
    ("broken", "received IndexError"), ("cut", "must have a gradient in them, received none"),
    ("still", "finite gradient in them, received none"),
    ("root", "finite gradient in them, received NaN"),
    ("text", "one number, received str"), ("three", "with 3 parameters"),
    ("number", "has no function number"), ("missing", "has no function missing"),
    ("spread=many", "must be written")])
def test_what_cannot_guide_stops_before_sampling_with_its_name(function, message, mine):
    with pytest.raises(InputError, match=message) as refused:
        guide_of(f"{mine}:{function}", SYSTEM, OPTIONS)
    assert f"{mine}:{function.split('=')[0]}" in str(refused.value)


def test_a_missing_gradient_names_the_algorithms_that_would_do(mine, monkeypatch):
    monkeypatch.setattr("samplers.algorithms.without_gradient", lambda: ["weighting", "particles"])
    with pytest.raises(InputError, match="--algorithm weighting or particles"):
        guide_of(f"{mine}:cut", SYSTEM, OPTIONS)


def test_a_module_that_fails_to_import_is_told(tmp_path):
    (tmp_path / "bad.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    with pytest.raises(InputError, match="nowhere_to_be_found"):
        guide_of(f"{tmp_path / 'bad.py'}:f", SYSTEM, OPTIONS)


@pytest.mark.parametrize("text", ["coordinaton:4=0.3", "xane:film.csv", "propery:hardness=3",
                                  "nowhere.py:f", "4=0.3", "coordination", "", "energy"])
def test_typing_errors_get_the_list_of_kinds(text):
    with pytest.raises(InputError) as refused:
        guide_of(text, SYSTEM, OPTIONS)
    assert all(form in str(refused.value) for _, form in KINDS.values())


def test_the_probe_has_no_two_atoms_on_one_spot():
    from diffxas.analysis import minimum_distance

    assert minimum_distance(probe_of(SYSTEM)) > 1.2
