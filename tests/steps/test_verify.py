"""Verify: lengths modulo 2**32, and unpacking to the end."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from amos_dask.archive.listing import file_ref
from amos_dask.errors import UnreadableImageError
from amos_dask.nifti import ImageInfo, make_header, open_image, parse_header
from amos_dask.records import FileRef
from amos_dask.verification.unpacking import is_told_length, unpack

SHAPE = (5, 4, 3)
HEADER = make_header(SHAPE, np.float32, np.eye(4), 1)
PLAIN = HEADER + bytes(4 * 60)


def info() -> ImageInfo:
    return parse_header(HEADER)


def test_the_length_is_header_and_voxels() -> None:
    assert is_told_length(info(), len(PLAIN))
    assert not is_told_length(info(), len(PLAIN) - 1)
    assert not is_told_length(info(), 0)


def test_nothing_told_is_nothing_wrong() -> None:
    assert is_told_length(info(), None)


@pytest.mark.parametrize("shape", [(2048, 2048, 256), (2048, 2048, 257)])
def test_gzip_counts_modulo_4_gib(shape: tuple[int, int, int]) -> None:
    large = replace(info(), shape=shape)
    assert large.data_offset + large.n_bytes > 1 << 32
    assert is_told_length(large, (large.data_offset + large.n_bytes) % (1 << 32))
    assert not is_told_length(large, (large.data_offset + large.n_bytes + 1) % (1 << 32))


def a_file(folder: Path, content: bytes) -> FileRef:
    path = folder / "image.nii.gz"
    path.write_bytes(content)
    return file_ref(path, path.name)


def test_a_sound_image_is_unpacked_to_its_end(tmp_path: Path) -> None:
    with open_image(a_file(tmp_path, gzip.compress(PLAIN) + b"garbage")) as image:
        unpack(image)
    assert image.has_trailing_bytes


def test_a_wrong_checksum_is_met_at_the_end(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(PLAIN))
    content[-8] ^= 1
    ref = a_file(tmp_path, bytes(content))
    with pytest.raises(UnreadableImageError, match="damaged"), open_image(ref) as image:
        unpack(image)
