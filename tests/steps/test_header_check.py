"""What the header check says about a scan and its mask, with nibabel as the judge."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from amos_dask.archive.listing import file_ref
from amos_dask.records import FileRef, HeaderCheck, Metadata, Sample
from amos_dask.steps.header_check import check_headers

SHAPE = (4, 3, 2)
LAS = from_matvec(np.diag([-0.8, 0.8, 5.0]), [100, -120, -300])


def header_of(
    affine: NDArray[np.float64] = LAS,
    dtype: type[np.generic] = np.int16,
    shape: tuple[int, ...] = SHAPE,
    **fields: Any,
) -> Nifti1Header:
    header = Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    for name, value in fields.items():
        header[name] = value
    return header


def write(folder: Path, name: str, header: Nifti1Header) -> FileRef:
    n_bytes = int(np.prod(header.get_data_shape())) * header.get_data_dtype().itemsize
    path = folder / f"{name}.nii.gz"
    path.write_bytes(gzip.compress(bytes(header.binaryblock) + bytes(4 + n_bytes)))
    return file_ref(path, f"{name}/amos_0001.nii.gz")


def check(volume: FileRef | None, mask: FileRef | None = None) -> HeaderCheck:
    return check_headers(Sample("0001", "train", "ct", "UND", Metadata(), volume, mask))


def codes(found: HeaderCheck) -> list[tuple[str, str, str, str]]:
    return [(i.code, i.severity, i.sample, i.file) for i in found.issues]


def test_a_row_says_what_nibabel_says(tmp_path: Path) -> None:
    oblique = from_matvec(euler2mat(0.2) @ np.diag([-0.7, 0.9, 3.0]), [1, 2, 3])
    header = header_of(oblique, np.int16, scl_slope=2, scl_inter=-1024)
    ref = write(tmp_path, "imagesTr", header)
    (row,) = check(ref).files
    image = nib.load(ref.location)
    assert (row.file_path, row.kind) == ("imagesTr/amos_0001.nii.gz", "volume")
    assert row.shape == image.shape
    assert row.dtype == np.asanyarray(image.dataobj).dtype.name == "float64"
    assert row.pixdim_mm == tuple(float(size) for size in image.header["pixdim"][1:4])
    assert row.affine_json is not None
    np.testing.assert_array_equal(np.array(json.loads(row.affine_json)), image.affine)
    assert row.orientation_to == f"Oblique(closest to {''.join(nib.aff2axcodes(image.affine))})"
    assert row.orientation_from == "Oblique(closest to RPI)"
    assert row.diff_trans_f_norm is None


def test_the_volume_comes_first_and_the_mask_tells_its_distance(tmp_path: Path) -> None:
    moved = LAS.copy()
    moved[0, 3] += 3
    moved[1, 3] -= 4
    volume = write(tmp_path, "imagesTr", header_of())
    mask = write(tmp_path, "labelsTr", header_of(moved, np.uint8))
    found = check(volume, mask)
    assert [row.kind for row in found.files] == ["volume", "mask"]
    assert [row.diff_trans_f_norm for row in found.files] == [None, 5.0]
    assert found.files[1].dtype == "uint8"
    assert found.sample_id == "amos_0001"
    assert found.issues == ()


def test_equal_geometry_has_the_distance_zero(tmp_path: Path) -> None:
    volume = write(tmp_path, "imagesTr", header_of())
    mask = write(tmp_path, "labelsTr", header_of())
    assert check(volume, mask).files[1].diff_trans_f_norm == 0.0


def test_a_mask_without_volume_has_no_distance(tmp_path: Path) -> None:
    (row,) = check(None, write(tmp_path, "labelsTr", header_of())).files
    assert (row.kind, row.diff_trans_f_norm) == ("mask", None)


@pytest.mark.parametrize("kind", ["volume", "mask"])
def test_an_unreadable_header_gives_a_blank_row_and_an_error(tmp_path: Path, kind: str) -> None:
    good = write(tmp_path, "good", header_of())
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    bad = file_ref(tmp_path / "bad.nii.gz", "bad/amos_0001.nii.gz")
    found = check(bad, good) if kind == "volume" else check(good, bad)
    blank, other = found.files if kind == "volume" else found.files[::-1]
    assert blank.file_path == bad.path
    assert (blank.shape, blank.pixdim_mm, blank.dtype, blank.affine_json) == (None,) * 4
    assert (blank.orientation_from, blank.orientation_to) == (None, None)
    assert other.shape == SHAPE
    assert [row.diff_trans_f_norm for row in found.files] == [None, None]
    assert codes(found) == [(f"unreadable_{kind}", "error", "amos_0001", bad.path)]


@pytest.mark.parametrize(
    "pixdim", [[1, 0, 0.8, 5], [1, 0.9, 0.8, 5], [1, 5, 0.8, 0.8], [1, np.nan, 0.8, 5]]
)
def test_pixdim_zero_or_against_the_affine_is_a_warning(
    tmp_path: Path, pixdim: list[float]
) -> None:
    ref = write(tmp_path, "imagesTr", header_of(pixdim=[*pixdim, 1, 1, 1, 1], qform_code=0))
    found = check(ref)
    assert codes(found) == [("bad_spacing", "warning", "amos_0001", ref.path)]
    (row,) = found.files
    assert row.pixdim_mm is not None
    np.testing.assert_array_equal(np.float32(row.pixdim_mm), np.float32(pixdim[1:]))


@pytest.mark.parametrize(
    "fields",
    [
        {"srow_x": [np.nan, 0, 0, 0]},
        {"srow_x": [0, 0, 0, np.inf]},
        {"srow_x": [0, 0, 0, 0]},
        {"srow_x": [0, 0.8, 0, 0]},
    ],
    ids=["nan", "infinite", "zero", "parallel"],
)
def test_an_affine_that_is_not_finite_or_singular_is_an_error(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    ref = write(tmp_path, "imagesTr", header_of(**fields))
    found = check(ref)
    assert codes(found) == [("bad_affine", "error", "amos_0001", ref.path)]
    (row,) = found.files
    assert row.shape == SHAPE
    assert row.orientation_to is None
    if row.affine_json is not None:
        assert np.isfinite(np.array(json.loads(row.affine_json))).all()


def test_a_distance_that_is_no_number_is_blank(tmp_path: Path) -> None:
    volume = write(tmp_path, "imagesTr", header_of())
    mask = write(tmp_path, "labelsTr", header_of(srow_x=[np.nan, 0, 0, 0]))
    assert check(volume, mask).files[1].diff_trans_f_norm is None


def test_damaged_voxels_behind_a_good_header_are_not_looked_at(tmp_path: Path) -> None:
    header = header_of(shape=(100, 100, 100))
    noise = np.random.default_rng(0).bytes(2_000_000)
    content = gzip.compress(bytes(header.binaryblock) + bytes(4) + noise, 1)
    (tmp_path / "a.nii.gz").write_bytes(content[:-1000])
    found = check(file_ref(tmp_path / "a.nii.gz", "a.nii.gz"))
    assert found.files[0].shape == (100, 100, 100)
    assert found.issues == ()
