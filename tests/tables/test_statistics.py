"""Statistics from counts are numpy's on the voxels themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amos_dask.statistics.pools import describe_values
from amos_dask.statistics.stats import describe_numbers

quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)
voxels = hnp.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(
        st.integers(-1100, 3100).map(float),
        st.floats(-2e5, 2e5, width=32),
        st.sampled_from([0.0, 186452.0, 0.1, -0.5]).map(np.float32).map(float),
    ),
)


@quick
@given(found=voxels)
def test_from_counts_as_from_voxels(found: np.ndarray) -> None:
    pooled = found.astype(np.float64)
    got = describe_values(*np.unique(found, return_counts=True))
    assert got["n_voxels"] == found.size
    assert (got["min"], got["max"]) == (pooled.min(), pooled.max())
    assert got["median"] == np.median(pooled)
    assert [got["p0.5"], got["p99.5"]] == list(np.percentile(pooled, [0.5, 99.5]))
    assert got["mean"] == pytest.approx(pooled.mean(), rel=1e-12, abs=1e-9)
    assert got["std"] == pytest.approx(pooled.std(), rel=1e-9, abs=1e-9)


def test_many_voxels_of_a_ct() -> None:
    pooled = np.random.default_rng(3).normal(40, 20, 1_000_003).round().astype(np.float32)
    got = describe_values(*np.unique(pooled, return_counts=True))
    wide = pooled.astype(np.float64)
    assert got["mean"] == pytest.approx(wide.mean(), rel=1e-12)
    assert got["std"] == pytest.approx(wide.std(), rel=1e-12)
    assert [got["p0.5"], got["p99.5"]] == list(np.percentile(wide, [0.5, 99.5]))


def test_counts_beyond_what_float64_multiplies_exactly() -> None:
    values = np.array([1e5 + 1 / 128, 3], np.float32)
    counts = np.array([2**40 + 1, 2**40 + 3], np.int64)
    got = describe_values(values, counts)
    total = int(counts.sum())
    exact = sum(int(v * 128) * int(n) for v, n in zip(values.astype(float), counts, strict=True))
    assert got["mean"] == pytest.approx(exact / 128 / total, rel=1e-15)


def test_nothing_has_no_statistics() -> None:
    assert describe_values(np.empty(0, np.float32), np.empty(0, np.int64)) == {}


def test_samples() -> None:
    got = describe_numbers([4.0, 1.0, 2.0, 9.0])
    assert got == {"min": 1.0, "median": 3.0, "mean": 4.0, "max": 9.0}
