"""One of prior and surrogate is missing: both facts and the remedy, before anything is written."""

from pathlib import Path

import numpy as np
import pytest
from command_runner import refused
from small_runs import require_weights

from samplers.known_models import elements_text, priors_of, surrogate_of_target


@pytest.mark.parametrize(("edge", "options", "told"), [
    ("Cu:K", [], ("surrogate cu-k-feff (Cu:K)", "received a-C, a prior of C",
                  "no shipped prior knows Cu", "diffxas train prior")),
    ("Si:K", ["--composition", "SiO2", "--prior", "sio2"],
     ("C:K or Cu:K, received Si:K", "the prior sio2 knows Si", "no shipped surrogate",
      "diffxas train surrogate", "--prior sio2 --no-guidance")),
    ("O:K", ["--composition", "SiO2", "--prior", "sio2"],
     ("received O:K", "the prior sio2 knows O", "diffxas train surrogate")),
    ("C:K", ["--composition", "SiO2", "--prior", "sio2"],
     ("received Si, O where a-C knows C", "--no-guidance")),
    ("Cu:K", ["--composition", "SiO2", "--prior", "sio2"],
     ("received Si, O", "cu-k-feff knows Cu in structures of 80 elements")),
    ("Fe:K", [], ("received Fe:K", "no shipped prior knows Fe either", "diffxas train surrogate")),
    ("Qq:K", [], ("an edge must be ELEMENT:EDGE", "'Qq:K'")),
    ("Si:K", ["--surrogate", "a-C"], ("must be C:K for the surrogate a-C", "received Si:K")),
], ids=lambda value: value if isinstance(value, str) else None)
def test_a_target_without_prior_or_surrogate_is_refused(edge: str, options: list[str],
                                                        told: tuple[str, ...],
                                                        tmp_path: Path) -> None:
    require_weights()
    e0 = {"Cu:K": 8990, "Si:K": 1845, "O:K": 540, "C:K": 290, "Fe:K": 7120, "Qq:K": 290}[edge]
    energy = np.linspace(e0 - 40, e0 + 60, 200)
    np.savetxt(tmp_path / "t.txt", np.column_stack([energy, np.arctan(energy - e0) + 1.6]))
    line = refused("generate", tmp_path / "t.txt", "--edge", edge, "--density", 2.2, *options,
                   "--out", tmp_path / "run")
    assert [word for word in told if word not in line] == [], line
    assert len(line) < 700 and not (tmp_path / "run").exists()


def test_what_is_known() -> None:
    require_weights()
    assert priors_of("Si") == ["sio2"] and priors_of("Cu") == [] and "a-C" in priors_of("C")
    assert surrogate_of_target(None) == surrogate_of_target("C:K") == "a-C"
    assert surrogate_of_target("Cu:K") == "cu-k-feff"
    assert elements_text(["C", "H"]) == "C, H" and elements_text(["C"] * 80) == "80 elements"
