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
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from diffxas.errors import InputError
from diffxas.structure import Structure

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from torch import Tensor

NEAREST = 1e-3
"""angstrom; pairs nearer than this are no edges: the networks divide by their distance."""


def matgl_calculator(folder: str, elements: Collection[str]) -> Calculator:
    """The ASE calculator of the matgl model in ``folder``.

    Raises
    ------
    InputError
        If the folder holds no matgl potential, or the model lacks one of the elements.
    """
    return _load(_checked(folder, elements))


def _checked(folder: str, elements: Collection[str]) -> str:
    """The folder's full path; refused if it holds no potential of the elements."""
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
    return str(config.parent.resolve())


class MatglEnergy:
    """Energies of atoms by a matgl potential, differentiable in positions and cell.

    Parameters
    ----------
    folder : of the potential
    elements : chemical symbols of the structures

    Raises
    ------
    InputError
        As :func:`matgl_calculator`.
    """

    def __init__(self, folder: str, elements: Collection[str]) -> None:
        self.folder = _checked(folder, elements)
        self.potential = _load(self.folder).potential.eval().requires_grad_(False)

    def __call__(self, positions: Tensor, structure: Structure,
                 cell: Tensor | None = None) -> Tensor:
        """Energies whose sum is that of the structure, (n_atoms,), eV, in the model's precision.

        Of models that know no energies of atoms the mean, for every atom.

        Parameters
        ----------
        positions : (n_atoms, 3), angstrom
        structure : gives species, periodic directions and, by default, the cell
        cell : (3, 3), angstrom, rows are lattice vectors, if a gradient in it is wanted
        """
        import torch

        from diffxas.graph import build_graph

        network, dtype = self.potential.model, self.potential.data_mean.dtype
        given = structure.cell if cell is None else cell.detach().cpu().double().numpy()
        placed = Structure(positions.detach().cpu().double().numpy(), structure.numbers, given,
                           structure.pbc)
        graph = build_graph(placed, float(network.cutoff), dtype=dtype)
        lattice = graph.cells[0] if cell is None else cell.to(dtype)
        positions = positions.to(dtype)
        with torch.no_grad():  # two atoms on one spot have no direction
            apart = graph.vectors(positions, lattice[None]).norm(dim=1) > NEAREST
        # matgl counts triples by runs of edges of one centre.
        order = torch.argsort(graph.center, stable=True)
        order = order[apart[order]]
        species = torch.tensor([network.element_types.index(s) for s in structure.symbols])
        atoms = SimpleNamespace(
            node_type=species, pos=positions, num_nodes=len(structure), batch=None, num_graphs=1,
            edge_index=torch.stack([graph.center[order], graph.neighbor[order]]),
            pbc_offshift=graph.shift[order] @ lattice)
        return self._energies(atoms)

    def _energies(self, atoms: SimpleNamespace) -> Tensor:
        """Energies of the atoms of a graph, (n_atoms,), eV."""
        potential, seen = self.potential, []
        hook = potential.model.final_layer.register_forward_hook(
            lambda _module, _inputs, output: seen.append(output.reshape(-1)))
        try:
            total = potential.model(g=atoms, state_attr=None, l_g=None).reshape(())
        finally:
            hook.remove()
        n = atoms.num_nodes
        shared = potential.data_mean
        if potential.calc_repuls:
            shared = shared + potential.repuls(potential.model.element_types, atoms).reshape(())
        of_atoms = len(seen) == 1 and len(seen[0]) == n and n > 1
        energies = seen[0] if of_atoms else total.expand(n) / n
        energies = potential.data_std * energies + shared / n
        if potential.element_refs is not None:
            energies = energies + potential.element_refs.property_offset[atoms.node_type]
        assert energies.shape == (n,)
        return energies


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
