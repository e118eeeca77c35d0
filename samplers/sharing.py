"""Samples of a run at work in several processes: one sample a task, each in one thread.

Cells of several tiles are shared tile by tile instead (:mod:`samplers.tiling`). A task leaves the
sample's record in the run's folder, where the command finds it: who made it changes nothing, and a
task that dies with its worker goes on from the last step that it kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from diffxas.run_folder import RunFolder
from samplers.drawing import calls_of, finished, numbered

if TYPE_CHECKING:
    from samplers.setup import Setup


def share_out(samples: Sequence[tuple[Setup, int]], folder: RunFolder,
              advance: Callable[[int, str], None]) -> set[int]:
    """Let the run's workers make the samples that are missing; without workers nothing is done.

    Parameters
    ----------
    samples : set-up and number of each
    advance : told of the calls of every sample that is made

    Returns
    -------
    numbers of the samples that were made
    """
    from diffxas.tiles import ATOMS_PER_TILE

    missing = [(setup, n) for setup, n in samples
               if folder.load(numbered(setup, n).name) is None]
    client = samples[0][0].client
    if client is None or len(missing) < 2 or len(missing[0][0].system) > ATOMS_PER_TILE:
        return set()
    from distributed import as_completed

    where = RunFolder(folder.path.absolute(), folder.identity)
    futures = {}
    for setup, n in missing:
        # Guides have their own surrogates; those that only look at the answers stay here.
        bare = replace(setup, client=None, surrogate=None, judge=None,
                       guides=setup.guides if numbered(setup, n).guided else ())
        alone = client.scatter(bare)
        futures[client.submit(make, alone, where, n, pure=False)] = setup, n
    for done in as_completed(futures):
        done.result()
        one = numbered(*futures[done])
        advance(calls_of(futures[done][0], one.guided), one.label)
    return {n for _, n in missing}


def make(setup: Setup, folder: RunFolder, number: int) -> None:
    """Make one sample, in a worker."""
    finished(setup, folder, numbered(setup, number), lambda calls, what: None)
