"""From what a user writes after ``--guide`` to a guide."""

from __future__ import annotations

import re
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
    "coordination": ("coordination", "coordination:[A-B:]N=SHARE[,...]"),
    "sq": ("sq", "sq:FILE@xray|neutron"),
    "distance": ("distance", "distance[:A-B]=>V"),
    "energy": ("energy", "energy:FOLDER=<V"),
    "pressure": ("pressure", "pressure[:FOLDER]=V"),
    "property": ("property", "property:PATH=V"),
}
"""Kind -> module of this package, whose ``from_text(rest, system, options)`` builds the guide, and
how it is written. ``rest`` is what stands after the colon, or from the equals sign on where there
is no colon before it."""
OWN = "MODULE:FUNCTION[=V]"


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
    found = re.match(r"(\w+)(?::|(?==))(.+)", text.strip())
    if found is None or found[1] not in KINDS:
        from samplers.guides.function import own_guide

        own = own_guide(text.strip(), system)
        if own is not None:
            return own
        forms = ", ".join(form for _, form in KINDS.values())
        raise InputError(f"--guide must be one of {forms} or {OWN}, received {text!r}, which is "
                         f"no kind, nor a module that is found here: write one of these")
    module = import_module(f"samplers.guides.{KINDS[found[1]][0]}")
    guide: Guide = module.from_text(found[2], system, options)
    return guide
