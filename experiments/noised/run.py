"""Train the noise-aware surrogate ``a-C-noised``, and ask what it knows of cells it never saw.

    python experiments/noised/run.py train      # 40 minutes of one core; resumable
    python experiments/noised/run.py
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.files import write_json  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from diffxas.prior import find_prior, load_prior  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from diffxas.structure_files import read_structures  # noqa: E402
from experiments.common import (  # noqa: E402
    DATA,
    ROOT,
    dft_cells,
    held_out,
    markdown,
    model_label,
    networks,
    one_thread,
    variants,
    write_numbers,
)
from experiments.noised.knowledge import Seen, by_plug_in, by_pupil, rows  # noqa: E402
from samplers.prior_samples import read_bank  # noqa: E402
from surrogates.loading import SHIPPED, load_surrogate  # noqa: E402
from surrogates.noised import load_noised  # noqa: E402
from surrogates.noised_training import SAMPLE, train_noised  # noqa: E402

TEACHER, PRIOR, NAME = "a-C", "a-C", "a-C-noised"


def taught_structures() -> list[Structure]:
    """Networks, descendants and DFT cells; the prior's unguided samples."""
    known = [s.with_info(kind=kind) for kind, group in (
                 ("network", networks()), ("variant", variants()), ("DFT", dft_cells()))
             for s in group]
    bank = read_bank(find_prior(PRIOR))
    return [*known, *(s.with_info(name=f"{PRIOR}_sample_{k}", kind=SAMPLE)
                      for k, s in enumerate(bank))]


def train() -> None:
    """Train in ``runs/noised`` and copy the weights among the shipped ones."""
    folder = ROOT / "runs" / "noised"
    train_noised(taught_structures(), load_surrogate(TEACHER).guiding(), folder,
                 HERE / "noised.toml")
    (SHIPPED / NAME).mkdir(exist_ok=True)
    for name in ("config.json", "weights.safetensors"):
        shutil.copyfile(folder / name, SHIPPED / NAME / name)


def unknown() -> list[Structure]:
    """Held-out networks, their descendants, and the pairs."""
    held = [s for s in (*networks(), *variants())
            if {str(s.info["name"]), str(s.info.get("parent", ""))} & held_out()]
    return [*held, *read_structures(DATA / "a-C-NEP" / "pairs.extxyz")]


def draw(table: Sequence[Mapping[str, float]]) -> Figure:
    """Correlation, error and coverage against the noise level."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    sigma = [row["sigma"] for row in table]
    for name, colour in (("pupil", "#0072B2"), ("plug-in", "#D55E00")):
        label = {"pupil": "told x_t", "plug-in": "denoised estimate"}[name]
        left.plot(sigma, [row[f"{name} correlation"] for row in table], "o-", color=colour,
                  label=label)
        middle.plot(sigma, [row[f"{name} rms"] for row in table], "o-", color=colour)
    left.set(xlabel="noise (angstrom)", ylabel="correlation at equal density", ylim=(-0.1, 1.02))
    left.legend(frameon=False, fontsize=8)
    middle.set(xlabel="noise (angstrom)", ylabel="rms error of cell spectra", ylim=(0, None))
    right.axhspan(0.85, 0.95, color="0.9")
    right.plot(sigma, [row["covered"] for row in table], "o-", color="#0072B2",
               label="all energies")
    right.plot(sigma, [row["covered, first"] for row in table], "s--", color="#0072B2",
               label="first component")
    right.set(xlabel="noise (angstrom)", ylabel="within the 90 % interval", ylim=(0.5, 1.02))
    right.legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    """Ask pupil and plug-in, and write what they know."""
    cells, pupil = unknown(), load_noised(NAME)
    teacher = load_surrogate(TEACHER).guiding()
    truth = np.array([teacher.predict_sites(cell).mean(0) for cell in cells])
    plug_in = by_plug_in(cells, teacher, load_prior(find_prior(PRIOR)), ROOT / "runs" / "noised")
    table = rows(Seen(np.array([cell.density for cell in cells]), truth,
                      by_pupil(cells, pupil), plug_in), pupil)
    save_figure(draw(table), HERE / "expected" / "noised.png")
    write_json(HERE / "expected" / "noised.json", {"levels": table})
    short = [{"noise": row["sigma"], **{f"{name}, {key}": row[f"{name} {key}"]
                                        for name in ("pupil", "plug-in")
                                        for key in ("correlation", "slope", "rms")},
              **{key: row[key] for key in row if key.startswith("covered")}} for row in table]
    write_numbers(HERE / "README.md", f"""{len(cells)} cells, \
{model_label(SHIPPED / NAME)}; coverage asked: 0.85-0.95.

{markdown(short)}""")


if __name__ == "__main__":
    one_thread()
    if sys.argv[1:] == ["train"]:
        train()
    else:
        main()
