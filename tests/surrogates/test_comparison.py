import csv
import json
import re

import numpy as np
import pytest
from surrogate_fakes import GRID, TableSurrogate, carbon_like, dft_cells, small_structure

from diffxas.errors import InputError
from diffxas.spectrum import Spectrum
from surrogates.comparison import OUTPUTS, compare

SITES = {name: np.stack([carbon_like(pi)] * 2)
         for name, pi in (("light", 0.35), ("middle", 0.2), ("dense", 0.03))}
LABELLED = [(name, small_structure(name)) for name in ("dense", "light", "middle")]
TARGET = Spectrum(GRID, carbon_like(0.22), "C", "K")


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_structures_are_ranked_best_first_in_every_output(tmp_path):
    rows = compare(TARGET, LABELLED, TableSurrogate(SITES), tmp_path)
    assert [row.label for row in rows] == ["middle", "light", "dense"]
    written = read(tmp_path / "compare.csv")
    assert [row["label"] for row in written] == ["middle", "light", "dense"]
    expected = np.sqrt(np.mean((carbon_like(0.2) - TARGET.mu)**2))
    assert float(written[0]["residual"]) == pytest.approx(expected, rel=1e-6)
    assert rows[0].delta_log_posterior == 0 > rows[1].delta_log_posterior
    summary = json.loads((tmp_path / "compare.json").read_text())
    assert summary["target_kind"] == "computed" and summary["window"] == [GRID[0], GRID[-1]]
    assert all((tmp_path / name).stat().st_size > 0 for name in OUTPUTS)


def test_spectra_stand_on_the_targets_points_in_the_order_of_the_input(tmp_path):
    energy = np.arange(271.0, 319.0, 0.25)
    curve = (0.6 * np.exp(-0.5 * ((energy - 285.3) / 0.5)**2)
             + 1 / (1 + np.exp(-(energy - 291.0) / 0.7)))
    rows = compare(Spectrum(energy, curve, "C", "K"), LABELLED, TableSurrogate(SITES), tmp_path)
    spectra = read(tmp_path / "spectra.csv")
    assert list(spectra[0]) == ["energy", "target", "dense", "light", "middle"]
    np.testing.assert_allclose([float(row["energy"]) for row in spectra], energy)
    best = rows[0]
    inside = (energy >= 282) & (energy <= 300)
    difference = np.array([float(row[best.label]) - float(row["target"]) for row in spectra])
    assert np.sqrt(np.mean(difference[inside]**2)) == pytest.approx(best.residual, rel=1e-5)
    assert set(best.nuisances) == {"shift", "stretch", "resolution", "lifetime", "log_scale",
                                   "tilt", "curve"}
    assert json.loads((tmp_path / "compare.json").read_text())["pi_star"]["fraction"] > 0


def test_an_earlier_comparison_is_replaced_and_other_folders_are_left(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    compare(TARGET, LABELLED, TableSurrogate(SITES), mine)
    compare(TARGET, LABELLED[:1], TableSurrogate(SITES), mine)
    assert len(read(mine / "compare.csv")) == 1
    other.mkdir()
    (other / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run\.json"):
        compare(TARGET, LABELLED, TableSurrogate(SITES), other)
    assert [path.name for path in other.iterdir()] == ["run.json"]


def test_a_bad_target_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="C:K"):
        compare(Spectrum(GRID, TARGET.mu, "Cu", "K"), LABELLED, TableSurrogate(SITES),
                tmp_path / "new")
    with pytest.raises(InputError, match="window"):
        compare(TARGET, LABELLED, TableSurrogate(SITES), tmp_path / "new", window=(308.0, 313.0))
    assert not (tmp_path / "new").exists()


def test_the_report_is_self_contained_and_escapes_labels(tmp_path):
    label = "<script>alert(1)</script>"
    compare(TARGET, [(label, small_structure("light"))], TableSurrogate(SITES), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert label not in page and "&lt;script&gt;" in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:", page)
    assert page.count("data:image/png;base64,") == 2


def test_the_mean_spectrum_of_a_cell_ranks_its_own_density_first(shared_data, tmp_path):
    labelled, model = dft_cells(shared_data)
    for held in ("d2.0_1", "d0.0_11", "d0.0_18", "d0.0_13"):
        structures = dict(labelled)
        target = Spectrum(GRID, model.sites[held].mean(axis=0), "C", "K")
        others = [(label, s) for label, s in labelled if label != held]
        rows = compare(target, others, model, tmp_path / held)
        own = round(structures[held].density, 1)
        same = [label for label, s in others if round(s.density, 1) == own]
        assert {row.label for row in rows[:len(same)]} == set(same)


def test_structures_unlike_the_training_sites_are_flagged(tmp_path):
    class Bounded(TableSurrogate):
        def domain_score(self, structure):
            return np.full(2, 3.0 if structure.info["name"] == "dense" else 0.5)

    rows = compare(TARGET, LABELLED, Bounded(SITES), tmp_path)
    flagged = [row.label for row in rows if any("training sites" in note for note in row.notes)]
    assert flagged == ["dense"] and "a guess" in read(tmp_path / "compare.csv")[-1]["notes"]
