"""Reverse diffusion, guidance, and the command line.

``from samplers import generate`` is the Python way to what ``diffxas generate`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffxas.spectrum import Spectrum
from diffxas.structure import Structure


@dataclass(frozen=True)
class Run:
    """What :func:`generate` returns.

    Attributes
    ----------
    structures : the answer of every sample, in the order of their number
    summary : the content of ``summary.json``
    folder : where the files are; None if none were asked for
    out_of_reach : no sample came near the target
    """

    structures: list[Structure]
    summary: dict[str, Any]
    folder: Path | None
    out_of_reach: bool


def generate(target: Spectrum | None = None, *, density: float | str | None = None,
             atoms: int | None = None, cell: Sequence[float] | None = None, samples: int = 4,
             seed: int = 0, out: str | Path | None = None, progress: bool = False,
             **options: Any) -> Run:
    """Structures whose spectrum is the target's.

    Parameters
    ----------
    target : a spectrum as read; None (with ``guidance=False``) samples the prior alone
    density, atoms, cell : g/cm3, number, three edges in angstrom; any two suffice. A text such as
        ``"1.5:3.5"`` or ``"2.1+-0.1"`` is what is known of the density
    out : a folder for the files that ``diffxas generate --out`` writes; resumes if unfinished
    options : further fields of :class:`samplers.setup.GenerateOptions`

    Raises
    ------
    InputError
        Before anything is computed, for whatever cannot be used.
    """
    import json
    import tempfile

    from samplers.evidence import DensityPrior
    from samplers.generation import GenerateOptions, run_in

    known = DensityPrior.parse(density) if isinstance(density, str) else density
    if isinstance(known, DensityPrior):
        options["density_prior"], known = known, known.middle
    chosen = GenerateOptions(
        density=known, atoms=atoms, cell=None if cell is None else tuple(cell),  # type: ignore[arg-type]
        samples=samples, seed=seed, **options)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run" if out is None else Path(out)
        structures, _ = run_in(target, folder, chosen, "samplers.generate(...)", progress)
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return Run(structures, summary, None if out is None else folder,
               bool(summary["out_of_reach"]))
