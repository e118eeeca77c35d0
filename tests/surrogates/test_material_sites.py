"""Sets of many materials: reading, splits by material, training, several edges at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_materials import GRID, materials

from diffxas.errors import InputError
from diffxas.graph import build_graph
from diffxas.structure import Structure
from diffxas.weights import read_config
from surrogates.datasets import joined, load_site_spectra
from surrogates.left_out import left_out_share
from surrogates.loading import load_surrogate
from surrogates.site_loss import SiteLoss, Surroundings, predict_sites, side_by_side
from surrogates.training import (
    SurrogateTraining,
    apart_by_edge,
    configure,
    new_member,
    split,
    train_surrogate,
)

MODEL = {"embedding": "described", "n_members": 2, "n_components": 3, "cutoff": 3.5,
         "n_scalars": 8, "n_vectors": 4, "n_tensors": 4, "n_products": 4, "hidden": 8,
         "n_basis": 8, "n_latent": 8}


def toml(text: str = "", steps: int = 20, **model) -> str:
    rows = "\n".join(f"{k} = {str(v).lower() if isinstance(v, bool) else repr(v)}"
                     for k, v in (MODEL | model).items())
    return (f'loss = "log"\njitter = 0.0\n{text}\n[batch]\nFEFF = 3\n[model]\n{rows}\n'
            f'[schedule]\nsteps = {steps}\nwarmup = 5\nlearning_rate = 1e-2\nema = 0.8\n')


def test_materials_are_read_with_their_edge_and_split(tmp_path):
    items = load_site_spectra([materials(tmp_path)])
    assert len(items) == 8
    first = items[0]
    assert (first.name, first.parent, first.element, first.edge) == ("mp-0", "mp-0", "Cu", "K")
    assert first.structure.formula in ("Cu2SO", "Cu2OS") and first.sites.tolist() == [0, 1]
    assert [item.part for item in items] == [0] * 6 + [1] * 2
    np.testing.assert_allclose(first.structure.positions[0] @ np.linalg.inv(first.structure.cell),
                               np.load(tmp_path / "materials.npz")["frac"][0])


def test_unconverged_sites_and_materials_without_any_are_left_out(tmp_path):
    converged = np.ones(16, dtype=bool)
    converged[[1, 4, 5]] = False
    items = load_site_spectra([materials(tmp_path, converged=converged)])
    assert [item.name for item in items] == [f"mp-{k}" for k in (0, 1, 3, 4, 5, 6, 7)]
    assert items[0].sites.tolist() == [0] and len(items[0].spectra) == 1


@pytest.mark.parametrize(("other", "said"), [
    ({"ids": np.array(["mp-0_009"] * 16)}, "received mp-0_009"),
    ({"ids": np.array(["mp-99_000"] * 16)}, "received mp-99_000"),
    ({"split": np.zeros(3)}, "split in .* must have 16 rows, received 3"),
    ({"energy": GRID[::-1]}, "energy in .* must increase"),
], ids=["atom", "material", "length", "energy"])
def test_files_that_do_not_fit_together_are_refused(tmp_path, other, said):
    with pytest.raises(InputError, match=said):
        load_site_spectra([materials(tmp_path, **other)])


def test_a_split_of_sites_is_refused_unless_told(tmp_path):
    torn = np.repeat([0, 0, 0, 0, 0, 0, 1, 1], 2).astype(np.int8)
    torn[13] = 0  # the other site of a held-out material
    items = load_site_spectra([materials(tmp_path, split=torn)])
    with pytest.raises(InputError, match=r"received mp-6 on both"):
        split(items, SurrogateTraining())
    assert {d.name for d in split(items, SurrogateTraining(allow_leak=True))} == {
        f"mp-{k}" for k in range(7)}


def test_sites_of_neither_part_join_on_demand_but_not_those_of_held_out_materials(tmp_path):
    parts = np.repeat([0, 0, 0, 0, 0, -1, 1, 1], 2).astype(np.int8)
    parts[[1, 13]] = -1  # of a training material, of a held-out one
    items = load_site_spectra([materials(tmp_path, split=parts)])
    plain = joined(split(items, SurrogateTraining()))
    assert [(d.name, len(d.sites)) for d in plain] == [("mp-0", 1), *(
        (f"mp-{k}", 2) for k in range(1, 5))]
    rest = joined(split(items, SurrogateTraining(rest=True)))
    assert [(d.name, d.sites.tolist()) for d in rest] == [(f"mp-{k}", [0, 1]) for k in range(6)]
    np.testing.assert_array_equal(rest[0].spectra[1], next(
        d for d in items if d.name == "mp-0" and d.part == -1).spectra[0])


def test_folds_are_by_material_disjoint_and_cover_it_all(tmp_path):
    items = load_site_spectra([materials(tmp_path)])
    folds = [left_out_share(items, 0.25, k) for k in range(4)]
    apart = [{item.name for item in test} for _, test in folds]
    assert set().union(*apart) == {item.name for item in items}
    assert sum(map(len, apart)) == 8
    for rest, test in folds:
        assert not {d.name for d in rest} & {d.name for d in test}
    with pytest.raises(InputError, match="received 1 of 8"):
        left_out_share(items, 1.0, 0)


def test_the_surroundings_of_sites_are_all_that_sites_feel(tmp_path):
    """Batches of trimmed graphs give the spectra of whole structures one by one."""
    items = load_site_spectra([materials(tmp_path)])[:3]
    items = [replace(item, sites=item.sites[1:], spectra=item.spectra[1:]) for item in items]
    config = configure(items, SurrogateTraining(loss="log", model={
        **MODEL, "n_components": 2, "cutoff": 2.6}))
    network = new_member(items, config, 0).eval()
    network.second.weight.data *= 20
    whole = []
    with torch.no_grad():
        for item in items:
            graph = build_graph(item.structure, 2.6)
            species = torch.tensor([config.elements.index(s) for s in item.structure.symbols])
            x = torch.tensor(item.structure.positions, dtype=torch.float32)
            whole.append(network(x, species, graph, torch.as_tensor(item.sites)).numpy())
    batched = predict_sites(network, items, config, batch=2)
    np.testing.assert_allclose(np.concatenate(batched), np.concatenate(whole), atol=2e-6)
    assert np.ptp(np.concatenate(whole), axis=0).max() > 1e-4  # the sites differ
    parts = [Surroundings.of(item, config) for item in items]
    assert len(side_by_side(parts).sites) == 3
    edges = sum(len(build_graph(item.structure, 2.6).center) for item in items)
    assert sum(len(part.graph.center) for part in parts) < edges


def test_training_learns_records_and_predicts(tmp_path):
    path = materials(tmp_path)
    (tmp_path / "c.toml").write_text(toml("left_out_share = 0.2", steps=100, n_members=1))
    folder = train_surrogate([path], tmp_path / "model", tmp_path / "c.toml")
    record = read_config(folder)
    assert record["edge"] == "Cu:K" and record["elements"] == ["Cu", "O", "S"]
    assert "FEFF:mp-6" not in record["training"]["structures"]  # held out
    members = record["left_out"]["members"]
    assert [row["materials"] for row in members] == [1]
    assert len(record["left_out"]["site_error"]) == len(GRID)
    surrogate = load_surrogate(folder)
    items = load_site_spectra([path])[:6]
    truth = np.concatenate([item.spectra for item in items])
    predicted = np.concatenate([surrogate.predict_sites(item.structure) for item in items])
    error = np.median(((predicted - truth) ** 2).mean(1))
    assert error < 0.3 * truth.var(0).mean()
    with pytest.raises(InputError, match="received Fe"):
        surrogate.predict_sites(Structure([[0, 0, 0], [2, 0, 0]], [29, 26], np.eye(3) * 4))


def test_two_edges_share_a_trunk_and_are_chosen_by_name(tmp_path):
    (tmp_path / "other").mkdir()
    energy = 530 + 0.25 * np.arange(30)
    spectra = np.ones((16, 30), dtype=np.float32) * np.linspace(0.1, 1, 30)
    oxygen = materials(tmp_path / "other", energy=energy, intensity=spectra,
                       ids=np.array([f"mp-{m}_003" for m in range(8) for _ in range(2)]))
    paths = [materials(tmp_path), oxygen]
    assert {d.theory for d in apart_by_edge(load_site_spectra(paths))} == {"FEFF Cu:K",
                                                                           "FEFF O:K"}
    (tmp_path / "c.toml").write_text(toml(steps=2, n_members=1, n_components=1))
    folder = train_surrogate(paths, tmp_path / "model", tmp_path / "c.toml")
    assert read_config(folder)["edges"] == ["Cu:K", "O:K"]
    structure = load_site_spectra(paths)[0].structure
    copper, other = load_surrogate(folder), load_surrogate(folder, edge="O:K")
    assert (copper.element, other.element, other.edge) == ("Cu", "O", "K")
    np.testing.assert_array_equal(other.energy, energy)
    assert copper.predict_sites(structure).shape == (2, 40)
    n_oxygen = int((structure.numbers == 8).sum())
    assert other.predict_sites(structure).shape == (n_oxygen, 30)
    with pytest.raises(InputError, match=r"Cu:K or O:K .*received C:K"):
        load_surrogate(folder, edge="C:K")


@pytest.mark.parametrize(("text", "model", "said"), [
    ('loss = "cubed"', {}, "loss must be one of squared, log"),
    ("", {"embedding": "hot"}, "embedding must be one of table, described"),
    ('loss = "log"\nfloor = 0.0', {}, "floor must be above 0, received 0"),
], ids=["loss", "embedding", "floor"])
def test_mistyped_choices_are_refused(tmp_path, text, model, said):
    config = toml(**model)
    if text:
        config = config.replace('loss = "log"', text)
    (tmp_path / "c.toml").write_text(config)
    with pytest.raises(InputError, match=said):
        train_surrogate([materials(tmp_path)], tmp_path / "model", tmp_path / "c.toml")


def test_structures_weigh_alike_where_asked(tmp_path):
    """One structure of one labelled site beside one of two."""
    items = load_site_spectra([materials(tmp_path)])[:2]
    items[0] = replace(items[0], sites=items[0].sites[:1], spectra=items[0].spectra[:1])
    options = SurrogateTraining(loss="log", jitter=0.0, batch={"FEFF": 2}, model={
        **MODEL, "n_components": 2})
    config = configure(items, options)
    network = new_member(items, config, 0)

    @torch.no_grad()
    def loss(some, weigh: str = "sites") -> float:
        one = SiteLoss(items, config, replace(options, weigh=weigh), 0)
        return float(one.batch_loss(network, some, 0, np.random.default_rng(0)))

    by_sites, by_structures = (loss(items, weigh) for weigh in ("sites", "structures"))
    single = [loss([item]) for item in items]
    assert by_structures == pytest.approx(np.mean(single), abs=1e-5)
    assert by_sites == pytest.approx((single[0] + 2 * single[1]) / 3, abs=1e-5)
    assert abs(single[0] - single[1]) > 1e-3


@pytest.mark.parametrize("floor", [0.02, 0.1])
def test_the_loss_of_what_is_predicted_exactly_is_the_logarithm_of_the_floor(tmp_path, floor):
    items = load_site_spectra([materials(tmp_path)])[:3]
    options = SurrogateTraining(loss="log", jitter=0.0, floor=floor, model={
        **MODEL, "n_components": 2})
    config = configure(items, options)
    network = new_member(items, config, 0)
    exact = [replace(item, spectra=spectra) for item, spectra in
             zip(items, predict_sites(network, items, config), strict=True)]
    rng = np.random.default_rng(0)
    reached, given = (float(SiteLoss(items, config, options, 0).batch_loss(
        network, some, 0, rng).detach()) for some in (exact, items))
    assert reached == pytest.approx(np.log(floor), abs=1e-4) and given > reached + 0.1


def test_training_goes_on_from_another_surrogate_of_the_same_model(tmp_path):
    path = materials(tmp_path)
    (tmp_path / "a.toml").write_text(toml(steps=3, n_members=1))
    first = train_surrogate([path], tmp_path / "first", tmp_path / "a.toml")
    still = toml(f'start = "{first}"', steps=1, n_members=1).replace("1e-2", "1e-9")
    (tmp_path / "b.toml").write_text(still)
    second = train_surrogate([path], tmp_path / "second", tmp_path / "b.toml")
    structure = load_site_spectra([path])[0].structure
    np.testing.assert_allclose(load_surrogate(second).predict_sites(structure),
                               load_surrogate(first).predict_sites(structure), atol=1e-5)
    (tmp_path / "c.toml").write_text(toml(f'start = "{first}"', n_members=1, n_latent=4))
    with pytest.raises(InputError, match="start must be an equivariant surrogate of the same"):
        train_surrogate([path], tmp_path / "third", tmp_path / "c.toml")
