"""Values under each label, counted while the volume streams by."""

from __future__ import annotations

import gzip
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amos_dask.kernels.voxelwise import LOWEST_VALUE, N_VALUES, count_values
from amos_dask.root.kept import KeptFiles
from amos_dask.root.staging import Staging
from amos_dask.steps import count_values as step
from amos_dask.steps.count_values import (
    NO_COUNTS,
    ValueCounter,
    ValueCounts,
    add_counts,
    count_voxels,
)

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
HIGHEST = LOWEST_VALUE + N_VALUES - 1
odd = [0.0, -0.0, 0.5, -0.5, np.nan, np.inf, -np.inf, 186452.0, LOWEST_VALUE, HIGHEST]
edges = [LOWEST_VALUE - 1, HIGHEST + 1, 2.0**31, -(2.0**40), 1e-30]
numbers = st.sampled_from([*odd, *edges]) | st.integers(-50, 50).map(float)


def literal(volume: np.ndarray, mask: np.ndarray, label: int) -> tuple[dict[float, int], int]:
    """Look at each voxel."""
    found = [float(v) for v, n in zip(volume.ravel(), mask.ravel(), strict=True) if n == label]
    finite = [value + 0.0 for value in found if np.isfinite(value)]
    return dict(Counter(finite)), len(found) - len(finite)


def as_dict(found: ValueCounts, label: int) -> tuple[dict[float, int], int]:
    values, counts, n_not_finite = found.by_label()[label]
    assert np.all(np.diff(values) > 0)
    assert not np.signbit(values[values == 0]).any()
    return dict(zip(values.tolist(), counts.tolist(), strict=True)), n_not_finite


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
    found = add_counts(counter.result())
    n_voxels = {label: int((mask == label).sum()) for label in present if label}
    assert count_voxels(counter.result()) == count_voxels([found]) == n_voxels
    for label in present:
        if label:
            assert as_dict(found, label) == literal(volume, mask, label)


@quick
@given(
    voxels=st.lists(st.tuples(st.integers(1, 3), numbers), max_size=40),
    size=st.integers(1, 9),
)
def test_rows_come_in_small_blocks_in_order_and_once_each(
    voxels: list[tuple[int, float]], size: int
) -> None:
    mask = np.array([label for label, _ in voxels], np.uint8).reshape(-1, 1, 1)
    counter = ValueCounter(mask, (1, 2, 3))
    counter.add(np.array([value for _, value in voxels], np.float32))
    whole = add_counts(counter.result())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "_BLOCK", size)
        counted = counter.result()
        blocks = list(counted)
    joined = [np.concatenate(parts) for parts in zip(NO_COUNTS, *blocks, strict=True)]
    assert [a.tolist() for a in joined] == [a.tolist() for a in whole]
    assert tuple(counted.columns()) == ValueCounts._fields
    for name, column in counted.columns().items():
        assert column.size == whole.counts.size
        blocks_of = [column] if isinstance(column, np.ndarray) else column
        parts = [NO_COUNTS._asdict()[name], *blocks_of]
        assert np.concatenate(parts).tolist() == whole._asdict()[name].tolist()
        assert {part.dtype for part in parts} == {column.dtype}


@quick
@given(
    parts=st.lists(
        st.lists(st.tuples(st.integers(1, 3), st.integers(-9, 9)), max_size=20), max_size=4
    )
)
def test_added_up_as_counted_together(parts: list[list[tuple[int, int]]]) -> None:
    def count(voxels: list[tuple[int, int]]) -> ValueCounts:
        mask = np.array([label for label, _ in voxels], np.uint8).reshape(-1, 1, 1)
        counter = ValueCounter(mask, tuple(np.unique(mask).tolist()))
        counter.add(np.array([np.inf if v == 9 else v / 2 for _, v in voxels], np.float32))
        return add_counts(counter.result())

    added = add_counts([count(voxels) for voxels in parts])
    together = count([voxel for voxels in parts for voxel in voxels])
    assert [a.tolist() for a in added] == [a.tolist() for a in together]
    assert [a.dtype for a in added] == [a.dtype for a in together]


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


@pytest.mark.parametrize("kind", ["all others", "few others", "not finite", "whole"])
def test_it_takes_few_bytes_a_voxel_until_all_is_kept(kind: str, tmp_path: Path) -> None:
    n_voxels, n_labels = 1 << 21, 4
    rng, values = np.random.default_rng(1), np.empty(n_voxels, np.float32)
    rng.random(out=values, dtype=np.float32)
    if kind == "whole":
        values = np.rint(values * 1000)
    elif kind == "few others":
        values = np.rint(values * 9) + np.float32(0.5)
    elif kind == "not finite":
        values[:] = np.nan
    mask = rng.integers(1, n_labels + 1, (n_voxels, 1, 1), np.uint8)
    files = [tmp_path / name for name in ("mask.nii.gz", "volume.nii.gz")]
    for file in files:
        file.write_bytes(gzip.compress(file.name.encode()))
    tracemalloc.start()
    counter = ValueCounter(mask, (0, *range(1, n_labels + 1)))
    table = tracemalloc.get_traced_memory()[0]
    for start in range(0, n_voxels, 1 << 18):
        counter.add(values[start : start + (1 << 18)])
    with Staging() as staging:
        kept, columns = KeptFiles(tmp_path / "restore"), counter.result().columns()
        kept.stage(staging, "amos_0001", files[0], None, columns, files[1:])
        staging.publish()
    rows = kept.rows_of_volume("amos_0001", files[0], files[1:], ValueCounts._fields)
    total = sum(int(counts.sum()) for _, _, counts in rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == n_voxels
    assert peak - table < 8 * n_voxels


def test_of_no_voxels_there_are_no_labels() -> None:
    assert (NO_COUNTS.by_label(), count_voxels([NO_COUNTS])) == ({}, {})
    assert add_counts([NO_COUNTS, NO_COUNTS]).by_label() == {}
