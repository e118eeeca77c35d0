"""An untrained prior of two elements: what runs of silica need besides training."""

from pathlib import Path

import torch

from diffxas.denoiser import PriorConfig, PriorNetwork
from diffxas.weights import save_model


def write_silica_prior(folder: Path, **record: object) -> Path:
    """A prior of Si and O with random weights; ``record`` is added to its config."""
    torch.manual_seed(0)
    config = PriorConfig(elements=["Si", "O"], kinds=["any", "melt-quenched"], n_layers=1,
                         n_scalars=8, n_vectors=4, n_tensors=2, n_products=2, hidden=8, n_basis=8)
    training = {"data_hash": "none", "structures": [], "parents": []}
    save_model(folder, {"kind": "prior", "elements": config.elements, "model": config.to_dict(),
                        "density_range": [2.0, 2.4], "version": "test", "training": training,
                        **record}, PriorNetwork(config).state_dict())
    return folder
