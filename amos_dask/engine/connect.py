"""From options to a Dask client: of processes on this machine, of others, or at an address."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from amos_dask.engine.options import (
    BATCH_SYSTEMS,
    DEFAULT_WORKERS,
    KUBERNETES,
    LOCAL,
    LOOPBACK,
    WORKER_ENVIRONMENT,
    ClusterOptions,
    complete,
    configured,
    find_unknown_keys,
    free_port,
    memory_bytes,
    needing,
    patience_seconds,
)
from amos_dask.errors import ClusterError

_ADDRESS = re.compile(
    r"(?:(?:tcp|tls|ucx|ws|wss)://)?[^/\s:]+:\d{1,5}|(?:tcp|tls)://\[[^]]+\]:\d{1,5}"
)
# Of trying to reach a scheduler; also how long a client waits for one that is gone.
_ATTEMPT_SECONDS = 10
_SHARED_MEMORY, _NO_LIMIT = "auto", "0"
# Folders and locks that Dask makes for a worker; no more than their names need be on the disk.
_NAMES_A_WORKER = 4
# How often processes look at themselves: Dask's way, and ours where nobody has configured it. By
# default each looks 50 times a second whether its loop is late, and workers 100 times what they do,
# on the cores that the samples need: a twentieth of them.
_LOOKS = {
    "distributed.admin.tick.interval": ("20ms", "500ms"),
    "distributed.worker.profile.interval": ("10ms", "100ms"),
    # And how many of their last messages and steps each remembers, some kilobytes apiece.
    "distributed.admin.low-level-log-length": (1000, 100),
}
# Where `dask_setup` and `dask_teardown` are, which local workers run.
_PRELOAD = "amos_dask.engine.options"


@contextmanager
def connect(
    options: ClusterOptions, tell: Callable[..., None] = lambda message, severity="info": None
) -> Iterator[Any]:
    """Yield a `distributed.Client` and close what was started for it.

    Parameters
    ----------
    options : ClusterOptions
        Where to run.
    tell : callable
        Is told what is waited for, and warnings with ``"warning"`` as a second argument.

    Yields
    ------
    distributed.Client
        Connected; not the default client of the process.

    Raises
    ------
    ClusterError
        When the cluster cannot be started or reached.
    """
    import dask
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    options = complete(options)
    for line in find_unknown_keys():
        tell(line, "warning")
    kind = str(options.cluster)
    config: dict[str, Any] = {"amos-dask.patience": patience_seconds(kind)}
    if kind == LOCAL:  # for as long as it lives, since workers are replaced
        preload = dask.config.get("distributed.worker.preload")
        config |= {
            # On a busy machine, or from a network disk, one takes longer than Dask's 15 s.
            "distributed.deploy.lost-worker-timeout": "60s",
            **{key: ours for key, (its, ours) in _LOOKS.items() if dask.config.get(key) == its},
            "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
            "distributed.worker.preload": [
                *([preload] if isinstance(preload, str) else preload),
                _PRELOAD,
            ],
        }
    with dask.config.set(config), warnings.catch_warnings(), ExitStack() as stack:
        # `find_problems` tells of versions that matter; Dask of all, also when it connects again.
        warnings.simplefilter("ignore", VersionMismatchWarning)
        if kind == LOCAL:
            cluster = stack.enter_context(_start_local(options))
            client = Client(cluster, set_as_default=False)
        elif kind in BATCH_SYSTEMS:
            from amos_dask.engine.batch import start_batch

            cluster = stack.enter_context(start_batch(options, _security(options)))
            client = Client(cluster, set_as_default=False)
        elif kind == KUBERNETES:
            from amos_dask.engine.kubernetes import start_kubernetes

            address, link = stack.enter_context(start_kubernetes(options, tell))
            stack.enter_context(dask.config.set({"distributed.dashboard.link": link}))
            client = _client_at(address, None, tell)
        else:
            client = _client_at(kind, _security(options), tell)
        yield stack.enter_context(client)


def count_workers(options: ClusterOptions) -> int | None:
    """Return how many workers a cluster will have; None when it is not started here."""
    from dask.system import CPU_COUNT

    options = complete(options)
    if options.cluster == LOCAL:
        return options.workers or CPU_COUNT
    least = configured("kubernetes.minimum-workers")
    if options.cluster == KUBERNETES and least is not None:
        return max(1, int(least))
    if options.cluster in (KUBERNETES, *BATCH_SYSTEMS):
        return options.workers or DEFAULT_WORKERS
    return None


def _start_local(options: ClusterOptions) -> Any:
    """Return a cluster of processes on this machine that listens on loopback only."""
    from distributed import LocalCluster

    memory = options.memory or _SHARED_MEMORY
    if memory not in (_SHARED_MEMORY, _NO_LIMIT):
        memory_bytes(memory)
    n_workers = int(count_workers(options) or 1)
    _require_names(options.local_directory, n_workers)
    arguments = {
        "n_workers": n_workers,
        "threads_per_worker": 1,
        "processes": True,
        "host": LOOPBACK,
        "dashboard_address": f"{LOOPBACK}:{free_port(options.dashboard_port or 0)}",
        "memory_limit": memory,
        "local_directory": options.local_directory,
        "silence_logs": logging.CRITICAL,  # lost workers become outcomes, not noise
        "worker_dashboard_address": None,
        "security": _security(options),
    }
    try:
        # In a thread, so that Ctrl-C and SIGTERM do not tear it while it starts: Dask cannot close
        # half a cluster.
        with ThreadPoolExecutor(1) as starting:
            cluster = starting.submit(LocalCluster, **arguments)
            try:
                return cluster.result()
            except KeyboardInterrupt:
                with suppress(Exception):  # it may not start at all
                    cluster.result().close()
                raise
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"the local Dask cluster cannot start: {error} "
            "(a script that calls amos_dask needs 'if __name__ == \"__main__\":')"
        ) from error


def _require_names(local_directory: str | None, n_workers: int) -> None:
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


def _client_at(address: str, security: Any, tell: Callable[[str], None]) -> Any:
    from distributed import Client

    if not _ADDRESS.fullmatch(address):
        kinds = ", ".join((LOCAL, *BATCH_SYSTEMS, KUBERNETES))
        raise ClusterError(
            f"{address!r} is neither {kinds}, nor an address such as tcp://node1:8786."
        )
    attempts = max(1, math.ceil(configured("connect-timeout") / _ATTEMPT_SECONDS))
    for left in reversed(range(attempts)):
        try:
            timeout = f"{_ATTEMPT_SECONDS}s"
            return Client(address, timeout=timeout, set_as_default=False, security=security)
        except (OSError, TimeoutError, ValueError) as error:
            if not left or isinstance(error, ValueError):
                raise ClusterError(f"{address}: no Dask scheduler answers there.") from error
        if left == attempts - 1:
            tell(f"waiting for the scheduler at {address}")
    raise AssertionError


def _security(options: ClusterOptions) -> Any:
    """Return TLS credentials: new ones for a cluster started here, else the configured ones."""
    if not options.tls:
        return None
    from distributed import Security

    if options.cluster not in (LOCAL, *BATCH_SYSTEMS):
        return Security(require_encryption=True)
    with needing("--tls", "tls"):
        return Security.temporary()
