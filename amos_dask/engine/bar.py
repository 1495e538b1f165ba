"""Progress on a terminal: a line for each kind of work, as wide as there is room."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from amos_dask.engine.events import (
    BytesDone,
    Event,
    Listener,
    Notice,
    TaskEnded,
    TasksRunning,
    Waiting,
    WorkEnded,
    WorkStarted,
    bytes_text,
    in_words,
    running,
)
from amos_dask.errors import number_of

# Columns of a terminal that has room for the time gone by; for a bar and a rate as well.
_MEDIUM, _WIDE = 76, 100
_SHORTEST = 0.001  # seconds
_STYLES = {"warning": "yellow", "error": "red"}


@contextmanager
def open_bar(stream: TextIO) -> Iterator[Listener]:
    """Yield a listener that shows progress on a terminal while the context lasts."""
    console = Console(file=stream)
    what, count = TextColumn("{task.description}"), TextColumn("{task.fields[count]}")
    columns: tuple[ProgressColumn, ...] = (what, count, _Times(console.width))
    if console.width >= _WIDE:
        columns = (what, BarColumn(20), count, _Times(console.width))
    with Progress(*columns, console=console) as progress:
        listener = _Bar(progress)
        yield listener
        listener.end()


class _Times(ProgressColumn):
    """How long it has taken and how long it takes yet, as far as that is known."""

    def __init__(self, width: int) -> None:
        super().__init__(Column(no_wrap=True))
        self._width = width

    def render(self, task: Task) -> Text:
        left, elapsed = task.time_remaining, _clock(task.finished_time or task.elapsed)
        if task.finished:
            return Text(f"in {elapsed}")
        if left is None:
            return Text(elapsed)
        told = f"{_clock(left)} left"
        return Text(f"{elapsed} elapsed, {told}" if self._width >= _MEDIUM else told)


def _clock(seconds: float | None) -> str:
    """Return such as ``0:01:07``."""
    return str(timedelta(seconds=int(seconds or 0)))


class _Bar:
    """A line for each kind of work, for each file whose bytes are counted, and for waiting."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._counts: dict[str, tuple[int, int, int]] = {}
        self._started: dict[str, float] = {}
        self._waiting: TaskID | None = None

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Notice):
            self.end()
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
                    self._print(f"{in_words(work)}: {name} failed", "error")
            case TasksRunning(work, names):
                _, total, _ = self._counts[work]
                shown = running(names if self._progress.console.width >= _WIDE else names[:1], 3)
                self._progress.update(self._bars[work, ""], count=f"0/{total}, {shown}")
            case BytesDone(work, name, n_bytes, total):
                text = bytes_text(event)
                if (work, name) not in self._bars:
                    self._bars[work, name] = self._add(work, name, total, n_bytes, text)
                bar = self._bars[work, name]
                self._progress.update(bar, completed=n_bytes, total=total, count=text)
            case Notice(message, severity):
                is_info = severity == "info"
                self._print(message if is_info else f"{severity}: {message}", severity)
            case Waiting(message):
                self._waiting = self._progress.add_task(message, total=None, count="")
            case WorkEnded():
                pass

    def end(self) -> None:
        """Show no more what was waited for."""
        if self._waiting is not None:
            self._progress.remove_task(self._waiting)
            self._waiting = None

    def _print(self, message: str, severity: str) -> None:
        style = _STYLES.get(severity)
        self._progress.console.print(message, style=style, highlight=False, markup=False)

    def _add(self, work: str, name: str, total: int | None, done: int, count: str) -> TaskID:
        # Below the bar of its work a file's name says enough.
        shown = name if name and (work, "") in self._bars else f"{in_words(work)} {name}".strip()
        return self._progress.add_task(shown, total=total, completed=done, count=count)

    def _count(self, work: str) -> str:
        n_done, total, n_issues = self._counts[work]
        rate = n_done / max(time.monotonic() - self._started[work], _SHORTEST)
        told = f"{n_done:{len(str(total))}}/{total}"
        if n_done and self._progress.console.width >= _WIDE:
            told += f", {rate:.3g} a second" if rate >= 1 else f", {60 * rate:.3g} a minute"
        return f"{told}, {number_of(n_issues, 'issue')}"
