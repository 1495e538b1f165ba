"""Tasks: count the values of one sample, and describe those of a group of samples together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from amos_dask.errors import AmosDaskError
from amos_dask.issues import Issue
from amos_dask.records import StepResult
from amos_dask.root.kept import KeptFiles
from amos_dask.root.receipts import Receipts
from amos_dask.sample.source import FolderSource
from amos_dask.statistics.describing import describe_blocks, describe_values
from amos_dask.steps.count_values import (
    NO_COUNTS,
    ValueCounter,
    ValueCounts,
    add_counts,
    count_voxels,
)
from amos_dask.steps.mask_labels import labels_present

# What is kept of so few samples is read at once: that takes less time than to start a cluster.
FEW_SAMPLES = 32
# So many rows of counts are held before they are added to the sum, and so many of the sum: more
# than all usual whole numbers under each label of AMOS22.
_HELD_ROWS = 1 << 19
_MOST_ROWS = 1 << 21


def read_counts(source: FolderSource) -> Iterator[ValueCounts]:
    """Yield the rows of a sample's counts, a block at a time.

    Raises
    ------
    OSError
        When its files are gone.
    LookupError
        When its files, as they are now, have not been counted, or what is kept of it is damaged.
    """
    folder, kept = source.folder, KeptFiles(source.layout.restore)
    names = ValueCounts._fields
    rows = kept.rows_of_volume(source.name, folder.mask, folder.volume, names)
    return (ValueCounts(*columns) for columns in rows)


def known_voxels(source: FolderSource) -> dict[int, int] | None:
    """Return the voxels of each label of a sample; None where its values are not counted."""
    try:
        return count_voxels(read_counts(source))
    except (OSError, LookupError):
        return None


def count_sample(source: FolderSource) -> StepResult[dict[int, int]]:
    """Return the voxels of each label of a sample, and count its values if that is not done.

    Returns
    -------
    StepResult of dict
        Label -> voxels, the background left out; None when volume or mask cannot be read.
    """
    known = known_voxels(source)
    if known is not None:
        return StepResult(source.name, known)
    opened, issues = source.open_mask()
    if opened is None:
        return StepResult(source.name, None, tuple(issues))
    counter = ValueCounter(opened.labels, labels_present(opened.labels))
    issues = source.show_volume(opened.labels.shape, counter.add)
    if issues:
        return StepResult(source.name, None, tuple(issues))
    counts = counter.result()
    Receipts(source.layout).keep_of_volume(source.folder, counts.columns())
    return StepResult(source.name, count_voxels(counts))


@dataclass(frozen=True, slots=True)
class PoolTask:
    """A group of samples, described together.

    Parameters
    ----------
    name : str
        The group's, for the task.
    sources : tuple of FolderSource
        The samples, counted.
    """

    name: str
    sources: tuple[FolderSource, ...]


@dataclass(frozen=True, slots=True)
class Pool:
    """What was found of a group of samples.

    Parameters
    ----------
    labels : mapping of int to mapping of str to float
        Label -> ``n_samples`` that have it, ``n_not_finite`` voxels, and as `describe_values`.
    issues : tuple of Issue
        None; progress counts them.
    """

    labels: Mapping[int, Mapping[str, float]]
    issues: tuple[Issue, ...] = ()


def describe_pool(task: PoolTask) -> Pool:
    """Describe the values of all voxels of a group of samples, label by label.

    Raises
    ------
    AmosDaskError
        When what is kept of a sample that was counted cannot be read any more.
    """
    try:
        n_samples = Counter[int]()
        described = _describe_held(task, n_samples)
        if described is None:
            described = describe_blocks(lambda: chain.from_iterable(map(read_counts, task.sources)))
    except (OSError, LookupError) as error:
        raise AmosDaskError(f"counted values cannot be read ({error}); run it again.") from error
    labels = {label: {"n_samples": n_samples[label], **found} for label, found in described.items()}
    return Pool(labels)


def _describe_held(
    task: PoolTask, n_samples: Counter[int]
) -> dict[int, Mapping[str, float]] | None:
    """Describe a group of samples whose different values can be held together.

    Parameters
    ----------
    task : PoolTask
        The group.
    n_samples : Counter
        Filled: label -> samples that have it.

    Returns
    -------
    dict of int to dict, or None
        None where there are too many different values.
    """
    held, n_rows, is_whole = [NO_COUNTS], 0, True  # the sum, and what is to be added to it
    for source in task.sources:
        labels = set[int]()
        for rows in read_counts(source):
            labels.update(np.unique(rows.counted_labels).tolist())
            held, n_rows = [*held, rows], n_rows + rows.counts.size
            if n_rows > _HELD_ROWS or not is_whole:
                held, n_rows = [add_counts(held) if is_whole else NO_COUNTS], 0
                is_whole = held[0].counts.size <= _MOST_ROWS and is_whole
        n_samples.update(labels)
    if not is_whole:
        return None
    by_label = add_counts(held).by_label().items()
    return {
        label: {"n_not_finite": n_not_finite, **describe_values(values, times)}
        for label, (values, times, n_not_finite) in by_label
        if values.size
    }
