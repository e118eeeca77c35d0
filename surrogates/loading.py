"""Loading a surrogate by shipped name or by path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diffxas.errors import InputError
from diffxas.shared_models import built_once
from diffxas.spectrum import parse_edge
from diffxas.weights import (
    WEIGHTS,
    find_model,
    read_config,
    read_tensors,
    shipped_names,
    weights_hash,
)
from surrogates.base import Surrogate
from surrogates.committee import CommitteeSurrogate
from surrogates.domain import domain_of
from surrogates.frozen import FrozenSurrogate
from surrogates.kernel import KernelSurrogate
from surrogates.model import EquivariantSurrogate
from surrogates.properties import refuse_property

SHIPPED = Path(__file__).parent / "weights"
DEFAULT = "a-C"


def load_surrogate(name: str | Path, device: str = "cpu", edge: str | None = None,
                   theory: str | None = None) -> Surrogate:
    """A surrogate from a shipped name or a folder; built once where models are shared.

    Parameters
    ----------
    edge : absorber and edge, such as ``Cu:K``, of a model of several; its first by default
    theory : name of one of the model's theories, such as ``FEFF``; the first by default

    Raises
    ------
    InputError
        If there is none, it is not a surrogate of spectra, its family is unknown, or it lacks the
        edge or theory.
    """
    folder = find_model(str(name), SHIPPED)
    record = read_config(folder, "surrogate")
    label = folder.name if folder.parent == SHIPPED else str(folder)
    refuse_property(record, label)
    index = _theory(label, record, edge) if theory is None else named_theory(label, record, theory)
    return built_once(("surrogate", str(folder), weights_hash(folder), device, index),
                      lambda: _built(folder, label, record, device, index))


def _built(folder: Path, label: str, record: dict[str, Any], device: str,
           index: int) -> Surrogate:
    tensors = read_tensors(folder)
    family = record.get("family")
    try:
        if family == "kernel":
            surrogate: Surrogate = KernelSurrogate(label, record, tensors, torch.float32, device,
                                                   index)
        elif family == "committee":
            surrogate = CommitteeSurrogate.from_tensors(label, record, tensors, index, device)
        elif family == "frozen":
            surrogate = FrozenSurrogate.from_tensors(label, record, tensors, folder,
                                                     index).to(device=device)
        elif family == "equivariant":
            surrogate = EquivariantSurrogate.from_tensors(label, record, tensors, index, device)
        else:
            raise InputError(f"the surrogate's family must be committee, kernel, equivariant or "
                             f"frozen, received {family!r} in {folder}: use the version that wrote "
                             f"it")
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder / WEIGHTS} must hold the tensors that config.json describes, "
                         f"received others ({' '.join(str(error).split())[:200]}): copy the "
                         f"model's folder again") from error
    surrogate.domain = domain_of(tensors)
    return surrogate


def predictable(record: Mapping[str, Any]) -> list[str]:
    """Names of the theories whose spectra a model predicts."""
    return [str(t["name"]) for t in record.get("model", {}).get("theories", [])]


def named_theory(label: str, record: Mapping[str, Any], theory: str) -> int:
    """Which theory of the model has that name.

    Raises
    ------
    InputError
        If none has.
    """
    names = predictable(record)
    if theory not in names:
        raise InputError(f"--theory must be {' or '.join(names)} for the surrogate {label}, "
                         f"received {theory}: choose another --theory or another surrogate")
    return names.index(theory)


def model_edges(record: Mapping[str, Any]) -> list[str]:
    """Absorber and edge of every theory of a model, such as ``C:K``; empty if it says nothing."""
    model = record.get("model", {})
    return [f"{t.get('absorber') or model.get('absorber')}:{t.get('edge') or model.get('edge')}"
            for t in model.get("theories", [])]


def _theory(label: str, record: Mapping[str, Any], edge: str | None) -> int:
    """Which theory of the model is of that edge; the first by default."""
    if edge is None:
        return 0
    known, wanted = model_edges(record), ":".join(parse_edge(edge))
    if wanted not in known:
        raise InputError(f"--edge must be {' or '.join(dict.fromkeys(known))} for the surrogate "
                         f"{label}, received {wanted}: choose another --surrogate "
                         f"(`diffxas models` lists them)")
    return known.index(wanted)


def surrogate_name(edge: str | None) -> str:
    """The shipped surrogate of an edge; :data:`DEFAULT` where it fits or nothing is asked.

    Raises
    ------
    InputError
        If none of the shipped ones is of that edge.
    """
    if edge is None:
        return DEFAULT
    wanted = ":".join(parse_edge(edge))
    known = {name: model_edges(read_config(SHIPPED / name)) for name in shipped_names(SHIPPED)}
    names = sorted((name for name, edges in known.items() if wanted in edges),
                   key=lambda name: name != DEFAULT)
    if not names:
        every = sorted({one for edges in known.values() for one in edges})
        raise InputError(f"--edge must be that of a shipped surrogate, {' or '.join(every)}, "
                         f"received {wanted}: give a folder of your own to --surrogate, or train "
                         f"one with `diffxas train surrogate`")
    return names[0]
