"""A cluster of batch jobs, through dask-jobqueue."""

from __future__ import annotations

import math
import sys
from typing import Any

from amos_dask.cluster.environment import WORKER_ENVIRONMENT, free_port
from amos_dask.cluster.options import BATCH_SYSTEMS, ClusterOptions, configured
from amos_dask.errors import ClusterError

_WORKERS = 4
_MEMORY = "4GB"
# A worker ends itself before its job is killed, and not all at once.
_LIFETIME, _STAGGER = 0.85, 0.1
_SHORTEST_WALLTIME_SECONDS = 60


def start_batch(options: ClusterOptions, security: Any) -> Any:
    """Return a cluster whose workers are jobs of a batch system; lost jobs are replaced.

    Raises
    ------
    ClusterError
        When dask-jobqueue is missing or the batch system cannot be used.
    """
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ClusterError(
            f"--cluster {options.cluster} needs 'pip install \"amos-dask[slurm]\"'."
        ) from error
    import dask

    kind = getattr(dask_jobqueue, BATCH_SYSTEMS[str(options.cluster)])
    n_jobs = math.ceil((options.workers or _WORKERS) / configured("batch.workers-per-job"))
    # scale() would not replace a job that is lost or has reached its walltime.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"})
    try:
        cluster = kind(**job_arguments(options), security=security)
        cluster.adapt(minimum_jobs=n_jobs, maximum_jobs=n_jobs, interval="1s")
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"{options.cluster}: no jobs can be started here: {error}") from error
    return cluster


def job_arguments(options: ClusterOptions) -> dict[str, Any]:
    """Return the arguments of dask-jobqueue's class; what is not said is left to jobqueue.yaml."""
    from dask.utils import parse_bytes

    n_workers = configured("batch.workers-per-job")
    memory = parse_bytes(options.memory or _MEMORY)
    exports = [f"export {name}={value}" for name, value in WORKER_ENVIRONMENT.items()]
    arguments = {
        "cores": n_workers,
        "processes": n_workers,  # one thread each
        "memory": f"{n_workers * memory} B",
        "python": sys.executable,
        "queue": options.queue,
        "account": options.account,
        "walltime": options.walltime,
        "interface": configured("batch.interface"),
        "local_directory": options.local_directory,
        "log_directory": configured("batch.log-directory"),
        "job_extra_directives": configured("batch.directives") or None,
        "job_script_prologue": [*configured("batch.prologue"), *exports],
        "scheduler_options": {"dashboard_address": f":{free_port(options.dashboard_port or 0)}"},
    }
    if options.walltime:
        seconds = _walltime_seconds(options.walltime)
        arguments["worker_extra_args"] = [
            *("--lifetime", f"{seconds * _LIFETIME:.0f}s"),
            *("--lifetime-stagger", f"{seconds * _STAGGER:.0f}s"),
        ]
    return {name: value for name, value in arguments.items() if value is not None}


def _walltime_seconds(walltime: str) -> int:
    """Return the seconds of ``D-HH:MM:SS``, ``HH:MM:SS``, ``MM:SS`` or minutes."""
    days, _, clock = walltime.rpartition("-")
    parts = clock.split(":")
    try:
        numbers = [int(part) for part in parts]
        whole = 86400 * int(days or 0)
    except ValueError as error:
        raise ClusterError(f"walltime {walltime!r} is not of the form HH:MM:SS.") from error
    if len(numbers) == 1:
        numbers = [0, numbers[0], 0]
    hours, minutes, seconds = [0] * (3 - len(numbers)) + numbers
    total = whole + 3600 * hours + 60 * minutes + seconds
    if total < _SHORTEST_WALLTIME_SECONDS:
        raise ClusterError(f"walltime {walltime!r} is too short for a worker to start.")
    return total
