"""What is told of work on Dask: how each task ended, events, and who shows them to people."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, Protocol, TextIO, TypeVar

from amos_dask.errors import number_of

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")


class Named(Protocol):
    """An item of work with a name for its task."""

    @property
    def name(self) -> str:
        """Such as ``amos_0004``."""


Item = TypeVar("Item", bound=Named)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How one task ended.

    Parameters
    ----------
    name : str
        The item's name, such as ``amos_0004``.
    value : T or None
        What the function returned; None when it failed.
    failure : str or None
        One sentence, when the function raised or its worker died.
    stops_run : bool
        Whether the failure concerns the whole run, not this item alone.
    details : str
        Traceback, or the last words of the worker that died.
    seconds : float
        Wall time of the function.
    """

    name: str
    value: T | None
    failure: str | None = None
    stops_run: bool = False
    details: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkStarted:
    """Event: work of a kind, such as ``sample``, begins, with so many tasks."""

    work: str
    total: int


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """Event: a task of the work ended."""

    work: str
    name: str
    failed: bool
    n_issues: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BytesDone:
    """Event: so many bytes of a task's file are done, of so many if that is known."""

    work: str
    name: str
    n_bytes: int
    n_bytes_total: int | None


@dataclass(frozen=True, slots=True)
class WorkEnded:
    """Event: the work is over."""

    work: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Event: one line for people, such as the dashboard's address."""

    message: str


Event = WorkStarted | TaskEnded | BytesDone | WorkEnded | Notice
Listener = Callable[[Event], None]


# How events are shown: a bar on a terminal, lines in a log, JSON for machines.
STYLES = ("auto", "bar", "plain", "json", "none")
_SECONDS_BETWEEN_LINES = 5.0
# Programs that read the lines know these by their first names.
_NAMES_IN_JSON = {"WorkStarted": "PhaseStarted", "WorkEnded": "PhaseEnded", "work": "phase"}
_WIDE = 100  # columns of a terminal that has room for a bar, a rate and the time gone by
_SHORTEST = 0.001  # seconds
_UNITS = ((1e9, "GB"), (1e6, "MB"))
_WORDS = {
    "headers": "reading headers",
    "sample": "processing samples",
    "pair": "confirming pairs",
    "split": "splitting prostate/uterus",
    "binary": "writing binary masks",
    "regions": "finding small regions",
    "denoise": "denoising",
    "restore": "undoing denoising",
    "describe": "describing samples",
    "tables": "writing workbooks",
    "known": "looking for what is known",
    "count": "counting values",
    "statistics": "adding up counts",
    "pictures": "taking pictures",
    "checksum": "looking for duplicate scans",
    "compare": "comparing scans",
    "export": "exporting",
    "verify": "verifying",
    "md5": "computing the MD5",
    "download": "downloading",
}


def _words(work: str) -> str:
    """Return what people are told that is being done."""
    return _WORDS.get(work, work)


def ignore(event: Event) -> None:
    """Listen to nothing."""


@contextmanager
def report_to(stream: TextIO, style: str = "auto") -> Iterator[Listener]:
    """Yield a listener that shows progress.

    Parameters
    ----------
    stream : text stream
        Where to show it.
    style : {"auto", "bar", "plain", "json", "none"}
        ``auto`` is a bar on a terminal and plain lines elsewhere.
    """
    if style == "auto":
        style = "bar" if stream.isatty() else "plain"
    if style == "bar":
        with _bar(stream) as listener:
            yield listener
    elif style == "plain":
        yield PlainLines(stream)
    elif style == "json":
        yield JsonLines(stream)
    else:
        yield ignore


class JsonLines:
    """One JSON object a line for every event."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Write the event with its type's name, the time, and how much it matters."""
        kind = type(event).__name__
        fields = {_NAMES_IN_JSON.get(name, name): value for name, value in asdict(event).items()}
        is_error = isinstance(event, TaskEnded) and event.failed
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {
            "event": _NAMES_IN_JSON.get(kind, kind),
            "time": now,
            "severity": "error" if is_error else "info",
            **fields,
        }
        print(json.dumps(line), file=self._stream, flush=True)


class PlainLines:
    """A line when work starts and ends, for each failure, and every few seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._done = self._total = self._issues = 0
        self._started = self._last = 0.0
        self._first: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, event: Event) -> None:
        """Write what a reader of a log wants to know."""
        match event:
            case WorkStarted(work, total):
                self._done, self._total, self._issues = 0, total, 0
                self._started = self._last = self._clock()
                self._say(f"{_words(work)}: {total} to do")
            case TaskEnded(work, name, failed, n_issues, _):
                self._done += 1
                self._issues += n_issues
                if failed:
                    self._say(f"{_words(work)}: {name} failed")
                self._report_now_and_then(work)
            case BytesDone():
                self._report_bytes_now_and_then(event)
            case WorkEnded(work):
                seconds = self._clock() - self._started
                self._say(
                    f"{_words(work)}: {self._done} of {self._total} done "
                    f"in {seconds:.1f} s, {number_of(self._issues, 'issue')}"
                )
            case Notice(message):
                self._say(message)

    def _report_now_and_then(self, work: str) -> None:
        now = self._clock()
        if now - self._last < _SECONDS_BETWEEN_LINES or self._done == self._total:
            return
        self._last = now
        left = (now - self._started) / self._done * (self._total - self._done)
        self._say(
            f"{_words(work)}: {self._done} of {self._total}, "
            f"{number_of(self._issues, 'issue')}, {now - self._started:.0f} s elapsed, "
            f"about {left:.0f} s left"
        )

    def _report_bytes_now_and_then(self, event: BytesDone) -> None:
        now = self._clock()
        key = (event.work, event.name)
        begun, n_bytes_before = self._first.setdefault(key, (now, event.n_bytes))
        if now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        line = f"{_words(event.work)} {event.name}: {_bytes_text(event)}"
        n_new, total = event.n_bytes - n_bytes_before, event.n_bytes_total
        if n_new > 0 and total is not None:
            left = (now - begun) / n_new * max(0, total - event.n_bytes)
            line += f", about {left:.0f} s left"
        self._say(line)

    def _say(self, message: str) -> None:
        print(message, file=self._stream, flush=True)


def _bytes_text(event: BytesDone) -> str:
    n_largest = max(event.n_bytes, event.n_bytes_total or 0)
    divisor, unit = next((unit for unit in _UNITS if n_largest >= unit[0]), (1e3, "kB"))
    done = event.n_bytes / divisor
    if event.n_bytes_total is None:
        return f"{done:.1f} {unit}"
    return f"{done:.1f} of {event.n_bytes_total / divisor:.1f} {unit}"


@contextmanager
def _bar(stream: TextIO) -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(file=stream)
    what, count = TextColumn("{task.description}"), TextColumn("{task.fields[count]}")
    left = (TextColumn("left"), TimeRemainingColumn())
    columns: tuple[ProgressColumn, ...] = (what, count, *left)  # as much as fits a narrow terminal
    if console.width >= _WIDE:
        elapsed = (TimeElapsedColumn(), TextColumn("elapsed,"), TimeRemainingColumn())
        columns = (what, BarColumn(20), count, *elapsed, TextColumn("left"))
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress)


class _Bar:
    """A rich progress bar for each kind of work, and for each file whose bytes are counted."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._counts: dict[str, tuple[int, int, int]] = {}
        self._started: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case WorkStarted(work, total):
                self._counts[work] = (0, total, 0)
                self._started[work] = time.monotonic()
                self._bars[work, ""] = self._add(work, "", total, 0, self._count(work))
            case TaskEnded(work, name, failed, n_issues, _):
                n_done, total, n_before = self._counts[work]
                self._counts[work] = (n_done + 1, total, n_before + n_issues)
                bar = self._bars[work, ""]
                self._progress.update(bar, advance=1, count=self._count(work))
                if failed:
                    self._progress.console.print(f"{name} failed")
            case BytesDone(work, name, n_bytes, total):
                text = _bytes_text(event)
                if (work, name) not in self._bars:
                    self._bars[work, name] = self._add(work, name, total, n_bytes, text)
                bar = self._bars[work, name]
                self._progress.update(bar, completed=n_bytes, total=total, count=text)
            case Notice(message):
                self._progress.console.print(message, highlight=False, markup=False)
            case _:
                pass

    def _add(self, work: str, name: str, total: int | None, done: int, count: str) -> TaskID:
        # Below the bar of its work a file's name says enough.
        shown = name if name and (work, "") in self._bars else f"{_words(work)} {name}".strip()
        return self._progress.add_task(shown, total=total, completed=done, count=count)

    def _count(self, work: str) -> str:
        n_done, total, n_issues = self._counts[work]
        rate = n_done / max(time.monotonic() - self._started[work], _SHORTEST)
        told = f"{n_done:{len(str(total))}}/{total}"
        if n_done and self._progress.console.width >= _WIDE:
            told += f", {rate:.3g} a second" if rate >= 1 else f", {60 * rate:.3g} a minute"
        return f"{told}, {number_of(n_issues, 'issue')}"
