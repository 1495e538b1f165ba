"""What is told of work on Dask: how each task ended, events, and who shows them to people."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Literal, Protocol, TextIO, TypeVar

from amos_dask.errors import first_of, number_of

T = TypeVar("T")
Severity = Literal["info", "warning", "error"]


class Named(Protocol):
    """An item of work with a name for its task."""

    @property
    def name(self) -> str:
        """Such as ``amos_0004``."""


Item = TypeVar("Item", bound=Named)
AnItem = TypeVar("AnItem", bound=Named, covariant=True)


class Items(Protocol[AnItem]):
    """Items whose number is known, and that may be made as they are asked for."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __iter__(self) -> Iterator[AnItem]:
        """Yield them."""


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
    """Event: one line for people, such as the dashboard's address; or a warning."""

    message: str
    severity: Severity = "info"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Event: what goes on, until the next event, while no task of a work runs."""

    message: str


@dataclass(frozen=True, slots=True)
class TasksRunning:
    """Event: what the workers do, told now and then until the work's first task has ended."""

    work: str
    names: tuple[str, ...]


Event = WorkStarted | TaskEnded | BytesDone | WorkEnded | Notice | Waiting | TasksRunning
Listener = Callable[[Event], None]


# How events are shown: a bar on a terminal, a line that changes in a notebook, lines in a log,
# JSON for machines.
STYLES = ("auto", "bar", "notebook", "plain", "json", "none")
# Programs that read the lines know these by their first names.
_NAMES_IN_JSON = {"WorkStarted": "PhaseStarted", "WorkEnded": "PhaseEnded", "work": "phase"}
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


def in_words(work: str) -> str:
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
    style : {"auto", "bar", "notebook", "plain", "json", "none"}
        ``auto`` is a bar on a terminal, a line in a notebook, and plain lines elsewhere.
    """
    if style == "auto":
        is_in_notebook = type(stream).__module__.startswith("ipykernel.")
        style = "bar" if stream.isatty() else "notebook" if is_in_notebook else "plain"
    if style == "bar":
        from amos_dask.engine.bar import open_bar

        with open_bar(stream) as listener:
            yield listener
    elif style == "notebook":
        yield NotebookLine(stream)
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
        failed = isinstance(event, TaskEnded) and event.failed
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {
            "event": _NAMES_IN_JSON.get(kind, kind),
            "time": now,
            "severity": "error" if failed else "info",  # a notice has its own
            **fields,
        }
        print(json.dumps(line), file=self._stream, flush=True)


class PlainLines:
    """A line when work starts and ends, for each failure, and every few seconds."""

    _seconds_between_lines = 5.0

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
                self._say(f"{in_words(work)}: {total} to do")
            case TaskEnded(work, name, failed, n_issues, _):
                self._done += 1
                self._issues += n_issues
                if failed:
                    self._keep(f"{in_words(work)}: {name} failed")
                self._report_now_and_then(work)
            case BytesDone():
                self._report_bytes_now_and_then(event)
            case WorkEnded(work):
                seconds = self._clock() - self._started
                self._say(
                    f"{in_words(work)}: {self._done} of {self._total} done "
                    f"in {seconds:.1f} s, {number_of(self._issues, 'issue')}"
                )
            case Notice(message, severity):
                self._keep(message if severity == "info" else f"{severity}: {message}")
            case TasksRunning(work, names):
                self._report_running(work, names)
            case Waiting():
                pass  # it takes seconds

    def _report_running(self, work: str, names: Sequence[str]) -> None:
        now = self._clock()
        if now - self._last >= self._seconds_between_lines:
            self._last = now
            seconds = f"{now - self._started:.0f} s elapsed"
            self._say(f"{in_words(work)}: {running(names)}, {seconds}")

    def _report_now_and_then(self, work: str) -> None:
        now = self._clock()
        if now - self._last < self._seconds_between_lines or self._done == self._total:
            return
        self._last = now
        left = (now - self._started) / self._done * (self._total - self._done)
        self._say(
            f"{in_words(work)}: {self._done} of {self._total}, "
            f"{number_of(self._issues, 'issue')}, {now - self._started:.0f} s elapsed, "
            f"about {left:.0f} s left"
        )

    def _report_bytes_now_and_then(self, event: BytesDone) -> None:
        now = self._clock()
        key = (event.work, event.name)
        begun, n_bytes_before = self._first.setdefault(key, (now, event.n_bytes))
        if now - self._last < self._seconds_between_lines:
            return
        self._last = now
        line = f"{in_words(event.work)} {event.name}: {bytes_text(event)}"
        n_new, total = event.n_bytes - n_bytes_before, event.n_bytes_total
        if n_new > 0 and total is not None:
            left = (now - begun) / n_new * max(0, total - event.n_bytes)
            line += f", about {left:.0f} s left"
        self._say(line)

    def _say(self, message: str) -> None:
        print(message, file=self._stream, flush=True)

    def _keep(self, message: str) -> None:
        """Say what is to be read afterwards as well."""
        self._say(message)


class NotebookLine(PlainLines):
    """The same, on one line that changes in a notebook's cell; what is to be kept has its own."""

    _seconds_between_lines = 0.5
    _shown: Any = None

    def __call__(self, event: Event) -> None:
        """Show what a reader of a log is told, and what is waited for."""
        if isinstance(event, Waiting):
            self._say(event.message)
        super().__call__(event)

    def _say(self, message: str) -> None:
        from IPython.display import display

        text = {"text/plain": message}
        if self._shown is None:
            self._shown = display(text, raw=True, display_id=True)
        else:
            self._shown.update(text, raw=True)

    def _keep(self, message: str) -> None:
        print(message, file=self._stream, flush=True)


def running(names: Sequence[str], most: int = 4) -> str:
    """Return such as ``amos_0001, amos_0004 and 6 more running``."""
    return f"{first_of(names, most)} running"


def bytes_text(event: BytesDone) -> str:
    """Return such as ``9.0 of 24.0 GB``."""
    n_largest = max(event.n_bytes, event.n_bytes_total or 0)
    divisor, unit = next((unit for unit in _UNITS if n_largest >= unit[0]), (1e3, "kB"))
    done = event.n_bytes / divisor
    if event.n_bytes_total is None:
        return f"{done:.1f} {unit}"
    return f"{done:.1f} of {event.n_bytes_total / divisor:.1f} {unit}"
