"""What went wrong, said and kept: issues of failed tasks, and ROOT's issues by step."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from amos_dask.engine.events import Outcome
from amos_dask.issues import Issue, make_issue
from amos_dask.records import Step, StepResult, sample_number
from amos_dask.root.issue_log import IssueLog
from amos_dask.root.layout import Layout
from amos_dask.root.staging import write_text
from amos_dask.tables.manifests import issues_frame
from amos_dask.tables.workbook import write_workbook

Value = TypeVar("Value")


def failure_issue(outcome: Outcome[Any], log: str = "") -> Issue:
    """Return the issue of a task that failed outside the data's own errors.

    Parameters
    ----------
    outcome : Outcome
        With a failure.
    log : str
        Where more is to be read.
    """
    return make_issue(
        "sample_failed",
        outcome.failure or "failed",
        sample=outcome.name,
        action=f"tried again next run; see {log}" if log else "tried again next run",
    )


def step_results(outcomes: Iterable[Outcome[StepResult[Value]]]) -> list[StepResult[Value]]:
    """Return the results sorted by sample; a failed task becomes a result with an issue."""
    results = [
        StepResult(outcome.name, None, (failure_issue(outcome),))
        if outcome.value is None
        else outcome.value
        for outcome in outcomes
    ]
    return sorted(results, key=lambda result: sample_number(result.sample_id))


def all_issues(results: Iterable[StepResult[Any]]) -> list[Issue]:
    """Return the issues of all results, in their order."""
    return [issue for result in results for issue in result.issues]


def record_issues(
    layout: Layout,
    step: Step,
    issues: Iterable[Issue],
    samples: Collection[str] | None = None,
    scope: str = "",
) -> None:
    """Replace a step's issues in ROOT's log, and write issues.xlsx and issues.jsonl.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    step, issues, samples, scope
        As for `IssueLog.replace`.
    """
    log = IssueLog(layout.issue_log)
    log.replace(step, issues, samples, scope)
    write_issues(layout, log)


def write_issues(layout: Layout, log: IssueLog) -> tuple[Path, ...]:
    """Write the log, issues.xlsx and issues.jsonl; return the paths of the last two."""
    log.save()
    issues = log.all()
    workbook, text = layout.descriptor / "issues.xlsx", layout.descriptor / "issues.jsonl"
    write_workbook(workbook, {"Issues": issues_frame(issues)})
    write_text(text, _to_text(issues))
    return workbook, text


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
