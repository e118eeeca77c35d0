"""Parts of the networks, pairs of about one density, and losses that are compared fairly."""

import numpy as np
import pytest
import torch
from core_examples import OBLIQUE, small_prior

from diffxas.structure import Structure
from samplers.evaluation_data import EvaluationData, Known
from samplers.learning_curve import (
    SIGMAS,
    Losses,
    fall,
    losses,
    nearest_in_density,
    plan,
    spread_out,
    thinned,
)


def known(name: str, density: float, role: str = "training", kind: str = "any",
          parent: str = "") -> Known:
    """Seven atoms of C and H at a density relative to the cell's."""
    rng = np.random.default_rng(0)
    cell = OBLIQUE / density ** (1 / 3)
    return Known(Structure(rng.random((7, 3)) @ cell, np.array([6] * 4 + [1] * 3), cell), name,
                 kind, parent or name, role)


def data(*everything: Known) -> EvaluationData:
    return EvaluationData(everything, everything, (("C", 4), ("H", 3)), ())


def test_every_first_part_of_the_networks_is_spread_over_the_whole() -> None:
    names = [f"{k:02d}" for k in range(43)]
    order = spread_out(names)
    assert sorted(order) == names
    for count in (11, 22):
        places = np.sort([int(name) for name in order[:count]])
        assert np.diff(places).max() <= 2 * 43 / count and places[-1] >= 43 - 2 * 43 / count


def test_parts_are_nested_whole_families_and_never_hold_an_unseen_network() -> None:
    everything = [known(f"t{k}", 1 + 0.1 * k) for k in range(8)]
    everything += [known("t0 later", 2.0, parent="t0"), known("h", 1.5, "held-out"),
                   known("r", 1.5, "related", parent="t1")]
    found = plan(data(*everything))
    assert found is not None and found.sizes == [2, 4, 8]
    small, large = ({one.name for one in found.part(n)} for n in (2, 8))
    assert small < large == {f"t{k}" for k in range(8)} | {"t0 later"}
    assert ("t0" in small) == ("t0 later" in small)
    assert [one.name for one in found.unseen] == ["h"]


def test_without_held_out_networks_a_fifth_is_kept_from_the_curve() -> None:
    found = plan(data(*(known(f"t{k}", 1 + 0.1 * k) for k in range(10))))
    assert found is not None
    assert len(found.unseen) == 2 and len(found.seen) == 8
    assert not {one.parent for one in found.unseen} & set(found.seen)
    assert "kept" in found.note
    assert plan(data(*(known(f"t{k}", 1 + 0.1 * k) for k in range(4)))) is None


def test_unseen_structures_meet_seen_ones_of_their_density_and_kind() -> None:
    seen = [known("a", 1.0), known("b", 2.0), known("c", 2.02), known("v", 1.5, kind="variant")]
    unseen = [known("x", 1.99), known("y", 2.0), known("z", 1.4, kind="variant")]
    names = [one.name for one in nearest_in_density(unseen, seen)]
    assert sorted(names[:2]) == ["b", "c"] and names[2] == "v"
    # One of another kind serves where its own is missing.
    assert nearest_in_density(unseen[2:], seen[:1])[0].name == "a"
    many = [known(str(k), 1 + 0.01 * k) for k in range(50)]
    chosen = thinned(many, 5)
    assert len(chosen) == 5 and chosen[0].name == "0" and chosen[-1].name == "49"


def test_losses_are_those_of_the_same_noise_and_fall_to_nothing_for_an_oracle() -> None:
    network = small_prior()
    cells = [known("a", 1.0), known("b", 1.2)]
    one, again = losses(network, cells, 3), losses(network, cells, 3)
    assert one.shape == (2, len(SIGMAS)) and (one > 0).all()
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, losses(network, cells, 4))
    target = torch.tensor(cells[0].structure.positions)

    class Oracle(torch.nn.Module):
        config = network.config
        species_of, kind_index = network.species_of, network.kind_index

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x_t: torch.Tensor, *_: object) -> torch.Tensor:
            return target

    assert losses(Oracle(), cells[:1], 3).max() == pytest.approx(0, abs=1e-20)  # type: ignore[arg-type]


def test_gap_and_fall_are_ratios_over_pairs_with_their_scatter() -> None:
    seen = np.full((4, 3), 0.2) * np.array([1.0, 2.0, 3.0, 4.0])[:, None]
    half, whole = Losses(4, seen, 1.5 * seen), Losses(8, seen, 1.2 * seen)
    assert whole.gap == pytest.approx(0.2) and whole.gap_error == pytest.approx(0, abs=1e-12)
    assert fall(half, whole) == (pytest.approx(0.2), pytest.approx(0, abs=1e-12))
    noisy = Losses(8, seen, seen * np.array([1.0, 1.4, 1.0, 1.4])[:, None])
    assert noisy.gap == pytest.approx(1.4**0.5 - 1) and 0.08 < noisy.gap_error < 0.16
