"""Surrogates of noised structures: symmetries, gradients, the covariance, training, the weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from random_surrogate import equivariant, made_up_spectra
from scipy.spatial.transform import Rotation
from surrogate_fakes import GRID

from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.weights import save_model
from surrogates.base import Surrogate
from surrogates.loading import SHIPPED, load_surrogate
from surrogates.noised import NoisedConfig, NoisedNetwork, NoisedSurrogate, load_noised, noised_for
from surrogates.noised_training import (
    Lesson,
    NoisedLoss,
    NoisedTraining,
    cell_errors,
    measure,
    new_network,
    set_apart,
    train_noised,
    weights_of,
)

SIZES = {"n_layers": 2, "cutoff": 3.0, "n_scalars": 8, "n_vectors": 4, "n_tensors": 4,
         "n_products": 4, "hidden": 8, "n_basis": 8, "n_head": 8, "degree": 10.0,
         "n_components": 4}
CONFIG = NoisedConfig(["C", "H"], "C", "K", "random", "DFT", GRID.tolist(), **SIZES)
LEVELS = np.array([0.05, 0.2, 0.8])
DATA = Path(__file__).parents[2] / "experiments" / "data"


def cell(seed: int = 0, atoms: int = 12, name: str = "cell") -> Structure:
    rng = np.random.default_rng(seed)
    return Structure(rng.random((atoms, 3)) * 5, [6] * (atoms - 2) + [1] * 2, 5.0 * np.eye(3),
                     info={"name": name})


def lessons(n: int = 4) -> list[Lesson]:
    spectra = made_up_spectra()
    return [Lesson(cell(k), f"cell_{k}", f"cell_{k // 2}", np.arange(10),
                   spectra[10 * k : 10 * k + 10]) for k in range(n)]


@pytest.fixture
def random() -> NoisedSurrogate:
    network = new_network(lessons(), CONFIG, NoisedTraining()).requires_grad_(False)
    network.third.weight.mul_(100)  # untrained, it would hardly tell one site from another
    b = np.random.default_rng(0).standard_normal((3, 4, 4))
    return NoisedSurrogate("random", {}, network, LEVELS, b @ b.transpose(0, 2, 1)).to(
        torch.float64)


def test_sites_turn_shift_and_swap_with_the_atoms(random):
    structure = cell()
    x = torch.tensor(structure.positions)
    sites = random.sites(x, 0.2, structure)
    assert sites.shape == (10, 100) and float(sites.std(0).max()) > 1e-3
    rotation = Rotation.from_euler("xyz", (0.3, 1.0, -0.7)).as_matrix()
    turned = Structure(structure.positions @ rotation.T, structure.numbers,
                       structure.cell @ rotation.T)
    torch.testing.assert_close(random.sites(torch.tensor(turned.positions), 0.2, turned), sites)
    torch.testing.assert_close(random.sites(x + torch.tensor([7.0, -3.0, 1.0]), 0.2, structure),
                               sites)
    order = torch.tensor([3, 1, 0, 2, *range(4, 12)])
    torch.testing.assert_close(random.sites(x[order], 0.2, structure), sites[order[:10]])


def test_the_noise_level_is_seen(random):
    x = torch.tensor(cell().positions)
    assert not torch.allclose(random.sites(x, 0.1, cell()), random.sites(x, 0.4, cell()),
                              atol=1e-3)


def test_the_gradient_is_that_of_finite_differences(random):
    structure = cell()
    x = torch.tensor(structure.positions, requires_grad=True)
    (gradient,) = torch.autograd.grad(random.sites(x, 0.3, structure).mean(0)[30], x)
    step = torch.zeros_like(x)
    step[4, 1] = 1e-5
    with torch.no_grad():
        up, down = (random.sites(x + s * step, 0.3, structure).mean(0)[30] for s in (1, -1))
    assert float(gradient[4, 1]) == pytest.approx(float(up - down) / 2e-5, rel=1e-4)
    assert abs(float(gradient[4, 1])) > 1e-6


def test_the_covariance_is_one_and_falls_with_the_number_of_sites(random):
    small, large = (random.mean_covariance(0.2, n) for n in (10, 40))
    np.testing.assert_allclose(small, 4 * large)
    np.testing.assert_allclose(small, small.T)
    assert np.linalg.eigvalsh(small).min() > -1e-12
    p = random.network.components.numpy()
    np.testing.assert_allclose(small, p.T @ random.covariance[1] @ p / 10)
    between = random.mean_covariance(0.4, 10)  # halfway from 0.2 to 0.8 in log sigma
    np.testing.assert_allclose(between, (small + random.mean_covariance(0.8, 10)) / 2)
    np.testing.assert_allclose(random.mean_covariance(2.0, 10), random.mean_covariance(0.8, 10))


def test_the_table_holds_the_errors_of_cells(random, monkeypatch):
    monkeypatch.setattr("surrogates.noised_training.LEVELS", (0.1, 0.4))
    network = random.network
    levels, table, figures = measure(network, lessons(2), 3)
    errors, _ = cell_errors(network, lessons(2), levels, 4, 3)
    found = np.stack([np.diag(b) for b in table]) / 10
    np.testing.assert_allclose(found, (errors**2).mean((0, 2)), rtol=1e-6)
    assert (np.linalg.eigvalsh(table).min(1) > -1e-9).all()
    variance = [np.trace(network.components.numpy().T @ b @ network.components.numpy()) / 1000
                for b in table]
    np.testing.assert_allclose(np.square(figures["cell_rms"]), variance, rtol=1e-6)


def test_networks_are_set_apart_whole():
    seen, apart = set_apart(lessons(6), 2)
    assert {d.parent for d in seen}.isdisjoint({d.parent for d in apart})
    assert len(seen) + len(apart) == 6 and apart
    with pytest.raises(InputError, match="left_out must be at least 2"):
        set_apart(lessons(6), 1)


def test_kinds_are_drawn_as_asked():
    data = lessons(4)
    data[0] = Lesson(data[0].structure.with_info(kind="sample"), "a", "a", data[0].sites,
                     data[0].spectra)
    weights = weights_of(data, {"sample": 0.5})
    np.testing.assert_allclose(weights / weights[1], [0.5, 1, 2**-0.5, 2**-0.5])


def test_the_loss_teaches_what_dense_cells_have_and_others_have_not():
    spectra = made_up_spectra()[:2]
    data = []
    for k in range(4):
        dense = cell(k, name=f"cell_{k}")
        shrunk = Structure(dense.positions * 0.7, dense.numbers, dense.cell * 0.7)
        rows = spectra[k % 2] + 0.01 * np.random.default_rng(k).standard_normal((10, 100))
        data.append(Lesson(shrunk if k % 2 else dense, f"{k}", f"{k}", np.arange(10), rows))
    options = NoisedTraining(batch=2, seed=1)
    network = new_network(data, CONFIG, options)
    loss = NoisedLoss(data, network, options)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    before = cell_errors(network, data, (0.1,), 1, 0)[0][..., 0]
    for step in range(40):
        optimizer.zero_grad()
        loss(network, step).backward()
        optimizer.step()
    after = cell_errors(network, data, (0.1,), 1, 0)[0][..., 0]
    assert np.abs(before).min() > 0.8
    assert np.abs(after).max() < 0.5


def teacher_in(folder: Path) -> Surrogate:
    """A random surrogate in a folder."""
    random = equivariant()
    record = {"kind": "surrogate", "family": "equivariant", "model": random.config.to_dict()}
    save_model(folder, record, {f"{k}.{name}": tensor for k, member in enumerate(random.members)
                                for name, tensor in member.state_dict().items()})
    return load_surrogate(folder)


def test_training_resumes_and_the_weights_are_found_by_their_teacher(tmp_path, monkeypatch):
    monkeypatch.setattr("surrogates.noised_training.LEVELS", (0.1, 0.4))
    monkeypatch.setattr("surrogates.noised_training.DRAWS", 1)
    teacher = teacher_in(tmp_path / "teacher")
    config = tmp_path / "noised.toml"
    sizes = "\n".join(f"{key} = {value}" for key, value in SIZES.items())
    (tmp_path / "out.txt").write_text("cell_9")
    config.write_text(f"exclude = '{tmp_path / 'out.txt'}'\nleft_out = 2\n[model]\n{sizes}\n"
                      "[schedule]\nsteps = 4\nwarmup = 1\ncheckpoint_every = 2\n")
    structures = [cell(k, name=f"cell_{k}") for k in range(4)]
    folder = tmp_path / "teacher-noised"
    train_noised([*structures, cell(9, name="cell_9")], teacher, folder, config)
    found = noised_for(teacher)
    assert found.config.teacher == str(tmp_path / "teacher")
    assert found.record["training"]["structures"] == ["cell_0", "cell_2", "cell_1", "cell_3"]
    assert (found.covariance != 0).all()
    before = (folder / "weights.safetensors").read_bytes()
    train_noised(structures, teacher, folder, config)  # nothing is left to do
    assert (folder / "weights.safetensors").read_bytes() == before
    with pytest.raises(InputError, match="same training"):
        train_noised(structures[:3], teacher, folder, config)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    network = NoisedNetwork(CONFIG)
    save_model(tmp_path / "one", {"kind": "noised", "model": CONFIG.to_dict()},
               network.state_dict())
    with pytest.raises(InputError, match=r"must hold the tensors .* others .'levels'"):
        load_noised(tmp_path / "one")
    with pytest.raises(InputError, match="sigma_min and sigma_max"):
        NoisedConfig(["C"], "C", "K", "t", "DFT", GRID.tolist(), sigma_min=0.8, sigma_max=0.1)


@pytest.mark.skipif(not (SHIPPED / "a-C-noised").is_dir(), reason="needs the weights a-C-noised")
class TestShipped:
    def test_the_weights_are_small_and_know_no_held_out_network(self):
        folder = SHIPPED / "a-C-noised"
        assert (folder / "weights.safetensors").stat().st_size < 1e6
        training = load_noised("a-C-noised").record["training"]
        names = set((DATA / "a-C-NEP" / "heldout.txt").read_text().split())
        known = {*training["structures"], *training["parents"]}
        assert len(known) > 150
        assert not {name.split("_v")[0] for name in known} & names
        assert not known & {"high_2.40", "low_2.40", "high_3.10", "low_3.10"}

    def test_noise_of_0_3_angstrom_leaves_held_out_pairs_apart(self):
        """Equal density, more or less sp3; told with the density's mean alone, the share is 0."""
        from diffxas.structure_files import read_structures

        noised, teacher = load_noised("a-C-noised"), load_surrogate("a-C").guiding()
        pairs = {str(s.info["name"]): s
                 for s in read_structures(DATA / "a-C-NEP" / "pairs.extxyz")}
        for density in ("2.40", "3.10"):
            high, low = pairs[f"high_{density}"], pairs[f"low_{density}"]
            truth = [teacher.predict_sites(s).mean(0) for s in (high, low)]
            said = []
            for s in (high, low):
                z = np.random.default_rng(5).standard_normal(s.positions.shape)
                with torch.no_grad():
                    x_t = torch.tensor(s.positions + 0.3 * z)
                    said.append(noised.sites(x_t, 0.3, s).mean(0).numpy())
            along = truth[0] - truth[1]
            share = (said[0] - said[1]) @ along / (along @ along)
            assert 0.3 < share < 1.2
