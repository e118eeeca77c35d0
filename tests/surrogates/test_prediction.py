import csv

import numpy as np
import pytest
from surrogate_fakes import GRID, TableSurrogate, UncertainTable, carbon_like, small_structure

from diffxas.errors import InputError, RunError
from diffxas.structure import Structure
from surrogates.prediction import predict_table, write_prediction

SITES = {"a": np.stack([carbon_like(0.1), carbon_like(0.3)]),
         "b": np.stack([carbon_like(0.2), carbon_like(0.2)])}
LABELLED = [("a", small_structure("a")), ("b#1", small_structure("b"))]


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_the_cell_is_the_mean_of_its_absorbers():
    table = predict_table(LABELLED, TableSurrogate(SITES))
    assert list(table.columns) == ["a", "b#1"] and table.uncertainty == {}
    np.testing.assert_allclose(table.columns["a"], SITES["a"].mean(axis=0))


def test_site_columns_carry_the_atom():
    table = predict_table(LABELLED, TableSurrogate(SITES), sites=True)
    assert list(table.columns) == ["a:0", "a:1", "b#1:0", "b#1:1"]
    np.testing.assert_array_equal(table.columns["a:1"], SITES["a"][1])


def test_the_file_begins_with_its_header_and_holds_the_numbers(tmp_path):
    table = predict_table(LABELLED, TableSurrogate(SITES))
    path = tmp_path / "spectra.csv"
    assert write_prediction(path, table) == [path]
    rows = read(path)
    assert rows[0] == ["energy", "a", "b#1"] and len(rows) == 101
    numbers = np.array(rows[1:], dtype=float)
    np.testing.assert_allclose(numbers[:, 0], GRID)
    np.testing.assert_allclose(numbers[:, 1], SITES["a"].mean(axis=0), rtol=1e-8, atol=1e-12)


def test_uncertainties_go_beside_and_vanish_with_a_model_that_has_none(tmp_path):
    path, beside = tmp_path / "spectra.csv", tmp_path / "spectra_uncertainty.csv"
    large = {"a": SITES["a"], "b": 0.01 * SITES["b"]}
    table = predict_table(LABELLED, UncertainTable(large))
    np.testing.assert_allclose(table.uncertainty["a"], 0.015)
    assert write_prediction(path, table) == [path, beside]
    rows = read(beside)
    assert [row[:2] for row in rows] == [["label", "flag"], ["a", ""], ["b#1", "uncertain"]]
    assert float(rows[0][3]) == GRID[0] and float(rows[1][3]) == pytest.approx(0.015)
    assert read(path)[0] == ["energy", "a", "b#1"]
    write_prediction(path, predict_table(LABELLED, TableSurrogate(SITES)))
    assert not beside.exists()


@pytest.mark.parametrize("labelled, words", [
    ([], "at least one"),
    ([LABELLED[0], LABELLED[0]], "twice"),
    ([("si", small_structure("a", number=14))], "absorber C"),
])
def test_structures_that_cannot_be_predicted_are_refused(labelled, words):
    with pytest.raises(InputError, match=words):
        predict_table(labelled, TableSurrogate(SITES))


def test_two_atoms_on_one_spot_are_refused_across_the_cell_too():
    twice = Structure([[0.1, 0, 0], [2.9, 0, 0], [1.5, 0, 0]], [6] * 3, 3 * np.eye(3),
                      info={"name": "a"})
    with pytest.raises(InputError, match=r"0\.5 angstrom .* received atoms 0 and 1 of a"):
        predict_table([("a", twice)], TableSurrogate(SITES))


def test_an_absorber_without_a_neighbour_is_flagged(tmp_path):
    """Atom 1 stands 6 angstrom from atom 0 and its images; in b every atom has a neighbour."""
    lonely = Structure([[0, 0, 0], [6, 0, 0], [1.4, 0, 0]], [6, 6, 8], 12 * np.eye(3),
                       info={"name": "a"})
    model = UncertainTable(SITES)
    model.elements = ("C", "O")
    labelled = [("a", lonely), LABELLED[1]]
    assert predict_table(labelled, model, sites=True).lone == {"a:1"}
    table = predict_table(labelled, model)
    assert table.lone == {"a"}
    write_prediction(tmp_path / "spectra.csv", table)
    flags = {row[0]: row[1] for row in read(tmp_path / "spectra_uncertainty.csv")[1:]}
    assert flags["a"].split()[-1] == "isolated" and "isolated" not in flags["b#1"]


class BoundedTable(UncertainTable):
    """Knows the first site of every structure, and not the others."""

    def domain_score(self, structure: Structure) -> np.ndarray:
        return np.where(np.arange(len(structure)) == 0, 0.5, 1.5)


def test_absorbers_outside_the_training_domain_are_flagged(tmp_path):
    model = BoundedTable(SITES)
    sites = predict_table(LABELLED, model, sites=True)
    first = {label.split(":")[-1] for label in sites.columns} - {
        label.split(":")[-1] for label in sites.outside}
    assert sites.outside and first == {"0"}
    cells = predict_table(LABELLED, model)
    assert cells.outside == set(cells.columns)
    write_prediction(tmp_path / "spectra.csv", cells)
    assert all("outside" in row[1] for row in read(tmp_path / "spectra_uncertainty.csv")[1:])
    assert not predict_table(LABELLED, UncertainTable(SITES)).outside


def test_unknown_elements_are_named():
    from diffxas.structure import Structure

    mixed = Structure(np.array([[0, 0, 0], [1.5, 0, 0]]), [6, 14], 3 * np.eye(3))
    with pytest.raises(InputError, match="Si in sic"):
        predict_table([("sic", mixed)], TableSurrogate(SITES))


def test_a_prediction_that_is_not_finite_fails():
    with pytest.raises(RunError, match="NaN"):
        predict_table(LABELLED[:1], TableSurrogate({"a": np.full((2, 100), np.nan)}))
