"""Checksums of an image's voxels alone, whatever its header says."""

from __future__ import annotations

import hashlib
import struct
import zlib

import numpy as np
from isal import isal_zlib

from amos_dask.nifti.read import ImageReader

_TRAILER = struct.Struct("<II")
_MODULUS = 1 << 32  # of the length in a gzip trailer


def told_voxel_crc32(image: ImageReader, trailer: bytes) -> int | None:
    """Return the CRC-32 of the voxels from that of the whole file, without unpacking them.

    A gzip file ends with checksum and length of its content, header and voxels together; the
    header's own part in the checksum can be taken out again.

    Parameters
    ----------
    image : ImageReader
        The opened image, of which nothing has been read yet.
    trailer : bytes
        The last eight bytes of its file.

    Returns
    -------
    int or None
        None where that cannot be told: bytes follow the image, it is packed in several pieces, or
        its voxels are not stored as this machine would hold them.
    """
    info = image.info
    is_native = info.stored_dtype == info.stored_dtype.newbyteorder("=")
    if len(trailer) != _TRAILER.size or image.preamble is None or not is_native:
        return None
    crc32, length = _TRAILER.unpack(trailer)
    if length != (info.data_offset + info.n_bytes) % _MODULUS:
        return None
    preamble = isal_zlib.crc32(image.preamble)
    return int(crc32 ^ isal_zlib.crc32_combine(preamble, 0, info.n_bytes))


def voxel_crc32(image: ImageReader) -> int:
    """Return the CRC-32 of the voxels by unpacking them.

    Raises
    ------
    UnreadableImageError
        When the file is damaged or ends early.
    """
    crc32 = 0
    for voxels in image.chunks():
        crc32 = zlib.crc32(voxels.view(np.uint8).data, crc32)
    return crc32


def voxel_sha256(image: ImageReader) -> str:
    """Return the SHA-256 of the voxels by unpacking them, as hex.

    Raises
    ------
    UnreadableImageError
        When the file is damaged or ends early.
    """
    digest = hashlib.sha256()
    for voxels in image.chunks():
        digest.update(voxels.view(np.uint8).data)
    return digest.hexdigest()
