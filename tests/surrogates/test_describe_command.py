"""``diffxas describe`` from a file to its folder."""

import csv
import json

import numpy as np
import pytest
from description_targets import dft_spectrum, needs_model
from PIL import Image

from surrogates.description_report import OUTPUTS
from surrogates.mixtures import QUANTITIES, whole

pytestmark = needs_model


@pytest.fixture
def target(tmp_path):
    spectrum, _ = dft_spectrum(3.0)
    path = tmp_path / "cell.csv"
    np.savetxt(path, np.column_stack([spectrum.energy, spectrum.mu]), delimiter=",",
               header="energy,mu", comments="")
    return path


def test_the_spectrum_of_a_dft_cell_gives_back_its_composition(target, tmp_path):
    from command_runner import run

    out = tmp_path / "out"
    result = run("describe", target, "--out", out)
    assert result.exit_code == 0, result.output
    assert "taken as computed" in result.output and "90 % interval" in result.output
    assert all((out / name).stat().st_size > 0 for name in OUTPUTS)
    with (out / "description.csv").open(newline="") as file:
        rows = {row["quantity"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(QUANTITIES)
    _, cell = dft_spectrum(3.0)
    for name, truth in zip(QUANTITIES, whole(cell), strict=True):
        value, low, high = (float(rows[name][key]) for key in ("value", "low", "high"))
        assert low - 1e-6 <= truth <= high + 1e-6 and low <= value <= high
    assert float(rows["sp3"]["value"]) == pytest.approx(whole(cell)[2], abs=0.1)
    assert rows["density"]["unit"] == "g/cm3"
    record = json.loads((out / "description.json").read_text())
    assert record["target_kind"] == "computed" and record["warnings"] == []
    assert [one["quantity"] for one in record["estimates"]] == list(QUANTITIES)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "cell.csv" in page and "describe-a-C" in page and "data:image/png" in page
    assert Image.open(out / "figures" / "description.png").size[0] > 800
    assert run("describe", target, "--out", out).exit_code == 0  # an earlier one is replaced


def test_without_a_folder_the_table_alone_is_printed(target, tmp_path):
    from command_runner import run

    result = run("describe", target, "--target-kind", "measured")
    assert result.exit_code == 0, result.output
    assert "sp3" in result.output and "classical pi* share" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell.csv"]


def test_what_cannot_be_described_is_refused_in_one_line(target, tmp_path):
    from command_runner import refused

    assert "must be of C:K" in refused("describe", target, "--edge", "Cu:K")
    text = tmp_path / "notes.txt"
    text.write_text("no spectrum\n", encoding="utf-8")
    assert "notes.txt" in refused("describe", text)
    assert "received a surrogate" in refused("describe", target, "--model", "a-C")
    other = tmp_path / "run"
    other.mkdir()
    (other / "run.json").write_text("{}", encoding="utf-8")
    assert "run.json" in refused("describe", target, "--out", other)
