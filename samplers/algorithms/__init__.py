"""Ways to draw from the posterior of a prior and guides; ``find_algorithm`` knows them by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from diffxas.errors import InputError

if TYPE_CHECKING:
    from samplers.algorithms.base import Algorithm

NAMES = {
    "dps": ("dps", "DPS"),
    "noise-aware": ("noise_aware", "NoiseAware"),
    "weighting": ("weighting", "Weighting"),
    "particles": ("particles", "Particles"),
    "daps": ("daps", "DAPS"),
}
"""Name -> module of this package and class."""
DEFAULT = "dps"


def find_algorithm(name: str) -> Algorithm:
    """The algorithm of a name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in NAMES:
        raise InputError(f"--algorithm must be one of {', '.join(NAMES)}, received {name!r}: "
                         f"{DEFAULT} is the default")
    module, kind = NAMES[name]
    algorithm: Algorithm = getattr(import_module(f"samplers.algorithms.{module}"), kind)()
    return algorithm


def without_gradient() -> list[str]:
    """Names of the algorithms that take guides without a gradient."""
    return [name for name in NAMES if not find_algorithm(name).needs_gradient]
