"""From ends of tasks to results and issues; what the functions of the API return."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from amos_dask.engine.events import Outcome
from amos_dask.engine.session import Session
from amos_dask.errors import ExitCode, number_of
from amos_dask.issues import Issue, make_issue
from amos_dask.labels import LabelMap
from amos_dask.records import SampleRecord, Step, StepIssue, StepResult, by_number
from amos_dask.root.layout import CHANGES_SHEET, MANIFEST_SHEET, REGIONS_SHEET, Layout, SampleFolder
from amos_dask.root.table_state import TableCounts
from amos_dask.sample.describe import describe_sample
from amos_dask.sample.source import FolderSource
from amos_dask.tables.workbook import read_sheet

_SHOWN_ERRORS = 10


class _WithIssues:
    issues: tuple[Issue, ...]

    def _html(self, summary: str, files: Iterable[Path]) -> str:
        """Return what a notebook shows: a sentence, errors, how many other issues, files."""
        errors = [issue for issue in self.issues if issue.severity == "error"]
        shown = [f"{i.sample or i.file}: {i.message} ({i.code})" for i in errors[:_SHOWN_ERRORS]]
        if len(errors) > len(shown):
            shown.append(f"and {len(errors) - len(shown)} more")
        others = Counter(issue.code for issue in self.issues if issue.severity != "error")
        told = ", ".join(f"{code} {n}" for code, n in others.most_common())
        rows = [("errors", shown), ("other issues", [told] if told else []), ("files", files)]
        table = "".join(
            f"<tr><th>{name}</th><td>{'<br>'.join(escape(str(line)) for line in lines)}</td></tr>"
            for name, lines in ((name, list(lines)) for name, lines in rows)
            if lines
        )
        return f"<p>{escape(summary)}</p><table>{table}</table>"

    @property
    def exit_code(self) -> ExitCode:
        """``SAMPLES_FAILED`` exactly when there is an error among the issues."""
        has_error = any(issue.severity == "error" for issue in self.issues)
        return ExitCode.SAMPLES_FAILED if has_error else ExitCode.DONE


@dataclass(frozen=True)
class CommandResult(_WithIssues):
    """How a command ended.

    Parameters
    ----------
    outputs : tuple of Path
        Files, or the folder of many files, that were written.
    n_samples : int
        Samples or files looked at.
    summary : str
        One line for people.
    issues : tuple of Issue
        What this command found.
    frame : DataFrame or None
        The main table, where the command makes one.
    """

    outputs: tuple[Path, ...]
    n_samples: int
    summary: str
    issues: tuple[Issue, ...] = ()
    frame: pd.DataFrame | None = field(default=None, repr=False)

    def _repr_html_(self) -> str:
        return self._html(self.summary, self.outputs)


@dataclass(frozen=True)
class RunResult(_WithIssues):
    """How `run` ended. The manifests are frames, read from the workbooks when first asked for.

    Parameters
    ----------
    root_dir : Path
        ROOT_DIR.
    counts : TableCounts
        Rows of the manifests.
    issues : tuple of Issue
        All issues of ROOT_DIR.
    reasons : mapping of str to int
        How many of the chosen samples were ``complete`` already, and how many were processed
        because they were ``new``, ``changed``, to be ``repaired``, ``failed before``, ``forced``.
    n_processed, n_failed : int
        Samples of this run, and how many of them have an error.
    n_failed_others : int
        Samples not chosen in this run that have an error from before.
    n_changed_voxels : int
        Voxels that denoising changed.
    seconds : float
        Wall time.
    outputs : tuple of Path
        The manifests.
    replaced_bytes : int
        Size of ``root_dir/replaced``, which the program fills and never empties.
    """

    root_dir: Path
    counts: TableCounts
    issues: tuple[Issue, ...] = field(repr=False)
    reasons: Mapping[str, int]
    n_processed: int
    n_failed: int
    n_failed_others: int
    n_changed_voxels: int
    seconds: float
    outputs: tuple[Path, ...]
    replaced_bytes: int = 0

    @cached_property
    def archive_manifest(self) -> pd.DataFrame:
        """The archive manifest: a row a file."""
        return read_sheet(Layout(self.root_dir).archive_manifest, MANIFEST_SHEET)

    @cached_property
    def dataset_manifest(self) -> pd.DataFrame:
        """The dataset manifest of CT and MR together: a row a sample; empty without samples."""
        path = Layout(self.root_dir).dataset_manifest()
        return read_sheet(path, MANIFEST_SHEET) if self.counts.n_samples else pd.DataFrame()

    @cached_property
    def regions_before(self) -> Mapping[float, pd.DataFrame]:
        """Threshold in mm3 -> worksheet ``Regions`` before denoising."""
        return self._regions(after=False)

    @cached_property
    def regions_after(self) -> Mapping[float, pd.DataFrame]:
        """Threshold in mm3 -> worksheet ``Regions`` after denoising."""
        return self._regions(after=True)

    @cached_property
    def denoise_changes(self) -> pd.DataFrame:
        """What denoising changed: a row for each sample, label before and label after."""
        return read_sheet(Layout(self.root_dir).denoise_changes, CHANGES_SHEET)

    def _repr_html_(self) -> str:
        layout = Layout(self.root_dir)
        n_good, samples = self.n_processed - self.n_failed, number_of(self.n_processed, "sample")
        done = f"{n_good} of {samples} complete"
        beside = (layout.report, layout.issues_workbook, layout.dataset_manifest())
        there = (path for path in beside if path.exists())
        return self._html(f"{done} in {self.seconds:.1f} s: {self.root_dir}", there)

    def _regions(self, *, after: bool) -> Mapping[float, pd.DataFrame]:
        layout = Layout(self.root_dir)
        return {
            threshold: read_sheet(layout.regions_manifest(threshold, after=after), REGIONS_SHEET)
            for threshold, _, _ in self.counts.n_regions
        }


@dataclass(frozen=True)
class RunPlan:
    """What `run` would do (``dry_run=True``).

    Parameters
    ----------
    root_dir : Path
        ROOT_DIR.
    archive : str
        Where it reads.
    samples : DataFrame
        A row a sample: ID, subset, modality, what is to be done and why, bytes to read, bytes to
        write before compression, folder to write.
    n_bytes_to_read, n_bytes_to_write : int
        Of all samples that are to be processed; written bytes are compressed to about a third.
    peak_memory_bytes : int
        Of a worker, with the largest of them.
    cpu_seconds : float
        About how long one core takes.
    changes : str
        Which choices of the last run change, and what is made anew; empty where none does.
    startup_seconds : float
        About how long workers of this machine take until the first of them begins, with compiling
        where the kernels are not compiled yet; 0 when nothing is to be processed.
    are_kernels_compiled : bool
        Whether an earlier run on this machine has compiled them.
    """

    root_dir: Path
    archive: str
    samples: pd.DataFrame = field(repr=False)
    n_bytes_to_read: int
    n_bytes_to_write: int
    peak_memory_bytes: int
    cpu_seconds: float
    changes: str = ""
    startup_seconds: float = 0.0
    are_kernels_compiled: bool = True


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
    return sorted(results, key=lambda result: by_number(result.sample_id))


def all_issues(results: Iterable[StepResult[Any]]) -> list[Issue]:
    """Return the issues of all results, in their order."""
    return [issue for result in results for issue in result.issues]


def describe_samples(
    session: Session,
    layout: Layout,
    label_map: LabelMap,
    folders: Iterable[SampleFolder],
    thresholds_mm3: tuple[float, ...] | None = None,
    below: Path | None = None,
) -> list[SampleRecord]:
    """Return the records of samples, made from their files, by number.

    Parameters
    ----------
    session : Session
        Where to read them.
    layout : Layout
        ROOT_DIR.
    label_map : LabelMap
        The labels a mask may hold.
    folders : iterable of SampleFolder
        The samples.
    thresholds_mm3 : tuple of float, optional
        Region volume thresholds; without them regions and changes are left out.
    below : Path, optional
        What the manifest's paths are relative to; by default ``grouped``.

    Returns
    -------
    list of SampleRecord
        One that only has issues where reading failed.
    """
    sources = [FolderSource(folder, layout, label_map) for folder in folders]
    describe = partial(
        describe_sample, below=below or layout.grouped, thresholds_mm3=thresholds_mm3
    )
    return [
        result.value
        or SampleRecord(
            result.sample_id,
            None,
            issues=tuple(StepIssue(Step.DATASET_MANIFEST, issue) for issue in result.issues),
        )
        for result in step_results(session.map("describe", describe, sources))
    ]
