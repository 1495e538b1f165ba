"""Writing an image as a stream; the same content gives the same bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from amos_dask.kernels.voxelwise import count_labels
from amos_dask.nifti.header import ImageInfo, make_header
from amos_dask.nifti.read import ImageReader, Mask

_LEVEL = 1
_RAW_DEFLATE = -15
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # no name, no time, no system
_GZIP_TRAILER = struct.Struct("<II")
_MODULUS = 1 << 32  # of the length in it
_CHUNK_BYTES = 1 << 20
_FIRST_BYTES = 16
_ZEROS_BYTES = 1 << 19
_PIECE_VOXELS = 1 << 19


class _Packer:
    """Packs a stream with ISA-L so that the same content gives the same bytes.

    Where ISA-L (2.32 at level 1) begins with more than 16 bytes, it files the third of them under a
    number made of its own address in memory, and one stream in about 8,000 is packed in another
    way. So the first 16 bytes are packed alone, which another part of it does.
    """

    def __init__(self) -> None:
        self._packer = isal_zlib.compressobj(_LEVEL, wbits=_RAW_DEFLATE)
        self._begins = True

    def pack(self, data: bytes | memoryview) -> bytes:
        if not self._begins:
            return self._packer.compress(data)
        first, rest = data[:_FIRST_BYTES], data[_FIRST_BYTES:]
        self._begins = len(first) < _FIRST_BYTES
        packed = self._packer.compress(first) + self._packer.flush(isal_zlib.Z_SYNC_FLUSH)
        return packed + self._packer.compress(rest)

    def begin_anew(self) -> bytes:
        """Return the rest of what was packed; nothing packed later refers to it."""
        self._begins = True
        return self._packer.flush(isal_zlib.Z_FULL_FLUSH)

    def end(self) -> bytes:
        """Return the rest and the end of the stream."""
        return self._packer.flush()


class ImageWriter:
    """Writes one ``.nii.gz`` as a stream; the same content gives the same bytes.

    Parameters
    ----------
    path : Path
        A temporary name: whoever publishes the file renames it when it is complete.
    header : bytes
        From `make_header`.
    """

    def __init__(self, path: Path, header: bytes) -> None:
        self._file = path.open("wb", buffering=0)
        self._packer = _Packer()
        self._crc32 = 0
        self._n_bytes = 0
        self._write(_GZIP_HEADER)
        self._pack(header)

    def write(self, voxels: NDArray[Any]) -> None:
        """Append voxels in file order: a 1-D contiguous array of the header's dtype."""
        data = voxels.view(np.uint8).data
        for start in range(0, len(data), _CHUNK_BYTES):
            self._pack(data[start : start + _CHUNK_BYTES])

    def write_zeros(self, n_bytes: int) -> None:
        """Append voxels that are all zero; many of them cost next to nothing.

        Parameters
        ----------
        n_bytes : int
            How many bytes the voxels have.
        """
        n_pieces, n_rest = divmod(n_bytes, _ZEROS_BYTES)
        if n_pieces:
            packed, crc32 = _packed_zeros(_ZEROS_BYTES)
            # What is packed later must not refer to what is before the zeros: the packer does not
            # know of them, and would count too few bytes back.
            self._write(self._packer.begin_anew())
            self._write(packed * n_pieces)
            for _ in range(n_pieces):
                self._crc32 = isal_zlib.crc32_combine(self._crc32, crc32, _ZEROS_BYTES)
            self._n_bytes += n_pieces * _ZEROS_BYTES
        if n_rest:
            self._pack(bytes(n_rest))

    def _pack(self, data: bytes | memoryview) -> None:
        self._crc32 = isal_zlib.crc32(data, self._crc32)
        self._n_bytes += len(data)
        self._write(self._packer.pack(data))

    def _write(self, packed: bytes) -> None:
        view = memoryview(packed)
        while view:  # an unbuffered write may take less than it was given
            view = view[self._file.write(view) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None:
                self._write(self._packer.end())
                self._write(_GZIP_TRAILER.pack(self._crc32, self._n_bytes % _MODULUS))
        finally:
            self._file.close()


@cache
def _packed_zeros(n_bytes: int) -> tuple[bytes, int]:
    """Return packed zeros that can stand wherever a packer was flushed, and their CRC-32."""
    zeros = bytes(n_bytes)
    # Zeros are always packed in one way, and `_Packer` would add to what little they take.
    packer = isal_zlib.compressobj(_LEVEL, wbits=_RAW_DEFLATE)
    packed = packer.compress(zeros) + packer.flush(isal_zlib.Z_FULL_FLUSH)
    return packed, isal_zlib.crc32(zeros)


def write_image(path: Path, header: bytes, array: NDArray[Any]) -> None:
    """Write an (x, y, z) array under a header from `make_header`."""
    with ImageWriter(path, header) as writer:
        writer.write(array.ravel(order="F"))


def write_labels(
    paths: Mapping[int, Path], header: bytes, mask: NDArray[np.uint8]
) -> tuple[int, ...]:
    """Write an image of zeros and ones for each label of a mask.

    Where other bytes come of it, `BINARY_MASKS_VERSION` of the step is raised.

    Parameters
    ----------
    paths : mapping of int to Path
        Label -> where to write.
    header : bytes
        From `make_header`, for uint8.
    mask : (x, y, z) uint8
        Multi-label mask.

    Returns
    -------
    tuple of int
        Labels that occur in the mask, ascending.
    """
    voxels = mask.ravel(order="F")
    # Pieces that stay in the processor's cache while they are compared and packed. Organs fill a
    # small part of a scan, so most are known to be zero without looking again.
    pieces = [voxels[at : at + _PIECE_VOXELS] for at in range(0, voxels.size, _PIECE_VOXELS)]
    counts = [count_labels(piece) for piece in pieces]
    for label, path in paths.items():
        with ImageWriter(path, header) as writer:
            n_zeros = 0
            for piece, count in zip(pieces, counts, strict=True):
                if count[label]:
                    writer.write_zeros(n_zeros)
                    writer.write((piece == label).view(np.uint8))
                    n_zeros = 0
                else:
                    n_zeros += piece.size
            writer.write_zeros(n_zeros)
    return tuple(int(label) for label in np.flatnonzero(np.any(counts, axis=0)))


def mask_header(geometry_of: ImageInfo, description: str = "") -> bytes:
    """Return the header of a uint8 mask with the geometry of its volume."""
    return make_header(
        geometry_of.shape, np.uint8, geometry_of.affine, geometry_of.affine_code, description
    )


def write_mask(path: Path, geometry_of: ImageInfo, mask: Mask, description: str = "") -> None:
    """Write a mask, multi-label or binary.

    Parameters
    ----------
    path : Path
        The file.
    geometry_of : ImageInfo
        The volume whose affine and spacing it takes.
    mask : (x, y, z) uint8 array
        Labels, or 0 and 1.
    description : str
        The header's ``descrip``, where denoising is recorded.
    """
    write_image(path, mask_header(geometry_of, description), mask)


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
    if len(trailer) != _GZIP_TRAILER.size or image.preamble is None or not is_native:
        return None
    crc32, length = _GZIP_TRAILER.unpack(trailer)
    if length != (info.data_offset + info.n_bytes) % _MODULUS:
        return None
    preamble = isal_zlib.crc32(image.preamble)
    return int(crc32 ^ isal_zlib.crc32_combine(preamble, 0, info.n_bytes))
