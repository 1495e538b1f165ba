"""Voxels of a file, now or as a dask array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.archive.locations import shown
from amos_dask.errors import (
    AmosDaskError,
    ArchiveError,
    InaccessibleFileError,
    UnreadableImageError,
)
from amos_dask.nifti import open_image, read_info
from amos_dask.records import FileRef


def read_scan(ref: FileRef | None, damaged: str, lazy: bool) -> Any:
    """Return a file's voxels, as `AMOS.image` does.

    Parameters
    ----------
    ref : FileRef or None
        The file.
    damaged : str
        The scan's id, where its published file is known to be damaged; else empty.
    lazy : bool
        Return a dask array of one chunk.

    Raises
    ------
    ArchiveError
        When the file cannot be read.
    """
    if ref is None:
        return None
    if not lazy:
        return _read_voxels(ref, damaged)
    import dask.array
    from dask import delayed

    try:
        info = read_info(ref)
    except (UnreadableImageError, InaccessibleFileError) as error:
        raise damaged_error(ref, damaged, error) from error
    voxels = delayed(_read_voxels, pure=True)(ref, damaged)
    return dask.array.from_delayed(voxels, info.shape, np.dtype(info.dtype))


def _read_voxels(ref: FileRef, damaged: str) -> NDArray[Any]:
    """Return the voxels that nibabel would give; the file is read to its end and so verified."""
    try:
        with open_image(ref) as image:
            info = image.info
            values = np.empty(info.n_voxels, info.dtype)
            start = 0
            for chunk in image.chunks():
                part = values[start : start + chunk.size]
                if info.is_scaled:
                    with np.errstate(all="ignore"):
                        part[:] = chunk.astype(np.float64) * info.slope + info.inter
                else:
                    part[:] = chunk
                start += chunk.size
    except (UnreadableImageError, InaccessibleFileError) as error:
        raise damaged_error(ref, damaged, error) from error
    return values.reshape(info.shape, order="F")


def damaged_error(ref: FileRef, damaged: str, error: Exception) -> AmosDaskError:
    """Return the error that says where a file is, what is wrong with it, and what to do."""
    where = shown(ref.location) + ("" if ref.member is None else f", {ref.path}")
    if isinstance(error, UnreadableImageError) and damaged:
        return ArchiveError(
            f"{where}: {damaged} is damaged in the archive as it was published; downloading "
            f"it again does not help ({error})."
        )
    return ArchiveError(f"{where}: {error}; 'amos-dask verify' says whether more is wrong.")
