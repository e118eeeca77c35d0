"""Training and loading the prior.

Data are any structures that ASE reads. Each gets a label of its kind (``info["kind"]``, or what the
config's ``[kinds]`` says of its file, or ``any``); the label is dropped in a share of the steps, so
that one network knows each kind and all of them together. Structures named in the config's
``exclude`` file, and those whose ``parent`` is, take no part.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import diffxas
from diffxas.denoiser import ANY, PriorConfig, PriorNetwork
from diffxas.errors import InputError
from diffxas.graph import build_graph
from diffxas.network import Interaction
from diffxas.shared_models import built_once
from diffxas.structure import Structure
from diffxas.training import Schedule, train
from diffxas.weights import find_model, load_weights, read_config, save_model, weights_hash

SHIPPED = Path(__file__).parent / "weights_prior"
AFTERWARDS = ("sampling", "levels", "cutoffs", "licence")
"""Of a model's record, what says how it is used and can change when its training is over."""
LEVELS = ("bond_low", "bond_high", "cold_low", "cold_high")
"""What ``levels`` may hold, see :class:`PriorTraining`."""


@dataclass(frozen=True)
class PriorTraining:
    """What ``diffxas train prior --config FILE.toml`` may say.

    Attributes
    ----------
    kinds : file stem -> label, for files whose structures carry none
    weights : label -> how often a structure of it is drawn, relative to 1
    exclude : a text file of names (or parents' names) that take no part
    drop_kind : share of the steps in which the label is hidden
    batch : structures a step
    max_atoms : larger structures are refused as training cells (memory)
    sigma_median, sigma_spread : log-normal distribution of the noise level, angstrom and log units
    init : folder of a prior to begin from; its structures count as training structures too
    sampling : rows of density (g/cm3, rising), temperature, noise scale: how samplers temper this
        prior (:mod:`samplers.tempered`), found by comparing its samples with the data; none for 1.
        This, ``levels`` and ``cutoffs`` can be changed after the training, by the same command
    levels : noise levels between which bonds are made and broken, angstrom, where they are not
        carbon's: ``bond_low``, ``bond_high`` (most steps lie there), ``cold_low``, ``cold_high``
        (``sampling`` holds there)
    cutoffs : longest bonds by pair, angstrom, such as ``{"Si-O" = 2.3}``: what samples are counted
        with where the user says nothing (:mod:`diffxas.cutoffs`)
    more_kinds : labels that the prior shall have room for though these data do not show them
    """

    kinds: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    exclude: str = ""
    drop_kind: float = 0.3
    batch: int = 2
    max_atoms: int = 2000
    sigma_median: float = 0.30
    sigma_spread: float = 0.9
    seed: int = 0
    init: str = ""
    more_kinds: list[str] = field(default_factory=list)
    sampling: list[list[float]] = field(default_factory=list)
    levels: dict[str, float] = field(default_factory=dict)
    cutoffs: dict[str, float] = field(default_factory=dict)
    licence: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)


def read_toml(path: Path | None) -> dict[str, Any]:
    """A config file as a dictionary; empty without a file."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the config must be a TOML file, received {path} ({error})") from error


def build_options(cls: type[Any], content: dict[str, Any], where: str) -> Any:
    """A dataclass from a dictionary.

    Raises
    ------
    InputError
        For unknown keys (naming those that exist), and values of another type than the default's.
    """
    known = {f.name: f for f in fields(cls)}
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise InputError(f"{where} must hold keys among {', '.join(known)}, "
                         f"received {', '.join(unknown)}: correct or remove them")
    for name, value in content.items():
        default, factory = known[name].default, known[name].default_factory
        example = default if factory is MISSING else factory()
        wanted = int | float if isinstance(example, float) else type(example)
        if example is not MISSING and not isinstance(value, wanted):
            raise InputError(f"{name} in {where} must be of type {type(example).__name__} such as "
                             f"{example!r}, received {value!r}: correct it")
    return cls(**content)


@dataclass(frozen=True)
class Sample:
    """A training structure with its label and name."""

    structure: Structure
    name: str
    kind: str


def load_samples(paths: Sequence[Path], options: PriorTraining) -> list[Sample]:
    """Structures of files and folders, labelled; excluded names left out.

    Raises
    ------
    InputError
        If nothing is left, or a structure is not periodic or too large.
    """
    from diffxas.structure_files import read_structures

    excluded = read_names(Path(options.exclude)) if options.exclude else set()
    samples: list[Sample] = []
    for path in _files(paths):
        frames = read_structures(path)
        stem = path.name.split(".")[0]
        for k, structure in enumerate(frames):
            name = str(structure.info.get("name", f"{path.stem}#{k}" if len(frames) > 1
                                          else path.stem))
            if excluded & {name, str(structure.info.get("parent", name))}:
                continue
            if not structure.pbc.all() or len(structure) > options.max_atoms:
                raise InputError(f"training structures must be periodic with at most "
                                 f"{options.max_atoms} atoms, received {name} of {path} with "
                                 f"{len(structure)} atoms and pbc {structure.pbc.tolist()}: "
                                 f"cut smaller cells or raise max_atoms in the config")
            kind = str(structure.info.get("kind", options.kinds.get(stem, ANY)))
            samples.append(Sample(structure, name, kind))
    if not samples:
        raise InputError(f"training data must hold at least one structure, received none from "
                         f"{', '.join(map(str, paths))}: check paths and the exclude list")
    return samples


def read_names(path: Path) -> set[str]:
    """Names in a text file, separated by blanks or lines."""
    try:
        return set(path.read_text(encoding="utf-8").split())
    except (OSError, ValueError) as error:
        raise InputError(f"exclude must be a text file of names, received {path} ({error}): "
                         f"correct the config (paths are relative to where you run)") from error


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted(p for p in path.iterdir() if p.is_file() and p.suffix not in
                            (".md", ".txt", ".npz", ".csv", ".json", ".toml"))
        else:
            files.append(path)
    return files


def data_hash(samples: Sequence[Sample]) -> str:
    """SHA-256 over positions, species, cells and labels."""
    digest = hashlib.sha256()
    for sample in samples:
        for array in (sample.structure.positions.round(6), sample.structure.numbers,
                      sample.structure.cell.round(6)):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(f"{sample.name}|{sample.kind}".encode())
    return digest.hexdigest()


class DenoisingLoss:
    """Mean square of (D(x_t) - x_0) / sigma over a batch drawn from (seed, step)."""

    def __init__(self, samples: Sequence[Sample], network: PriorNetwork,
                 options: PriorTraining) -> None:
        self.samples, self.options, self.config = samples, options, network.config
        draw = np.array([options.weights.get(s.kind, 1.0) for s in samples])
        self.draw = draw / draw.sum()
        self.species = [network.species_of(s.structure) for s in samples]
        self.kinds = [network.kind_index(s.kind) for s in samples]

    def __call__(self, model: nn.Module, step: int) -> Tensor:
        """The loss of one step."""
        rng = np.random.default_rng([self.options.seed, step])
        chosen = rng.choice(len(self.samples), self.options.batch, p=self.draw)
        o, c = self.options, self.config
        sigmas = np.exp(np.log(o.sigma_median) + o.sigma_spread * rng.standard_normal(o.batch))
        sigmas = sigmas.clip(c.sigma_min, c.sigma_max)
        kinds = [0 if rng.random() < o.drop_kind else self.kinds[k] for k in chosen]
        return denoising_loss(model, [self.samples[k].structure for k in chosen],
                              [self.species[k] for k in chosen], kinds, sigmas, rng)


def denoising_loss(model: nn.Module, structures: Sequence[Structure], species: Sequence[Tensor],
                   kinds: Sequence[int], sigmas: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Loss of structures noised at ``sigmas`` (angstrom), one level a structure."""
    dtype = next(model.parameters()).dtype
    noised = [s.with_positions(s.positions + sigma * rng.standard_normal(s.positions.shape))
              for s, sigma in zip(structures, sigmas, strict=True)]
    graph = build_graph(noised, model.config.cutoff, dtype=dtype)  # type: ignore[union-attr,arg-type]
    counts = [len(s) for s in structures]
    x_t = torch.tensor(np.concatenate([s.positions for s in noised]), dtype=dtype)
    x_0 = torch.tensor(np.concatenate([s.positions for s in structures]), dtype=dtype)
    sigma = torch.tensor(np.repeat(sigmas, counts), dtype=dtype)
    kind = torch.tensor(np.repeat(kinds, counts))
    estimate = model(x_t, sigma, torch.cat(list(species)), kind, graph)
    return (((estimate - x_0) / sigma[:, None]) ** 2).mean()


def train_prior(paths: Sequence[Path], folder: Path, config: Path | None = None) -> Path:
    """Train (or go on training) a prior on structures; the model folder is ``folder``.

    Raises
    ------
    InputError
        For bad data or config, or a folder whose run had other data or settings.
    """
    options: PriorTraining = build_options(PriorTraining, read_toml(config), "the config")
    schedule: Schedule = build_options(Schedule, options.schedule, "[schedule]")
    if strange := sorted(set(options.levels) - set(LEVELS)):
        raise InputError(f"levels must hold keys among {', '.join(LEVELS)}, received "
                         f"{', '.join(strange)}: correct or remove them")
    samples = load_samples(paths, options)
    elements = sorted({e for s in samples for e in s.structure.symbols})
    kinds = [ANY, *sorted(({s.kind for s in samples} | set(options.more_kinds)) - {ANY})]
    model = {**options.model, "elements": elements, "kinds": kinds}
    model_config: PriorConfig = build_options(PriorConfig, model, "[model]")
    if "degree" not in options.model:
        degree = typical_degree(samples, model_config.cutoff)
        model_config = replace(model_config, degree=degree)
    record = training_record(samples, options, model_config)
    refuse_other_run(folder, record)
    torch.manual_seed(options.seed)
    network = PriorNetwork(model_config)
    if options.init:
        begin_from(network, Path(options.init), record)
    loss = DenoisingLoss(samples, network, options)
    average = train(network, loss, schedule, folder, title="prior")
    adopt_any(average, set(record["training"]["kinds"]))
    save_model(folder, record, average.state_dict())
    return folder


@torch.no_grad()
def adopt_any(network: nn.Module, seen: set[str]) -> None:
    """Give every kind that the data never showed the embedding of "any"; its own is untrained."""
    assert isinstance(network, PriorNetwork)
    table = network.kind_embedding.weight
    for index, kind in enumerate(network.config.kinds):
        if kind not in seen and kind != ANY:
            table[index] = table[0]


def begin_from(network: PriorNetwork, folder: Path, record: dict[str, Any]) -> None:
    """Start from the weights of ``folder``; its training structures join the record.

    A network with more layers begins as that prior too: the layers added pass their input on until
    training opens their gates (T. Chen, I. Goodfellow, J. Shlens, Net2Net, arXiv:1511.05641 (2015),
    section 2.3).

    Raises
    ------
    InputError
        If that prior differs in more than the number of layers and ``degree``.
    """
    content = read_config(folder, "prior")
    for key, value in network.config.to_dict().items():
        known = content["model"][key]
        deeper = key == "n_layers" and known < value
        if key != "degree" and known != value and not deeper:
            raise InputError(f"init must be a prior of the same model with at most as many layers, "
                             f"received {folder} with {key} = {known} where the config says "
                             f"{value}: change [model] or more_kinds, or leave init out")
    shallow = PriorNetwork(build_options(PriorConfig, content["model"], f"{folder}/config.json"))
    load_weights(shallow, folder)
    state = network.state_dict()
    state.update(shallow.state_dict())
    network.load_state_dict(state)
    for layer in list(network.trunk.layers)[shallow.config.n_layers:]:
        assert isinstance(layer, Interaction)
        layer.pass_on()
    for key in ("structures", "parents", "kinds"):
        record["training"][key] = sorted({*record["training"][key], *content["training"][key]})


def typical_degree(samples: Sequence[Sample], cutoff: float) -> float:
    """Mean number of neighbours within ``cutoff`` over the training structures."""
    n_edges = sum(len(build_graph(s.structure, cutoff).center) for s in samples)
    return round(n_edges / sum(len(s.structure) for s in samples), 1)


def training_record(samples: Sequence[Sample], options: PriorTraining,
                    config: PriorConfig) -> dict[str, Any]:
    """The ``config.json`` of a prior."""
    densities = [s.structure.density for s in samples]
    return {
        "kind": "prior", "version": diffxas.__version__, "licence": options.licence,
        "elements": config.elements, "density_range": [round(min(densities), 3),
                                                       round(max(densities), 3)],
        "model": config.to_dict(), "sampling": options.sampling, "levels": options.levels,
        "cutoffs": options.cutoffs,
        "training": {"data_hash": data_hash(samples),
                     "options": {key: value for key, value in asdict(options).items()
                                 if key not in AFTERWARDS},
                     "structures": [s.name for s in samples],
                     "kinds": sorted({s.kind for s in samples}),
                     "parents": sorted({str(s.structure.info.get("parent", s.name))
                                        for s in samples})},
    }


def refuse_other_run(folder: Path, record: dict[str, Any]) -> None:
    """Refuse a folder that holds the training of something else; begin or go on otherwise."""
    import json

    from diffxas.files import write_json

    path = folder / "training.json"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out must be a folder, received the file {folder}: choose another")
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        asked = json.loads(json.dumps(record))
        different = [k for k in asked if known.get(k) != asked[k] and k not in AFTERWARDS]
        if different:
            raise InputError(f"{folder} must be empty or hold this same training, received one "
                             f"that differs in {', '.join(different)}: choose another --out")
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} must be empty or hold a training, received other files: "
                         f"choose another --out")
    write_json(path, record)


def load_prior(folder: Path) -> PriorNetwork:
    """A trained prior, in evaluation mode; built once where models are shared."""
    content = read_config(folder, "prior")
    return built_once(("prior", str(folder), weights_hash(folder)), lambda: _built(folder, content))


def _built(folder: Path, content: dict[str, Any]) -> PriorNetwork:
    network = PriorNetwork(build_options(PriorConfig, content["model"], f"{folder}/config.json"))
    load_weights(network, folder)
    network.requires_grad_(False)
    return network.eval()


def find_prior(name: str | Path) -> Path:
    """The folder of a prior, by shipped name or by path.

    Raises
    ------
    InputError
        If there is none.
    """
    return find_model(str(name), SHIPPED)
