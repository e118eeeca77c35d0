"""e3nn's layers behind the interface of the lean ones, so that tiles run on a GPU too.

The loops of :mod:`diffxas.lean` are for a CPU. Elsewhere a tile takes the layers of
:mod:`diffxas.network` as they are, all its edges at once: memory is that of one tile's messages
(some 1.5 kB an edge), whatever the size of the cell. Features pass from layer to layer component
by component, as there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from diffxas.atom_products import DIMS
from diffxas.graph import Graph
from diffxas.lean import Edges, Features, Trunk

if TYPE_CHECKING:
    from diffxas.network import EquivariantNetwork, Interaction


class PlainLayer:
    """One layer; see :class:`diffxas.lean.LeanLayer`."""

    def __init__(self, network: EquivariantNetwork, number: int) -> None:
        self.layer = cast("Interaction", network.layers[number])
        self.radial = network.radial
        self.channels = [mul for mul, _ in network.irreps_out]
        self.repeats = [mul for _, mul in self.layer.repeats]

    def __call__(self, x: Features, edges: Edges, c: Tensor) -> Features:
        """Features of the centres after the layer.

        Parameters
        ----------
        x : of the centres and then of any others that send
        c : (n_centres, n_condition)
        """
        n, flat = edges.n_centres, Trunk.end(x)
        # What the layer makes of the others is not used: any condition does.
        every = torch.cat([c, c.new_zeros(len(flat) - n, c.shape[1])])
        none = edges.center.new_zeros(0)
        graph = Graph(edges.center, edges.neighbor, edges.vectors.new_zeros(0, 3), none,
                      edges.vectors.new_zeros(1, 3, 3))
        out = self.layer(flat, graph, *self.radial(edges.vectors), every)[:n]
        parts = out.split([mul * dim for mul, dim in zip(self.channels, DIMS, strict=True)], 1)
        return Features(*(part.reshape(n, mul, dim).transpose(1, 2) for part, mul, dim in zip(
            parts, self.channels, DIMS, strict=True)))


class PlainNetwork(Trunk):
    """The trunk; see :class:`diffxas.lean.LeanNetwork`."""

    def __init__(self, network: EquivariantNetwork) -> None:
        super().__init__(network)
        self.layers = [PlainLayer(network, k) for k in range(network.n_layers)]
