"""Tiles in other processes: the same bits, and none lost with a worker."""

import gc
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch

from diffxas.denoiser import ANY, PriorDenoiser
from diffxas.prior import find_prior, load_prior
from diffxas.structure import Structure
from diffxas.tiled import TiledNetwork
from diffxas.tiles import Outline
from samplers.cluster import one_thread, open_cluster
from samplers.start import start_positions
from samplers.tiling import DistributedNetwork

N, PER_TILE = 400, 60


@pytest.mark.slow  # two processes import torch
@pytest.mark.skipif(not (find_prior("a-C") / "config.json").is_file(), reason="needs weights")
def test_workers_give_the_same_bits_also_where_one_is_killed(monkeypatch):
    monkeypatch.setattr("diffxas.denoiser.is_tiled", lambda *_: True)
    folder = find_prior("a-C")
    network = load_prior(folder).requires_grad_(False)
    system = Structure(np.zeros((N, 3)), np.full(N, 6), np.array(
        [[15.0, 0, 0], [4.0, 16.0, 0], [-3.0, 2.0, 14.0]]))
    x = torch.tensor(start_positions(N, system.cell, 0.3, 0, 0))
    with torch.no_grad(), one_thread(), open_cluster(2, None) as client:
        alone = PriorDenoiser(network, system, ANY,
                              lambda *a: TiledNetwork(*a, atoms_per_tile=PER_TILE))
        shared = PriorDenoiser(network, system, ANY, lambda *a: DistributedNetwork(
            client, folder, *a, PER_TILE))
        assert alone.tiled.partition.n_tiles > 5
        expected = alone(x, 0.3)
        assert torch.equal(shared(x, 0.3), expected)
        monkeypatch.setattr("diffxas.tiled.KEPT_ATOMS", 0)
        assert torch.equal(shared(x, 0.3), expected)  # with what is held computed again

        for _ in range(8):
            shared(x, 0.3)
        gc.collect()
        kept = sum(type(one) is Outline for one in gc.get_objects())
        assert kept <= 4 * shared.tiled.partition.n_tiles  # however many calls there were

        pid = next(iter(client.run(os.getpid).values()))

        def kill() -> None:
            time.sleep(0.3)
            os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        for _ in range(5):
            assert torch.equal(shared(x, 0.3), expected)
        killer.join()
        assert pid not in client.run(os.getpid).values()
