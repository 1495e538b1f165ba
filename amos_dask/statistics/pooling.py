"""Tasks: count the values of one sample, and describe those of a group of samples together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from amos_dask.issues import Issue
from amos_dask.records import StepResult
from amos_dask.root.kept import KeptFiles
from amos_dask.root.receipts import Receipts
from amos_dask.sample.source import FolderSource
from amos_dask.statistics.describe_values import describe_values
from amos_dask.steps.count_values import NO_COUNTS, ValueCounter, ValueCounts, add_counts
from amos_dask.steps.split_labels import labels_present

# What is kept of so few samples is read at once: that takes less time than to start a cluster.
FEW_SAMPLES = 32
# So many rows of counts, and those of the sum, are held before they are added up.
_HELD_ROWS = 1 << 19


def read_counts(source: FolderSource) -> ValueCounts | None:
    """Return a sample's counts; None where its files, as they are now, have not been counted."""
    folder, kept = source.folder, KeptFiles(source.layout.restore)
    names = ValueCounts._fields
    try:
        found = kept.read_of_volume(source.name, folder.mask, folder.volume, names)
    except OSError:  # gone
        return None
    return None if found is None else ValueCounts(*(found[name] for name in names))


def count_sample(source: FolderSource) -> StepResult[dict[int, int]]:
    """Return the voxels of each label of a sample, and count its values if that is not done.

    Returns
    -------
    StepResult of dict
        Label -> voxels, the background left out; None when volume or mask cannot be read.
    """
    known = read_counts(source)
    if known is not None:
        return StepResult(source.name, known.n_voxels)
    opened, issues = source.open_mask()
    if opened is None:
        return StepResult(source.name, None, tuple(issues))
    counter = ValueCounter(opened.labels, labels_present(opened.labels))
    issues = source.show_volume(opened.labels.shape, counter.add)
    if issues:
        return StepResult(source.name, None, tuple(issues))
    counts = counter.result()
    Receipts(source.layout).keep_of_volume(source.folder, counts._asdict())
    return StepResult(source.name, counts.n_voxels)


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
    """Describe the values of all voxels of a group of samples, label by label."""
    held, n_samples = [NO_COUNTS], Counter[int]()  # the sum, and what is to be added to it
    for source in task.sources:
        counts = read_counts(source) or NO_COUNTS
        n_samples.update(counts.n_voxels.keys())
        held.append(counts)
        n_rows = [len(one.counts) for one in held]
        if sum(n_rows[1:]) > max(n_rows[0], _HELD_ROWS):
            held = [add_counts(held)]
    pooled, labels = add_counts(held), {}
    for label, n in n_samples.items():
        values, times, n_not_finite = pooled.of_label(label)
        if found := describe_values(values, times):
            labels[label] = {"n_samples": n, "n_not_finite": n_not_finite, **found}
    return Pool(labels)
