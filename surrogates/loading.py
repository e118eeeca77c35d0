"""Loading a surrogate by shipped name or by path."""

from __future__ import annotations

from pathlib import Path

import torch

from diffxas.errors import InputError
from diffxas.weights import WEIGHTS, find_model, read_config, read_tensors
from surrogates.base import Surrogate
from surrogates.kernel import KernelSurrogate
from surrogates.model import EquivariantSurrogate

SHIPPED = Path(__file__).parent / "weights"


def load_surrogate(name: str | Path, device: str = "cpu") -> Surrogate:
    """A surrogate from a shipped name or a folder.

    Raises
    ------
    InputError
        If there is none, it is not a surrogate, or its family is unknown.
    """
    folder = find_model(str(name), SHIPPED)
    record = read_config(folder, "surrogate")
    label = folder.name if folder.parent == SHIPPED else str(folder)
    tensors = read_tensors(folder)
    family = record.get("family")
    try:
        if family == "kernel":
            return KernelSurrogate(label, record, tensors, torch.float32, device)
        if family == "equivariant":
            surrogate = EquivariantSurrogate.from_tensors(label, record, tensors)
            for member in surrogate.members:
                member.to(device)
            return surrogate
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder / WEIGHTS} must hold the tensors that config.json describes, "
                         f"received others ({' '.join(str(error).split())[:200]}): copy the "
                         f"model's folder again") from error
    raise InputError(f"the surrogate's family must be kernel or equivariant, received "
                     f"{family!r} in {folder}: use the version that wrote it")
