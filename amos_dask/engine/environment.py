"""The environment that worker processes start with."""

from __future__ import annotations

import os
import signal

LOOPBACK = "127.0.0.1"
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
# The allocator and the libraries look once, when they are loaded: set before the process starts.
WORKER_ENVIRONMENT = _ALLOCATOR | _ONE_THREAD_EACH


def leave_signals_to_the_client() -> None:
    """On a worker: Ctrl-C and SIGTERM, which reach all processes of a terminal or a job at once.

    The client ends all in order, and a worker whose client dies ends by itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def usable_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_port(wanted: int) -> int:
    """Return the wanted port of this machine, or 0 (any) when something listens there already."""
    import socket

    with socket.socket() as probe:
        return wanted if wanted and probe.connect_ex((LOOPBACK, wanted)) else 0
