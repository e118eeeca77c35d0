"""Which structure of a sample is the answer, and when a target counts as reached."""

import numpy as np
import pytest

from diffxas.structure import Structure
from samplers.judged import Row, Seen
from samplers.setup import Sample

STRUCTURE = Structure(np.zeros((1, 3)), [6], 3 * np.eye(3))


def seen(residual: float | None) -> Seen:
    return Seen(STRUCTURE, np.zeros((1, 5)), np.zeros(1, dtype=int), None, None, residual, {})


def row(before: float | None, after: float | None, failed: bool = False,
        relaxed: bool = True) -> Row:
    sample = Sample(0, STRUCTURE, STRUCTURE if relaxed else None, np.empty((0, 2)),
                    {"failed": failed} if relaxed else {}, 1.0)
    return Row(sample, seen(before), seen(after) if relaxed else None)


@pytest.mark.parametrize(("case", "answer"), [
    (row(1.0, 0.8), "relaxed"), (row(1.0, 1.4), "relaxed"),
    (row(1.0, 1.6), "sampled"),  # the relaxation undid the fit
    (row(1.0, 1.0, failed=True), "sampled"), (row(None, None), "relaxed"),
    (row(1.0, None, relaxed=False), "sampled"),
], ids=["better", "a little worse", "undone", "failed", "no target", "not relaxed"])
def test_the_relaxed_structure_is_the_answer_unless_it_failed_or_undid_the_fit(case, answer):
    assert case.answer == answer
    assert case.offered is (case.sampled if answer == "sampled" else case.relaxed)
