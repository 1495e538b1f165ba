"""Map a function over items on Dask: a window of tasks, outcomes as they finish, events.

This module knows nothing of images. A task ships a small frozen item and returns a small record.
"""

from __future__ import annotations

import errno
import math
import secrets
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

import dask
from dask.delayed import Delayed
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from amos_dask.engine.events import (
    Item,
    Items,
    Listener,
    Named,
    Notice,
    Outcome,
    TaskEnded,
    TasksRunning,
    WorkEnded,
    WorkStarted,
)
from amos_dask.errors import AmosDaskError, ClusterError, number_of

# How often Dask runs a task again after the loss of its worker.
RETRIES = 2
_TASKS_PER_THREAD = 4
_SMALLEST_WINDOW = 128
# A result that was lost with its worker is computed again by the scheduler.
_SECONDS_BETWEEN_LOOKS = 0.005
_SECONDS_BETWEEN_NAMES = 1.5
_SECONDS_BETWEEN_COUNTS = 10.0
# Longer than a batch system or a node takes to replace lost workers, shorter than for ever.
SECONDS_WITHOUT_WORKERS = 600
# Shorter than the grace that batch systems give between SIGTERM and SIGKILL.
SECONDS_TO_FINISH = 15
# What the next item would meet as well.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_LOG_LINES = 100
# What nannies tell the scheduler when they kill a worker that has passed its memory limit.
_KILLED_BY_NANNY = "worker-restart-memory"
_MORE_MEMORY = "use fewer --workers or more --memory"
_TO_BE_COMPUTED_AGAIN = ("lost", "pending")


Value = TypeVar("Value")


def run_tasks(
    client: Client,
    work: str,
    function: Callable[[Item], Value],
    items: Items[Item],
    listener: Listener,
) -> Generator[Outcome[Value], None, None]:
    """Run ``function(item)`` for every item and yield the outcomes as they finish.

    Only a window of tasks is with the scheduler at any time and each is forgotten when its
    outcome has arrived, so that neither scheduler nor client grows with the number of items.

    Parameters
    ----------
    client : Client
        Where to run.
    work : str
        First word of the tasks' names, so that the dashboard shows ``sample-amos_0004``.
    function : callable
        Takes an item and returns a small picklable value; ``issues`` of it are counted.
    items : sequence
        Small picklable items with a ``name``.
    listener : callable
        Is told of the work's start, of each task's end, and of the work's end.

    Yields
    ------
    Outcome
        In order of completion. A function that raised, or whose worker died again and again,
        gives an outcome with ``failure``.

    Raises
    ------
    AmosDaskError
        When the function raised one, or the disk is full: it concerns the whole run.
    """
    listener(WorkStarted(work, len(items)))
    window = _Window(client, work, function, iter(items), listener)
    with closing(window.outcomes()) as outcomes, noticing_the_end_of(client):
        for outcome in outcomes:
            if outcome.stops_run:
                raise AmosDaskError(outcome.failure)
            issues = getattr(outcome.value, "issues", ())
            failed = outcome.failure is not None or any(map(_is_error, issues))
            listener(TaskEnded(work, outcome.name, failed, len(issues), outcome.seconds))
            yield outcome
    listener(WorkEnded(work))


def compute_graph(
    client: Client,
    work: str,
    values: Mapping[str, Delayed],
    listener: Listener,
) -> list[Any]:
    """Compute delayed values, which may share tasks, and return them in order.

    Parameters
    ----------
    client : Client
        Where to run.
    work : str
        Its name.
    values : mapping of str to Delayed
        What is told as a task each, by name.
    listener : callable
        Is told of the work's start, of each value, and of the work's end.

    Raises
    ------
    ClusterError
        When the cluster goes, or workers die of it.
    Exception
        What a task raised.
    """
    listener(WorkStarted(work, len(values)))
    found, start = dict[Future, Any](), time.perf_counter()
    window = _Window[Named, Any](client, work, lambda _: None, iter(()), listener)
    with noticing_the_end_of(client):
        futures = client.compute(list(values.values()), retries=RETRIES)
        names = dict(zip(futures, values, strict=True))
        try:
            for batch in window._settled(window._completed(futures)):
                found |= zip(batch, window._gather(batch), strict=True)
                for future in batch:
                    seconds = time.perf_counter() - start
                    listener(TaskEnded(work, names[future], False, 0, seconds))
        finally:
            client.cancel(futures)
    listener(WorkEnded(work))
    return [found[future] for future in futures]


def _is_error(found: Any) -> bool:
    """Return whether an issue, be it with the step that found it, is an error."""
    return getattr(getattr(found, "issue", found), "severity", "") == "error"


@contextmanager
def noticing_the_end_of(client: Client) -> Iterator[None]:
    """Say in one sentence that the scheduler is gone, or that workers die of whatever they do."""
    address = client.scheduler.address if client.scheduler is not None else "the cluster"
    try:
        yield
    except (CommClosedError, CancelledError, FutureCancelledError) as error:
        raise ClusterError(
            f"the Dask scheduler at {address} is gone; run the same command again."
        ) from error
    except KilledWorker as error:
        raise ClusterError(
            f"workers die again and again, perhaps out of memory; {_MORE_MEMORY}."
        ) from error


@dataclass
class _Window(Generic[Item, Value]):
    """The tasks of one kind of work that are with the scheduler."""

    _client: Client
    _work: str
    _function: Callable[[Item], Value]
    _waiting: Iterator[Item]
    _listener: Listener
    _running: dict[Future, Item] = field(default_factory=dict)
    # Items whose workers died. They run again one by one, so that what dies then is to blame.
    _suspects: list[Item] = field(default_factory=list)
    _looked: float = 0.0
    _is_waiting: bool = False
    # When to look which tasks run; never once one has ended.
    _next_names: float = field(default_factory=lambda: time.monotonic() + _SECONDS_BETWEEN_NAMES)

    def outcomes(self) -> Generator[Outcome[Value], None, None]:
        """Yield outcomes as they finish; cancel what is left when the caller stops."""
        try:
            yield from self._all_at_once()
            for item in self._suspects:
                yield from self._alone(item)
        finally:
            self._stop()

    def _stop(self) -> None:
        """End in order: what waits is dropped, what runs gets the time to finish."""
        if not self._running:
            return
        with suppress(OSError, TimeoutError):  # the scheduler may be gone
            on_workers = {key for keys in self._client.processing().values() for key in keys}
            finishing = [future for future in self._running if future.key in on_workers]
            self._client.cancel([f for f in self._running if f.key not in on_workers])
            if finishing:
                tasks = number_of(len(finishing), "running task")
                self._listener(Notice(f"waiting for {tasks} to end"))
            for _ in as_completed(finishing, loop=self._client.loop, timeout=SECONDS_TO_FINISH):
                pass
        self._client.cancel(list(self._running))
        self._running.clear()

    def _all_at_once(self) -> Iterator[Outcome[Value]]:
        completed = self._completed(self._submit_more())
        for batch in self._settled(completed):
            blamed = {future for future in batch if _died_with_its_worker(future)}
            self._suspects += [self._running.pop(future) for future in blamed]
            outcomes = self._collect([future for future in batch if future not in blamed])
            completed.update(self._submit_more())
            yield from outcomes

    def _alone(self, item: Item) -> Iterator[Outcome[Value]]:
        for batch in self._settled(self._completed(self._submit([item]))):
            yield from self._collect(batch)

    def _completed(self, futures: list[Future]) -> as_completed:
        return as_completed(futures, loop=self._client.loop, with_results=False)

    def _settled(self, completed: as_completed) -> Iterator[list[Future]]:
        last_seen = time.monotonic()
        while completed.count():
            if not completed.has_ready():
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                last_seen = self._require_workers(last_seen)
                if time.monotonic() > self._next_names:
                    self._name_running()
                continue
            batch = completed.next_batch(block=False)
            lost = [future for future in batch if future.status in _TO_BE_COMPUTED_AGAIN]
            completed.update(lost)
            yield [future for future in batch if future not in lost]

    def _name_running(self) -> None:
        """Tell which of the tasks that wait or run is first on each worker."""
        self._next_names = time.monotonic() + _SECONDS_BETWEEN_NAMES
        names = {str(future.key): item.name for future, item in self._running.items()}
        with suppress(OSError, TimeoutError):  # whether the scheduler is gone, others see
            on_workers = self._client.processing().values()
            known = ([names[key] for key in map(str, keys) if key in names] for keys in on_workers)
            first = tuple(keys[0] for keys in known if keys)
            if first:
                self._listener(TasksRunning(self._work, first))

    def _require_workers(self, last_seen: float) -> float:
        """Return when workers were last seen; raise when that was too long ago."""
        now = time.monotonic()
        if now < max(last_seen, self._looked) + _SECONDS_BETWEEN_COUNTS:
            return last_seen
        self._looked = now
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        self._revive(len(workers))
        # One that is paused has no memory left and takes no task.
        if any(worker["status"] != "paused" for worker in workers):
            self._is_waiting = False
            return now
        if not self._is_waiting:
            self._is_waiting = True
            state = "all workers are out of memory" if workers else "there are no workers now"
            self._listener(Notice(f"{state}; waiting", "warning"))
        patience = dask.config.get("amos-dask.patience", None) or SECONDS_WITHOUT_WORKERS
        if now > last_seen + patience:
            raise ClusterError(
                f"the cluster has had no workers with free memory for {patience:.0f} s; "
                "run the same command again when it has some."
            )
        return last_seen

    def _revive(self, n_alive: int) -> None:
        """Let a local cluster start again what has died for good.

        A nanny whose new worker dies while it starts, of a task that kills, gives up.
        """
        cluster = self._client.cluster
        if isinstance(cluster, LocalCluster) and n_alive < len(cluster.worker_spec):
            cluster.scale(len(cluster.worker_spec))

    def _gather(self, futures: list[Future]) -> list[Outcome[Value]]:
        """Fetch results; what was lost since is computed again, for which there must be workers."""
        last_seen = time.monotonic()
        fetch = partial(self._client.gather, futures, asynchronous=True)
        while True:
            try:
                found: list[Outcome[Value]] = self._client.sync(
                    fetch, callback_timeout=_SECONDS_BETWEEN_COUNTS
                )
                return found
            except TimeoutError:
                last_seen = self._require_workers(last_seen)

    def _collect(self, futures: list[Future]) -> list[Outcome[Value]]:
        """Fetch the outcomes of settled tasks, all in one request, and forget the tasks."""
        # What was lost since it settled is computed again while it is fetched.
        finished = [future for future in futures if future.status != "error"]
        try:
            values = dict(zip(finished, self._gather(finished), strict=True))
        except ClusterError:
            raise
        except Exception:  # one that was lost failed the second time: look at each
            values = {f: f.result() for f in finished if f.exception() is None}
        outcomes = []
        for future in futures:
            item = self._running.pop(future)
            self._next_names = math.inf
            outcomes.append(values.get(future) or self._failed(future, item.name))
            future.release()
        return outcomes

    def _failed(self, future: Future, name: str) -> Outcome[Value]:
        """Return why, with what the worker that died last, and its nanny, had logged."""
        error = future.exception()
        if not isinstance(error, KilledWorker):
            return Outcome(name, None, _describe(error))
        worker = error.last_worker
        why = "the worker died each time it ran, perhaps out of memory"
        killed = self._client.get_events(_KILLED_BY_NANNY)
        if any(event["worker"] == worker.address for _, event in killed):
            why = "it takes more memory than a worker has"
        details = f"{worker.name} at {worker.address} died"
        with suppress(Exception):  # it is dead, after all
            # Asked as a worker is: Dask finds only the nannies of workers that it still has.
            logs = self._client.get_worker_logs(n=_LOG_LINES, workers=[worker.nanny])
            lines = [line for found in logs.values() for _, line in reversed(found)]
            details = "\n".join([f"{details}; its nanny said:", *lines])
        return Outcome(name, None, f"{why}; {_MORE_MEMORY}", details=details)

    def _submit_more(self) -> list[Future]:
        free = _window(self._client) - len(self._running)
        return self._submit(list(islice(self._waiting, max(0, free))))

    def _submit(self, items: list[Item]) -> list[Future]:
        if not items:
            return []
        # Two clients of one scheduler, and two items of one name, must not share tasks.
        keys = [f"{self._work}-{item.name}-{secrets.token_hex(4)}" for item in items]
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"}):
            futures: list[Future] = self._client.map(  # tables are sent whole
                _measured,
                [self._function] * len(items),
                items,
                key=keys,
                retries=RETRIES,
                pure=False,
            )
        self._running.update(zip(futures, items, strict=True))
        return futures


def _died_with_its_worker(future: Future) -> bool:
    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _window(client: Client) -> int:
    threads = sum(int(n) for n in client.nthreads().values())
    return max(_SMALLEST_WINDOW, _TASKS_PER_THREAD * threads)


def _measured(function: Callable[[Item], Value], item: Item) -> Outcome[Value]:
    """Run on a worker: the function with its wall time; never raises for data."""
    start = time.perf_counter()
    value, failure, stops_run, details = None, None, False, ""
    try:
        value = function(item)
    except AmosDaskError as error:
        failure, stops_run = str(error), True
    except OSError as error:
        failure, stops_run = _describe(error), error.errno in _NO_ROOM
        failure += "; make room and run the same command again." if stops_run else ""
    except Exception as error:
        failure, details = _describe(error), traceback.format_exc()
    seconds = time.perf_counter() - start
    return Outcome(item.name, value, failure, stops_run, details, seconds)


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the name of a temporary file
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
