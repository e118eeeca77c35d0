"""What the columns of a spectrum file are called, and what each name means.

The words are those of Larch and of XDI (B. Ravel and M. Newville, "XAFS Data Interchange: a
single spectrum XAFS data file format", J. Phys.: Conf. Ser. 712, 012148 (2016)), of FEFF's xmu.dat
and of soft X-ray beamlines (TEY, drain, mesh, PFY). A name gives a :class:`Role`: what the column
is, which way of measuring absorption it belongs to, and whether it already is an absorption or
still has to be divided by the incident intensity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Role:
    """Meaning of a column.

    Attributes
    ----------
    kind : ``energy``, ``i0``, ``signal``, ``itrans``, ``ignored`` or ``unknown``
    channel : way of measuring, for signals: ``absorption`` (not said how), ``transmission``,
        ``fluorescence``, ``partial fluorescence yield``, ``electron yield``, ``signal``
    ready : the column is an absorption, not to be divided by I0
    rank : among columns of one channel the lowest is taken
    """

    kind: str
    channel: str = ""
    ready: bool = False
    rank: int = 0


UNKNOWN = Role("unknown")
IGNORED = Role("ignored")

_READY = {
    0: "mu xmu mue xmue",
    1: "absorption absorbance xas xanes nexafs muraw",
    2: "norm nor normalised normalized normmu abnorm",
    3: "flat",
}
_SIGNALS = {
    "transmission": ("mutrans mut", "", "normtrans"),
    "fluorescence": ("mufluor muf", "ifluor ifluo fluor fluo if fluorescence iff", "normfluor"),
    "partial fluorescence yield": ("", "pfy ipfy", ""),
    "total fluorescence yield": ("", "tfy fy itfy", ""),
    "electron yield": ("", "tey itey drain idrain draincurrent isample samplecurrent", ""),
    "partial electron yield": ("", "pey ipey aey", ""),
    "signal": ("", "signal counts intensity yield", ""),
}
_OTHERS = {
    "energy": "energy e ev kev photonenergy pe hv hnu en energyev energykev energyloss eloss "
              "monoenergy excitationenergy incidentenergy braggenergy egy",
    "i0": "i0 io izero mesh imesh goldmesh aumesh meshcurrent monitor mon i0current i0mesh",
    "itrans": "itrans i1 it trans",
    "ignored": "irefer i2 iref murefer normrefer ref time seconds sec dwell index point pt row "
               "unnamed0 err error std sigma stddev uncertainty stdev dmu ring ringcurrent "
               "srcurrent temperature temp theta angle k q chi mu0 bkg nbkg fbkg preedge postedge "
               "der nder sec nsec livetime deadtime icr ocr epoch timestamp date",
}


@cache
def _vocabulary() -> dict[str, Role]:
    words = {"omega": Role("energy", rank=0)}  # FEFF: beside omega, e is relative to the edge
    for kind, names in _OTHERS.items():
        words.update({name: Role(kind, rank=1) for name in names.split()})
    for rank, names in _READY.items():
        words.update({name: Role("signal", "absorption", True, rank) for name in names.split()})
    for channel, groups in _SIGNALS.items():
        for rank, names in enumerate(groups):
            words.update({name: Role("signal", channel, rank != 1, rank)
                          for name in names.split()})
    return words


def split_unit(name: str) -> tuple[str, str]:
    """``energy/eV``, ``Energy (eV)`` and ``energy [eV]`` become the name and its unit."""
    name = name.strip().strip("\"'").strip()
    match = re.fullmatch(r"(.+?)\s*[(\[]([^()\[\]]*)[)\]]", name)
    if match:
        return match[1].strip(), match[2].strip()
    head, slash, tail = name.partition("/")
    if slash and head.strip() and tail.strip():
        return head.strip(), tail.strip()
    return name, ""


def role_of(name: str) -> Role:
    """Meaning of a column called ``name``, unit included."""
    words = _vocabulary()
    label, unit = split_unit(name)
    if not label:
        return IGNORED  # the unnamed first column of a table with row numbers
    key = re.sub(r"[^a-z0-9]", "", label.lower())
    role = words.get(key, UNKNOWN)
    if role is UNKNOWN:
        role = _role_of_parts(label)
    if role is UNKNOWN and unit.lower() in ("ev", "kev"):
        return Role("energy", rank=3)
    if role.kind in ("signal", "itrans") and role_of_word(unit).kind == "i0":
        # TEY/I0: the division is done; It/I0 is a transmission, whose logarithm is not taken
        return Role("signal", role.channel, True, 1) if role.kind == "signal" else UNKNOWN
    return role


def role_of_word(word: str) -> Role:
    """Meaning of a single word, without looking into its parts."""
    return _vocabulary().get(re.sub(r"[^a-z0-9]", "", word.lower()), UNKNOWN)


def _role_of_parts(label: str) -> Role:
    """Meaning of a composed name such as ``ch1_TEY``, ``norm_tey``, ``AbNorm_1251``."""
    roles = [role_of_word(part) for part in re.split(r"[^A-Za-z0-9]+", label) if len(part) > 1]
    if any(role.kind == "ignored" for role in roles):
        return IGNORED
    divided = any(role.kind == "i0" or (role.channel == "absorption" and role.rank == 2)
                  for role in roles)
    raw = [role for role in roles if role.kind == "signal" and role.channel != "absorption"]
    if len(raw) == 1 and divided:
        return Role("signal", raw[0].channel, True, 2)
    meant = {role for role in roles if role.kind != "unknown"}
    if len(meant) == 1:
        (role,) = meant
        return Role(role.kind, role.channel, role.ready, role.rank + 1)
    return UNKNOWN


def channels_in(prose: str) -> set[str]:
    """Ways of measuring that the words of a file's header name; two-letter words are English."""
    roles = [role_of_word(word) for word in re.findall(r"[A-Za-z0-9]{3,}", prose)]
    found = {role.channel for role in roles if role.kind == "signal"}
    if re.search(r"\btransmission\b", prose, re.IGNORECASE):
        found.add("transmission")
    return found - {"absorption", "signal"}
