"""Draw the bank of unguided samples that a shipped prior carries.

``python experiments/prior/bank.py a-C`` (about 12 minutes on one core; goes on where it stopped).
"""

from __future__ import annotations

import sys

from diffxas.denoiser import ANY
from diffxas.prior import find_prior
from diffxas.weights import read_config
from experiments.common import RUNS, one_thread, sampler_key
from samplers.geometry import resolve_box
from samplers.prior_samples import ATOMS, BANK_SEED, draw_bank, spread_densities, write_bank
from samplers.setup import system_of

COUNT = 96
"""Cells in a bank."""


def main(name: str) -> None:
    """Draw and write the bank of the prior ``name``, of carbon."""
    one_thread()
    folder = find_prior(name)
    low, high = read_config(folder)["density_range"]
    found = draw_bank(folder, lambda density: system_of(resolve_box("C", density, ATOMS, None)),
                      list(spread_densities(low, high, COUNT)), ANY, BANK_SEED,
                      RUNS / f"bank-{sampler_key(folder)}")
    write_bank(found, folder)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "a-C")
