"""What every surrogate must obey, whatever its weights; float64. All families are tried.

The equivariant and the frozen one have random weights, the kernel one and the committee those that
are shipped.
"""

import numpy as np
import pytest
import torch
from core_examples import random_orthogonal, random_structure, turned
from random_surrogate import equivariant, frozen

from diffxas.errors import InputError
from diffxas.structure import Structure
from surrogates.base import Surrogate
from surrogates.committee import CommitteeSurrogate
from surrogates.loading import load_surrogate

SAME = {"atol": 2e-8, "rtol": 1e-7}
"""Stored weights and constants are of single precision."""
CELL = np.array([[6.0, 0.0, 0.0], [1.4, 5.6, 0.0], [-1.1, 1.0, 5.2]])


def committee() -> CommitteeSurrogate:
    found = load_surrogate("a-C")
    assert isinstance(found, CommitteeSurrogate)
    return found.to(torch.float64)


def kernel() -> Surrogate:
    return committee().parts[0]


MAKE = {"equivariant": equivariant, "kernel": kernel, "frozen": frozen, "committee": committee}
KERNEL_CUTOFFS = (1.6, 2.1, 3.4, 4.2, 5.2)
CUTOFFS = {"equivariant": (3.0,), "kernel": KERNEL_CUTOFFS, "frozen": (3.0,),
           "committee": KERNEL_CUTOFFS}
REACH = {"equivariant": 6.0, "kernel": 5.5, "frozen": 6.0, "committee": 8.4}
MEMBERS = {"equivariant": 2, "kernel": 3, "frozen": 2, "committee": 4}


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=list(MAKE))
def family(request) -> str:
    return request.param


@pytest.fixture
def surrogate(family) -> Surrogate:
    return MAKE[family]()


def carbon(seed: int, n_atoms: int = 10) -> Structure:
    return random_structure(seed, n_atoms, CELL, elements="C")


def sites_of(surrogate: Surrogate, structure: Structure) -> torch.Tensor:
    spectra = surrogate.spectra(torch.tensor(structure.positions), structure)
    n = len(surrogate.absorbers(structure))
    assert spectra.shape[0] in MEMBERS.values()
    assert spectra.shape[1:] == (n, len(surrogate.energy)) and spectra.dtype == torch.float64
    return spectra


@pytest.mark.parametrize("determinant", [1, -1], ids=["rotation", "reflection"])
def test_rotation_and_reflection_leave_the_spectra(surrogate, determinant):
    structure = carbon(0)
    before = sites_of(surrogate, structure)
    assert before.std(1).max() > 1e-2  # the sites differ
    after = sites_of(surrogate, turned(structure, random_orthogonal(3, determinant)))
    torch.testing.assert_close(after, before, **SAME)


def test_translation_and_image_shift_leave_the_spectra(surrogate):
    structure = carbon(1)
    rng = np.random.default_rng(1)
    shift = rng.standard_normal(3) * 3 + rng.integers(-2, 3, (len(structure), 3)) @ CELL
    moved = structure.with_positions(structure.positions + shift)
    torch.testing.assert_close(sites_of(surrogate, moved), sites_of(surrogate, structure), **SAME)


def test_permutation_permutes_the_sites(surrogate):
    structure = carbon(2)
    order = np.random.default_rng(2).permutation(len(structure))
    permuted = structure.with_positions(structure.positions[order])
    torch.testing.assert_close(sites_of(surrogate, permuted),
                               sites_of(surrogate, structure)[:, order], **SAME)


def test_a_cell_s_spectrum_is_the_mean_over_absorbers_and_of_any_supercell(surrogate):
    structure = carbon(3, 5)
    x = torch.tensor(structure.positions)
    mean = surrogate.mean_spectrum(x, structure)
    np.testing.assert_allclose(mean.numpy(), surrogate.predict_sites(structure).mean(0), atol=1e-12)
    doubled = Structure.from_atoms(structure.to_atoms().repeat((1, 1, 2)))
    torch.testing.assert_close(
        surrogate.mean_spectrum(torch.tensor(doubled.positions), doubled), mean, **SAME)


def test_gradient_of_the_cell_s_spectrum_is_the_numeric_one(surrogate):
    """The likelihood's gradient is made of this one; the graph is rebuilt at every position."""
    structure = carbon(4, 5)
    direction = torch.tensor(np.random.default_rng(4).standard_normal((5, 5, 3)))
    weight = torch.tensor(np.random.default_rng(5).standard_normal(len(surrogate.energy)))

    def value(x: torch.Tensor) -> torch.Tensor:
        return surrogate.mean_spectrum(x, structure) @ weight

    x = torch.tensor(structure.positions, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(x), x)
    x = x.detach()
    for d in direction:
        h = 1e-5
        numeric = (value(x + h * d) - value(x - h * d)) / (2 * h)
        assert float((gradient * d).sum()) == pytest.approx(float(numeric), rel=1e-5)


def test_gradient_in_the_cell_is_the_numeric_one(surrogate):
    """At fixed Cartesian positions, then under a strain of both."""
    structure = carbon(5, 5)
    x, cell = torch.tensor(structure.positions), torch.tensor(structure.cell)
    weight = torch.tensor(np.random.default_rng(6).standard_normal(len(surrogate.energy)))
    direction = torch.tensor(np.random.default_rng(7).standard_normal((3, 3)))

    def of_cell(amount: torch.Tensor) -> torch.Tensor:
        return surrogate.mean_spectrum(x, structure, cell + amount * direction) @ weight

    def of_strain(amount: torch.Tensor) -> torch.Tensor:
        deform = torch.eye(3) + 0.2 * amount * direction
        return surrogate.mean_spectrum(x @ deform, structure, cell @ deform) @ weight

    for value in (of_cell, of_strain):
        zero = torch.zeros((), requires_grad=True)
        (gradient,) = torch.autograd.grad(value(zero), zero)
        h = torch.tensor(1e-5)
        numeric = (value(h) - value(-h)) / (2 * h)
        assert abs(float(numeric)) > 1e-6
        assert float(gradient) == pytest.approx(float(numeric), rel=1e-4)
    torch.testing.assert_close(surrogate.mean_spectrum(x, structure, cell),
                               surrogate.mean_spectrum(x, structure))


def test_spectra_and_slopes_have_no_step_where_an_atom_crosses_a_cutoff(surrogate, family):
    def response(distance: float) -> tuple[torch.Tensor, torch.Tensor]:
        positions = [[0, 0, 0], [-1.1, 0.8, 0], [0, -0.6, 1.2], [distance, 0, 0]]
        structure = Structure(positions, [6] * 4, np.eye(3), [False] * 3)
        x = torch.tensor(structure.positions, requires_grad=True)
        first = surrogate.spectra(x, structure)[:, 0]
        (gradient,) = torch.autograd.grad(first.square().sum(), x)
        return first.detach(), gradient[3]

    for cutoff in CUTOFFS[family]:
        steps = []
        for gap in (1e-3, 1e-4):
            (mu, slope), (mu_beyond, slope_beyond) = response(cutoff - gap), response(cutoff + gap)
            steps.append((float((mu - mu_beyond).abs().max()),
                          float((slope - slope_beyond).abs().max())))
        (mu_wide, slope_wide), (mu_near, slope_near) = steps
        assert mu_wide > 0 and slope_wide > 0  # the atom is felt
        assert mu_near < 0.15 * mu_wide + 1e-12
        assert slope_near < 0.15 * slope_wide + 1e-10


def test_an_atom_beyond_the_reach_does_not_matter(surrogate, family):
    chain = np.column_stack([1.4 * np.arange(11), 0.3 * (np.arange(11) % 2), np.zeros(11)])
    structure = Structure(chain, [6] * 11, np.eye(3), [False] * 3)
    moved = chain.copy()
    moved[-1] += [0.1, 0.1, 0.1]
    change = (sites_of(surrogate, structure.with_positions(moved))
              - sites_of(surrogate, structure)).abs().amax((0, 2)).numpy()
    far = chain[-1, 0] - chain[:, 0] > REACH[family] + 0.2
    assert far.sum() >= 3 and change[far].max() < 1e-14
    assert change[-3:].min() > 1e-8


@pytest.mark.parametrize("edge", [12.0, 7.0, 4.0], ids=["dilute", "dense", "crushed"])
def test_random_positions_give_bounded_spectra_without_a_negative(surrogate, edge):
    """Single atoms of plain networks explode outside their training data; here nothing may."""
    cell = np.eye(3) * edge
    rng = np.random.default_rng(6)
    structure = Structure(rng.random((40, 3)) @ cell, [6] * 40, cell)
    spectra = sites_of(surrogate, structure)
    assert spectra.min() >= 0
    assert spectra.max() < 3  # the made-up spectra reach 0.9, DFT's sites 1.2


def test_coincident_and_lonely_atoms_have_finite_spectra_and_gradients(surrogate):
    structure = Structure([[0, 0, 0], [0, 0, 0], [1.3, 0.2, 0], [30, 0, 0]], [6] * 4,
                          np.eye(3), [False] * 3)
    x = torch.tensor(structure.positions, requires_grad=True)
    mean = surrogate.mean_spectrum(x, structure)
    (gradient,) = torch.autograd.grad(mean.sum(), x)
    assert torch.isfinite(mean).all() and torch.isfinite(gradient).all()
    assert gradient[3].abs().max() == 0


def test_the_deviation_holds_the_members_spread_and_the_left_out_error(surrogate):
    """Times the factor of its calibration and, outside the domain, the distance from it."""
    structure = carbon(7)
    mean, deviation = surrogate.predict_sites_with_uncertainty(structure)
    spectra = sites_of(surrogate, structure).numpy()
    np.testing.assert_allclose(mean, spectra.mean(0), atol=1e-12)
    spread = spectra.std(0, ddof=1)
    score = surrogate.domain_score(structure)
    outside = 1.0 if score is None else np.maximum(score, 1.0)[:, None]
    stated = outside * surrogate.site_factor * np.hypot(spread, surrogate.site_error)
    np.testing.assert_allclose(deviation, stated, rtol=1e-9)
    assert spread.max() > 0


def test_structures_of_other_elements_are_refused(surrogate):
    oxide = Structure([[0, 0, 0], [1.2, 0, 0]], [6, 8], np.eye(3) * 5)
    with pytest.raises(InputError, match=r"received O"):
        surrogate.absorbers(oxide)


def test_only_absorbers_have_spectra_but_all_atoms_act():
    surrogate = equivariant()
    mixed = random_structure(8, 12, CELL)
    carbons = np.flatnonzero(mixed.numbers == 6)
    assert 0 < len(carbons) < 12
    assert surrogate.absorbers(mixed).tolist() == carbons.tolist()
    before = sites_of(surrogate, mixed)
    moved = mixed.positions.copy()
    moved[np.flatnonzero(mixed.numbers == 1)] += 0.1
    assert (sites_of(surrogate, mixed.with_positions(moved)) - before).abs().max() > 1e-4
    with pytest.raises(InputError, match="must hold C, the absorber of random, received H2"):
        surrogate.absorbers(Structure([[0, 0, 0], [0, 0, 0.7]], [1, 1], np.eye(3) * 5))
