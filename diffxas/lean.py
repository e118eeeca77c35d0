r"""The network of :mod:`diffxas.network` for use rather than training: the same function, faster.

Features are kept component by component, a tensor for each l of (n_atoms, 2 l + 1, channels), so
that a linear map that mixes channels is one matrix product. The message

    m_i = sum_j f(r_ij) W(r_ij, s_i, s_j, c_i) * [L x_j (x) Y(r_ij)]

has some 350 numbers an edge, which written out for all edges cost more to move than to compute.
Here edges are taken in blocks of centres: the radial network's matrix products are torch's, and
products with Y are added to the sum of their centre at once by compiled loops
(:mod:`diffxas.edge_sums`). Derivatives are taken likewise, from what is computed again block by
block: memory does not grow with the number of edges, forwards or backwards. Sums run in the order
of the edges in one thread, so the same edges give the same bits.

Centres may be fewer than the atoms that send: they are the first rows of the features. That is what
a tile of a large cell needs (:mod:`diffxas.tiled`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from e3nn import o3
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, pad, silu

from diffxas.atom_products import AtomProducts

if TYPE_CHECKING:
    from diffxas.network import EquivariantNetwork, Interaction

EDGES_AT_ONCE = 1024
"""About so many edges a block: their weights (0.6 MB) stay in the cache."""
LANES = 16
"""Numbers in single precision that a processor takes at once."""


class Features(NamedTuple):
    """Features of atoms: (n_atoms, 1, channels), (n_atoms, 3, ...) and (n_atoms, 5, ...)."""

    scalars: Tensor
    vectors: Tensor
    tensors: Tensor

    def first(self, n: int) -> Features:
        """Those of the first ``n`` atoms."""
        return Features(*(block[:n] for block in self))

    def rows(self, which: Tensor) -> Features:
        """Those of some atoms."""
        return Features(*(block.index_select(0, which) for block in self))


class Geometry(NamedTuple):
    """Of edges: radial basis (n_edges, n_basis), envelope (n_edges,), harmonics (n_edges, 9)."""

    basis: Tensor
    fade: np.ndarray
    harmonics: np.ndarray

    def part(self, first: int, last: int) -> Geometry:
        """Of edges ``first`` to ``last``."""
        return Geometry(self.basis[first:last], self.fade[first:last], self.harmonics[first:last])


@dataclass(frozen=True)
class Edges:
    """Edges sorted by centre.

    Attributes
    ----------
    start : (n_centres + 1,) int64, numpy; the edges of centre i are ``start[i]:start[i + 1]``
    center : (n_edges,) int64, rising
    neighbor : (n_edges,) int64, rows of the features that are sent
    vectors : (n_edges, 3), angstrom, from the centre to the neighbour
    geometry : what the radial part says of all edges, if it is kept for all layers
    """

    start: np.ndarray
    center: Tensor
    neighbor: Tensor
    vectors: Tensor
    geometry: Geometry | None = None

    @classmethod
    def of(cls, center: Tensor, neighbor: Tensor, vectors: Tensor, n_centres: int) -> Edges:
        """Sort edges by centre, where they are not."""
        if len(center) > 1 and not bool((center[1:] >= center[:-1]).all()):
            order = torch.argsort(center, stable=True)
            center, neighbor, vectors = center[order], neighbor[order], vectors[order]
        start = np.zeros(n_centres + 1, dtype=np.int64)
        np.cumsum(torch.bincount(center, minlength=n_centres).numpy(), out=start[1:])
        return cls(start, center, neighbor, vectors)

    @property
    def n_centres(self) -> int:
        """Number of atoms that receive."""
        return len(self.start) - 1

    def blocks(self) -> list[tuple[int, int]]:
        """Ranges of centres with about EDGES_AT_ONCE edges each."""
        bounds, first = [], 0
        while first < self.n_centres:
            last = int(np.searchsorted(self.start, self.start[first] + EDGES_AT_ONCE, "right")) - 1
            last = min(max(last, first + 1), self.n_centres)
            bounds.append((first, last))
            first = last
        return bounds


Matrices = list[Tensor | None]


class LeanLayer:
    """One layer; see :class:`diffxas.network.Interaction`, whose weights it holds."""

    def __init__(self, layer: Interaction, radial: Any) -> None:
        self.layer, self.radial = layer, radial
        self.scale = layer.scale
        self.up, self.gather = _matrices(layer.up), _matrices(layer.gather)
        self.keep, self.skip = _matrices(layer.keep), _matrices(layer.skip)
        self.down, self.mix_linear = _matrices(layer.down), _matrices(layer.mix_linear)
        self.mix_product = _matrices(layer.mix_product)
        sent = [mul for mul, _ in layer.product_on_edges.irreps_in1]
        self.sizes = (*sent, 0, 0)[:5]  # the first layer sends scalars alone
        self.products = AtomProducts(layer.product_on_nodes)
        self.repeats = [mul for _, mul in layer.repeats]
        real = radial.basis.centers.numpy().dtype.type
        self.lengths = tuple(real(x) for x in (radial.basis.width, radial.cutoff, radial.core))
        self.from_basis = layer.from_basis.weight.detach().T
        weights = layer.to_weights.weight.detach().T
        # Rows of whole registers: the product takes a tenth less.
        self.to_weights = pad(weights, (0, -weights.shape[1] % LANES))

    def __call__(self, x: Features, edges: Edges, c: Tensor) -> Features:
        """Features of the centres after the layer.

        Parameters
        ----------
        x : of the centres and then of any others that send
        c : (n_centres, n_condition)
        """
        n, layer = edges.n_centres, self.layer
        s = x.scalars[:, 0]
        to_center = linear(torch.cat([s[:n], c], 1), layer.from_center.weight,
                           layer.from_basis.bias)
        sent = _linear(x, self.up)
        m = Features(*_Messages.apply(*sent, to_center, layer.from_neighbor(s), edges.vectors,
                                      edges, self))
        x = x.first(n)
        gathered = [None if a is None else a * self.scale for a in _mapped(m, self.gather)]
        h = _sum(gathered, _mapped(x, self.keep))
        h = Features(silu(h.scalars), h.vectors, h.tensors)
        products = Features(*self.products(*_linear(h, self.down)))
        update = [a + b for a, b in zip(_linear(h, self.mix_linear),
                                        _linear(products, self.mix_product), strict=True)]
        gate = torch.tanh(layer.gate(torch.cat([h.scalars[:, 0], c], 1)))[:, None]
        gates = gate.split(self.repeats, -1)
        gated = [g * one for g, one in zip(gates, update, strict=True)]
        return _sum(_mapped(x, self.skip), gated)

    def geometry(self, edges: Edges) -> Geometry:
        """What the radial part says of all edges."""
        made = self.room(len(edges.vectors), edges.vectors)
        self.write_geometry(edges.vectors.detach().numpy(), made)
        return made

    def room(self, n: int, like: Tensor) -> Geometry:
        """For what the radial part says of ``n`` edges."""
        return Geometry(like.new_empty(n, len(self.radial.basis.centers)),
                        like.new_empty(n).numpy(), like.new_empty(n, 9).numpy())

    def write_geometry(self, vectors: np.ndarray, made: Geometry) -> None:
        """What the radial part says of ``vectors`` (n_edges, 3), in one loop."""
        from diffxas.edge_sums import geometry

        geometry(vectors, *self.lengths, made.basis.numpy(), made.fade, made.harmonics)

    def geometry_back(self, vectors: Tensor, d_exponents: Tensor, d_fade: np.ndarray,
                      d_y: np.ndarray, d_vectors: Tensor) -> None:
        """The derivative of :meth:`geometry`, written to ``d_vectors``."""
        from diffxas.edge_sums import geometry_back

        geometry_back(vectors.numpy(), *self.lengths, d_exponents.numpy(), d_fade, d_y,
                      d_vectors.numpy())


def _matrices(module: o3.Linear) -> Matrices:
    """(channels out, channels in) of every l, blocks of one l side by side; None where none."""
    ins, outs = module.irreps_in, module.irreps_out
    found: list[Tensor | None] = []
    for degree in range(3):
        rows = [k for k, (_, ir) in enumerate(ins) if ir.l == degree]
        columns = [k for k, (_, ir) in enumerate(outs) if ir.l == degree]
        if not rows or not columns:
            found.append(None)
            continue
        weights = {(i.i_in, i.i_out): view * i.path_weight
                   for i, view in zip(module.instructions, module.weight_views(), strict=True)}
        found.append(torch.cat([torch.cat([weights[a, b] for b in columns], 1) for a in rows], 0)
                     .T.contiguous())
    return found


def _mapped(x: Features, matrices: Matrices) -> list[Tensor | None]:
    """The map of every l; None where there is none."""
    return [None if w is None or block.shape[2] == 0 else linear(block, w)
            for block, w in zip(x, matrices, strict=True)]


def _linear(x: Features, matrices: Matrices) -> Features:
    """The map; (n_atoms, components, 0) where it has no such l."""
    return Features(*(block.new_zeros(len(block), block.shape[1], 0) if out is None else out
                      for block, out in zip(x, _mapped(x, matrices), strict=True)))


def _sum(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> Features:
    """The sum of what is there; of every l there is one or the other."""
    parts = [[part for part in pair if part is not None] for pair in zip(one, other, strict=True)]
    return Features(*(there[0] if len(there) == 1 else there[0] + there[1] for there in parts))


class _Messages(torch.autograd.Function):
    """The sum; gradients to features, hidden parts and vectors, none to the layer's weights."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, v: Tensor, t: Tensor, to_center: Tensor, to_neighbor: Tensor,
                vectors: Tensor, edges: Edges, lean: LeanLayer) -> tuple[Tensor, ...]:
        from diffxas.edge_sums import compiled_gather

        s, v, t = s.contiguous(), v.contiguous(), t.contiguous()
        ctx.save_for_backward(s, v, t, to_center, to_neighbor, vectors)
        ctx.rest = edges, lean
        n0, n1, n2, nv, nt = lean.sizes
        gather = compiled_gather(*lean.sizes)
        n = edges.n_centres
        out = tuple(s.new_empty(n, dim, mul)
                    for dim, mul in ((1, n0 + nv + nt), (3, n1 + nv), (5, n2 + nt)))
        sent = [x.flatten(1).numpy() for x in (s, v, t)]
        received = [x.flatten(1).numpy() for x in out]
        bias = lean.layer.to_weights.bias.numpy()
        start, neighbor = edges.start, edges.neighbor.numpy()
        radial = _Radial(lean, to_center, to_neighbor, edges, vectors)
        weights = s.new_empty(radial.most, lean.to_weights.shape[1])
        for first, last in radial.blocks:
            geometry, hidden = radial(first, last)
            some = weights[:len(hidden)]
            torch.mm(silu(hidden, inplace=True), lean.to_weights, out=some)
            gather(start, first, last, neighbor, *sent, some.numpy(), bias, geometry.fade,
                   geometry.harmonics, *received)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        from diffxas.edge_sums import compiled_scatter

        s, v, t, to_center, to_neighbor, vectors = ctx.saved_tensors
        edges, lean = ctx.rest
        scatter = compiled_scatter(*lean.sizes)
        d = [torch.zeros_like(one) for one in (s, v, t)]
        d_center, d_neighbor = torch.zeros_like(to_center), torch.zeros_like(to_neighbor)
        d_vectors = torch.empty_like(vectors)
        sent, of_sent, given = ([x.contiguous().flatten(1).numpy() for x in blocks]
                                for blocks in ((s, v, t), d, gradients))
        layer, neighbor = lean.layer, edges.neighbor.numpy()
        radial = _Radial(lean, to_center, to_neighbor, edges, vectors)
        for first, last in radial.blocks:
            part = slice(int(edges.start[first]), int(edges.start[last]))
            (basis, fade, harmonics), before = radial(first, last)
            gate = torch.sigmoid(before)
            hidden = before * gate
            weights = layer.to_weights(hidden)
            d_weights = torch.empty_like(weights)
            d_fade, d_y = np.empty_like(fade), np.empty_like(harmonics)
            scatter(edges.start, first, last, neighbor, *sent, weights.numpy(), fade, harmonics,
                    *given, d_weights.numpy(), d_fade, d_y, *of_sent)
            d_hidden = d_weights @ layer.to_weights.weight
            d_before = d_hidden * (gate + hidden * (1 - gate))
            d_center.index_add_(0, edges.center[part], d_before)
            d_neighbor.index_add_(0, edges.neighbor[part], d_before)
            d_exponents = (d_before @ layer.from_basis.weight).mul_(basis)
            lean.geometry_back(vectors[part], d_exponents, d_fade, d_y, d_vectors[part])
        return (*d, d_center, d_neighbor, d_vectors, None, None)


class _Radial:
    """The radial network of one block of edges after another, in the same room.

    Attributes
    ----------
    blocks : ranges of centres
    most : edges of a block
    """

    def __init__(self, lean: LeanLayer, to_center: Tensor, to_neighbor: Tensor, edges: Edges,
                 vectors: Tensor) -> None:
        self.lean, self.start, self.kept = lean, edges.start, edges.geometry
        self.ends = edges.neighbor.numpy(), to_center.numpy(), to_neighbor.numpy()
        self.vectors = vectors.detach().numpy()
        self.blocks = edges.blocks()
        self.most = max((int(self.start[b] - self.start[a]) for a, b in self.blocks), default=0)
        self.hidden = to_center.new_empty(self.most, to_center.shape[1])
        self.geometry = lean.room(0 if self.kept else self.most, vectors)

    def __call__(self, first: int, last: int) -> tuple[Geometry, Tensor]:
        """Geometry of the edges of these centres, and what is hidden before its nonlinearity
        (n_edges, hidden): both hold until the next block."""
        from diffxas.edge_sums import add_ends

        begin, end = int(self.start[first]), int(self.start[last])
        if self.kept is None:
            geometry = self.geometry.part(0, end - begin)
            self.lean.write_geometry(self.vectors[begin:end], geometry)
        else:
            geometry = self.kept.part(begin, end)
        hidden = self.hidden[:end - begin]
        # The bias is in what centres say.
        torch.mm(geometry.basis, self.lean.from_basis, out=hidden)
        add_ends(self.start, first, last, *self.ends, hidden.numpy())
        return geometry, hidden


class Trunk:
    """What every way to run the trunk begins and ends with."""

    def __init__(self, network: EquivariantNetwork) -> None:
        self.network = network

    def begin(self, species: Tensor, condition: Tensor | None) -> tuple[Features, Tensor]:
        """Features before the first layer, and the condition that every layer takes."""
        scalars, condition = self.network.begin(species, condition)
        n = len(scalars)
        return Features(scalars[:, None], scalars.new_zeros(n, 3, 0),
                        scalars.new_zeros(n, 5, 0)), condition

    @staticmethod
    def end(x: Features) -> Tensor:
        """As e3nn orders them: (n_atoms, irreps_out.dim)."""
        return torch.cat([block.transpose(1, 2).flatten(1) for block in x], 1)


class LeanNetwork(Trunk):
    """The trunk without its training: embedding, layers, features in e3nn's order at the end."""

    def __init__(self, network: EquivariantNetwork) -> None:
        super().__init__(network)
        self.layers = [LeanLayer(cast("Interaction", layer), network.radial)
                       for layer in network.layers]

    def geometry(self, edges: Edges) -> Geometry:
        """What all layers need to know of the edges, 100 bytes each."""
        return self.layers[0].geometry(edges)

    def keep_geometry(self, edges: Edges) -> Edges:
        """The same edges with it."""
        return replace(edges, geometry=self.geometry(edges))
