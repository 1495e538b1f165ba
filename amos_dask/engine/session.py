"""A session: a client, started when there is something to do, what is done there, and progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from amos_dask.engine.connect import connect
from amos_dask.engine.events import (
    STYLES,
    Item,
    Items,
    Listener,
    Notice,
    Outcome,
    Severity,
    Waiting,
    report_to,
)
from amos_dask.engine.options import options_of, patience_seconds
from amos_dask.engine.workers import USABLE_MEMORY, find_problems, forwarding_line, look_at_workers
from amos_dask.errors import AmosDaskError, ClusterError

if TYPE_CHECKING:
    from dask.delayed import Delayed

Group = TypeVar("Group", bound=tuple[str, ...])  # which make its name
Part = TypeVar("Part")
Value = TypeVar("Value")
_ADDED_AT_ONCE = 4  # parts, which may each be large
# So many items that take little time are looked at at once: in one task, or without any workers.
FEW = 32
_TITLE_OF_DASKS_REPORT, _FIRST_BYTES = b"<title>Dask Performance Report", 400


class Batch(NamedTuple):
    """Items that are looked at in one task, named by the first."""

    name: str
    items: Sequence[Any]


def _look_at(function: Callable[[Item], Value], batch: Batch) -> list[Value]:
    return [function(item) for item in batch.items]


@dataclass
class Session:
    """A client, connected when there is something to do, and who listens to progress.

    Parameters
    ----------
    cluster, to_see, performance_report
        As for `open_session`.
    listener : callable
        Is told every event.
    opened : ExitStack
        Closes in the end what is opened here.
    is_lost : bool
        The cluster, or all its workers, have gone.
    """

    cluster: Any
    listener: Listener
    to_see: tuple[Sequence[str], Sequence[str]] | None
    performance_report: str | Path | None
    opened: ExitStack
    is_lost: bool = False

    @cached_property
    def client(self) -> Any:
        """The `distributed.Client` where tasks run.

        Raises
        ------
        ClusterError
            When it cannot be reached, or its workers do not see what they need.
        """
        options = options_of(self.cluster)
        client = self.cluster
        if options is not None:
            self.listener(Waiting("starting workers"))
            client = self.opened.enter_context(connect(options, self._tell))
        if self.performance_report is not None:
            from distributed import performance_report

            self.opened.enter_context(client.as_current())
            self.opened.enter_context(performance_report(filename=str(self.performance_report)))
        self._tell(f"dashboard: {client.dashboard_link}")
        if self.to_see is not None and not _is_on_this_machine(client):
            self._tell(f"from elsewhere: {forwarding_line(client.dashboard_link)}")
            self._tell("waiting for the first worker")
            views = look_at_workers(client, *self.to_see, patience_seconds("elsewhere"))
            problems = find_problems(views)
            if problems:
                raise ClusterError("; ".join(problems) + ".")
        return client

    def _tell(self, message: str, severity: Severity = "info") -> None:
        self.listener(Notice(message, severity))

    @property
    def is_started(self) -> bool:
        """Whether there are workers at hand."""
        is_given = options_of(self.cluster) is None
        return ("client" in vars(self) or is_given) and not self.is_lost

    @property
    def is_elsewhere(self) -> bool:
        """Whether tasks ran on other machines, whose files may take a while to be seen here."""
        return "client" in vars(self) and not _is_on_this_machine(self.client)

    def map(
        self, work: str, function: Callable[[Item], Value], items: Items[Item]
    ) -> Generator[Outcome[Value], None, None]:
        """Yield the outcomes of ``function`` over the items, as `run_tasks` does.

        Without items nothing is started or told.

        Parameters
        ----------
        work : str
            Its name, such as ``sample``.
        function : callable
            Takes an item and returns a small picklable value.
        items : sequence
            Small picklable items with a ``name``; each is asked for when its turn comes.

        Yields
        ------
        Outcome
            In order of completion; to be closed by who stops early.
        """
        if items:
            from amos_dask.engine.graph import run_tasks

            try:
                yield from run_tasks(self.client, work, function, items, self.listener)
            except ClusterError:
                self.is_lost = True
                raise

    def look(
        self, work: str, function: Callable[[Item], Value], items: Sequence[Item]
    ) -> list[Value | None]:
        """Return what a function that takes little time says of each item, in order.

        Few items are looked at here, and many where there are no workers at hand; else many of
        them are one task, as `map` has it. None where a task failed.
        """
        batches = [Batch(items[i].name, items[i : i + FEW]) for i in range(0, len(items), FEW)]
        if len(batches) > 1 and self.is_started:
            with suppress(ClusterError):  # then it is done here
                outcomes = self.map(work, partial(_look_at, function), batches)
                found = {outcome.name: outcome.value for outcome in outcomes}
                failed = [None] * FEW
                return [v for b in batches for v in (found[b.name] or failed[: len(b.items)])]
        return [function(item) for item in items]

    def reduce(
        self, work: str, groups: Mapping[Group, Sequence[Item]], how: Reduction[Item, Part, Value]
    ) -> dict[Group, Value]:
        """Return the value of each group that has items.

        Few items are read here, and all where the workers have gone.

        Parameters
        ----------
        work : str
            Its name.
        groups : mapping of tuple to sequence
            Group -> its items, which may be in several groups.
        how : Reduction
            What is done.

        Raises
        ------
        ClusterError
            When the cluster goes, or workers die of it.
        """
        import dask

        from amos_dask.engine.graph import compute_graph

        values = reduction_graph(groups, how, FEW)
        items = {item.name for of_group in groups.values() for item in of_group}
        if len(items) <= FEW or self.is_lost:
            (found,) = dask.compute(values, scheduler="synchronous")
            return dict(found)
        named = {"-".join(map(str, group)): value for group, value in values.items()}
        try:
            found = compute_graph(self.client, work, named, self.listener)
        except ClusterError:
            self.is_lost = True
            raise
        return dict(zip(values, found, strict=True))

    def require_memory(self, n_bytes: int) -> None:
        """Raise `ClusterError` when a worker has less memory than a scan needs.

        Parameters
        ----------
        n_bytes : int
            That the largest scan takes.
        """
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
        if limits and min(limits) * USABLE_MEMORY < n_bytes:
            raise ClusterError(
                f"a worker has {min(limits) / 1e9:.2f} GB of memory and the largest scan needs "
                f"about {n_bytes / USABLE_MEMORY / 1e9:.2f} GB; use fewer --workers or more "
                "--memory."
            )

    def prepare_kernels(self) -> None:
        """Compile the kernels on one worker of each host, so that the others load them.

        Raises
        ------
        ClusterError
            When workers die of it, as they will of every sample, or the scheduler does.
        """
        from amos_dask.engine.graph import noticing_the_end_of
        from amos_dask.engine.workers import prepare_kernels

        with noticing_the_end_of(self.client):
            prepare_kernels(self.client, self.listener)


def _is_on_this_machine(client: Any) -> bool:
    """Return whether a client's workers are processes that were started here."""
    from distributed import LocalCluster

    return isinstance(client.cluster, LocalCluster)


@contextmanager
def open_session(
    cluster: Any,
    progress: str | Listener,
    to_see: tuple[Sequence[str], Sequence[str]] | None = None,
    performance_report: str | Path | None = None,
) -> Iterator[Session]:
    """Yield a session on a cluster, starting and stopping a local one where none is given.

    Nothing is started before the first task.

    Parameters
    ----------
    cluster : ClusterOptions, distributed.Client, str or None
        Options, a connected client, a scheduler's address, or None for a local cluster.
    progress : {"auto", "bar", "plain", "json", "none"} or callable
        How to show progress on stderr (``json``: on stdout), or who listens.
    to_see : tuple of two sequences of str, optional
        Paths or URLs that workers on other machines must see, to read and to write to.
    performance_report : str or Path, optional
        File for Dask's own report on tasks, workers and transfers.

    Raises
    ------
    AmosDaskError
        When ``progress`` is not known, or the report's file could not be written in the end.
    """
    if performance_report is not None:
        _require_writable(Path(performance_report))
    with ExitStack() as opened:
        if callable(progress):
            listener = progress
        elif progress not in STYLES:
            raise AmosDaskError(f"progress {progress!r} is not known; choose from {STYLES}.")
        else:
            stream = sys.stdout if progress == "json" else sys.stderr
            listener = opened.enter_context(report_to(stream, progress))
        yield Session(cluster, listener, to_see, performance_report, opened)


def _require_writable(path: Path) -> None:
    """Raise when a file could not be written in the end."""
    folder = path.absolute().parent
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise AmosDaskError(f"{path}: cannot be written; is {folder} there?")
    if path.exists() and _TITLE_OF_DASKS_REPORT not in path.read_bytes()[:_FIRST_BYTES]:
        raise AmosDaskError(f"{path} is there and no report of Dask's; choose another name.")


@dataclass(frozen=True)
class Reduction(Generic[Item, Part, Value]):
    """How items become the value of a group; functions of a module, as workers run them."""

    read: Callable[[Sequence[Item]], Part]  # some items
    add: Callable[[Sequence[Part]], Part]
    finish: Callable[[Part], Value]


def reduction_graph(
    groups: Mapping[Group, Sequence[Item]], how: Reduction[Item, Part, Value], n_at_once: int
) -> dict[Group, Delayed]:
    """Return the graph of the groups that have items.

    Items that are in the same groups are added up first; a group is the sum of such sums.

    Parameters
    ----------
    groups : mapping of tuple of str to sequence
        Group -> its items, known by their names.
    how : Reduction
        What is done.
    n_at_once : int
        So many items are read in one task.

    Returns
    -------
    dict of tuple to Delayed
        The value of each group, in the order of the groups.
    """
    from dask import delayed

    groups_of: dict[str, tuple[Group, ...]] = {}
    for group, items in groups.items():
        for item in items:
            groups_of[item.name] = (*groups_of.get(item.name, ()), group)
    alike: dict[tuple[Group, ...], dict[str, Item]] = {}
    for item in chain.from_iterable(groups.values()):
        alike.setdefault(groups_of[item.name], {})[item.name] = item
    add = delayed(how.add, pure=False)
    parts: dict[Group, list[Delayed]] = {}
    for whose, by_name in alike.items():
        found, starts = list(by_name.values()), range(0, len(by_name), n_at_once)
        # Dask would look for delayed values in arguments, item by item.
        reads = [partial(how.read, found[start : start + n_at_once]) for start in starts]
        together = _add_as_tree([delayed(read, pure=False)() for read in reads], add)
        for group in whose:
            parts.setdefault(group, []).append(together)
    finish = delayed(how.finish, pure=False)
    return {group: finish(_add_as_tree(parts[group], add)) for group in groups if group in parts}


def _add_as_tree(parts: list[Delayed], add: Callable[[list[Delayed]], Delayed]) -> Delayed:
    while len(parts) > 1:
        starts = range(0, len(parts), _ADDED_AT_ONCE)
        parts = [add(parts[start : start + _ADDED_AT_ONCE]) for start in starts]
    return parts[0]
