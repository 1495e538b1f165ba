"""From options to a Dask client."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amos_dask.engine.options import (
    BATCH_SYSTEMS,
    DEFAULT_WORKERS,
    KUBERNETES,
    LOCAL,
    ClusterOptions,
    complete,
    configured,
    leave_signals_to_the_client,
    patience_seconds,
    usable_cores,
)
from amos_dask.errors import ClusterError

_ADDRESS = re.compile(
    r"(?:(?:tcp|tls|ucx|ws|wss)://)?[^/\s:]+:\d{1,5}|(?:tcp|tls)://\[[^]]+\]:\d{1,5}"
)
# Of trying to reach a scheduler; also how long a client waits for one that is gone.
_ATTEMPT_SECONDS = 10
_SIGNALS = "amos-dask-signals"
# A local cluster gives up a worker that takes longer to start again: on a busy machine, or from
# a network disk, Dask's 15 s are too short.
_TIME_TO_RESTART = {"distributed.deploy.lost-worker-timeout": "60s"}


@contextmanager
def connect(options: ClusterOptions) -> Iterator[Any]:
    """Yield a `distributed.Client` and close what was started for it.

    Parameters
    ----------
    options : ClusterOptions
        Where to run.

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

    options = complete(options)
    kind = str(options.cluster)
    with dask.config.set({"amos-dask.patience": patience_seconds(kind)}):
        if kind not in (LOCAL, KUBERNETES, *BATCH_SYSTEMS):
            with _client_at(kind, _security(options)) as client:
                yield client
            return
        with (
            dask.config.set(_TIME_TO_RESTART if kind == LOCAL else {}),
            _start(options) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            if kind == LOCAL:
                client.register_plugin(_leaving_signals(), name=_SIGNALS)
            yield client


def count_workers(options: ClusterOptions) -> int | None:
    """Return how many workers a cluster will have.

    Parameters
    ----------
    options : ClusterOptions
        Where to run.

    Returns
    -------
    int or None
        None when the cluster is not started here.
    """
    options = complete(options)
    if options.cluster == LOCAL:
        return options.workers or usable_cores()
    least = configured("kubernetes.minimum-workers")
    if options.cluster == KUBERNETES and least is not None:
        return int(least)
    if options.cluster in (KUBERNETES, *BATCH_SYSTEMS):
        return options.workers or DEFAULT_WORKERS
    return None


def _leaving_signals() -> Any:
    """Return a plugin, since it reaches also workers that replace others later."""
    from distributed import WorkerPlugin

    class LeavingSignals(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:
            leave_signals_to_the_client()

    return LeavingSignals()


def _start(options: ClusterOptions) -> Any:
    if options.cluster == LOCAL:
        from amos_dask.engine.local import start_local

        return start_local(options, _security(options))
    if options.cluster == KUBERNETES:
        from amos_dask.engine.kubernetes import start_kubernetes

        return start_kubernetes(options)
    from amos_dask.engine.batch import start_batch

    return start_batch(options, _security(options))


def _client_at(address: str, security: Any) -> Any:
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
    raise AssertionError


def _security(options: ClusterOptions) -> Any:
    """Return TLS credentials: new ones for a cluster started here, else the configured ones."""
    if not options.tls:
        return None
    from distributed import Security

    if options.cluster not in (LOCAL, *BATCH_SYSTEMS):
        return Security(require_encryption=True)
    try:
        return Security.temporary()
    except ImportError as error:
        raise ClusterError(
            "--tls needs 'pip install \".[tls]\"' in the checkout of amos-dask."
        ) from error


@contextmanager
def reporting_performance(client: Any, path: str) -> Iterator[None]:
    """Write Dask's performance report of what a client does within the ``with`` block.

    Parameters
    ----------
    client : distributed.Client
        Whose tasks.
    path : str
        Of the HTML file.
    """
    from distributed import performance_report

    with client.as_current(), performance_report(filename=path):
        yield
