"""``cluster check``: what it sees of workers, and what it says stands in the way."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from roots import program

import amos_dask
from amos_dask import cluster_check as pipeline_check
from amos_dask.engine import workers as engine_check
from amos_dask.engine.connect import count_workers
from amos_dask.engine.events import Event, Notice
from amos_dask.engine.options import ClusterOptions
from amos_dask.engine.workers import (
    WorkerView,
    find_problems,
    forwarding_line,
    look_at_workers,
    versions,
)
from amos_dask.errors import ClusterError
from amos_dask.phantom import Archive

GOOD = WorkerView("tcp://10.0.0.1:1", "node1", versions(), 4_000_000_000, free_bytes=10**12)

# A worker on whose machine a distribution is not installed.
WORKER_WITHOUT = """
import importlib.metadata, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "amos_dask":
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Absent())
true = importlib.metadata.version
def version(name):
    if name == "amos-dask":
        raise importlib.metadata.PackageNotFoundError(name)
    return true(name)
importlib.metadata.version = version
from distributed.cli.dask_worker import main
main([sys.argv[1], "--no-nanny", "--nthreads", "1", "--no-dashboard"])
"""


# ---------------------------------------------------------------- problems


def with_version(name: str, version: str) -> WorkerView:
    return replace(GOOD, versions=tuple((dict(versions()) | {name: version}).items()))


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        (with_version("numba", "0.1"), "node1 has numba 0.1, this machine "),
        (with_version("amos-dask", "missing"), "node1 has no amos-dask, this machine "),
        (replace(GOOD, unseen=("/shared",), unwritable=("/shared",)), "node1 does not see /shared"),
        (replace(GOOD, unwritable=("/shared",)), "node1 cannot write to /shared"),
        (
            replace(GOOD, unwritable=("/shared",), user="7:8"),
            "node1 cannot write to /shared as user 7:8",
        ),
        (replace(GOOD, versions=(("python", "3.9"),)), "node1 has python 3.9, this machine "),
        (replace(GOOD, versions=(), failure="is gone"), "node1 cannot be used: is gone"),
    ],
)
def test_a_problem_is_a_sentence_with_the_host(view: WorkerView, problem: str) -> None:
    found = find_problems([GOOD, view, view])
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_good_workers_are_no_problem() -> None:
    assert find_problems([GOOD, GOOD]) == []


# ---------------------------------------------------------------- workers


@pytest.fixture(scope="module")
def lone_cluster() -> Iterator[LocalCluster]:
    """A cluster of one worker, for tests that add others and take them away again."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    ) as cluster:
        yield cluster


def test_a_worker_without_amos_dask_is_named(lone_cluster: LocalCluster, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER_WITHOUT, lone_cluster.scheduler_address]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=tmp_path) as worker:
        try:
            with Client(lone_cluster, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=30)
            report = amos_dask.check_cluster(
                tmp_path / "R", cluster=lone_cluster.scheduler_address, progress="none"
            )
        finally:
            worker.terminate()
    assert len(report.workers) == 2
    assert len(report.problems) == 1
    host = report.workers["host"].iloc[0]
    assert report.problems[0].startswith(f"{host} has no amos-dask, this machine ")


def test_a_worker_with_another_python_is_not_asked(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = client.get_versions()
    for found in truth["workers"].values():
        found["packages"]["python"] = "3.9.1.final.0"
    monkeypatch.setattr(client, "get_versions", lambda packages: truth)
    views = look_at_workers(client, ("/nowhere",), ())
    assert [view.versions[0] for view in views] == [("python", "3.9")] * 2
    assert [view.unseen for view in views] == [()] * 2
    assert "has python 3.9, this machine 3." in " ".join(find_problems(views))


def test_a_worker_says_what_it_sees(tmp_path: Path) -> None:
    with Client(processes=False, dashboard_address="127.0.0.1:0", set_as_default=False) as client:
        (view,) = look_at_workers(client, ("/nowhere/amos22.zip",), (str(tmp_path), "/nowhere/R"))
    assert view.host == socket.gethostname()
    assert view.unseen == ("/nowhere/amos22.zip", "/nowhere/R")
    assert view.unwritable == ("/nowhere/R",)
    assert view.free_bytes > 0


def test_a_folder_of_the_same_name_elsewhere_is_not_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def probes(folders: Any) -> Iterator[dict[str, str]]:
        yield {str(tmp_path): str(tmp_path / "on another disk")}

    monkeypatch.setattr(engine_check, "_probes", probes)
    with Client(processes=False, dashboard_address="127.0.0.1:0", set_as_default=False) as client:
        views = look_at_workers(client, (), (str(tmp_path),))
    (problem,) = find_problems(views)
    assert problem.endswith(f" does not see what this machine writes to {tmp_path}")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may start a worker as somebody else")
@pytest.mark.parametrize(
    ("user", "umask", "is_fine"), [(10001, 0o022, False), (10001, 0, True), (0, 0o022, True)]
)
def test_who_cannot_write_to_the_others_folders_is_told_before_work(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    umask: int,
    is_fine: bool,
) -> None:
    def look_as_another(*arguments: Any) -> Any:
        from amos_dask.engine.workers import _look

        before = os.umask(umask)
        os.setegid(user)
        os.seteuid(user)
        try:
            return _look(*arguments)
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.umask(before)

    monkeypatch.setattr(engine_check, "_look", look_as_another)
    before = os.umask(umask)
    try:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o777)  # unlike pytest's, one that others may enter
            problems = find_problems(look_at_workers(client, (), (folder,)))
            assert list(Path(folder).iterdir()) == []
    finally:
        os.umask(before)
    words = (
        f"{socket.gethostname()} (user {user}:{user}) and this machine (user 0:0) cannot write to "
        f"each other's folders in {folder}"
    )
    assert problems == ([] if is_fine else [words])


def test_a_cluster_without_workers_is_given_up() -> None:
    with (
        Client(
            n_workers=0, processes=False, dashboard_address="127.0.0.1:0", set_as_default=False
        ) as client,
        pytest.raises(ClusterError, match="no worker has started within 0 s"),
    ):
        look_at_workers(client, (), (), wait_seconds=0.1)


def test_a_worker_that_cannot_answer_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*arguments: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(engine_check, "_look", look)
    views = look_at_workers(client, (), ())
    (problem,) = find_problems(views)
    assert "cannot be used: " in problem


def test_the_workers_asked_for_are_waited_for(lone_cluster: LocalCluster) -> None:
    with Client(lone_cluster, set_as_default=False) as client:
        start = time.monotonic()
        assert len(look_at_workers(client, (), (), n_workers=3, seconds_for_others=0.5)) == 1
        assert time.monotonic() - start >= 0.5
        lone_cluster.scale(2)
        assert len(look_at_workers(client, (), (), n_workers=2)) == 2


def test_workers_that_have_not_started_are_counted(
    cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(*arguments: Any, n_workers: int) -> list[WorkerView]:
        return look_at_workers(*arguments, n_workers=n_workers, seconds_for_others=0.1)

    monkeypatch.setattr(pipeline_check, "count_workers", lambda options: 32)
    monkeypatch.setattr(pipeline_check, "look_at_workers", impatient)
    report = amos_dask.check_cluster(cluster=cluster_address, progress="none")
    assert report.problems == ("2 of 32 workers started",)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (ClusterOptions("local"), len(os.sched_getaffinity(0))),
        (ClusterOptions("local", 3), 3),
        (ClusterOptions("slurm"), 4),
        (ClusterOptions("slurm", 32), 32),
        (ClusterOptions("kubernetes", 5), 5),
        (ClusterOptions("tcp://node1:8786", 5), None),
    ],
)
def test_how_many_workers_are_asked_for(options: ClusterOptions, count: int | None) -> None:
    assert count_workers(options) == count


@pytest.mark.parametrize(
    ("link", "environment", "line"),
    [
        ("http://10.0.0.7:8787/status", {}, "ssh -L 8787:10.0.0.7:8787 here"),
        (
            "http://10.0.0.7:8787/status",
            {"SLURM_SUBMIT_HOST": "login1"},
            "ssh -L 8787:10.0.0.7:8787 login1",
        ),
        (
            "http://127.0.0.1:8787/status",
            {"SLURM_SUBMIT_HOST": "login1"},
            "ssh -L 8787:127.0.0.1:8787 here",
        ),
    ],
)
def test_the_forwarding_line_leads_to_the_dashboard_from_outside(
    monkeypatch: pytest.MonkeyPatch, link: str, environment: dict[str, str], line: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    hosts = ("SLURM_SUBMIT_HOST", "PBS_O_HOST", "LSB_SUB_HOST", "SGE_O_HOST")
    for name in (*hosts, "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert forwarding_line(link) == line


def test_what_must_be_seen_are_absolute_paths_and_no_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    to_read = ["amos22.zip", "s3://bucket/amos22.zip", "https://here/a.zip"]
    with Client(processes=False, dashboard_address="127.0.0.1:0", set_as_default=False) as client:
        (view,) = look_at_workers(client, to_read, ["/nowhere/R"])
    assert view.unseen == (str(tmp_path / "amos22.zip"), "/nowhere/R")


# ---------------------------------------------------------------- check_cluster


def check(root: Path | None, cluster: str, archive: Path | None = None) -> tuple[str, ...]:
    return amos_dask.check_cluster(root, archive, cluster=cluster, progress="none").problems


def free_disk(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    """Let the workers tell of so much free disk."""

    def look(*arguments: Any, **options: Any) -> list[WorkerView]:
        return [replace(v, free_bytes=n_bytes) for v in look_at_workers(*arguments, **options)]

    monkeypatch.setattr(pipeline_check, "look_at_workers", look)


def test_a_root_to_be_without_an_archive_is_fine(cluster_address: str, root: Path) -> None:
    assert check(root / "of" / "nobody", cluster_address) == ()
    assert not root.exists()


def test_it_is_said_that_workers_are_waited_for(cluster_address: str) -> None:
    told: list[Event] = []
    amos_dask.check_cluster(cluster=cluster_address, progress=told.append)
    assert Notice("waiting for the workers") in told


@pytest.mark.parametrize("form", ["archive", "amos22.zip"])
def test_the_archive_in_root_is_looked_at(
    cluster_address: str, root: Path, form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root.mkdir()
    how = "zip" if form == "amos22.zip" else "folder"
    made = amos_dask.write_archive(tmp_path, n_ct=1, n_mri=0, size="tiny", form=how).path
    shutil.move(made, root / form)
    free_disk(monkeypatch, 1)
    (problem,) = check(root, cluster_address)
    assert "GB of free disk" in problem


def test_no_free_disk_at_all_is_a_problem(
    cluster_address: str, root: Path, phantom: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_disk(monkeypatch, 0)
    (problem,) = check(root, cluster_address, phantom.path)
    assert "has 0.0 GB of free disk" in problem


def test_what_is_done_needs_no_room_again(
    cluster_address: str,
    processed_root: Path,
    phantom: Archive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free_disk(monkeypatch, 0)
    assert check(processed_root, cluster_address, phantom.path) == ()


def test_an_archive_without_a_root_needs_no_disk(cluster_address: str, phantom: Archive) -> None:
    assert check(None, cluster_address, phantom.path) == ()


def test_too_little_memory_is_a_problem(
    cluster_address: str, root: Path, phantom: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_check, "largest_scan_bytes", lambda samples: 10**15)
    problems = check(root, cluster_address, phantom.path)
    assert len(problems) == 1
    # Dask gives a worker no tasks above 80 % of its memory: `run` asks for as much.
    assert "GB of memory, the largest scan needs 1250000.0 GB" in problems[0]


# ---------------------------------------------------------------- the command


def test_the_command_tells_as_json(cluster_address: str, root: Path, phantom: Archive) -> None:
    words = ("--cluster", cluster_address, "--root_dir", root, "--archive", phantom.path)
    report = json.loads(program("cluster", "check", *words, "--json").stdout.splitlines()[-1])
    assert report["problems"] == []
    assert len(report["workers"]) == 2
    assert {worker["failure"] for worker in report["workers"]} == {""}
    assert all(worker["free_bytes"] > 0 for worker in report["workers"])


def test_the_command_fails_with_the_problems(cluster_address: str) -> None:
    words = ("--cluster", cluster_address, "--archive", "/nowhere/amos22.zip")
    assert "/nowhere/amos22.zip" in program("cluster", "check", *words, exit_code=1).output
