"""Counting: which values a volume has under each label, and how often; exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.voxelwise import LOWEST_VALUE, N_VALUES, count_labels, count_values
from amos_dask.nifti import Mask

_LABELS = 256
# What stands for every value that is not finite; it sorts behind those that are.
_NOT_FINITE = np.float32(np.inf)
_BLOCK = 1 << 16


class ValueCounts(NamedTuple):
    """How often each value occurs under each label: a table in three columns.

    Its arrays are kept beside the receipt by these names: other names when what is counted changes.

    Parameters
    ----------
    counted_labels : (n,) uint8
        Ascending.
    counted_values : (n,) float32
        Ascending for each label, each once; no negative zero. Infinity stands for all voxels that
        are NaN or infinite.
    counts : (n,) int64
        At least one.
    """

    counted_labels: NDArray[np.uint8]
    counted_values: NDArray[np.float32]
    counts: NDArray[np.int64]

    def by_label(self) -> dict[int, tuple[NDArray[np.float32], NDArray[np.int64], int]]:
        """Return, of each label, the finite values, how often each occurs, and how many are not."""
        labels, starts = np.unique(self.counted_labels, return_index=True)
        ends = [*starts, self.counted_labels.size][1:]
        found = {}
        for label, start, end in zip(labels.tolist(), starts, ends, strict=True):
            values, counts = self.counted_values[start:end], self.counts[start:end]
            finite = values != _NOT_FINITE
            found[label] = (values[finite], counts[finite], int(counts[~finite].sum()))
        return found


def of_channel(columns: Mapping[str, Any], channel: int) -> dict[str, Any]:
    """Return columns by the names under which those of a channel are kept."""
    return {name + (f"_{channel:02d}" if channel else ""): c for name, c in columns.items()}


NO_COUNTS = ValueCounts(np.empty(0, np.uint8), np.empty(0, np.float32), np.empty(0, np.int64))
_NO_VALUES = NO_COUNTS.counted_values


def count_voxels(found: Iterable[ValueCounts]) -> dict[int, int]:
    """Return the voxels of each label that occurs, those that are not finite included."""
    totals = Counter[int]()
    for rows in found:
        labels, starts = np.unique(rows.counted_labels, return_index=True)
        counts = np.add.reduceat(rows.counts, starts) if starts.size else rows.counts
        totals.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
    return dict(sorted(totals.items()))


def add_counts(found: Iterable[ValueCounts]) -> ValueCounts:
    """Return the counts of several sets of voxels together."""
    labels, values, counts = (np.concatenate(c) for c in zip(NO_COUNTS, *found, strict=True))
    order = np.lexsort((values, labels))
    labels, values, counts = labels[order], values[order], counts[order]
    is_first = np.ones(order.size, np.bool_)
    is_first[1:] = (labels[1:] != labels[:-1]) | (values[1:] != values[:-1])
    starts = np.flatnonzero(is_first)
    return ValueCounts(labels[starts], values[starts], np.add.reduceat(counts, starts))


class CountedValues:
    """The values of a volume under each label: rows of counts, a block at a time.

    Values that are no usual whole numbers may be as many as there are voxels: they are held by
    label as they are, ascending, four bytes each, and turned into rows when these are asked for.
    """

    def __init__(self, whole: ValueCounts, others: Mapping[int, NDArray[np.float32]]) -> None:
        self._whole = whole
        self._others = others
        self._n_rows = sum(block.counts.size for block in self)

    def __iter__(self) -> Iterator[ValueCounts]:
        """Yield the rows in order, each label's and each value's once."""
        whole = self._whole.by_label()
        for label in sorted({*whole, *self._others}):
            values, counts, _ = whole.get(label, (_NO_VALUES, NO_COUNTS.counts, 0))
            yield from _merge(label, values, counts, self._others.get(label, _NO_VALUES))

    def columns(self) -> dict[str, NDArray[Any] | Column]:
        """Return the columns by name, as they are kept."""
        if not self._others:
            return self._whole._asdict()
        return {
            name: Column(self, name, self._n_rows, array.dtype)
            for name, array in NO_COUNTS._asdict().items()
        }


@dataclass(frozen=True, slots=True)
class Column:
    """A column of counts, a block at a time."""

    rows: Iterable[ValueCounts]  # where it is from
    name: str
    size: int
    dtype: np.dtype[Any]  # of its blocks

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield its blocks."""
        return (getattr(block, self.name) for block in self.rows)


def _merge(
    label: int, values: NDArray[np.float32], counts: NDArray[np.int64], others: NDArray[np.float32]
) -> Iterator[ValueCounts]:
    """Yield the rows of a label: values that are counted, and ascending others still to count."""
    at = 0
    while at < others.size:
        block = others[at : at + _BLOCK]
        starts = np.flatnonzero(np.append(True, block[1:] != block[:-1]))
        # The last value of the block may go on behind it.
        end = at + int(np.searchsorted(others[at:], block[-1], side="right"))
        times = np.diff(np.append(at + starts, end))
        n_below = int(np.searchsorted(values, block[-1]))
        both = np.concatenate([values[:n_below], block[starts]])
        order = np.argsort(both)
        labels = np.full(both.size, label, np.uint8)
        yield ValueCounts(labels, both[order], np.concatenate([counts[:n_below], times])[order])
        values, counts, at = values[n_below:], counts[n_below:], end
    if values.size:
        yield ValueCounts(np.full(values.size, label, np.uint8), values, counts)


class ValueCounter:
    """Counts the values of a volume under each label of its mask while the volume streams by.

    The labels are those that occur in the mask; all but the background are counted.
    """

    def __init__(self, mask: Mask, present: tuple[int, ...]) -> None:
        self._labels = mask.ravel(order="F")
        self._counted = np.array([label for label in present if label], np.uint8)
        self._rows = np.full(_LABELS, -1, np.int64)
        self._rows[self._counted] = np.arange(self._counted.size)
        self._table = np.zeros((self._counted.size, N_VALUES), np.int64)
        self._others: dict[int, NDArray[np.float32]] = {}
        self._n_others = np.zeros(_LABELS, np.int64)
        self._position = 0

    def add(self, chunk: NDArray[np.float32]) -> None:
        """Count the next voxels, in file order."""
        labels = self._labels[self._position : self._position + chunk.size]
        self._position += chunk.size
        values, under = count_values(chunk, labels, self._rows, self._table)
        if values.size:
            values[~np.isfinite(values)] = _NOT_FINITE
            self._hold(values, under)

    def _hold(self, values: NDArray[np.float32], under: NDArray[np.uint8]) -> None:
        """Put values that the table has no column for behind those of their label."""
        if not self._others:  # room for every voxel; what is not filled takes no memory
            n_voxels = count_labels(self._labels)
            self._others = {int(n): np.empty(n_voxels[n], np.float32) for n in self._counted}
        order = np.argsort(under, kind="stable")
        values, ends = values[order], np.cumsum(np.bincount(under, minlength=_LABELS))
        for label in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
            part = values[ends[label - 1] : ends[label]]
            start = self._n_others[label]
            self._others[label][start : start + part.size] = part
            self._n_others[label] += part.size

    def result(self) -> CountedValues:
        """Return the counts of all labels that occur."""
        rows, places = np.nonzero(self._table)
        values = (places + LOWEST_VALUE).astype(np.float32)
        whole = ValueCounts(self._counted[rows], values, self._table[rows, places])
        others = {label: held[: self._n_others[label]] for label, held in self._others.items()}
        for held in others.values():
            held.sort()  # in place: they may be as many as there are voxels
        return CountedValues(whole, others)
