r"""Counter-based noise: a number depends on who asks, never on who asked before.

The normal numbers of an atom are a function of (seed, sample, step, stream, atom) alone: Philox
4x64 in counter mode gives every atom one block of four 64-bit words, which Box and Muller turn into
normal numbers. So one seed gives the same noise whatever the batch, the tiles or the number of
workers.

J. K. Salmon and others, Parallel random numbers: as easy as 1, 2, 3, SC'11 (2011);
G. E. P. Box and M. E. Muller, Ann. Math. Statist. 29, 610 (1958).
"""

from __future__ import annotations

import numpy as np

MASK = (1 << 64) - 1


def words(seed: int, sample: int, step: int, n_atoms: int, *, stream: int = 0,
          first_atom: int = 0) -> np.ndarray:
    """Random 64-bit words, (n_atoms, 4) uint64.

    Parameters
    ----------
    seed, sample, step, stream : integers; negative ones wrap
    n_atoms, first_atom : the range of atoms asked for
    """
    key = np.array([seed & MASK, sample & MASK], dtype=np.uint64)
    counter = np.array([0, 0, step & MASK, stream & MASK], dtype=np.uint64)
    generator = np.random.Philox(key=key, counter=counter)
    if first_atom:
        generator.advance(first_atom)  # one step of the counter is one block of four words
    return generator.random_raw(4 * n_atoms).reshape(n_atoms, 4)


def _unit(raw: np.ndarray) -> np.ndarray:
    """Words to uniform numbers in (0, 1), never 0 or 1."""
    # 52 bits: a 53rd would leave no place for the half, which rounding could carry to 1.
    return ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def uniform(seed: int, sample: int, step: int, n_atoms: int, *, stream: int = 0,
            first_atom: int = 0) -> np.ndarray:
    """Uniform numbers in (0, 1), (n_atoms, 3)."""
    return _unit(words(seed, sample, step, n_atoms, stream=stream, first_atom=first_atom)[:, :3])


def normal(seed: int, sample: int, step: int, n_atoms: int, *, stream: int = 0,
           first_atom: int = 0) -> np.ndarray:
    """Standard normal numbers, (n_atoms, 3)."""
    u = _unit(words(seed, sample, step, n_atoms, stream=stream, first_atom=first_atom))
    radius = np.sqrt(-2 * np.log(u[:, :2]))
    angle = 2 * np.pi * u[:, 2:]
    return np.column_stack([radius[:, 0] * np.cos(angle[:, 0]), radius[:, 0] * np.sin(angle[:, 0]),
                            radius[:, 1] * np.cos(angle[:, 1])])
