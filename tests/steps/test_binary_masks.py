"""One file of zeros and ones for each label of the map, read back by nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec

from amos_dask.datasets import AMOS22
from amos_dask.labels import LabelMap
from amos_dask.nifti import ImageInfo, make_header, mask_header, parse_header, write_labels
from amos_dask.steps.mask_labels import check_labels

FEW = LabelMap(((0, "background"), (1, "spleen"), (3, "liver")))
LAS = from_matvec(np.diag([-0.8, 0.8, 5.0]), [100, -120, -300])


@pytest.fixture
def volume() -> ImageInfo:
    return parse_header(make_header((4, 3, 5), np.float32, LAS, 2))


def test_each_label_has_its_voxels_on_the_volumes_geometry(
    tmp_path: Path, volume: ImageInfo
) -> None:
    mask = np.random.default_rng(0).choice([0, 1, 5, 16], (4, 3, 5)).astype(np.uint8, order="F")
    before = mask.copy()
    paths = {label: tmp_path / f"{label}.nii.gz" for label in AMOS22.label_map}
    assert write_labels(paths, mask_header(volume), mask) == (0, 1, 5, 16)
    for label, path in paths.items():
        image = nib.load(path)
        found = np.asanyarray(image.dataobj)
        np.testing.assert_array_equal(found, (mask == label).astype(np.uint8), strict=True)
        np.testing.assert_array_equal(image.affine, volume.affine)
        assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 2
    np.testing.assert_array_equal(mask, before)


def test_absent_labels_have_the_same_empty_file(tmp_path: Path, volume: ImageInfo) -> None:
    mask = np.ones((4, 3, 5), np.uint8, order="F")
    paths = {label: tmp_path / f"{label}.nii.gz" for label in (0, 1, 2, 3)}
    assert write_labels(paths, mask_header(volume), mask) == (1,)
    assert paths[0].read_bytes() == paths[2].read_bytes() == paths[3].read_bytes()
    assert paths[0].read_bytes() != paths[1].read_bytes()
    assert not np.asanyarray(nib.load(paths[2]).dataobj).any()


def test_the_files_of_all_labels_add_up_to_one_everywhere(
    tmp_path: Path, volume: ImageInfo
) -> None:
    mask = np.random.default_rng(1).integers(0, 17, (4, 3, 5)).astype(np.uint8, order="F")
    paths = {label: tmp_path / f"{label}.nii.gz" for label in AMOS22.label_map}
    write_labels(paths, mask_header(volume), mask)
    total = sum(np.asanyarray(nib.load(path).dataobj).astype(int) for path in paths.values())
    np.testing.assert_array_equal(total, np.ones((4, 3, 5)))


def test_labels_in_few_pieces_of_a_large_mask(tmp_path: Path, volume: ImageInfo) -> None:
    shape = (160, 128, 100)
    mask = np.zeros(shape, np.uint8, order="F")
    mask[20:90, 30:60, 0:2] = 1  # the first piece
    mask[40:42, 50:52, 47:60] = 3  # across two in the middle
    mask[159, 127, 99] = 5  # the last voxel
    large = parse_header(make_header(shape, np.float32, LAS, 2))
    contents = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        paths = {label: folder / f"{label}.nii.gz" for label in range(7)}
        assert write_labels(paths, mask_header(large), mask) == (0, 1, 3, 5)
        contents.append([path.read_bytes() for path in paths.values()])
    assert contents[0] == contents[1]
    for label, path in paths.items():
        found = np.asanyarray(nib.load(path).dataobj)
        np.testing.assert_array_equal(found, (mask == label).astype(np.uint8), strict=True)


def codes(present: tuple[int, ...]) -> list[tuple[str, str]]:
    return [(i.code, i.severity) for i in check_labels(present, FEW, "amos_0001", "a.nii.gz")]


def test_labels_of_the_map_are_no_issue() -> None:
    assert codes((0, 1, 3)) == []
    assert codes((1,)) == []


def test_a_label_that_the_map_lacks_is_an_error_that_names_it() -> None:
    (issue,) = check_labels((0, 2, 3, 99), FEW, "amos_0001", "a.nii.gz")
    assert (issue.code, issue.severity) == ("unknown_label", "error")
    assert (issue.sample, issue.file) == ("amos_0001", "a.nii.gz")
    assert "2, 99" in issue.message


def test_a_mask_of_background_only_is_a_warning() -> None:
    assert codes((0,)) == [("empty_mask", "warning")]
