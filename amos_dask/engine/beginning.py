"""What is told before the first task of a work has ended: compiling, and which tasks run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from amos_dask.engine.events import Listener, Named, Notice, TasksRunning, Waiting

if TYPE_CHECKING:
    from distributed import Client, Future

COMPILING = "compiling kernels (once per machine, about 15 s)"
# Under which workers tell the scheduler, and so the client, that numba compiles.
_TOPIC = "amos-dask-compiling"
_SECONDS_FOR_COMPILING = 300
_SECONDS_BETWEEN_LOOKS = 1.5


def prepare_kernels(client: Client, listener: Listener) -> None:
    """Compile the kernels on one worker of each host, so that the others load them.

    Parameters
    ----------
    client : Client
        Where to run.
    listener : callable
        Is told that kernels are loaded; and, only where numba does so, that they are compiled.
    """
    listener(Waiting("loading kernels"))
    workers = client.scheduler_info(n_workers=-1)["workers"]
    one_per_host = {info["host"]: address for address, info in workers.items()}
    n_told = len(client.get_events(_TOPIC))
    futures = {
        address: client.submit(
            _warm_up,
            key=f"prepare-kernels-{host}-{token_hex(4)}",
            workers=[address],
            allow_other_workers=True,  # it may be gone by now
        )
        for host, address in one_per_host.items()
    }
    is_said, end = False, time.monotonic() + _SECONDS_FOR_COMPILING
    for address, future in futures.items():
        while True:
            with suppress(TimeoutError):
                future.result(timeout=_SECONDS_BETWEEN_LOOKS)
                break
            if not is_said and len(client.get_events(_TOPIC)) > n_told:
                is_said = True
                listener(Notice(COMPILING))
            # Not for a worker that is gone: then the samples' tasks do it. What was meant for the
            # last worker of all Dask gives to none that comes later.
            if time.monotonic() > end or address not in client.nthreads():
                break


def _warm_up() -> None:
    from amos_dask.kernels import warm_up

    warm_up(tell_compiling)


def tell_compiling() -> None:
    """Tell the client, from a task, that numba compiles."""
    from distributed import get_worker

    get_worker().log_event(_TOPIC, COMPILING)


@dataclass
class FirstTasks:
    """Tells now and then which tasks run, until one has ended.

    Parameters
    ----------
    client, work, listener
        As for `amos_dask.engine.graph.run_tasks`.
    has_ended : bool
        A task has.
    """

    client: Any
    work: str
    listener: Listener
    has_ended: bool = False

    def __post_init__(self) -> None:
        self._looked = time.monotonic()

    def tell(self, running: Mapping[Future, Named]) -> None:
        """Look, when it is time to, which of the tasks that wait or run is first on each worker."""
        now = time.monotonic()
        if self.has_ended or now < self._looked + _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        names = {str(future.key): item.name for future, item in running.items()}
        with suppress(OSError, TimeoutError):  # whether the scheduler is gone, others see
            on_workers = self.client.processing().values()
            known = ([names[key] for key in map(str, keys) if key in names] for keys in on_workers)
            first = tuple(keys[0] for keys in known if keys)
            if first:
                self.listener(TasksRunning(self.work, first))
