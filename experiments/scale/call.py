"""What one call of the denoiser costs, and how far single precision and tiles move its answer."""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from diffxas.denoiser import PriorDenoiser
from diffxas.graph import build_graph
from diffxas.prior import find_prior, load_prior
from diffxas.structure import Structure
from diffxas.tiles import ATOMS_PER_TILE
from experiments.common import networks
from experiments.scale.kept import PRIOR, SMALL, Row, measure
from experiments.scale.large import repeated
from experiments.scale.published import CUTOFF, MeshGraphNets
from samplers.cluster import open_cluster
from samplers.tiling import distributed

REPEATED = (1, 2) if SMALL else (1, 2, 4)
"""A network of 216 atoms so often along each edge: 216, 1,728 and 13,824 atoms."""
ATOMS = 216
EXACT = 3
"""And so often where precisions and tiles are compared: 5,832 atoms, more than one tile."""
SHARED = ATOMS * (3 if SMALL else 8) ** 3
"""110,592 atoms, as workers share them."""
SIGMA, DENSITY = 0.3, 2.0
LEAST_CALLS, LEAST_SECONDS = (2, 0.0) if SMALL else (3, 12.0)
"""The best of at least so many calls, and of as many as this time takes."""


def noised(times: int, sigma: float = SIGMA) -> Structure:
    """A network of about 2 g/cm3, repeated and noised."""
    whole = repeated(min(networks(), key=lambda s: abs(s.density - DENSITY)), times)
    z = np.random.default_rng(0).standard_normal(whole.positions.shape)
    return whole.with_positions(whole.positions + sigma * z)


def call_stage() -> None:
    """All rows."""
    for times in REPEATED:
        for gradient in (False, True):
            what = "gradient" if gradient else "call"
            measure(f"call-{what}-{ATOMS * times**3}", lambda: timed(times, gradient))  # noqa: B023
    measure("call-exact", exactness)
    measure(f"call-published-{ATOMS}", published)
    for n in (None, 1, 2):
        name = f"call-shared-{SHARED}" + ("" if n is None else f"-{n}-workers")
        measure(name, lambda: shared(n))  # noqa: B023 (called at once)


def timed(times: int, gradient: bool) -> Row:
    """Time a call in single precision with one thread, in no_grad or with a gradient."""
    torch.set_num_threads(1)
    system = noised(times)
    denoiser = PriorDenoiser(load_prior(find_prior(PRIOR)), system)
    x = torch.tensor(system.positions)

    def work() -> None:
        if gradient:
            some = x.clone().requires_grad_(True)
            (denoiser(some, SIGMA) - x).square().sum().backward()
            return
        with torch.no_grad():
            denoiser(x, SIGMA)

    work()  # loops are compiled, buffers made
    wall, cpu, calls = best(work)
    return {"atoms": len(system), "gradient": gradient, "wall": wall, "cpu": cpu, "calls": calls,
            "ms_per_atom": 1000 * cpu / len(system), "ms_per_atom_wall": 1000 * wall / len(system)}


def shared(workers: int | None) -> Row:
    """A call of a large cell by this process alone, or by workers; wall time."""
    torch.set_num_threads(1)
    system = noised(round((SHARED / ATOMS) ** (1 / 3)))
    folder, x = find_prior(PRIOR), torch.tensor(system.positions)
    with open_cluster(workers, None) as client:
        more = {} if client is None else {"tiled": distributed(client, folder)}
        denoiser = PriorDenoiser(load_prior(folder), system, **more)

        def work() -> torch.Tensor:
            with torch.no_grad():
                return denoiser(x, SIGMA)

        out = work()
        wall, _, calls = best(work)
    return {"atoms": len(system), "workers": workers, "wall": wall, "calls": calls,
            "ms_per_atom_wall": 1000 * wall / len(system),
            "sha256": hashlib.sha256(out.numpy().tobytes()).hexdigest()}


def published() -> Row:
    """Time a call of the published network on the same 216 atoms, as :func:`timed` does."""
    torch.set_num_threads(1)
    system = noised(1)
    torch.manual_seed(0)
    network = MeshGraphNets()
    x = torch.tensor(system.positions, dtype=torch.float32)

    def work() -> None:
        with torch.no_grad():
            network(x, build_graph(system, CUTOFF))

    work()
    wall, cpu, calls = best(work)
    return {"atoms": len(system), "parameters": network.n_parameters, "wall": wall, "cpu": cpu,
            "calls": calls, "ms_per_atom": 1000 * cpu / len(system)}


def best(work: Callable[[], None]) -> tuple[float, float, int]:
    """Least wall and processor seconds of several calls, and how many there were."""
    found: list[tuple[float, float]] = []
    begun = time.perf_counter()
    while len(found) < LEAST_CALLS or time.perf_counter() - begun < LEAST_SECONDS:
        used, at = _used(), time.perf_counter()
        work()
        found.append((time.perf_counter() - at, _used() - used))
    walls, cpus = zip(*found, strict=True)
    return min(walls), min(cpus), len(found)


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def exactness() -> Row:
    """Largest differences of D (angstrom): single against double precision, tiles against whole."""
    torch.set_num_threads(1)
    system = noised(EXACT)
    assert len(system) > ATOMS_PER_TILE
    folder, x = find_prior(PRIOR), torch.tensor(system.positions)
    single = PriorDenoiser(load_prior(folder), system)
    double = PriorDenoiser(load_prior(folder).double(), system)
    whole = PriorDenoiser(load_prior(folder).double(), system)
    assert double.tiled is not None
    n_tiles, whole.tiled = double.tiled.partition.n_tiles, None
    with torch.no_grad():
        a, b, c = (one(x, SIGMA) for one in (single, double, whole))
    return {"atoms": len(system), "tiles": n_tiles,
            "single_double": float((a - b).abs().max()), "tiled_whole": float((b - c).abs().max())}
