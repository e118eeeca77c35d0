r"""Which invariants matter: weights that lower the error of networks left out of a kernel ridge.

With K the kernel matrix of the weighted invariants w * d, C = (K + ridge)^-1 and y the targets, the
residuals of the sites g of a network predicted by all others are

    r_g = (C_gg)^-1 (C y)_g

(for single sites C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning (MIT
Press, 2006), equation 5.12; for groups by the same block inverse), and log w follows the gradient
of their square: automatic relevance determination, section 5.1 there. Sites of one network are
near-copies, so leaving out single ones would reward memory. Few steps are taken: more of them go
on lowering this error and no longer that of held-out networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

RATE = 0.05
MOST_SITES = 1500
"""Sites that the error is measured on; a step is cubic in them."""


def relevance(sites: np.ndarray, targets: np.ndarray, importance: np.ndarray,
              kernel: Callable[[Tensor, Tensor, Tensor], Tensor], length: float, ridge: float,
              steps: int, groups: Sequence[str], seed: int = 0) -> np.ndarray:
    """Factors for the invariants, (n_invariants,); ones where there is one network only.

    Parameters
    ----------
    sites : (n_sites, n_invariants), scaled and weighted as the kernel takes them
    targets : (n_sites, n_targets) of unit spread; ``importance`` (n_targets,) is their share
    kernel : (a, b, length) -> (n_a, n_b)
    length, ridge : of the kernel, kept as they are
    steps : of Adam, on the logarithms
    groups : network of each site
    """
    if len(set(groups)) < 2 or not steps:
        return np.ones(sites.shape[1])
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(sites))[:MOST_SITES])
    x, y = torch.tensor(sites[rows]), torch.tensor(targets[rows])
    left_out = [torch.tensor(np.flatnonzero(np.asarray(groups)[rows] == name))
                for name in sorted({groups[row] for row in rows})]
    share = torch.tensor(importance / importance.sum())
    scale, eye = torch.tensor(length), ridge * torch.eye(len(rows), dtype=x.dtype)
    log_weight = torch.zeros(x.shape[1], dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([log_weight], lr=RATE)
    for _ in range(steps):
        weighted = x * log_weight.exp()
        inverse = torch.cholesky_inverse(
            torch.linalg.cholesky(kernel(weighted, weighted, scale) + eye))
        solved = inverse @ y
        squares = [torch.linalg.solve(inverse[g][:, g], solved[g]).square().sum(0)
                   for g in left_out]
        error = (torch.stack(squares).sum(0) / len(rows) @ share).log()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    return log_weight.detach().exp().numpy()
