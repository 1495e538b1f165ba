"""Subscribers to graph events: a bar on a terminal, lines in a log, JSON for machines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

from amos_dask.engine.events import (
    BytesDone,
    Event,
    Listener,
    Notice,
    PhaseEnded,
    PhaseStarted,
    TaskEnded,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STYLES = ("auto", "bar", "plain", "json", "none")
_SECONDS_BETWEEN_LINES = 5.0
_UNITS = ((1e9, "GB"), (1e6, "MB"))
_PHASES = {
    "audit": "reading headers",
    "sample": "processing samples",
    "pair": "confirming pairs",
    "split": "splitting prostate/uterus",
    "binary": "writing binary masks",
    "regions": "finding small regions",
    "denoise": "denoising",
    "restore": "undoing denoising",
    "describe": "describing samples",
    "count": "counting values",
    "sum": "adding up counts",
    "pictures": "taking pictures",
    "checksum": "looking for duplicate scans",
    "compare": "comparing scans",
    "export": "exporting",
    "verify": "verifying",
    "md5": "computing the MD5",
    "download": "downloading",
}


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
        """Write the event with its type's name."""
        line = {"event": type(event).__name__, **asdict(event)}
        print(json.dumps(line), file=self._stream, flush=True)


class PlainLines:
    """A line at the start and end of each phase, for each failure, and every few seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._done = self._total = self._issues = 0
        self._started = self._last = 0.0
        self._first: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, event: Event) -> None:
        """Write what a reader of a log wants to know."""
        match event:
            case PhaseStarted(phase, total):
                self._done, self._total, self._issues = 0, total, 0
                self._started = self._last = self._clock()
                self._say(f"{_PHASES.get(phase, phase)}: {total} to do")
            case TaskEnded(phase, name, failed, n_issues, _):
                self._done += 1
                self._issues += n_issues
                if failed:
                    self._say(f"{_PHASES.get(phase, phase)}: {name} failed")
                self._report_now_and_then(phase)
            case BytesDone():
                self._report_bytes_now_and_then(event)
            case PhaseEnded(phase):
                seconds = self._clock() - self._started
                self._say(
                    f"{_PHASES.get(phase, phase)}: {self._done} of {self._total} done "
                    f"in {seconds:.1f} s, {self._issues} issues"
                )
            case Notice(message):
                self._say(message)

    def _report_now_and_then(self, phase: str) -> None:
        now = self._clock()
        if now - self._last < _SECONDS_BETWEEN_LINES or self._done == self._total:
            return
        self._last = now
        left = (now - self._started) / self._done * (self._total - self._done)
        self._say(
            f"{_PHASES.get(phase, phase)}: {self._done} of {self._total}, "
            f"{self._issues} issues, about {left:.0f} s left"
        )

    def _report_bytes_now_and_then(self, event: BytesDone) -> None:
        now = self._clock()
        key = (event.phase, event.name)
        begun, n_bytes_before = self._first.setdefault(key, (now, event.n_bytes))
        if now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        line = f"{_PHASES.get(event.phase, event.phase)} {event.name}: {_bytes_text(event)}"
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
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<26}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        yield _Bar(progress)


class _Bar:
    """A rich progress bar for each phase, and for each file whose bytes are counted."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._counts: dict[str, tuple[int, int, int]] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case PhaseStarted(phase, total):
                self._counts[phase] = (0, total, 0)
                self._bars[phase, ""] = self._add(phase, "", total, 0, self._count(phase))
            case TaskEnded(phase, name, failed, n_issues, _):
                n_done, total, n_before = self._counts[phase]
                self._counts[phase] = (n_done + 1, total, n_before + n_issues)
                bar = self._bars[phase, ""]
                self._progress.update(bar, advance=1, count=self._count(phase))
                if failed:
                    self._progress.console.print(f"{name} failed")
            case BytesDone(phase, name, n_bytes, total):
                text = _bytes_text(event)
                if (phase, name) not in self._bars:
                    self._bars[phase, name] = self._add(phase, name, total, n_bytes, text)
                bar = self._bars[phase, name]
                self._progress.update(bar, completed=n_bytes, total=total, count=text)
            case Notice(message):
                self._progress.console.print(message, highlight=False, markup=False)
            case _:
                pass

    def _add(self, phase: str, name: str, total: int | None, done: int, count: str) -> TaskID:
        words = _PHASES.get(phase, phase)
        # Below its phase's bar a file's name says enough.
        shown = words if not name else name if (phase, "") in self._bars else f"{words} {name}"
        return self._progress.add_task(shown, total=total, completed=done, count=count)

    def _count(self, phase: str) -> str:
        n_done, total, n_issues = self._counts[phase]
        return f"{n_done:{len(str(total))}}/{total} {n_issues} issues"
