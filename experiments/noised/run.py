"""Train the noise-aware surrogate ``a-C-noised``, and ask what it knows of cells it never saw.

    python experiments/noised/run.py train      # 40 minutes of one core; resumable
    python experiments/noised/run.py
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.prior import find_prior  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from experiments.common import (  # noqa: E402
    ROOT,
    dft_cells,
    held_out,
    networks,
    one_thread,
    variants,
)
from samplers.prior_samples import read_bank  # noqa: E402
from surrogates.loading import SHIPPED, load_surrogate  # noqa: E402
from surrogates.noised_training import train_noised  # noqa: E402

TEACHER, PRIOR, NAME = "a-C", "a-C", "a-C-noised"


def taught_structures() -> list[Structure]:
    """Networks, descendants and DFT cells but for held-out ones; the prior's unguided samples."""
    known = [s.with_info(kind=kind) for kind, group in (
                 ("network", networks()), ("variant", variants()), ("DFT", dft_cells()))
             for s in group
             if not {str(s.info["name"]), str(s.info.get("parent", ""))} & held_out()]
    bank = read_bank(find_prior(PRIOR))
    return [*known, *(s.with_info(name=f"{PRIOR}_sample_{k}", kind="sample")
                      for k, s in enumerate(bank))]


def train() -> None:
    """Train in ``runs/noised`` and copy the weights among the shipped ones."""
    folder = ROOT / "runs" / "noised"
    train_noised(taught_structures(), load_surrogate(TEACHER).guiding(), folder,
                 HERE / "noised.toml")
    (SHIPPED / NAME).mkdir(exist_ok=True)
    for name in ("config.json", "weights.safetensors"):
        shutil.copyfile(folder / name, SHIPPED / NAME / name)


if __name__ == "__main__":
    one_thread()
    if sys.argv[1:] == ["train"]:
        train()
