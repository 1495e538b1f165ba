"""From how tasks ended to what commands work with: results by sample, and issues of failures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from amos_dask.engine.events import Outcome
from amos_dask.issues import Issue, make_issue
from amos_dask.records import StepResult, sample_number

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
