"""FEFF's files: what is read, and what counts as unfinished."""

from pathlib import Path

import numpy as np
import pytest
from feff_runs import CARDS, write_input, write_log, write_xmu
from synthetic_sites import cell

from surrogates.feff import Unfinished, converged, read_input, read_spectrum

POSITIONS = cell(0).positions


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_input(tmp_path / "run", POSITIONS)
    write_xmu(folder)
    return folder


def test_an_input_becomes_a_cluster_about_its_absorber(run):
    asked = read_input(run)
    assert (asked.element, asked.edge) == ("C", "K") and not asked.cluster.pbc.any()
    np.testing.assert_allclose(asked.cluster.positions, POSITIONS - POSITIONS[0], atol=1e-5)
    reach = np.linalg.norm(asked.cluster.positions, axis=1).max()
    assert asked.cluster.volume == pytest.approx(4 / 3 * np.pi * reach**3)
    assert asked.cards["XANES"] == CARDS["XANES"] and "TITLE" not in asked.theory


def test_notations_of_feff_mean_the_same(run):
    """Comments, tags, an absorber that is not first, short names, HOLE, multiplied distances."""
    first = read_input(run)
    text = (run / "feff.inp").read_text()
    rows = text.split("ATOMS\n")[1].split("END")[0].splitlines()
    half = [f" {' '.join(f'{float(x) / 2:.6f}' for x in row.split()[:3])} {row.split()[3]} C 1.0 7"
            for row in rows]
    text = text.replace("EDGE K", "HOLE 1 1.0  ! K").replace("POTENTIALS", "potentials *\n* ipot")
    text = text.replace("XANES", "XANE").replace("SCF 3.0", "SCF 3").replace("TITLE", "* \nTITLE")
    text = text.split("ATOMS")[0] + "RMULTIPLIER 2.0\nATOMS  * x y z\n****-  ****-\n" + "\n".join(
        [*half[1:], half[0]]) + "\nEND\nFMS 1.0\n"
    (run / "feff.inp").write_text(text)
    second = read_input(run)
    np.testing.assert_allclose(second.cluster.positions, first.cluster.positions, atol=2e-5)
    assert second.theory == first.theory and second.edge == "K"


def test_a_grid_below_its_card_is_part_of_the_theory(run):
    text = (run / "feff.inp").read_text()
    (run / "feff.inp").write_text(text.replace("POTENTIALS", "EGRID\nk_grid -1 0 0.04\n"
                                               "k_grid 0 6 0.04\n\nPOTENTIALS"))
    assert read_input(run).theory["EGRID"] == "k_grid -1 0 0.04 k_grid 0 6 0.04"


def test_a_table_is_read_with_its_edge_step(run):
    found = read_spectrum(run, read_input(run).cards)
    assert found.edge_step == pytest.approx(6.8393e-3)
    assert len(found.energy) == len(found.mu) == len(found.k) == 72
    assert (found.k[0], found.k[-1]) == pytest.approx((-1.4, 3.57))


CUT: dict[str, tuple[object, str]] = {
    "no file": (lambda path: path.unlink(), "no xmu.dat"),
    "empty": (lambda path: path.write_text(""), "cut short"),
    "header": (lambda path: path.write_text(path.read_text()[:300]), "cut short"),
    "within a line": (lambda path: path.write_text(path.read_text()[:-30]), "last line"),
    "within a number": (lambda path: path.write_text(path.read_text()[:-1]), "last line"),
    "lines": (lambda path: path.write_text("".join(
        path.read_text().splitlines(keepends=True)[:60])), "ends at k = 2.52"),
    "NaN": (lambda path: path.write_text(path.read_text().replace("E+00", "E+00", 1).replace(
        path.read_text().split()[-3], "NaN")), "finite"),
    "stars": (lambda path: path.write_text(path.read_text().replace(
        path.read_text().split()[-3], "*" * 12)), "could not convert"),
    "flat": (lambda path: path.write_text("".join(
        line if line[0] == "#" else " ".join([*line.split()[:3], "0.0", "1.0", "0.0"]) + "\n"
        for line in path.read_text().splitlines(keepends=True))), "no absorption"),
}


@pytest.mark.parametrize("case", CUT)
def test_a_table_that_is_not_whole_is_unfinished(run, case):
    spoil, told = CUT[case]
    spoil(run / "xmu.dat")
    with pytest.raises(Unfinished, match=told):
        read_spectrum(run, read_input(run).cards)


INPUTS = {"no file": (None, "no feff.inp"), "no atoms": ("EDGE K\nEND\n", "0 atoms of potential 0"),
          "two absorbers": ("POTENTIALS\n0 6\nATOMS\n0 0 0 0\n1 1 1 0\n", "2 atoms"),
          "no potential": ("POTENTIALS\n0 6\nATOMS\n0 0 0 0\n1 1 1 4\n", "potential 4"),
          "words": ("POTENTIALS\n0 6\nATOMS\n0 0 0\n", "cannot be read"),
          "M edge": ("EDGE M4\nPOTENTIALS\n0 29\nATOMS\n0 0 0 0\n", "edge M4")}


@pytest.mark.parametrize("case", INPUTS)
def test_an_input_that_cannot_be_read_says_why(tmp_path, case):
    text, told = INPUTS[case]
    if text is not None:
        (tmp_path / "feff.inp").write_text(text)
    with pytest.raises(Unfinished, match=told):
        read_input(tmp_path)


def test_potentials_that_did_not_converge_are_seen(run):
    assert converged(run)
    write_log(run, converged=True)
    assert converged(run)
    write_log(run, converged=False)
    assert not converged(run)


def test_the_shared_runs(shared_data):
    folder = shared_data / "formats" / "feff"
    asked = read_input(folder / "nep_104_7")
    assert len(asked.cluster) == 104 and asked.cluster.density == pytest.approx(1.86, abs=0.06)
    found = read_spectrum(folder / "nep_104_7", asked.cards)
    assert (found.energy[0], found.energy[-1]) == pytest.approx((270.74, 326.77), abs=0.01)
    assert found.mu[-1] == pytest.approx(0.926, abs=1e-3) and converged(folder / "nep_104_7")
    unfinished = read_input(folder / "nep_104_8")
    assert unfinished.theory == asked.theory
    with pytest.raises(Unfinished, match=r"no xmu\.dat"):
        read_spectrum(folder / "nep_104_8", unfinished.cards)
