"""Voxels are told apart, or found to be the same, whatever the headers around them say."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from amos_dask.file_refs import file_ref
from amos_dask.leaks import (
    Volume,
    checksum_voxels,
    digest_voxels,
    tell_checksum,
    voxel_crc32,
    voxel_sha256,
)
from amos_dask.nifti import make_header, open_image, told_voxel_crc32, write_image
from amos_dask.root.staging import gzip_trailer

SHAPE = (5, 4, 3)
AFFINES = [np.diag([-0.7, 0.7, 5.0, 1.0]), np.diag([1.5, 1.5, 2.0, 1.0])]


def scan(seed: int = 0) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    return np.asfortranarray(values)


def written(
    path: Path, array: NDArray[Any], affine: NDArray[np.float64] = AFFINES[0], text: str = ""
) -> Path:
    shape = (array.shape[0], array.shape[1], array.shape[2])
    write_image(path, make_header(shape, np.float32, affine, 1, text), array)
    return path


def told(path: Path) -> int | None:
    with open_image(file_ref(path, path.name)) as image:
        return told_voxel_crc32(image, bytes.fromhex(gzip_trailer(path)))


def ask(function: Any, path: Path) -> str:
    result = function(Volume("amos_0001", path, path.name))
    assert result.issues == ()
    return str(result.value)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 4, 3), (64, 64, 65), (128, 128, 17)])
def test_the_end_of_a_file_tells_the_checksum_of_its_voxels(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    array = np.asfortranarray(np.random.default_rng(1).normal(size=shape).astype(np.float32))
    path = written(tmp_path / "a.nii.gz", array)
    assert told(path) == zlib.crc32(array.tobytes(order="F"))
    with open_image(file_ref(path, path.name)) as image:
        assert voxel_crc32(image) == told(path)


def test_the_header_does_not_matter(tmp_path: Path) -> None:
    one = written(tmp_path / "a.nii.gz", scan())
    other = written(tmp_path / "b.nii.gz", scan(), AFFINES[1], "another")
    assert gzip_trailer(one) != gzip_trailer(other)
    for function in (checksum_voxels, digest_voxels):
        assert ask(function, one) == ask(function, other)


def test_the_smallest_difference_of_one_voxel_matters(tmp_path: Path) -> None:
    array = scan()
    changed = array.copy(order="F")
    changed[0, 0, 0] = np.nextafter(changed[0, 0, 0], np.float32(9))
    one, other = written(tmp_path / "a.nii.gz", array), written(tmp_path / "b.nii.gz", changed)
    for function in (checksum_voxels, digest_voxels):
        assert ask(function, one) != ask(function, other)


def test_the_same_bytes_in_another_shape_or_type_are_other_voxels(tmp_path: Path) -> None:
    one = written(tmp_path / "a.nii.gz", scan())
    other = written(tmp_path / "b.nii.gz", scan().reshape((4, 5, 3), order="F"))
    third = tmp_path / "c.nii.gz"
    nib.save(nib.Nifti1Image(scan().view(np.int32), AFFINES[0]), third)
    for function in (checksum_voxels, digest_voxels):
        assert len({ask(function, path) for path in (one, other, third)}) == 3


# ---------------------------------------------------------------- files of others


def repacked(path: Path, how: str) -> Path:
    """Pack a file again in a way that its end does not tell the voxels' checksum."""
    content = gzip.decompress(path.read_bytes())
    other = path.with_name(f"{how}.nii.gz")
    if how == "two members":
        other.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    elif how == "zeros behind":
        other.write_bytes(gzip.compress(content) + bytes(64))
    elif how == "bytes behind the voxels":
        other.write_bytes(gzip.compress(content + b"more"))
    elif how == "voxels far behind":
        header = content[:108] + struct.pack("<f", 2048.0) + content[112:352]
        other.write_bytes(gzip.compress(header + bytes(2048 - 352) + content[352:]))
    else:
        nib.save(nib.Nifti1Image(scan().astype(">f4"), AFFINES[0]), other)
    return other


@pytest.mark.parametrize(
    "how",
    ["two members", "zeros behind", "bytes behind the voxels", "voxels far behind", "big-endian"],
)
def test_a_file_that_others_packed_has_the_same_voxels(tmp_path: Path, how: str) -> None:
    path = written(tmp_path / "a.nii.gz", scan())
    other = repacked(path, how)
    assert told(other) in (None, told(path))
    for function in (checksum_voxels, digest_voxels):
        assert ask(function, other) == ask(function, path)


def test_the_end_of_our_own_files_tells_what_unpacking_does(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii.gz", scan())
    told = tell_checksum(Volume("amos_0001", path, path.name))
    assert told == ask(checksum_voxels, path)


@pytest.mark.parametrize("function", [checksum_voxels, digest_voxels])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "folder", "text"])
def test_a_file_that_cannot_be_read_is_an_issue(tmp_path: Path, function: Any, damage: str) -> None:
    path = written(tmp_path / "a.nii.gz", scan())
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        half = content[: len(content) // 2]
        path.write_bytes({"empty": b"", "cut": half, "text": b"<html>"}[damage])
    result = function(Volume("amos_0001", path, "grouped/a.nii.gz"))
    assert result.value is None
    (issue,) = result.issues
    assert (issue.code, issue.sample) == ("unreadable_volume", "amos_0001")
    assert issue.file == "grouped/a.nii.gz"


def test_the_digest_is_that_of_the_voxels_bytes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii.gz", scan())
    with open_image(file_ref(path, path.name)) as image:
        assert voxel_sha256(image) == hashlib.sha256(scan().tobytes(order="F")).hexdigest()
