"""Map a function over items on Dask: a window of tasks, outcomes as they finish, events.

This module knows nothing of images. A task ships a small frozen item and returns a small record.
"""

from __future__ import annotations

import resource
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from distributed import Client, Future, as_completed

from amos_dask.records import Event, Outcome, PhaseEnded, PhaseStarted, TaskEnded

# How often Dask runs a task again after the loss of its worker.
RETRIES = 2
_TASKS_PER_THREAD = 4
_SMALLEST_WINDOW = 16


class Named(Protocol):
    """An item of work with a name for its task."""

    @property
    def name(self) -> str:
        """Such as ``amos_0004``."""


Item = TypeVar("Item", bound=Named)
Value = TypeVar("Value")
Listener = Callable[[Event], None]


def run_tasks(
    client: Client,
    phase: str,
    function: Callable[[Item], Value],
    items: Sequence[Item],
    listener: Listener,
    count_issues: Callable[[Value], int] = lambda value: 0,
) -> Iterator[Outcome[Value]]:
    """Run ``function(item)`` for every item and yield the outcomes as they finish.

    Only a window of tasks is with the scheduler at any time and each is forgotten when its
    outcome has arrived, so that neither scheduler nor client grows with the number of items.

    Parameters
    ----------
    client : Client
        Where to run.
    phase : str
        First word of the task names, so that the dashboard shows ``sample-amos_0004``.
    function : callable
        Takes an item and returns a small picklable value.
    items : sequence
        Small picklable items with a ``name``.
    listener : callable
        Is told of the phase's start, of each task's end, and of the phase's end.
    count_issues : callable
        Number of issues in a value, for progress.

    Yields
    ------
    Outcome
        In order of completion. A function that raised, or whose worker died again and again,
        gives an outcome with ``failure``.
    """
    listener(PhaseStarted(phase, len(items)))
    waiting = iter(items)
    running: dict[Future, str] = {}
    # Two clients of one scheduler must not share tasks: names carry a token of this call.
    token = secrets.token_hex(4)

    def submit_up_to(n_tasks: int) -> list[Future]:
        submitted = []
        while len(running) < n_tasks and (item := next(waiting, None)) is not None:
            future = client.submit(
                _measured,
                function,
                item,
                key=f"{phase}-{item.name}-{token}",
                retries=RETRIES,
                pure=False,
            )
            running[future] = item.name
            submitted.append(future)
        return submitted

    try:
        completed = as_completed(
            submit_up_to(_window(client)), loop=client.loop, with_results=False
        )
        for future in completed:
            outcome: Outcome[Value] = _outcome(future, running.pop(future))
            future.release()
            completed.update(submit_up_to(_window(client)))
            n_issues = 0 if outcome.value is None else count_issues(outcome.value)
            failed = outcome.failure is not None
            listener(TaskEnded(phase, outcome.name, failed, n_issues, outcome.seconds))
            yield outcome
    finally:
        client.cancel(list(running))
    listener(PhaseEnded(phase))


def _window(client: Client) -> int:
    threads = sum(client.nthreads().values()) if not client.asynchronous else 0
    return max(_SMALLEST_WINDOW, _TASKS_PER_THREAD * threads)


def _measured(function: Callable[[Item], Value], item: Item) -> Outcome[Value]:
    """Run on a worker: the function with its wall time and peak memory; never raises for data."""
    start = time.perf_counter()
    value, failure = None, None
    try:
        value = function(item)
    except Exception as error:
        failure = _describe(error)
    seconds = time.perf_counter() - start
    return Outcome(item.name, value, failure, seconds, peak_memory_bytes())


def peak_memory_bytes() -> int:
    """Return the largest resident size this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _outcome(future: Future, name: str) -> Outcome[Any]:
    if future.status == "finished":
        outcome: Outcome[Any] = future.result()
        return outcome
    if future.status == "error":
        return Outcome(name, None, _describe(future.exception()))
    return Outcome(name, None, f"the task was {future.status}")


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
