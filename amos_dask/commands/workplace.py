"""Work on organised samples: a folder of ROOT_DIR, the chosen samples, steps, and the result."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.engine.events import Listener
from amos_dask.engine.session import open_session
from amos_dask.params import Exclusions, Params
from amos_dask.records import SampleResult, Step, StepIssue, by_number
from amos_dask.results import CommandResult, failure_issue
from amos_dask.root.choices import (
    require_no_archive,
    require_outside_archive,
    require_sample_folders,
)
from amos_dask.root.layout import Layout, absolute, find_root, find_root_beside_archive
from amos_dask.root.staging import run_number
from amos_dask.root.working import working_on
from amos_dask.sample.make import make_sample
from amos_dask.sample.selection import Selection
from amos_dask.sample.source import FolderSource
from amos_dask.sample.todo import SampleTask
from amos_dask.tables.issue_files import record_issues

_NOTHING_EXCLUDED = Exclusions()


@dataclass(frozen=True)
class Workplace:
    """The samples that a command works on, and where and how it does."""

    folder: Path  # samples lie anywhere below it; absolute
    layout: Layout  # of ROOT_DIR
    selection: Selection
    cluster: Any
    progress: str | Listener

    def tasks(
        self,
        steps: Collection[Step],
        params: Params,
        exclusions: Exclusions = _NOTHING_EXCLUDED,
        output: Path | None = None,
        *,
        adopt: bool = False,
    ) -> list[SampleTask]:
        """Return a task for each chosen sample that has a mask: steps in place, or to an output.

        Raises
        ------
        AmosDaskError
            When there are no samples at all below the folder.
        """
        found, place = require_sample_folders(self.folder, self.layout), output or self.folder
        return [
            SampleTask(
                FolderSource(folder, self.layout, params.label_map),
                self.layout,
                replace(folder, path=place / folder.path.relative_to(self.folder)),
                frozenset(steps),
                replace(params, excluded=exclusions.for_sample(folder.sample_id)),
                adopt=adopt,
            )
            for folder in self.selection.choose_folders(found)
            if folder.mask.exists()
        ]

    def make(self, name: str, tasks: Sequence[SampleTask]) -> list[SampleResult]:
        """Do the steps of every task; return the results by sample, with an issue for a failure.

        The names of the tasks begin with ``name``.
        """
        results: list[SampleResult] = []
        if not tasks:
            return results
        run_number(self.layout)  # before tasks ask for it
        with open_session(self.cluster, self.progress) as session:
            session.prepare_kernels()
            for outcome in session.map(name, make_sample, tasks):
                if outcome.value is None:
                    failed = StepIssue(Step.CONFIRM_PAIRS, failure_issue(outcome))
                    results.append(SampleResult(outcome.name, None, "", 0, (failed,)))
                else:
                    results.append(outcome.value)
        return sorted(results, key=lambda result: by_number(result.sample_id))

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
    archive: str | None = None,
    no_lock: bool = False,
) -> Iterator[Workplace]:
    """Yield the workplace of a command; nobody else works in its ROOT_DIR meanwhile.

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it, now or in the end.
    output : str or Path, optional
        What the command writes besides; the nearer one of its ROOT_DIR and the folder's is taken.
    archive : str, optional
        What the command reads, if not the folder.
    selection, cluster, progress, no_lock
        As for `amos_dask.run`.

    Raises
    ------
    AmosDaskError
        When somebody else works in its ROOT_DIR, or what is to be written lies in an archive.
    """
    folder = absolute(root_dir)
    if archive is None:
        root = find_root(folder, None if output is None else Path(output))
    else:
        require_outside_archive(folder, archive)
        root = find_root_beside_archive(archive, folder)
    outputs = (folder,) if output is None else (folder, absolute(output))
    with working_on(Layout(root), *outputs, no_lock=no_lock):
        layout = Layout.of(root)
        require_no_archive(layout, *outputs)
        yield Workplace(folder, layout, selection, cluster, progress)
