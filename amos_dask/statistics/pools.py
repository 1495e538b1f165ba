"""Pools: what was counted of samples, added up as a tree of tasks and described."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from amos_dask.errors import AmosDaskError
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
    of_channel,
)
from amos_dask.steps.mask_labels import labels_present

# So many rows of counts are held before they are added to the sum, and so many of the sum: more
# than all usual whole numbers under each label of AMOS22.
_HELD_ROWS = 1 << 19
_MOST_ROWS = 1 << 21

Voxels = dict[int, int]  # label -> voxels


@dataclass(frozen=True, slots=True)
class Pool:
    """What was counted of some samples, added up."""

    sources: tuple[FolderSource, ...]  # the samples that are counted
    voxels: Mapping[str, Voxels | None]  # sample -> label -> voxels; None where not counted
    counts: tuple[ValueCounts | None, ...]  # of each channel; None where they are too many to hold


class _Sum:
    """A sum of counts, which is given up when it becomes too large to be held."""

    def __init__(self) -> None:
        self._held, self._n_rows, self._is_whole = [NO_COUNTS], 0, True

    def add(self, blocks: Iterable[ValueCounts] | None) -> None:
        """Add rows; None stands for too many."""
        self._is_whole &= blocks is not None
        for rows in blocks or ():
            if not self._is_whole:
                return
            self._held.append(rows)
            self._n_rows += rows.counts.size
            if self._n_rows > _HELD_ROWS:
                self._add_up()

    def _add_up(self) -> None:
        self._held, self._n_rows = [add_counts(self._held)], 0
        self._is_whole &= self._held[0].counts.size <= _MOST_ROWS

    def result(self) -> ValueCounts | None:
        """Return the sum; None where it was given up."""
        self._add_up()
        return self._held[0] if self._is_whole else None


def read_counts(source: FolderSource, channel: int = 0) -> Iterator[ValueCounts]:
    """Yield the rows of the counts of one of a sample's channels, a block at a time.

    Raises
    ------
    OSError
        When its files are gone.
    LookupError
        When its files, as they are now, have not been counted, or what is kept of it is damaged.
    """
    folder, kept = source.folder, KeptFiles(source.layout.restore)
    names = of_channel(NO_COUNTS._asdict(), channel)
    rows = kept.rows_of_volume(source.name, folder.mask, folder.volumes, names)
    return (ValueCounts(*columns) for columns in rows)


def read_pool(sources: Sequence[FolderSource]) -> Pool:
    """Read what was counted of samples of one dataset, each once."""
    channels = range(len(sources[0].folder.volumes))
    sums, voxels = [_Sum() for _ in channels], dict[str, Voxels | None]()
    for source in sources:
        voxels[source.name] = None
        try:
            read = [_read_sample(source, channel) for channel in channels]
        except (OSError, LookupError):
            continue
        voxels[source.name] = read[0][0]
        for total, (_, blocks) in zip(sums, read, strict=True):
            total.add(blocks)
    counted = tuple(source for source in sources if voxels[source.name] is not None)
    return Pool(counted, voxels, tuple(total.result() for total in sums))


def _read_sample(source: FolderSource, channel: int) -> tuple[Voxels, list[ValueCounts] | None]:
    """Return the voxels of each label, and the rows where they can be held."""
    voxels, blocks, n_rows = Counter[int](), list[ValueCounts](), 0
    for rows in read_counts(source, channel):
        voxels.update(count_voxels([rows]))
        n_rows += rows.counts.size
        if n_rows <= _MOST_ROWS:
            blocks.append(rows)
    return dict(sorted(voxels.items())), blocks if n_rows <= _MOST_ROWS else None


def add_pools(pools: Sequence[Pool]) -> Pool:
    """Return several pools together."""
    sums, voxels = [_Sum() for _ in pools[0].counts], dict[str, Voxels | None]()
    for pool in pools:
        voxels.update(pool.voxels)
        for total, counts in zip(sums, pool.counts, strict=True):
            total.add(None if counts is None else [counts])
    sources = tuple(chain.from_iterable(pool.sources for pool in pools))
    return Pool(sources, voxels, tuple(total.result() for total in sums))


def describe_pool(
    pool: Pool,
) -> tuple[list[dict[int, dict[str, float]]], Mapping[str, Voxels | None]]:
    """Describe the values of all voxels of a pool, label by label.

    Returns
    -------
    of_channels : list of dict of int to dict
        Of each channel, label -> ``n_samples`` that have it, ``n_not_finite`` voxels, and as
        `describe_values`.
    voxels : dict of str to dict
        Sample -> label -> voxels; None where values of it are not counted.

    Raises
    ------
    AmosDaskError
        When what is kept of a sample that was counted cannot be read any more.
    """
    n_samples = Counter(chain.from_iterable(found or () for found in pool.voxels.values()))
    described = (_describe_channel(pool, channel) for channel in range(len(pool.counts)))
    of_channels = [
        {label: {"n_samples": n_samples[label], **told} for label, told in labels.items()}
        for labels in described
    ]
    return of_channels, pool.voxels


def _describe_channel(pool: Pool, channel: int) -> Mapping[int, Mapping[str, float]]:
    held = pool.counts[channel]
    if held is not None:
        return {
            label: {"n_not_finite": n_not_finite, **describe_values(values, times)}
            for label, (values, times, n_not_finite) in held.by_label().items()
            if values.size
        }
    try:
        return describe_blocks(
            lambda: chain.from_iterable(read_counts(source, channel) for source in pool.sources)
        )
    except (OSError, LookupError) as error:
        raise AmosDaskError(f"counted values cannot be read ({error}); run it again.") from error


def count_sample(source: FolderSource) -> StepResult[Voxels]:
    """Return the voxels of each label of a sample, and count its values if that is not done.

    Returns
    -------
    StepResult of dict
        Label -> voxels, the background left out; None when volume or mask cannot be read.
    """
    known = read_pool([source]).voxels[source.name]
    if known is not None:
        return StepResult(source.name, known)
    opened, issues = source.open_mask()
    if opened is None:
        return StepResult(source.name, None, tuple(issues))
    present, columns = labels_present(opened.labels), dict[str, Any]()
    for channel in range(len(source.folder.volumes)):
        counter = ValueCounter(opened.labels, present)
        issues = source.show_volume(opened.labels.shape, counter.add, channel)
        if issues:
            return StepResult(source.name, None, tuple(issues))
        counts = counter.result()
        columns |= of_channel(counts.columns(), channel)
    Receipts(source.layout).keep_of_volume(source.folder, columns)
    return StepResult(source.name, count_voxels(counts))
