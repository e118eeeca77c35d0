"""Pretrained graph potentials of matgl (Ko and others, npj Comput. Mater. 11, 253, 2025) for ASE.

Energies are in eV, forces in eV/angstrom, stresses in eV/angstrom^3; the networks compute in
float32, so forces below a few 1e-3 eV/angstrom are noise.
"""

from __future__ import annotations

import functools
import json
import logging
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffxas.errors import InputError

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


def matgl_calculator(folder: str, elements: Collection[str]) -> Calculator:
    """The ASE calculator of the matgl model in ``folder``.

    Raises
    ------
    InputError
        If the folder holds no matgl potential, or the model lacks one of the elements.
    """
    config = Path(folder).expanduser() / "model.json"
    try:
        described = json.loads(config.read_text(encoding="utf-8"))
        known = described["kwargs"]["model"]["init_args"]["element_types"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"matgl:FOLDER must name a folder with model.json, model.pt and state.pt "
                         f"of a matgl potential, received {folder!r} ({type(error).__name__}): "
                         f"check the path") from error
    missing = sorted(set(elements) - set(known))
    if missing:
        raise InputError(f"the elements must be ones that the model {folder} knows, received "
                         f"{', '.join(missing)}: choose another model")
    return _load(str(config.parent.resolve()))


@functools.lru_cache(maxsize=2)
def _load(folder: str) -> Any:
    """Load once a process: torch and matgl take seconds."""
    logging.getLogger("matgl").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matgl
        from matgl.ext.ase import PESCalculator

        try:
            model = matgl.load_model(folder)
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            raise InputError(f"matgl:FOLDER must name a potential that matgl {matgl.__version__} "
                             f"loads, received {folder} ({error.__cause__ or error}): "
                             f"use another model or matgl version") from error
    return PESCalculator(model, stress_unit="eV/A3", use_voigt=True)
