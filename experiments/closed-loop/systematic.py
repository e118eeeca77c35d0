"""What guided samples err by together, beyond their scatter: ``SYSTEMATIC`` of samplers/answers.py.

    python experiments/closed-loop/systematic.py

From the samples that the stage ``guided`` left, relaxed; whatever number a truth has.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.stats import norm, t

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from jobs import HOME  # noqa: E402
from truths import truths  # noqa: E402

from diffxas.analysis import coordination_fractions  # noqa: E402
from diffxas.structure_files import read_structures  # noqa: E402
from samplers.algorithms import AUTO  # noqa: E402


def together(errors: np.ndarray, scatter: np.ndarray, n: int) -> float:
    """Standard deviation of the errors (n_truths,) that the samples' scatter does not explain."""
    return float(np.sqrt(max(0.0, (errors**2).mean() - (scatter**2).mean() * (1 + 1 / n))))


def main() -> None:
    """Print the deviation of each share, and coverage with each truth left out of it."""
    for key in ("2", "3", "4"):
        errors, scatter = [], []
        for truth in truths():
            found = sorted((HOME / AUTO).glob(f"{truth.name}-216-*/relaxed.extxyz"))
            if not found:
                continue
            values = [coordination_fractions(s)[key] for s in read_structures(found[-1])]
            n = len(values)
            errors.append(coordination_fractions(truth.structure)[key] - np.mean(values))
            scatter.append(np.std(values, ddof=1))
        e, s = np.array(errors), np.array(scatter)
        line = f"share of {key} bonds, {len(e)} truths: {together(e, s, n):.3f}"
        for share in (0.5, 0.9):
            q = (1 + share) / 2
            own = t.ppf(q, n - 1) * s * np.sqrt(1 + 1 / n)
            rest = np.array([together(np.delete(e, k), np.delete(s, k), n) for k in range(len(e))])
            wide = np.hypot(own, norm.ppf(q) * rest)
            line += (f"; {share:.0%} intervals hold {np.mean(abs(e) <= wide):.0%}, without it "
                     f"{np.mean(abs(e) <= own):.0%}")
        print(line)


if __name__ == "__main__":
    main()
