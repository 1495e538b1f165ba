"""Options of a cluster: as given, else as configured the way Dask is. What workers start with."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from amos_dask.errors import ClusterError

# Names of batch systems and dask-jobqueue's classes for them.
BATCH_SYSTEMS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "oar": "OARCluster",
    "htcondor": "HTCondorCluster",
    "moab": "MoabCluster",
}
KUBERNETES = "kubernetes"
LOCAL = "local"
# Of batch jobs and pods, when it is not said how many.
DEFAULT_WORKERS = 4


@dataclass(frozen=True)
class ClusterOptions:
    """Where to run. What is None is taken from Dask's configuration, section ``amos-dask``.

    Parameters
    ----------
    cluster : str, optional
        ``local``, a batch system such as ``slurm``, ``kubernetes``, or the address of a running
        scheduler such as ``tcp://node1:8786``.
    workers : int, optional
        Processes of one thread each.
    memory : str, optional
        Of each worker, such as ``4GB``; ``auto`` shares the machine's, ``0`` sets no limit.
    dashboard_port : int, optional
        Port of the dashboard; another free one is taken when it is in use.
    local_directory : str, optional
        Where workers keep temporary files.
    tls : bool, optional
        Encrypt and authenticate what passes between client, scheduler and workers: of a cluster
        that is started here with credentials made for it, at an address with those of Dask's
        configuration.
    queue, walltime, account : str, optional
        Of batch jobs.

    Examples
    --------
    >>> amos_dask.ClusterOptions("slurm", workers=32, walltime="02:00:00").workers
    32
    """

    cluster: str | None = None
    workers: int | None = None
    memory: str | None = None
    dashboard_port: int | None = None
    local_directory: str | None = None
    tls: bool | None = None
    queue: str | None = None
    walltime: str | None = None
    account: str | None = None


def options_of(cluster: Any) -> ClusterOptions | None:
    """Return the options that a user means by what public functions take; None for a client."""
    if cluster is None or isinstance(cluster, ClusterOptions):
        return cluster or ClusterOptions()
    return ClusterOptions(cluster) if isinstance(cluster, str) else None


@cache
def load_defaults() -> None:
    """Make the packaged defaults part of Dask's configuration; what is set already stays."""
    import dask

    dask.config.update_defaults(_packaged_defaults())


def find_unknown_keys() -> list[str]:
    """Return a sentence for each key of the configuration that there is none of, with the nearest.

    Spelled with ``_`` or ``-``, as Dask takes both.
    """
    import dask

    return list(_unknown(_packaged_defaults(), dask.config.config, ()))


def _packaged_defaults() -> dict[str, Any]:
    import yaml

    text = files("amos_dask.engine").joinpath("amos-dask.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def _unknown(
    known: Mapping[str, Any], given: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[str]:
    spelled = {key.replace("_", "-"): value for key, value in known.items()}
    for key, value in given.items():
        name, path = str(key).replace("_", "-"), (*above, str(key))
        if not above and name not in spelled:
            continue  # of other programs
        if name not in spelled:
            near = get_close_matches(name, spelled, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"{'.'.join(path)} is no key of the configuration{hint}"
        elif isinstance(value, Mapping) and isinstance(spelled[name], Mapping) and spelled[name]:
            # An empty one takes any, such as labels.
            yield from _unknown(spelled[name], value, path)


def configured(section: str) -> Any:
    """Return a value of Dask's configuration below ``amos-dask``, such as ``batch.interface``."""
    import dask

    load_defaults()
    return dask.config.get(f"amos-dask.{section}")


def patience_seconds(kind: str) -> float:
    """Return how long a kind of cluster may be without workers: batch jobs are queued for days."""
    usual = {LOCAL: 600, KUBERNETES: 3600}.get(kind, 7 * 86400)
    return float(configured("patience") or usual)


def memory_bytes(memory: str) -> int:
    """Return the bytes of an amount such as ``4GB``; raise `ClusterError` when it is none."""
    from dask.utils import parse_bytes

    try:
        n_bytes = int(parse_bytes(memory))
    except ValueError:
        n_bytes = 0
    if n_bytes <= 0:
        raise ClusterError(f"memory {memory!r} is not an amount such as 4GB.")
    return n_bytes


def complete(options: ClusterOptions) -> ClusterOptions:
    """Return the options with what is configured in place of None.

    A scheduler's address in ``DASK_SCHEDULER_ADDRESS`` wins over a configured kind of cluster.
    """
    import dask

    batch = ("queue", "walltime", "account")
    found = {
        field.name: configured(
            f"batch.{field.name}" if field.name in batch else field.name.replace("_", "-")
        )
        for field in fields(ClusterOptions)
        if getattr(options, field.name) is None
    }
    if "cluster" in found:
        found["cluster"] = dask.config.get("scheduler-address", None) or found["cluster"]
    return replace(options, **found)


@contextmanager
def needing(option: str, extra: str) -> Iterator[None]:
    """Say which extra an option needs, when an import in the ``with`` block fails."""
    try:
        yield
    except ImportError as error:
        raise ClusterError(
            f"{option} needs the extra {extra!r}: pip install 'amos-dask[{extra}]', with the path "
            "of the wheel or the repository for amos-dask where it came from one."
        ) from error


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


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C and SIGTERM to the client; Dask calls this on workers that preload this module.

    Both reach all processes of a terminal or a job at once. The client ends all in order, and a
    worker whose client dies ends by itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def dask_teardown(worker: object) -> None:
    """Have a process end that has nothing left to do but to free its memory; Dask calls this.

    Python would look for cycles in all that was imported and compiled, which takes half a second.
    """
    gc.freeze()


def free_port(wanted: int) -> int:
    """Return the wanted port of this machine, or 0 (any) when something listens there already."""
    import socket

    with socket.socket() as probe:
        return wanted if wanted and probe.connect_ex((LOOPBACK, wanted)) else 0
