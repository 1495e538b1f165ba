"""What is kept beside a receipt is told for the very files that it belongs to, or not at all."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from amos_dask.records import find_difference
from amos_dask.root.kept import KeptFiles, ToKeep
from amos_dask.root.staging import Staging

Mask = NDArray[np.uint8]

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
shapes = hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)


def write_mask(path: Path, mask: Mask) -> Path:
    path.write_bytes(gzip.compress(mask.tobytes(order="F"), mtime=0))
    return path


def keep(kept: KeptFiles, file: Path, before: Mask, after: Mask) -> Path:
    """Stage and publish, as a step does."""
    write_mask(file, after)
    with Staging() as staging:
        path = kept.stage(staging, "amos_0001", file, find_difference(before, after))
        staging.publish()
    assert path is not None
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
    kept = KeptFiles(base / "restore")
    keep(kept, base / "mask.nii.gz", before, after)
    denoised = np.asfortranarray(after) if fortran else after
    found = kept.undo("amos_0001", base / "mask.nii.gz", denoised)
    assert found is not None
    np.testing.assert_array_equal(found, before, strict=True)
    np.testing.assert_array_equal(denoised, after)


def test_data_stays_with_its_file_when_the_file_is_renamed(
    tmp_path: Path, masks: tuple[Mask, Mask]
) -> None:
    before, after = masks
    kept = KeptFiles(tmp_path / "restore")
    keep(kept, tmp_path / "temporary", before, after)
    moved = (tmp_path / "temporary").rename(tmp_path / "final.nii.gz")
    found = kept.undo("amos_0001", moved, after)
    np.testing.assert_array_equal(found, before)


def test_nothing_is_kept_before_publishing(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    kept = KeptFiles(tmp_path / "restore")
    file = write_mask(tmp_path / "mask.nii.gz", after)
    with Staging() as staging:
        difference = find_difference(before, after)
        path = kept.stage(staging, "amos_0001", file, difference)
        assert path is not None
        assert not path.exists()
    assert kept.undo("amos_0001", file, after) is None


def test_a_sample_that_fails_leaves_the_folder_to_others(
    tmp_path: Path, masks: tuple[Mask, Mask]
) -> None:
    kept, difference = KeptFiles(tmp_path / "restore"), find_difference(*masks)
    file = write_mask(tmp_path / "mask.nii.gz", masks[1])
    with Staging() as other:
        with Staging() as failing:
            kept.stage(failing, "amos_0001", file, difference)
            place = other.path_for(kept.path_for("amos_0004", file))
        place.write_bytes(b"")
    assert list((tmp_path / "restore").iterdir()) == []


def test_another_mask_or_sample_has_no_data(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    kept = KeptFiles(tmp_path / "restore")
    file = tmp_path / "mask.nii.gz"
    keep(kept, file, before, after)
    assert kept.undo("amos_0002", file, after) is None
    other = after.copy()
    other[0, 0, 0] += 1
    assert kept.undo("amos_0001", write_mask(file, other), other) is None


def test_without_data_there_is_none(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    file = write_mask(tmp_path / "mask.nii.gz", masks[0])
    assert KeptFiles(tmp_path / "restore").undo("amos_0001", file, masks[0]) is None
    (tmp_path / "empty.nii.gz").touch()
    empty = tmp_path / "empty.nii.gz"
    assert KeptFiles(tmp_path / "restore").undo("amos_0001", empty, masks[0]) is None


def test_data_cut_anywhere_counts_as_none(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    kept = KeptFiles(tmp_path / "restore")
    file = tmp_path / "mask.nii.gz"
    path = keep(kept, file, before, after)
    content = path.read_bytes()
    for n_bytes in range(0, len(content), 11):
        path.write_bytes(content[:n_bytes])
        assert kept.undo("amos_0001", file, after) is None


def test_damaged_data_never_gives_a_wrong_mask(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    kept = KeptFiles(tmp_path / "restore")
    file = tmp_path / "mask.nii.gz"
    path = keep(kept, file, before, after)
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        found = kept.undo("amos_0001", file, after)
        if found is not None:
            np.testing.assert_array_equal(found, before)


def test_data_is_small(tmp_path: Path) -> None:
    before = np.random.default_rng(0).integers(0, 17, (60, 60, 60), dtype=np.uint8)
    after = before.copy()
    after[0, 0, :10] = 99
    path = keep(KeptFiles(tmp_path / "r"), tmp_path / "m", before, after)
    assert path.stat().st_size < 2000


def test_the_files_of_a_sample_are_told(tmp_path: Path, masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    kept = KeptFiles(tmp_path / "restore")
    file = tmp_path / "mask.nii.gz"
    first = keep(kept, file, before, after)
    second = keep(kept, file, after, before)
    (kept.folder / "amos_0002-00.npz").touch()
    assert kept.of_sample("amos_0001") == sorted([first, second])


# ---------------------------------------------------------------- of the volume under the mask

FOUND: dict[str, NDArray[Any]] = {
    "counts": np.array([3, 1 << 40], np.int64),
    "count_labels": np.array([], np.uint8),
}


class Files:
    """A sample's mask and volume, of which something is kept."""

    def __init__(self, folder: Path) -> None:
        self.kept = KeptFiles(folder / "restore")
        self.mask = write_mask(folder / "mask.nii.gz", np.zeros((2, 3, 4), np.uint8))
        self.volume = write_mask(folder / "volume.nii.gz", np.ones((2, 3, 4), np.uint8))
        with Staging() as staging:
            difference = find_difference(self.before, np.zeros((2, 3, 4), np.uint8))
            self.kept.stage(staging, "amos_0001", self.mask, difference)
            staging.publish()

    @property
    def before(self) -> Mask:
        before = np.zeros((2, 3, 4), np.uint8)
        before[1, 2, 3] = 9
        return before

    def add(self, arrays: ToKeep) -> None:
        with Staging() as staging:
            self.kept.add(staging, "amos_0001", self.mask, [self.volume], arrays)
            staging.publish()

    def read(self, *names: str) -> Mapping[str, NDArray[Any]] | None:
        return self.kept.read_of_volume("amos_0001", self.mask, [self.volume], names)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_what_was_found_of_a_volume_comes_back_and_denoising_can_still_be_undone(
    files: Files,
) -> None:
    assert files.read(*FOUND) is None
    files.add(FOUND)
    files.add({"pictures": np.array([1, 2], np.uint8)})
    found = files.read(*FOUND, "pictures")
    assert found is not None
    for name, array in FOUND.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert files.read(*FOUND, "something else") is None
    undone = files.kept.undo("amos_0001", files.mask, np.zeros((2, 3, 4), np.uint8))
    np.testing.assert_array_equal(undone, files.before)


def test_what_was_found_of_another_volume_is_not_told_and_is_left_out(files: Files) -> None:
    files.add(FOUND)
    write_mask(files.volume, np.full((2, 3, 4), 2, np.uint8))
    assert files.read(*FOUND) is None
    files.add({"pictures": np.array([1], np.uint8)})
    assert files.read("pictures") is not None
    assert files.read(*FOUND) is None
    assert files.kept.undo("amos_0001", files.mask, np.zeros((2, 3, 4), np.uint8)) is not None


def test_the_same_content_is_kept_as_the_same_bytes(files: Files) -> None:
    files.add(FOUND)
    (path,) = files.kept.folder.iterdir()
    content = path.read_bytes()
    files.add(dict(reversed(FOUND.items())))
    assert path.read_bytes() == content


class Blocks:
    """An array that comes in blocks."""

    def __init__(self, array: NDArray[Any], length: int) -> None:
        self.size, self.dtype = array.size, array.dtype
        self._blocks = [array[at : at + length] for at in range(0, array.size, length)]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter(self._blocks)


def columns(n_rows: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(n_rows)
    return {
        "under": np.sort(rng.integers(0, 9, n_rows, np.uint8)),
        "values": rng.random(n_rows, np.float32),
        "counts": rng.integers(1, 1 << 40, n_rows),
    }


def rows_of(files: Files, names: Iterable[str] = ("under", "values", "counts")) -> Any:
    return list(files.kept.rows_of_volume("amos_0001", files.mask, [files.volume], tuple(names)))


@pytest.mark.parametrize("n_rows", [0, 1, 5, 1 << 16, 150_001])
@pytest.mark.parametrize("length", [1 << 15, 100_000])
def test_columns_come_back_in_blocks_and_are_the_bytes_of_arrays(
    n_rows: int, length: int, files: Files
) -> None:
    arrays = columns(n_rows)
    files.add(arrays)
    (path,) = files.kept.folder.iterdir()
    content = path.read_bytes()
    files.add({name: Blocks(array, length) for name, array in arrays.items()})
    assert path.read_bytes() == content
    rows = rows_of(files)
    assert all(len(block[0]) <= 1 << 16 for block in rows)
    for i, array in enumerate(arrays.values()):
        found = np.concatenate([array[:0], *(block[i] for block in rows)])
        np.testing.assert_array_equal(found, array, strict=True)


def test_more_is_kept_beside_columns_as_they_are(files: Files) -> None:
    arrays = columns(100_000)
    files.add(arrays)
    files.add({"pictures": np.array([1], np.uint8)})
    assert (
        np.concatenate([block[1] for block in rows_of(files)]).tolist() == arrays["values"].tolist()
    )
    assert files.kept.undo("amos_0001", files.mask, np.zeros((2, 3, 4), np.uint8)) is not None


def test_columns_that_are_not_there_or_of_another_volume_are_not_told(files: Files) -> None:
    with pytest.raises(LookupError):
        rows_of(files)
    files.add(columns(9))
    with pytest.raises(LookupError):
        rows_of(files, ["under", "something else"])
    write_mask(files.volume, np.full((2, 3, 4), 2, np.uint8))
    with pytest.raises(LookupError):
        rows_of(files)
    files.volume.unlink()
    with pytest.raises(OSError, match="volume"):
        rows_of(files)


def test_damage_in_columns_is_found_by_their_end(files: Files) -> None:
    arrays = columns(2_000)
    files.add(arrays)
    (path,) = files.kept.folder.iterdir()
    content = path.read_bytes()
    for at in range(0, len(content), 97):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            rows = rows_of(files)
        except LookupError:
            continue
        for i, array in enumerate(arrays.values()):  # what was damaged is something else
            np.testing.assert_array_equal(np.concatenate([block[i] for block in rows]), array)
    for length in range(0, len(content), 997):
        path.write_bytes(content[:length])
        with pytest.raises(LookupError):
            rows_of(files)
        files.add({"pictures": np.array([1], np.uint8)})
        assert files.read("pictures") is not None


def test_of_nothing_nothing_is_kept(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.nii.gz", np.zeros((2, 3, 4), np.uint8))
    with Staging() as staging:
        assert KeptFiles(tmp_path / "restore").stage(staging, "amos_0001", mask, None) is None


def test_files_that_are_gone_are_an_error(files: Files) -> None:
    files.volume.unlink()
    with pytest.raises(OSError, match="volume"):
        files.read(*FOUND)
