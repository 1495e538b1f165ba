"""ROOT_DIR's issues: issues.xlsx, issues.jsonl, and the log by step behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict

from amos_dask.issues import Issue
from amos_dask.records import Step
from amos_dask.root.issue_log import IssueLog
from amos_dask.root.layout import Layout
from amos_dask.root.own_files import OwnFiles
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
    for _ in range(2):  # the second time with what became of these files, if that is anything
        add(own.issues())
        log.save()
        with own.trying():
            own.write_text(own.layout.issues_text, _to_text(log.all()))
        put_workbook(own, own.layout.issues_workbook, {"Issues": issues_frame(log.all())})


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
