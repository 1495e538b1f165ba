"""A cluster of processes on this machine. Listens on loopback only."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from amos_dask.engine.options import (
    LOOPBACK,
    WORKER_ENVIRONMENT,
    ClusterOptions,
    free_port,
    memory_bytes,
    usable_cores,
)
from amos_dask.errors import ClusterError

_SHARED, _NO_LIMIT = "auto", "0"
# Folders and locks that Dask makes for a worker; no more than their names need be on the disk.
_NAMES_A_WORKER = 4


def start_local(options: ClusterOptions, security: Any) -> Any:
    """Return a started `distributed.LocalCluster`.

    Parameters
    ----------
    options : ClusterOptions
        Complete.
    security : distributed.Security or None
        TLS credentials.

    Raises
    ------
    ClusterError
        When it cannot start.
    """
    import dask
    from distributed import LocalCluster

    memory = options.memory or _SHARED
    if memory not in (_SHARED, _NO_LIMIT):
        memory_bytes(memory)
    n_workers = options.workers or usable_cores()
    _require_room(options.local_directory, n_workers)
    try:
        with dask.config.set({"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}):
            return LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                host=LOOPBACK,
                dashboard_address=f"{LOOPBACK}:{free_port(options.dashboard_port or 0)}",
                memory_limit=memory,
                local_directory=options.local_directory,
                silence_logs=logging.CRITICAL,  # lost workers become outcomes, not noise
                worker_dashboard_address=None,
                security=security,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"the local Dask cluster cannot start: {error} "
            "(a script that calls amos_dask needs 'if __name__ == \"__main__\":')"
        ) from error


def _require_room(local_directory: str | None, n_workers: int) -> None:
    """Raise when workers cannot keep files; Dask itself would only say that none starts."""
    import dask

    folder = Path(local_directory or dask.config.get("temporary-directory") or gettempdir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as probe:
            for number in range(_NAMES_A_WORKER * n_workers):
                Path(probe, str(number)).mkdir()
    except OSError as error:
        raise ClusterError(
            f"{folder}: workers cannot keep temporary files there ({error.strerror}); make room or "
            "choose another folder with --local_directory."
        ) from error
