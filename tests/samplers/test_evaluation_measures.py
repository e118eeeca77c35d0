"""The table: cells against a reference whose course over density is known."""

import numpy as np
import pytest

from diffxas.networks import R_BIN, R_MAX, Profile
from samplers.evaluation_measures import (
    NETWORKS,
    QUENCHED,
    SAMPLES,
    UNSEEN,
    Judge,
    Member,
    Row,
    Settled,
    table,
)

DENSITIES = (2.0, 2.4)


def profile(density: float, four: float, environments: list[str], shape: float = 0.0) -> Profile:
    """Distributions that differ from those of ``shape = 0`` by ``shape``."""
    g = np.ones(round(R_MAX / R_BIN))
    g[::2] += shape
    g[1::2] -= shape
    return Profile(density, {"3": 1 - four, "4": four},
                   {"g(r)": {"C-C": g}, "angles": {"C": g}, "rings": {"all": g}},
                   tuple(environments))


def course(density: float) -> float:
    """Share of four bonds."""
    return 0.1 + 0.5 * (density - 1.5)


def reference(seed: int = 0) -> list[Member]:
    """41 networks on the course; every fourth is held out; half the environments are its own."""
    rng = np.random.default_rng(seed)
    found = []
    for k, density in enumerate(np.linspace(1.5, 2.9, 41)):
        found.append(Member(
            f"n{k}", f"n{k}", "held-out" if k % 4 == 0 else "training",
            profile(density, course(density), ["common"] * 50 + [f"own {k}"] * 50,
                    rng.uniform(-0.1, 0.1)),
            {"rebo": Settled(-7 + 0.2 * density, 0.2)}))
    return found


def judge() -> Judge:
    members = reference()
    return Judge(members, [(one.network, one.profile.environments) for one in members
                           if one.role == "training"])


def sample(density: float, *, four: float = 0.0, energy: float = 0.0, moved: float = 0.2,
           environments: list[str] | None = None, shape: float = 0.0) -> Member:
    return Member("sample", "", "new",
                  profile(density, course(density) + four, environments or ["common", "new"],
                          shape),
                  {"rebo": Settled(-7 + 0.2 * density + energy, moved)})


def rows(**changes: object) -> dict[str, Row]:
    samples = {d: [sample(d, **changes), sample(d, **changes)] for d in DENSITIES}  # type: ignore[arg-type]
    whole, _ = table(judge(), samples, [])
    return {row.what: row for row in whole}


def test_samples_on_the_course_differ_by_nothing() -> None:
    row = rows()[SAMPLES]
    assert row.cells == 4
    assert row.coordination == pytest.approx(0, abs=1e-9)
    assert row.energy["rebo"] == pytest.approx(0, abs=1e-9)
    assert row.moved["rebo"] == pytest.approx(1)
    assert row.known == pytest.approx(0.5) and row.expected == pytest.approx(0.5)


def test_each_difference_appears_in_its_own_column() -> None:
    found = rows(four=0.07, energy=0.08, moved=0.3, environments=["common"] * 4 + ["new"])
    row = found[SAMPLES]
    assert row.coordination == pytest.approx(7)
    assert row.energy["rebo"] == pytest.approx(0.08)
    assert row.moved["rebo"] == pytest.approx(1.5)
    assert row.excess == pytest.approx(0.3)
    for floor in (found[UNSEEN], found[NETWORKS]):
        assert floor.coordination == pytest.approx(0, abs=1e-9)
        assert floor.energy["rebo"] == pytest.approx(0, abs=1e-9)
        assert floor.excess == pytest.approx(0, abs=1e-9)


def test_distances_are_medians_over_networks_of_about_the_same_density() -> None:
    # Networks lie within 0.1 of the mean; two of them differ by 0.07 on average.
    far, close = (rows(shape=shape)[SAMPLES] for shape in (0.5, 0.0))
    for curve in ("g(r)", "angles", "rings"):
        assert far.distance[curve] == pytest.approx(0.5, abs=0.1) and far.ratio[curve] > 4
        assert close.distance[curve] < 0.1 and 0.5 < close.ratio[curve] < 1.3
    assert rows()[NETWORKS].ratio["g(r)"] == pytest.approx(1)


def test_a_network_does_not_meet_itself_or_its_descendants() -> None:
    members = reference()
    twin = Member("n20 again", "n20", "training", members[20].profile, members[20].settled)
    known = [(one.network, one.profile.environments) for one in [*members, twin]
             if one.role == "training"]
    both = Judge([*members, twin], known)
    assert both.known(twin) == pytest.approx(0.5)
    alone = Member("n21", "another", "training", members[21].profile, members[21].settled)
    assert Judge(members, known).known(alone) == 1.0
    assert len(both.distances(twin, "g(r)")) == len(both.distances(members[20], "g(r)")) > 2


def test_the_expected_share_follows_a_course_that_unseen_networks_are_too_few_to_show() -> None:
    """Known shares fall with density; the two held-out networks lie at one end alone."""
    members = []
    for k, density in enumerate(np.linspace(1.5, 2.9, 41)):
        n = round(100 * (1 - 0.6 * (density - 1.5)))
        members.append(Member(f"n{k}", f"n{k}", "held-out" if k in (2, 4) else "training",
                              profile(density, 0.5, ["common"] * n + [f"own {k}"] * (100 - n)), {}))
    judged = Judge(members, [(one.network, one.profile.environments) for one in members
                             if one.role == "training"])
    assert judged.expected(sample(2.6)) == pytest.approx(1 - 0.6 * 1.1, abs=0.02)


def test_quenched_cells_have_a_row_at_the_nearest_density_and_far_ones_none() -> None:
    samples = {d: [sample(d)] for d in DENSITIES}
    whole, single = table(judge(), samples, [sample(2.05, energy=0.2), sample(2.8, energy=9.0)])
    (row,) = [one for one in whole if one.what == QUENCHED]
    assert row.cells == 1 and row.energy["rebo"] == pytest.approx(0.2)
    assert [one.density for one in single if one.what == QUENCHED] == [2.0]


def test_without_a_training_set_nothing_is_known() -> None:
    whole, _ = table(Judge(reference(), []), {2.0: [sample(2.0)]}, [])
    assert all(np.isnan(row.known) and np.isnan(row.expected) for row in whole)


def test_a_relaxation_that_broke_down_does_not_spoil_the_means() -> None:
    broken = Member("broken", "", "new", sample(2.0).profile, {"rebo": Settled(np.nan, np.nan)})
    whole, _ = table(judge(), {2.0: [sample(2.0, energy=0.06), broken]}, [])
    (row,) = [one for one in whole if one.what == SAMPLES]
    assert row.energy["rebo"] == pytest.approx(0.06)
