"""What the command ``generate`` was asked, checked: its options -> a target and a run's options.

``generate`` and ``campaign`` share it, so that a member of a campaign is refused as the command
would refuse it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffxas.command_line import read_target
from diffxas.composition import composition_elements
from diffxas.errors import InputError
from diffxas.spectrum import Spectrum, parse_edge
from samplers.cluster import check_cluster_options
from samplers.geometry import DENSEST, DENSEST_OF_ALL, LOOSEST
from surrogates.commands import edge_of

if TYPE_CHECKING:
    from samplers.setup import GenerateOptions

DEFAULT_PRIOR = "a-C"
FORMATS = ("data", "vasp", "cif")
MOST_ATOMS = 10_000_000

Read = Callable[[Path, str | None, str | None], Spectrum]


def request_of(target: Path | None, parsed: Mapping[str, Any],
               read: Read = read_target) -> tuple[Spectrum | None, GenerateOptions]:
    """The target, read, and the options of the run; models are looked at later.

    Parameters
    ----------
    parsed : options of ``generate`` by name, as click gives them
    read : (file, columns, edge) -> target

    Raises
    ------
    InputError
        If the target cannot be read, or for numbers out of range and options that contradict.
    """
    options = dict(parsed)
    formats = parse_formats(options["formats"])
    options |= parse_density(options["density"])
    if target is None:
        target, more = target_of_guides(options)
        options |= more
    check_request(target, options)
    edge, columns = options["edge"], options.pop("columns")
    if edge is not None:
        parse_edge(edge)
    spectrum = None if target is None else read(target, columns, edge)
    check_device(options["device"])
    if options["device"] != "cpu" and (options.get("workers") or options.get("scheduler")):
        raise InputError(f"--device must be cpu with --workers and --scheduler, received "
                         f"{options['device']}: workers compute on CPUs; leave one of them out")
    from samplers.known_models import surrogate_of_target
    from samplers.setup import GenerateOptions

    of_target = None if spectrum is None else edge_of(spectrum)
    options["surrogate"] = options["surrogate"] or surrogate_of_target(edge or of_target)
    return spectrum, GenerateOptions(**{**options, "formats": formats})


def parse_density(text: str | None) -> dict[str, Any]:
    """``density`` and ``density_prior`` of the options: a number, or what is known of it."""
    from samplers.evidence import DensityPrior

    found = None if text is None else DensityPrior.parse(text)
    if isinstance(found, DensityPrior):
        return {"density": found.middle, "density_prior": found}
    return {"density": found}


def target_of_guides(options: Mapping[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The first ``xanes:FILE[@EDGE[@SURROGATE]]`` as TARGET, and the options that follow.

    Raises
    ------
    InputError
        If the file is not there, or --edge or --surrogate says otherwise.
    """
    first = next((text for text in options["guides"] if text.startswith("xanes:")), None)
    if first is None or not options["guidance"]:
        return None, {}
    name, *said = first.removeprefix("xanes:").split("@")
    if not Path(name).is_file():
        raise InputError(f"xanes: must name a spectrum file, received {name}, which is not there: "
                         f"write --guide xanes:FILE")
    found: dict[str, Any] = {"guides": tuple(g for g in options["guides"] if g != first)}
    for key, value in zip(("edge", "surrogate"), said, strict=False):
        if options[key] not in (None, value):
            raise InputError(f"--{key} must be that of {first}, received {options[key]}: leave it "
                             f"out")
        found[key] = value
    return Path(name), found


def parse_formats(text: str) -> tuple[str, ...]:
    """The comma list of ``--format``.

    Raises
    ------
    InputError
        If one is unknown.
    """
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise InputError(f"--format must be a comma list of {', '.join(FORMATS)}, received "
                         f"{', '.join(unknown)}: write it as --format {','.join(FORMATS)}")
    return names


def check_request(target: Path | None, options: Mapping[str, Any]) -> None:
    """Refuse what is wrong whatever the models say, before anything heavy is imported.

    Raises
    ------
    InputError
        On numbers out of range, or neither a target nor ``--no-guidance``.
    """
    check_cluster_options(options.get("workers"), options.get("scheduler"))
    density, atoms, cell = options["density"], options["atoms"], options["cell"]
    composition = options["composition"]
    elements = ("C",) if composition is None else composition_elements(composition)
    of_carbon = options["edge"] is None or parse_edge(options["edge"])[0] == "C"
    carbon = options["prior"] == DEFAULT_PRIOR and elements == ("C",) and of_carbon
    limit = DENSEST["C"] if carbon else DENSEST_OF_ALL
    if density is not None and not LOOSEST <= density <= limit:
        what = " for carbon" if carbon else ""
        raise InputError(f"--density must be {LOOSEST:g} to at most {limit:g} g/cm3{what}, "
                         f"received {density:g}: amorphous carbon has 1.2 to 3.5")
    if atoms is not None and not 1 <= atoms <= MOST_ATOMS:
        raise InputError(f"--atoms must be 1 to {MOST_ATOMS}, received {atoms}: 216 is usual")
    if cell is not None and not all(0 < edge < math.inf for edge in cell):
        raise InputError(f"--cell must be three lengths above 0 angstrom, received "
                         f"{' '.join(f'{edge:g}' for edge in cell)}: write it as --cell 13 13 13")
    for name, lowest, usual in (("samples", 1, 4), ("steps", 2, 64), ("seed", 0, 0)):
        if options[name] < lowest:
            raise InputError(f"--{name} must be {lowest} or more, received {options[name]}: "
                             f"{usual} is the default")
    if density is None and cell is None and options["start"] is None:
        raise InputError("--density or --cell must be given, received neither: of density, atoms "
                         "and cell any two suffice, such as --density 2.0 --atoms 216")
    restraint = options["relax_restraint"]
    if restraint is not None and not 0 <= restraint < math.inf:
        raise InputError(f"--relax-restraint must be 0 eV/angstrom^2 or more, received "
                         f"{restraint:g}: 1 is gentle, 10 stiff")
    if target is None and options["guidance"] and not options["guides"]:
        raise InputError("TARGET must be a spectrum file, received none: name one, ask for "
                         "something with --guide, or add --no-guidance to sample the prior alone")
    if target is None and options["columns"] is not None:
        raise InputError(f"--columns must go with a TARGET, received {options['columns']!r} "
                         f"without one: leave it out")
    for name in ("exclude", "adsorbates", "reference"):
        if target is None and options[name]:
            raise InputError(f"--{name} must go with a TARGET, received none: leave it out")
    if options["reference"] is not None:
        from surrogates.reference import parse_reference

        parse_reference(options["reference"])


def check_device(device: str) -> None:
    """Refuse a GPU where there is none.

    Raises
    ------
    InputError
        If torch finds no CUDA device.
    """
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise InputError(f"--device must be cpu on this machine, received {device} where torch "
                             f"{torch.__version__} finds no GPU: leave --device out")
