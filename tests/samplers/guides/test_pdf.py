"""``pdf:``: what it sees, what it refuses, and that it pulls."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pair_targets import random_structure, write

from diffxas.analysis import rdf
from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.guides.kinds import guide_of
from samplers.guides.pairs import PairGuide
from samplers.guides.pdf import PairDistributionGuide, termination
from samplers.setup import GenerateOptions

OPTIONS = GenerateOptions()


def guide(rest: object, system: Structure) -> PairDistributionGuide:
    found = guide_of(f"pdf:{rest}", system, OPTIONS)
    assert isinstance(found, PairDistributionGuide)
    return found


@pytest.fixture
def system() -> Structure:
    return random_structure()


@pytest.fixture
def target(tmp_path: Path, system: Structure) -> Path:
    return write(tmp_path / "g.csv", *rdf(system, 8.0, 0.05))


def test_histogram_of_the_structure_is_met(target: Path, system: Structure) -> None:
    one = guide(target, system)
    assert one.reached(system)["rms"] < 0.05
    other = random_structure(seed=1)
    assert one.reached(other)["rms"] > 5 * one.reached(system)["rms"]
    assert one.distance(other) > 3 > 1 > one.distance(system)


def test_mean_agrees_with_a_fine_histogram_that_is_broadened(target: Path,
                                                             system: Structure) -> None:
    one = guide(target, system)
    r, fine = rdf(system, 9.0, 0.002)
    width = np.sqrt(0.05**2 + 0.05**2 / 12)
    kernel = np.exp(-0.5 * ((one.grid[:, None] - r) / width) ** 2)
    expected = kernel @ fine / kernel.sum(1)
    assert one.curve(system) == pytest.approx(expected, abs=0.01)


def test_neighbours_are_counted(target: Path, system: Structure) -> None:
    from ase.build import bulk

    diamond = Structure.from_atoms(bulk("C", "diamond", 3.567, cubic=True).repeat(3))
    random = np.random.default_rng(0)
    shaken = diamond.with_positions(diamond.positions
                                    + 0.05 * random.normal(size=(len(diamond), 3)))
    one = guide(write(target, *rdf(shaken, 7.0, 0.05)), shaken)
    assert one.asked["neighbours"] == pytest.approx(4, abs=0.1)
    assert one.asked["first_maximum"] == pytest.approx(1.545, abs=0.05)
    assert one.reached(shaken)["neighbours"] == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("suffix", ["@g", "@G", "@G@qmax=18"])
def test_gradient_is_that_of_finite_differences(tmp_path: Path, system: Structure,
                                                suffix: str) -> None:
    r, g = rdf(random_structure(seed=3), 7.0, 0.05)
    density = len(system) / system.volume
    y = g if suffix == "@g" else 4 * np.pi * density * r * (g - 1)
    one = guide(f"{write(tmp_path / 'y.csv', r, y, 'r,y')}{suffix}", system)
    x = torch.tensor(system.positions, requires_grad=True)
    (gradient,) = torch.autograd.grad(one(x, 0.0), x)
    way = torch.tensor(np.random.default_rng(1).normal(size=x.shape))
    h = 1e-5
    with torch.no_grad():
        numeric = (one(x + h * way, 0.0) - one(x - h * way, 0.0)) / (2 * h)
    assert float((gradient * way).sum()) == pytest.approx(float(numeric), rel=1e-5)


def test_g_and_its_capital_agree(tmp_path: Path, system: Structure, target: Path) -> None:
    small = guide(target, system)
    r, g = rdf(system, 8.0, 0.05)
    scale = 4 * np.pi * len(system) / system.volume
    capital = guide(write(tmp_path / "G.csv", r, scale * r * (g - 1), "r,G"), system)
    assert capital.quantity == "G(r)"
    assert capital.g(capital.curve(system)) == pytest.approx(small.curve(system), abs=0.03)


def test_range_of_q_is_matched(tmp_path: Path, system: Structure) -> None:
    """G(r) transformed by hand from an S(Q) that ends at 15 / angstrom."""
    density = len(system) / system.volume
    r, g = rdf(system, 30.0, 0.01)
    window = np.where(r < 29.5, 4 * np.pi * density * r * (g - 1), 0)
    q = np.arange(0.01, 15, 0.02)
    f = np.sin(q[:, None] * r) @ window * 0.01
    inner = np.arange(0.5, 8.01, 0.02)
    measured = 2 / np.pi * np.sin(inner[:, None] * q) @ f * 0.02
    path = write(tmp_path / "G.csv", inner, measured, "r,G")
    matched = guide(f"{path}@qmax=15", system).reached(system)["rms"]
    ignored = guide(path, system).reached(system)["rms"]
    assert matched < 0.2 * ignored


def test_kernel_of_termination_keeps_slow_waves() -> None:
    r = np.arange(0, 40, 0.02)
    kernel = termination(r, 10.0) * 0.02
    middle = (r > 8) & (r < 12)
    for k, kept in ((5.0, 1.0), (14.0, 0.0)):
        wave = np.sin(k * r) * np.exp(-0.5 * ((r - 10) / 4) ** 2)
        assert (kernel @ wave)[middle] == pytest.approx(kept * wave[middle], abs=0.02)


def test_ascent_of_the_gradient_comes_nearer(target: Path, system: Structure) -> None:
    one = guide(target, system)
    random = np.random.default_rng(5)
    x = torch.tensor(system.positions + 0.15 * random.normal(size=system.positions.shape))
    before = one.reached(system.with_positions(x.numpy()))["rms"]
    for _ in range(60):
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad(one(x, 0.0), x)
        x = (x + 0.01 * gradient / gradient.norm(dim=1).max()).detach()
    assert one.reached(system.with_positions(x.numpy()))["rms"] < 0.5 * before


def test_weights_of_elements(tmp_path: Path) -> None:
    silica = random_structure(numbers=(14, 8, 8), apart=1.4)
    path = write(tmp_path / "g.csv", *rdf(silica, 8.0, 0.05))
    with pytest.raises(InputError, match="@xray or @neutron"):
        guide(path, silica)
    assert guide(f"{path}@atoms", silica).reached(silica)["rms"] < 0.05
    # By hand: c_a c_b b_a b_b / <b>^2 times partials (Keen, equation 10), coherent lengths in fm.
    from diffxas.analysis import partial_rdf

    r, partial = partial_rdf(silica, 8.0, 0.05)
    for weighting, si, o in (("xray", 14.0, 8.0), ("neutron", 4.1491, 5.803)):
        c = np.array([1 / 3, 2 / 3])
        mean = c @ [si, o]
        total = (c[0]**2 * si**2 * partial["Si-Si"] + c[1]**2 * o**2 * partial["O-O"]
                 + 2 * c[0] * c[1] * si * o * partial["Si-O"]) / mean**2
        one = guide(f"{write(tmp_path / 'w.csv', r, total)}@{weighting}", silica)
        assert one.reached(silica)["rms"] < 0.05


def test_large_cells_count_as_much(target: Path, system: Structure) -> None:
    """Systematic noise is tempered: twice the atoms pull twice as hard, like the prior."""
    one = guide(write(target, *rdf(system, 5.5, 0.05)), system)
    atoms = system.to_atoms().repeat((2, 1, 1))
    double = Structure.from_atoms(atoms)
    shaken = 0.05 * np.random.default_rng(0).normal(size=system.positions.shape)
    ours = one.reached(system.with_positions(system.positions + shaken))
    theirs = one.at(double).reached(double.with_positions(
        double.positions + np.tile(shaken, (2, 1))))
    assert theirs["rms"] == pytest.approx(ours["rms"], rel=1e-6)
    assert theirs["log_likelihood"] == pytest.approx(2 * ours["log_likelihood"], rel=1e-6)


@pytest.mark.parametrize("kind", ["pdf", "sq"])
def test_systems_of_other_cells_show_the_same_values(tmp_path: Path, kind: str) -> None:
    """A guide is calibrated on cells of other densities and sizes."""
    system = random_structure(n=60, length=9.0)
    x = np.arange(0.3, 20.0, 0.05)
    one = guide_of(f"{kind}:{write(tmp_path / 'y.csv', x, np.ones(len(x)), 'x,y')}", system,
                   OPTIONS)
    assert isinstance(one, PairGuide)
    for other in (random_structure(n=60, length=8.0), random_structure(n=90, length=10.5)):
        there = one.at(other)
        assert there.sites(torch.tensor(other.positions)).shape == (len(other), len(one.grid))
        assert one.at(other).at(system).curve(system) == pytest.approx(one.curve(system))


def test_own_images_are_counted(tmp_path: Path) -> None:
    """A cell shorter than the range shows what its copies side by side show."""
    small = random_structure(n=12, length=5.0)
    large = Structure.from_atoms(small.to_atoms().repeat(2))
    one = guide(write(tmp_path / "g.csv", *rdf(large, 8.0, 0.05)), large)
    assert one.grid[-1] > 6
    assert one.at(small).curve(small) == pytest.approx(one.curve(large), abs=1e-9)


@pytest.mark.parametrize(("text", "message"), [
    ("", "two columns"),
    ("r\n" + "\n".join(f"{k}" for k in range(30)), "two columns"),
    ("r,g\n" + "\n".join(f"{0.2 * k},{1 if k != 7 else 'nan'}" for k in range(40)), "finite"),
    ("r,g\n" + "\n".join(f"{0.2 * (k if k != 9 else 5)},1" for k in range(40)), "increase"),
    ("r,g\n" + "\n".join(f"{0.2 * k},{4.0 * k}" for k in range(40)), "g\\(r\\)"),
    ("r,G\n" + "\n".join(f"{0.2 * k},1" for k in range(40)), "must hold G\\(r\\)"),
    ("r,g\n" + "\n".join(f"{0.2 * k},1" for k in range(5)), "points"),
    ("r,g\n" + "\n".join(f"{50 + 0.2 * k},1" for k in range(40)), "overlap"),
    ("r,a,b,c\n" + "\n".join(f"{0.2 * k},1,1,1" for k in range(40)), "two columns"),
])
def test_bad_files_are_refused(tmp_path: Path, system: Structure, text: str,
                               message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        guide(path, system)


@pytest.mark.parametrize("suffix", ["@light", "@qmax=-1", "@qmax=far"])
def test_bad_suffixes_are_refused(target: Path, system: Structure, suffix: str) -> None:
    with pytest.raises(InputError):
        guide(f"{target}{suffix}", system)


def test_missing_file_is_refused(tmp_path: Path, system: Structure) -> None:
    with pytest.raises(InputError, match="can be read"):
        guide(tmp_path / "none.csv", system)
