"""The potential that relaxes where none is chosen: a documented choice for each set of elements.

=========  =============  ======================================================================
C, H       ``rebo``       moves DFT cells of amorphous carbon least of the fast ones
Si, C      ``tersoff``    P. Erhart, K. Albe, Phys. Rev. B 71, 035211 (2005); silicon alone:
                          J. Tersoff, Phys. Rev. B 37, 6991 (1988)
Si and O   ``vashishta``  A. Nakano, R. K. Kalia, P. Vashishta, J. Non-Cryst. Solids 171, 157
                          (1994): silica; cut at 5.5 angstrom, six times as fast as that of 1990
=========  =============  ======================================================================
"""

from __future__ import annotations

from collections.abc import Collection

from diffxas.errors import InputError

DEFAULTS = {
    "rebo": ({"C"}, {"H"}, {"C", "H"}),
    "tersoff": ({"Si"}, {"Si", "C"}),
    "vashishta": ({"Si", "O"},),
}


def default_potential(elements: Collection[str]) -> str:
    """The name of the potential for structures of these elements.

    Raises
    ------
    InputError
        If there is no default for them.
    """
    for name, known in DEFAULTS.items():
        if set(elements) in known:
            return name
    raise InputError(f"a potential must be named for {', '.join(sorted(elements))}, for which "
                     f"there is no default: add --potential NAME, such as matgl:FOLDER or "
                     f"FILE.lmp")
