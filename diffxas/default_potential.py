"""The potential that relaxes where none is chosen: a documented choice for each set of elements.

=========  =============  ======================================================================
C, H       ``rebo``       moves DFT cells of amorphous carbon least of the fast ones
Si, O      ``vashishta``  P. Vashishta and others, Phys. Rev. B 41, 12197 (1990): silica
Si, C      ``tersoff``    P. Erhart, K. Albe, Phys. Rev. B 71, 035211 (2005), or as
                          :mod:`diffxas.potentials` states
=========  =============  ======================================================================
"""

from __future__ import annotations

from collections.abc import Collection

from diffxas.errors import InputError

DEFAULTS = (({"C", "H"}, "rebo"), ({"Si", "O"}, "vashishta"), ({"Si", "C"}, "tersoff"))


def default_potential(elements: Collection[str]) -> str:
    """The name of the potential for structures of these elements.

    Raises
    ------
    InputError
        If there is no default for them.
    """
    for known, name in DEFAULTS:
        if set(elements) <= known:
            return name
    raise InputError(f"a potential must be named for {', '.join(sorted(elements))}, for which "
                     f"there is no default: add --potential NAME, such as matgl:FOLDER or "
                     f"FILE.lmp")
