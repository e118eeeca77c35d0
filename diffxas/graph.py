"""Periodic neighbour graphs: every image within the cutoff is an edge.

An edge ``i -> j`` with cell shift ``S`` stands for the vector

    r_ij = x_j - x_i + S @ cell,        |r_ij| < cutoff.

Atoms see their own images, and a pair may be joined by several edges, so cells shorter than twice
the cutoff and oblique cells need no special case (minimum-image formulas are wrong there). The list
is found in O(N) by matscipy; vectors are then computed in torch from positions and cell, so
everything built on them is differentiable in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffxas.structure import Structure

MOST_BOXES = 2_000_000
"""Of the neighbour search's grid, whose memory grows with them (100 MB here)."""


@dataclass(frozen=True)
class Graph:
    """Edges of one or several periodic structures, disjoint.

    Attributes
    ----------
    center : (n_edges,) int64, index i of the atom that receives
    neighbor : (n_edges,) int64, index j of the atom that sends
    shift : (n_edges, 3) float, integer multiples of the lattice vectors
    batch : (n_atoms,) int64, index of the structure that an atom belongs to
    cells : (n_structures, 3, 3) float, angstrom, rows are lattice vectors
    """

    center: Tensor
    neighbor: Tensor
    shift: Tensor
    batch: Tensor
    cells: Tensor

    @property
    def n_atoms(self) -> int:
        """Number of atoms of all structures together."""
        return len(self.batch)

    @property
    def n_structures(self) -> int:
        """Number of structures."""
        return len(self.cells)

    def subset(self, edges: Tensor) -> Graph:
        """The same atoms with only the edges of these indices, (n_kept,) int64."""
        return Graph(self.center[edges], self.neighbor[edges], self.shift[edges], self.batch,
                     self.cells)

    def vectors(self, positions: Tensor, cells: Tensor | None = None) -> Tensor:
        """Edge vectors r_ij, (n_edges, 3), angstrom; differentiable in positions and cells."""
        cells = self.cells if cells is None else cells
        if len(cells) == 1:  # one matrix product instead of a gather
            image = self.shift @ cells[0]
        else:
            image = torch.einsum("es,esc->ec", self.shift, cells[self.batch[self.center]])
        vectors = positions[self.neighbor] - positions[self.center] + image
        assert vectors.shape == (len(self.center), 3)
        return vectors


def neighbors(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges within ``cutoff``: center (n_edges,), neighbor (n_edges,), shift (n_edges, 3).

    Parameters
    ----------
    positions : (n_atoms, 3), angstrom; atoms may lie outside the cell
    cell : (3, 3), angstrom, rows are lattice vectors
    pbc : (3,) bool
    cutoff : angstrom
    """
    from matscipy.neighbours import neighbour_list

    cell = np.ascontiguousarray(cell, dtype=np.float64)
    if not pbc.all():
        cell, positions = _enclosed(positions, cell, pbc, cutoff)
    # matscipy wants the atoms inside the cell; the whole translations found here are put back
    # into the shifts, so that they refer to the positions as given.
    fractional = np.linalg.solve(cell.T, positions.T).T
    home = np.where(pbc, np.floor(fractional), 0.0)
    # A box of its grid is as long as the cutoff: few atoms in a huge cell need longer ones.
    reach = max(float(cutoff), (abs(np.linalg.det(cell)) / MOST_BOXES) ** (1 / 3))
    longer = reach > cutoff
    i, j, shift, *distance = neighbour_list(
        "ijSd" if longer else "ijS", positions=positions - home @ cell, cell=cell, pbc=pbc,
        cutoff=reach
    )
    if longer:
        near = distance[0] < cutoff
        i, j, shift = i[near], j[near], shift[near]
    shift = shift + home[i] - home[j]
    return i.astype(np.int64), j.astype(np.int64), shift


def _enclosed(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give non-periodic directions a lattice vector that encloses the atoms (shifts stay 0)."""
    from ase.geometry import complete_cell

    cell = complete_cell(cell)
    for axis in np.flatnonzero(~pbc):
        others = [k for k in range(3) if k != axis]
        normal = np.cross(cell[others[0]], cell[others[1]])
        normal /= np.linalg.norm(normal)
        height = positions @ normal
        cell[axis] = normal * (np.ptp(height) + 2 * cutoff)
        positions = positions + normal * (cutoff - height.min())
    return cell, positions


def build_graph(
    structures: Structure | Sequence[Structure],
    cutoff: float,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Graph:
    """The graph of one structure or of several side by side; no edge joins two structures.

    Parameters
    ----------
    structures : positions are used as they are, so compute vectors from the same positions
    cutoff : angstrom
    """
    if isinstance(structures, Structure):
        structures = [structures]
    parts, offset = [], 0
    for structure in structures:
        i, j, shift = neighbors(structure.positions, structure.cell, structure.pbc, cutoff)
        parts.append((i + offset, j + offset, shift))
        offset += len(structure)
    center, neighbor, shift = (np.concatenate(column) for column in zip(*parts, strict=True))
    batch = np.repeat(np.arange(len(structures)), [len(s) for s in structures])
    cells = np.stack([s.cell for s in structures])
    return Graph(
        torch.as_tensor(center, device=device),
        torch.as_tensor(neighbor, device=device),
        torch.as_tensor(shift, dtype=dtype, device=device),
        torch.as_tensor(batch, device=device),
        torch.as_tensor(cells, dtype=dtype, device=device),
    )
