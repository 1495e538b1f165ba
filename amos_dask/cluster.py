"""From a cluster's description to a Dask client. Listens on loopback only, unless told."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from amos_dask.errors import ClusterError

# Dask starts workers with a small MALLOC_TRIM_THRESHOLD_, which makes glibc map and unmap each
# chunk of voxels: a fifth of a CT's time goes into page faults.
_ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": 256 << 20,
    "MALLOC_MMAP_THRESHOLD_": 64 << 20,
    "MALLOC_ARENA_MAX": 1,
}
_ONE_THREAD_EACH = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), 1
)
LOOPBACK = "127.0.0.1"
_ADDRESS = re.compile(
    r"(?:(?:tcp|tls|ucx|ws|wss)://)?[^/\s:]+:\d{1,5}|(?:tcp|tls)://\[[^]]+\]:\d{1,5}"
)


@dataclass(frozen=True)
class ClusterOptions:
    """Where to run.

    Parameters
    ----------
    cluster : str
        ``local``, or the address of a running scheduler such as ``tcp://node1:8786``.
    workers : int, optional
        Processes of a local cluster, one thread each; by default one for each core.
    memory_limit : str
        Memory of each local worker, such as ``4GB``; ``auto`` shares the machine's.
    dashboard_port : int
        Port of a local cluster's dashboard; another free one is taken when it is in use.
    local_directory : str, optional
        Where workers keep temporary files.
    tls : bool
        Encrypt and authenticate what passes between client, scheduler and workers: of a local
        cluster with credentials made for it, at an address with those of Dask's configuration.
    """

    cluster: str = "local"
    workers: int | None = None
    memory_limit: str = "auto"
    dashboard_port: int = 8787
    local_directory: str | None = None
    tls: bool = False


@contextmanager
def connect(options: ClusterOptions) -> Iterator[Any]:
    """Yield a `distributed.Client` and close what was started for it.

    Raises
    ------
    ClusterError
        When the cluster cannot be started or reached.
    """
    from distributed import Client

    if options.cluster != "local":
        _require_address(options.cluster)
        try:
            client = Client(
                options.cluster, timeout="10s", set_as_default=False, security=_security(options)
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(f"{options.cluster}: no Dask scheduler answers there.") from error
        with client:
            yield client
        return
    try:
        local = _local_cluster(options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"the local Dask cluster cannot start: {error} "
            "(a script that calls amos_dask needs 'if __name__ == \"__main__\":')"
        ) from error
    with local as cluster, Client(cluster, set_as_default=False) as client:
        client.run(_leave_interrupts_to_the_client)
        yield client


def _security(options: ClusterOptions) -> Any:
    """Return Dask's TLS credentials: new ones for a local cluster, else the configured ones."""
    if not options.tls:
        return None
    from distributed import Security

    if options.cluster != "local":
        return Security(require_encryption=True)
    try:
        return Security.temporary()
    except ImportError as error:
        raise ClusterError("--tls needs 'pip install \"amos-dask[tls]\"'.") from error


def _require_address(address: str) -> None:
    if not _ADDRESS.fullmatch(address):
        raise ClusterError(
            f"{address!r} is neither 'local' nor an address such as tcp://node1:8786."
        )


def _local_cluster(options: ClusterOptions) -> Any:
    import dask
    from distributed import LocalCluster

    environment = _ALLOCATOR | _ONE_THREAD_EACH
    # Before the process starts: the allocator and the libraries look once, when they are loaded.
    with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
        return LocalCluster(
            n_workers=options.workers or _usable_cores(),
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:{_free_port(options.dashboard_port)}",
            memory_limit=options.memory_limit,
            local_directory=options.local_directory,
            silence_logs=logging.CRITICAL,  # lost workers become outcomes, not noise
            worker_dashboard_address=None,
            security=_security(options),
        )


def _leave_interrupts_to_the_client() -> None:
    """On a worker: Ctrl-C and SIGTERM, which reach all processes of a terminal or a job at once.

    The client ends all in order, and a worker whose client dies ends by itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _free_port(wanted: int) -> int:
    """Return the wanted port, or 0 (any) when something listens there already."""
    import socket

    with socket.socket() as probe:
        return wanted if wanted and probe.connect_ex((LOOPBACK, wanted)) else 0
