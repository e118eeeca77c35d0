r"""What the prior holds before any guide: a bank of structures over densities.

Evidence (:mod:`samplers.evidence`) asks what structures the prior holds at every density, and one
bank answers for all targets and guides. A shipped prior carries one, ``samples.safetensors`` beside
its weights: structures that it was trained on, the best draws from what it was taught (its own
samples at 1.5 to 2 g/cm3 have less sp than those, which would shift a density by 0.15 g/cm3). For
other priors and compositions unguided samples are drawn when a bank is first needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.errors import InputError
from diffxas.structure import Structure

if TYPE_CHECKING:
    from diffxas.denoiser import PriorNetwork

BANK = "samples.safetensors"


def spread_densities(low: float, high: float, count: int) -> np.ndarray:
    """Densities (g/cm3) that fill low to high evenly in any number, (count,): a Weyl sequence."""
    golden = (5**0.5 - 1) / 2
    return np.asarray(low + (high - low) * ((0.5 + golden * np.arange(count)) % 1.0))


def draw_one(prior: PriorNetwork, record: Mapping[str, Any], system: Structure, kind: str,
             seed: int, number: int, steps: int = 64) -> np.ndarray:
    """Positions of one unguided sample, (n_atoms, 3), angstrom.

    Parameters
    ----------
    record : the prior's ``config.json`` (tempering and noise levels)
    system : species and cell; its positions are not read
    kind : label of the training data to resemble
    seed, number : key of the counter-based noise
    """
    import torch

    from diffxas.denoiser import PriorDenoiser
    from samplers.sampling import sample
    from samplers.setup import schedule_at
    from samplers.start import start_positions
    from samplers.tempered import TemperedDenoiser

    schedule = schedule_at(record, system.density, steps)
    denoiser = TemperedDenoiser(PriorDenoiser(prior, system, kind), schedule.temperature,
                                schedule.cold_low, schedule.cold_high)
    counts = list(Counter(system.symbols).values())
    x = torch.tensor(start_positions(len(system), system.cell, schedule.sigma_max, seed, number,
                                     counts))
    with torch.no_grad():
        x = sample(denoiser, x, schedule, seed, number)
    return system.with_positions(x.numpy()).wrapped().positions


def read_bank(folder: Path) -> list[Structure]:
    """The structures that a prior's folder carries, by increasing density; none if it has no bank.

    Raises
    ------
    InputError
        If the file is not a bank.
    """
    from safetensors.numpy import load_file

    path = folder / BANK
    if not path.is_file():
        return []
    tensors = load_file(path)
    missing = {"positions", "cell", "numbers"} - set(tensors)
    if missing:
        raise InputError(f"{path} must hold positions, cell and numbers, received a file without "
                         f"{', '.join(sorted(missing))}: remove it, and samples are drawn anew")
    numbers = tensors["numbers"].astype(np.int64)
    return sorted((Structure(x.astype(float), numbers, cell.astype(float))
                   for x, cell in zip(tensors["positions"], tensors["cell"], strict=True)),
                  key=lambda structure: structure.density)


def write_bank(structures: Sequence[Structure], folder: Path) -> None:
    """``samples.safetensors`` of structures of one composition and size."""
    from safetensors.numpy import save_file

    from diffxas.files import replacing

    with replacing(folder / BANK) as temporary:
        save_file({"positions": np.stack([s.positions for s in structures]).astype(np.float32),
                   "cell": np.stack([s.cell for s in structures]).astype(np.float32),
                   "numbers": structures[0].numbers.astype(np.int64)}, temporary)


def draw_bank(folder: Path, system_at: Callable[[float], Structure], densities: Sequence[float],
              kind: str, seed: int, keep: Path | None = None,
              progress: bool = True) -> list[Structure]:
    """Unguided samples at the densities; with ``keep``, finished ones are read from that folder.

    Parameters
    ----------
    folder : of the prior
    system_at : density (g/cm3) -> species and cell
    """
    from tqdm import tqdm

    from diffxas.prior import load_prior
    from diffxas.structure_files import read_structures, write_structures
    from diffxas.weights import read_config

    prior, record = load_prior(folder), read_config(folder)
    found = []
    bar = tqdm(densities, desc="unguided samples over densities", disable=not progress)
    for number, density in enumerate(bar):
        path = None if keep is None else keep / f"unguided_{number}.extxyz"
        if path is None or not path.is_file():
            system = system_at(float(density))
            drawn = system.with_positions(
                draw_one(prior, record, system, kind, seed, number))
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_structures(path, [drawn])
        else:
            (drawn,) = read_structures(path)
        found.append(drawn)
    return found
