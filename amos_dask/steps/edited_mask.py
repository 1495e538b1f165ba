"""Edited masks: labels that somebody saved by hand, brought back to their volume's grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from amos_dask import geometry
from amos_dask.issues import Issue
from amos_dask.nifti import ImageInfo, Mask

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1

# How far apart corners of one grid may lie, as a part of its diagonal.
_SAME_CORNERS = 2e-3


class FittedMask(NamedTuple):
    """An edited mask on its volume's grid.

    Parameters
    ----------
    labels : (x, y, z) uint8, Fortran-ordered
        In the order of the volume's voxels.
    is_as_written : bool
        Whether the file has the type and geometry under which masks are written, so that it can
        stay as it is.
    issues : tuple of Issue
        What was found when it was read.
    """

    labels: Mask
    is_as_written: bool
    issues: tuple[Issue, ...] = ()


def fit_to_volume(labels: Mask, mask: ImageInfo, volume: ImageInfo) -> FittedMask | None:
    """Return the labels in the order of the volume's voxels, axes turned over by the affine.

    Parameters
    ----------
    labels : (x, y, z) uint8
        As stored.
    mask : ImageInfo
        The mask's own header.
    volume : ImageInfo
        The header of the written volume.

    Returns
    -------
    FittedMask or None
        None when the mask lies on another grid than its volume.
    """
    if not geometry.is_usable(mask.affine):
        return None
    turn, affine = geometry.closest_turn(volume.affine, mask.affine, labels.shape)
    turned = geometry.turned(turn, labels)
    distance_mm, diagonal_mm = geometry.farthest_apart(affine, volume.affine, volume.shape)
    if turned.shape != volume.shape or not distance_mm <= _SAME_CORNERS * diagonal_mm:
        return None
    norm = geometry.difference_norm(mask.affine, volume.affine)
    has_type = mask.stored_dtype == np.uint8 and not mask.is_scaled
    has_form = norm <= geometry.SAME_AFFINE_NORM and not geometry.is_a_turn(turn)
    return FittedMask(turned, has_type and has_form)
