"""Counting: which values a volume has under each label, and how often; exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels import LOWEST_VALUE, N_VALUES, count_values
from amos_dask.nifti import Mask, in_file_order

_LABELS = 256
# Names of the arrays in which counts are kept; another name when what is counted changes.
COUNT_ARRAYS = ("count_labels", "count_sizes", "count_not_finite", "count_values", "counts")


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """How often each value occurs.

    Parameters
    ----------
    values : (n,) float32
        Finite, ascending, each once; no negative zero.
    counts : (n,) int64
        At least one.
    n_not_finite : int
        Voxels that are NaN or infinite; they are left out of the values.
    """

    values: NDArray[np.float32]
    counts: NDArray[np.int64]
    n_not_finite: int = 0

    @property
    def n_voxels(self) -> int:
        """All voxels, those that are not finite included."""
        return int(self.counts.sum()) + self.n_not_finite


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
        self._counted = [label for label in present if label != 0]
        self._rows = np.full(_LABELS, -1, np.int64)
        self._rows[self._counted] = np.arange(len(self._counted))
        self._table = np.zeros((len(self._counted), N_VALUES), np.int64)
        self._others: list[tuple[NDArray[np.float32], NDArray[np.uint8]]] = []
        self._position = 0

    def add(self, chunk: NDArray[np.float32]) -> None:
        """Count the next voxels, in file order."""
        labels = self._labels[self._position : self._position + chunk.size]
        self._position += chunk.size
        values, under = count_values(chunk, labels, self._rows, self._table)
        if values.size:
            self._others.append((values, under))

    def result(self) -> dict[int, ValueCounts]:
        """Return the counts of each label that occurs."""
        values = np.concatenate([v for v, _ in self._others] or [np.empty(0, np.float32)])
        under = np.concatenate([u for _, u in self._others] or [np.empty(0, np.uint8)])
        return {
            label: _combine(self._table[row], values[under == label])
            for row, label in enumerate(self._counted)
        }


def _combine(row: NDArray[np.int64], others: NDArray[np.float32]) -> ValueCounts:
    whole = np.flatnonzero(row)
    finite = others[np.isfinite(others)]
    values, counts = np.unique(finite, return_counts=True)
    in_table = ValueCounts((whole + LOWEST_VALUE).astype(np.float32), row[whole])
    apart = ValueCounts(values, counts.astype(np.int64), int(others.size - finite.size))
    return merge_counts([in_table, apart])


def merge_counts(parts: list[ValueCounts]) -> ValueCounts:
    """Return the counts of several sets of voxels together."""
    values = np.concatenate([part.values for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    merged, places = np.unique(values, return_inverse=True)
    summed = np.zeros(merged.size, np.int64)
    np.add.at(summed, places, counts)
    return ValueCounts(merged, summed, sum(part.n_not_finite for part in parts))


def pack_counts(counts: Mapping[int, ValueCounts]) -> dict[str, NDArray[Any]]:
    """Return the counts of each label as a few arrays, for `unpack_counts`."""
    found = [counts[label] for label in sorted(counts)]
    arrays = (
        np.array(sorted(counts), np.uint8),
        np.array([one.values.size for one in found], np.int64),
        np.array([one.n_not_finite for one in found], np.int64),
        np.concatenate([np.empty(0, np.float32), *(one.values for one in found)]),
        np.concatenate([np.empty(0, np.int64), *(one.counts for one in found)]),
    )
    return dict(zip(COUNT_ARRAYS, arrays, strict=True))


def unpack_counts(arrays: Mapping[str, NDArray[Any]]) -> dict[int, ValueCounts]:
    """Return the counts of each label.

    Raises
    ------
    ValueError, LookupError
        When the arrays are not such as `pack_counts` returns.
    """
    labels, sizes, not_finite, values, counts = (arrays[name] for name in COUNT_ARRAYS)
    ends = np.cumsum(sizes)
    return {
        int(label): ValueCounts(values[end - size : end], counts[end - size : end], int(rest))
        for label, size, end, rest in zip(labels, sizes, ends, not_finite, strict=True)
    }
