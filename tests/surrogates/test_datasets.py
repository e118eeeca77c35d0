"""Site spectra from files: whole cells, drawn sites, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from surrogate_fakes import GRID
from synthetic_sites import FEFF_GRID, write_files

from diffxas.errors import InputError
from surrogates.datasets import load_site_spectra


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return write_files(tmp_path)


def test_whole_cells_take_every_atom_and_the_axis_of_the_dft_set(paths):
    items = [i for i in load_site_spectra(paths) if i.theory == "DFT"]
    with np.load(paths[2]) as content:
        for item, name, mu in zip(items, content["name"], content["mu"], strict=True):
            assert item.name == name and item.parent == "p" + name[1:]
            assert item.sites.tolist() == list(range(24))
            np.testing.assert_array_equal(item.spectra, mu)
            np.testing.assert_allclose(item.energy, GRID)
            assert item.structure.info["name"] == name


def test_drawn_sites_are_gathered_by_their_frame(paths):
    items = [i for i in load_site_spectra(paths) if i.theory == "FEFF"]
    assert [i.name for i in items] == ["n10", "n11", "n12"] == [i.parent for i in items]
    for item in items:
        assert item.sites.tolist() == list(range(0, 24, 2))
        assert item.spectra.shape == (12, len(FEFF_GRID)) and item.spectra.dtype == np.float32
        np.testing.assert_array_equal(item.energy, FEFF_GRID)


def test_the_order_of_the_files_does_not_matter(paths):
    first, second = load_site_spectra(paths), load_site_spectra(paths[::-1])
    assert {(i.theory, i.name) for i in first} == {(i.theory, i.name) for i in second}


def test_a_relaxed_and_a_snapshot_file_of_one_name_are_told_apart(paths, tmp_path):
    """FEFF rows say ``networks/n10``; a file of the same names beside it must not stand in."""
    from diffxas.structure_files import read_structures, write_structures

    moved = [s.with_positions(s.positions + 0.5).with_info(name=s.info["name"])
             for s in read_structures(paths[1])]
    write_structures(tmp_path / "elsewhere.extxyz", moved)
    items = load_site_spectra([*paths, tmp_path / "elsewhere.extxyz"])
    known = {s.info["name"]: s for s in read_structures(paths[1])}
    for item in (i for i in items if i.theory == "FEFF"):
        np.testing.assert_allclose(item.structure.positions, known[item.name].positions)


def refused(paths: list[Path]) -> str:
    with pytest.raises(InputError) as refusal:
        load_site_spectra(paths)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_spectra_without_their_structures_are_refused_by_name(paths):
    assert "none named c0" in refused(paths[1:])
    assert "none named networks/n10" in refused([paths[0], *paths[2:]])


def test_structures_without_spectra_are_refused(paths):
    assert "npz of site spectra" in refused(paths[:2])


def test_an_npz_of_other_keys_is_refused_with_its_keys(paths, tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    assert "received x" in refused([*paths[:2], tmp_path / "other.npz"])


@pytest.mark.parametrize("what", ["text", "truncated", "pickle", "array", "missing", "empty"])
def test_a_file_that_is_no_npz_is_refused(paths, tmp_path, what):
    bad = tmp_path / "bad.npz"
    if what == "text":
        bad.write_text("energy,mu")
    elif what == "truncated":
        bad.write_bytes(paths[2].read_bytes()[:300])
    elif what == "pickle":
        np.savez(bad, name=np.array([{"a": 1}], dtype=object), mu=np.zeros((1, 2, 3)))
    elif what == "array":
        np.save(tmp_path / "bad.npy", np.zeros(3))
        shutil.move(tmp_path / "bad.npy", bad)
    elif what == "empty":
        bad.touch()
    assert "bad.npz" in refused([*paths[:2], bad])


def changed(path: Path, **columns: np.ndarray) -> Path:
    """The npz with columns replaced."""
    with np.load(path) as content:
        kept = {key: content[key] for key in content.files}
    np.savez(path, **(kept | columns))
    return path


def test_spectra_that_do_not_fit_their_structures_are_refused(paths):
    with np.load(paths[2]) as content:
        mu = content["mu"]
    for bad, told in ((mu[:, :20], "24 atoms"), (mu[:1], "2 names"), (mu[0], "mu"),
                      (np.where(mu > 0.3, np.nan, mu), "finite")):
        changed(paths[2], mu=bad)
        assert told in refused(paths)


def test_sites_that_do_not_exist_are_refused(paths):
    with np.load(paths[3]) as content:
        site, mu = content["site"], content["mu"]
    for columns, told in (({"site": np.where(site == 22, 24, site)}, "received 24"),
                          ({"site": site - 1}, "received -1"), ({"site": site[:-1]}, "site"),
                          ({"mu": mu[:, 1:]}, "energy"), ({"mu": np.full_like(mu, np.inf)},
                                                          "finite")):
        changed(paths[3], **({"site": site, "mu": mu} | columns))
        assert told in refused(paths)


def test_an_axis_that_does_not_increase_is_refused(paths):
    changed(paths[3], energy=FEFF_GRID[::-1])
    assert "increase" in refused(paths)
