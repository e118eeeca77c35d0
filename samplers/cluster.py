"""Workers: processes of one thread each, on this machine or on a scheduler of the user's.

The engine is Dask (https://distributed.dask.org). A task that dies with its worker is started again
on another. Since a sum depends on the order of its terms, and that on the number of threads, every
worker computes with one thread: results do not depend on how many workers there are. For the same
reason workers must have the versions and the weights of the command that sends them work.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar

import click

import diffxas
from diffxas.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])

REACHED_WITHIN, ARRIVED_WITHIN = 10.0, 60.0
"""Seconds that a scheduler has to answer, and that its first worker has to be there."""
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                     "NUMBA_NUM_THREADS")}
SHORT_LOG = {"distributed.admin.low-level-log-length": 1}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BYTES = 2**26
COMPARED = ("torch", "numpy")
"""Packages whose version decides the last digit."""
MOST_NAMED = 3
"""Workers that an error names; more are counted."""


def cluster_options(command: AnyCommand) -> AnyCommand:
    """``--workers`` and ``--scheduler``."""
    workers = click.option(
        "--workers", type=int, metavar="N",
        help="Processes of one thread each on this machine; the results are those of one.")
    scheduler = click.option(
        "--scheduler", metavar="ADDRESS",
        help="Address of a running dask scheduler whose workers compute, such as "
             "tcp://10.0.0.1:8786. They share this folder and --out.")
    return workers(scheduler(command))


def check_cluster_options(workers: int | None, scheduler: str | None) -> None:
    """Refuse what cannot be, before anything is started.

    Raises
    ------
    InputError
        For both at once, or fewer than one worker.
    """
    if workers is not None and scheduler is not None:
        raise InputError(f"--workers and --scheduler must not go together, received {workers} and "
                         f"{scheduler}: leave one out")
    if workers is not None and workers < 1:
        raise InputError(f"--workers must be 1 or more, received {workers}: give the number of "
                         f"cores, or leave it out")


@contextmanager
def open_cluster(workers: int | None, scheduler: str | None) -> Iterator[Client | None]:
    """A client of workers with one thread each; None if neither option is given.

    Workers on this machine end with the block, those of a scheduler stay.

    Raises
    ------
    InputError
        As :func:`check_cluster_options`; if the scheduler cannot be reached, has no workers, or
        has some with more than one thread or with other versions.
    """
    check_cluster_options(workers, scheduler)
    if workers is not None:
        with _own(workers) as client:
            yield client
    elif scheduler is not None:
        with _reached(scheduler) as client:
            check_workers(client, {})
            _keep_to_one_thread(client)
            yield client
    else:
        yield None


@contextmanager
def _own(workers: int) -> Iterator[Client]:
    """A cluster on the loopback of this machine."""
    import dask
    from distributed import Client, LocalCluster

    # A worker in a long call of a library that holds the interpreter is not dead: no time to live.
    # Messages hold the tiles of a call: a log of the last thousand would hold those of many calls.
    settings = {"distributed.scheduler.worker-ttl": None, **SHORT_LOG,
                "distributed.worker.multiprocessing-method": "spawn",
                "distributed.nanny.pre-spawn-environ": ONE_THREAD}
    with dask.config.set(settings), LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1",
            protocol="tcp", dashboard_address=None, memory_limit=0, env=ONE_THREAD,
            silence_logs=logging.CRITICAL) as cluster, Client(cluster) as client:
        _keep_to_one_thread(client)
        yield client


@contextmanager
def _reached(address: str) -> Iterator[Client]:
    """A client of the user's scheduler, with workers."""
    import dask
    from distributed import Client

    try:
        with dask.config.set(SHORT_LOG):
            client = Client(address, timeout=REACHED_WITHIN, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"--scheduler must be the address of a running dask scheduler, received "
                         f"{address}: {_words(error)}; start one with `dask scheduler`, which "
                         f"prints its address") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=ARRIVED_WITHIN)
        except TimeoutError as error:
            raise InputError(f"--scheduler must have workers, received {address} with none after "
                             f"{ARRIVED_WITHIN:g} s: start some with `dask worker {address} "
                             f"--nthreads 1`, or wait until their jobs run") from error
        many = {name: count for name, count in client.nthreads().items() if count != 1}
        if many:
            raise InputError(f"workers must have one thread each, received "
                             f"{_named([f'{k} with {n}' for k, n in many.items()])}: start them "
                             f"with --nthreads 1 (dask-jobqueue: cores=1, processes=1)")
        yield client


def check_workers(client: Client, weights: Mapping[str, str]) -> None:
    """Refuse workers that would compute something else.

    Parameters
    ----------
    weights : ``prior:NAME``, ``surrogate:NAME`` or ``noised:NAME`` (a shipped name or a folder)
        -> SHA-256 here

    Raises
    ------
    InputError
        Naming the worker, and both versions or weights.
    """
    here = {**versions(), **weights}
    found = client.run(what_is_here, list(weights), os.getcwd(), on_error="return")
    others = []
    for worker, there in found.items():
        if isinstance(there, BaseException):
            others.append(f"{worker}, which answers: {_words(there)}")
        elif differing := differences(here, there):
            others.append(f"{worker} with {differing}")
    if others:
        raise InputError(f"workers must have the versions and weights of this command, received "
                         f"{_named(others)}: start the workers from the same environment")


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """What differs, in words; empty if nothing does."""
    return " and ".join(f"{key} {_short(there.get(key, 'missing'))}, here {_short(value)}"
                        for key, value in here.items() if there.get(key) != value)


def versions() -> dict[str, str]:
    """Versions in this process of what decides results."""
    found = {"diffxas": diffxas.__version__,
             "python": ".".join(platform.python_version_tuple()[:2])}
    for name in COMPARED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def what_is_here(models: Sequence[str], folder: str) -> dict[str, str]:
    """Versions, and hashes of models, as this process sees them from ``folder``.

    Parameters
    ----------
    models : as in :func:`check_workers`
    """
    with chdir(folder):
        return {**versions(), **{name: model_hash(name) for name in models}}


def model_hash(model: str) -> str:
    """SHA-256 of ``prior:``, ``surrogate:`` or ``noised:NAME``; ``missing`` if there is none."""
    from diffxas.prior import SHIPPED as PRIORS
    from diffxas.weights import find_model, weights_hash
    from surrogates.loading import SHIPPED as SURROGATES

    shipped = {"prior": PRIORS, "surrogate": SURROGATES, "noised": SURROGATES}
    kind, _, name = model.partition(":")
    try:
        return weights_hash(find_model(name, shipped[kind]))
    except InputError:
        return "missing"


def use_one_thread() -> None:
    """Let the libraries of this process compute with one thread from now on."""
    import torch

    os.environ.update(ONE_THREAD)
    torch.set_num_threads(1)


def keep_freed_memory() -> None:
    """Let this process keep what it frees for its next arrays, where its C library is glibc.

    Dask starts workers so that they hand every freed piece back (MALLOC_TRIM_THRESHOLD_). Arrays
    that come and go by the thousand then take twice the time, in page faults.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


@contextmanager
def one_thread() -> Iterator[None]:
    """The block computes with one thread, as workers do."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _keep_to_one_thread(client: Client) -> None:
    """Workers of now and later compute with one thread, whatever their environment says."""
    from distributed import WorkerPlugin

    class OneThread(WorkerPlugin):  # type: ignore[misc]
        """Sets threads where a worker starts; pickled by value, being local."""

        name = "diffxas-one-thread"

        def setup(self, worker: Any) -> None:
            """See dask's ``WorkerPlugin``."""
            from samplers.cluster import keep_freed_memory, use_one_thread

            use_one_thread()
            keep_freed_memory()

    client.register_plugin(OneThread())


def _named(words: Sequence[str]) -> str:
    more = len(words) - MOST_NAMED
    return "; ".join(words[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
