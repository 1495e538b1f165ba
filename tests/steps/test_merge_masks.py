"""A binary mask a label becomes one mask; who wins, what they share, what is no binary mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from amos_dask.errors import BadMaskError, UnreadableImageError
from amos_dask.file_refs import file_ref
from amos_dask.labels import LabelMap
from amos_dask.nifti import open_image
from amos_dask.records import Overlap
from amos_dask.steps.mask_labels import MaskMerger, MergedMask, check_overlaps

Array = NDArray[Any]

SHAPE = (3, 4, 5)
MAP = LabelMap(((0, "background"), (1, "spleen"), (2, "left kidney"), (7, "liver"), (9, "aorta")))
DTYPES = ["<u1", "<i1", ">i2", "<u2", "<i4", ">i8", "<f4", ">f8"]


def write(path: Path, stored: Array, slope: float = 1, inter: float = 0) -> Path:
    image = nib.Nifti1Image(stored, np.eye(4), dtype=stored.dtype)
    image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return path


def merge(
    paths: Mapping[int, Path],
    order: Sequence[int],
    label_values: Mapping[int, int] | None = None,
    shape: tuple[int, int, int] = SHAPE,
) -> MergedMask:
    merger = MaskMerger(shape, label_values)
    for label, path in paths.items():
        with open_image(file_ref(path, path.name)) as image:
            merger.add(label, image)
    return merger.merged(order)


def refusal(path: Path, label_values: Mapping[int, int] | None = None) -> str:
    with pytest.raises(BadMaskError) as caught:
        merge({1: path}, [1], label_values)
    assert caught.value.code == "bad_mask_values"
    return caught.value.message


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_masks_of_any_stored_type_are_merged_as_the_oracle_does(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    labels = data.draw(st.lists(st.integers(1, 255), min_size=1, max_size=5, unique=True))
    folder = tmp_path_factory.getbasetemp()
    binary, paths = {}, {}
    for label in labels:
        binary[label] = data.draw(hnp.arrays(np.bool_, SHAPE))
        stored = binary[label].astype(data.draw(st.sampled_from(DTYPES)))
        paths[label] = write(folder / f"{label}.nii.gz", stored)
    order = data.draw(st.permutations(labels))
    found = merge(paths, order)
    expected, shared = oracle.merge_masks(binary, order)
    np.testing.assert_array_equal(found.labels, expected, strict=True)
    assert found.labels.flags.f_contiguous
    assert found.overlaps == tuple(Overlap(*each) for each in shared)
    assert (found.n_rounded, found.deviation) == (0, 0)


def test_masks_larger_than_a_chunk_are_put_together(tmp_path: Path) -> None:
    shape, rng = (130, 110, 90), np.random.default_rng(0)
    binary = {label: rng.random(shape) < 0.3 for label in (1, 2)}
    paths = {
        label: write(tmp_path / f"{label}.nii.gz", bits.astype(dtype))
        for (label, bits), dtype in zip(binary.items(), ("<u1", "<f4"), strict=True)
    }
    found = merge(paths, [2, 1], shape=shape)
    np.testing.assert_array_equal(found.labels, np.where(binary[1], 1, binary[2] * 2))
    assert found.overlaps == (Overlap(1, 2, int(np.sum(binary[1] & binary[2]))),)


def test_values_are_judged_after_scaling_and_near_ones_are_rounded(tmp_path: Path) -> None:
    bits = np.arange(60).reshape(SHAPE) % 7 == 0
    paths = {
        1: write(tmp_path / "1.nii.gz", bits * np.int16(4) - np.int16(2), slope=0.25, inter=0.5),
        2: write(tmp_path / "2.nii.gz", bits * np.float32(0.97)),
        3: write(tmp_path / "3.nii.gz", bits * 1.0 + 0.0004),
    }
    found = merge(paths, [3, 1, 2])
    np.testing.assert_array_equal(found.labels, bits * 2)
    assert found.n_rounded == np.count_nonzero(bits) + bits.size
    assert found.deviation == pytest.approx(0.03)


@pytest.mark.parametrize("dtype", ["<u1", "<i2", "<f4"])
def test_a_mask_of_several_labels_is_no_binary_mask(tmp_path: Path, dtype: str) -> None:
    stored = (np.arange(60).reshape(SHAPE) % 9).astype(dtype)
    message = refusal(write(tmp_path / "mask.nii.gz", stored))
    n_bad = np.count_nonzero(stored > 1)
    assert f"{n_bad} voxels are neither 0 nor 1, such as 2, 3, 4, 5, 6" in message
    assert "7" not in message.partition("such as")[2]


@pytest.mark.parametrize("value", [-1, 0.5, 1.06, 2, 300, np.nan, np.inf])
def test_one_other_value_is_found(tmp_path: Path, value: float) -> None:
    stored = np.ones(SHAPE)
    stored[1, 2, 3] = value
    assert f" 1 voxel is neither 0 nor 1, such as {value:g}" in refusal(
        write(tmp_path / "mask.nii.gz", stored)
    )


def test_listed_values_are_taken_for_0_and_1(tmp_path: Path) -> None:
    stored = np.zeros(SHAPE, np.uint8)
    stored[0], stored[1, 0, 0] = 255, 3
    path = write(tmp_path / "mask.nii.gz", stored)
    np.testing.assert_array_equal(merge({5: path}, [5], {255: 1, 3: 0}).labels, (stored == 255) * 5)
    assert "such as 3" in refusal(path, {255: 1})
    assert "such as 1" in refusal(write(path, np.ones(SHAPE, np.uint8)), {255: 1})


def test_a_damaged_mask_is_not_a_bad_mask(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.nii.gz", np.ones(SHAPE, np.uint8))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UnreadableImageError):
        merge({1: path}, [1])


# ---------------------------------------------------------------- what is said


def test_overlaps_are_one_issue_which_names_the_largest() -> None:
    about = ((0.5, 0.5, 2.0), MAP)
    where = ("ts_s0001", "s0001/segmentations")
    overlaps = [Overlap(1, 2, 3), Overlap(1, 7, 400), Overlap(7, 99, 4)]
    assert check_overlaps([], *about, "later", *where) == []
    (issue,) = check_overlaps(overlaps, *about, "later", *where)
    assert (issue.code, issue.severity) == ("labels_overlap", "info")
    assert (issue.sample, issue.file) == where
    assert "3 pairs" in issue.message
    assert "labels 1 (spleen) and 7 (liver) share 200.00 mm3" in issue.message
    assert "the later label was taken" in issue.action
    (issue,) = check_overlaps(overlaps[2:], *about, "earlier", *where)
    assert issue.message == "labels 7 (liver) and 99 (?) share 2.00 mm3"
    assert "the earlier label was taken" in issue.action
    (issue,) = check_overlaps(overlaps, *about, ["liver"], *where)
    assert "the later named label was taken" in issue.action
