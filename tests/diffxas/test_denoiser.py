"""The prior's denoiser D(x; sigma): symmetry, locality, limits, and what it refuses."""

import numpy as np
import pytest
import torch
from core_examples import CUTOFF, random_orthogonal, random_structure, small_prior, turned

from diffxas.denoiser import (
    SIGMA_BOND,
    PriorConfig,
    PriorDenoiser,
    PriorNetwork,
    c_out,
    species_indices,
)
from diffxas.errors import InputError
from diffxas.graph import build_graph
from diffxas.structure import Structure

SYMMETRY = {"atol": 1e-10, "rtol": 1e-10}
SIGMA = 0.4


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def denoised(network: PriorNetwork, structure: Structure, sigma: float = SIGMA,
             kind: str = "any") -> torch.Tensor:
    x_0 = PriorDenoiser(network, structure, kind)(torch.tensor(structure.positions), sigma)
    assert (x_0 - torch.tensor(structure.positions)).abs().max() > 1e-3  # it does something
    return x_0


@pytest.mark.parametrize("determinant", [1, -1], ids=["rotation", "reflection"])
def test_a_turned_structure_is_denoised_to_the_turned_one(determinant):
    network, structure = small_prior(), random_structure(0)
    rotation = random_orthogonal(2, determinant)
    torch.testing.assert_close(denoised(network, turned(structure, rotation)),
                               denoised(network, structure) @ torch.tensor(rotation).T, **SYMMETRY)


def test_translation_and_image_shift_move_the_estimate_along():
    network, structure = small_prior(), random_structure(1)
    rng = np.random.default_rng(0)
    shift = rng.standard_normal(3) * 4 + rng.integers(-2, 3, (len(structure), 3)) @ structure.cell
    moved = structure.with_positions(structure.positions + shift)
    torch.testing.assert_close(denoised(network, moved),
                               denoised(network, structure) + torch.tensor(shift), **SYMMETRY)


def test_permutation_permutes_the_estimate():
    network, structure = small_prior(), random_structure(2)
    order = np.random.default_rng(0).permutation(len(structure))
    permuted = Structure(structure.positions[order], structure.numbers[order], structure.cell)
    torch.testing.assert_close(denoised(network, permuted), denoised(network, structure)[order],
                               **SYMMETRY)


def test_a_larger_cell_is_the_same_problem():
    network, structure = small_prior(), random_structure(3, 4)
    doubled = Structure.from_atoms(structure.to_atoms().repeat((1, 2, 1)))
    before = denoised(network, structure)
    image = torch.tensor(structure.cell[1])
    torch.testing.assert_close(denoised(network, doubled), torch.cat([before, before + image]),
                               **SYMMETRY)


def test_an_atom_beyond_the_receptive_field_does_not_matter():
    network = small_prior()
    rng = np.random.default_rng(4)
    reach = network.trunk.receptive_field
    assert reach == 2 * CUTOFF
    chain = np.column_stack([np.arange(9) * 1.4, *rng.normal(0, 0.3, (2, 9))])
    structure = Structure(chain, [6] * 9, np.eye(3), [False] * 3)
    system = PriorDenoiser(network, structure)
    before = system(torch.tensor(chain), SIGMA)
    distance = np.linalg.norm(chain - chain[-1], axis=1)
    moved = chain.copy()
    moved[-1] += [0.05, 0.05, 0.0]
    change = (system(torch.tensor(moved), SIGMA) - before).abs().amax(1).numpy()
    far = distance > reach + 0.1
    assert far.sum() >= 3 and change[far].max() == 0
    assert change[distance < CUTOFF].min() > 0


def test_structures_of_a_batch_do_not_see_each_other():
    network = small_prior()
    structures = [random_structure(5, 6), random_structure(6, 8, np.eye(3) * 5)]
    sigmas, kinds = (0.1, 0.8), ("any", "variant")
    graph = build_graph(structures, CUTOFF, dtype=torch.float64)
    counts = [len(s) for s in structures]
    together = network(
        torch.tensor(np.concatenate([s.positions for s in structures])),
        torch.tensor(np.repeat(sigmas, counts)),
        torch.cat([network.species_of(s) for s in structures]),
        torch.tensor(np.repeat([network.kind_index(k) for k in kinds], counts)), graph)
    alone = [denoised(network, s, sigma, kind)
             for s, sigma, kind in zip(structures, sigmas, kinds, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), **SYMMETRY)


def test_noise_level_and_kind_matter():
    network, structure = small_prior(), random_structure(7)
    reference = denoised(network, structure) - torch.tensor(structure.positions)
    louder = denoised(network, structure, 1.2) - torch.tensor(structure.positions)
    assert (louder / c_out(torch.tensor(1.2)) - reference / c_out(torch.tensor(SIGMA))
            ).abs().max() > 1e-3
    assert (denoised(network, structure, kind="variant") - denoised(network, structure)
            ).abs().max() > 1e-3


def test_displacements_are_small_at_low_noise_and_bounded_at_high():
    sigma = torch.tensor([1e-4, SIGMA_BOND, 1e4])
    torch.testing.assert_close(c_out(sigma), torch.tensor([1e-4, SIGMA_BOND / 2**0.5, SIGMA_BOND]))


def test_gradient_through_the_denoiser_is_the_numeric_one():
    """What guidance needs; the graph is rebuilt at every position that is tried."""
    network, structure = small_prior(), random_structure(8, 4)
    system = PriorDenoiser(network, structure)
    x = torch.tensor(structure.positions, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: system(x, SIGMA), (x,))


def test_the_graph_follows_the_atoms():
    """Two atoms that begin apart feel each other once they are near."""
    network = small_prior()
    apart = Structure([[0, 0, 0], [9, 0, 0]], [6, 6], np.eye(3), [False] * 3)
    system = PriorDenoiser(network, apart)
    near = torch.tensor([[0.0, 0, 0], [1.4, 0, 0]])
    torch.testing.assert_close(
        system(near, SIGMA), denoised(network, apart.with_positions(near.numpy())), **SYMMETRY)


def test_a_float32_prior_serves_float64_positions():
    structure = random_structure(9)
    exact = denoised(small_prior(), structure)
    single = PriorDenoiser(small_prior().float(), structure)
    x_0 = single(torch.tensor(structure.positions), SIGMA)
    assert x_0.dtype == torch.float64
    torch.testing.assert_close(x_0, exact, atol=1e-4, rtol=1e-4)


def test_unknown_elements_are_refused_by_name():
    network = small_prior()
    oxide = Structure([[0, 0, 0], [1, 1, 1]], [6, 8], np.eye(3) * 4)
    with pytest.raises(InputError, match=r"prior \(C, H\), received O: choose a prior"):
        PriorDenoiser(network, oxide)
    with pytest.raises(InputError, match=r"surrogate \(Cu\), received N, O"):
        species_indices(["O", "Cu", "N"], ["Cu"], "surrogate")
    assert species_indices(["H", "C", "H"], ["C", "H"], "prior").tolist() == [1, 0, 1]


def test_unknown_kinds_are_refused_with_those_that_exist():
    with pytest.raises(InputError, match="any, melt-quenched, variant, received 'dft'"):
        PriorDenoiser(small_prior(), random_structure(0), kind="dft")


def test_configs_without_elements_or_any_are_refused():
    with pytest.raises(InputError, match="at least one element"):
        PriorConfig(elements=[])
    with pytest.raises(InputError, match="begin with 'any'"):
        PriorConfig(elements=["C"], kinds=["DFT", "any"])
