"""What denoising changed can be undone, for the very file it belongs to."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from amos_dask.difference import find_difference
from amos_dask.root.restore import RestoreData
from amos_dask.root.staging import Staging

Mask = NDArray[np.uint8]

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
shapes = hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)


def write_mask(path: Path, mask: Mask) -> Path:
    path.write_bytes(gzip.compress(mask.tobytes(order="F"), mtime=0))
    return path


def keep(data: RestoreData, file: Path, before: Mask, after: Mask) -> Path:
    """Stage and publish, as a step does."""
    write_mask(file, after)
    with Staging() as staging:
        path = data.stage(staging, "amos_0001", file, find_difference(before, after))
        staging.publish()
    return path


@pytest.fixture
def masks() -> tuple[Mask, Mask]:
    rng = np.random.default_rng(3)
    before = rng.integers(0, 17, (6, 5, 4), dtype=np.uint8)
    after = before.copy()
    after[rng.random(before.shape) < 0.2] = 3
    return before, after


@quick
@given(data=st.data(), shape=shapes, fortran=st.booleans())
def test_the_undenoised_mask_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    shape: tuple[int, ...],
    fortran: bool,
) -> None:
    before = data.draw(hnp.arrays(np.uint8, shape))
    after = data.draw(hnp.arrays(np.uint8, shape))
    base = tmp_path_factory.getbasetemp()
    restore = RestoreData(base / "restore")
    keep(restore, base / "mask.nii.gz", before, after)
    denoised = np.asfortranarray(after) if fortran else after
    found = restore.restore("amos_0001", base / "mask.nii.gz", denoised)
    assert found is not None
    np.testing.assert_array_equal(found, before, strict=True)
    np.testing.assert_array_equal(denoised, after)


def test_data_stays_with_its_file_when_the_file_is_renamed(
    tmp_path: Path, masks: tuple[Mask, Mask]
) -> None:
    before, after = masks
    restore = RestoreData(tmp_path / "restore")
    keep(restore, tmp_path / "temporary", before, after)
    moved = (tmp_path / "temporary").rename(tmp_path / "final.nii.gz")
    found = restore.restore("amos_0001", moved, after)
    np.testing.assert_array_equal(found, before)


def test_nothing_is_kept_before_publishing(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    restore = RestoreData(tmp_path / "restore")
    file = write_mask(tmp_path / "mask.nii.gz", after)
    with Staging() as staging:
        difference = find_difference(before, after)
        assert not restore.stage(staging, "amos_0001", file, difference).exists()
    assert restore.restore("amos_0001", file, after) is None


def test_another_mask_or_sample_has_no_data(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    restore = RestoreData(tmp_path / "restore")
    file = tmp_path / "mask.nii.gz"
    keep(restore, file, before, after)
    assert restore.restore("amos_0002", file, after) is None
    other = after.copy()
    other[0, 0, 0] += 1
    assert restore.restore("amos_0001", write_mask(file, other), other) is None


def test_without_data_there_is_none(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    file = write_mask(tmp_path / "mask.nii.gz", masks[0])
    assert RestoreData(tmp_path / "restore").restore("amos_0001", file, masks[0]) is None
    (tmp_path / "empty.nii.gz").touch()
    empty = tmp_path / "empty.nii.gz"
    assert RestoreData(tmp_path / "restore").restore("amos_0001", empty, masks[0]) is None


def test_data_cut_anywhere_counts_as_none(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    restore = RestoreData(tmp_path / "restore")
    file = tmp_path / "mask.nii.gz"
    path = keep(restore, file, before, after)
    content = path.read_bytes()
    for n_bytes in range(1, len(content), 11):
        path.write_bytes(content[:n_bytes])
        assert restore.restore("amos_0001", file, after) is None


def test_empty_data_counts_as_none(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    restore = RestoreData(tmp_path / "restore")
    file = tmp_path / "mask.nii.gz"
    keep(restore, file, before, after).write_bytes(b"")
    assert restore.restore("amos_0001", file, after) is None


def test_damaged_data_never_gives_a_wrong_mask(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    restore = RestoreData(tmp_path / "restore")
    file = tmp_path / "mask.nii.gz"
    path = keep(restore, file, before, after)
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        found = restore.restore("amos_0001", file, after)
        if found is not None:
            np.testing.assert_array_equal(found, before)


def test_data_is_small(tmp_path: Path) -> None:
    before = np.random.default_rng(0).integers(0, 17, (60, 60, 60), dtype=np.uint8)
    after = before.copy()
    after[0, 0, :10] = 99
    path = keep(RestoreData(tmp_path / "r"), tmp_path / "m", before, after)
    assert path.stat().st_size < 2000


def test_only_one_file_is_kept_for_a_sample(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    restore = RestoreData(tmp_path / "restore")
    file = tmp_path / "mask.nii.gz"
    first = keep(restore, file, before, after)
    second = keep(restore, file, after, before)
    other = restore.folder / "amos_0002-00.npz"
    other.touch()
    assert first != second
    restore.forget_others("amos_0001", second)
    assert set(restore.folder.iterdir()) == {second, other}
    restore.forget_others("amos_0001", None)
    assert set(restore.folder.iterdir()) == {other}
