"""Voxels of a file, now or as a dask array."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.archive.locations import shown
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError
from amos_dask.nifti import open_image, read_info
from amos_dask.records import FileRef


def read_scan(ref: FileRef, damaged: str, lazy: bool) -> Any:
    """Return a file's voxels, as `AMOS.image` does.

    Parameters
    ----------
    ref : FileRef
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
    if not lazy:
        return _read_voxels(ref, damaged)
    import dask.array
    from dask import delayed

    with saying_where(ref, damaged):
        info = read_info(ref)
    voxels = delayed(_read_voxels, pure=True)(ref, damaged)
    return dask.array.from_delayed(voxels, info.shape, np.dtype(info.dtype))


def _read_voxels(ref: FileRef, damaged: str) -> NDArray[Any]:
    """Return the voxels that nibabel would give; the file is read to its end and so verified."""
    with saying_where(ref, damaged), open_image(ref) as image:
        info = image.info
        values = np.empty(info.n_voxels, info.dtype)
        start = 0
        for chunk in image.chunks():
            if info.is_scaled:
                with np.errstate(all="ignore"):
                    chunk = chunk.astype(np.float64) * info.slope + info.inter
            values[start : start + chunk.size] = chunk
            start += chunk.size
    return values.reshape(info.shape, order="F")


@contextmanager
def saying_where(ref: FileRef, damaged: str) -> Iterator[None]:
    """Raise an error that says where a file is, what is wrong with it, and what to do.

    Parameters
    ----------
    ref, damaged
        As for `read_scan`.

    Raises
    ------
    ArchiveError
        When what is done with the file finds that it cannot be read.
    """
    where = shown(ref.location) + ("" if ref.member is None else f", {ref.path}")
    try:
        yield
    except (UnreadableImageError, InaccessibleFileError) as error:
        if isinstance(error, UnreadableImageError) and damaged:
            raise ArchiveError(
                f"{where}: {damaged} is damaged in the archive as it was published; downloading "
                f"it again does not help ({error})."
            ) from error
        raise ArchiveError(
            f"{where}: {error}; 'amos-dask verify' says whether more is wrong."
        ) from error
