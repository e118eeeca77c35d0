"""Energy, pressure and trained properties as guides: values, gradients, refusals."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from random_surrogate import matgl_network
from synthetic_properties import KERNEL, config, write_properties

from diffxas.errors import InputError
from diffxas.matgl_potential import MatglEnergy, matgl_calculator
from diffxas.minimisers import EV_PER_A3_IN_GPA
from diffxas.potentials import check_potential, potential
from diffxas.structure import Structure
from samplers.algorithms import find_algorithm
from samplers.guides.kinds import guide_of
from samplers.guides.pressure import MatglPressureGuide
from samplers.setup import GenerateOptions, check_guides
from surrogates.property_training import train_property

OPTIONS = GenerateOptions(density=2.0)


def crystal_like(n: int = 3, spacing: float = 1.6) -> Structure:
    """Carbon on a jittered grid of a cell that is not a cube."""
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 3)
    jitter = np.random.default_rng(2).uniform(-0.15, 0.15, (n**3, 3))
    cell = n * spacing * (np.eye(3) + np.array([[0, 0.1, 0], [0, 0, 0], [0.05, 0, 0.1]]))
    return Structure((grid / n) @ cell + jitter, np.full(n**3, 6), cell)


@pytest.fixture(scope="module", params=["TensorNet", "M3GNet"])
def folder(request, tmp_path_factory) -> Path:
    """A matgl potential of random weights with offsets, as the library saves it, float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matgl.apps.pes import Potential

        path = tmp_path_factory.mktemp("matgl") / request.param
        Potential(matgl_network(request.param), data_mean=0.3, data_std=200.0,
                  element_refs=np.array([-7.0, -1.0])).save(path)
    return path


def doubled(model: MatglEnergy) -> MatglEnergy:
    model.potential = model.potential.double()
    return model


def numeric(f, x: torch.Tensor, atom: int, axis: int, h: float = 1e-4) -> float:
    move = torch.zeros_like(x)
    move[atom, axis] = h
    return float(f(x + move) - f(x - move)) / (2 * h)


def test_the_energy_is_what_matgl_computes(folder):
    structure = crystal_like()
    guide = guide_of(f"energy:{folder}=<-7.6", structure, OPTIONS)
    atoms = structure.to_atoms()
    atoms.calc = matgl_calculator(str(folder), {"C"})
    expected = atoms.get_potential_energy() / len(atoms)
    (name,) = guide.requests
    assert guide.reached(structure)[name] == pytest.approx(expected, rel=1e-5)
    sites = guide.sites(torch.tensor(structure.positions))
    assert sites.shape == (len(structure), 1) and float(sites.std()) > 1e-4


def test_energy_and_pressure_have_the_numeric_gradients(folder):
    structure = crystal_like()
    x = torch.tensor(structure.positions, requires_grad=True)
    for text in (f"energy:{folder}=-9+-0.1", f"pressure:{folder}=30+-10"):
        guide = guide_of(text, structure, OPTIONS)
        guide.model = doubled(MatglEnergy(str(folder), {"C"}))
        (gradient,) = torch.autograd.grad(guide(x, 0.0), x)
        assert torch.isfinite(gradient).all() and gradient.abs().max() > 1e-4
        for atom, axis in ((0, 0), (13, 1), (26, 2)):
            expected = numeric(lambda y, g=guide: g(y, 0.0).detach(), x.detach(), atom, axis)
            assert float(gradient[atom, axis]) == pytest.approx(
                expected, rel=1e-3, abs=1e-3 * float(gradient.abs().max()))


def test_the_pressure_is_that_of_matgls_stress(folder):
    structure = crystal_like()
    guide = guide_of(f"pressure:{folder}=0", structure, OPTIONS)
    assert isinstance(guide, MatglPressureGuide) and guide.differentiable
    atoms = structure.to_atoms()
    atoms.calc = matgl_calculator(str(folder), {"C"})
    expected = -atoms.get_stress(voigt=False).trace() / 3 * EV_PER_A3_IN_GPA
    (name,) = guide.requests
    assert guide.reached(structure)[name] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_atoms_on_one_spot_have_a_finite_energy_and_gradient(folder):
    structure = crystal_like()
    x = torch.tensor(structure.positions)
    x[1] = x[0]
    x.requires_grad_()
    guide = guide_of(f"energy:{folder}=-9", structure, OPTIONS)
    (gradient,) = torch.autograd.grad(guide(x, 0.0), x)
    assert torch.isfinite(gradient).all()


def test_a_pressure_by_the_default_potential_has_no_gradient_and_dps_says_so():
    try:
        check_potential("rebo", {"C"})
    except Exception as error:
        pytest.skip(f"no LAMMPS: {error}")
    structure = crystal_like()
    guide = guide_of("pressure=0:5", structure, OPTIONS)
    evaluation = potential("rebo", {"C"}).evaluate(structure.wrapped())
    assert guide.reached(structure)["pressure"] == pytest.approx(evaluation.pressure_gpa)
    assert not guide.differentiable
    with pytest.raises(InputError, match=r"pressure=0:5"):
        check_guides([guide], find_algorithm("dps"))


@pytest.mark.parametrize("key", ["bulk", "energy", "crowd"])
def test_a_trained_property_is_asked_in_its_own_units(key, tmp_path):
    data = write_properties(tmp_path / "cells.extxyz")
    done = train_property([data], tmp_path / key, key, config(tmp_path, KERNEL))
    structure = crystal_like(2)
    guide = guide_of(f"property:{done.folder}=3", structure, OPTIONS)
    x = torch.tensor(structure.positions, requires_grad=True)
    value = guide.model.value(x, structure).detach().mean()
    (name,) = guide.requests
    assert guide.reached(structure)[name] == pytest.approx(float(value), rel=1e-6)
    guide.model = guide.model.to(torch.float64)
    (gradient,) = torch.autograd.grad(guide.sites(x).mean(), x)
    expected = numeric(lambda y: guide.sites(y).mean().detach(), x.detach(), 3, 1)
    assert float(gradient[3, 1]) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("text", ["energy:/nowhere=<-7", "energy:=-7", "property:/nowhere=3",
                                  "property:=3", "pressure:/nowhere=3", "pressure=high"])
def test_what_cannot_be_used_is_refused(text):
    with pytest.raises(InputError):
        guide_of(text, crystal_like(2), OPTIONS)
