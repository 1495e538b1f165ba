"""Writing an image as a stream; the same content gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from amos_dask.nifti.header import ImageInfo, make_header

Mask = NDArray[np.uint8]

_GZIP_LEVEL = 1
_GZIP = 31
_CHUNK_BYTES = 1 << 20


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
        self._packer = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)
        self._write(self._packer.compress(header))

    def write(self, voxels: NDArray[Any]) -> None:
        """Append voxels in file order: a 1-D contiguous array of the header's dtype."""
        data = voxels.view(np.uint8).data
        for start in range(0, len(data), _CHUNK_BYTES):
            self._write(self._packer.compress(data[start : start + _CHUNK_BYTES]))

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
                self._write(self._packer.flush())
        finally:
            self._file.close()


def in_file_order(array: NDArray[Any]) -> NDArray[Any]:
    """Return the (x, y, z) array as 1-D in file order, without a copy when Fortran-ordered."""
    return array.ravel(order="F")


def write_image(path: Path, header: bytes, array: NDArray[Any]) -> None:
    """Write an (x, y, z) array under a header from `make_header`."""
    with ImageWriter(path, header) as writer:
        writer.write(in_file_order(array))


def mask_header(geometry_of: ImageInfo, description: str = "") -> bytes:
    """Return the header of a uint8 mask with the geometry of its volume."""
    return make_header(
        geometry_of.shape, np.uint8, geometry_of.affine, geometry_of.affine_code, description
    )


def write_mask(path: Path, geometry_of: ImageInfo, mask: Mask, description: str = "") -> None:
    """Write an (x, y, z) uint8 mask, multi-label or binary, with the geometry of its volume."""
    write_image(path, mask_header(geometry_of, description), mask)
