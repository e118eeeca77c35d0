"""The equivariant surrogate's own parts: bounded latents, principal components, model folders."""

import numpy as np
import pytest
import torch
from core_examples import graph_of, random_structure, species
from random_surrogate import equivariant
from surrogate_fakes import GRID, carbon_like

from diffxas.weights import save_model
from surrogates.loading import load_surrogate
from surrogates.model import LATENT_BOUND, Readout, SurrogateConfig, Theory


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def readout(spectra: np.ndarray, weights: np.ndarray, n: int) -> Readout:
    torch.manual_seed(0)
    result = Readout(Theory("DFT", GRID.tolist(), n), n)
    result.set_basis(spectra, weights)
    return result


def made_up(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([carbon_like(pi, sigma) for pi, sigma in
                     zip(rng.uniform(0.1, 0.6, n), rng.uniform(291, 293, n), strict=True)])


def test_the_basis_holds_the_mean_and_the_variance_of_the_spectra():
    spectra = made_up(30)
    weights = np.random.default_rng(1).uniform(0.5, 2, 30)
    basis = readout(spectra, weights, 29)
    mean = np.average(spectra, axis=0, weights=weights)
    np.testing.assert_allclose(basis.mean.numpy(), mean, atol=1e-12)
    covariance = np.cov(spectra.T, aweights=weights, ddof=0)
    components = basis.components.numpy()
    np.testing.assert_allclose(components.T @ components, covariance, atol=1e-10)
    norms = np.linalg.norm(components, axis=1)
    assert (np.diff(norms) <= 1e-12).all()  # the most of the variance first


def test_a_site_counted_twice_is_a_site_of_weight_two():
    spectra = made_up(12)
    twice = readout(np.concatenate([spectra, spectra[:1]]), np.ones(13), 4)
    weighted = readout(spectra, np.array([2.0] + [1.0] * 11), 4)
    np.testing.assert_allclose(twice.mean.numpy(), weighted.mean.numpy(), atol=1e-12)
    np.testing.assert_allclose(twice.components.numpy(), weighted.components.numpy(), atol=1e-8)


def test_latents_are_bounded_so_the_spectra_are():
    """|mu - m| is at most what the largest latent can do through the readout."""
    surrogate = equivariant()
    member = surrogate.members[0]
    structure = random_structure(0, 40, np.eye(3) * 4)
    graph, x = graph_of(structure)
    sites = torch.as_tensor(surrogate.absorbers(structure))
    with torch.no_grad():
        z = member.latent(x, species(structure), graph, sites)
        mu = member(x, species(structure), graph, sites)
        head = member.readouts[0]
        far = (head.linear.weight.abs().sum(1) * LATENT_BOUND + head.linear.bias.abs())
        bound = head.mean.clamp(min=0) + far @ head.components.abs() + 0.01  # softplus adds < 0.01
    assert z.abs().max() < LATENT_BOUND
    assert (mu < bound).all() and (mu >= 0).all()


def test_theories_share_the_latent_and_have_their_own_grids():
    surrogate = equivariant()
    member, structure = surrogate.members[0], random_structure(1, 6, elements="C")
    graph, x = graph_of(structure)
    sites = torch.arange(6)
    first = member(x, species(structure), graph, sites, 0)
    other = member(x, species(structure), graph, sites, 1)
    assert first.shape == (6, 100) and other.shape == (6, 50)


def test_some_sites_have_the_spectra_that_all_sites_have():
    member, structure = equivariant().members[0], random_structure(2, 8, elements="C")
    graph, x = graph_of(structure)
    sites = torch.tensor([6, 1, 3])
    with torch.no_grad():
        every = member(x, species(structure), graph, torch.arange(8))
        some = member(x, species(structure), graph, sites)
    torch.testing.assert_close(some, every[sites], atol=1e-11, rtol=0)


def test_a_strained_cell_has_the_numeric_gradient():
    member, structure = equivariant().members[0], random_structure(3, 4, elements="C")
    graph, x = graph_of(structure)

    def value(cells: torch.Tensor) -> torch.Tensor:
        return member(x, species(structure), graph, torch.arange(4), 0, cells).mean(0)[::20]

    assert torch.autograd.gradcheck(value, (graph.cells.requires_grad_(),))


def test_a_surrogate_is_loaded_as_it_was_saved(tmp_path):
    surrogate = equivariant()
    tensors = {f"{k}.{name}": tensor for k, member in enumerate(surrogate.members)
               for name, tensor in member.state_dict().items()}
    record = {"kind": "surrogate", "family": "equivariant", **surrogate.record}
    save_model(tmp_path / "model", record, tensors)
    loaded = load_surrogate(tmp_path / "model")
    structure = random_structure(4, 8, elements="C")
    np.testing.assert_allclose(loaded.predict_sites(structure), surrogate.predict_sites(structure),
                               atol=1e-12)
    assert (loaded.element, loaded.edge, loaded.elements) == ("C", "K", ("C", "H"))
    np.testing.assert_array_equal(loaded.energy, GRID)
    assert SurrogateConfig.from_dict(surrogate.config.to_dict()) == surrogate.config
