"""Weights of a model: a folder with ``config.json`` and ``weights.safetensors``, no pickles.

The config says what the model is (``kind``: prior or surrogate), how to rebuild it (``model``), and
what it was trained on (``training``: data hash, every structure by name, versions). Loading refuses
what does not fit, naming both sides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffxas.errors import InputError
from diffxas.files import replacing, write_json

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "weights.safetensors"


def save_model(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a model folder; the weights first, so that a config never stands without them."""
    from safetensors.torch import save_file

    with replacing(folder / WEIGHTS) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary)
    write_json(folder / CONFIG, {"format": FORMAT, **config})


def read_config(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """The config of a model folder.

    Raises
    ------
    InputError
        If there is no such folder, it is of another kind, or of another format.
    """
    path = folder / CONFIG
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise InputError(f"a model must be a folder with {CONFIG} and {WEIGHTS}, received {folder}:"
                         f" give such a folder or a name that `diffxas models` lists")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} must be JSON, received a file that is not ({error}): "
                         f"copy the model's folder again") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} must hold a JSON object, received a {type(config).__name__}: "
                         f"copy the model's folder again")
    if config.get("format") != FORMAT:
        raise InputError(f"weights must be of format {FORMAT}, received {config.get('format')} "
                         f"in {path}: use the version of diffxas that wrote them, or retrain")
    if kind is not None and config.get("kind") != kind:
        raise InputError(f"the model must be a {kind}, received a {config.get('kind')} "
                         f"in {folder}: give it to the other option")
    return config


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder, on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise InputError(f"{folder / WEIGHTS} must be a safetensors file, received a damaged one "
                         f"({error}): copy the model's folder again") from error


def load_weights(module: nn.Module, folder: Path) -> None:
    """Fill ``module`` with the tensors of a model folder.

    Raises
    ------
    InputError
        If the file is damaged, or its tensors are not those of ``module``.
    """
    try:
        module.load_state_dict(read_tensors(folder))
    except RuntimeError as error:
        raise InputError(f"{folder / WEIGHTS} must hold the tensors that {CONFIG} describes, "
                         f"received others ({' '.join(str(error).split())[:200]}): "
                         f"copy the model's folder again") from error


def weights_hash(folder: Path) -> str:
    """SHA-256 over config and weights."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def find_model(name: str, shipped: Path) -> Path:
    """A folder given by path, or one of the folders in ``shipped`` by name.

    Raises
    ------
    InputError
        If neither exists; the shipped names are listed.
    """
    for folder in (shipped / name, Path(name)):
        if (folder / CONFIG).is_file():
            return folder
    names = shipped_names(shipped)
    raise InputError(f"a model must be a folder with {CONFIG} or one of {', '.join(names)}, "
                     f"received {name!r}: `diffxas models` lists them")


def shipped_names(shipped: Path) -> list[str]:
    """Names of the models in a package's folder."""
    return sorted(p.parent.name for p in shipped.glob(f"*/{CONFIG}"))
