"""Input decks by Lightshow: M. R. Carbone and others, J. Open Source Softw. 8, 5182 (2023).

Lightshow decides what stands in a deck (k-points, bands, cut-offs, core hole); here it is handed
structures and sites. Its releases pin pymatgen of 2024, so it is installed without its
dependencies, and two names that it imports and newer environments lack are given to it: the client
of the Materials Project, which nothing here asks for anything, and pymatgen's ``DictSet``, which is
``VaspInputSet`` now and drops MAGMOM where ISPIN is not set.

Core-hole potentials of neighbouring images must not meet, so VASP and XSpectra get a supercell with
vectors of 9 angstrom or more, Lightshow's own choice. exciting counts the absorber within its
species, Lightshow within the structure; absorbers go first, so that both mean the same atom. Its
energy window is that of titanium in Lightshow, and is set by the edge here.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from diffxas.edges import edge_energy
from diffxas.errors import InputError
from diffxas.structure import Structure

if TYPE_CHECKING:
    from pymatgen.core import Structure as PymatgenStructure

LIGHTSHOW = "lightshow==1.2.8"
CODES = ("feff", "vasp", "xspectra", "exciting", "ocean")
EDGES = {"feff": ("K", "L1", "L2", "L3"), "vasp": ("K", "L1", "L2", "L3", "L23"),
         "xspectra": ("K", "L1", "L2", "L3", "L23"), "exciting": ("K", "L1", "L2", "L3", "L23"),
         "ocean": ("K", "L1", "L2", "L3", "L23")}
QUANTUM_NUMBERS = {"K": (1, 0), "L1": (2, 0), "L2": (2, 1), "L3": (2, 1), "L23": (2, 1)}
"""n and l of the core level, VASP's CLN and CLL."""
SUPERCELL = 9.0
"""angstrom, the shortest vectors of a cell with a core hole (Lightshow's default)."""
FEFF_RADIUS = {"C:K": 6.5}
"""angstrom, clusters of a-C-FEFF; 9 elsewhere, Lightshow's default."""
LIGHTSHOW_RADIUS = 9.0
CARBON_CARDS = {
    "S02": "1.0", "CONTROL": "1 1 1 1 1 1", "PRINT": "0 0 0 0 0 0", "SCF": "3.0 0 100 0.2",
    "COREHOLE": "FSR", "XANES": "3.6 0.07 0.2", "FMS": "4.2 0", "EXCHANGE": "0 0.0 0.0",
}
"""FEFF's cards of the a-C-FEFF set, so that new labels belong to the same theory."""

ABOVE_EDGE, WINDOW_STEP = 40.0, 0.06
"""eV, end and step of exciting's spectra."""

Deck = tuple[int, Path]


def lightshow(module: str = "lightshow") -> ModuleType:
    """Lightshow, or one of its modules.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _missing_names():
                return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "lightshow":
            raise
        raise InputError(f"decks are written by Lightshow, received an environment without it: "
                         f"`pip install --no-deps {LIGHTSHOW}` (its pins would take pymatgen back "
                         f"to 2024)") from error


@contextmanager
def _missing_names() -> Iterator[None]:
    """What Lightshow imports and this environment lacks, while it imports."""
    from pymatgen.io.vasp import sets

    def dict_set(structure: Any, config: Mapping[str, Any]) -> Any:
        return sets.VaspInputSet(structure, {**config, "INCAR": {"ISPIN": 2, **config["INCAR"]}})

    modules: dict[str, ModuleType] = {}
    if importlib.util.find_spec("mp_api") is None:
        modules = {name: ModuleType(name) for name in ("mp_api", "mp_api.client")}
        modules["mp_api.client"].MPRester = None  # type: ignore[attr-defined]
    absent = not hasattr(sets, "DictSet")
    if absent:
        setattr(sets, "DictSet", dict_set)  # noqa: B010
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        if absent:
            delattr(sets, "DictSet")


def feff_settings(element: str, edge: str, cards: Mapping[str, str], radius: float | None,
                  ) -> dict[str, Any]:
    """FEFF's cards and the cluster's radius, angstrom: of a-C-FEFF for C:K, else Lightshow's.

    ``cards`` replace or add, an empty text removes.

    Raises
    ------
    InputError
        If FEFF has no such card, or SCF or FMS reach beyond the cluster.
    """
    from pymatgen.io.feff.inputs import VALID_FEFF_TAGS

    name = f"{element}:{edge}"
    defaults = (CARBON_CARDS if name == "C:K"
                else lightshow("lightshow.parameters.feff").FEFF_DEFAULT_CARDS)
    for card in cards:
        if card not in VALID_FEFF_TAGS or card in ("EDGE", "ATOMS", "POTENTIALS"):
            raise InputError(f"--card must begin with a card of FEFF, received {card!r}: write "
                             f"--card \"FMS 5.0 0\"; --edge and --radius have their own options")
    chosen = {key: text for key, text in {**defaults, **cards}.items() if text}
    reach = radius if radius is not None else FEFF_RADIUS.get(name, LIGHTSHOW_RADIUS)
    for card in ("SCF", "FMS"):
        if card in chosen and not 0 < _first_number(chosen[card]) <= reach:
            raise InputError(f"{card} must begin with a radius within the cluster's {reach:g} "
                             f"angstrom, received {card} {chosen[card]}: lower it, or raise "
                             f"--radius")
    return {"cards": chosen, "radius": reach}


def _first_number(text: str) -> float:
    try:
        return float(text.split()[0])
    except ValueError:
        return np.nan


def write_code(code: str, folder: Path, structure: Structure, sites: Sequence[int], edge: str,
               settings: Mapping[str, Any]) -> list[Deck]:
    """Write the decks of one structure.

    Parameters
    ----------
    code : of :data:`CODES`
    folder : of the structure; made here
    sites : absorbing atoms, all of one element
    edge : of :data:`EDGES`
    settings : ``cards`` and ``radius`` for FEFF

    Returns
    -------
    site and folder of each; OCEAN has one folder for all sites

    Raises
    ------
    InputError
        If Lightshow does not know an element.
    """
    bare = structure.with_positions(structure.positions)
    writer = WRITERS[code]
    with tempfile.TemporaryDirectory(prefix=".decks-", dir=folder.parent) as name, _quiet():
        places = writer(Path(name), bare, [int(site) for site in sites], edge, settings)
        folder.mkdir()
        for path in sorted(Path(name).iterdir()):
            target = next((place for source, place in places.values() if source == path.name),
                          path.name)
            path.rename(folder / target)
    return [(site, folder / place) for site, (_, place) in places.items()]


Places = dict[int, tuple[str, str]]
"""Site -> the folder that Lightshow gave it and the one that it shall have."""
Writer = Callable[[Path, Structure, list[int], str, Mapping[str, Any]], Places]


def _feff(folder: Path, structure: Structure, sites: list[int], edge: str,
          settings: Mapping[str, Any]) -> Places:
    parameters = lightshow().FEFFParameters(cards=dict(settings["cards"]), edge=edge,
                                            radius=settings["radius"])
    parameters.write(folder, structure_uc=structure.to_pymatgen(), sites=sites)
    return _numbered(structure, sites)


def _vasp(folder: Path, structure: Structure, sites: list[int], edge: str,
          settings: Mapping[str, Any]) -> Places:
    """With the neutral run, whose total energy the core-hole runs are aligned by."""
    cell, mapping = supercell(structure)
    defaults = lightshow("lightshow.defaults")
    n, l_core = QUANTUM_NUMBERS[edge]
    hole = {**defaults.VASP_INCAR_DEFAULT_COREHOLE_POTENTIAL, "CLN": n, "CLL": l_core}
    for incar in (hole, dict(defaults.VASP_INCAR_DEFAULT_NEUTRAL_POTENTIAL)):
        parameters = lightshow().VASPParameters(incar=incar)
        try:
            status = parameters.write(folder, structure_sc=cell, structure_uc=cell, sites=sites,
                                      index_mapping=mapping)
        except KeyError as error:
            raise InputError(f"Lightshow must know the valence electrons of every element for "
                             f"VASP, received {error.args[0]}: choose another --code") from error
        if not status["pass"]:
            raise InputError(f"VASP_POTCAR_DIRECTORY must hold the potential of every element, "
                             f"received one without {status['errors']}: unset it to write decks "
                             f"without POTCAR")
    return _numbered(structure, sites)


def _xspectra(folder: Path, structure: Structure, sites: list[int], edge: str,
              settings: Mapping[str, Any]) -> Places:
    cell, mapping = supercell(structure)
    module = lightshow("lightshow.parameters.xspectra")
    cards = deepcopy(module.XSPECTRA_DEFAULT_CARDS)
    parameters = module.XSpectraParameters(cards=cards, edge=edge)
    parameters.write(folder, structure_sc=cell, sites=sites, index_mapping=mapping)
    return _numbered(structure, sites)


def _exciting(folder: Path, structure: Structure, sites: list[int], edge: str,
              settings: Mapping[str, Any]) -> Places:
    absorbing = structure.numbers == structure.numbers[sites[0]]
    order = np.argsort(~absorbing, kind="stable")
    first = Structure(structure.positions[order], structure.numbers[order], structure.cell,
                      structure.pbc)
    rank = {int(site): k for k, site in enumerate(order)}
    module = lightshow("lightshow.parameters.exciting")
    cards = deepcopy(module.EXCITING_DEFAULT_CARDS)
    cards["xs"]["energywindow"] = energy_window(structure.symbols[sites[0]], edge)
    parameters = module.EXCITINGParameters(cards=cards, edge=edge)
    parameters.write(folder, structure_uc=first.to_pymatgen(), sites=[rank[s] for s in sites])
    names = _numbered(structure, sites)
    symbol = structure.symbols[sites[0]]
    return {site: (f"{rank[site]:03}_{symbol}", names[site][1]) for site in sites}


def _ocean(folder: Path, structure: Structure, sites: list[int], edge: str,
           settings: Mapping[str, Any]) -> Places:
    lightshow().OCEANParameters(edge=edge).write(folder, structure_uc=structure.to_pymatgen(),
                                                 sites=sites)
    symbol = structure.symbols[sites[0]]
    return {site: (symbol, symbol) for site in sites}


WRITERS: Mapping[str, Writer] = {"feff": _feff, "vasp": _vasp, "xspectra": _xspectra,
                                 "exciting": _exciting, "ocean": _ocean}


def supercell(structure: Structure) -> tuple[PymatgenStructure, dict[int, int]]:
    """Repeated until every vector has 9 angstrom, elements together; old index -> new index."""
    from pymatgen.core import Element

    times = np.ceil(SUPERCELL / np.linalg.norm(structure.cell, axis=1) - 1e-9).astype(int)
    atoms = structure.to_atoms().repeat(np.maximum(times, 1))
    order = np.argsort([Element(s).X for s in atoms.get_chemical_symbols()], kind="stable")
    place = np.argsort(order, kind="stable")
    return (Structure.from_atoms(atoms[order]).to_pymatgen(),
            {site: int(place[site]) for site in range(len(structure))})


def energy_window(element: str, edge: str) -> dict[str, str]:
    """exciting's window, hartree: DFT puts core levels up to 7 % above the tabulated edge."""
    from ase.units import Hartree

    energy = edge_energy(element, edge)
    low, high = 0.92 * energy, energy + ABOVE_EDGE
    return {"intv": f"{low / Hartree:.3f} {high / Hartree:.3f}",
            "points": str(round((high - low) / WINDOW_STEP))}


def missing_files(code: str, folder: Path, decks: Sequence[Path], symbols: Sequence[str],
                  absorber: str) -> dict[Path, list[str]]:
    """Files that a structure's runs need and that are not beside their decks, by folder."""
    elements = sorted(set(symbols))
    if code == "vasp":
        needed = {deck: ["POTCAR"] for deck in (folder / "SCF", *decks)}
    elif code == "xspectra":
        needed = {folder: [*(f"{e}.upf" for e in elements), f"{absorber}.fch.upf",
                           f"Core_{absorber}.wfc"]}
    elif code == "exciting" and "SPECIES_DIRECTORY" not in os.environ:
        needed = {deck: [f"{e}.xml" for e in elements] for deck in decks}
    elif code == "ocean":
        needed = {deck: [f"norm-conserving pseudopotential of {e}" for e in elements]
                  for deck in dict.fromkeys(decks)}
    else:
        needed = {}
    return {place: absent for place, names in needed.items()
            if (absent := [name for name in names if not (place / name).exists()])}


WHERE_FROM = {
    "vasp": "POTCAR: VASP's potentials come with its licence. POTCAR is one file, the potentials "
            "in the order of POSCAR's elements, the absorber first; Lightshow's choice is "
            "ELEMENT_GW (C_GW, Ti_sv_GW, ...). With VASP_POTCAR_DIRECTORY set, decks are written "
            "with it.",
    "xspectra": "ELEMENT.upf: pseudopotentials for Quantum ESPRESSO, such as SSSP; raise ecutwfc "
                "and ecutrho in gs.in and es.in to what they ask. ELEMENT.fch.upf and "
                "Core_ELEMENT.wfc: one with a core hole and the core wave function (QE's "
                "ld1.x and upf2plotcore.sh make them). With XS_CHPSP_DIRECTORY set, the last two "
                "are copied.",
    "exciting": "ELEMENT.xml: species files from exciting's own species/ folder. With "
                "SPECIES_DIRECTORY set, decks point to it.",
    "ocean": "OCEAN takes pseudopotentials from the database that was installed with it; name "
             "others in ocean.in (ppdir, pp_list).",
}


def _numbered(structure: Structure, sites: Sequence[int]) -> Places:
    symbols = structure.symbols
    names = {site: f"{site:03}_{symbols[site]}" for site in sites}
    return {site: (name, name) for site, name in names.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightshow's warnings of absent potentials, which the note says better.

    XS_PSP_DIRECTORY alone is no use to Lightshow, which then fails for want of a table.
    """
    unusable = os.environ.pop("XS_PSP_DIRECTORY", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if unusable is not None:
            os.environ["XS_PSP_DIRECTORY"] = unusable
