"""A prior with layers added begins as the prior that it came from."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from diffxas.denoiser import PriorConfig, PriorDenoiser, PriorNetwork
from diffxas.errors import InputError
from diffxas.prior import adopt_any, begin_from
from diffxas.structure import Structure
from diffxas.weights import save_model

SMALL = {"cutoff": 3.0, "n_scalars": 8, "n_vectors": 4, "n_tensors": 2, "n_products": 3,
         "hidden": 8, "n_basis": 6}
KINDS = ["any", "DFT", "melt-quenched"]


def network(n_layers: int, seed: int) -> PriorNetwork:
    torch.manual_seed(seed)
    return PriorNetwork(PriorConfig(["C"], KINDS, n_layers=n_layers, **SMALL))


@pytest.fixture
def shallow(tmp_path):
    model = network(2, 0)
    save_model(tmp_path / "shallow", {"kind": "prior", "model": model.config.to_dict(),
                                      "training": {"structures": ["a"], "parents": ["a"],
                                                   "kinds": ["any"]}},
               model.state_dict())
    return model, tmp_path / "shallow"


def test_added_layers_change_nothing_until_trained(shallow):
    model, folder = shallow
    deeper = network(4, 1)
    record = {"training": {"structures": ["b"], "parents": ["b"], "kinds": []}}
    begin_from(deeper, folder, record)
    crystal = Structure.from_atoms(bulk("C", "diamond", 3.57, cubic=True))
    noise = 0.2 * np.random.default_rng(0).standard_normal((len(crystal), 3))
    x = torch.tensor(crystal.positions + noise)
    before, after = (PriorDenoiser(m, crystal, "any")(x, 0.2) for m in (model, deeper))
    assert torch.allclose(before, after, atol=1e-5)
    assert record["training"]["structures"] == ["a", "b"]
    loss = (after - torch.tensor(crystal.positions)).square().sum()
    loss.backward()
    gates = [layer.gate.weight.grad for layer in deeper.trunk.layers][2:]
    assert all(g is not None and float(g.abs().max()) > 0 for g in gates), "new layers can learn"


def test_a_prior_of_another_shape_is_refused(shallow):
    _, folder = shallow
    torch.manual_seed(0)
    other = PriorNetwork(PriorConfig(["C"], KINDS, n_layers=2, **{**SMALL, "hidden": 4}))
    with pytest.raises(InputError, match="hidden"):
        begin_from(other, folder, {"training": {"structures": [], "parents": [], "kinds": []}})


def test_a_kind_that_was_never_seen_is_as_any():
    model = network(2, 0)
    adopt_any(model, {"melt-quenched"})
    table = model.kind_embedding.weight
    assert torch.equal(table[1], table[0])
    assert not torch.equal(table[2], table[0])
