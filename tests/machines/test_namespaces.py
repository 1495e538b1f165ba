"""On three hosts, scheduler and two workers: the link of a worker is cut in the middle of a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machines.namespaces import Hosts, why_not
from mini import QUIET
from required import missing
from roots import BARE, assert_same, contents, ct_archive

import amos_dask

pytestmark = [pytest.mark.integration, pytest.mark.netns]
N_SCANS = 16
_PORT = "8786"
# How fast a lost worker is noticed; Dask's own values take half a minute (deploy/README.md).
_WATCHFUL = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
}


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """A scheduler's host, where the client runs too, and two for workers."""
    reason = why_not()
    if reason is not None:
        missing("netns", reason)
    with Hosts("main", "one", "two") as started:
        yield started


def test_a_worker_is_cut_off_in_the_middle_of_a_run(
    hosts: Hosts, tmp_path: Path, cluster_address: str, record_property: Any
) -> None:
    scans = ct_archive(tmp_path / "scans", N_SCANS)
    archive = shutil.make_archive(str(tmp_path / "amos22"), "zip", scans)
    amos_dask.run(tmp_path / "local", archive, cluster=cluster_address, **QUIET)
    start_cluster(hosts, tmp_path)
    address = f"tcp://{hosts.address('main')}:{_PORT}"
    command = ["run", tmp_path / "R", "--archive", archive, "--cluster", address, "--json", *BARE]
    words = [sys.executable, "-m", "amos_dask", *map(str, command)]
    program = hosts.start("main", *words, output=subprocess.PIPE, **_WATCHFUL)
    told = events(program)
    wait_for_samples(told, 2)
    hosts.cut("two")
    cut = time.monotonic()
    result = list(told)[-1]
    record_property("seconds from the cut to the end", time.monotonic() - cut)
    assert program.wait(60) == 0
    assert (result["n_processed"], result["n_failed"]) == (N_SCANS, 0)
    assert_same(contents(tmp_path / "local"), contents(tmp_path / "R"))
    assert list((tmp_path / "R" / "grouped").rglob("*~")) == []


def start_cluster(hosts: Hosts, scratch: Path) -> None:
    dask = [sys.executable, "-m", "dask"]
    main = hosts.address("main")
    hosts.start("main", *dask, "scheduler", "--host", main, "--port", _PORT, **_WATCHFUL)
    wait_for(hosts, _ANSWERS)  # else workers end after their 2 s when the scheduler starts slowly
    for name in ("one", "two"):
        options = ["--host", hosts.address(name), "--nthreads", "1", "--name", name]
        options += ["--local-directory", str(scratch / name)]
        hosts.start(name, *dask, "worker", f"tcp://{main}:{_PORT}", *options, **_WATCHFUL)
    wait_for(hosts, _HAS_BOTH)


_ANSWERS = """if True:
    import socket, sys, time
    while socket.socket().connect_ex((sys.argv[1], int(sys.argv[2]))):
        time.sleep(0.05)
"""
_HAS_BOTH = """if True:
    import sys
    from distributed import Client
    with Client(f"tcp://{sys.argv[1]}:{sys.argv[2]}", timeout=30) as client:
        client.wait_for_workers(2, 30)
"""


def wait_for(hosts: Hosts, script: str) -> None:
    """Wait until a script on the scheduler's host has ended."""
    waiting = hosts.start("main", sys.executable, "-c", script, hosts.address("main"), _PORT)
    assert waiting.wait(60) == 0


def events(program: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert program.stdout is not None
    with program.stdout:
        for line in program.stdout:
            yield json.loads(line)


def wait_for_samples(told: Iterator[dict[str, Any]], count: int) -> None:
    for event in told:
        count -= event["event"] == "TaskEnded" and event["phase"] == "sample"
        if count <= 0:
            return
