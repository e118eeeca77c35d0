"""``sq:``: checked against sums that share none of its code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pair_targets import random_structure, write

from diffxas.analyse import analyse_structure
from diffxas.curve_tables import write_curves
from diffxas.errors import InputError
from diffxas.structure import Structure
from diffxas.structure_factor import structure_factor
from samplers.guides.kinds import guide_of
from samplers.guides.sq import StructureFactorGuide
from samplers.setup import GenerateOptions

OPTIONS = GenerateOptions()


def guide(rest: object, system: Structure) -> StructureFactorGuide:
    found = guide_of(f"sq:{rest}", system, OPTIONS)
    assert isinstance(found, StructureFactorGuide)
    return found


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    q = np.arange(0.3, 22.0, 0.05)
    return write(tmp_path / "s.csv", q, np.ones(len(q)), "q,s")


@pytest.fixture
def silica() -> Structure:
    return random_structure(n=90, length=11.0, numbers=(14, 8, 8), apart=1.4)


def debye(structure: Structure, q: np.ndarray, cutoff: float, b: np.ndarray,
          mean: np.ndarray) -> np.ndarray:
    """Windowed S(Q) by explicit loops over atoms and images; b, mean: (n_elements, n_q), (n_q,)."""
    images = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), -1).reshape(-1, 3) @ structure.cell
    numbers = np.unique(structure.numbers)
    kind = np.searchsorted(numbers, structure.numbers)
    total = np.zeros(len(q))
    for i, x in enumerate(structure.positions):
        for j, y in enumerate(structure.positions):
            r = np.linalg.norm(y - x + images, axis=1)
            r = r[(r > 1e-6) & (r < cutoff)]
            w = np.sin(np.pi * r / cutoff) / (np.pi * r / cutoff)
            total += b[kind[i]] * b[kind[j]] * (
                w[:, None] * np.sin(q * r[:, None]) / (q * r[:, None])).sum(0) / mean**2
    n, density = len(structure), len(structure) / structure.volume
    r = np.linspace(1e-6, cutoff, 20001)
    w = np.sin(np.pi * r / cutoff) / (np.pi * r / cutoff)
    uniform = np.trapezoid(r * w * np.sin(q[:, None] * r), r, axis=1) / q
    return 1 + total / n - 4 * np.pi * density * uniform


def doyle_turner(symbol: str, q: np.ndarray) -> np.ndarray:
    """Form factors as pymatgen has them, from electron scattering: no table of ours or of
    periodictable."""
    import json
    from importlib.resources import files

    from ase.data import atomic_numbers

    table = json.loads((files("pymatgen.analysis.diffraction")
                        / "atomic_scattering_params.json").read_text())
    s2 = (q / (4 * np.pi)) ** 2
    return atomic_numbers[symbol] - 41.78214 * s2 * sum(
        a * np.exp(-b * s2) for a, b in table[symbol])


@pytest.mark.parametrize("weighting", ["neutron", "xray"])
def test_sum_agrees_with_explicit_loops(flat: Path, silica: Structure, weighting: str) -> None:
    one = guide(f"{flat}@{weighting}", silica)
    q = one.grid
    if weighting == "neutron":
        b = np.repeat([[5.803], [4.1491]], len(q), axis=1)  # fm, O and Si
    else:
        b = np.array([doyle_turner("O", q), doyle_turner("Si", q)])
    mean = np.array([2 / 3, 1 / 3]) @ b
    expected = debye(silica, q, one.pair_map.cutoff, b, mean)
    inner = q < (20 if weighting == "neutron" else 12)  # where the two tables agree
    assert np.ptp(expected[inner]) > 0.5
    tolerance = 2e-3 if weighting == "neutron" else 1e-2
    assert one.curve(silica)[inner] == pytest.approx(expected[inner], abs=tolerance)


def test_sum_over_wave_vectors_agrees_at_one_resolution(tmp_path: Path) -> None:
    """The cell's own wave vectors, all of them, brought to the window's resolution."""
    system = random_structure(n=400, length=16.0, apart=1.4)
    q, s = structure_factor(system, 16.0, 0.1)
    known = np.isfinite(s)
    one = guide(write(tmp_path / "s.csv", q[known], s[known], "q,s"), system)
    reached = one.reached(system)
    assert reached["rms"] < 0.06
    # Another structure of the same density is farther off by more than that noise.
    assert one.reached(random_structure(n=400, length=16.0, apart=1.0))["rms"] > 0.12


def test_files_of_analyse_are_taken(tmp_path: Path, silica: Structure) -> None:
    write_curves(tmp_path, [silica], [analyse_structure(silica)])
    other = random_structure(n=90, length=11.0, numbers=(14, 8, 8), apart=1.0, seed=9)
    for kind, file in (("sq", "structure_factor.csv"), ("pdf", "rdf.csv")):
        for weighting in ("xray", "neutron", "atoms"):
            one = guide_of(f"{kind}:{tmp_path / file}@{weighting}", silica, OPTIONS)
            assert one.reached(silica)["rms"] < 0.5 * one.reached(other)["rms"]


@pytest.mark.parametrize("weighting", ["neutron", "xray"])
def test_gradient_is_that_of_finite_differences(flat: Path, silica: Structure,
                                                weighting: str) -> None:
    one = guide(f"{flat}@{weighting}", silica)
    x = torch.tensor(silica.positions, requires_grad=True)
    (gradient,) = torch.autograd.grad(one(x, 0.0), x)
    way = torch.tensor(np.random.default_rng(1).normal(size=x.shape))
    h = 1e-6
    with torch.no_grad():
        numeric = (one(x + h * way, 0.0) - one(x - h * way, 0.0)) / (2 * h)
    assert float((gradient * way).sum()) == pytest.approx(float(numeric), rel=1e-4)


def test_weights_must_be_said_for_several_elements(flat: Path, silica: Structure) -> None:
    with pytest.raises(InputError, match="@xray or @neutron"):
        guide(flat, silica)
    with pytest.raises(InputError, match="must be written"):
        guide(f"{flat}@gamma", silica)
    assert guide(flat, random_structure()).request.weighting == "atoms"


@pytest.mark.parametrize(("x", "y", "message"), [
    (np.arange(0.3, 20, 0.05), 5.0, "tending to 1"),
    (np.arange(0.3, 20, 0.9), 1.0, "within"),
    (np.arange(0.3, 1.5, 0.05), 1.0, "overlap"),
    (np.arange(60.0, 70.0, 0.05), 1.0, "overlap"),
    (np.arange(-1.0, 20.0, 0.05), 1.0, "negative"),
    (np.arange(20.0, 0.3, -0.05), 1.0, "increase"),
    (np.arange(0.3, 20, 0.05), np.nan, "NaN"),
])
def test_bad_files_are_refused(tmp_path: Path, x: np.ndarray, y: float, message: str) -> None:
    path = write(tmp_path / "bad.csv", x, np.full(len(x), y), "q,s")
    with pytest.raises(InputError, match=message):
        guide(path, random_structure())
