"""Counts come back as they were kept, and never for other files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.root.derived import forget_others
from amos_dask.statistics.value_counts import (
    counts_path,
    pack_counts,
    read_counts,
)

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
entries = st.dictionaries(
    st.integers(0, 255),
    st.tuples(
        st.lists(st.floats(-1e6, 1e6, width=32), max_size=5, unique=True).map(sorted),
        st.integers(0, 2**40),
    ),
    max_size=4,
)


@quick
@given(found=entries)
def test_counts_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    found: dict[int, tuple[list[float], int]],
) -> None:
    path = tmp_path_factory.getbasetemp() / "counts.npz.gz"
    kept = {
        label: (np.array(values, np.float32), np.arange(1, len(values) + 1) << 40, rest)
        for label, (values, rest) in found.items()
    }
    path.write_bytes(pack_counts(kept))
    assert pack_counts(kept) == path.read_bytes()
    restored = read_counts(path)
    assert sorted(restored) == sorted(kept)
    for label, (values, counts, rest) in kept.items():
        assert np.array_equal(restored[label][0], values)
        assert np.array_equal(restored[label][1], counts)
        assert restored[label][2] == rest


def test_counts_of_other_files_are_not_found(tmp_path: Path) -> None:
    volume, mask = tmp_path / "volume.nii.gz", tmp_path / "mask.nii.gz"
    volume.write_bytes(gzip.compress(b"volume", mtime=0))
    mask.write_bytes(gzip.compress(b"mask", mtime=0))
    path = counts_path(tmp_path, "amos_0001", volume, mask)
    mask.write_bytes(gzip.compress(b"another", mtime=0))
    other = counts_path(tmp_path, "amos_0001", volume, mask)
    assert path != other
    path.write_bytes(b"")
    other.write_bytes(b"")
    forget_others(tmp_path, "amos_0001", other)
    assert not path.exists()
    assert other.exists()


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"no npz", mtime=0)])
def test_damaged_counts_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "counts.npz.gz"
    path.write_bytes(content)
    with pytest.raises((OSError, ValueError, LookupError, EOFError)):
        read_counts(path)
