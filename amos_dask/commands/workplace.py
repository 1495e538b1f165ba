"""Work on organised samples: a folder of ROOT_DIR, the chosen samples, steps, and the result."""

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
    """The samples that a command works on, and where and how it does.

    Parameters
    ----------
    folder : Path
        Samples lie anywhere below it; absolute.
    layout : Layout
        ROOT_DIR.
    selection : Selection
        Choice of samples.
    cluster, progress
        As every command takes them.
    """

    folder: Path
    layout: Layout
    selection: Selection
    cluster: Any
    progress: str | Listener

    def masked(self, label_map: LabelMap) -> list[FolderSource]:
        """Return the chosen samples that have a mask; raise where there are no samples at all."""
        found = self.selection.choose_folders(require_sample_folders(self.folder, self.layout))
        return [FolderSource(f, self.layout, label_map) for f in found if f.mask.exists()]

    def run_steps(self, name: str, steps: Collection[Step], params: Params) -> list[SampleResult]:
        """Do steps in place on the chosen samples that have a mask, as `make_all` does."""
        tasks = [
            SampleTask(source, self.layout, source.folder, frozenset(steps), params)
            for source in self.masked(params.label_map)
        ]
        return make_all(name, tasks, self.cluster, self.progress)

    def finish(
        self,
        step: Step,
        results: Sequence[SampleResult],
        summary: str,
        *outputs: Path,
        frame: pd.DataFrame | None = None,
    ) -> CommandResult:
        """Replace the step's issues of these samples in ROOT_DIR; return the command's result."""
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
    cluster: Any,
    progress: str | Listener,
    *,
    output: str | Path | None = None,
    no_lock: bool = False,
) -> Iterator[Workplace]:
    """Yield the workplace of a command; nobody else works in its ROOT_DIR meanwhile.

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it.
    output : str or Path, optional
        What the command writes; the nearer one of its ROOT_DIR and the folder's is taken.
    selection, cluster, progress, no_lock
        As every command takes them.

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
        yield Workplace(folder, layout, selection, cluster, progress)


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


def count_as_they_were(results: Sequence[SampleResult]) -> int:
    """Return how many samples there was nothing to do for."""
    return sum(
        not (result.is_changed or any(f.issue.severity == "error" for f in result.issues))
        for result in results
    )
