"""Write the bank of structures that a shipped prior of carbon carries: what it was trained on.

``python experiments/prior/bank.py`` for both (seconds). 300 K snapshots of the melt-quenched
networks and of their variants, without those held out; of the DFT networks one cell each, where the
prior knows them.
"""

from __future__ import annotations

import sys

from diffxas.errors import InputError
from diffxas.prior import find_prior
from diffxas.structure import Structure
from diffxas.weights import read_config
from experiments.common import dft_cells, held_out, networks, variants
from samplers.prior_samples import write_bank


def main(name: str) -> None:
    """Write the bank of the prior ``name``."""
    folder = find_prior(name)
    training = read_config(folder)["training"]
    parents = set(training["parents"])
    first: dict[str, Structure] = {}
    for cell in dft_cells():
        first.setdefault(str(cell.info["parent"]), cell)
    known = [s for s in [*networks(), *variants(), *first.values()]
             if str(s.info.get("parent") or s.info["name"]) in parents]
    wrong = [s for s in known if str(s.info["name"]) in held_out()
             or str(s.info.get("parent", "")) in held_out()]
    if wrong:
        raise InputError(f"a bank must hold nothing that is held out, received "
                         f"{wrong[0].info['name']}: mend the prior's training list")
    write_bank(known, folder)
    print(f"{folder}: {len(known)} structures")


if __name__ == "__main__":
    for one in sys.argv[1:] or ("a-C", "a-C-no-dft"):
        main(one)
