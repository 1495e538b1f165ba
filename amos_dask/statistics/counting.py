"""Counting values under each label from a sample's files, and adding up what was counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue
from amos_dask.records import StepResult
from amos_dask.root.derived import forget_others
from amos_dask.root.staging import Staging
from amos_dask.sample.source import FolderTask, open_mask, show_volume, unreadable_output
from amos_dask.statistics.intensities import ValueCounter, ValueCounts, merge_counts
from amos_dask.statistics.value_counts import counts_path, pack_counts, read_counts
from amos_dask.steps.relabel import labels_present


@dataclass(frozen=True, slots=True)
class Counted:
    """Where a sample's counts are.

    Parameters
    ----------
    path : Path
        The file.
    label_voxels : mapping of int to int
        Voxels of each label, the background left out.
    """

    path: Path
    label_voxels: Mapping[int, int]


def find_counts(task: FolderTask) -> Counted | None:
    """Return a sample's counts; None where its files, as they are now, have not been counted."""
    try:
        path = counts_path(task.layout.values, task.name, task.folder.volume, task.folder.mask)
        return _counted(path, add_up([path]))
    except (OSError, ValueError, LookupError, EOFError):  # there is none, or it is damaged
        return None


def _counted(path: Path, counts: Mapping[int, ValueCounts]) -> Counted:
    return Counted(path, {label: found.n_voxels for label, found in counts.items()})


def count_sample(task: FolderTask) -> StepResult[Counted]:
    """Count the values of a sample's volume under its mask and keep the counts.

    Returns
    -------
    StepResult of Counted
        None when volume or mask cannot be read.
    """
    opened = open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, _ = opened
    counter = ValueCounter(mask, labels_present(mask))
    try:
        show_volume(task, mask.shape, counter.add)
    except (UnreadableImageError, InaccessibleFileError) as error:
        issue = unreadable_output(task, task.folder.volume, "volume", error)
        return StepResult(task.name, None, (issue,))
    path = counts_path(task.layout.values, task.name, task.folder.volume, task.folder.mask)
    counts = counter.result()
    _write(path, counts)
    forget_others(task.layout.values, task.name, path)
    return StepResult(task.name, _counted(path, counts))


@dataclass(frozen=True, slots=True)
class MergeTask:
    """Counts to add up.

    Parameters
    ----------
    name : str
        For the task.
    sources : tuple of Path
        Files of counts.
    target : Path
        File for their sum.
    """

    name: str
    sources: tuple[Path, ...]
    target: Path


def merge_files(task: MergeTask) -> StepResult[Path]:
    """Add up files of counts, label by label."""
    _write(task.target, add_up(task.sources))
    return StepResult(task.name, task.target)


def add_up(sources: Iterable[Path]) -> dict[int, ValueCounts]:
    """Return the sum of files of counts, label by label."""
    found: dict[int, list[ValueCounts]] = {}
    for source in sources:
        for label, columns in read_counts(source).items():
            found.setdefault(label, []).append(ValueCounts(*columns))
    return {label: merge_counts(parts) for label, parts in found.items()}


def _write(path: Path, counts: dict[int, ValueCounts]) -> None:
    with Staging() as staging:
        content = pack_counts({label: found.columns for label, found in counts.items()})
        staging.path_for(path).write_bytes(content)
        staging.publish()
