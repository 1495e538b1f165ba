"""Counting values under each label of one organised sample, and adding up what was counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amos_dask.records import StepResult
from amos_dask.root.kept import KeptFiles
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import Staging
from amos_dask.sample.source import FolderSource
from amos_dask.steps.count_values import (
    COUNT_ARRAYS,
    ValueCounter,
    ValueCounts,
    merge_counts,
    pack_counts,
    unpack_counts,
)
from amos_dask.steps.split_labels import labels_present

LabelVoxels = dict[int, int]


def read_counts(source: FolderSource) -> dict[int, ValueCounts] | None:
    """Return a sample's counts; None where its files, as they are now, have not been counted."""
    folder, kept = source.folder, KeptFiles(source.layout.restore)
    try:
        found = kept.read_of_volume(source.sample_id, folder.mask, folder.volume, COUNT_ARRAYS)
        return None if found is None else unpack_counts(found)
    except (OSError, ValueError, LookupError):  # gone, or damaged
        return None


def count_voxels(counts: dict[int, ValueCounts]) -> LabelVoxels:
    """Return the voxels of each label, the background left out."""
    return {label: found.n_voxels for label, found in counts.items()}


def count_sample(source: FolderSource) -> StepResult[LabelVoxels]:
    """Count the values of a sample's volume under its mask and keep the counts.

    Returns
    -------
    StepResult of dict
        Label -> voxels; None when volume or mask cannot be read.
    """
    opened, issues = source.open_mask()
    if opened is None:
        return StepResult(source.sample_id, None, tuple(issues))
    counter = ValueCounter(opened.labels, labels_present(opened.labels))
    issues = source.show_volume(opened.labels.shape, counter.add)
    if issues:
        return StepResult(source.sample_id, None, tuple(issues))
    counts = counter.result()
    Receipts(source.layout).keep_of_volume(source.folder, pack_counts(counts))
    return StepResult(source.sample_id, count_voxels(counts))


Part = FolderSource | Path


@dataclass(frozen=True, slots=True)
class MergeTask:
    """Counts to add up.

    Parameters
    ----------
    name : str
        For the task.
    sources : tuple of FolderSource or Path
        Samples, or files of sums.
    target : Path
        File for their sum.
    """

    name: str
    sources: tuple[Part, ...]
    target: Path


def merge_files(task: MergeTask) -> StepResult[Path]:
    """Add up counts, label by label, into a file."""
    with Staging() as staging:
        with staging.path_for(task.target).open("wb") as file:
            np.savez(file, allow_pickle=False, **pack_counts(add_up(task.sources)))
        staging.publish()
    return StepResult(task.name, task.target)


def add_up(sources: Iterable[Part]) -> dict[int, ValueCounts]:
    """Return the sum of counts, label by label."""
    found: dict[int, list[ValueCounts]] = {}
    for source in sources:
        for label, counts in _read(source).items():
            found.setdefault(label, []).append(counts)
    return {label: merge_counts(parts) for label, parts in found.items()}


def _read(source: Part) -> dict[int, ValueCounts]:
    if isinstance(source, FolderSource):
        return read_counts(source) or {}
    with np.load(source, allow_pickle=False) as arrays:
        return unpack_counts(arrays)
