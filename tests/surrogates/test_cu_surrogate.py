"""The shipped Cu K-edge surrogate: what it was trained on, gradients, the commands."""

import csv

import ase.build
import ase.io
import numpy as np
import pytest
import torch
from ase.spacegroup import crystal
from command_runner import refused, run

from diffxas.structure import Structure
from diffxas.weights import read_config
from surrogates.loading import SHIPPED, load_surrogate, surrogate_name

NAME = "cu-k-feff"
pytestmark = pytest.mark.skipif(not (SHIPPED / NAME / "config.json").is_file(),
                                reason=f"needs the shipped surrogate {NAME}")


def tenorite() -> Structure:
    """CuO, S. Asbrink and L.-J. Norrby, Acta Cryst. B 26, 8 (1970)."""
    return Structure.from_atoms(crystal(
        ["Cu", "O"], [(0.25, 0.25, 0), (0, 0.4184, 0.25)], spacegroup=15,
        cellpar=[4.6837, 3.4226, 5.1288, 90, 99.54, 90]))


@pytest.fixture(scope="module")
def surrogate():
    return load_surrogate(NAME)


def test_the_config_says_what_it_is_and_whose_the_data_are(surrogate):
    record = read_config(SHIPPED / NAME)
    assert (surrogate.element, surrogate.edge, len(surrogate.energy)) == ("Cu", "K", 141)
    assert len(surrogate.elements) >= 75
    assert "BSD-3-Clause" in record["licence"] and "Brookhaven" in record["licence"]
    assert sum(path.stat().st_size for path in (SHIPPED / NAME).iterdir()) < 2.5e6
    assert surrogate_name("Cu:K") == NAME and surrogate_name(None) == surrogate_name("C:K") == "a-C"
    assert all(member["eta"] > 5.5 for member in record["left_out"]["members"])


def test_no_held_out_material_was_trained_on(shared_data):
    with np.load(shared_data / "cu-K-feff" / "cu_k_feff.npz") as content:
        ids, split, energy = content["ids"].astype(str), content["split"], content["energy"]
    held_out = {one.rpartition("_")[0] for one in ids[split == 1]}
    training = read_config(SHIPPED / NAME)["training"]
    assert len(held_out) == 394 and len(training["parents"]) > 1700
    assert not held_out & set(training["parents"])
    np.testing.assert_array_equal(load_surrogate(NAME).energy, energy)


def test_gradient_of_a_spectrum_s_loss_is_the_numeric_one(surrogate):
    """To positions and to cell, float64, relative error below 1e-3 (and far below)."""
    exact = surrogate.to(torch.float64)
    structure = tenorite()
    target = torch.tensor(surrogate.predict_sites(structure).mean(0), dtype=torch.float64)
    rng = np.random.default_rng(0)
    start = torch.tensor(structure.positions + 0.05 * rng.standard_normal((8, 3)))

    def loss(x: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        return (exact.mean_spectrum(x, structure, cell) - target).square().mean()

    x, cell = start.clone().requires_grad_(), torch.tensor(structure.cell, requires_grad=True)
    by_atoms, by_cell = torch.autograd.grad(loss(x, cell), (x, cell))
    cell = cell.detach()
    h = 1e-4
    for _ in range(3):
        atoms = torch.tensor(rng.standard_normal((8, 3)))
        numeric = (loss(start + h * atoms, cell) - loss(start - h * atoms, cell)) / (2 * h)
        assert float((by_atoms * atoms).sum()) == pytest.approx(float(numeric), rel=1e-4)
        turn = torch.tensor(rng.standard_normal((3, 3)))
        numeric = (loss(start, cell + h * turn) - loss(start, cell - h * turn)) / (2 * h)
        assert float((by_cell * turn).sum()) == pytest.approx(float(numeric), rel=1e-4)


def test_equivalent_sites_have_one_spectrum_and_supercells_change_nothing(surrogate):
    structure = tenorite()
    sites = surrogate.predict_sites(structure)
    assert sites.shape == (4, 141) and np.ptp(sites, axis=0).max() < 1e-4
    doubled = Structure.from_atoms(structure.to_atoms().repeat((2, 1, 1)))
    np.testing.assert_allclose(surrogate.predict_sites(doubled)[:4], sites, atol=1e-4)
    step = sites[0][-20:].mean() / sites[0][:10].mean()
    assert sites.min() >= 0 and step > 5  # a white line and a continuum beyond an edge


def test_predict_writes_the_sites_of_a_cif(tmp_path):
    ase.io.write(tmp_path / "CuO.cif", tenorite().to_atoms())
    out = tmp_path / "spectra.csv"
    result = run("predict", tmp_path / "CuO.cif", "--edge", "Cu:K", "--sites", "--out", out)
    assert result.exit_code == 0, result.output
    assert f"Cu:K spectra of 1 structures by {NAME}, 141 points" in result.stdout
    with out.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["energy", *(f"CuO:{k}" for k in range(4))] and len(rows) == 142
    assert float(rows[1][0]) == pytest.approx(8983.173)
    by_name = tmp_path / "named.csv"
    result = run("predict", tmp_path / "CuO.cif", "--surrogate", NAME, "--sites", "--out", by_name)
    assert result.exit_code == 0 and by_name.read_text() == out.read_text()


def test_what_it_cannot_predict_is_refused(tmp_path):
    out = tmp_path / "out.csv"
    for name, atoms, told in (
            ("absent", ase.build.bulk("MgO", "rocksalt", a=4.2), "absorber Cu"),
            ("unknown", ase.build.bulk("CuKr", "rocksalt", a=5.0), "received Kr"),
            ("twice", ase.Atoms("CuCuO", [[0, 0, 0], [0, 0, 0.01], [2, 0, 0]], cell=[6, 6, 6],
                                pbc=True), "received atoms 0 and 1 of twice")):
        ase.io.write(tmp_path / f"{name}.extxyz", atoms)
        assert told in refused("predict", tmp_path / f"{name}.extxyz", "--edge", "Cu:K",
                               "--out", out)
    assert not out.exists()


def test_an_isolated_atom_is_flagged(tmp_path):
    ase.io.write(tmp_path / "lone.extxyz", ase.Atoms("Cu", [[0, 0, 0]], cell=[12] * 3, pbc=True))
    out = tmp_path / "out.csv"
    result = run("predict", tmp_path / "lone.extxyz", "--edge", "Cu:K", "--sites", "--out", out)
    assert result.exit_code == 0 and "not to be trusted: lone:0" in result.stdout
    assert "isolated" in (tmp_path / "out_uncertainty.csv").read_text().splitlines()[1]


def test_a_target_whose_prior_is_missing_is_refused_with_both_facts_and_the_remedy(tmp_path):
    energy = np.linspace(8950, 9050, 200)
    np.savetxt(tmp_path / "cu.txt", np.column_stack([energy, np.arctan(energy - 8990)]))
    line = refused("generate", tmp_path / "cu.txt", "--edge", "Cu:K", "--density", 6.0,
                   "--out", tmp_path / "run")
    assert "surrogate cu-k-feff (Cu:K)" in line and "received a-C, a prior of C" in line
    assert "diffxas train prior" in line and not (tmp_path / "run").exists()
