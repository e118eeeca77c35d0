r"""Is an atom like those that a surrogate was trained on?

The surroundings of an atom i are described by the density of its neighbours in shells g_n of the
distance, counted by element in channels c (1, and where there are several elements their
electronegativity and radius, standardised), and by the soft numbers of bonds of the atom and of
its bonded neighbours:

    R_i,cn = sum_j c_j f(r_ij) g_n(r_ij),     C_i,k = exp(-(b_i - k)^2 / 2 s^2),
    A_i,k = sum_j bond(r_ij) C_j,k,           b_i = sum_j bond(r_ij).

These numbers are whitened over the training sites, so that what varies little there counts as much
as what varies much: a stranger often differs in a combination that training atoms never leave
(graphite is made of bonds, angles and rings that amorphous carbon has too, and shows in its empty
and full shells). The score of an atom is its distance to the nearest training site over a
threshold,

    score(i) = min_a |w_i - w_a| / d_99,

with d_99 the distance that 99 % of the training sites stay within when the sites of their own
network are not counted. A score above 1 flags the atom. Distances to nearest neighbours as a test
of novelty: M. Markou, S. Singh, Signal Processing 83, 2481 (2003), section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from diffxas.denoiser import species_indices
from diffxas.graph import build_graph
from diffxas.structure import Structure
from surrogates.datasets import SiteSpectra
from surrogates.descriptor import fade, gaussians, switch
from surrogates.pieces import receptive

CUTOFF, N_SHELLS, INNER = 6.2, 20, 1.2
"""Reach of the shells, angstrom; how many; where they begin."""
BOND, BOND_WIDTH = 1.22, 0.33
"""Longest bond, and the width of its switch, in sums of covalent radii (1.85 angstrom for C-C)."""
COUNTS, COUNT_WIDTH = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0), 0.4
QUANTILE = 0.99
MOST_SITES = 3000
"""Training sites that are kept; more are thinned, each network by the same share."""
PREFIX = "domain."
CHUNK = 4096
"""Atoms whose distances are held in memory at once."""


def channels(elements: Sequence[str]) -> np.ndarray:
    """What each element counts for in each channel, (n_elements, n_channels)."""
    from surrogates.element_embedding import element_descriptors

    one = np.ones((len(elements), 1))
    if len(elements) == 1:
        return one
    tabulated = np.array([element_descriptors(symbol) for symbol in elements])[:, [2, 3]]
    spread = tabulated.std(0)
    return np.hstack([one, (tabulated - tabulated.mean(0)) / np.where(spread > 0, spread, 1.0)])


def domain_reach(elements: Sequence[str]) -> float:
    """How far off an atom may still change another's numbers, angstrom."""
    from ase.data import atomic_numbers, covalent_radii

    longest = 2 * max(float(covalent_radii[atomic_numbers[e]]) for e in elements)
    bond = min(CUTOFF, (BOND + BOND_WIDTH / 2) * longest)
    return max(CUTOFF, 2 * bond)


def domain_features(structure: Structure, elements: Sequence[str],
                    sites: Tensor | None = None) -> Tensor:
    """The module's numbers for every atom, (n_atoms, n_features), float64.

    Parameters
    ----------
    sites : indices of the atoms that are wanted, (n_sites,) int64; all by default
    """
    from ase.data import atomic_numbers, covalent_radii

    graph = build_graph(structure, CUTOFF, dtype=torch.float64)
    species = species_indices(structure.symbols, elements, "surrogate")
    radii = torch.tensor([covalent_radii[atomic_numbers[e]] for e in elements])[species]
    x = torch.tensor(structure.positions)
    if sites is not None and len(sites) < len(structure):
        reach = (BOND + BOND_WIDTH / 2) * (radii[graph.center] + radii[graph.neighbor])
        graph = receptive(graph, sites, along=graph.vectors(x).norm(dim=1) < reach)
    vectors = graph.vectors(x)
    r = (vectors.square().sum(1) + 1e-12).sqrt()

    def gather(values: Tensor) -> Tensor:
        return values.new_zeros(len(species), values.shape[1]).index_add(0, graph.center, values)

    shells = gaussians(r, INNER, CUTOFF - 0.2, N_SHELLS) * fade(r, CUTOFF)[:, None]
    weight = torch.tensor(channels(elements))[species[graph.neighbor]]
    radial = gather((weight[:, :, None] * shells[:, None, :]).flatten(1))

    touching = radii[graph.center] + radii[graph.neighbor]
    bond = switch(r / touching, BOND, BOND_WIDTH)[:, None]
    counts = r.new_tensor(COUNTS)
    kinds = torch.exp(-0.5 * ((gather(bond) - counts) / COUNT_WIDTH) ** 2)
    around = gather(bond * kinds[graph.neighbor])
    found = torch.cat([radial, kinds, around], 1)
    return found if sites is None else found[sites]


def fit_domain(features: np.ndarray, groups: Sequence[str], seed: int = 0) -> dict[str, Tensor]:
    """Tensors of a domain, named ``domain.*``, to be stored beside a surrogate's.

    Parameters
    ----------
    features : (n_sites, n_features) of the training sites, of :func:`domain_features` or a
        family's own
    groups : network or material of each; a site is no witness for its own network
    """
    x = np.asarray(features, dtype=float)
    center, spread = x.mean(0), x.std(0)
    spread = np.where(spread > 1e-6 * max(spread.max(), 1e-30), spread, np.inf)
    scaled = (x - center) / spread
    _, s, v = np.linalg.svd(scaled, full_matrices=False)
    kept = s > 1e-4 * s[0]
    whiten = (v[kept] / (s[kept] / np.sqrt(len(x)))[:, None] / spread).T
    names = np.unique(np.asarray(groups), return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))[:MOST_SITES]
    sites = torch.tensor((x - center) @ whiten)
    reference = sites[order].to(torch.float16)
    distance = torch.cdist(sites, reference.double())
    if names.max() > 0:
        own = torch.tensor(names[:, None] == names[order])
        distance = distance.masked_fill(own, torch.inf)
    else:  # one network only: a site is no witness for itself
        distance = distance.masked_fill(distance < 0.02, torch.inf)
    near = distance.min(1).values
    near = near[near.isfinite()]
    threshold = near.quantile(QUANTILE) if len(near) else torch.tensor(1.0)
    return {PREFIX + "center": torch.tensor(center, dtype=torch.float32),
            PREFIX + "whiten": torch.tensor(whiten, dtype=torch.float32),
            PREFIX + "sites": reference,
            PREFIX + "threshold": threshold.to(torch.float32).reshape(1)}


def domain_of_data(data: Sequence[SiteSpectra], elements: Sequence[str],
                   seed: int = 0) -> dict[str, Tensor]:
    """Tensors of the domain of the labelled sites of ``data``."""
    features: dict[int, np.ndarray] = {}
    rows, groups = [], []
    for item in data:
        key = id(item.structure)
        if key not in features:
            features[key] = domain_features(item.structure, elements).numpy()
        rows.append(features[key][item.sites])
        groups += [item.parent] * len(item.sites)
    return fit_domain(np.concatenate(rows), groups, seed)


def domain_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the domain among those of a model; empty if there is none."""
    return {key: value for key, value in tensors.items() if key.startswith(PREFIX)}


def domain_score(features: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """The module's score, (n_sites, n_features) -> (n_sites,); above 1 is outside."""
    get = {key.removeprefix(PREFIX): value.double() for key, value in tensors.items()
           if key.startswith(PREFIX)}
    w = (features.double() - get["center"]) @ get["whiten"]
    nearest = [torch.cdist(part, get["sites"]).min(1).values for part in w.split(CHUNK)]
    score = torch.cat(nearest) / get["threshold"]
    assert score.shape == (len(features),)
    return score
