"""Regions are read as they are written."""

import pytest

from diffxas.errors import InputError
from samplers.regions import Brick, HalfSpace, Sphere, parse_region


@pytest.mark.parametrize(("text", "region"), [
    ("sphere:1,2,3,4", Sphere((1.0, 2.0, 3.0), 4.0)),
    ("box:0,0,0,1,2.5,3", Brick((0.0, 0.0, 0.0), (1.0, 2.5, 3.0))),
    ("below:z=8", HalfSpace(2, 8.0, True)), ("above:x=-1.5", HalfSpace(0, -1.5, False)),
])
def test_regions_are_read(text, region):
    assert parse_region(text) == region and str(region) == text


@pytest.mark.parametrize("text", [
    "", "sphere", "sphere:1,2,3", "sphere:1,2,3,0", "sphere:1,2,3,-1", "sphere:1,2,nan,4",
    "box:0,0,0,1,1", "box:1,0,0,0,1,1", "below:8", "below:w=8", "above:z=", "cone:1,2,3",
    "sphere:a,b,c,d", "below:z=inf", "below:=8",
])
def test_what_is_no_region_is_refused_with_an_example(text):
    with pytest.raises(InputError, match="write") as refusal:
        parse_region(text)
    assert repr(text) in str(refusal.value)
