"""Volume: a scan of any stored type becomes float32 with one consistent geometry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels import scale_to_float32
from amos_dask.nifti import ImageInfo, ImageReader, ImageWriter, make_header, parse_header


def volume_header(info: ImageInfo) -> bytes:
    """Return the header of the float32 volume written for a scan."""
    return make_header(info.shape, np.float32, info.affine, info.affine_code)


def written_info(info: ImageInfo) -> ImageInfo:
    """Return what the header of the written volume says; its affine is rounded to float32."""
    return parse_header(volume_header(info))


def to_float32(chunk: NDArray[Any], slope: float, inter: float) -> NDArray[np.float32]:
    """Return stored values as ``float32(float64(stored) * slope + inter)``.

    Parameters
    ----------
    chunk : (n,) array of whole or floating-point numbers
        Stored values.
    slope, inter : float
        The header's scaling; 1 and 0 for none.
    """
    out = np.empty(chunk.size, np.float32)
    scale_to_float32(chunk, slope, inter, out)
    return out


def convert_volume(image: ImageReader, path: Path) -> bool:
    """Write a scan as float32, chunk by chunk in bounded memory.

    Parameters
    ----------
    image : ImageReader
        The scan, opened; it is read to its end.
    path : Path
        Where to write (a temporary name).

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
    all_finite = True
    with ImageWriter(path, volume_header(info)) as writer:
        for chunk in _float32_chunks(image):
            all_finite &= bool(np.isfinite(chunk).all()) if _may_be_infinite(info) else True
            writer.write(chunk)
    return all_finite


def _float32_chunks(image: ImageReader) -> Iterator[NDArray[np.float32]]:
    for chunk in image.chunks():
        yield to_float32(chunk, image.info.slope, image.info.inter)


def _may_be_infinite(info: ImageInfo) -> bool:
    return info.stored_dtype.kind == "f" or info.is_scaled
