"""From what a user writes after ``--guide`` to a guide."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from diffxas.errors import InputError
from diffxas.structure import Structure

if TYPE_CHECKING:
    from samplers.guides.base import Guide
    from samplers.setup import GenerateOptions

KINDS = {
    "xanes": ("spectrum", "xanes:FILE[@EDGE[@SURROGATE]]"),
    "pdf": ("pdf", "pdf:FILE[@g|@G][@atoms|@xray|@neutron][@qmax=QMAX]"),
}
"""Kind -> module of this package, whose ``from_text(rest, system, options)`` builds the guide, and
how it is written. ``rest`` is what stands after the colon."""


def guide_of(text: str, system: Structure, options: GenerateOptions) -> Guide:
    """The guide that a text means.

    Parameters
    ----------
    text : such as ``coordination:4=0.37``
    system : species and cell

    Raises
    ------
    InputError
        On an unknown kind, or whatever the kind refuses.
    """
    kind, colon, rest = text.partition(":")
    if kind not in KINDS or not colon or not rest:
        forms = ", ".join(form for _, form in KINDS.values())
        raise InputError(f"--guide must be one of {forms}, received {text!r}: write one of these")
    module = import_module(f"samplers.guides.{KINDS[kind][0]}")
    guide: Guide = module.from_text(rest, system, options)
    return guide
