"""Mask: labels of any stored type become uint8 on their scan's geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.errors import BadMaskError
from amos_dask.issues import Issue, make_issue
from amos_dask.kernels import cast_to_labels
from amos_dask.nifti import ImageInfo, ImageReader, Mask

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1


def read_mask(image: ImageReader) -> Mask:
    """Read a mask as uint8.

    Parameters
    ----------
    image : ImageReader
        The mask, opened; it is read to its end.

    Returns
    -------
    (x, y, z) uint8, Fortran-ordered

    Raises
    ------
    UnreadableImageError
        When the file is damaged.
    BadMaskError
        When values, after scaling, are not whole numbers in 0..255.
    """
    info = image.info
    labels = np.empty(info.n_voxels, np.uint8)
    start = n_bad = 0
    for chunk in image.chunks():
        values = _scale(chunk, info)
        n_bad += cast_to_labels(values, labels[start : start + values.size])
        start += values.size
    if n_bad:
        raise BadMaskError("bad_mask_values", f"{n_bad} voxels are not whole numbers in 0..255")
    return labels.reshape(info.shape, order="F")


def _scale(chunk: NDArray[Any], info: ImageInfo) -> NDArray[Any]:
    """Return the values that stored ones stand for, in float64 as nibabel does."""
    if not info.is_scaled:  # masks rarely are
        return chunk
    with np.errstate(all="ignore"):  # what overflows is no label and is counted as such
        return chunk.astype(np.float64) * info.slope + info.inter


def check_pair(volume: ImageInfo, mask: ImageInfo, sample_id: str, file: str) -> list[Issue]:
    """Compare the geometry of a mask with its volume's before the mask is read.

    Returns
    -------
    list of Issue
        ``affine_repaired`` when the affines differ (the mask takes its volume's).

    Raises
    ------
    BadMaskError
        When the shapes differ or the mask's affine is unusable.
    """
    if mask.shape != volume.shape:
        raise BadMaskError(
            "shape_mismatch",
            f"the mask has the shape {mask.shape}, its scan {volume.shape}",
        )
    if not geometry.is_usable(mask.affine):
        raise BadMaskError("bad_affine", geometry.UNUSABLE)
    norm = geometry.difference_norm(mask.affine, volume.affine)
    if norm <= geometry.SAME_AFFINE_NORM:
        return []
    ours, theirs = geometry.axis_codes(volume.affine), geometry.axis_codes(mask.affine)
    codes = "" if ours == theirs else f", axis codes {theirs} instead of {ours}"
    return [
        make_issue(
            "affine_repaired",
            f"the mask's affine differs from its scan's by {norm:.6g}{codes}",
            sample=sample_id,
            file=file,
            action="the scan's affine was taken",
            severity="warning" if codes else "info",
        )
    ]
