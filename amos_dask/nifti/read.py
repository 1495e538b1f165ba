"""Reading an image: its header alone, or its voxels as a stream in file order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.archive.sources import read_blocks
from amos_dask.archive.unpacking import LARGEST_RATIO, TrailingBytesError, gunzip
from amos_dask.errors import UnreadableImageError
from amos_dask.nifti.header import HEADER_BYTES, ImageInfo, parse_header
from amos_dask.records import FileRef

_LARGEST_TAIL = 1 << 30


def read_info(ref: FileRef) -> ImageInfo:
    """Read a header without decoding the voxels behind it.

    Raises
    ------
    UnreadableImageError
        When the file is not a supported NIfTI image.
    """
    with open_image(ref) as image:
        return image.info


@contextmanager
def open_image(ref: FileRef) -> Iterator[ImageReader]:
    """Open an image and read its header; closes the file at the end.

    Raises
    ------
    UnreadableImageError
        When the file is not a supported NIfTI image.
    """
    with closing(read_blocks(ref)) as blocks:
        pieces = gunzip(blocks)
        data = b""
        while len(data) < HEADER_BYTES:
            piece = next(pieces, None)
            if piece is None:
                raise UnreadableImageError("too short for a NIfTI header")
            data += piece
        info = parse_header(data)
        if 0 < ref.size * LARGEST_RATIO < info.n_bytes:  # the size of a URL may be unknown
            raise UnreadableImageError(
                f"the header claims {info.n_bytes} bytes of voxels, more than the file can hold"
            )
        yield ImageReader(info, data, pieces)


class ImageReader:
    """An open image whose voxels can be read once.

    Parameters
    ----------
    info : ImageInfo
        Its header.
    data : bytes
        The first unpacked bytes of the file, header included.
    pieces : iterator of bytes
        The unpacked bytes that follow.
    """

    def __init__(self, info: ImageInfo, data: bytes, pieces: Iterator[bytes]) -> None:
        self.info = info
        self.has_trailing_bytes = False
        self._n_tail = 0
        self._data = data
        self._pieces = pieces

    @property
    def preamble(self) -> bytes | None:
        """The bytes before the first voxel; None where not all of them are at hand."""
        offset = self.info.data_offset
        return self._data[:offset] if offset <= len(self._data) else None

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield all stored voxels in file order: 1-D arrays of the stored dtype, native order.

        The file is read to its end, so that the checksum of every voxel is verified;
        ``has_trailing_bytes`` is set when more follows than the header promises.

        Raises
        ------
        UnreadableImageError
            When the file is damaged or ends early.
        """
        dtype = self.info.stored_dtype
        left = self.info.n_bytes
        rest = b""
        for piece in self._voxel_bytes():
            block = rest + piece if rest else piece
            n_extra = len(block) - left
            if n_extra > 0:
                self._count_tail(n_extra)
                block = block[:left]
            n_items = len(block) // dtype.itemsize
            if n_items:
                values = np.frombuffer(block, dtype, n_items)
                yield values.astype(dtype.newbyteorder("="), copy=False)
            rest = block[n_items * dtype.itemsize :]
            left -= n_items * dtype.itemsize
        if left:
            raise UnreadableImageError(
                f"holds {self.info.n_bytes - left} of {self.info.n_bytes} bytes of voxels"
            )

    def _count_tail(self, n_bytes: int) -> None:
        self.has_trailing_bytes = True
        self._n_tail += n_bytes
        if self._n_tail > _LARGEST_TAIL:
            raise UnreadableImageError("more than 1 GiB follows the image in the file")

    def _voxel_bytes(self) -> Iterator[bytes]:
        skip = self.info.data_offset
        for piece in self._all_bytes():
            if skip < len(piece):
                yield piece[skip:] if skip else piece
            skip = max(0, skip - len(piece))

    def _all_bytes(self) -> Iterator[bytes]:
        yield self._data
        self._data = b""
        try:
            yield from self._pieces
        except TrailingBytesError:  # only met after the image's own stream has ended well
            self.has_trailing_bytes = True
