"""``diffxas quench`` on the command line: what it prints, its exit codes, what it refuses."""

import pytest
from command_runner import refused, run

from diffxas import quench as corpus_module
from diffxas import quench_report

FLAGS = ["--melt", 5000, "--melt-ps", 0.02, "--rate", 100_000, "--atoms", 16]


def test_the_command_reports_and_fails_as_it_should(tmp_path, monkeypatch):
    monkeypatch.setattr(quench_report, "_curve_figures", lambda corpus: [])  # drawing is slow
    out = tmp_path / "run"
    text = run("quench", "--density", 2.5, *FLAGS, "--cells", 1, "--out", out).output
    assert "C_2.50_s0_0000" in text and "networks per core-hour" in text
    assert "rebo: melt at 5000 K for 0.02 ps, cooled at 100000 K/ps" in text
    assert not (out / "networks_300K.extxyz").exists()
    bad = run("quench", "--density", 3.4, *FLAGS, "--cells", 1, "--timestep", 15, "--melt-ps", 1,
              "--out", tmp_path / "bad")
    assert bad.exit_code == 1
    assert "failed: C_3.40_s0_0000: melt: " in bad.output
    assert "1 of 1 cells failed" in bad.output and "--timestep" in bad.output
    assert not (tmp_path / "bad" / "networks.extxyz").exists()


@pytest.mark.parametrize(("given", "words"), [
    (["--density", "x"], "--density must be"),
    (["--density", "2", "--composition", "SiO2", "--atoms", "217"], "216 and 219"),
    (["--density", "2", "--composition", "SiO2", "--potential", "rebo"], "vashishta:SiO.1990"),
    (["--density", "2", "--composition", "CuZr"], "no default"),
    (["--density", "20"], "for C, received 20"),
    (["--density", "2", "--rate", "-1"], "--rate must be"),
    (["--density", "2", "--cells", "0"], "--cells must be"),
    (["--density", "2", "--workers", "0"], "--workers must be"),
    (["--density", "2", "--seed", "-1"], "--seed must be"),
    (["--density", "2", "--anneal-ps", "1"], "must go with --anneal"),
    (["--density", "2", "--potential", "nonsense"], "received 'nonsense'"),
    ([], "--density"),
])
def test_bad_input_is_refused_before_work(tmp_path, given, words):
    out = tmp_path / "out"
    assert words in refused("quench", *given, "--out", out)
    assert not out.exists()


def test_an_interrupted_quench_says_that_it_resumes(tmp_path, monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus_module, "quench", interrupted)
    stopped = run("quench", "--density", 2.5, *FLAGS, "--out", tmp_path / "run")
    assert stopped.exit_code == 130 and "the same command resumes" in stopped.stderr
