"""The README's own functions guide: they are short, right, and taken as it says."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk

from diffxas.potentials import check_potential
from diffxas.structure import Structure
from samplers.algorithms import find_algorithm
from samplers.guides.kinds import KINDS, guide_of
from samplers.setup import GenerateOptions, check_guides

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
OWN = re.findall(r"^```python mine\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
ASKED = re.findall(r'--guide "?(mine\.py:[^"\s]+)', README)
DIAMOND = Structure.from_atoms(bulk("C", "diamond", 3.57, cubic=True))


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("\n".join(OWN), encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def test_each_has_under_ten_lines():
    assert len(OWN) == 2
    assert all(len(block.strip().splitlines()) < 10 for block in OWN)


def test_the_one_with_a_gradient():
    (text,) = [one for one in ASKED if "layering" in one]
    guide = guide_of(text, DIAMOND, GenerateOptions(density=3.5))
    check_guides([guide], find_algorithm("dps"))
    (name,) = guide.requests
    assert guide.reached(DIAMOND)[name] == pytest.approx(1.0)  # four (004) layers
    noise = np.random.default_rng(0).normal(0, 0.3, DIAMOND.positions.shape)
    x = torch.tensor(DIAMOND.positions + noise, requires_grad=True)
    value = guide(x, 0.0)
    (gradient,) = torch.autograd.grad(value, x)
    with torch.no_grad():
        assert float(guide(x + 1e-3 * gradient / gradient.norm(), 0.0)) > float(value)


def test_the_bulk_modulus_by_lammps():
    try:
        check_potential("rebo", {"C"})
    except Exception as error:
        pytest.skip(f"no LAMMPS: {error}")
    (text,) = [one for one in ASKED if "bulk_modulus" in one]
    guide = guide_of(text, DIAMOND, GenerateOptions(density=3.5))
    assert not guide.differentiable
    check_guides([guide], find_algorithm("particles"))
    (name,) = guide.requests
    # Brenner and others (2002), table 6: B = (C11 + 2 C12) / 3 = 442 GPa
    assert guide.reached(DIAMOND)[name] == pytest.approx(442, rel=0.03)
    assert guide.distance(DIAMOND) == 0


def test_every_kind_is_in_the_table():
    table = README.split("## Guides")[1].split("\n## ")[0]
    assert [kind for kind in KINDS if f"`{kind}" not in table] == []
