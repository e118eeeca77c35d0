"""A committee averages its parts, teaches one by the other, and comes back from its folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_sites import labelled, write_files

from diffxas.errors import InputError
from diffxas.weights import read_config
from surrogates.committee import CommitteeSurrogate, taught
from surrogates.kernel import KernelSurrogate
from surrogates.loading import load_surrogate
from surrogates.training import train_surrogate

CONFIG = """
family = "committee"
left_out_networks = true
max_sites = 6
[model.kernel]
n_members = 2
sites_per_network = 12
relevance_steps = 2
[model.kernel.descriptor]
shells = [[1.2, 3.4, 0.4]]
near_cutoff = 3.0
n_near = 3
n_far = 3
l_max = 2
[model.equivariant]
n_members = 1
n_layers = 1
n_scalars = 8
n_vectors = 4
n_tensors = 4
n_products = 4
hidden = 8
n_basis = 8
n_latent = 6
n_components = 6
[schedule]
steps = 6
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committee trained on three networks of each theory."""
    root = tmp_path_factory.mktemp("committee")
    files = write_files(root, dft=3, feff=4)
    (root / "committee.toml").write_text(CONFIG, encoding="utf-8")
    return train_surrogate(files, root / "model", root / "committee.toml")


def test_its_spectra_are_those_of_all_members(folder):
    model = load_surrogate(folder)
    assert isinstance(model, CommitteeSurrogate)
    structure = labelled(7).structure
    x = torch.tensor(structure.positions)
    every = model.spectra(x, structure)
    kernel, network = (part.spectra(x, structure) for part in model.parts)
    assert every.shape[0] == 3 == len(kernel) + len(network)
    torch.testing.assert_close(every, torch.cat([kernel, network]))
    assert not torch.allclose(kernel.mean(0), network.mean(0), atol=1e-3)


def test_its_kernel_part_guides_with_the_left_out_error_of_the_whole(folder):
    model = load_surrogate(folder)
    assert isinstance(model, CommitteeSurrogate)
    guide, structure = model.guiding(), labelled(7).structure
    x = torch.tensor(structure.positions)
    torch.testing.assert_close(guide.spectra(x, structure), model.parts[0].spectra(x, structure))
    np.testing.assert_array_equal(guide.mean_error, model.mean_error)
    assert guide.mean_error.max() > 0 and guide.guiding() is guide


def test_it_has_a_domain_left_out_errors_and_a_training_mean(folder):
    model = load_surrogate(folder)
    structure = labelled(0).structure
    score = model.domain_score(structure)
    assert score is not None and (score < 0.1).all()  # its own training sites
    assert model.site_error.max() > 0 and model.site_factor.max() > 0
    assert model.training_mean().shape == model.energy.shape


def test_the_low_fidelity_is_predicted_by_both_parts_but_not_the_taught_theory(folder):
    model = load_surrogate(folder, theory="FEFF")
    assert isinstance(model, CommitteeSurrogate)
    structure = labelled(30, "FEFF").structure
    assert model.predict_sites(structure).shape[1] == len(model.energy)
    assert [t["name"] for t in read_config(folder)["model"]["theories"]] == ["DFT", "FEFF"]
    with pytest.raises(InputError, match="FEFF by kernel"):
        load_surrogate(folder, theory="FEFF by kernel")


def test_double_precision_gradients_agree_with_differences(folder):
    model = load_surrogate(folder).to(torch.float64)
    structure = labelled(5).structure
    x = torch.tensor(structure.positions, requires_grad=True)
    weight = torch.linspace(0, 1, len(model.energy), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((model.mean_spectrum(x, structure) @ weight), x)
    for atom, axis in ((0, 0), (3, 2)):
        step = torch.zeros_like(x)
        step[atom, axis] = 1e-5
        with torch.no_grad():
            up, down = (model.mean_spectrum(x + sign * step, structure) @ weight
                        for sign in (1, -1))
        assert float(gradient[atom, axis]) == pytest.approx(float(up - down) / 2e-5, rel=1e-3)


def test_what_is_taught_are_all_absorbers_of_the_cheap_theorys_structures(folder):
    model = load_surrogate(folder, theory="FEFF")
    teacher = model.parts[0]
    assert isinstance(teacher, KernelSurrogate)
    item = labelled(30, "FEFF")
    (lesson,) = taught([labelled(0), item], teacher)
    assert lesson.theory == "FEFF by kernel" and len(lesson.sites) == len(item.structure)
    np.testing.assert_allclose(lesson.spectra, teacher.predict_sites(item.structure), rtol=1e-6)


def test_one_theory_is_refused(tmp_path):
    cells, _, spectra, _ = write_files(tmp_path)
    (tmp_path / "c.toml").write_text('family = "committee"\n', encoding="utf-8")
    with pytest.raises(InputError, match="two theories"):
        train_surrogate([cells, spectra], tmp_path / "model", tmp_path / "c.toml")


def test_an_unknown_part_is_refused(tmp_path):
    files = write_files(tmp_path)
    (tmp_path / "c.toml").write_text('family = "committee"\n[model]\nn_members = 3\n',
                                     encoding="utf-8")
    with pytest.raises(InputError, match="n_members"):
        train_surrogate(files, tmp_path / "model", tmp_path / "c.toml")
