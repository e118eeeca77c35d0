"""What a call of the published network costs here: MeshGraphNets of 5 x 200, cutoff 3 angstrom.

Network: T. Pfaff and others, Learning mesh-based simulation with graph networks, arXiv:2010.03409
(2021), section 3.2, in the size that arXiv:2312.05472 takes: five blocks, every network of three
linear maps to 200 numbers with a layer normalisation, 2.0 million parameters. Its weights are
random: a time does not depend on them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffxas.graph import Graph

WIDTH, BLOCKS, CUTOFF = 200, 5, 3.0


def _mlp(n_in: int, n_out: int = WIDTH, normalised: bool = True) -> nn.Module:
    parts: list[nn.Module] = [nn.Linear(n_in, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH),
                              nn.ReLU(), nn.Linear(WIDTH, n_out)]
    return nn.Sequential(*parts, *([nn.LayerNorm(n_out)] if normalised else []))


class MeshGraphNets(nn.Module):
    """Positions to a vector an atom."""

    def __init__(self) -> None:
        super().__init__()
        self.of_nodes, self.of_edges = _mlp(1), _mlp(4)
        self.edges = nn.ModuleList(_mlp(3 * WIDTH) for _ in range(BLOCKS))
        self.nodes = nn.ModuleList(_mlp(2 * WIDTH) for _ in range(BLOCKS))
        self.last = _mlp(WIDTH, 3, normalised=False)

    def forward(self, positions: Tensor, graph: Graph) -> Tensor:
        """``positions`` (n_atoms, 3), angstrom."""
        d = graph.vectors(positions)
        x = self.of_nodes(positions.new_ones(len(positions), 1))
        e = self.of_edges(torch.cat([d, d.norm(dim=1, keepdim=True)], 1))
        for edges, nodes in zip(self.edges, self.nodes, strict=True):
            e = e + edges(torch.cat([e, x[graph.center], x[graph.neighbor]], 1))
            received = torch.zeros_like(x).index_add_(0, graph.center, e)
            x = x + nodes(torch.cat([x, received], 1))
        out: Tensor = self.last(x)
        return out

    @property
    def n_parameters(self) -> int:
        """All of them."""
        return sum(p.numel() for p in self.parameters())
