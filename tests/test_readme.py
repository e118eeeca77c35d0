"""The README's code and commands do what it says, run from a folder that looks like a clone."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import ase.io
import click
import pytest
from command_runner import run

from diffxas.structure import Structure
from samplers.commands import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = {"inspect", "generate", "campaign", "discover", "predict", "compare", "describe", "relax",
         "analyse", "models"}
QUICK = {"inspect", "predict", "compare", "describe", "models"}
WRITTEN_BY_GENERATE = ("report.html", "structures.extxyz", "relaxed.extxyz", "spectra.csv",
                       "samples.csv", "summary.json", "figures/")


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language; ``sh hours`` is what takes too long to run here."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def lines(program: str, language: str = "sh") -> list[list[str]]:
    """Words after ``program`` of every line of the shell blocks that calls it."""
    calls = [shlex.split(line, comments=True) for block in blocks(language)
             for line in block.splitlines()]
    return [words[1:] for words in calls if words and words[0] == program]


def takes_what_was_made(words: list[str]) -> bool:
    """Whether a line reads what an earlier one wrote."""
    out = words[words.index("--out") + 1] if "--out" in words else ""
    return any(word.startswith("runs/") and word != out for word in words)


RUN = lines("diffxas")
QUICK_COMMANDS = [words for words in RUN if words[0] in QUICK and not takes_what_was_made(words)]
LONGER_COMMANDS = [words for words in RUN if words not in QUICK_COMMANDS]
COMMANDS = lines("diffxas", "sh(?: hours)?")


def in_the_text() -> list[list[str]]:
    """Whole commands in running text: those that say where to write."""
    text = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    spans = [shlex.split(span) for span in re.findall(r"`diffxas ([^`]+)`", text)]
    return [words for words in spans if "--out" in words]


def parse(words: list[str]) -> click.Context:
    """Parse a command line without running it."""
    command: click.Command = main
    name, rest = "diffxas", list(words)
    while isinstance(command, click.Group):
        name = rest.pop(0)
        assert name in command.commands, f"diffxas has no command {name}"
        command = command.commands[name]
    return command.make_context(name, rest)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that has the clone's data and nothing that earlier runs left."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def succeed(words: list[str]) -> None:
    """Run a line as written; a guided run may end with the target out of reach."""
    result = run(*words)
    guided = words[0] in ("generate", "discover") and "--no-guidance" not in words
    assert result.exit_code in ((0, 3) if guided else (0,)), result.output
    if "--out" in words:
        out = Path(words[words.index("--out") + 1])
        assert out.is_file() or any(out.iterdir())


def test_every_command_is_shown():
    assert {words[0] for words in COMMANDS} >= SHOWN


@pytest.mark.parametrize("words", [*COMMANDS, *in_the_text()], ids=" ".join)
def test_commands_exist_with_their_options(words):
    parse(words)


@pytest.mark.parametrize("words", [["models", "--colour"], ["predict", "a.vasp"]], ids=" ".join)
def test_the_check_sees_a_wrong_command(words):
    with pytest.raises(click.UsageError):
        parse(words)


def test_make_has_the_targets():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = [words[0] for words in lines("make")]
    assert {"demo", "test"} <= set(shown) <= set(targets)


def test_links_and_pictures_lead_somewhere():
    places = [place for place in re.findall(r"\]\(([^)#\s]+)", README)
              if not place.startswith(("http:", "https:"))]
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_inputs_are_carried_or_made_by_a_line_before():
    made: list[str] = []
    for words in COMMANDS:
        out = words[words.index("--out") + 1] if "--out" in words else ""
        files = [word for word in words if "/" in word and word != out]
        assert [file for file in files if not (ROOT / file).is_file()
                and not any(f"{file}/".startswith(folder) for folder in made)] == []
        made += [out + "/"] if out else []


@pytest.mark.parametrize("words", QUICK_COMMANDS, ids=lambda words: words[0])
def test_quick_commands_run(words, clone):
    succeed(words)


def test_the_shown_configs_are_the_carried_ones():
    from samplers.campaign_plan import plan_of as plan_of_campaign
    from samplers.campaign_words import options_of
    from samplers.discovery_plan import plan_of
    from samplers.plan_checks import Problems

    contents = {}
    for shown, name in zip(blocks("toml"), ("discover", "campaign"), strict=True):
        (words,) = [words for words in RUN if words[0] == name]
        contents[name] = tomllib.loads(shown)
        assert contents[name] == tomllib.loads((ROOT / words[1]).read_text(encoding="utf-8"))
    assert len(plan_of(contents["discover"], "README.md").members) == 4
    problems = Problems()
    found = plan_of_campaign(contents["campaign"], "README.md",
                             options_of(main.commands["generate"]), problems)
    assert problems.found == {} and [one.label for one in found.members] == [300, 305]
    assert all((ROOT / str(one.target)).is_file() for one in found.members)


@pytest.mark.slow
def test_the_commands_run_in_their_order(clone):
    for words in LONGER_COMMANDS:
        succeed(words)
    for name in WRITTEN_BY_GENERATE:
        assert f"`{name}`" in README
        for words in LONGER_COMMANDS:
            if words[0] == "generate":
                assert (Path(words[words.index("--out") + 1]) / name).exists()


@pytest.mark.slow
def test_the_python_code_runs(clone):
    (code,) = blocks("python")
    (clone / "first_lines.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "first_lines.py"], capture_output=True, text=True,
                          check=False, timeout=600, cwd=clone,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    (density,) = re.findall(r"density=([\d.]+)", code)
    (atoms,) = re.findall(r"atoms=(\d+)", code)
    answer = Structure.from_atoms(ase.io.read(clone / "answer.cif"))
    assert len(answer) == int(atoms)
    assert answer.density == pytest.approx(float(density), rel=1e-3)
    assert f"C{atoms} " in done.stdout
