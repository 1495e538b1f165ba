"""What the single commands on organised samples share: where they work, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.arguments import require_sample_folders
from amos_dask.engine.events import Listener
from amos_dask.engine.session import open_session
from amos_dask.records import Step, StepResult
from amos_dask.reporting import all_issues, record_issues, step_results
from amos_dask.results import CommandResult
from amos_dask.root.layout import Layout, SampleFolder, absolute, find_root
from amos_dask.root.lock import require_unlocked
from amos_dask.selection import Selection


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

    @staticmethod
    def at(
        root_dir: str | Path, selection: Selection, output: str | Path | None = None
    ) -> Workplace:
        """Return the workplace of a command.

        Parameters
        ----------
        root_dir : str or Path
            Folder with sample folders anywhere below it.
        selection : Selection
            Choice of samples.
        output : str or Path, optional
            What the command writes; the nearer one of its ROOT_DIR and the folder's is taken.

        Raises
        ------
        AmosDaskError
            When somebody else works in its ROOT_DIR.
        """
        folder = absolute(root_dir)
        layout = find_root(folder, None if output is None else Path(output))
        require_unlocked(layout)
        return Workplace(folder, layout, selection)

    @property
    def covers_all(self) -> bool:
        """Whether every sample of ROOT_DIR is worked on, so that its older issues are outdated."""
        return self.selection.is_everything and self.folder == self.layout.grouped

    def masked(self) -> list[SampleFolder]:
        """Return the chosen samples that have a mask, by number.

        Raises
        ------
        AmosDaskError
            When there are no samples at all below the folder.
        """
        found = self.selection.choose_folders(require_sample_folders(self.folder, self.layout))
        return [folder for folder in found if folder.mask.exists()]

    def finish(
        self,
        step: Step,
        results: Sequence[StepResult[Any]],
        outputs: tuple[Path, ...],
        summary: str,
        frame: pd.DataFrame | None = None,
    ) -> CommandResult:
        """Replace the step's issues of these samples in ROOT_DIR; return the command's result.

        Parameters
        ----------
        step : Step
            What was done.
        results : sequence of StepResult
            One a sample.
        outputs : tuple of Path
            What was written.
        summary : str
            One line for people.
        frame : DataFrame, optional
            What was found, for callers.
        """
        issues = tuple(all_issues(results))
        samples = None if self.covers_all else {result.sample_id for result in results}
        record_issues(self.layout, step, issues, samples)
        return CommandResult(outputs, len(results), summary, issues, frame)


def work(
    phase: str,
    function: Callable[[Any], StepResult[Any]],
    tasks: Sequence[Any],
    cluster: Any,
    progress: str | Listener,
) -> list[StepResult[Any]]:
    """Run a step that needs the kernels on every task.

    Parameters
    ----------
    phase : str
        First word of the task names.
    function : callable
        The step: takes a task, returns a StepResult.
    tasks : sequence
        One a sample.
    cluster, progress
        As every command takes them.

    Returns
    -------
    list of StepResult
        By sample; one with an issue for a task that failed.
    """
    with open_session(cluster, progress) as session:
        session.prepare_kernels()
        return step_results(session.map(phase, function, tasks))
