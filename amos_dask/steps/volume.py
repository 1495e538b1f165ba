"""Volume: a scan of any stored type becomes float32 with one consistent geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels import scale_to_float32
from amos_dask.nifti import ImageInfo, ImageReader, ImageWriter, make_header, parse_header

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1
_CHUNK_VOXELS = 1 << 18  # one MB of float32, which stays in the cache from scaling to packing


def volume_header(info: ImageInfo) -> bytes:
    """Return the header of the float32 volume written for a scan."""
    return make_header(info.shape, np.float32, info.affine, info.affine_code)


def written_info(info: ImageInfo) -> ImageInfo:
    """Return what the header of the written volume says; its affine is rounded to float32."""
    return parse_header(volume_header(info))


Watcher = Callable[[NDArray[np.float32]], None]


def convert_volume(image: ImageReader, path: Path, see: Watcher | None = None) -> bool:
    """Write a scan as float32, chunk by chunk in bounded memory.

    Parameters
    ----------
    image : ImageReader
        The scan, opened; it is read to its end.
    path : Path
        Where to write (a temporary name).
    see : callable, optional
        Is shown all values in file order, chunk by chunk; a chunk is valid until it returns.

    Returns
    -------
    bool
        Whether all voxels are finite.

    Raises
    ------
    UnreadableImageError
        When the scan is damaged.
    """
    info = image.info
    may_be_infinite = _may_be_infinite(info)
    all_finite = True
    buffer = np.empty(_CHUNK_VOXELS, np.float32)
    with ImageWriter(path, volume_header(info)) as writer:
        for stored in _small_chunks(image):
            values = buffer[: stored.size]
            scale_to_float32(stored, info.slope, info.inter, values)
            if may_be_infinite:
                all_finite &= bool(np.isfinite(values).all())
            writer.write(values)
            if see is not None:
                see(values)
    return all_finite


def _small_chunks(image: ImageReader) -> Iterator[NDArray[Any]]:
    for chunk in image.chunks():
        for start in range(0, chunk.size, _CHUNK_VOXELS):
            yield chunk[start : start + _CHUNK_VOXELS]


def _may_be_infinite(info: ImageInfo) -> bool:
    """Return whether the header alone cannot tell that float32 holds every voxel."""
    if info.stored_dtype.kind == "f":
        return True
    limits = np.iinfo(info.stored_dtype)
    largest = max(-int(limits.min), int(limits.max)) * abs(info.slope) + abs(info.inter)
    return not largest <= float(np.finfo(np.float32).max)  # nor with a slope that is NaN
