"""Scans of any stored type become float32 with one consistent geometry, judged by nibabel."""

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

from amos_dask.errors import UnreadableImageError
from amos_dask.file_refs import file_ref
from amos_dask.nifti import open_image, read_info
from amos_dask.steps.volume import SeenValues, check_values, convert_volume, written_info

Array = NDArray[Any]

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
LAS = from_matvec(np.diag([-0.8, 0.8, 5.0]), [100.1, -120.2, -300.3])
DTYPES = ["<u1", "<i1", "<i2", ">i2", "<u2", "<i4", ">u4", "<f4", ">f4", "<f8", ">f8", "<i8"]


def write(path: Path, stored: Array, slope: float = 1, inter: float = 0) -> Path:
    order = ">" if stored.dtype.byteorder == ">" else "<"
    header = Nifti1Header(endianness=order)
    header.set_data_dtype(stored.dtype.str[1:])
    header.set_data_shape(stored.shape)
    header.set_sform(LAS, 2)
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = slope, inter
    raw = bytes(header.binaryblock) + bytes(4) + stored.tobytes(order="F")
    path.write_bytes(gzip.compress(raw, 1))
    return path


def convert(source: Path, target: Path) -> bool:
    with open_image(file_ref(source, source.name)) as image:
        return convert_volume(image, target).all_finite


def expected_of(source: Path) -> Array:
    """Scaled in float64 by nibabel, then cast."""
    with np.errstate(over="ignore"):
        return nib.load(source).get_fdata(dtype=np.float64).astype(np.float32)


@quick
@given(
    data=st.data(),
    dtype=st.sampled_from(DTYPES),
    slope=st.sampled_from([0, 1, 1, 2, -0.5, 0.1, 1e-3]),
    inter=st.sampled_from([0, 0, -1024, 0.1]),
)
def test_a_written_volume_holds_nibabels_values_as_float32(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    dtype: str,
    slope: float,
    inter: float,
) -> None:
    base = tmp_path_factory.getbasetemp()
    kind = np.dtype(dtype)
    elements = st.floats(-1e6, 1e6, width=32) if kind.kind == "f" else None
    shape = hnp.array_shapes(min_dims=3, max_dims=3, max_side=4)
    stored = data.draw(hnp.arrays(kind, shape, elements=elements))
    source = write(base / "source.nii.gz", stored, slope, inter)
    assert convert(source, base / "volume.nii.gz")
    image = nib.load(base / "volume.nii.gz")
    found = np.asanyarray(image.dataobj)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected_of(source))
    np.testing.assert_array_equal(image.affine, nib.load(source).affine)
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 2


def test_large_mr_values_do_not_overflow(tmp_path: Path) -> None:
    stored = np.full((2, 3, 4), 186_452, "<i4")
    source = write(tmp_path / "source.nii.gz", stored)
    convert(source, tmp_path / "volume.nii.gz")
    assert (np.asanyarray(nib.load(tmp_path / "volume.nii.gz").dataobj) == 186_452).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_non_finite_voxel_is_kept_and_told(tmp_path: Path, value: float) -> None:
    stored = np.zeros((2, 3, 4), "<f4")
    stored[1, 0, 3] = value
    source = write(tmp_path / "source.nii.gz", stored)
    assert not convert(source, tmp_path / "volume.nii.gz")
    found = np.asanyarray(nib.load(tmp_path / "volume.nii.gz").dataobj)
    np.testing.assert_array_equal(found, stored)


@pytest.mark.parametrize(("slope", "value"), [(3e38, 30_000), (-3e38, 7)])
def test_a_voxel_that_float32_cannot_hold_is_told(tmp_path: Path, slope: float, value: int) -> None:
    source = write(tmp_path / "source.nii.gz", np.full((2, 3, 4), value, "<i2"), slope)
    assert not convert(source, tmp_path / "volume.nii.gz")


def test_a_volume_of_many_blocks_is_converted_in_order(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-1024, 3071, (101, 103, 60)).astype(">i2")
    source = write(tmp_path / "source.nii.gz", stored, 0.5, 3)
    assert convert(source, tmp_path / "volume.nii.gz")
    found = np.asanyarray(nib.load(tmp_path / "volume.nii.gz").dataobj)
    np.testing.assert_array_equal(found, expected_of(source))


def test_a_damaged_scan_raises(tmp_path: Path) -> None:
    source = write(tmp_path / "source.nii.gz", np.zeros((2, 3, 4), "<i2"))
    source.write_bytes(source.read_bytes()[:-3])
    with pytest.raises(UnreadableImageError):
        convert(source, tmp_path / "volume.nii.gz")


def test_what_is_announced_of_the_written_header_is_what_it_says(tmp_path: Path) -> None:
    source = write(tmp_path / "source.nii.gz", np.zeros((2, 3, 4, 1, 1), "<i2"), 2, 1)
    info = read_info(file_ref(source, source.name))
    announced = written_info(info)
    convert(source, tmp_path / "volume.nii.gz")
    written = read_info(file_ref(tmp_path / "volume.nii.gz", "volume.nii.gz"))
    for name in ("shape", "affine_code", "pixdim_mm", "dtype", "spacing_mm", "is_scaled"):
        assert getattr(announced, name) == getattr(written, name), name
    np.testing.assert_array_equal(announced.affine, written.affine)
    assert nib.load(tmp_path / "volume.nii.gz").shape == (2, 3, 4)


def test_float64_arithmetic_comes_before_the_cast(tmp_path: Path) -> None:
    stored = np.full((2, 3, 4), 16_777_217, "<i4")  # not a float32
    source = write(tmp_path / "source.nii.gz", stored, 1, -16_777_216)
    convert(source, tmp_path / "volume.nii.gz")
    assert (np.asanyarray(nib.load(tmp_path / "volume.nii.gz").dataobj) == 1).all()


@pytest.mark.parametrize("dtype", ["<i2", "<u2", "<i8"])
@pytest.mark.parametrize(("slope", "inter"), [(1e30, 0), (-1e36, 5), (3e38, 3e38), (1, 3e38)])
def test_finite_is_told_of_the_voxels_whatever_the_header_would_allow(
    tmp_path: Path, dtype: str, slope: float, inter: float
) -> None:
    limits = np.iinfo(dtype)
    stored = np.array([0, 1, limits.min, limits.max], dtype).reshape(4, 1, 1)
    for part in (stored, stored[:2]):
        source = write(tmp_path / "source.nii.gz", part, slope, inter)
        expected = bool(np.isfinite(expected_of(source)).all())
        assert convert(source, tmp_path / "volume.nii.gz") == expected


# ---------------------------------------------------------------- values of one kind


def seen(folder: Path, stored: Array) -> SeenValues:
    source = write(folder / "source.nii.gz", stored)
    with open_image(file_ref(source, source.name)) as image:
        return convert_volume(image, folder / "volume.nii.gz")


@quick
@given(
    shape=hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
    kinds=st.lists(st.sampled_from([None, 0, 0, 7]), min_size=5, max_size=5),
)
def test_slices_of_one_value_at_the_ends_are_counted(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], kinds: list[int | None]
) -> None:
    stored = np.random.default_rng(0).integers(0, 9, shape).astype("<i2")
    for z in range(shape[2]):
        if (kind := kinds[z]) is not None:
            stored[:, :, z] = kind
    flat = [bool((stored[:, :, z] == stored[0, 0, z]).all()) for z in range(shape[2])]
    found = seen(tmp_path_factory.getbasetemp(), stored)
    assert found.n_first == (flat.index(False) if False in flat else len(flat))
    assert found.n_last == (flat[::-1].index(False) if False in flat else len(flat))
    assert found.is_constant == bool((stored == stored[0, 0, 0]).all())


def test_slices_longer_and_shorter_than_blocks_are_seen_whole(tmp_path: Path) -> None:
    stored = np.zeros((700, 600, 3), "<i2")  # a slice is more than a block
    stored[699, 599, 1] = 1
    assert seen(tmp_path, stored)[1:] == (False, 1, 1)
    stored[:] = 0
    assert seen(tmp_path, stored)[1:] == (True, 3, 3)
    stored[0, 1, 2] = 1
    assert seen(tmp_path, stored)[1:] == (False, 2, 0)
    short = np.zeros((3, 2, 90_000), "<i2").clip(0)[:, :, :30_000]
    short[2, 1, 29_990] = 5
    assert seen(tmp_path, np.asfortranarray(short))[1:] == (False, 29_990, 9)


def test_what_is_odd_about_values_is_said() -> None:
    told = dict(check_values(SeenValues(False, False, 1, 12)))
    assert list(told) == ["non_finite_voxels", "empty_slices"]
    assert "the first slice and the last 12 slices" in told["empty_slices"]
    assert [code for code, _ in check_values(SeenValues(True, True, 9, 9))] == ["constant_volume"]
    assert list(check_values(SeenValues(True, False, 0, 0))) == []
