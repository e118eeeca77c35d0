"""``inspect`` writes what it says, and its flags reproduce what it showed."""

import json
import shlex

import numpy as np
import pytest

from diffxas.errors import InputError
from diffxas.inspection import OUTPUTS, inspect_target
from diffxas.normalise import normalise
from diffxas.spectrum import Spectrum


@pytest.fixture
def target(tmp_path):
    energy = np.arange(270.0, 321.0, 0.2)
    mu = 0.1 + 0.3 / (1 + np.exp(-(energy - 284.6) / 0.5))
    path = tmp_path / "my film.csv"
    path.write_text("energy,TEY,PFY,I0\n" + "".join(
        f"{e:.2f},{m:.8f},{m + 1:.8f},2.0\n" for e, m in zip(energy, mu, strict=True)))
    return path


def test_all_files_with_the_numbers_of_the_normalisation(target, tmp_path):
    spectrum = Spectrum.read(target, columns="energy=1,signal=2,i0=4", edge="C:K")
    record = inspect_target(spectrum, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(OUTPUTS)
    expected = normalise(spectrum)
    stored = json.loads((tmp_path / "out/inspect.json").read_text())
    assert stored["e0"] == record["e0"] == expected.e0
    assert stored["window"] == [282.0, 300.0] and stored["hash"] == spectrum.meta["hash"]
    columns = np.loadtxt(tmp_path / "out/normalised.csv", delimiter=",", skiprows=1).T
    assert np.array_equal(columns[0], spectrum.energy) and np.array_equal(columns[1], spectrum.mu)
    assert np.array_equal(columns[2], expected.norm)


def test_the_flags_lead_to_the_same_spectrum(target, tmp_path):
    spectrum = Spectrum.read(target, columns="energy=1,signal=TEY,i0=I0", edge="C:K")
    flags = inspect_target(spectrum, tmp_path / "out", window=(281.5, 301))["flags"]
    assert flags == "--edge C:K --columns energy=1,signal=2,i0=4 --window 281.5 301"
    words = shlex.split(flags)
    again = Spectrum.read(target, edge=words[1], columns=words[3])
    assert np.array_equal(again.mu, spectrum.mu)


def test_the_figure_shows_window_edge_and_lines(target, tmp_path):
    from matplotlib.image import imread

    spectrum = Spectrum.read(target, columns="energy=1,signal=2,i0=4", edge="C:K")
    inspect_target(spectrum, tmp_path / "out")
    image = imread(tmp_path / "out/inspect.png")[..., :3]
    assert image.shape[0] > 400 and image.shape[1] > 1000
    right = image[:, image.shape[1] // 2:]
    shaded = (right[..., 2] < right[..., 0] - 0.1) & (right[..., 0] > 0.9)  # the yellow window
    assert 0.1 < shaded.mean() < 0.5
    assert not shaded[:, -40:].any()


def test_only_its_own_output_is_replaced(target, tmp_path):
    spectrum = Spectrum.read(target, columns="energy=1,signal=2,i0=4", edge="C:K")
    out = tmp_path / "out"
    inspect_target(spectrum, out)
    inspect_target(spectrum, out, window=(280, 305))
    assert json.loads((out / "inspect.json").read_text())["window"] == [280, 305]
    other = tmp_path / "other"
    other.mkdir()
    (other / "normalised.csv").write_text("mine")
    with pytest.raises(InputError, match="other origin"):
        inspect_target(spectrum, other)
    assert [p.name for p in other.iterdir()] == ["normalised.csv"]
    assert (other / "normalised.csv").read_text() == "mine"


def test_a_window_that_misses_the_edge_writes_nothing(target, tmp_path):
    spectrum = Spectrum.read(target, columns="energy=1,signal=2,i0=4", edge="C:K")
    with pytest.raises(InputError, match="must contain the edge"):
        inspect_target(spectrum, tmp_path / "out", window=(300, 315))
    assert not (tmp_path / "out").exists()


def test_other_edges_have_a_window_around_their_own(shared_data, tmp_path):
    spectrum = Spectrum.read(shared_data / "formats/cu_metal_rt.xdi")
    record = inspect_target(spectrum, tmp_path / "out")
    low, high = record["window"]
    assert low < record["e0"] < high and 8900 < low
    assert record["flags"].startswith("--edge Cu:K --columns energy=1,mu=4 --window ")
