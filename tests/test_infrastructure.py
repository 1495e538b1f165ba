"""The cluster fails: the scheduler dies, workers are too small, workers come late."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from roots import program

import amos_dask
from amos_dask import AmosDaskError, ClusterOptions
from amos_dask.cluster import connect
from amos_dask.phantom import Archive
from amos_dask.pipeline import samples
from amos_dask.recipe.fused import run_sample
from amos_dask.records import Event, Notice, PhaseStarted


@pytest.fixture
def scheduler() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler that a test may kill, without workers."""
    port = free_port()
    words = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with subprocess.Popen(
        [sys.executable, "-m", "dask", *words], stderr=subprocess.DEVNULL
    ) as process:
        yield process, f"tcp://127.0.0.1:{port}"
        process.kill()


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_worker(address: str, folder: Path) -> subprocess.Popen[bytes]:
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "20"]
    words = [sys.executable, "-m", "dask", "worker", address, *options]
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([*words, "--local-directory", str(folder)], stderr=subprocess.DEVNULL)


def test_a_scheduler_that_dies_is_said_in_one_line(
    scheduler: tuple[subprocess.Popen[bytes], str], phantom: Archive, tmp_path: Path
) -> None:
    process, address = scheduler
    with start_worker(address, tmp_path / "scratch") as worker:
        command = ["run", tmp_path / "R", "--archive", phantom.path, "--cluster", address, "--json"]
        with subprocess.Popen(
            [sys.executable, "-m", "amos_dask", *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"},
        ) as client:
            assert client.stdout is not None
            for line in client.stdout:
                if '"PhaseStarted"' in line and '"sample"' in line:
                    break
            process.send_signal(signal.SIGKILL)
            _, said = client.communicate(timeout=60)
        worker.kill()
    assert client.returncode == 1
    *told, line = said.strip().splitlines()
    assert [text for text in told if not text.startswith("waiting for")] == []
    assert f"the Dask scheduler at {address} is gone" in line
    assert list((tmp_path / "R").rglob("*~")) == []
    program("run", tmp_path / "R", "--archive", phantom.path, "--workers", "1", "--quiet")


def test_workers_that_are_too_small_are_said_before_any_work(
    phantom: Archive, tmp_path: Path
) -> None:
    options = ClusterOptions(workers=1, memory="200MB", dashboard_port=0)
    with pytest.raises(AmosDaskError, match=r"0.20 GB of memory and the largest scan needs"):
        amos_dask.run(tmp_path / "R", phantom.path, cluster=options, progress="none")


def test_a_run_waits_for_workers_and_says_so(
    scheduler: tuple[subprocess.Popen[bytes], str], phantom: Archive, tmp_path: Path
) -> None:
    _, address = scheduler
    told: list[Event] = []
    workers: list[subprocess.Popen[bytes]] = []

    def listen(event: Event) -> None:
        told.append(event)
        if isinstance(event, Notice) and event.message == "waiting for the first worker":
            time.sleep(1)
            workers.append(start_worker(address, tmp_path / "scratch"))

    try:
        result = amos_dask.run(tmp_path / "R", phantom.path, cluster=address, progress=listen)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert result.n_failed == 0
    assert PhaseStarted("sample", result.n_processed) in told


def test_a_path_for_the_report_that_cannot_be_is_said_first(
    phantom: Archive, tmp_path: Path, cluster_address: str
) -> None:
    words: list[Any] = ["run", tmp_path / "R", "--archive", phantom.path]
    said = program(*words, "--performance_report", "/proc/none/x.html", "--quiet", exit_code=1)
    assert "cannot be written" in said.stderr
    assert not (tmp_path / "R" / "grouped").exists()
    report = tmp_path / "report.html"
    program(*words, "--performance_report", report, "--cluster", cluster_address, "--quiet")
    assert "Duration" in report.read_text(encoding="utf-8")


def test_what_was_logged_of_a_sample_whose_worker_dies_is_kept_and_named(
    phantom: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "run_sample", die_of_the_first)
    options = ClusterOptions("local", 2, dashboard_port=0)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        result = amos_dask.run(tmp_path / "R", phantom.path, cluster=options, progress="none")
    assert result.n_failed == 1
    (issue,) = (issue for issue in result.issues if issue.code == "sample_failed")
    assert (issue.sample, issue.severity) == ("amos_0001", "error")
    assert ".amos-dask/logs/amos_0001.log" in issue.action
    log = (tmp_path / "R" / ".amos-dask" / "logs" / "amos_0001.log").read_text(encoding="utf-8")
    assert "died; its nanny said:" in log
    assert "Worker process" in log


def die_of_the_first(task: Any) -> Any:
    """Process a sample, or kill the worker as damaged memory would."""
    if task.sample.sample_id == "amos_0001":
        os.kill(os.getpid(), signal.SIGKILL)
    return run_sample(task)


def test_a_removed_root_ends_the_run(phantom: Archive, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "R"
    n_ended = 0

    def remove(event: Event) -> None:
        nonlocal n_ended
        n_ended += type(event).__name__ == "TaskEnded" and getattr(event, "phase", "") == "sample"
        if n_ended == 6:
            shutil.rmtree(root, ignore_errors=True)

    start = time.monotonic()
    options = ClusterOptions(workers=1, dashboard_port=0)
    with pytest.raises((AmosDaskError, OSError)):
        amos_dask.run(root, phantom.path, cluster=options, progress=remove)
    assert time.monotonic() - start < 60


def test_a_client_that_is_given_may_be_of_a_local_cluster(phantom: Archive, tmp_path: Path) -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        result = amos_dask.run(tmp_path / "R", phantom.path, cluster=client, progress="none")
    assert result.n_failed == 0


def test_with_tls_everything_is_encrypted(phantom: Archive, tmp_path: Path) -> None:
    options = ClusterOptions(workers=1, dashboard_port=0, tls=True)
    with connect(options) as client:
        addresses = [client.scheduler.address, *client.nthreads()]
        assert {address.partition("://")[0] for address in addresses} == {"tls"}
        with pytest.raises((OSError, TypeError)):  # without credentials nobody gets in
            Client(client.scheduler.address.replace("tls", "tcp"), timeout="2s")
        result = amos_dask.run(tmp_path / "R", phantom.path, cluster=client, progress="none")
    assert result.n_failed == 0
