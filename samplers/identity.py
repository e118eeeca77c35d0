"""What a run is of, in words and hashes: a folder is resumed by the same run and by no other.

Whatever changes a structure or a number belongs to it: every option but :data:`UNIMPORTANT`, and
the content of weights, potentials, targets and further files that options name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplers.arrangement import file_hash

if TYPE_CHECKING:
    from samplers.geometry import Box
    from samplers.setup import GenerateOptions
    from samplers.target import Target

UNIMPORTANT = ("device", "formats", "type_order", "charges", "workers", "scheduler")
"""Options that change no structure and no number."""


def identity_of(options: GenerateOptions, box: Box, weights: Mapping[str, str],
                potential: str | None, target: Target | None, kind: str) -> dict[str, Any]:
    """``identity`` of ``run.json``.

    Parameters
    ----------
    options : with the algorithm that ``auto`` stands for
    box : says the composition where options leave it open
    weights : hashes of ``prior`` and, if there is one, ``surrogate``
    potential : that relaxes; None without relaxation
    kind : label of the training data to resemble
    """
    from diffxas.potentials import potential_hash
    from surrogates.reference import parse_reference

    kept = {k: v for k, v in asdict(options).items() if k not in UNIMPORTANT}
    return {**kept, "cell": None if options.cell is None else list(options.cell),
            "composition": box.counts,
            "potential": potential or options.potential,
            "potential_hash": None if potential is None else potential_hash(potential),
            "start": None if options.start is None else file_hash(options.start),
            "guide_files": [file_hash(path) for path in _files_of(options.guides)],
            "window": None if options.window is None else list(options.window),
            "prior_hash": weights["prior"], "surrogate_hash": weights.get("surrogate"),
            "noised_hashes": {k: v for k, v in weights.items() if k.startswith("noised:")},
            "reference_hash": None if options.reference is None else
            file_hash(parse_reference(options.reference)[1]),
            "exclude": [list(pair) for pair in options.exclude],
            "target_hash": None if target is None else target.hash, "kind": kind}


def _files_of(guides: Sequence[str]) -> list[Path]:
    """Files that guides name: another content is another run."""
    names = [re.split("[:=@]", text, maxsplit=1)[-1] for text in guides]
    words = [word for name in names for word in (name, *re.split("[@=]", name)[:1])]
    return [Path(word) for word in dict.fromkeys(words) if Path(word).is_file()]
