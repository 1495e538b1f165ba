"""The cluster fails: scheduler, nannies and workers die, are too small, come late."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
import nibabel as nib
import numpy as np
import psutil
import pytest
from deploy.processes import wait_for_json
from distributed import Client, LocalCluster
from mini import QUIET
from roots import BARE, assert_same, contents, ct_archive, issues, program

import amos_dask
from amos_dask import AmosDaskError, ClusterOptions
from amos_dask.engine import session, workers
from amos_dask.engine.connect import connect
from amos_dask.engine.events import Event, Notice, TaskEnded, WorkStarted
from amos_dask.kernels import warm_up
from amos_dask.sample.make import make_sample

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return three small scans, for those who look at the cluster only."""
    return ct_archive(tmp_path_factory.mktemp("few"), 3)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return so many that something can happen in the middle of a run."""
    return ct_archive(tmp_path_factory.mktemp("scans"), 6)


@pytest.fixture(scope="module")
def expected(scans: Path, cluster_address: str) -> dict[str, Any]:
    """Return what an undisturbed run makes of them."""
    root = scans.parent / "expected"
    amos_dask.run(root, scans, cluster=cluster_address, **QUIET)
    return contents(root)


@pytest.fixture(scope="module")
def scheduler(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler without workers; the last test that has it kills it."""
    about = tmp_path_factory.mktemp("scheduler") / "scheduler.json"
    words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    words += ["--scheduler-file", str(about)]
    with subprocess.Popen(
        [sys.executable, "-m", "dask", *words], stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process, wait_for_json(about)["address"]
        finally:
            process.kill()


def start_worker(address: str, folder: Path, nanny: str = "--no-nanny") -> subprocess.Popen[bytes]:
    options = ["--nthreads", "1", nanny, "--no-dashboard", "--death-timeout", "20"]
    words = [sys.executable, "-m", "dask", "worker", address, *options]
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([*words, "--local-directory", str(folder)], stderr=subprocess.DEVNULL)


def test_workers_that_are_too_small_are_said_before_any_work(few: Path, tmp_path: Path) -> None:
    options = ClusterOptions(workers=1, memory="200MB", dashboard_port=0)
    with pytest.raises(AmosDaskError, match=r"0.20 GB of memory and the largest scan needs"):
        amos_dask.run(tmp_path / "R", few, cluster=options, progress="none")


def write_noise(folder: Path, number: int) -> None:
    """Write a scan of a million small regions: more records than its size lets one expect."""
    mask = np.zeros((256, 256, 128), np.uint8, order="F")
    mask[::2, ::2, ::2] = 1
    for kind, values in (("imagesTr", np.zeros_like(mask)), ("labelsTr", mask)):
        nib.save(nib.Nifti1Image(values, np.eye(4)), folder / kind / f"amos_{number:04d}.nii.gz")


def test_a_sample_that_takes_more_memory_than_a_worker_has_fails_alone(
    scans: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    warm_up()  # compiling would take memory as well
    archive = Path(shutil.copytree(scans, tmp_path / "archive"))
    write_noise(archive, 400)
    command = ["run", tmp_path / "R", "--archive", archive, "--quiet", *BARE]
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        said = program(*command, "--workers", "2", "--memory", "500MB", exit_code=3)
    assert "amos_0400" in said.output
    (issue,) = (issue for issue in issues(tmp_path / "R") if issue["severity"] == "error")
    assert (issue["sample"], issue["code"]) == ("amos_0400", "sample_failed")
    assert "more memory than a worker has" in issue["message"]
    assert "--memory" in issue["message"]
    found = contents(tmp_path / "R")
    good, found = (
        {name: of for name, of in tree.items() if not name.endswith((".xlsx", ".jsonl"))}
        for tree in (expected, found)
    )
    assert any(name.endswith("_mask.nii.gz") for name in good)
    assert_same(good, found)
    assert list((tmp_path / "R").rglob("*~")) == []


def test_workers_that_die_while_they_compile_are_said_in_one_line(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_warm_up", lambda: os._exit(17))
    options = ["--archive", few, "--workers", "1", "--dashboard_port", "0", "--quiet"]
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        said = program("run", tmp_path / "R", *options, exit_code=1)
    (line,) = said.stderr.strip().splitlines()
    assert "workers die again and again" in line
    assert "--memory" in line
    assert not (tmp_path / "R" / "grouped").exists()


def test_a_run_waits_for_workers_and_says_so(
    scheduler: tuple[subprocess.Popen[bytes], str], few: Path, tmp_path: Path
) -> None:
    _, address = scheduler
    told: list[Event] = []
    workers: list[subprocess.Popen[bytes]] = []

    def listen(event: Event) -> None:
        told.append(event)
        if isinstance(event, Notice) and event.message == "waiting for the first worker":
            workers.append(start_worker(address, tmp_path / "scratch"))

    try:
        how = QUIET | {"progress": listen}
        result = amos_dask.run(tmp_path / "R", few, cluster=address, **how)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert result.n_failed == 0
    assert WorkStarted("sample", result.n_processed) in told


def test_a_nanny_is_killed_in_the_middle_of_a_run(
    scheduler: tuple[subprocess.Popen[bytes], str],
    scans: Path,
    expected: dict[str, Any],
    tmp_path: Path,
) -> None:
    """Of a local cluster they are part of the client: see test_killed."""
    _, address = scheduler
    nannies = [start_worker(address, tmp_path / name, "--nanny") for name in "ab"]
    orphans: list[psutil.Process] = []

    def kill(event: Event) -> None:
        if not orphans and isinstance(event, TaskEnded) and event.work == "sample":
            orphans.extend(psutil.Process(nannies[0].pid).children(recursive=True))
            nannies[0].kill()

    try:
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=30)
            result = amos_dask.run(
                tmp_path / "R", scans, cluster=client, **QUIET | {"progress": kill}
            )
    finally:
        for nanny in nannies:
            nanny.terminate()
            nanny.wait()
    assert result.n_failed == 0
    assert_same(expected, contents(tmp_path / "R"))
    assert orphans
    assert psutil.wait_procs(orphans, timeout=10)[1] == []  # no worker outlives its nanny


def test_a_scheduler_that_dies_is_said_in_one_line(
    scheduler: tuple[subprocess.Popen[bytes], str],
    scans: Path,
    expected: dict[str, Any],
    tmp_path: Path,
    cluster_address: str,
) -> None:
    process, address = scheduler
    with start_worker(address, tmp_path / "scratch") as worker:
        command = ["run", tmp_path / "R", "--archive", scans, "--cluster", address, "--json"]
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
    program(*command[:4], "--cluster", cluster_address, "--quiet", *BARE)
    assert_same(expected, contents(tmp_path / "R"))


def test_a_path_for_the_report_that_cannot_be_is_said_first(
    few: Path, tmp_path: Path, cluster_address: str
) -> None:
    words: list[Any] = ["run", tmp_path / "R", "--archive", few, *BARE]
    said = program(*words, "--performance_report", "/proc/none/x.html", "--quiet", exit_code=1)
    assert "cannot be written" in said.stderr
    assert not (tmp_path / "R" / "grouped").exists()
    report = tmp_path / "report.html"
    program(*words, "--performance_report", report, "--cluster", cluster_address, "--quiet")
    assert "Duration" in report.read_text(encoding="utf-8")


def test_what_was_logged_of_a_sample_whose_worker_dies_is_kept_and_named(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("amos_dask.run"), "make_sample", die_of_the_first)
    options = ClusterOptions("local", 2, dashboard_port=0)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        result = amos_dask.run(tmp_path / "R", few, cluster=options, **QUIET)
    assert result.n_failed == 1
    (issue,) = (issue for issue in result.issues if issue.code == "sample_failed")
    assert (issue.sample, issue.severity) == ("amos_0001", "error")
    assert ".amos-dask/logs/amos_0001.log" in issue.action
    log = (tmp_path / "R" / ".amos-dask" / "logs" / "amos_0001.log").read_text(encoding="utf-8")
    assert "died; its nanny said:" in log
    assert "Worker process" in log


def die_of_the_first(task: Any) -> Any:
    """Process a sample, or kill the worker as damaged memory would."""
    if task.name == "amos_0001":
        os.kill(os.getpid(), signal.SIGKILL)
    return make_sample(task)


def test_a_removed_root_ends_the_run(scans: Path, tmp_path: Path) -> None:
    root = tmp_path / "R"
    n_ended = 0

    def remove(event: Event) -> None:
        nonlocal n_ended
        n_ended += type(event).__name__ == "TaskEnded" and getattr(event, "work", "") == "sample"
        if n_ended == 3:
            shutil.rmtree(root, ignore_errors=True)

    start = time.monotonic()
    options = ClusterOptions(workers=1, dashboard_port=0)
    with pytest.raises((AmosDaskError, OSError)):
        amos_dask.run(root, scans, cluster=options, **QUIET | {"progress": remove})
    assert time.monotonic() - start < 60


def test_with_tls_everything_is_encrypted(few: Path, tmp_path: Path) -> None:
    options = ClusterOptions(workers=1, dashboard_port=0, tls=True)
    with connect(options) as client:
        addresses = [client.scheduler.address, *client.nthreads()]
        assert {address.partition("://")[0] for address in addresses} == {"tls"}
        with pytest.raises((OSError, TypeError)):  # without credentials nobody gets in
            Client(client.scheduler.address.replace("tls", "tcp"), timeout="2s")
        result = amos_dask.run(tmp_path / "R", few, cluster=client, **QUIET)
    assert result.n_failed == 0


@pytest.fixture
def of_a_local_cluster() -> Iterator[Client]:
    """Return a client of a worker of its own: Dask retires no last worker that holds a result."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_a_client_that_is_given_may_be_of_a_local_cluster(
    of_a_local_cluster: Client, few: Path, tmp_path: Path
) -> None:
    result = amos_dask.run(tmp_path / "R", few, cluster=of_a_local_cluster, **QUIET)
    assert result.n_failed == 0


def test_kernels_are_not_waited_for_on_a_worker_that_is_taken_away(
    of_a_local_cluster: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an autoscaler does, with the last worker that there is, before another has started."""
    client = of_a_local_cluster

    def compile_for_long() -> None:
        workers.tell_compiling()
        time.sleep(60)

    def listen(event: Event) -> None:
        if isinstance(event, Notice) and "compiling" in event.message:
            client.retire_workers(list(client.nthreads()))

    monkeypatch.setattr(workers, "_warm_up", compile_for_long)
    started = time.monotonic()
    with session.open_session(client, listen) as opened:
        opened.prepare_kernels()
    assert time.monotonic() - started < 50
