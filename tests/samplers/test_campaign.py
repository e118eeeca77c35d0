"""``diffxas campaign``: members run, resume, fail and are shown; small unguided runs."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from command_runner import refused, run
from small_runs import FILM, content, require_weights

from diffxas.errors import RunError
from samplers.campaign_figure import figure_of
from samplers.campaign_plan import Member
from samplers.campaign_rows import row_of
from samplers.campaign_setup import set_up_campaign
from samplers.cluster import model_hash
from samplers.commands import main

TINY = """
atoms = 24
steps = 2
samples = 2
no-relax = true
no-guidance = true
"""


@pytest.fixture(autouse=True)
def weights(one_prior: None, unreported: None) -> None:
    require_weights()


def config(folder: Path, text: str) -> Path:
    (folder / "campaign.toml").write_text(text)
    return folder / "campaign.toml"


def rows(out: Path) -> dict[str, dict[str, str]]:
    """Lines of ``campaign.csv`` by the names of the members."""
    with (out / "campaign.csv").open(newline="", encoding="utf-8") as handle:
        return {line["name"]: line for line in csv.DictReader(handle)}


def states(out: Path) -> dict[str, str]:
    return {name: line["state"] for name, line in rows(out).items()}


def test_members_are_ordinary_runs(tmp_path: Path) -> None:
    path = config(tmp_path, 'densities = [2.0, 3.0]\nlabel_name = "batch"' + TINY + """
[[member]]
name = "dense"
label = 7
density = 3.4
seed = 5
""")
    out = tmp_path / "out"
    result = run("campaign", path, "--out", out)
    assert result.exit_code == 0, result.output
    assert states(out) == {"2": "finished", "3": "finished", "dense": "finished"}
    alone = run("generate", "--density", 3.4, "--atoms", 24, "--steps", 2, "--samples", 2,
                "--seed", 5, "--no-relax", "--no-guidance", "--out", tmp_path / "alone")
    assert alone.exit_code == 0
    for name in ("run.json", "structures.extxyz"):
        if name == "run.json":
            here, there = (json.loads((folder / name).read_text())["identity"]
                           for folder in (out / "dense", tmp_path / "alone"))
            assert here == there
        else:
            assert (out / "dense" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    shares = json.loads((out / "dense" / "summary.json").read_text())["posterior"]["coordination"]
    line = rows(out)["dense"]
    assert float(line["sp3"]) == pytest.approx(shares["4"]["mean"])
    assert float(line["sp3_90_high"]) == pytest.approx(shares["4"]["interval90"][1])
    assert (line["label"], line["density"], line["samples"]) == ("7", "3.4", "2")
    record = json.loads((out / "campaign.json").read_text())
    assert record["states"] == {"finished": 3} and record["label_name"] == "batch"
    assert record["plan"]["densities"] == [2.0, 3.0]
    command = record["members"][2]["command"].split()
    assert command[:2] == ["diffxas", "generate"] and "--density=3.4" in command
    page = (out / "report.html").read_text()
    assert 'href="dense/report.html"' in page and ">batch<" in page


def test_members_are_guided_by_companions_for_noised_structures(tmp_path: Path) -> None:
    path = config(tmp_path, f"""
densities = [2.2]
atoms = 24
steps = 2
samples = 1
no-relax = true

[[targets]]
file = "{FILM}"
name = "film"
""")
    generate = main.commands["generate"]
    found = set_up_campaign(path, tmp_path / "out", generate, "", progress=False)
    assert set(found.models) == {"prior:a-C", "surrogate:a-C", "noised:a-C-noised"}
    assert found.models == {name: model_hash(name) for name in found.models}
    result = run("campaign", path, "--out", tmp_path / "out")
    assert result.exit_code in (0, 3), result.output
    (name,) = states(tmp_path / "out")
    summary = json.loads((tmp_path / "out" / name / "summary.json").read_text())
    assert summary["algorithm"] == "noise-aware"


def test_failed_members_are_listed_and_the_rest_goes_on(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import samplers.generation

    real, ran, bad = samplers.generation.run_in, [], {"2": RunError("no more <atoms>"),
                                                     "3": KeyError("slip")}

    def run_in(spectrum: Any, out: Path, *rest: Any) -> Any:
        ran.append(out.name)
        if out.name in bad:
            raise bad[out.name]
        return real(spectrum, out, *rest)

    monkeypatch.setattr(samplers.generation, "run_in", run_in)
    path, out = config(tmp_path, "densities = [2.0, 3.0, 3.4]" + TINY), tmp_path / "out"
    result = run("campaign", path, "--out", out)
    assert result.exit_code == 1 and "2 of 3 members failed (2, 3)" in result.output
    assert states(out) == {"2": "failed", "3": "failed", "3.4": "finished"}
    assert rows(out)["2"]["reason"] == "no more <atoms>"
    assert "Traceback" in result.stderr and "KeyError" in rows(out)["3"]["reason"]
    page = (out / "report.html").read_text()
    assert "no more &lt;atoms&gt;" in page and 'href="2/report.html"' not in page
    before = content(out / "3.4")
    ran.clear()
    bad.clear()
    result = run("campaign", path, "--out", out)
    assert result.exit_code == 0, result.output
    assert ran == ["2", "3"] and content(out / "3.4") == before
    assert set(states(out).values()) == {"finished"} and rows(out)["2"]["reason"] == ""
    ran.clear()
    assert run("campaign", path, "--out", out).exit_code == 0 and ran == []


def test_tables_are_there_after_every_member(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import samplers.generation

    real, seen = samplers.generation.run_in, []

    def run_in(spectrum: Any, out: Path, *rest: Any) -> Any:
        seen.append(list(states(out.parent).values()))
        if out.name == "3":
            raise KeyboardInterrupt
        return real(spectrum, out, *rest)

    monkeypatch.setattr(samplers.generation, "run_in", run_in)
    path, out = config(tmp_path, "densities = [2.0, 3.0]" + TINY), tmp_path / "out"
    result = run("campaign", path, "--out", out)
    assert result.exit_code == 130 and "the same command resumes" in result.stderr
    assert seen == [["waiting", "waiting"], ["finished", "waiting"]]
    assert (out / "report.html").is_file()


def test_everything_that_is_wrong_is_told_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "words.csv").write_text("no spectrum\n")
    path = config(tmp_path, TINY + f"""
[[member]]
name = "gone"
target = "{tmp_path}/none.csv"
density = 2.0
[[member]]
name = "words"
target = "{tmp_path}/words.csv"
density = 2.0
[[member]]
name = "element"
density = 2.0
composition = "Xy2"
[[member]]
name = "silicon"
density = 2.0
composition = "Si"
[[member]]
name = "density"
[[member]]
name = "heavy"
density = 9.0
[[member]]
name = "steps"
density = 2.0
steps = "four"
[[member]]
name = "guide"
density = 2.0
guide = "coordination:4=1.5"
no-guidance = false
[[member]]
name = "prior"
density = 2.0
prior = "none"
[[member]]
name = "edge"
target = "{FILM}"
density = 2.0
edge = "Cu:K"
[[member]]
name = "fine"
density = 2.0
""")
    told = refused("campaign", path, "--out", out)
    assert "received 10 problems" in told
    for name, text in {"gone": "none.csv", "words": "words.csv", "element": "Xy",
                       "silicon": "Si in Si", "density": "received neither", "heavy": "received 9",
                       "steps": "'four' is not a valid integer", "guide": "0 to 1",
                       "prior": "received 'none'", "edge": "Cu"}.items():
        (mine,) = [part for part in re.split(r"\(\d+\) ", told) if part.startswith(f"{name}: ")]
        assert text in mine, (name, mine)
    assert "fine:" not in told and not out.exists()


def test_other_runs_and_files_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = config(tmp_path, "densities = [2.0]" + TINY)
    assert "received" in refused("campaign", tmp_path / "none.toml", "--out", out)
    for words in (("--workers", 0), ("--workers", 2, "--scheduler", "tcp://127.0.0.1:9")):
        assert "--workers" in refused("campaign", path, "--out", out, *words)
    assert not out.exists()
    (out / "2").mkdir(parents=True)
    (out / "run.json").write_text(json.dumps({"identity": {"kind": "campaign"}}))
    (out / "2" / "notes.txt").write_text("mine")
    assert "2: --out must be empty" in refused("campaign", path, "--out", out)
    config(tmp_path, "densities = [2.0" + TINY)
    assert "TOML" in refused("campaign", path, "--out", out)


def line(name: str, label: Any, state: str = "finished", **numbers: Any) -> dict[str, Any]:
    """A row of a member."""
    return {**row_of(Member(name, label, Path(f"{name}.csv"), "", ()), Path("nowhere")),
            "state": state, **numbers}


def test_numbers_are_an_axis_and_texts_are_categories() -> None:
    sp3 = {"sp3": 0.3, "sp3_50_low": 0.2, "sp3_50_high": 0.4, "sp3_90_low": 0.1,
           "sp3_90_high": 0.5, "density": 2.0}
    lines = [line("a", 600, **sp3), line("b", 25.0, **sp3), line("c", None, **sp3),
             line("d", 300, state="waiting")]
    figure = figure_of(lines, "T (C)")
    assert figure is not None and len(figure.axes) == 2
    top, bottom = figure.axes
    assert sorted(x for one in top.lines for x in one.get_xdata() if one.get_marker() == "o"
                  ) == [25.0, 600.0]
    heights = [end for one in top.collections for segment in one.get_segments()
               for end in segment[:, 1]]
    assert sorted(heights) == pytest.approx([10, 10, 20, 20, 40, 40, 50, 50])
    assert bottom.get_xlabel() == "T (C)"
    figure = figure_of([line("a", "as made", **sp3), line("b", 600, **sp3)], "state")
    assert figure is not None
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["as made", "600"]
    figure = figure_of([line("a", None, **sp3), line("b", None, **sp3)], "label")
    assert figure is not None
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["a", "b"]
    assert figure_of([line("a", 3, state="failed")], "x") is None


def test_a_target_out_of_reach_is_a_finished_member(tmp_path: Path) -> None:
    summary = {"samples": [{"number": 0, "answer": "sampled", "residual_sampled": 0.5,
                            "seconds_sampling": 2.0, "seconds_relaxing": None,
                            "energy_relaxed": -7.0}],
               "posterior": {"density": {"mean": 2.1, "interval50": [2, 2.2], "interval90": None},
                             "coordination": {key: {"mean": 0.3, "interval50": None,
                                                    "interval90": None} for key in "234"}},
               "pi_star": {"sp2_fraction": 0.8}, "best": 0, "warnings": ["w"],
               "out_of_reach": True}
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "summary.json").write_text(json.dumps(summary))
    row = row_of(Member("film", 3, None, "", ()), tmp_path, "what failed earlier")
    assert (row["state"], row["reason"], row["pi_star_sp2"]) == ("out of reach", "", 0.8)
    assert (row["density_50_high"], row["density_90_high"], row["sp3_50_low"]) == (2.2, None, None)
    assert (row["residual_best"], row["energy_per_atom"], row["seconds"]) == (0.5, -7.0, 2.0)
