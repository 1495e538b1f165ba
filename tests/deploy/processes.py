"""The containers of pods as plain processes on loopback: the same commands and environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BIN = Path(sys.executable).parent
_START_SECONDS = 60.0


def environment_of(container: dict[str, Any], **more: str) -> dict[str, str]:
    """Return what the container's process would find, and little of what is here."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DASK_", "KUBE", "NUMBA_"))}
    return kept | {item["name"]: item["value"] for item in container.get("env", [])} | more


def command_of(container: dict[str, Any], environment: dict[str, str]) -> list[str]:
    """Return command and arguments, ``$(NAME)`` replaced as Kubernetes does."""
    command = container.get("command", ["amos-dask"])  # the image's entry point
    words = [*command, *container["args"]]
    for name, value in environment.items():
        words = [word.replace(f"$({name})", value) for word in words]
    return [str(BIN / words[0]), *words[1:]]


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[Any]:
    """Yield a process that is ended afterwards."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def scheduler_of(cluster: dict[str, Any], folder: Path, port: int = 0) -> Iterator[tuple[int, int]]:
    """Yield the ports of a DaskCluster's scheduler and of its dashboard."""
    [container] = cluster["spec"]["scheduler"]["spec"]["containers"]
    environment = environment_of(container)
    found = folder / "scheduler.json"
    command = command_of(container, environment)
    command[command.index("0.0.0.0")] = "127.0.0.1"
    command += ["--port", str(port), "--dashboard-address", "127.0.0.1:0"]
    command += ["--scheduler-file", str(found)]
    with running(command, environment, folder / "scheduler.log"):
        about = wait_for_json(found)
        main = urlsplit(about["address"]).port
        assert main is not None
        yield main, about["services"]["dashboard"]


@contextmanager
def workers_of(cluster: dict[str, Any], folder: Path, port: int, n_workers: int) -> Iterator[None]:
    """Run so many workers of a DaskCluster."""
    [container] = cluster["spec"]["worker"]["spec"]["containers"]
    with ExitStack() as stack:
        for number in range(n_workers):
            environment = environment_of(
                container,
                DASK_WORKER_NAME=f"worker-{number}",
                DASK_SCHEDULER_ADDRESS=f"tcp://127.0.0.1:{port}",
            )
            command = command_of(container, environment)
            command[command.index("8788")] = "127.0.0.1:0"
            command += ["--host", "127.0.0.1"]
            log = folder / f"worker-{number}.log"
            stack.enter_context(running(command, environment, log))
        yield


def wait_for_json(path: Path) -> dict[str, Any]:
    """Return what a file holds as soon as it is there, whole."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            time.sleep(0.05)
        else:
            return found
    raise TimeoutError(f"{path} has not appeared")
