"""Masks of any stored type become uint8 on their scan's geometry."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nibabel.affines import from_matvec
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from amos_dask.errors import BadMaskError, UnreadableImageError
from amos_dask.file_refs import file_ref
from amos_dask.issues import Issue
from amos_dask.nifti import ImageInfo, open_image, parse_header
from amos_dask.steps.mask import check_affine, check_pair, read_mask

Array = NDArray[Any]

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
LAS = from_matvec(np.diag([-0.8, 0.8, 5.0]), [100, -120, -300])
DTYPES = ["<u1", "<i1", "<i2", ">i2", "<u2", "<i4", ">i4", "<f4", ">f4", "<f8", ">f8", "<i8"]


def header_of(
    shape: tuple[int, ...] = (2, 3, 4),
    dtype: str = "<u1",
    affine: NDArray[np.float64] = LAS,
    slope: float = 1,
    inter: float = 0,
) -> Nifti1Header:
    header = Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(dtype[1:])
    header.set_data_shape(shape)
    header.set_sform(affine, 1)
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = slope, inter
    return header


def write(folder: Path, stored: Array, **scaling: float) -> Path:
    order = "<" if stored.dtype.byteorder in "=|" else stored.dtype.byteorder
    header = header_of(stored.shape, order + stored.dtype.str[1:], **scaling)
    raw = bytes(header.binaryblock) + bytes(4) + stored.tobytes(order="F")
    path = folder / "mask.nii.gz"
    path.write_bytes(gzip.compress(raw, 1))
    return path


def read(path: Path) -> NDArray[np.uint8]:
    with open_image(file_ref(path, path.name)) as image:
        return read_mask(image).labels


def refusal(path: Path) -> BadMaskError:
    with pytest.raises(BadMaskError) as caught:
        read(path)
    assert caught.value.code == "bad_mask_values"
    return caught.value


@quick
@given(
    labels=hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.integers(0, 127)
    ),
    dtype=st.sampled_from(DTYPES),
)
def test_whole_numbers_of_any_type_become_the_same_labels(
    tmp_path_factory: pytest.TempPathFactory, labels: Array, dtype: str
) -> None:
    path = write(tmp_path_factory.getbasetemp(), labels.astype(dtype))
    found = read(path)
    np.testing.assert_array_equal(found, labels, strict=True)
    np.testing.assert_array_equal(found, np.asanyarray(nib.load(path).dataobj))
    assert found.flags.f_contiguous


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name != "<i1"])
def test_all_of_0_to_255_are_labels(tmp_path: Path, dtype: str) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    np.testing.assert_array_equal(read(write(tmp_path, labels.astype(dtype))), labels)


def test_a_mask_larger_than_a_block_is_put_together(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 17, (90, 80, 70)).astype("<i4")
    np.testing.assert_array_equal(read(write(tmp_path, labels)), labels)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("<i2", 256),
        ("<i2", -1),
        ("<i1", -1),
        ("<u2", 65535),
        ("<i4", 1 << 24),
        ("<f4", 0.5),
        ("<f8", -0.25),
        ("<f8", np.nan),
        ("<f8", np.inf),
        ("<f8", -np.inf),
        ("<f8", 1e300),
        ("<f8", 255.5),
        (">f4", 256.0),
    ],
)
def test_any_other_value_refuses_the_mask(tmp_path: Path, dtype: str, value: float) -> None:
    stored = np.zeros((2, 3, 4), dtype)
    stored[1, 2, 3] = value
    assert "1 voxel" in str(refusal(write(tmp_path, stored)))


def test_minus_zero_is_background(tmp_path: Path) -> None:
    assert not read(write(tmp_path, np.full((2, 3, 4), -0.0, "<f8"))).any()


def test_values_are_judged_after_scaling(tmp_path: Path) -> None:
    stored = np.arange(24, dtype="<i2").reshape(2, 3, 4) * 2 - 10
    path = write(tmp_path, stored, slope=0.5, inter=5)
    np.testing.assert_array_equal(read(path), np.asanyarray(nib.load(path).dataobj))
    np.testing.assert_array_equal(read(path).ravel(), np.arange(24))
    refusal(write(tmp_path, stored, slope=0.25, inter=5))
    refusal(write(tmp_path, stored, slope=20, inter=200))


def test_a_damaged_mask_is_not_a_bad_mask(tmp_path: Path) -> None:
    path = write(tmp_path, np.zeros((2, 3, 4), "<u1"))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UnreadableImageError):
        read(path)


# ---------------------------------------------------------------- values near whole numbers


def rounding(path: Path) -> tuple[Array, list[tuple[str, str]]]:
    with open_image(file_ref(path, path.name)) as image:
        found = read_mask(image)
    return found.labels, [(i.code, i.severity) for i in found.check("amos_0001", path.name)]


@quick
@given(
    labels=hnp.arrays(np.uint8, (2, 3, 4)),
    dtype=st.sampled_from(["<f4", ">f4", "<f8"]),
    off=st.floats(-0.05, 0.05),
)
def test_values_near_whole_numbers_are_rounded(
    tmp_path_factory: pytest.TempPathFactory, labels: Array, dtype: str, off: float
) -> None:
    stored = labels.astype(dtype)
    stored[1, 2, 3] = labels[1, 2, 3] + np.float64(off)
    found, told = rounding(write(tmp_path_factory.getbasetemp(), stored))
    np.testing.assert_array_equal(found, labels)
    deviation = abs(float(stored[1, 2, 3]) - float(labels[1, 2, 3]))
    severity = "warning" if deviation >= 1e-3 else "info"
    assert told == [("labels_rounded", severity)] * (deviation > 0)


@pytest.mark.parametrize("value", [0.0501, 0.06, 1.5, -0.06, 255.06, 41.9])
def test_one_value_that_is_not_near_refuses_the_mask(tmp_path: Path, value: float) -> None:
    stored = np.full((2, 3, 4), 0.9999, "<f8")
    stored[0, 0, 0] = value
    message = str(refusal(write(tmp_path, stored)))
    assert "1 voxel" in message
    assert f"{value:g}" in message


def test_nibabels_own_scaling_on_saving_is_rounded(tmp_path: Path) -> None:
    labels = np.arange(17, dtype=np.uint8).repeat(8).reshape(2, 4, 17, order="F")
    for dtype in (np.uint8, np.int16):
        image = nib.Nifti1Image(labels.astype(float), LAS)
        image.set_data_dtype(dtype)
        nib.save(image, tmp_path / "mask.nii.gz")
        found, told = rounding(tmp_path / "mask.nii.gz")
        np.testing.assert_array_equal(found, labels)
        assert [code for code, _ in told] == ["labels_rounded"]


def test_the_largest_deviation_is_told(tmp_path: Path) -> None:
    stored = np.arange(24, dtype="<f8").reshape(2, 3, 4)
    stored[0, 0, 0], stored[1, 0, 0] = 0.0118, 11.999
    with open_image(file_ref(write(tmp_path, stored), "a.nii.gz")) as image:
        (issue,) = read_mask(image).check("amos_0001", "a")
    assert "2 values" in issue.message
    assert "0.0118" in issue.message


@pytest.mark.parametrize("n", [1, 3, 5, 9])
def test_at_most_five_bad_values_are_shown(tmp_path: Path, n: int) -> None:
    stored = np.zeros((10, 10, 700), "<f4")  # of several blocks
    for i in range(n):
        stored[i, :, ::69] = i + 0.25
    message = str(refusal(write(tmp_path, stored)))
    assert [f"{i + 0.25}" in message for i in range(n)] == [i < 5 for i in range(n)]
    assert f"{n * 110} voxels" in message


def test_nan_is_shown_once(tmp_path: Path) -> None:
    message = str(refusal(write(tmp_path, np.full((2, 3, 4), np.nan, "<f4"))))
    assert message.endswith("such as nan")


# ---------------------------------------------------------------- values listed for labels


def read_listed(path: Path, label_values: dict[int, int]) -> Array:
    with open_image(file_ref(path, path.name)) as image:
        return read_mask(image, label_values).labels


@quick
@given(
    label_values=st.dictionaries(st.integers(-300, 900), st.integers(0, 255), max_size=6),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
def test_listed_values_are_their_labels_and_all_others_stand_for_themselves(
    tmp_path_factory: pytest.TempPathFactory,
    label_values: dict[int, int],
    dtype: str,
    data: st.DataObject,
) -> None:
    def label_of(value: int) -> int | None:
        if value in label_values or value == 0:
            return label_values.get(value, 0)
        return value if 0 < value < 256 and value not in label_values.values() else None

    kind = np.dtype(dtype)
    limits = np.iinfo(kind) if kind.kind in "iu" else None
    values = sorted({*label_values, *label_values.values(), 0, 1, 2, 255, 256})
    values = [v for v in values if limits is None or limits.min <= v <= limits.max]
    drawn = data.draw(st.lists(st.sampled_from(values), min_size=24, max_size=24))
    path = write(tmp_path_factory.getbasetemp(), np.array(drawn, dtype).reshape(2, 3, 4))
    expected = [label_of(value) for value in drawn]
    if None not in expected:
        found = read_listed(path, label_values)
        np.testing.assert_array_equal(found.ravel(), np.array(expected, np.uint8), strict=True)
        return
    with pytest.raises(BadMaskError) as caught:
        read_listed(path, label_values)
    bad = sorted({v for v, label in zip(drawn, expected, strict=True) if label is None})
    assert caught.value.code == "bad_mask_values"
    assert caught.value.message.startswith(f"{expected.count(None)} voxels ")
    assert caught.value.message.endswith(f"such as {', '.join(map(str, bad[:5]))}")


def test_values_near_listed_ones_are_rounded_after_scaling(tmp_path: Path) -> None:
    stored = np.array([0, 205, 500, 207], "<i2").repeat(6).reshape(2, 3, 4, order="F")
    path = write(tmp_path, stored, slope=0.9999)
    with open_image(file_ref(path, path.name)) as image:
        found = read_mask(image, {205: 1, 500: 2, 207: 200})
    np.testing.assert_array_equal(found.labels.ravel("F"), np.repeat([0, 1, 2, 200], 6))
    assert found.n_rounded == 18
    assert found.deviation == pytest.approx(0.05, rel=1e-3)
    with pytest.raises(BadMaskError, match=r"6 voxels are of no label, such as 206\.9793"):
        read_listed(path, {205: 1, 500: 2, 0: 207})


# ---------------------------------------------------------------- geometry of the pair


def info_of(
    affine: NDArray[np.float64] = LAS, shape: tuple[int, int, int] = (2, 3, 4)
) -> ImageInfo:
    return parse_header(bytes(header_of(shape, affine=affine).binaryblock))


def moved(distance: float) -> NDArray[np.float64]:
    affine = LAS.copy()
    affine[2, 3] = LAS[2, 3] + distance
    return affine


def compare(mask: ImageInfo) -> list[Issue]:
    assert check_pair(info_of(), mask) is None  # not its scan's grid turned over
    return check_affine(info_of(), mask, "amos_0001", "labelsTr/a.nii.gz")


def codes(mask: ImageInfo) -> list[tuple[str, str]]:
    found = compare(mask)
    assert {(i.sample, i.file) for i in found} <= {("amos_0001", "labelsTr/a.nii.gz")}
    return [(issue.code, issue.severity) for issue in found]


def test_equal_geometry_is_no_issue() -> None:
    assert codes(info_of()) == []


def test_an_affine_counts_as_different_only_above_the_norm() -> None:
    turned = LAS.copy()
    turned[0, 1] += 0.9e-4
    assert codes(info_of(turned)) == []
    turned[0, 1] = 1.1e-4
    assert codes(info_of(turned)) == [("affine_repaired", "info")]


def test_a_repaired_affine_tells_its_norm() -> None:
    (issue,) = compare(info_of(moved(2.5)))
    assert (issue.code, issue.severity) == ("affine_repaired", "info")
    assert "2.5" in issue.message


def test_other_axis_codes_make_the_repair_a_warning() -> None:
    flipped = LAS @ np.diag([-1.0, 1.0, 1.0, 1.0])
    (issue,) = compare(info_of(flipped))
    assert (issue.code, issue.severity) == ("affine_repaired", "warning")
    assert "RAS" in issue.message
    assert "LAS" in issue.message


@pytest.mark.parametrize("shape", [(3, 2, 4), (2, 3, 5), (4, 3, 2)])
def test_another_shape_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(BadMaskError) as caught:
        check_pair(info_of(), info_of(shape=shape))
    assert caught.value.code == "shape_mismatch"
    for sizes in (shape, (2, 3, 4)):
        assert str(sizes) in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_unusable_affine_is_refused(value: float) -> None:
    affine = LAS.copy()
    affine[0, 0] = value
    with pytest.raises(BadMaskError) as caught:
        check_pair(info_of(), info_of(affine))
    assert caught.value.code == "bad_affine"


def test_a_turned_grid_is_found_whatever_its_shape() -> None:
    order = np.eye(4)[[2, 0, 1, 3]]
    assert check_pair(info_of(), info_of(LAS @ order.T, (4, 2, 3))) is not None
    with pytest.raises(BadMaskError, match="shape"):  # its turned grid has another shape
        check_pair(info_of(), info_of(LAS @ order.T, (4, 3, 2)))
    flip = np.diag([1.0, -1, 1, 1])
    flip[1, 3] = 2
    assert check_pair(info_of(), info_of(LAS @ flip)) is not None
    flip[1, 3] = 3  # one voxel further
    assert check_pair(info_of(), info_of(LAS @ flip)) is None
