"""Where a command on organised samples works: its folder, ROOT_DIR, the chosen samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.engine.events import Listener
from amos_dask.engine.session import open_session
from amos_dask.labels import LabelMap
from amos_dask.params import Params
from amos_dask.records import SampleResult, Step, StepIssue, sample_number
from amos_dask.results import CommandResult, failure_issue
from amos_dask.root.choices import require_no_archive, require_sample_folders
from amos_dask.root.layout import Layout, absolute, find_root
from amos_dask.root.ownership import run_number
from amos_dask.root.working import working_on
from amos_dask.sample.make import make_sample
from amos_dask.sample.selection import Selection
from amos_dask.sample.source import FolderSource
from amos_dask.sample.task import SampleTask
from amos_dask.tables.issue_files import record_issues


@dataclass(frozen=True)
class Workplace:
    """The samples that a single command works on, and the ROOT_DIR that they belong to.

    Parameters
    ----------
    folder : Path
        Samples lie anywhere below it; absolute.
    layout : Layout
        ROOT_DIR.
    selection : Selection
        Choice of samples.
    """

    folder: Path
    layout: Layout
    selection: Selection

    def masked(self, label_map: LabelMap) -> list[FolderSource]:
        """Return the chosen samples that have a mask, by number.

        Raises
        ------
        AmosDaskError
            When there are no samples at all below the folder.
        """
        found = self.selection.choose_folders(require_sample_folders(self.folder, self.layout))
        return [FolderSource(f, self.layout, label_map) for f in found if f.mask.exists()]

    def tasks(self, steps: Collection[Step], params: Params) -> list[SampleTask]:
        """Return a task for each chosen sample that has a mask: steps that are done in place."""
        return [
            SampleTask(source, self.layout, source.folder, frozenset(steps), params)
            for source in self.masked(params.label_map)
        ]

    def finish(
        self,
        step: Step,
        results: Sequence[SampleResult],
        outputs: tuple[Path, ...],
        summary: str,
        frame: pd.DataFrame | None = None,
    ) -> CommandResult:
        """Replace the step's issues of these samples in ROOT_DIR; return the command's result.

        Parameters
        ----------
        step : Step
            What was done.
        results : sequence of SampleResult
            One a sample.
        outputs : tuple of Path
            What was written.
        summary : str
            One line for people.
        frame : DataFrame, optional
            What was found, for callers.
        """
        found = (found.issue for result in results for found in result.issues)
        issues = tuple(dict.fromkeys(found))  # two steps may find the same
        # Where every sample of ROOT_DIR is worked on, its older issues are outdated.
        covers_all = self.selection.is_everything and self.folder == self.layout.grouped
        samples = None if covers_all else {result.sample_id for result in results}
        record_issues(self.layout, step, issues, samples)
        return CommandResult(outputs, len(results), summary, issues, frame)


@contextmanager
def working_at(
    root_dir: str | Path,
    selection: Selection,
    output: str | Path | None = None,
    *,
    no_lock: bool = False,
) -> Iterator[Workplace]:
    """Yield the workplace of a command; nobody else works in its ROOT_DIR meanwhile.

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it.
    selection : Selection
        Choice of samples.
    output : str or Path, optional
        What the command writes; the nearer one of its ROOT_DIR and the folder's is taken.
    no_lock : bool
        Take no lock, on a file system that has none.

    Raises
    ------
    AmosDaskError
        When somebody else works in its ROOT_DIR, or what is to be written lies in an archive.
    """
    folder = absolute(root_dir)
    root = find_root(folder, None if output is None else Path(output))
    outputs = (folder,) if output is None else (folder, absolute(output))
    with working_on(Layout(root), *outputs, no_lock=no_lock):
        layout = Layout.of(root)
        require_no_archive(layout, *outputs)
        yield Workplace(folder, layout, selection)


def make_all(
    name: str, tasks: Sequence[SampleTask], cluster: Any, progress: str | Listener
) -> list[SampleResult]:
    """Do the steps of every task, on a cluster.

    Parameters
    ----------
    name : str
        First word of the task names.
    tasks : sequence of SampleTask
        One a sample.
    cluster, progress
        As every command takes them.

    Returns
    -------
    list of SampleResult
        By sample; one with an issue for a task that failed.
    """
    results = []
    if tasks:
        run_number(tasks[0].layout)
    with open_session(cluster, progress) as session:
        session.prepare_kernels()
        for outcome in session.map(name, make_sample, tasks):
            if outcome.value is None:
                failed = StepIssue(Step.CONFIRM_PAIRS, failure_issue(outcome))
                results.append(SampleResult(outcome.name, None, "", 0, (failed,)))
            else:
                results.append(outcome.value)
    return sorted(results, key=lambda result: sample_number(result.sample_id))


def has_error(result: SampleResult) -> bool:
    """Return whether something of a sample could not be done."""
    return any(found.issue.severity == "error" for found in result.issues)
