"""Structures and weights that cannot be used: refused by every command, or flagged; never silent.
"""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from command_runner import refused, run
from surrogate_fakes import GRID
from synthetic_sites import write_files

from diffxas.weights import CONFIG, WEIGHTS
from surrogates.loading import SHIPPED, load_surrogate
from surrogates.training import train_surrogate

PRIORS = Path(__file__).parents[2] / "diffxas" / "weights_prior"
MODEL = "a-C"
pytestmark = pytest.mark.skipif(not (SHIPPED / MODEL / CONFIG).is_file(),
                                reason=f"needs the shipped surrogate {MODEL}")


def diamond() -> ase.Atoms:
    return ase.build.bulk("C", "diamond", a=3.567, cubic=True)


def changed(change: Callable[[ase.Atoms], None]) -> ase.Atoms:
    atoms = diamond()
    change(atoms)
    return atoms


def also_at(offset: tuple[float, float, float]) -> ase.Atoms:
    return changed(lambda atoms: atoms.append(ase.Atom("C", atoms.positions[0] + offset)))


def set_nan(atoms: ase.Atoms) -> None:
    atoms.positions[3] = np.nan


def boxed(symbols: str, positions: list[list[float]], side: float = 12.0,
          pbc: bool = True) -> ase.Atoms:
    return ase.Atoms(symbols, positions, cell=[side] * 3, pbc=pbc)


REFUSED: dict[str, tuple[ase.Atoms | str, str]] = {
    "unknown element": (changed(lambda atoms: atoms.set_chemical_symbols(["Si"] + ["C"] * 7)),
                        "elements must be among C for the surrogate a-C, received Si"),
    "absent absorber": (ase.build.bulk("MgO", "rocksalt", a=4.2), "must hold the absorber C"),
    "two on one spot": (also_at((0, 0, 0)), "0.5 angstrom apart or more, received atoms 0 and 8"),
    "two on one spot, an image": (also_at((3.567, 0, 0)), "received atoms 0 and 8"),
    "0.3 angstrom apart": (also_at((0.3, 0, 0)), "received atoms 0 and 8"),
    "0.3 angstrom apart, an image": (also_at((0, 3.567 - 0.3, 0)), "received atoms 0 and 8"),
    "NaN": (changed(set_nan), "must be finite, received NaN"),
    "a flat cell": (changed(lambda atoms: atoms.set_cell([[3, 0, 0], [0, 3, 0], [3, 3, 0]])),
                    "must have a volume"),
    "an empty file": ("", "Empty file"),
    "no atoms": ('0\nLattice="5 0 0 0 5 0 0 0 5"\n', "must have atoms, received none"),
    "no cell": ("2\n\nC 0 0 0\nC 0 0 1.4\n", "must have a cell of three vectors"),
}
FLAGGED: dict[str, ase.Atoms] = {
    "an isolated atom": boxed("C", [[0, 0, 0]]),
    "a lone atom in a huge cell": boxed("C", [[1, 1, 1]], 500.0),
    "an atom beside a dimer": boxed("C3", [[0, 0, 0], [0, 0, 1.3], [6, 6, 6]]),
}


def written(case: ase.Atoms | str, folder: Path) -> Path:
    path = folder / "case.extxyz"
    if isinstance(case, str):
        path.write_text(case)
    else:
        ase.io.write(path, case)
    return path


def target(folder: Path) -> Path:
    path = folder / "target.csv"
    np.savetxt(path, np.column_stack([GRID, np.arctan(GRID - 290) + 1.6]), delimiter=",",
               header="energy,mu", comments="")
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_predict_and_compare_refuse_it_in_one_line(case: str, tmp_path: Path) -> None:
    atoms, told = REFUSED[case]
    path, out = written(atoms, tmp_path), tmp_path / "out"
    for command in (["predict", path], ["compare", target(tmp_path), path]):
        assert told in refused(*command, "--surrogate", MODEL, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize("case", FLAGGED)
def test_predict_and_compare_flag_it(case: str, tmp_path: Path) -> None:
    path = written(FLAGGED[case], tmp_path)
    result = run("predict", path, "--sites", "--out", tmp_path / "out.csv")
    assert result.exit_code == 0 and "not to be trusted" in result.stdout
    with (tmp_path / "out_uncertainty.csv").open(newline="") as handle:
        flags = {row["label"]: row["flag"] for row in csv.DictReader(handle)}
    last = f"case:{len(FLAGGED[case]) - 1}"
    assert "isolated" in flags[last] and "uncertain" in flags[last]
    result = run("compare", target(tmp_path), path, "--out", tmp_path / "c")
    assert result.exit_code == 0 and "without a neighbour" in result.stdout


STRANGE: dict[str, ase.Atoms] = {
    "a molecule that is not periodic": boxed("C2", [[5, 5, 5], [5, 5, 6.3]], 10.0, pbc=False),
    "0.6 angstrom apart": also_at((0.6, 0, 0)),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_no_training_site_is_like_is_flagged(case: str, tmp_path: Path) -> None:
    if not load_surrogate(MODEL).domain:
        pytest.skip("needs weights that hold a training domain")
    path = written(STRANGE[case], tmp_path)
    result = run("predict", path, "--sites", "--out", tmp_path / "out.csv")
    assert result.exit_code == 0 and "unlike the training sites" in result.stdout
    with (tmp_path / "out_uncertainty.csv").open(newline="") as handle:
        flags = {row["label"]: row["flag"] for row in csv.DictReader(handle)}
    assert "outside" in flags["case:0"]


def labelled_set(folder: Path, atoms: ase.Atoms | str) -> Path:
    """A folder as ``evaluate`` and ``train`` take it: the case with made-up spectra."""
    folder.mkdir(exist_ok=True)
    path = written(atoms, folder)
    n = 8 if isinstance(atoms, str) else len(atoms)
    name = "case#0"
    if not isinstance(atoms, str):
        atoms.info["name"] = name
        ase.io.write(path, atoms)
    np.savez(folder / "case.npz", name=np.array([name]), mu=np.ones((1, n, 100)))
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_evaluate_refuses_it(case: str, tmp_path: Path) -> None:
    atoms, told = REFUSED[case]
    if case in ("unknown element", "absent absorber"):
        told = "sites must be C atoms"  # labels stand on atoms that do not absorb
    data = labelled_set(tmp_path / "set", atoms)
    assert told in refused("evaluate", "surrogate", MODEL, data, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_evaluate_refuses_unknown_elements_beside_absorbers(tmp_path: Path) -> None:
    atoms, told = REFUSED["unknown element"]
    written(atoms, tmp_path)
    np.savez(tmp_path / "case.npz", source=np.array(["case#0"]), site=np.array([1]),
             mu=np.ones((1, 100)), energy=GRID, theory="DFT")
    assert told in refused("evaluate", "surrogate", MODEL, tmp_path / "case.extxyz",
                           tmp_path / "case.npz", "--out", tmp_path / "out")


@pytest.mark.parametrize("case", [case for case in REFUSED if "image" not in case])
def test_train_refuses_it(case: str, tmp_path: Path) -> None:
    atoms, told = REFUSED[case]
    if case in ("unknown element", "absent absorber"):
        told = "sites must be C atoms"
    data = labelled_set(tmp_path / "set", atoms)
    assert told in refused("train", "surrogate", data, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of one's own."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "c.toml").write_text('family = "kernel"\n[model]\nsites_per_network = 8\n'
                                   '[model.descriptor]\nn_near = 2\nn_far = 2\nl_max = 1\n')
    return train_surrogate(write_files(folder), folder / "model", folder / "c.toml")


def edited(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads((folder / CONFIG).read_text())
    edit(config)
    (folder / CONFIG).write_text(json.dumps(config))


def shorten(config: dict[str, Any]) -> None:
    config["model"]["theories"][0]["energy"].pop()


def truncate(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:len(whole) // 2])


DAMAGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another grid": (lambda folder: edited(folder, shorten), "the energy grid"),
    "another version": (lambda folder: edited(folder, lambda c: c.update(format=2)),
                        "must be of format 1, received 2"),
    "no version": (lambda folder: edited(folder, lambda c: c.pop("format")),
                   "must be of format 1, received None"),
    "another family": (lambda folder: edited(folder, lambda c: c.update(family="forest")),
                       "received 'forest'"),
    "half the weights": (truncate, "must be a safetensors file, received a damaged one"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), f"{CONFIG} and {WEIGHTS}"),
    "no JSON": (lambda folder: (folder / CONFIG).write_text("{half"), "must be JSON"),
    "JSON of something else": (lambda folder: (folder / CONFIG).write_text("[1]"),
                               "must hold a JSON object, received a list"),
    "fewer members": (lambda folder: edited(folder, lambda c: c["model"].update(n_members=9)),
                      "must hold the tensors that config.json describes"),
    "a prior": (lambda folder: edited(folder, lambda c: c.update(kind="prior")),
                "must be a surrogate, received a prior"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_weights_that_do_not_fit_are_refused_by_every_command(case: str, model: Path,
                                                              tmp_path: Path) -> None:
    damage, told = DAMAGED[case]
    folder = tmp_path / "damaged"
    shutil.copytree(model, folder)
    damage(folder)
    path, out = written(diamond(), tmp_path), tmp_path / "out"
    data = labelled_set(tmp_path / "set", diamond())
    for words in (["predict", path, "--surrogate", folder],
                  ["compare", target(tmp_path), path, "--surrogate", folder],
                  ["evaluate", "surrogate", folder, data]):
        assert told in refused(*words, "--out", out), words
    assert not out.exists()


def test_weights_of_another_edge_or_kind_are_refused_with_both_values(model: Path,
                                                                      tmp_path: Path) -> None:
    path, out = written(diamond(), tmp_path), tmp_path / "out"
    for name in (model, MODEL):
        line = refused("predict", path, "--edge", "Cu:K", "--surrogate", name, "--out", out)
        assert "must be C:K" in line and "received Cu:K" in line
    line = refused("predict", path, "--edge", "Fe:K", "--out", out)
    assert "C:K or Cu:K" in line and "received Fe:K" in line
    line = refused("predict", path, "--surrogate", PRIORS / "sio2", "--out", out)
    assert "must be a surrogate, received a prior" in line
    assert "one of" in refused("predict", path, "--surrogate", "sio2", "--out", out)
    energy = np.linspace(8950, 9050, 200)
    np.savetxt(tmp_path / "cu.txt", np.column_stack([energy, np.arctan(energy - 8990)]))
    line = refused("compare", tmp_path / "cu.txt", path, "--edge", "Cu:K", "--surrogate", MODEL,
                   "--out", out)
    assert "must be C:K" in line and "received Cu:K" in line
    assert not out.exists()


def test_an_equivariant_model_of_another_grid_is_refused(tmp_path: Path) -> None:
    from random_surrogate import equivariant

    from diffxas.weights import save_model

    made = equivariant()
    record = {"kind": "surrogate", "family": "equivariant", "model": made.config.to_dict()}
    tensors = {f"{k}.{name}": tensor for k, member in enumerate(made.members)
               for name, tensor in member.state_dict().items()}
    save_model(tmp_path / "model", record, tensors)
    assert len(load_surrogate(tmp_path / "model").energy) == 100
    edited(tmp_path / "model", shorten)
    line = refused("predict", written(diamond(), tmp_path), "--surrogate", tmp_path / "model",
                   "--out", tmp_path / "out")
    assert "100" in line and "99" in line
