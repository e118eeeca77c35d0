r"""Would more networks help? Losses on networks that were seen and on networks that were not.

The loss of a prior at noise level sigma is the mean square of (D(x + sigma z; sigma) - x) / sigma
(:mod:`diffxas.denoiser`), with one and the same z for every prior. It depends on density, so seen
and unseen networks are compared in pairs: each unseen one with the seen one nearest in density.

The curve trains small priors from nothing on nested parts of the training networks (a quarter, a
half, all), each for the same number of steps, and asks all of them about the same unseen networks.
Parts are taken in bit-reversed order of density, so that each covers the whole range. It is a
curve of the data: its priors are smaller than one that is used, and their losses are higher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplers.evaluation_data import HELD_OUT, TRAINING, EvaluationData, Known

if TYPE_CHECKING:
    from diffxas.denoiser import PriorConfig, PriorNetwork

SIGMAS = (0.1, 0.2, 0.3)
"""Noise levels (angstrom) at which bonds are decided."""
PARTS = (0.25, 0.5, 1.0)
HELD_SHARE = 5
"""Without held-out networks, one in so many is kept from the curve's priors."""
FEWEST = 4
"""Networks that a curve needs."""
MOST = 24
"""Unseen structures that are asked about; more are thinned out over density."""
MODEL: Mapping[str, Any] = {"n_layers": 2, "n_scalars": 32, "n_vectors": 16, "n_tensors": 8,
                            "n_products": 8, "hidden": 24, "cutoff": 3.2}


@dataclass(frozen=True, eq=False)
class Losses:
    """Of one prior.

    Attributes
    ----------
    networks : it was trained on
    seen, unseen : (n_pairs, n_sigmas), without unit; ``seen`` is each pair's training structure
    """

    networks: int
    seen: np.ndarray
    unseen: np.ndarray

    @property
    def gap(self) -> float:
        """How much higher the loss on unseen networks is, as a share of that on seen ones."""
        return _change(self.unseen, self.seen)[0]

    @property
    def gap_error(self) -> float:
        """Standard error of :attr:`gap` over pairs."""
        return _change(self.unseen, self.seen)[1]


def fall(half: Losses, whole: Losses) -> tuple[float, float]:
    """By which share twice the networks lower the loss on unseen ones, and its standard error."""
    change, error = _change(whole.unseen, half.unseen)
    return -change, error


def _change(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Geometric mean over pairs and levels of ``one / other``, minus 1, and its error."""
    logs = np.log(one / other).mean(1)
    ratio = float(np.exp(logs.mean()))
    error = float(logs.std(ddof=1) / len(logs) ** 0.5) if len(logs) > 1 else float("nan")
    return ratio - 1, ratio * error


def losses(network: PriorNetwork, known: Sequence[Known], seed: int,
           advance: Callable[[], None] = lambda: None) -> np.ndarray:
    """Loss of each structure at each of ``SIGMAS``, (n_structures, n_sigmas)."""
    import torch

    from diffxas.denoiser import ANY
    from diffxas.prior import denoising_loss

    found = np.empty((len(known), len(SIGMAS)))
    for row, one in enumerate(known):
        kind = one.kind if one.kind in network.config.kinds else ANY
        species = network.species_of(one.structure)
        for column, sigma in enumerate(SIGMAS):
            rng = np.random.default_rng([seed, row, column])
            with torch.no_grad():
                found[row, column] = float(denoising_loss(
                    network, [one.structure], [species], [network.kind_index(kind)],
                    np.array([sigma]), rng))
        advance()
    return found


def nearest_in_density(unseen: Sequence[Known], seen: Sequence[Known]) -> list[Known]:
    """For each unseen structure the seen one nearest in density, of its own kind if there is one.

    None is taken twice as long as others are left within 0.1 g/cm3.
    """
    used: dict[int, int] = {}
    chosen = []
    for one in unseen:
        of_kind = [k for k, other in enumerate(seen) if other.kind == one.kind]
        candidates = of_kind or range(len(seen))
        best = min(candidates, key=lambda k, one=one: (  # type: ignore[misc]
            abs(seen[k].structure.density - one.structure.density) + 0.1 * used.get(k, 0)))
        used[best] = used.get(best, 0) + 1
        chosen.append(seen[best])
    return chosen


def pair_losses(network: PriorNetwork, networks: int, unseen: Sequence[Known],
                seen: Sequence[Known], seed: int,
                advance: Callable[[], None] = lambda: None) -> Losses:
    """Losses of a prior on unseen structures and on the seen ones nearest in density."""
    return Losses(networks, losses(network, nearest_in_density(unseen, seen), seed, advance),
                  losses(network, unseen, seed, advance))


def thinned(known: Sequence[Known], most: int = MOST) -> list[Known]:
    """At most so many structures, spread over density."""
    ranked = sorted(known, key=lambda one: (one.structure.density, one.name))
    if len(ranked) <= most:
        return ranked
    return [ranked[k] for k in np.linspace(0, len(ranked) - 1, most).round().astype(int)]


@dataclass(frozen=True, eq=False)
class CurvePlan:
    """Which networks the curve's priors see and which not.

    Attributes
    ----------
    seen : training structures by network, in the order in which parts take them
    unseen : structures that none of them sees
    note : where the unseen ones come from
    """

    seen: Mapping[str, Sequence[Known]]
    unseen: Sequence[Known]
    note: str

    def part(self, networks: int) -> list[Known]:
        """Structures of the first so many networks."""
        return [one for name in list(self.seen)[:networks] for one in self.seen[name]]

    @property
    def sizes(self) -> list[int]:
        """Numbers of networks of the curve's points, rising."""
        return sorted({max(1, round(share * len(self.seen))) for share in PARTS})


def plan(data: EvaluationData) -> CurvePlan | None:
    """The networks of a curve; None if there are too few.

    Training networks are those of the prior; without any in DATA, all of DATA.
    """
    training = data.of(TRAINING) or list(data.known)
    by_network: dict[str, list[Known]] = {}
    for one in training:
        by_network.setdefault(one.parent, []).append(one)
    order = spread_out(sorted(by_network, key=lambda name: (
        np.mean([one.structure.density for one in by_network[name]]), name)))
    held = data.of(HELD_OUT, reference=True) or data.of(HELD_OUT)
    note = "networks that the prior never saw"
    if not held or not data.of(TRAINING):
        kept_out = set(order[::HELD_SHARE])
        held = [one for name in order if name in kept_out for one in by_network[name]]
        order = [name for name in order if name not in kept_out]
        note = f"one network in {HELD_SHARE}, kept from the curve's priors alone"
    if len(order) < FEWEST or not held:
        return None
    return CurvePlan({name: by_network[name] for name in order}, thinned(held), note)


def spread_out(names: Sequence[str]) -> list[str]:
    """The same names such that every first part of them is spread evenly over the whole."""
    bits = max(1, (len(names) - 1).bit_length())
    places = [int(format(k, f"0{bits}b")[::-1], 2) for k in range(2**bits)]
    return [names[k] for k in places if k < len(names)]


def small_model(elements: Sequence[str], degree: float) -> PriorConfig:
    """The model of the curve's priors."""
    from diffxas.denoiser import PriorConfig

    return PriorConfig(elements=list(elements), degree=degree, **MODEL)


def train_part(chosen: Sequence[Known], config: PriorConfig, steps: int, seed: int,
               folder: Path, title: str) -> PriorNetwork:
    """A small prior from nothing on these structures; resumes in ``folder``."""
    import torch

    from diffxas.denoiser import PriorNetwork
    from diffxas.prior import DenoisingLoss, PriorTraining, Sample
    from diffxas.training import Schedule, train

    schedule = Schedule(steps=steps, warmup=max(1, min(200, steps // 10)),
                        ema=max(0.5, 1 - 20 / max(40, steps)), checkpoint_every=200)
    torch.manual_seed(seed)
    network = PriorNetwork(config)
    samples = [Sample(one.structure, one.name, config.kinds[0]) for one in chosen]
    loss = DenoisingLoss(samples, network, PriorTraining(batch=1, seed=seed))
    trained = train(network, loss, schedule, folder, title=title)
    assert isinstance(trained, PriorNetwork)
    return trained.requires_grad_(False).eval()
