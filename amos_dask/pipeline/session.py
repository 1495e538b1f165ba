"""A session: a client that is started when there is something to do, and progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from amos_dask.cluster import ClusterOptions, connect
from amos_dask.errors import AmosDaskError
from amos_dask.progress import STYLES, Listener, report_to
from amos_dask.records import Notice, Outcome

if TYPE_CHECKING:
    from amos_dask.graph import Item

Value = TypeVar("Value")
_SECONDS_BEFORE_COMPILING_IS_SAID = 1.5


class Session:
    """A client, connected when there is something to do, and who listens to progress.

    Parameters
    ----------
    connect : callable
        Returns a `distributed.Client`; called at most once.
    listener : callable
        Is told every event.
    """

    def __init__(self, connect: Callable[[], Any], listener: Listener) -> None:
        self._connect = connect
        self.listener = listener

    @cached_property
    def client(self) -> Any:
        """The `distributed.Client` where tasks run."""
        client = self._connect()
        self.listener(Notice(f"dashboard: {client.dashboard_link}"))
        return client

    def map(
        self,
        phase: str,
        function: Callable[[Item], Value],
        items: Sequence[Item],
    ) -> Generator[Outcome[Value], None, None]:
        """Yield the outcomes of ``function`` over the items as they finish."""
        if not items:
            return
        from amos_dask.graph import run_tasks

        yield from run_tasks(self.client, phase, function, items, self.listener, _count_issues)

    def prepare_kernels(self) -> None:
        """Compile the kernels on one worker of each host, so that the others load them."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        one_per_host = {info["host"]: address for address, info in workers.items()}
        futures = [
            self.client.submit(_warm_up, key=f"prepare-kernels-{host}", workers=[address])
            for host, address in one_per_host.items()
        ]
        for future in futures:
            try:
                future.result(timeout=_SECONDS_BEFORE_COMPILING_IS_SAID)
            except TimeoutError:
                self.listener(Notice("compiling kernels (once per machine, about 15 s)"))
                future.result()


def _warm_up() -> None:
    from amos_dask.kernels import warm_up

    warm_up()


def _count_issues(value: Any) -> int:
    return len(value.issues)


@contextmanager
def open_session(cluster: Any, progress: str | Listener) -> Iterator[Session]:
    """Yield a session on a cluster, starting and stopping a local one where none is given.

    Nothing is started before the first task.

    Parameters
    ----------
    cluster : ClusterOptions, distributed.Client, str or None
        Options, a connected client, a scheduler's address, or None for a local cluster.
    progress : {"auto", "bar", "plain", "json", "none"} or callable
        How to show progress on stderr (``json``: on stdout), or who listens.
    """
    with ExitStack() as stack:
        if callable(progress):
            listener = progress
        elif progress not in STYLES:
            raise AmosDaskError(f"progress {progress!r} is not known; choose from {STYLES}.")
        else:
            stream = sys.stdout if progress == "json" else sys.stderr
            listener = stack.enter_context(report_to(stream, progress))
        if cluster is None or isinstance(cluster, (ClusterOptions, str)):
            options = ClusterOptions(cluster) if isinstance(cluster, str) else cluster
            start = partial(connect, options or ClusterOptions())
            yield Session(lambda: stack.enter_context(start()), listener)
        else:
            yield Session(lambda: cluster, listener)
