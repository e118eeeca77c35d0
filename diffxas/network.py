r"""An E(3)-equivariant network of atoms, the trunk of the denoiser and of the surrogates.

Every atom carries features x of the irreducible representations 0e, 1o and 2e of O(3). One layer
is

    m_i = n^{-1/2} sum_j f(r_ij) W(r_ij, s_i, s_j, c_i) * [L x_j (x) Y(r_ij)]      (message)
    h_i = L (m_i, x_i);   p_i = L h_i (x) L h_i                                    (product)
    x_i <- L x_i + gate(h_i, c_i) * L (h_i, p_i)                                   (update)

(the factors of the product are divided by sqrt(1 + their mean square), an invariant, so that layers
of squares do not run away), where (x) is the tensor product of e3nn channel by channel, every L is
a linear map of its own that mixes channels of one representation, s are the scalar channels, c is a
condition (noise level, kind), Y are spherical harmonics up to l = 2 of the softened direction
r / sqrt(r^2 + a^2) (smooth where atoms overlap, as noised atoms do), and f is a polynomial envelope
that vanishes with two derivatives at the cutoff.

On the edges only the products with a scalar on one side and the contractions to a scalar are taken;
the products that couple vectors with tensors are taken once an atom rather than once an edge, which
is where the time of a convolution goes.

Convolution with learned radial functions: N. Thomas and others, Tensor field networks,
arXiv:1802.08219 (2018). Products on the atoms instead of the edges: I. Batatia and others, MACE,
arXiv:2206.07697 (2022), equations 8-10. Envelope: J. Gasteiger and others, arXiv:2003.03123 (2020),
equation 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import e3nn
import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn.functional import silu

from diffxas.graph import Graph
from diffxas.lean import Edges, LeanNetwork

L_MAX = 2
SOFT_CORE = 0.3
"""The length a (angstrom) below which an edge loses its direction."""


def envelope(r: Tensor, cutoff: float) -> Tensor:
    """1 at r = 0, and 0 with first and second derivative at ``cutoff`` and beyond; (...)."""
    u = (r / cutoff).clamp(max=1.0)
    cube = u * u * u
    return 1 - cube * cube * (28 - 48 * u + 21 * u * u)


class RadialBasis(nn.Module):
    """Gaussians of equal width on a grid from 0 to ``cutoff``; (n_edges,) -> (n_edges, n_basis)."""

    centers: Tensor

    def __init__(self, cutoff: float, n_basis: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.linspace(0.0, cutoff, n_basis), persistent=False)
        self.width = cutoff / (n_basis - 1)

    def forward(self, r: Tensor) -> Tensor:
        """Values of the basis at the distances ``r`` (angstrom)."""
        u = (r[:, None] - self.centers) * (0.5**0.5 / self.width)
        return torch.exp(-u * u)


def harmonics(d: Tensor) -> Tensor:
    """Spherical harmonics up to l = 2, (n, 9), of ``d`` (n, 3), as e3nn orders and scales them.

    Polynomials in d: for directions that are no unit vectors they are those of e3nn's
    ``spherical_harmonics(..., normalize=False, normalization="component")``.
    """
    x, y, z = d.unbind(1)
    three, fifteen = 3**0.5, 15**0.5
    x2, y2, z2 = x * x, y * y, z * z
    return torch.stack([
        torch.ones_like(x), three * x, three * y, three * z, fifteen * x * z, fifteen * x * y,
        5**0.5 * (y2 - 0.5 * (x2 + z2)), fifteen * y * z, 0.5 * fifteen * (z2 - x2)], 1)


class Radial(nn.Module):
    """What an edge's vector says: basis (n, n_basis), envelope (n, 1), harmonics (n, 9)."""

    def __init__(self, cutoff: float, n_basis: int) -> None:
        super().__init__()
        self.cutoff, self.core = float(cutoff), SOFT_CORE
        self.basis = RadialBasis(cutoff, n_basis)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``vectors`` (n_edges, 3), angstrom."""
        r2 = (vectors * vectors).sum(1)
        r = (r2 + 1e-12).sqrt()  # finite gradient where two atoms coincide
        directions = vectors * (r2 + self.core**2).rsqrt()[:, None]
        return self.basis(r), envelope(r, self.cutoff)[:, None], harmonics(directions)


@contextmanager
def _plain_e3nn() -> Iterator[None]:
    """e3nn's products as Python rather than TorchScript, which ``torch.compile`` cannot enter."""
    before = e3nn.get_optimization_defaults()
    e3nn.set_optimization_defaults(jit_mode="eager")
    try:
        yield
    finally:
        e3nn.set_optimization_defaults(**before)


def irreps_of(n_scalars: int, n_vectors: int, n_tensors: int) -> o3.Irreps:
    """Channels of 0e, 1o and 2e."""
    return o3.Irreps([(n_scalars, (0, 1)), (n_vectors, (1, -1)), (n_tensors, (2, 1))])


def _edge_product(irreps_in: o3.Irreps, irreps_out: o3.Irreps) -> o3.TensorProduct:
    """Products with Y that couple no two non-scalars but to a scalar.

    Its first operand has a block of scalars for each l of the result, then the other l of
    ``irreps_in``, so that every path has the channels of its result.
    """
    sh = o3.Irreps.spherical_harmonics(L_MAX)
    blocks: list[tuple[int, o3.Irrep]] = []
    outputs: list[tuple[int, o3.Irrep]] = []
    instructions: list[tuple[int, int, int, str, bool]] = []

    def add(mul: int, ir: o3.Irrep, results: list[tuple[int, o3.Irrep]]) -> None:
        for l_sh, ir_out in results:
            instructions.append((len(blocks), l_sh, len(outputs), "uvu", True))
            outputs.append((mul, ir_out))
        blocks.append((mul, ir))

    scalar = o3.Irrep(0, 1)
    for mul, ir in irreps_out:
        add(mul, scalar, [(ir.l, ir)])
    for mul, ir in irreps_in:
        if ir.l > 0:
            add(mul, ir, [(0, ir), (ir.l, scalar)])
    return o3.TensorProduct(
        o3.Irreps(blocks), sh, o3.Irreps(outputs), instructions,
        shared_weights=False, internal_weights=False,
    )


def _node_product(n: int) -> o3.TensorProduct:
    """h (x) h channel by channel, every path between 0e, 1o and 2e, ``n`` channels of each."""
    irreps = irreps_of(n, n, n)
    paths = [(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 1, 0), (2, 2, 0),
             (1, 1, 2), (1, 2, 1), (2, 2, 2)]
    outputs = o3.Irreps([(n, irreps[out].ir) for _, _, out in paths])
    instructions = [(a, b, k, "uuu", True) for k, (a, b, _) in enumerate(paths)]
    return o3.TensorProduct(irreps, irreps, outputs, instructions)


class Interaction(nn.Module):
    """One layer: message, product, gated update; ``irreps_in`` -> ``irreps`` of an atom."""

    def __init__(
        self, irreps_in: o3.Irreps, irreps: o3.Irreps, *, n_products: int, n_basis: int,
        hidden: int, n_condition: int, degree: float,
    ) -> None:
        super().__init__()
        self.n_scalars_in = irreps_in[0].mul
        self.n_scalars = irreps[0].mul
        self.repeats = [(ir.dim, mul) for mul, ir in irreps]
        self.scale = degree**-0.5
        self.product_on_edges = _edge_product(irreps_in, irreps)
        self.up = o3.Linear(irreps_in, self.product_on_edges.irreps_in1)
        self.from_basis = nn.Linear(n_basis, hidden)
        self.from_center = nn.Linear(self.n_scalars_in + n_condition, hidden, bias=False)
        self.from_neighbor = nn.Linear(self.n_scalars_in, hidden, bias=False)
        self.to_weights = nn.Linear(hidden, self.product_on_edges.weight_numel)
        self.gather = o3.Linear(self.product_on_edges.irreps_out, irreps)
        self.keep = o3.Linear(irreps_in, irreps)
        self.down = o3.Linear(irreps, irreps_of(n_products, n_products, n_products))
        self.product_on_nodes = _node_product(n_products)
        self.mix_linear = o3.Linear(irreps, irreps)
        self.mix_product = o3.Linear(self.product_on_nodes.irreps_out, irreps)
        self.skip = o3.Linear(irreps_in, irreps)
        self.gate = nn.Linear(self.n_scalars + n_condition, irreps.num_irreps)

    def forward(
        self, x: Tensor, graph: Graph, basis: Tensor, fade: Tensor, harmonics: Tensor, c: Tensor
    ) -> Tensor:
        """``basis`` (n_edges, n_basis), ``fade`` (n_edges, 1), ``harmonics`` (n_edges, 9)."""
        s = x[:, : self.n_scalars_in]
        hidden = (
            self.from_basis(basis)
            + self.from_center(torch.cat([s, c], 1)).index_select(0, graph.center)
            + self.from_neighbor(s).index_select(0, graph.neighbor)
        )
        weights = self.to_weights(silu(hidden)) * fade
        edges = self.product_on_edges(
            self.up(x).index_select(0, graph.neighbor), harmonics, weights
        )
        m = edges.new_zeros(len(x), edges.shape[1]).index_add(0, graph.center, edges)
        h = self.gather(m) * self.scale + self.keep(x)
        scalars = silu(h[:, : self.n_scalars])
        h = torch.cat([scalars, h[:, self.n_scalars :]], 1)
        p = self.down(h)
        p = p * (1 + p.square().mean(1, keepdim=True)).rsqrt()  # squares of squares stay bounded
        update = self.mix_linear(h) + self.mix_product(self.product_on_nodes(p, p))
        gate = torch.tanh(self.gate(torch.cat([scalars, c], 1)))
        out = self.skip(x) + self._spread(gate) * update
        assert out.shape == update.shape
        return out

    @torch.no_grad()
    def pass_on(self) -> None:
        """Make the layer the identity; its gate is closed but opens under training.

        The layer must have the same features going in as coming out.
        """
        self.gate.weight.zero_()
        self.gate.bias.zero_()
        for instruction, block in zip(self.skip.instructions, self.skip.weight_views(),
                                      strict=True):
            block.copy_(torch.eye(len(block)) / instruction.path_weight)

    def _spread(self, gate: Tensor) -> Tensor:
        """One number a channel to one number a component, (n_atoms, n_components)."""
        parts, start = [], 0
        for dim, mul in self.repeats:
            parts.append(gate[:, start : start + mul].repeat_interleave(dim, 1))
            start += mul
        return torch.cat(parts, 1)


def _towards(graph: Graph, sites: Tensor) -> Tensor:
    """Indices of the edges whose centres are among ``sites``."""
    wanted = torch.zeros(graph.n_atoms, dtype=torch.bool, device=sites.device)
    wanted[sites] = True
    return wanted[graph.center].nonzero()[:, 0]


class EquivariantNetwork(nn.Module):
    """Species, positions and a condition to equivariant features of every atom.

    Parameters
    ----------
    elements : chemical symbols that the network knows, in the order of its embedding
    n_scalars, n_vectors, n_tensors : channels of 0e, 1o and 2e
    n_layers : layers; the receptive field is ``n_layers * cutoff``
    cutoff : angstrom
    n_condition : length of the condition vector
    degree : typical number of neighbours; messages are divided by its square root
    embedding : (n_atoms,) int64, index into ``elements`` -> (n_atoms, n_scalars); a table of free
        numbers by default
    """

    def __init__(
        self, elements: list[str], *, n_layers: int, cutoff: float, n_scalars: int = 32,
        n_vectors: int = 16, n_tensors: int = 8, n_products: int = 12, n_condition: int = 0,
        n_basis: int = 16, hidden: int = 32, degree: float = 30.0,
        embedding: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.elements = list(elements)
        self.n_layers = n_layers
        self.cutoff = float(cutoff)
        self.irreps_out = irreps_of(n_scalars, n_vectors, n_tensors)
        self.embedding = embedding or nn.Embedding(len(elements), n_scalars)
        self.from_condition = nn.Linear(n_condition, n_scalars) if n_condition else None
        self.radial = Radial(cutoff, n_basis)
        scalars_only = o3.Irreps([(n_scalars, (0, 1))])
        self._lean: tuple[tuple[tuple[int, int], ...], LeanNetwork] | None = None
        with _plain_e3nn():
            self.layers = nn.ModuleList(
                Interaction(
                    scalars_only if k == 0 else self.irreps_out, self.irreps_out,
                    n_products=n_products, n_basis=n_basis, hidden=hidden,
                    n_condition=n_condition, degree=degree,
                )
                for k in range(n_layers)
            )

    @property
    def receptive_field(self) -> float:
        """Distance beyond which nothing influences an atom, angstrom."""
        return self.n_layers * self.cutoff

    def begin(self, species: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features before the first layer, (n_atoms, n_scalars), and the condition for layers."""
        scalars: Tensor = self.embedding(species)
        if condition is None:
            condition = scalars.new_zeros(len(scalars), 0)
        elif self.from_condition is not None:
            scalars = scalars + self.from_condition(condition)
        return scalars, condition

    @property
    def is_trained(self) -> bool:
        """Whether its weights take gradients."""
        return next(self.layers.parameters()).requires_grad

    @property
    def is_lean(self) -> bool:
        """Whether :mod:`diffxas.lean` does the work: not in training, nor on a GPU."""
        on_cpu = next(self.layers.parameters()).device.type == "cpu"
        return on_cpu and not self.is_trained

    @property
    def lean(self) -> LeanNetwork:
        """The same network for use, with its weights as they are."""
        state = tuple((p.data_ptr(), p._version) for p in self.parameters())
        if self._lean is None or self._lean[0] != state:
            self._lean = state, LeanNetwork(self)
        return self._lean[1]

    def _lean_forward(self, species: Tensor, vectors: Tensor, graph: Graph,
                      condition: Tensor | None, sites: Tensor | None) -> Tensor:
        """See :meth:`forward`."""
        lean, n = self.lean, len(species)
        x, condition = lean.begin(species, condition)
        edges = lean.keep_geometry(Edges.of(graph.center, graph.neighbor, vectors, n))
        for k, layer in enumerate(lean.layers):
            if sites is not None and k == self.n_layers - 1:
                some = _towards(graph, sites)
                edges = Edges.of(graph.center[some], graph.neighbor[some], vectors[some], n)
            x = layer(x, edges, condition)
        return lean.end(x)

    def forward(
        self, species: Tensor, vectors: Tensor, graph: Graph, condition: Tensor | None = None,
        sites: Tensor | None = None,
    ) -> Tensor:
        """Features of every atom, (n_atoms, irreps_out.dim).

        Parameters
        ----------
        species : (n_atoms,) int64, index into ``elements``
        vectors : (n_edges, 3), angstrom, from ``graph.vectors(positions)``
        condition : (n_atoms, n_condition)
        sites : indices of the atoms whose features are wanted, all by default; the last layer then
            takes only their edges, and the features of other atoms are meaningless
        """
        if self.is_lean:
            return self._lean_forward(species, vectors, graph, condition, sites)
        x, condition = self.begin(species, condition)
        geometry = self.radial(vectors)
        for k, layer in enumerate(self.layers):
            if sites is not None and k == self.n_layers - 1:
                edges = _towards(graph, sites)
                graph = graph.subset(edges)
                geometry = tuple(one[edges] for one in geometry)
            x = layer(x, graph, *geometry, condition)
        assert x.shape == (len(species), self.irreps_out.dim)
        return x
