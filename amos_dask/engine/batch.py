"""A cluster of batch jobs, through dask-jobqueue."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from amos_dask.engine.options import (
    BATCH_SYSTEMS,
    DEFAULT_WORKERS,
    WORKER_ENVIRONMENT,
    ClusterOptions,
    configured,
    free_port,
    memory_bytes,
    needing,
)
from amos_dask.errors import ClusterError

_MEMORY = "4GB"
# HTCondor wants to know how much disk a job takes; results lie on the shared file system.
_CONDOR_DISK = "1GB"
_ACCOUNT_IS_PROJECT = {"lsf", "sge", "oar"}
# A job starts in the folder of whoever submits it, from which Python would import: amos_dask of a
# checkout in place of the installed one.
_SAFE_PATH = "export PYTHONSAFEPATH=1"
# A worker ends itself before its job is killed, and not all at once.
_LIFETIME, _STAGGER = 0.85, 0.1
_SHORTEST_WALLTIME_SECONDS = 60
# Seconds of a walltime that is one number, as each batch system reads it; minutes elsewhere.
_SECONDS_OF_A_NUMBER = {"pbs": 1, "sge": 1, "moab": 1, "oar": 3600}
# Where 1:30 are hours and minutes, as each batch system reads it; minutes and seconds elsewhere.
_PAIR_IS_HOURS_AND_MINUTES = {"lsf", "oar"}


def start_batch(options: ClusterOptions, security: Any) -> Any:
    """Return a cluster whose workers are jobs of a batch system; lost jobs are replaced.

    Parameters
    ----------
    options : ClusterOptions
        Complete.
    security : distributed.Security or None
        TLS credentials.

    Raises
    ------
    ClusterError
        When dask-jobqueue is missing or the batch system takes no job.
    """
    system = str(options.cluster)
    with needing(f"--cluster {system}", "slurm"), _keeping_ctrl_c():
        import dask_jobqueue
    import dask

    n_jobs = math.ceil((options.workers or DEFAULT_WORKERS) / configured("batch.workers-per-job"))
    # scale() would not replace a job that is lost or has reached its walltime.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"})
    arguments = job_arguments(options)
    if security is not None:
        # Where jobs find their credentials while the cluster lives; dask-jobqueue takes it as well,
        # but warns.
        shared = dask.config.get(f"jobqueue.{system}.shared-temp-directory", None)
        arguments["shared_temp_directory"] = shared or str(Path.cwd())
    try:
        kind = getattr(dask_jobqueue, BATCH_SYSTEMS[system])
        cluster = kind(**arguments, security=security)
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"{system}: no jobs can be started here: {_words(error)}.") from error
    try:
        # adapt() submits in the background, where a refusal would be noticed by nobody.
        cluster.worker_spec.update(cluster.new_worker_spec())
        cluster.sync(cluster._correct_state)
        cluster.adapt(minimum_jobs=n_jobs, maximum_jobs=n_jobs, interval="1s")
    except BaseException as error:
        _close(cluster)
        if isinstance(error, (OSError, ValueError, RuntimeError)):
            raise ClusterError(f"{system} takes no job: {_words(error)}.") from error
        raise
    return cluster


@contextmanager
def _keeping_ctrl_c() -> Iterator[None]:
    """Leave Ctrl-C what it is: dask-jobqueue, when imported, makes of it an end with status 0."""
    before = signal.getsignal(signal.SIGINT)
    yield
    if signal.getsignal(signal.SIGINT) is not before:
        signal.signal(signal.SIGINT, before)


def job_arguments(options: ClusterOptions) -> dict[str, Any]:
    """Return the arguments of dask-jobqueue's class; what is not said is left to jobqueue.yaml.

    Raises
    ------
    ClusterError
        When an option cannot be understood, or is not one of the batch system's.
    """
    system = str(options.cluster)
    n_workers = configured("batch.workers-per-job")
    memory = memory_bytes(options.memory or _MEMORY)
    exports = [f"export {name}={value}" for name, value in WORKER_ENVIRONMENT.items()]
    arguments = {
        "cores": n_workers,
        "processes": n_workers,  # one thread each
        "memory": f"{n_workers * memory} B",
        "python": sys.executable,
        "interface": configured("batch.interface"),
        "local_directory": options.local_directory,
        "log_directory": configured("batch.log-directory"),
        "job_extra_directives": _directives(system, configured("batch.directives")),
        "job_script_prologue": [*configured("batch.prologue"), _SAFE_PATH, *exports],
        "scheduler_options": {"dashboard_address": f":{free_port(options.dashboard_port or 0)}"},
        **_named_by_system(system, options),
    }
    if options.walltime:
        seconds = walltime_seconds(system, options.walltime)
        arguments["worker_extra_args"] = [
            *("--lifetime", f"{seconds * _LIFETIME:.0f}s"),
            *("--lifetime-stagger", f"{seconds * _STAGGER:.0f}s"),
        ]
    return {name: value for name, value in arguments.items() if value is not None}


def walltime_seconds(system: str, walltime: str) -> int:
    """Return the seconds of a walltime as the batch system reads it.

    ``HH:MM:SS`` everywhere, also with days: ``D-HH``, ``D-HH:MM``, ``D-HH:MM:SS``. What is shorter
    differs: ``30`` are minutes for Slurm, seconds for PBS.

    Raises
    ------
    ClusterError
        When it is none of these, or too short for a worker to start.
    """
    days, dash, clock = walltime.strip().rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in (*parts, *([days] if dash else []))) or len(parts) > 3:
        raise ClusterError(f"walltime {walltime!r} is not of the form HH:MM:SS or D-HH:MM:SS.")
    units: tuple[int, ...] = (3600, 60, 1)
    if not dash and len(parts) == 1:
        units = (_SECONDS_OF_A_NUMBER.get(system, 60),)
    elif not dash and len(parts) == 2 and system not in _PAIR_IS_HOURS_AND_MINUTES:
        units = (60, 1)
    clock_seconds = sum(int(part) * unit for part, unit in zip(parts, units, strict=False))
    total = 86400 * int(days or 0) + clock_seconds
    if total < _SHORTEST_WALLTIME_SECONDS:
        raise ClusterError(f"walltime {walltime!r} is too short for a worker to start.")
    return total


def _named_by_system(system: str, options: ClusterOptions) -> dict[str, Any]:
    """Return queue, account and walltime under the names of dask-jobqueue's class.

    HTCondor has none of them: there, workers only end themselves.
    """
    if system != "htcondor":
        return {
            "queue": options.queue,
            "project" if system in _ACCOUNT_IS_PROJECT else "account": options.account,
            "walltime": options.walltime and _walltime(system, options.walltime),
        }
    for name in ("queue", "account"):
        value = getattr(options, name)
        if value is not None:
            raise ClusterError(f"{system} has no {name}: leave out --{name} {value}.")
    import dask

    is_said = dask.config.get(f"jobqueue.{system}.disk", None) is not None
    return {} if is_said else {"disk": _CONDOR_DISK}


def _walltime(system: str, walltime: str) -> str:
    """Return a walltime in a form that the batch system takes."""
    seconds = walltime_seconds(system, walltime)
    if system == "slurm":
        return walltime.strip()
    if system == "lsf":
        minutes = math.ceil(seconds / 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _directives(system: str, lines: list[str]) -> Any:
    """Return the site's own directives; HTCondor's are ``name = value``."""
    if system != "htcondor":
        return lines or None
    pairs = [line.partition("=") for line in lines]
    wrong = [line for line, (_, sign, _) in zip(lines, pairs, strict=True) if not sign]
    if wrong:
        raise ClusterError(f"htcondor: directive {wrong[0]!r} is not of the form 'name = value'.")
    return {name.strip(): value.strip() for name, _, value in pairs} or None


def _close(cluster: Any) -> None:
    """Close a cluster of which a job could not be submitted."""
    from distributed.core import Status

    for job in list(cluster._created):
        if job.status == Status.created:  # which Dask takes for a mistake of its own
            job.status = Status.failed
    with suppress(Exception):
        cluster.close()


def _words(error: Exception) -> str:
    """Return what a batch system's command says, in one line."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is not installed here"
    said = str(error).rpartition("stderr:\n")[2].strip() or str(error)
    return "; ".join(line.strip() for line in said.splitlines() if line.strip()).rstrip(".")
