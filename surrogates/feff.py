"""One FEFF run: what its ``feff.inp`` asked and what its ``xmu.dat`` says.

J. J. Rehr and others, Phys. Chem. Chem. Phys. 12, 5503 (2010). ``feff.inp`` holds cards (their
first four letters count), the unique potentials, and a cluster of atoms about the absorber,
potential 0. ``xmu.dat`` has the columns omega (eV, FEFF's own scale), e, k, mu, mu0, chi; mu is in
units of the edge step, whose size stands in the header as ``xsedge``.

A run is finished if its table reaches the wave number that the XANES card asked for and the
potentials converged (``log1.dat``, where there is one).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffxas.structure import Structure

INPUT, OUTPUT, LOG = "feff.inp", "xmu.dat", "log1.dat"
EDGES = ("K", "L1", "L2", "L3")
NAMES = ("ATOMS", "POTENTIALS", "EDGE", "HOLE", "XANES", "EXAFS", "EXCHANGE", "SCF", "FMS",
         "COREHOLE", "RPATH", "RMULTIPLIER", "EGRID", "TITLE", "CONTROL", "PRINT", "NOHOLE",
         "DEBYE", "POLARIZATION", "ELLIPTICITY", "INTERSTITIAL", "OVERLAP", "FOLP", "AFOLP",
         "CRITERIA", "CORRECTIONS", "UNFREEZEF", "NLEG", "SIG2", "TARGET")
CANONICAL = {name[:4]: name for name in NAMES}
NO_THEORY = frozenset({"TITLE", "CONTROL", "PRINT", "ATOMS", "POTENTIALS", "EDGE", "HOLE", "END",
                       "TARGET", "CFAVERAGE", "RMULTIPLIER"})
"""Cards that say nothing of the theory, or are told apart otherwise."""
LAST_STEPS = 1.5
"""FEFF's grid ends within so many steps of the asked wave number."""
FEWEST = 20


class Unfinished(Exception):
    """Why a run gives no spectrum, in a few words."""


@dataclass(frozen=True, eq=False)
class FeffInput:
    """A ``feff.inp``.

    Attributes
    ----------
    cards : by FEFF's full name, with the rest of the line
    cluster : the atoms, absorber first, not periodic; the cell has the volume of their sphere
    element, edge : of the absorber
    """

    cards: Mapping[str, str]
    cluster: Structure
    element: str
    edge: str

    @property
    def theory(self) -> dict[str, str]:
        """The cards that two runs of one theory share; numbers in one notation."""
        return {name: " ".join(_number(word) for word in text.split())
                for name, text in sorted(self.cards.items()) if name not in NO_THEORY}


@dataclass(frozen=True, eq=False)
class FeffSpectrum:
    """A finished run.

    Attributes
    ----------
    energy : (n_points,), eV, rising
    mu : (n_points,), edge steps
    k : (n_points,), 1/angstrom
    edge_step : angstrom^2 (``xsedge``); NaN if the header does not say
    """

    energy: np.ndarray
    mu: np.ndarray
    k: np.ndarray
    edge_step: float


def read_input(folder: Path) -> FeffInput:
    """The ``feff.inp`` of a folder.

    Raises
    ------
    Unfinished
        If it is absent or holds no cluster that can be read.
    """
    path = folder / INPUT
    if not path.is_file():
        raise Unfinished(f"no {INPUT}")
    cards, blocks = _cards(path.read_text(encoding="utf-8", errors="replace"))
    try:
        charges = {int(row[0]): int(row[1]) for row in blocks.get("POTENTIALS", [])}
        atoms = [(*map(float, row[:3]), int(row[3])) for row in blocks.get("ATOMS", [])]
        scale = float(cards.get("RMULTIPLIER", "1").split()[0])
    except (ValueError, IndexError) as error:
        raise Unfinished(f"{INPUT}: POTENTIALS or ATOMS cannot be read ({error})") from error
    absorbers = [k for k, atom in enumerate(atoms) if atom[3] == 0]
    if len(absorbers) != 1:
        raise Unfinished(f"{INPUT}: {len(absorbers)} atoms of potential 0, the absorber, not one")
    unknown = {atom[3] for atom in atoms} - set(charges)
    if unknown:
        raise Unfinished(f"{INPUT}: potential {min(unknown)} of an atom is not in POTENTIALS")
    order = [absorbers[0], *(k for k in range(len(atoms)) if k != absorbers[0])]
    positions = scale * np.array([atoms[k][:3] for k in order])
    numbers = np.array([charges[int(atoms[k][3])] for k in order])
    cluster = _cluster(positions, numbers)
    return FeffInput(cards, cluster, cluster.symbols[0], _edge(cards))


def read_spectrum(folder: Path, cards: Mapping[str, str]) -> FeffSpectrum:
    """The ``xmu.dat`` of a folder whose ``feff.inp`` has these cards.

    Raises
    ------
    Unfinished
        If it is absent, cut short or not a spectrum, or the potentials did not converge.
    """
    path = folder / OUTPUT
    if not path.is_file():
        raise Unfinished(f"no {OUTPUT}: not run, or not to the end")
    text = path.read_text(encoding="utf-8", errors="replace")
    rows = [line.split() for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    if not text.endswith("\n") or any(len(row) != 6 for row in rows):
        raise Unfinished(f"{OUTPUT} is cut short: its last line is not whole")
    try:
        table = np.array(rows, dtype=float)
    except ValueError as error:
        raise Unfinished(f"{OUTPUT}: {error}") from error
    if len(table) < FEWEST:
        raise Unfinished(f"{OUTPUT} is cut short: {len(table)} energies")
    energy, k, mu = table[:, 0], table[:, 2], table[:, 3]
    if not np.isfinite(table).all() or not (np.diff(energy) > 0).all():
        raise Unfinished(f"{OUTPUT}: energies that do not rise, or numbers that are not finite")
    if mu.max() <= 0:
        raise Unfinished(f"{OUTPUT}: no absorption")
    asked = _asked(cards)
    if asked is not None and k[-1] < asked[0] - LAST_STEPS * asked[1]:
        raise Unfinished(f"{OUTPUT} is cut short: it ends at k = {k[-1]:.2f}, XANES asks for "
                         f"{asked[0]:g}")
    step = re.search(r"xsedge\+?\s*\d*,\s*used to normalize mu\s+(\S+)", text)
    return FeffSpectrum(energy, mu, k, float(step.group(1)) if step else np.nan)


def converged(folder: Path) -> bool:
    """Whether the log says that the potentials converged; True where it says nothing of them."""
    path = folder / LOG
    if not path.is_file():
        return True
    log = path.read_text(encoding="utf-8", errors="replace")
    return "SCF ITERATION NUMBER" not in log or "Convergence reached" in log


def _cards(text: str) -> tuple[dict[str, str], dict[str, list[list[str]]]]:
    """Cards with the rest of their lines; rows below ATOMS, POTENTIALS, EGRID, OVERLAP."""
    cards: dict[str, str] = {}
    blocks: dict[str, list[list[str]]] = {}
    current = ""
    for line in text.splitlines():
        words = re.split(r"[*!]", line, maxsplit=1)[0].split()
        if not words:
            continue
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", words[0]) and not words[0].endswith("_grid"):
            current = CANONICAL.get(words[0].upper()[:4], words[0].upper())
            if current == "END":
                break
            cards[current] = " ".join(words[1:])
        elif current in ("ATOMS", "POTENTIALS"):
            blocks.setdefault(current, []).append(words)
        elif current:
            cards[current] = f"{cards[current]} {' '.join(words)}".strip()
    return cards, blocks


def _edge(cards: Mapping[str, str]) -> str:
    """``EDGE K``, ``EDGE 1`` or ``HOLE 1 1.0``; K where nothing is said."""
    word = (cards.get("EDGE") or cards.get("HOLE") or "K").split()[0].upper()
    if word.isdigit() and 1 <= int(word) <= len(EDGES):
        return EDGES[int(word) - 1]
    if word not in EDGES:
        raise Unfinished(f"{INPUT}: edge {word} is none of {', '.join(EDGES)}")
    return word


def _asked(cards: Mapping[str, str]) -> tuple[float, float] | None:
    """Last wave number and step of the XANES card (1/angstrom); None where EGRID replaces it."""
    if "XANES" not in cards or "EGRID" in cards:
        return None
    words = cards["XANES"].split()
    try:
        return (float(words[0]) if words else 8.0), (float(words[1]) if len(words) > 1 else 0.07)
    except ValueError as error:
        raise Unfinished(f"{INPUT}: XANES {cards['XANES']} cannot be read") from error


def _cluster(positions: np.ndarray, numbers: Sequence[int] | np.ndarray) -> Structure:
    """Not periodic; the cell is a cube of the sphere's volume, so that the density means something.
    """
    reach = float(np.linalg.norm(positions - positions[0], axis=1).max(initial=1.0))
    side = (4 / 3 * np.pi) ** (1 / 3) * reach
    return Structure(positions - positions[0], np.asarray(numbers), side * np.eye(3),
                     pbc=np.zeros(3, dtype=bool))


def _number(word: str) -> str:
    try:
        return f"{float(word):g}"
    except ValueError:
        return word
