"""Subscribers to graph events: lines for logs, JSON for machines, a bar for people."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest

from amos_dask.engine.events import (
    BytesDone,
    Event,
    JsonLines,
    NotebookLine,
    Notice,
    PlainLines,
    TaskEnded,
    TasksRunning,
    Waiting,
    WorkEnded,
    WorkStarted,
    ignore,
    report_to,
)


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ended(number: int, *, failed: bool = False, n_issues: int = 0) -> TaskEnded:
    return TaskEnded("sample", f"amos_{number:04d}", failed, n_issues, 0.25)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(stream: io.StringIO, clock: Clock) -> PlainLines:
    return PlainLines(stream, clock)


# ---------------------------------------------------------------- plain lines


def test_work_has_a_line_at_its_start_and_its_end(
    lines: PlainLines, stream: io.StringIO, clock: Clock
) -> None:
    lines(WorkStarted("sample", 2))
    lines(ended(1, n_issues=2))
    lines(ended(2, n_issues=1))
    clock.now += 3.14
    lines(WorkEnded("sample"))
    assert stream.getvalue().splitlines() == [
        "processing samples: 2 to do",
        "processing samples: 2 of 2 done in 3.1 s, 3 issues",
    ]


def test_a_failure_has_its_line_at_once(lines: PlainLines, stream: io.StringIO) -> None:
    lines(WorkStarted("sample", 3))
    lines(ended(4, failed=True))
    assert stream.getvalue().splitlines()[1:] == ["processing samples: amos_0004 failed"]


def test_in_between_there_is_a_line_every_few_seconds_with_the_time_left(
    lines: PlainLines, stream: io.StringIO, clock: Clock
) -> None:
    lines(WorkStarted("sample", 100))
    for number in range(1, 21):
        clock.now += 1.0
        lines(ended(number, n_issues=1))
    said = stream.getvalue().splitlines()[1:]
    assert said == [
        "processing samples: 5 of 100, 5 issues, 5 s elapsed, about 95 s left",
        "processing samples: 10 of 100, 10 issues, 10 s elapsed, about 90 s left",
        "processing samples: 15 of 100, 15 issues, 15 s elapsed, about 85 s left",
        "processing samples: 20 of 100, 20 issues, 20 s elapsed, about 80 s left",
    ]


def test_a_thousand_quick_tasks_do_not_flood_the_log(
    lines: PlainLines, stream: io.StringIO, clock: Clock
) -> None:
    lines(WorkStarted("headers", 1000))
    for number in range(1000):
        clock.now += 0.001
        lines(TaskEnded("headers", f"amos_{number:04d}", False, 0, 0.0))
    lines(WorkEnded("headers"))
    assert len(stream.getvalue().splitlines()) == 2


def test_the_second_work_counts_anew(lines: PlainLines, stream: io.StringIO, clock: Clock) -> None:
    lines(WorkStarted("headers", 1))
    lines(TaskEnded("headers", "amos_0001", False, 7, 0.0))
    lines(WorkEnded("headers"))
    clock.now += 60
    lines(WorkStarted("sample", 1))
    clock.now += 2
    lines(WorkEnded("sample"))
    assert stream.getvalue().splitlines()[-1] == (
        "processing samples: 0 of 1 done in 2.0 s, 0 issues"
    )


def test_a_notice_is_a_line(lines: PlainLines, stream: io.StringIO) -> None:
    lines(Notice("dashboard: http://127.0.0.1:8787/status"))
    assert stream.getvalue() == "dashboard: http://127.0.0.1:8787/status\n"


def test_unknown_work_is_shown_by_its_name(lines: PlainLines, stream: io.StringIO) -> None:
    lines(WorkStarted("nnunet", 1))
    assert stream.getvalue() == "nnunet: 1 to do\n"


@pytest.mark.parametrize(
    "work", ["headers", "sample", "pair", "split", "binary", "regions", "denoise", "describe"]
)
def test_every_work_of_the_program_has_words_for_people(
    work: str, lines: PlainLines, stream: io.StringIO
) -> None:
    lines(WorkStarted(work, 1))
    words = stream.getvalue().split(":")[0]
    assert words != work
    assert "ing " in f"{words} "


def test_bytes_have_a_line_every_few_seconds_with_the_time_left(
    lines: PlainLines, stream: io.StringIO, clock: Clock
) -> None:
    lines(WorkStarted("download", 2))
    for n_bytes in range(12_000_000_000, 13_100_000_000, 100_000_000):
        lines(BytesDone("download", "amos22.zip", n_bytes, 24_000_000_000))
        clock.now += 1.0
    assert stream.getvalue().splitlines()[1:] == [
        "downloading amos22.zip: 12.5 of 24.0 GB, about 115 s left",
        "downloading amos22.zip: 13.0 of 24.0 GB, about 110 s left",
    ]


def test_bytes_without_a_known_end_or_from_the_beginning_again_tell_no_time(
    lines: PlainLines, stream: io.StringIO, clock: Clock
) -> None:
    for n_bytes, total in ((500_000, None), (2_500_000, None), (1_000_000, 5_000_000)):
        lines(BytesDone("download", "a.zip", n_bytes, total))
        clock.now += 10
    lines(BytesDone("download", "a.zip", 0, 5_000_000))
    assert stream.getvalue().splitlines() == [
        "downloading a.zip: 500.0 kB",
        "downloading a.zip: 2.5 MB",
        "downloading a.zip: 1.0 of 5.0 MB, about 160 s left",
        "downloading a.zip: 0.0 of 5.0 MB",
    ]


def test_a_log_says_what_runs_until_the_first_task_ends(
    lines: PlainLines, stream: io.StringIO, clock: Clock
) -> None:
    lines(WorkStarted("sample", 9))
    for _ in range(14):
        clock.now += 1.0
        lines(TasksRunning("sample", ("amos_0001", "amos_0004")))
    assert stream.getvalue().splitlines()[1:] == [
        "processing samples: amos_0001, amos_0004 running, 5 s elapsed",
        "processing samples: amos_0001, amos_0004 running, 10 s elapsed",
    ]


def test_a_warning_says_that_it_is_one(lines: PlainLines, stream: io.StringIO) -> None:
    lines(Notice("there are no workers now; waiting", "warning"))
    assert stream.getvalue() == "warning: there are no workers now; waiting\n"


# ---------------------------------------------------------------- a notebook


def test_in_a_notebook_one_line_changes_and_warnings_stay(
    stream: io.StringIO, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[str]] = []

    class Handle:
        def __init__(self, text: dict[str, str]) -> None:
            self.texts = [text["text/plain"]]
            shown.append(self.texts)

        def update(self, text: dict[str, str], raw: bool) -> None:
            self.texts.append(text["text/plain"])

    module = ModuleType("IPython.display")
    module.display = lambda text, raw, display_id: Handle(text)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    line = NotebookLine(stream, clock)
    line(Waiting("starting workers"))
    line(Notice("the csv is not there", "warning"))
    line(WorkStarted("sample", 2))
    line(ended(1))
    line(ended(2, failed=True))
    line(WorkEnded("sample"))
    (texts,) = shown
    assert texts[0] == "starting workers"
    assert texts[-1].startswith("processing samples: 2 of 2 done")
    assert stream.getvalue().splitlines() == [
        "warning: the csv is not there",
        "processing samples: amos_0002 failed",
    ]


# ---------------------------------------------------------------- JSON lines

EVERY_EVENT: list[Event] = [
    Notice('dashboard: "http://127.0.0.1:8787/status"\nÄ'),
    WorkStarted("sample", 2),
    ended(1, n_issues=3),
    ended(4, failed=True),
    BytesDone("sample", "a.zip", 5, None),
    WorkEnded("sample"),
    Waiting("loading kernels"),
    TasksRunning("sample", ("amos_0001",)),
    Notice("all workers are out of memory; waiting", "warning"),
]


def test_every_event_is_one_json_object_on_one_line(stream: io.StringIO) -> None:
    listener = JsonLines(stream)
    for event in EVERY_EVENT:
        listener(event)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    times = [datetime.fromisoformat(line.pop("time")) for line in found]
    assert times == sorted(times)
    severities = [line.pop("severity") for line in found]
    assert severities == [*["info"] * 3, "error", *["info"] * 4, "warning"]
    assert found == [
        {"event": "Notice", "message": 'dashboard: "http://127.0.0.1:8787/status"\nÄ'},
        {"event": "PhaseStarted", "phase": "sample", "total": 2},
        {"event": "TaskEnded", "phase": "sample", "name": "amos_0001", "failed": False,
         "n_issues": 3, "seconds": 0.25},
        {"event": "TaskEnded", "phase": "sample", "name": "amos_0004", "failed": True,
         "n_issues": 0, "seconds": 0.25},
        {"event": "BytesDone", "phase": "sample", "name": "a.zip", "n_bytes": 5,
         "n_bytes_total": None},
        {"event": "PhaseEnded", "phase": "sample"},
        {"event": "Waiting", "message": "loading kernels"},
        {"event": "TasksRunning", "phase": "sample", "names": ["amos_0001"]},
        {"event": "Notice", "message": "all workers are out of memory; waiting"},
    ]  # fmt: skip


def test_lines_are_there_for_a_reader_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for make in (JsonLines, PlainLines):
        with path.open("w") as log:
            make(log)(Notice("hello"))
            assert "hello" in path.read_text()


# ---------------------------------------------------------------- the choice of a style


@pytest.mark.parametrize(
    ("style", "shown"),
    [
        ("auto", "processing samples: 2 to do\n"),  # not a terminal
        ("plain", "processing samples: 2 to do\n"),
        ("json", '{"event": "PhaseStarted", "time": "'),
        ("none", ""),
    ],
)
def test_style_decides_what_a_stream_gets(style: str, shown: str, stream: io.StringIO) -> None:
    with report_to(stream, style) as listener:
        listener(WorkStarted("sample", 2))
    assert stream.getvalue().startswith(shown)
    assert bool(stream.getvalue()) == bool(shown)


def test_nobody_needs_to_listen(capfd: pytest.CaptureFixture[str]) -> None:
    for event in EVERY_EVENT:
        ignore(event)
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- the bar

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@contextmanager
def terminal() -> Iterator[tuple[io.TextIOBase, Callable[[], str]]]:
    """Yield a pseudo-terminal to write to, and a function that returns what was shown."""
    master, slave = pty.openpty()
    chunks: list[bytes] = []

    def read() -> None:
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:  # the other side is closed
                return
            if not chunk:
                return
            chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    stream = os.fdopen(slave, "w", encoding="utf-8")

    def shown() -> str:
        if not stream.closed:
            stream.close()
        reader.join(timeout=10)
        return ESCAPES.sub("", b"".join(chunks).decode())

    try:
        yield stream, shown
    finally:
        shown()
        os.close(master)


def show_on_terminal(
    events: Sequence[Event],
    monkeypatch: pytest.MonkeyPatch,
    pause: float = 0.0,
    columns: int = 120,
) -> str:
    size = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "24"}
    for name, value in size.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    with terminal() as (stream, shown):
        with report_to(stream, "auto") as listener:  # type: ignore[arg-type]
            for event in events:
                listener(event)
                time.sleep(pause)
        return shown()


def test_on_a_terminal_there_is_a_bar_with_counts_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = [WorkStarted("sample", 50), *(ended(i, n_issues=1) for i in range(1, 13))]
    text = show_on_terminal(events, monkeypatch, pause=0.1)
    assert "processing samples" in text
    assert "━" in text
    assert "12/50" in text
    assert "12 issues" in text
    assert re.search(r"0:00:\d\d left", text), text[-400:]


@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_narrow_terminal_columns_are_left_out_and_none_is_squeezed(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [WorkStarted("sample", 600), *(ended(i, n_issues=1) for i in range(1, 13))]
    text = show_on_terminal(events, monkeypatch, pause=0.1, columns=columns)
    last = [line for line in re.split(r"[\r\n]+", text) if line.strip()][-1]
    assert re.search(r"processing samples +12/600, 12 issues .*\d:\d\d:\d\d left", last), text[
        -400:
    ]
    assert ("elapsed" in last) == (columns == 80)
    assert "…" not in text
    assert len(last.rstrip()) <= columns


@pytest.mark.parametrize("columns", [60, 120])
def test_until_the_first_task_ends_a_terminal_shows_what_runs(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(f"amos_{number:04d}" for number in range(1, 9))
    events = [
        Waiting("starting workers"),
        WorkStarted("sample", 600),
        TasksRunning("sample", names),
    ]
    text = show_on_terminal(events, monkeypatch, pause=0.3, columns=columns)
    assert "starting workers" in text
    last = [line for line in re.split(r"[\r\n]+", text) if line.strip()][-1]
    shown = "amos_0001 running" if columns < 100 else "amos_0001.* and 5 more running"
    assert re.search(f"0/600, {shown}", last), text[-400:]
    assert "starting" not in last
    assert len(last.rstrip()) <= columns


def test_what_is_done_says_how_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    text = show_on_terminal([WorkStarted("sample", 1), ended(1)], monkeypatch, columns=80)
    assert re.search(r"1/1, 0 issues in \d:\d\d:\d\d", text), text[-400:]


def test_on_a_terminal_failures_and_notices_are_shown_above_the_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = show_on_terminal([*EVERY_EVENT[1:], Notice("dashboard: http://[::1]:8787")], monkeypatch)
    assert "amos_0004 failed" in text
    assert "amos_0001 failed" not in text
    assert "dashboard: http://[::1]:8787" in text  # no markup taken for styles
    assert "2/2" in text


def test_on_a_terminal_each_work_has_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        WorkStarted("headers", 1),
        TaskEnded("headers", "amos_0001", False, 0, 0.0),
        WorkEnded("headers"),
        WorkStarted("sample", 3),
        ended(1),
        WorkEnded("sample"),
    ]
    text = show_on_terminal(events, monkeypatch)
    assert re.search(r"reading headers.*1/1", text)
    assert re.search(r"processing samples.*1/3", text)


def test_on_a_terminal_a_file_has_a_bar_with_bytes_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = [BytesDone("download", "amos22.zip", n * 10**9, 24 * 10**9) for n in range(10)]
    again = BytesDone("download", "amos22.zip", 10**6, 24 * 10**9)
    reading = BytesDone("md5", "amos22.zip", 5 * 10**8, None)
    events = [reading, WorkStarted("download", 2), *counts, again, *counts]
    text = show_on_terminal(events, monkeypatch, pause=0.1)
    assert re.search(r"computing the MD5 amos22.zip .*500.0 MB", text)
    assert re.search(r"downloading .*0/2", text)
    assert re.search(r"\namos22.zip .*9.0 of 24.0 GB.*0:00:\d\d left", text), text[-400:]
