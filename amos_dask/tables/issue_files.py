"""ROOT_DIR's issues: issues.xlsx, issues.jsonl, and the log by step behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from amos_dask.issues import Issue, in_order
from amos_dask.records import Step
from amos_dask.root.layout import Layout
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.staging import write_text
from amos_dask.tables.manifests import issues_frame
from amos_dask.tables.own_workbooks import put_workbook


def record_issues(
    layout: Layout,
    step: Step,
    issues: Iterable[Issue],
    samples: Collection[str] | None = None,
    scope: str = "",
) -> list[Issue]:
    """Replace a step's issues in ROOT's log, and write issues.xlsx and issues.jsonl if they change.

    Returns
    -------
    list of Issue
        What there is to say of these files themselves.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    step, issues, samples, scope
        As for `IssueLog.replace`.
    """
    issues, log = list(issues), IssueLog(layout.issue_log)
    known, is_written = log.all(), layout.issues_workbook.exists() and has_whole_log(layout)
    log.replace(step, issues, samples, scope)
    if is_written and log.all() == known:
        log.save()
        return []
    with OwnFiles(layout, collects=True) as own:
        write_issues(own, log, lambda found: log.replace(step, [*issues, *found], samples, scope))
    return own.issues()


def write_issues(
    own: OwnFiles,
    log: IssueLog,
    add: Callable[[list[Issue]], None],
) -> None:
    """Write the log, issues.xlsx and issues.jsonl.

    Parameters
    ----------
    own : OwnFiles
        The files of ROOT_DIR.
    log : IssueLog
        The log.
    add : callable
        Puts into the log what there is to say of files, these two among them.
    """
    for _ in range(2):  # the second time with what became of these two, so that they say it
        told = own.issues()
        add(told)
        log.save()
        with own.trying():
            own.write_content(own.layout.issues_text, _to_text(log.all()).encode())
        put_workbook(own, own.layout.issues_workbook, {"Issues": issues_frame(log.all())})
        if own.issues() == told:
            break


def has_whole_log(layout: Layout) -> bool:
    """Return whether the log of issues is there and says what issues.jsonl does.

    They are written together: a log that says something else was damaged.
    """
    try:
        told = layout.issues_text.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return layout.issue_log.exists() and told == _to_text(IssueLog(layout.issue_log).all())


def _to_text(issues: Iterable[Issue]) -> str:
    lines = (json.dumps(asdict(issue), ensure_ascii=False) for issue in issues)
    return "".join(line + "\n" for line in lines)


class IssueLog:
    """The file that remembers which step found which issue; read at once, written by `save`.

    Lines that cannot be understood, as a full disk or a power cut leaves them, are passed over.

    Parameters
    ----------
    path : Path
        ``.amos-dask/issues.jsonl`` under ROOT_DIR.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = self._read()

    def replace(
        self,
        step: Step,
        issues: Iterable[Issue],
        samples: Collection[str] | None = None,
        scope: str = "",
    ) -> None:
        """Replace a step's issues.

        Parameters
        ----------
        step : Step
            The step that ran.
        issues : iterable of Issue
            What it found.
        samples : collection of str, optional
            The samples it looked at; by default all. Its issues of other samples stay.
        scope : str
            The folder that the step worked on, where it can run for several side by side, as
            for dataset manifests; issues of folders outside it stay.
        """
        key = f"{step}:{scope}" if scope else str(step)
        kept = [
            (other, issue)
            for other, issue in self._entries
            if not _is_within(other, key) or (samples is not None and _is_of_others(issue, samples))
        ]
        self._entries = [*kept, *((key, issue) for issue in issues)]

    def save(self) -> None:
        """Write the log."""
        lines = [
            json.dumps({"step": key, **asdict(issue)}, ensure_ascii=False)
            for key, issue in self._entries
        ]
        write_text(self._path, "".join(line + "\n" for line in lines))

    def all(self, besides: Step | tuple[Step, ...] = ()) -> list[Issue]:
        """Return every issue once, sorted by sample, file and code; those of steps left out.

        Of what was found in headers, and again when the sample was made, the latter knows better
        what became of it.
        """
        left_out = {besides} if isinstance(besides, Step) else set(besides)
        found = [entry for entry in self._entries if entry[0].partition(":")[0] not in left_out]
        of_samples = {issue for step, issue in found if step != Step.ARCHIVE_MANIFEST}
        known = {replace(issue, action="") for issue in of_samples}
        more = {issue for _, issue in found if replace(issue, action="") not in known}
        return in_order(of_samples | more)

    def _read(self) -> list[tuple[str, Issue]]:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return [(step, issue) for step, issue in _entries(text) if step]


def read_issues(path: Path) -> list[Issue]:
    """Return the issues of ``issues.jsonl``, which people read, as far as they are understood."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [issue for _, issue in _entries(text)]


def _entries(text: str) -> Iterator[tuple[str, Issue]]:
    """Yield the steps, where they are told, and issues of the lines that can be understood."""
    # Not splitlines: a message may hold other characters that Unicode counts as line ends.
    for line in filter(None, text.split("\n")):
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            content = json.loads(line)
            if all(isinstance(value, str) for value in content.values()):
                yield content.pop("step", ""), Issue(**content)


def _is_within(other: str, key: str) -> bool:
    return other == key or other.startswith(f"{key}/")


def _is_of_others(issue: Issue, samples: Collection[str]) -> bool:
    return issue.sample != "" and issue.sample not in samples
