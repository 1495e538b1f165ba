"""Subscribers to graph events: a bar on a terminal, lines in a log, JSON for machines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

from amos_dask.records import Event, Notice, PhaseEnded, PhaseStarted, TaskEnded

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Listener = Callable[[Event], None]
STYLES = ("auto", "bar", "plain", "json", "none")
_SECONDS_BETWEEN_LINES = 5.0
_PHASES = {
    "audit": "reading headers",
    "sample": "processing samples",
    "pair": "confirming pairs",
    "split": "splitting prostate/uterus",
    "binary": "writing binary masks",
    "regions": "finding small regions",
    "denoise": "denoising",
    "describe": "describing samples",
    "verify": "verifying",
    "md5": "computing the MD5",
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

    def _say(self, message: str) -> None:
        print(message, file=self._stream, flush=True)


@contextmanager
def _bar(stream: TextIO) -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<26}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[issues]} issues"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        yield _Bar(progress)


class _Bar:
    """A rich progress bar for each phase."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._issues: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case PhaseStarted(phase, total):
                shown = _PHASES.get(phase, phase)
                self._tasks[phase] = self._progress.add_task(shown, total=total, issues=0)
                self._issues[phase] = 0
            case TaskEnded(phase, name, failed, n_issues, _):
                self._issues[phase] += n_issues
                self._progress.update(self._tasks[phase], advance=1, issues=self._issues[phase])
                if failed:
                    self._progress.console.print(f"{name} failed")
            case Notice(message):
                self._progress.console.print(message, highlight=False, markup=False)
            case _:
                pass
