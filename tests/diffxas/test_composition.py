"""Formulas and counts."""

import pytest

from diffxas.composition import composition_elements, composition_formula, parse_composition
from diffxas.errors import InputError


@pytest.mark.parametrize(("text", "atoms", "counts"), [
    ("C", 216, {"C": 216}),
    ("SiO2", 216, {"Si": 72, "O": 144}),
    ("O2Si", 216, {"O": 144, "Si": 72}),
    ("Si0.9Ge0.1", 20, {"Si": 18, "Ge": 2}),
    ("Si2O4", 3, {"Si": 1, "O": 2}),
    ("CH3CH3", 8, {"C": 2, "H": 6}),
    ("Si:72, O:144", None, {"Si": 72, "O": 144}),
    ("Si:70,O:146", 216, {"Si": 70, "O": 146}),
])
def test_what_a_cell_is_made_of(text, atoms, counts):
    found = parse_composition(text, atoms)
    assert found == counts
    assert list(found) == list(counts) == list(composition_elements(text))


@pytest.mark.parametrize(("text", "atoms", "words"), [
    ("SiO2", 217, "216 and 219"),
    ("SiO2", 2, "the nearest are 3"),
    ("SiO2", None, "give --atoms"),
    ("SiO2", 0, "1 or more"),
    ("Xy2O", 6, "'Xy'"),
    ("Ca(OH)2", 5, "elements and numbers"),
    ("sio2", 3, "elements and numbers"),
    ("", 3, "elements and numbers"),
    ("SiO0", 3, "some of each"),
    ("Si:1,Si:2", 3, "twice"),
    ("Si:1,O", 3, "ELEMENT:NUMBER"),
    ("Si:0,O:3", 3, "ELEMENT:NUMBER"),
    ("Si:72,O:144", 217, "216 for"),
])
def test_what_is_refused_names_the_remedy(text, atoms, words):
    with pytest.raises(InputError, match=": ") as error:
        parse_composition(text, atoms)
    assert words in str(error.value)


def test_the_formula_of_counts():
    assert composition_formula({"Si": 72, "O": 144}) == "SiO2"
    assert composition_formula({"C": 216}) == "C"
