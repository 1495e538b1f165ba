"""Counting: which values a volume has under each label, and how often; exactly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels import LOWEST_VALUE, N_VALUES, count_values
from amos_dask.nifti import Mask, in_file_order

_LABELS = 256
# What stands for every value that is not finite; it sorts behind those that are.
_NOT_FINITE = np.float32(np.inf)


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

    @property
    def n_voxels(self) -> dict[int, int]:
        """Voxels of each label that occurs, those that are not finite included."""
        labels, starts = np.unique(self.counted_labels, return_index=True)
        totals = np.add.reduceat(self.counts, starts)
        return dict(zip(labels.tolist(), totals.tolist(), strict=True))

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


NO_COUNTS = ValueCounts(np.empty(0, np.uint8), np.empty(0, np.float32), np.empty(0, np.int64))


def add_counts(found: Iterable[ValueCounts]) -> ValueCounts:
    """Return the counts of several sets of voxels together."""
    labels, values, counts = (np.concatenate(c) for c in zip(NO_COUNTS, *found, strict=True))
    order = np.lexsort((values, labels))
    labels, values, counts = labels[order], values[order], counts[order]
    is_first = np.ones(order.size, np.bool_)
    is_first[1:] = (labels[1:] != labels[:-1]) | (values[1:] != values[:-1])
    starts = np.flatnonzero(is_first)
    return ValueCounts(labels[starts], values[starts], np.add.reduceat(counts, starts))


class ValueCounter:
    """Counts the values of a volume under each label while the volume streams by.

    Parameters
    ----------
    mask : (x, y, z) uint8
        The final mask.
    present : tuple of int
        Labels that occur in it; all but the background are counted.
    """

    def __init__(self, mask: Mask, present: tuple[int, ...]) -> None:
        self._labels = in_file_order(mask)
        self._counted = np.array([label for label in present if label], np.uint8)
        self._rows = np.full(_LABELS, -1, np.int64)
        self._rows[self._counted] = np.arange(self._counted.size)
        self._table = np.zeros((self._counted.size, N_VALUES), np.int64)
        self._others: list[tuple[NDArray[np.float32], NDArray[np.uint8]]] = []
        self._position = 0

    def add(self, chunk: NDArray[np.float32]) -> None:
        """Count the next voxels, in file order."""
        labels = self._labels[self._position : self._position + chunk.size]
        self._position += chunk.size
        values, under = count_values(chunk, labels, self._rows, self._table)
        if values.size:
            self._others.append((values, under))

    def result(self) -> ValueCounts:
        """Return the counts of all labels that occur."""
        rows, places = np.nonzero(self._table)
        whole = (places + LOWEST_VALUE).astype(np.float32)
        found = [ValueCounts(self._counted[rows], whole, self._table[rows, places])]
        values = np.concatenate([NO_COUNTS.counted_values, *(v for v, _ in self._others)])
        under = np.concatenate([NO_COUNTS.counted_labels, *(u for _, u in self._others)])
        values[~np.isfinite(values)] = _NOT_FINITE
        for label in self._counted:  # one at a time: they may be as many as there are voxels
            others, counts = np.unique(values[under == label], return_counts=True)
            found.append(ValueCounts(np.full(others.size, label), others, counts))
        return add_counts(found)
