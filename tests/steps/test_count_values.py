"""Values under each label, counted while the volume streams by."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amos_dask.kernels import LOWEST_VALUE, N_VALUES, count_values
from amos_dask.steps.count_values import ValueCounter, ValueCounts, merge_counts

quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)
HIGHEST = LOWEST_VALUE + N_VALUES - 1
odd = [0.0, -0.0, 0.5, -0.5, np.nan, np.inf, -np.inf, 186452.0, LOWEST_VALUE, HIGHEST]
edges = [LOWEST_VALUE - 1, HIGHEST + 1, 2.0**31, -(2.0**40), 1e-30]
numbers = st.sampled_from([*odd, *edges]) | st.integers(-50, 50).map(float)


def literal(volume: np.ndarray, mask: np.ndarray, label: int) -> tuple[dict[float, int], int]:
    """Look at each voxel."""
    found = [float(v) for v, n in zip(volume.ravel(), mask.ravel(), strict=True) if n == label]
    finite = [value + 0.0 for value in found if np.isfinite(value)]
    return dict(Counter(finite)), len(found) - len(finite)


def as_dict(counts: ValueCounts) -> dict[float, int]:
    return dict(zip(counts.values.tolist(), counts.counts.tolist(), strict=True))


@quick
@given(
    mask=hnp.arrays(np.uint8, (3, 4, 2), elements=st.sampled_from([0, 1, 2, 255])),
    volume=hnp.arrays(np.float32, (3, 4, 2), elements=numbers.map(np.float32).map(float)),
    size=st.integers(1, 24),
)
def test_as_looking_at_each_voxel(mask: np.ndarray, volume: np.ndarray, size: int) -> None:
    present = tuple(int(label) for label in np.unique(mask))
    counter = ValueCounter(mask, present)
    flat = volume.ravel(order="F")
    for start in range(0, flat.size, size):
        counter.add(flat[start : start + size])
    found = counter.result()
    assert sorted(found) == [label for label in present if label]
    for label, counts in found.items():
        expected, n_not_finite = literal(volume, mask, label)
        assert as_dict(counts) == expected
        assert counts.n_not_finite == n_not_finite
        assert counts.n_voxels == int((mask == label).sum())
        assert np.all(np.diff(counts.values) > 0)
        assert not np.signbit(counts.values[counts.values == 0]).any()


@quick
@given(parts=st.lists(st.lists(st.integers(-9, 9), max_size=20), min_size=1, max_size=4))
def test_merged_as_counted_together(parts: list[list[int]]) -> None:
    def count(values: list[int]) -> ValueCounts:
        found, counts = np.unique(np.array(values, np.float32), return_counts=True)
        return ValueCounts(found, counts.astype(np.int64), len(values))

    merged = merge_counts([count(values) for values in parts])
    together = count([value for values in parts for value in values])
    assert as_dict(merged) == as_dict(together)
    assert merged.n_not_finite == together.n_not_finite


def test_arrays_that_do_not_fit_are_refused() -> None:
    rows, table = np.zeros(256, np.int64), np.zeros((1, N_VALUES), np.int64)
    values, labels = np.zeros(3, np.float32), np.zeros(3, np.uint8)
    count_values(values, labels, rows, table)
    for bad in (
        (values.astype(np.float64), labels, rows, table),
        (values, labels[:2], rows, table),
        (values, labels, rows[:9], table),
        (values, labels, rows + 1, table),
    ):
        with pytest.raises(ValueError, match="expected"):
            count_values(*bad)
