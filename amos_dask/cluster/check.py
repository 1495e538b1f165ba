"""What the workers of a cluster are, and what they see."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from amos_dask.errors import ClusterError

# Results and pickles must agree between client and workers on these.
_PACKAGES = ("amos-dask", "dask", "distributed", "numpy", "numba", "nibabel", "isal", "pandas")


@dataclass(frozen=True)
class WorkerView:
    """What one worker says of itself.

    Parameters
    ----------
    address, host : str
        Where it is.
    versions : tuple of (str, str)
        Python, amos-dask and the libraries that results depend on.
    memory_bytes : int
        Its limit; 0 without one.
    unseen : tuple of str
        Paths that do not exist there.
    unwritable : tuple of str
        Folders in which it cannot write.
    free_bytes : int
        Free disk under the first folder to write to.
    """

    address: str
    host: str
    versions: tuple[tuple[str, str], ...]
    memory_bytes: int
    unseen: tuple[str, ...]
    unwritable: tuple[str, ...]
    free_bytes: int


def look_at_workers(
    client: Any, to_read: Sequence[str], to_write: Sequence[str], wait_seconds: float = 300
) -> list[WorkerView]:
    """Ask every worker; waits for the first one.

    Raises
    ------
    ClusterError
        When no worker starts in time.
    """
    try:
        client.wait_for_workers(1, timeout=wait_seconds)
    except TimeoutError as error:
        raise ClusterError(
            f"no worker has started within {wait_seconds:.0f} s; look at the queue and at the "
            "workers' logs."
        ) from error
    found = client.run(_look, tuple(to_read), tuple(to_write))
    info = client.scheduler_info(n_workers=-1)["workers"]
    return [
        WorkerView(address, memory_bytes=info[address]["memory_limit"] or 0, **view)
        for address, view in found.items()
        if address in info
    ]


def versions() -> tuple[tuple[str, str], ...]:
    """Return the versions that client and workers must share."""
    from importlib.metadata import PackageNotFoundError, version

    found = [("python", ".".join(platform.python_version_tuple()[:2]))]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "missing"))
    return tuple(found)


def find_problems(views: Sequence[WorkerView]) -> list[str]:
    """Return what stands in the way of work, a sentence each, naming a host."""
    ours = dict(versions())
    problems = []
    for view in views:
        problems += [
            f"{view.host} has {name} {version}, this machine {ours[name]}"
            for name, version in view.versions
            if version != ours[name]
        ]
        problems += [f"{view.host} does not see {path}" for path in view.unseen]
        problems += [
            f"{view.host} cannot write to {path}"
            for path in view.unwritable
            if path not in view.unseen
        ]
    return list(dict.fromkeys(problems))


def is_on_this_machine(client: Any) -> bool:
    """Return whether a client's workers are processes that were started here."""
    from distributed import LocalCluster

    return isinstance(client.cluster, LocalCluster)


def _look(to_read: Sequence[str], to_write: Sequence[str]) -> dict[str, Any]:
    """Run on a worker."""
    return {
        "host": socket.gethostname(),
        "versions": versions(),
        "unseen": tuple(path for path in (*to_read, *to_write) if not Path(path).exists()),
        "unwritable": tuple(path for path in to_write if not os.access(path, os.W_OK)),
        "free_bytes": _free_bytes(to_write),
    }


def _free_bytes(folders: Sequence[str]) -> int:
    try:
        return shutil.disk_usage(folders[0]).free if folders else 0
    except OSError:
        return 0


def ssh_line(dashboard_link: str) -> str:
    """Return the command that brings a dashboard on a cluster to one's own browser."""
    place = urlsplit(dashboard_link)
    return f"ssh -L {place.port}:{place.hostname}:{place.port} {socket.gethostname()}"
