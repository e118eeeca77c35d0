"""Data of others travel with their source and licence, and stay small; experiments are listed."""

import re
from pathlib import Path

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
DATA = EXPERIMENTS / "data"
ABOUT = {"README.md", "LICENSE.txt", "make.py"}


def files() -> list[Path]:
    return [path for path in DATA.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def rows(readme: Path) -> dict[str, list[str]]:
    """Cells of a table's rows by the name in the first, which stands in backticks."""
    text = readme.read_text(encoding="utf-8")
    return {name: rest.split(" | ") for name, rest in
            re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.MULTILINE)}


def test_every_file_is_listed_with_source_and_licence():
    carried = {str(path.relative_to(DATA)) for path in files() if path.name not in ABOUT}
    listed = rows(DATA / "README.md")
    assert set(listed) == carried
    assert all(len(cells) == 3 and all(cells) for cells in listed.values())


def test_what_is_mit_has_its_notice_beside_it():
    owners = {"a-C-K-edge": "2022, Tim Hsu", "experimental": "2020 Hideki NAKAJIMA"}
    mit = {name.split("/")[0] for name, cells in rows(DATA / "README.md").items()
           if "CC0" not in cells[-1]}
    assert mit == set(owners)
    for folder, owner in owners.items():
        text = " ".join((DATA / folder / "LICENSE.txt").read_text(encoding="utf-8").split())
        assert f"Copyright (c) {owner}" in text
        assert "this permission notice shall be included in all copies" in text


def test_the_data_stay_under_8_megabytes():
    assert sum(path.stat().st_size for path in files()) < 8_000_000


def test_every_experiment_is_listed():
    folders = {path.name for path in EXPERIMENTS.iterdir()
               if path.is_dir() and any(path.glob("*.*"))}
    assert set(rows(EXPERIMENTS / "README.md")) == folders - {"__pycache__"}
