r"""Training a surrogate of noised structures, and measuring what it leaves open.

A step noises whole cells, one level each, log-uniform between ``sigma_min`` and ``sigma_max``, and
minimises the Gaussian negative log-likelihood of the teacher's spectra of the clean cells, of the
sites and of the cells' means, in units of the principal components:

    sum_k [ mean_i r_ik^2 / s_k(sigma) + ln s_k(sigma) ]
        + w [ (mean_i r_ik)^2 / c_k(sigma) + ln c_k(sigma) ].

The variances s and c are learned beside it, functions of the level alone: so every level and every
component counts by what can be known of it, and the few parts of a cell's mean that x_t still
decides at high noise are not drowned by those of the sites.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import diffxas
from diffxas.denoiser import PriorNetwork, species_indices
from diffxas.errors import InputError
from diffxas.graph import build_graph
from diffxas.prior import (
    build_options,
    find_prior,
    load_prior,
    read_names,
    read_toml,
    refuse_other_run,
)
from diffxas.structure import Structure
from diffxas.training import Schedule, train
from diffxas.weights import CONFIG, find_model, save_model, weights_hash
from surrogates.base import Surrogate
from surrogates.loading import SHIPPED
from surrogates.noised import (
    KIND,
    NoisedConfig,
    NoisedNetwork,
    NoisedSurrogate,
    load_noised,
)

LEVELS = (0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8)
"""Noise levels (angstrom) at which the error is measured."""
DRAWS = 4
"""Noises of each cell and level there."""
SAMPLE = "sample"
"""``info["kind"]`` of cells that a prior drew."""


@dataclass(frozen=True)
class NoisedTraining:
    """What a config of a noise-aware surrogate may say.

    Attributes
    ----------
    exclude : a text file of names (or parents' names) of structures that take no part
    start : a prior, by name or folder, whose first layers the trunk begins from, or the folder of a
        noise-aware surrogate of the same sizes to go on from; none if empty
    weights : ``info["kind"]`` of a structure -> how often it is drawn, 1 where it says nothing
    batch : cells a step
    cell_mean : w of the module's docstring
    left_out : one network in so many takes no part; the covariance is measured on these, samples
        of a prior not counted
    sigma_low : level (angstrom) below which the teacher at the denoised estimate is taken instead
    """

    exclude: str = ""
    start: str = ""
    batch: int = 2
    cell_mean: float = 0.5
    left_out: int = 6
    sigma_low: float = 0.0
    seed: int = 0
    licence: str = ""
    weights: dict[str, float] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Lesson:
    """A clean cell and the teacher's spectra of its absorbers.

    Attributes
    ----------
    spectra : (n_absorbers, n_grid)
    """

    structure: Structure
    name: str
    parent: str
    sites: np.ndarray
    spectra: np.ndarray


def lessons(structures: Sequence[Structure], teacher: Surrogate) -> list[Lesson]:
    """What the teacher says of structures, whose ``info`` holds ``name`` and perhaps ``parent``."""
    from tqdm import tqdm

    found = []
    for structure in tqdm(structures, desc=f"spectra by {teacher.name}", mininterval=5.0):
        name = str(structure.info["name"])
        found.append(Lesson(structure, name, str(structure.info.get("parent", name)),
                            teacher.absorbers(structure), teacher.predict_sites(structure)))
    return found


def set_apart(data: Sequence[Lesson], every: int) -> tuple[list[Lesson], list[Lesson]]:
    """Lessons to learn, and those of every so manieth network (parent), which are left out."""
    if every < 2:
        raise InputError(f"left_out must be at least 2, received {every}: the covariance is "
                         f"measured on one network in so many")
    parents = list(dict.fromkeys(item.parent for item in data))
    apart = set(parents[every // 2 :: every])
    return ([item for item in data if item.parent not in apart],
            [item for item in data if item.parent in apart])


class NoisedLoss:
    """The loss of the module's docstring; a :data:`diffxas.training.StepLoss`."""

    def __init__(self, data: Sequence[Lesson], network: NoisedNetwork,
                 options: NoisedTraining) -> None:
        self.data, self.options, self.config = data, options, network.config
        mean, components = (t.double().numpy() for t in (network.mean, network.components))
        inverse = np.linalg.pinv(components)
        self.coefficients = [torch.tensor((item.spectra - mean) @ inverse, dtype=torch.float32)
                             for item in data]
        self.draw = weights_of(data, options.weights)

    def __call__(self, model: nn.Module, step: int) -> Tensor:
        """The loss of one step."""
        assert isinstance(model, NoisedNetwork)
        rng = np.random.default_rng([self.options.seed, step])
        low, high = np.log(self.config.sigma_min), np.log(self.config.sigma_max)
        chosen = rng.choice(len(self.data), self.options.batch, p=self.draw)
        # One level in each part of the range: a batch that never sees one end learns it badly.
        shares = (np.arange(len(chosen)) + rng.random(len(chosen))) / len(chosen)
        levels = np.exp(low + (high - low) * rng.permutation(shares))
        noised = [self.data[k].structure.with_positions(
            self.data[k].structure.positions
            + sigma * rng.standard_normal(self.data[k].structure.positions.shape))
            for k, sigma in zip(chosen, levels, strict=True)]
        graph = build_graph(noised, self.config.cutoff)
        x = torch.tensor(np.concatenate([s.positions for s in noised]), dtype=torch.float32)
        species = torch.cat([species_indices(s.symbols, self.config.elements, "surrogate")
                             for s in noised])
        starts = np.cumsum([0, *(len(s) for s in noised[:-1])])
        sites = [torch.as_tensor(self.data[k].sites + start)
                 for k, start in zip(chosen, starts, strict=True)]
        sigma = torch.tensor(levels, dtype=torch.float32)
        found = model(x, sigma[graph.batch], species, graph, torch.cat(sites))
        log_variances = model.log_variances(model.condition(sigma))
        total = torch.zeros(())
        parts = found.split([len(s) for s in sites])
        for k, a, row in zip(chosen, parts, log_variances, strict=True):
            error = a - self.coefficients[k]
            of_sites, of_cell = row.chunk(2)
            total = total + (error.square().mean(0) * (-of_sites).exp() + of_sites).mean()
            of_cell = of_cell - np.log(len(a))
            mean = error.mean(0).square() * (-of_cell).exp() + of_cell
            total = total + self.options.cell_mean * mean.mean()
        return total / len(chosen)


def weights_of(data: Sequence[Lesson], of_kind: Mapping[str, float]) -> np.ndarray:
    """Probabilities of drawing each cell, (n,): of n cells of a network each counts n^-1/2."""
    parents = [item.parent for item in data]
    weights = np.array([parents.count(item.parent) ** -0.5
                        * of_kind.get(str(item.structure.info.get("kind", "")), 1.0)
                        for item in data])
    return np.asarray(weights / weights.sum())


def new_network(data: Sequence[Lesson], config: NoisedConfig, options: NoisedTraining,
                ) -> NoisedNetwork:
    """An untrained network that holds the principal components of the sites' spectra."""
    torch.manual_seed(options.seed)
    network = NoisedNetwork(config)
    spectra = np.concatenate([item.spectra for item in data])
    mean = spectra.mean(0)
    _, s, v = np.linalg.svd((spectra - mean) / np.sqrt(len(spectra)), full_matrices=False)
    n = config.n_components
    sign = np.sign(v[np.arange(n), np.abs(v[:n]).argmax(1)])
    network.mean.copy_(torch.as_tensor(mean))
    network.components.copy_(torch.as_tensor((sign * s[:n])[:, None] * v[:n]))
    with torch.no_grad():
        network.third.weight.mul_(0.1)
        network.log_variances.weight.mul_(0.1)
    if (Path(options.start) / CONFIG).is_file():
        begun = load_noised(options.start).network
        if begun.config != config:
            raise InputError(f"start must be a surrogate of the same [model], elements and "
                             f"energies, received {options.start}: correct one of both")
        network.load_state_dict(begun.state_dict())
    elif options.start:
        begin_from(network, load_prior(find_prior(options.start)))
    return network


def begin_from(network: NoisedNetwork, prior: PriorNetwork) -> None:
    """Copy the first layers of a prior, which knows noised structures, into the trunk.

    Raises
    ------
    InputError
        If the prior's layers are of another shape.
    """
    config = prior.config
    if (config.elements != network.config.elements or (config.sigma_min, config.sigma_max)
            != (network.config.wave_min, network.config.wave_max)):
        raise InputError(f"start must be a prior of {', '.join(network.config.elements)} with "
                         f"levels from wave_min to wave_max, received one of "
                         f"{', '.join(config.elements)} with {config.sigma_min:g} to "
                         f"{config.sigma_max:g}: correct [model]")
    own = network.trunk.state_dict()
    given = prior.trunk.state_dict()
    misfit = [key for key, value in own.items()
              if key not in given or given[key].shape != value.shape]
    if misfit:
        raise InputError(f"start must be a prior with layers of the same sizes as [model], "
                         f"received another ({misfit[0]}): correct [model]")
    network.trunk.load_state_dict({key: given[key] for key in own})
    with torch.no_grad():
        network.offset.copy_(prior.kind_embedding.weight[0])


def train_noised(structures: Sequence[Structure], teacher: Surrogate, folder: Path,
                 config: Path | None = None) -> Path:
    """Train (or go on training) a noise-aware surrogate; the model folder is ``folder``.

    Parameters
    ----------
    structures : with ``info["name"]`` and, for descendants, ``info["parent"]``
    teacher : whose spectra are learned
    config : TOML file of :class:`NoisedTraining`

    Raises
    ------
    InputError
        For a bad config, or a folder whose run had other data or settings.
    """
    options: NoisedTraining = build_options(NoisedTraining, read_toml(config), "the config")
    schedule: Schedule = build_options(Schedule, options.schedule, "[schedule]")
    content = {**options.model, "elements": list(teacher.elements), "absorber": teacher.element,
               "edge": teacher.edge, "teacher": teacher.name,
               "theory": teacher.record["model"]["theories"][teacher.theory]["name"],
               "energy": teacher.energy.tolist()}
    model: NoisedConfig = build_options(NoisedConfig, content, "[model]")
    excluded = read_names(Path(options.exclude)) if options.exclude else set()
    known = [s for s in structures
             if not excluded & {str(s.info["name"]), str(s.info.get("parent", ""))}]
    seen, apart = set_apart(lessons(known, teacher), options.left_out)
    record = noised_record(seen, apart, model, options)
    refuse_other_run(folder, record)
    network = new_network(seen, model, options)
    trained = train(network, NoisedLoss(seen, network, options), schedule, folder,
                    monitor=lambda m: _monitored(m, apart, record), title="noise-aware surrogate")
    assert isinstance(trained, NoisedNetwork)
    # Samples of a prior differ less at one density than networks do.
    unlike = [item for item in apart if not drawn(item)] or apart
    levels, covariance, figures = measure(trained, unlike, options.seed)
    record["left_out"] = figures
    tensors = {**trained.state_dict(), "levels": torch.tensor(levels, dtype=torch.float64),
               "covariance": torch.tensor(covariance, dtype=torch.float32)}
    save_model(folder, record, tensors)
    return folder


def drawn(item: Lesson) -> bool:
    """Whether a cell is a sample of a prior, and of no bond network of the data."""
    return item.structure.info.get("kind") == SAMPLE


def noised_record(seen: Sequence[Lesson], apart: Sequence[Lesson], model: NoisedConfig,
                  options: NoisedTraining) -> dict[str, Any]:
    """The ``config.json``: what took part, in training and in measuring the error."""
    data = [*seen, *apart]
    digest = hashlib.sha256()
    for item in data:
        digest.update(np.ascontiguousarray(item.structure.positions.round(6)).tobytes())
    densities = [item.structure.density for item in data]
    return {
        "kind": KIND, "version": diffxas.__version__, "licence": options.licence,
        "elements": model.elements, "edge": f"{model.absorber}:{model.edge}",
        "energy_range": [model.energy[0], model.energy[-1]],
        "density_range": [round(min(densities), 3), round(max(densities), 3)],
        "sigma_low": options.sigma_low, "model": model.to_dict(),
        "training": {
            "data_hash": digest.hexdigest(), "options": asdict(options),
            "teacher_hash": weights_hash(find_model(model.teacher, SHIPPED)),
            "structures": [item.name for item in data if not drawn(item)],
            "samples": [item.name for item in data if drawn(item)],
            "parents": sorted({item.parent for item in data if not drawn(item)}),
            "left_out": [item.name for item in apart],
        },
    }


def cell_errors(network: NoisedNetwork, data: Sequence[Lesson], levels: Sequence[float],
                draws: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Errors in units of the components: of cells, and the sites' covariance at every level.

    Returns
    -------
    ``(n_cells, n_levels, draws, n_components)`` truth minus prediction, and for each level
    ``(n_components, n_components)``
    """
    config = network.config
    surrogate = NoisedSurrogate("in training", {}, network, np.array([1.0, 2.0]),
                                np.zeros((2, config.n_components, config.n_components)))
    inverse = np.linalg.pinv(network.components.double().numpy())
    cells = np.empty((len(data), len(levels), draws, config.n_components))
    sites: list[list[np.ndarray]] = [[] for _ in levels]
    with torch.no_grad():
        for i, item in enumerate(data):
            for k, sigma in enumerate(levels):
                for draw in range(draws):
                    rng = np.random.default_rng([seed, 1, i, k, draw])
                    z = rng.standard_normal(item.structure.positions.shape)
                    x_t = torch.tensor(item.structure.positions + sigma * z)
                    found = surrogate.sites(x_t, sigma, item.structure).double().numpy()
                    error = (item.spectra - found) @ inverse
                    cells[i, k, draw] = error.mean(0)
                    sites[k].append(np.cov(error.T))
    return cells, [np.mean(rows, 0) for rows in sites]


def measure(network: NoisedNetwork, data: Sequence[Lesson],
            seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Levels, B of :mod:`surrogates.noised` on left-out cells, and figures for the record."""
    cells, sites = cell_errors(network, data, LEVELS, DRAWS, seed)
    n_sites = float(np.mean([len(item.sites) for item in data]))
    second = (cells**2).mean((0, 2))  # about zero: what is left of a bias is an error too
    table = []
    for k in range(len(LEVELS)):
        factor = np.sqrt(n_sites * second[k] / np.diag(sites[k]))
        table.append(sites[k] * factor[:, None] * factor)
    components = network.components.double().numpy()
    scale = (components**2).mean(1)
    figures = {"levels": list(LEVELS),
               "cell_rms": [float(v) for v in np.sqrt(second @ scale)],
               "site_rms": [float(np.sqrt(np.diag(c) @ scale)) for c in sites]}
    return np.array(LEVELS), np.array(table), figures


def _monitored(network: nn.Module, apart: Sequence[Lesson],
               record: dict[str, Any]) -> dict[str, float]:
    """Rms errors of left-out cells' means at three levels, after the network's own bias."""
    assert isinstance(network, NoisedNetwork)
    levels = (0.1, 0.2, 0.3)
    cells, _ = cell_errors(network, apart[::2], levels, 1, record["training"]["options"]["seed"])
    scale = (network.components.double().numpy() ** 2).mean(1)
    rms = np.sqrt((cells**2).mean((0, 2)) @ scale)
    return {f"cell_rms_{level:g}": float(value) for level, value in zip(levels, rms, strict=True)}
