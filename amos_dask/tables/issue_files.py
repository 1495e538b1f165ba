"""ROOT_DIR's issues: issues.xlsx, issues.jsonl, and the log by step behind them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path

from amos_dask.issues import Issue
from amos_dask.records import Step
from amos_dask.root.issue_log import IssueLog
from amos_dask.root.layout import Layout
from amos_dask.root.staging import write_text
from amos_dask.tables.manifests import issues_frame
from amos_dask.tables.workbook import write_workbook


def record_issues(
    layout: Layout,
    step: Step,
    issues: Iterable[Issue],
    samples: Collection[str] | None = None,
    scope: str = "",
) -> None:
    """Replace a step's issues in ROOT's log, and write issues.xlsx and issues.jsonl if they change.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    step, issues, samples, scope
        As for `IssueLog.replace`.
    """
    log = IssueLog(layout.issue_log)
    known, is_written = log.all(), _workbook(layout).exists() and has_whole_log(layout)
    log.replace(step, issues, samples, scope)
    if is_written and log.all() == known:
        log.save()
    else:
        write_issues(layout, log)


def write_issues(layout: Layout, log: IssueLog) -> tuple[Path, ...]:
    """Write the log, issues.xlsx and issues.jsonl; return the paths of the last two."""
    log.save()
    issues = log.all()
    workbook, text = _workbook(layout), layout.descriptor / "issues.jsonl"
    write_workbook(workbook, {"Issues": issues_frame(issues)})
    write_text(text, _to_text(issues))
    return workbook, text


def _workbook(layout: Layout) -> Path:
    return layout.descriptor / "issues.xlsx"


def has_whole_log(layout: Layout) -> bool:
    """Return whether the log of issues is there and says what issues.jsonl does.

    They are written together: a log that says something else was damaged.
    """
    try:
        told = (layout.descriptor / "issues.jsonl").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return layout.issue_log.exists() and told == _to_text(IssueLog(layout.issue_log).all())


def _to_text(issues: Iterable[Issue]) -> str:
    lines = (json.dumps(asdict(issue), ensure_ascii=False) for issue in issues)
    return "".join(line + "\n" for line in lines)
