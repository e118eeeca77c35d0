"""Selections mean the atoms that they say, and say so where they mean none."""

import numpy as np
import pytest

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.selection import select

ROW = Structure(np.outer(np.arange(10), [1.0, 0.5, -1.0]), np.array([6] * 7 + [14, 1, 1]),
                20.0 * np.eye(3))


@pytest.mark.parametrize(("text", "wanted"), [
    ("0", [0]), ("0-3,7", [0, 1, 2, 3, 7]), ("7,2-4,3", [2, 3, 4, 7]), (" 1 - 2 , 9", [1, 2, 9]),
    ("element:H", [8, 9]), ("element:Si", [7]), ("below:x=2.5", [0, 1, 2]),
    ("above:y=3.9", [8, 9]), ("above:z=-1.5", [0, 1]),
])
def test_atoms_are_chosen_by_number_element_and_place(text, wanted):
    assert select(text, ROW).tolist() == wanted


@pytest.mark.parametrize(("text", "told"), [
    ("element:O", "C, H, Si"), ("below:x=0", "0.00 to 9.00 along x"), ("10", "0 to 9"),
    ("3-12", "0 to 9"), ("5-3", "lower number"), ("", "0-63,70"), ("a-b", "0-63,70"),
    ("-3", "0-63,70"), ("all", "0-63,70"), ("below:q=3", "below:z=8"),
])
def test_a_selection_of_nothing_is_refused(text, told):
    with pytest.raises(InputError, match=told):
        select(text, ROW)
