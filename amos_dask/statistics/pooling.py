"""Tasks: count the values of one sample, and describe those of a group of samples together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amos_dask.issues import Issue
from amos_dask.records import StepResult
from amos_dask.root.kept import KeptFiles
from amos_dask.root.receipts import Receipts
from amos_dask.sample.source import FolderSource
from amos_dask.steps.count_values import NO_COUNTS, ValueCounter, ValueCounts, add_counts
from amos_dask.steps.split_labels import labels_present

# What is kept of so few samples is read at once: that takes less time than to start a cluster.
FEW_SAMPLES = 32
# So many rows of counts, and those of the sum, are held before they are added up.
_HELD_ROWS = 1 << 19
# Percentages of the percentiles in the data card of AMOS22.
LOW, HIGH = 0.5, 99.5
_26_BITS = (1 << 26) - 1


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
    for label, (values, times, n_not_finite) in pooled.by_label().items():
        if found := describe_values(values, times):
            n = {"n_samples": n_samples[label], "n_not_finite": n_not_finite}
            labels[label] = {**n, **found}
    return Pool(labels)


def describe_values(values: NDArray[np.float32], counts: NDArray[np.int64]) -> dict[str, float]:
    """Return the statistics of voxels, given how often each value occurs.

    Minimum, maximum, median and percentiles are exactly those that numpy gives for the voxels
    themselves as float64 (``np.median``, ``np.percentile`` with its default method).

    Parameters
    ----------
    values : (n,) float32
        Ascending, each once, in the units of the volumes (HU for CT).
    counts : (n,) int64
        At least one.

    Returns
    -------
    dict of str to float
        ``n_voxels``, ``min``, ``p0.5``, ``median``, ``mean``, ``std`` (of the population, ddof 0),
        ``p99.5`` and ``max``; empty without voxels.

    Examples
    --------
    >>> describe_values(np.array([1, 4], np.float32), np.array([2, 1]))["mean"]
    2.0
    """
    if not values.size:
        return {}
    wide, ends = values.astype(np.float64), np.cumsum(counts)
    total = int(ends[-1])
    # A float32 times at most 26 bits is exact in float64, and fsum rounds once.
    parts = (wide * (counts & _26_BITS), wide * (counts & ~_26_BITS))
    mean = math.fsum(np.concatenate(parts).tolist()) / total
    variance = math.fsum((counts * (wide - mean) ** 2).tolist()) / total
    middle = [_at(wide, ends, rank) for rank in ((total - 1) // 2, total // 2)]
    return {
        "n_voxels": total,
        "min": float(wide[0]),
        "p0.5": _percentile(wide, ends, LOW),
        "median": sum(middle) / 2.0,
        "mean": mean,
        "std": math.sqrt(variance),
        "p99.5": _percentile(wide, ends, HIGH),
        "max": float(wide[-1]),
    }


def _at(values: NDArray[np.float64], ends: NDArray[np.int64], rank: int) -> float:
    """Return the voxel of a rank, from 0, when all are sorted."""
    return float(values[np.searchsorted(ends, rank, side="right")])


def _percentile(values: NDArray[np.float64], ends: NDArray[np.int64], percent: float) -> float:
    """Interpolate between neighbouring ranks as numpy's default method does, to the last bit."""
    place = (int(ends[-1]) - 1) * (percent / 100)
    below = math.floor(place)
    share = place - below
    left = _at(values, ends, below)
    right = _at(values, ends, min(below + 1, int(ends[-1]) - 1))
    step = right - left
    return right - step * (1 - share) if share >= 0.5 else left + step * share
