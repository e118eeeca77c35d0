"""One network: its protocol, its start, and that it comes out solid."""

import numpy as np
import pytest

from diffxas.analysis import minimum_distance
from diffxas.errors import InputError, RunError
from diffxas.melt_quench import Protocol, check_density, default_protocol, quench, random_start
from diffxas.potentials import potential_energy

FAST = Protocol(melt=5000, melt_ps=0.05, rate=40_000, timestep_fs=0.5, snapshot_ps=0.02)


def test_defaults_follow_the_elements():
    carbon, film, silica = map(default_protocol, ({"C"}, {"H", "C"}, {"O", "Si"}))
    assert (carbon.melt, carbon.melt_ps, carbon.rate) == (8000, 3, 1000)
    assert film.timestep_fs < carbon.timestep_fs
    assert silica.melt < carbon.melt and silica.rate < carbon.rate
    assert default_protocol({"Cu", "Zr"}) == Protocol()


def test_stages_hold_cool_at_the_rate_and_join():
    stages = Protocol(3000, 2, 100, 1.0, anneal=1300, anneal_ps=4, snapshot_ps=1).stages()
    assert [stage.name for stage in stages] == ["melt", "quench", "anneal", "cool", "snapshot"]
    assert [stage.ps for stage in stages] == [2, 27, 4, 10, 1]
    for stage in stages:
        if stage.start != stage.end:
            assert (stage.start - stage.end) / stage.ps == pytest.approx(100)
    assert stages[-1].start == stages[-1].end == stages[1].end == stages[3].end == 300


@pytest.mark.parametrize(("change", "words"), [
    ({"melt": 200}, "--melt"), ({"melt": float("nan")}, "--melt"), ({"melt_ps": -1}, "--melt-ps"),
    ({"rate": 0}, "--rate"), ({"rate": 1e-9}, "--rate"), ({"rate": float("nan")}, "--rate"),
    ({"timestep_fs": 0}, "--timestep"), ({"anneal": 1e6}, "--anneal"),
    ({"snapshot_ps": -0.1}, "--snapshot-300K"),
])
def test_unusable_protocols_are_refused(change, words):
    with pytest.raises(InputError, match=f"^{words} must be"):
        Protocol(**change)


@pytest.mark.parametrize(("counts", "density"), [
    ({"C": 216}, 3.5), ({"C": 217}, 1.2), ({"Si": 24, "O": 48}, 2.2), ({"C": 1}, 2.0)])
def test_a_start_has_its_density_and_no_overlaps(counts, density):
    start, other = (random_start(counts, density, seed) for seed in (0, 1))
    assert start.density == pytest.approx(density)
    assert {symbol: start.symbols.count(symbol) for symbol in counts} == counts
    points = np.ceil(round(len(start) ** (1 / 3), 9))
    assert minimum_distance(start) >= 0.7 * start.cell[0, 0] / points - 1e-9
    assert np.array_equal(start.positions, random_start(counts, density, 0).positions)
    assert np.abs(start.positions - other.positions).max() > 0.01
    if len(counts) > 1:  # elements are shuffled, not stacked
        assert start.symbols != other.symbols
        heights = [start.positions[np.array(start.symbols) == s, 0].mean() for s in counts]
        assert abs(heights[0] - heights[1]) < 0.25 * start.cell[0, 0]


@pytest.mark.parametrize("density", [1e-4, 40.0, float("nan"), -1.0])
def test_densities_that_no_solid_has_are_refused(density):
    with pytest.raises(InputError, match=r"--density must be .* for C, received"):
        check_density({"C": 8}, density)


def test_a_network_is_the_minimum_of_its_snapshot():
    made = quench({"C": 27}, 2.5, "rebo", FAST, seed=3)
    network, snapshot = made.network, made.snapshot
    energy, forces, _ = potential_energy(network)
    assert network.info["energy"] == pytest.approx(27 * energy, abs=1e-6)
    assert np.abs(forces).max() < 0.011
    hot = potential_energy(snapshot)
    assert snapshot.info["energy"] == pytest.approx(27 * hot[0], abs=1e-6)
    assert np.allclose(snapshot.arrays["forces"], hot[1], atol=1e-5)
    assert 0.005 < hot[0] - energy < 0.5  # the energy of its vibrations, and what relaxing frees
    assert network.density == pytest.approx(2.5)
    assert minimum_distance(network) > 1.1
    again = quench({"C": 27}, 2.5, "rebo", FAST, seed=3)
    assert np.array_equal(again.network.positions, network.positions)


def test_slower_cooling_of_silica_gives_lower_energy():
    """The one law that a quench must obey: what has more time relaxes further."""
    fast, slow = (
        np.mean([quench({"Si": 8, "O": 16}, 2.2, "vashishta",
                        Protocol(4000, 0.2, rate, 2.0), seed).network.info["energy"] / 24
                 for seed in range(2)]) for rate in (40_000, 1000))
    assert slow < fast - 0.02


def test_an_explosion_is_a_run_error_that_names_the_stage():
    with pytest.raises(RunError, match=r"^melt: .*smaller timestep"):
        quench({"C": 27}, 3.4, "rebo", Protocol(8000, 1, 40_000, 10.0))
