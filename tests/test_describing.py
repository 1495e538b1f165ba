"""Statistics of voxels from how often each value occurs: held together, and in two passes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.statistics.pools import describe_blocks, describe_values
from amos_dask.steps.count_values import ValueCounts, add_counts

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
floats = st.floats(width=32, allow_nan=False) | st.sampled_from([1e-45, -1e-45, 3.4e38, 0.1, -0.1])
rows = st.tuples(
    st.integers(1, 2),
    floats.map(lambda v: abs(v) if v in {0, -math.inf} else v),
    st.integers(1, 1 << 30),
)


def counts_of(part: list[tuple[int, float, int]]) -> ValueCounts:
    labels, values, counts = zip(*part, strict=True) if part else ((), (), ())
    finite = np.array(values, np.float32)
    return add_counts(
        [
            ValueCounts(np.array([n], np.uint8), finite[i : i + 1], np.array([c], np.int64))
            for i, (n, c) in enumerate(zip(labels, counts, strict=True))
        ]
    )


@quick
@given(parts=st.lists(st.lists(rows, max_size=12), max_size=4))
def test_in_two_passes_it_is_what_it_is_at_once(parts: list[list[tuple[int, float, int]]]) -> None:
    blocks = [counts_of(part) for part in parts]
    found = describe_blocks(lambda: blocks)
    together = add_counts(blocks).by_label()
    expected = {
        label: {"n_not_finite": n_not_finite, **describe_values(values, counts)}
        for label, (values, counts, n_not_finite) in together.items()
        if values.size
    }
    assert found.keys() == expected.keys()
    for label, of_label in found.items():
        std = expected[label].pop("std")
        assert of_label["std"] == pytest.approx(std, rel=1e-14, abs=0)
        assert {name: n for name, n in of_label.items() if name != "std"} == expected[label]


@quick
@given(voxels=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60))
def test_it_is_what_numpy_says_of_the_voxels(voxels: list[float]) -> None:
    values, counts = np.unique(np.array(voxels, np.float32) + np.float32(0), return_counts=True)
    labels = np.full(values.size, 7, np.uint8)
    (found,) = describe_blocks(lambda: [ValueCounts(labels, values, counts)]).values()
    wide = np.array(voxels, np.float32).astype(np.float64)
    assert (found["n_voxels"], found["min"], found["max"]) == (wide.size, wide.min(), wide.max())
    assert found["median"] == np.median(wide)
    assert [found["p0.5"], found["p99.5"]] == list(np.percentile(wide, [0.5, 99.5]))
    assert found["mean"] == math.fsum(wide) / wide.size
    assert found["std"] == pytest.approx(wide.std(), rel=1e-9, abs=1e-9)
