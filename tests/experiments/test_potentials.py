"""The arithmetic of experiments/potentials: means at a density, errors, cost of a usual network."""

from types import SimpleNamespace

import numpy as np
import pytest

from diffxas.melt_quench import Protocol, default_protocol
from experiments.potentials.figure import Series, draw
from experiments.potentials.run import ALL, CASES, Case, cost, sp3_table, steps


def line(name: str, densities: list[float], slope: float) -> Series:
    density = np.array(densities)
    shares = np.stack([0 * density, 100 - slope * density, slope * density], axis=1)
    return Series(name, density, shares)


def test_errors_are_means_over_the_densities_that_there_are() -> None:
    reference = line("near DFT", list(np.linspace(1.2, 3.6, 49)), 20)
    rows = sp3_table([line("poor", [2.0, 2.0, 3.0], 10), line("good", [3.0], 20)], reference)
    assert rows[0]["3.0"] == pytest.approx(60) and rows[0]["mean error"] is None
    assert [rows[1][at] for at in ALL] == [None, pytest.approx(20), None, pytest.approx(30), None]
    assert rows[1]["mean error"] == pytest.approx((20 + 30) / 2)
    assert rows[2]["mean error"] == pytest.approx(0, abs=1e-9)


def test_cost_is_that_of_a_usual_network() -> None:
    usual = default_protocol({"C"})
    short = Protocol(8000, 0, 8000, usual.timestep_fs)
    case = Case("rebo", ("2.0",), 108, 2)
    corpus = SimpleNamespace(plan=SimpleNamespace(protocol=short), failures={},
                             rows=[{"cpu_seconds": 10.0}, {"cpu_seconds": 30.0}])
    row = cost(case, corpus)  # type: ignore[arg-type]
    expected = 20 * 2 * steps(usual) / steps(short)  # twice the atoms of 20 s each
    assert row["s per 216-atom network"] == pytest.approx(expected)
    assert row["216-atom networks per core-hour"] == pytest.approx(3600 / expected)


def test_cases_are_what_their_words_say() -> None:
    assert len({case.potential for case in CASES}) == len(CASES)
    assert all(case.options.cells == case.cells * len(case.densities) for case in CASES)


def test_the_figure_has_a_panel_each_for_sp3_and_sp2() -> None:
    found = [line(str(k), [1.5, 2.5], 5 * k) for k in range(1, 9)]
    figure = draw(found, [line("near DFT", [1.5, 2.5, 3.5], 20)])
    assert [axis.get_title() for axis in figure.axes] == ["sp3: four bonds", "sp2: three bonds"]
    drawn = figure.axes[0].get_lines()
    assert len(drawn) == 9 + 3 and len(figure.axes[1].get_lines()) == 9  # published, sp3 alone
    assert drawn[1].get_ydata() == pytest.approx([7.5, 12.5])
