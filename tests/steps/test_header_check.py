"""What the header check says about a scan and its mask, with nibabel as the judge."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray
from samples import amos_sample

from amos_dask import geometry
from amos_dask.file_refs import FileRef, file_ref
from amos_dask.nifti import parse_header
from amos_dask.records import HeaderCheck, Metadata
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
    return check_headers(amos_sample("0001", "train", "ct", "UND", Metadata(), volume, mask))


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


# ---------------------------------------------------------------- units


OBLIQUE = from_matvec(euler2mat(0.2, -0.1, 0.3) @ np.diag([-0.7, 0.9, 3.0]), [100, -20, 3])
PER_MM = {"micron": 1e3, "meter": 1e-3}


def scaled(affine: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    found = affine.copy()
    found[:3] *= factor
    return found


@pytest.mark.parametrize("affine", [LAS, OBLIQUE], ids=["LAS", "oblique"])
@pytest.mark.parametrize("units", PER_MM)
@pytest.mark.parametrize("forms", [{}, {"sform_code": 0}, {"qform_code": 0}], ids=str)
def test_lengths_in_micron_and_metre_become_mm(
    tmp_path: Path, affine: NDArray[np.float64], units: str, forms: dict[str, int]
) -> None:
    header = header_of(scaled(affine, PER_MM[units]), **forms)
    header.set_xyzt_units(units)
    ref = write(tmp_path, "imagesTr", header)
    found = check(ref)
    assert codes(found) == [("units_converted", "info", "amos_0001", ref.path)]
    (row,) = found.files
    assert row.pixdim_mm is not None
    assert row.affine_json is not None
    np.testing.assert_allclose(row.pixdim_mm, np.sqrt((affine[:3, :3] ** 2).sum(0)), rtol=1e-6)
    np.testing.assert_allclose(json.loads(row.affine_json), affine, atol=2e-3, rtol=0)
    assert (
        row.orientation_to
        == check(write(tmp_path, "mm", header_of(affine))).files[0].orientation_to
    )


@pytest.mark.parametrize("units", PER_MM)
def test_decimals_stay_as_they_were_meant(tmp_path: Path, units: str) -> None:
    header = header_of(scaled(LAS, PER_MM[units]))
    header.set_xyzt_units(units)
    (row,) = check(write(tmp_path, "imagesTr", header)).files
    assert row.pixdim_mm is not None
    assert [float(np.float32(size)) for size in row.pixdim_mm] == np.float32([0.8, 0.8, 5]).tolist()


@pytest.mark.parametrize("units", PER_MM)
def test_units_that_lead_away_from_any_scan_are_not_believed(tmp_path: Path, units: str) -> None:
    header = header_of(LAS)
    header.set_xyzt_units(units)
    ref = write(tmp_path, "imagesTr", header)
    found = check(ref)
    assert codes(found) == [("units_implausible", "warning", "amos_0001", ref.path)]
    (row,) = found.files
    assert row.affine_json is not None
    np.testing.assert_allclose(json.loads(row.affine_json), LAS, rtol=1e-6)


@pytest.mark.parametrize(
    ("units", "size", "in_mm"),
    [
        ("micron", 20.0, 0.02),
        ("micron", 9.9, 9.9),  # 0.0099 mm are too small, 9.9 are not
        ("micron", 5.0, 5.0),
        ("micron", 1e6, 1e3),  # both are too large
        ("meter", 0.09, 90.0),
        ("meter", 0.2, 0.2),  # 200 mm are too large
        ("meter", 1e-6, 1e-3),  # both are too small
    ],
)
def test_the_bounds_of_belief(tmp_path: Path, units: str, size: float, in_mm: float) -> None:
    header = header_of(from_matvec(np.eye(3) * size))
    header.set_xyzt_units(units)
    found = check(write(tmp_path, "imagesTr", header))
    (row,) = found.files
    np.testing.assert_allclose(row.pixdim_mm or (), [in_mm] * 3, rtol=1e-6)
    expected = "units_converted" if in_mm != size else "units_implausible"
    assert expected in [issue.code for issue in found.issues]


@pytest.mark.parametrize("code", [0, 2, 4, 7, 8 + 2, 16])  # unknown, mm, no unit of space, and time
def test_any_other_unit_is_mm(tmp_path: Path, code: int) -> None:
    assert check(write(tmp_path, "imagesTr", header_of(xyzt_units=code))).issues == ()


# ---------------------------------------------------------------- two forms


def contradictory(
    sform: NDArray[np.float64], qform: NDArray[np.float64], **fields: Any
) -> Nifti1Header:
    header = header_of(qform, **fields)
    header.set_sform(sform, 2)
    return header


@pytest.mark.parametrize("axis", range(3))
def test_forms_that_mirror_each_other_disagree(tmp_path: Path, axis: int) -> None:
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, SHAPE[axis] - 1
    ref = write(tmp_path, "imagesTr", contradictory(LAS @ flip, LAS))
    found = check(ref)
    assert codes(found) == [("forms_disagree", "warning", "amos_0001", ref.path)]
    message = found.issues[0].message
    for affine in (LAS, LAS @ flip):
        assert "".join(nib.aff2axcodes(affine)) in message
        assert ", ".join(f"{place:.6g}" for place in affine[:3, 3]) in message
    assert message.count("0.8 x 0.8 x 5 mm") == 2
    assert found.files[0].affine_json is not None
    np.testing.assert_allclose(json.loads(found.files[0].affine_json), LAS @ flip, rtol=1e-6)


@pytest.mark.parametrize(("share", "disagree"), [(0.0019, False), (0.0021, True)])
def test_forms_may_be_apart_by_so_much_of_the_diagonal(
    tmp_path: Path, share: float, disagree: bool
) -> None:
    diagonal = float(np.linalg.norm(np.array([0.8, 0.8, 5]) * SHAPE))
    moved = LAS.copy()
    moved[1, 3] += share * diagonal
    found = check(write(tmp_path, "imagesTr", contradictory(moved, LAS)))
    assert [issue.code for issue in found.issues] == ["forms_disagree"] * disagree


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, 1)])
@pytest.mark.parametrize("qform", [LAS, OBLIQUE], ids=["LAS", "oblique"])
def test_a_placeholder_gives_way_to_the_qform(
    tmp_path: Path, signs: tuple[int, int, int], qform: NDArray[np.float64]
) -> None:
    ref = write(tmp_path, "imagesTr", contradictory(np.diag([*signs, 1.0]), qform))
    found = check(ref)
    assert codes(found) == [("forms_disagree", "warning", "amos_0001", ref.path)]
    assert "qform" in found.issues[0].action
    assert found.files[0].affine_json is not None
    np.testing.assert_allclose(json.loads(found.files[0].affine_json), qform, atol=1e-4)


def test_voxels_of_1_mm_are_no_placeholder(tmp_path: Path) -> None:
    turned = from_matvec(euler2mat(0.3), [1, 2, 3])
    found = check(write(tmp_path, "imagesTr", contradictory(np.eye(4), turned)))
    assert [issue.code for issue in found.issues] == ["forms_disagree"]
    assert "sform" in found.issues[0].action


def test_a_qform_that_is_none_is_said_too(tmp_path: Path) -> None:
    found = check(write(tmp_path, "imagesTr", header_of(quatern_b=2)))
    assert [issue.code for issue in found.issues] == ["forms_disagree"]
    assert "nothing that can be used" in found.issues[0].message


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    angles=st.tuples(
        *[st.one_of(st.floats(-3.2, 3.2), st.sampled_from([0, np.pi, np.pi / 2]))] * 3
    ),
    sign=st.sampled_from([-1, 1]),
    zooms=st.tuples(*[st.floats(0.2, 9)] * 3),
    origin=st.tuples(*[st.floats(-900, 900)] * 3),
    shape=st.sampled_from([(512, 512, 120), (1024, 1024, 48), (2, 3, 1), (90, 80, 300)]),
)
def test_one_affine_in_both_forms_never_disagrees(
    angles: tuple[float, ...],
    sign: int,
    zooms: tuple[float, ...],
    origin: tuple[float, ...],
    shape: tuple[int, ...],
) -> None:
    matrix = euler2mat(*angles) @ np.diag([sign, 1, 1]) @ np.diag(zooms)
    header = header_of(from_matvec(matrix, origin), shape=shape)
    info = parse_header(bytes(header.binaryblock))
    assert info.other_affine is not None
    apart, diagonal = geometry.farthest_apart(info.affine, info.other_affine, info.shape)
    assert apart <= 0.0015 * diagonal


# ---------------------------------------------------------------- spacing, right angles


@pytest.mark.parametrize(("size", "is_odd"), [(0.09, 1), (0.1, 0), (10, 0), (10.1, 1), (250, 1)])
@pytest.mark.parametrize("axis", range(3))
def test_spacing_of_no_scan_is_a_warning(
    tmp_path: Path, axis: int, size: float, is_odd: int
) -> None:
    sizes = np.ones(3)
    sizes[axis] = size
    ref = write(tmp_path, "imagesTr", header_of(from_matvec(np.diag(sizes))))
    expected = [("implausible_spacing", "warning", "amos_0001", ref.path)] * is_odd
    assert codes(check(ref)) == expected


@pytest.mark.parametrize(("forms", "told"), [({"qform_code": 0}, "refuse"), ({}, "by its qform")])
def test_axes_off_right_angles_are_told(tmp_path: Path, forms: dict[str, int], told: str) -> None:
    skewed = LAS.copy()
    skewed[0, 1] = 0.0008  # 1e-3 of the second column
    ref = write(tmp_path, "imagesTr", header_of(skewed, **forms))
    found = check(ref)
    assert codes(found) == [("not_orthonormal", "info", "amos_0001", ref.path)]
    assert told in found.issues[0].message
    skewed[0, 1] = 0.00007
    assert check(write(tmp_path, "imagesTr", header_of(skewed, **forms))).issues == ()


# ---------------------------------------------------------------- any bytes


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    fields=st.dictionaries(
        st.sampled_from([*range(76, 92, 4), *range(256, 328, 4)]),  # pixdim, quaternion, sform
        st.one_of(st.binary(min_size=4, max_size=4), st.sampled_from([b"\0\0\x80\x7f", bytes(4)])),
        max_size=5,
    ),
    units=st.integers(0, 255),
)
def test_no_bytes_of_a_header_take_us_by_surprise(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[int, bytes], units: int
) -> None:
    block = bytearray(bytes(header_of(xyzt_units=units).binaryblock))
    for place, content in fields.items():
        block[place : place + 4] = content
    path = tmp_path_factory.getbasetemp() / "any.nii.gz"
    path.write_bytes(gzip.compress(bytes(block) + bytes(4 + 24 * 2), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = check(file_ref(path, "imagesTr/amos_0001.nii.gz"))
    assert all("\n" not in issue.message for issue in found.issues)
    assert {issue.severity for issue in found.issues if issue.code == "bad_affine"} <= {"error"}
