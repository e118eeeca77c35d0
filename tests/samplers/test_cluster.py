"""Workers: what is refused, and that they change no digit."""

import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_runner import refused, run
from small_runs import require_weights

import samplers.cluster
from diffxas.errors import InputError
from samplers.cluster import check_workers, model_hash, one_thread, open_cluster, versions

TINY = """
densities = [2.0, 3.0]
atoms = 24
steps = 2
samples = 2
no-relax = true
no-guidance = true
"""


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Any]:
    """A scheduler with one worker, all within this process, which starts at once."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, protocol="tcp",
                      host="127.0.0.1", dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker of this process leaves the threads of the other tests alone."""
    monkeypatch.setattr(samplers.cluster, "use_one_thread", lambda: None)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_without_options_there_is_no_client() -> None:
    with open_cluster(None, None) as client:
        assert client is None


@pytest.mark.parametrize(("workers", "address", "told"), [
    (0, None, "--workers must be 1 or more, received 0"),
    (-2, None, "received -2"), (2, "tcp://a:1", "must not go together")])
def test_contradictions_are_refused(workers: int, address: str | None, told: str) -> None:
    with pytest.raises(InputError, match=told), open_cluster(workers, address):
        pass


def test_a_scheduler_that_is_not_there_is_named(tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    require_weights()
    monkeypatch.setattr(samplers.cluster, "REACHED_WITHIN", 0.3)
    (tmp_path / "campaign.toml").write_text(TINY)
    for address in (f"tcp://127.0.0.1:{free_port()}", "nonsense"):
        told = refused("campaign", tmp_path / "campaign.toml", "--out", tmp_path / "out",
                       "--scheduler", address)
        assert "address of a running dask scheduler" in told and address in told
    assert not (tmp_path / "out").exists()


def test_a_scheduler_without_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(samplers.cluster, "ARRIVED_WITHIN", 0.3)
    with LocalCluster(n_workers=0, processes=False, protocol="tcp", host="127.0.0.1",
                      dashboard_address=None) as cluster, \
            pytest.raises(InputError, match="must have workers"), \
            open_cluster(None, cluster.scheduler_address):
        pass


def test_workers_of_several_threads_are_refused() -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, protocol="tcp",
                      host="127.0.0.1", dashboard_address=None) as cluster, \
            pytest.raises(InputError, match=r"one thread each, received .* with 2"), \
            open_cluster(None, cluster.scheduler_address):
        pass


def test_the_workers_of_a_scheduler_compute_and_stay(scheduler: Any) -> None:
    for _ in range(2):
        with open_cluster(None, scheduler.scheduler_address) as client:
            assert client is not None and client.submit(sum, [1, 2]).result() == 3


def test_workers_of_another_version_are_refused(scheduler: Any,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    there = {**versions(), "diffxas": "0.0.1"}
    monkeypatch.setattr(samplers.cluster, "what_is_here", lambda models, folder: there)
    with pytest.raises(InputError, match=r"tcp://.* with diffxas 0\.0\.1, here"), \
            open_cluster(None, scheduler.scheduler_address):
        pass


def test_workers_without_the_package_are_refused(scheduler: Any,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(models: Any, folder: str) -> None:
        raise ModuleNotFoundError("No module named 'diffxas'")

    monkeypatch.setattr(samplers.cluster, "what_is_here", missing)
    with pytest.raises(InputError, match="which answers: No module named"), \
            open_cluster(None, scheduler.scheduler_address):
        pass


def test_workers_with_other_weights_are_refused(scheduler: Any, tmp_path: Path) -> None:
    require_weights()
    here = model_hash("prior:a-C")
    with open_cluster(None, scheduler.scheduler_address) as client:
        assert client is not None
        check_workers(client, {"prior:a-C": here})
        with pytest.raises(InputError, match=f"prior:a-C {here[:12]}, here 000000000000"):
            check_workers(client, {"prior:a-C": 64 * "0"})
        with pytest.raises(InputError, match=f"surrogate:{tmp_path} missing, here {here[:12]}"):
            check_workers(client, {f"surrogate:{tmp_path}": here})


def test_one_thread_ends_with_the_block() -> None:
    import torch

    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


FAULTS = """
import resource, sys
import numpy as np
from samplers.cluster import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def work():
    for _ in range(200):
        np.ones(100_000)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_stays_with_a_worker() -> None:
    def faults(how: str) -> int:
        environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}  # as dask starts workers
        done = subprocess.run([sys.executable, "-c", FAULTS, how], env=environment, check=True,
                              capture_output=True, text=True, cwd=Path(__file__).parents[2])
        return int(done.stdout)

    assert faults("kept") < 0.1 * faults("given back")


@pytest.mark.slow
def test_workers_change_no_digit(tmp_path: Path) -> None:
    require_weights()
    (tmp_path / "campaign.toml").write_text(TINY)
    for name, words in (("one", ()), ("two", ("--workers", 2))):
        result = run("campaign", tmp_path / "campaign.toml", "--out", tmp_path / name, *words)
        assert result.exit_code == 0, result.output
    for member in ("2", "3"):
        one, two = ((tmp_path / name / member / "structures.extxyz").read_bytes()
                    for name in ("one", "two"))
        assert one == two
    tables = [[line.split(",")[:30] for line in (tmp_path / name / "campaign.csv").read_text()
               .splitlines()] for name in ("one", "two")]
    assert tables[0] == tables[1] and len(tables[0]) == 3


@pytest.mark.slow
def test_a_member_whose_worker_is_killed_goes_on_on_another(tmp_path: Path) -> None:
    import signal

    from samplers.campaign_member import run_member
    from samplers.campaign_setup import KIND, RunFolder, set_up_campaign
    from samplers.commands import generate

    require_weights()
    file = tmp_path / "campaign.toml"
    file.write_text(TINY.replace("[2.0, 3.0]", "[2.0]").replace("steps = 2", "steps = 12"))
    found = [set_up_campaign(file, tmp_path / name, generate) for name in ("alone", "killed")]
    for one in found:
        RunFolder(one.out, KIND).begin()
    assert run_member(found[0].tasks["2"]).reason == ""
    with open_cluster(2, None) as client:
        assert client is not None
        processes = client.run(os.getpid)
        future = client.submit(run_member, found[1].tasks["2"], pure=False)
        until = time.monotonic() + 300
        while not (tmp_path / "killed" / "2" / ".work" / "sample_0.npz").is_file():
            assert time.monotonic() < until
            time.sleep(0.02)
        (busy,) = [worker for worker, keys in client.processing().items() if keys]
        os.kill(processes[busy], signal.SIGKILL)
        assert future.result(timeout=300).reason == ""
    first, second = ((one.out / "2" / "structures.extxyz").read_bytes() for one in found)
    assert first == second
