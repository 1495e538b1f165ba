"""Mask: labels of any stored type become uint8 on their scan's geometry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from amos_dask import geometry
from amos_dask.errors import BadMaskError
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo, ImageReader, LabelReader, Mask

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1
EDITED_VERSION = 1  # of masks that were edited by hand
# Deviations below are those of scaling and of floating-point arithmetic.
_EXPECTED_DEVIATION = 1e-3
# How far apart corners of one grid may lie, as a part of its diagonal.
_SAME_CORNERS = 2e-3


class ReadLabels(NamedTuple):
    """A mask that was read.

    Parameters
    ----------
    labels : (x, y, z) uint8
        Its voxels, Fortran-ordered.
    n_rounded : int
        How many of its values were no whole numbers, but near.
    deviation : float
        How far from one they were at most.
    """

    labels: Mask
    n_rounded: int
    deviation: float

    def check(self, sample_id: str, file: str) -> list[Issue]:
        """Return ``labels_rounded`` where values were."""
        if not self.n_rounded:
            return []
        message = f"{self.n_rounded} values are up to {self.deviation:.3g} off whole numbers"
        return [
            make_issue(
                "labels_rounded",
                message,
                sample=sample_id,
                file=file,
                action="rounded",
                severity="info" if self.deviation < _EXPECTED_DEVIATION else None,
            )
        ]


def read_mask(image: ImageReader, label_values: Mapping[int, int] | None = None) -> ReadLabels:
    """Read a mask as uint8.

    Parameters
    ----------
    image : ImageReader
        The mask, opened; it is read to its end.
    label_values : mapping of int to int, optional
        Value in the file -> label. A value that is not listed stands for itself, unless a listed
        one stands for that label; 0 stands for itself all the same.

    Raises
    ------
    UnreadableImageError
        When the file is damaged.
    BadMaskError
        When values, after scaling, are further than 0.05 from whole numbers in 0..255, or from
        those that stand for a label.
    """
    labels = np.empty(image.info.n_voxels, np.uint8)
    reader = LabelReader(label_values)
    start = 0
    for chunk in reader.chunks(image):
        labels[start : start + chunk.size] = chunk
        start += chunk.size
    if reader.n_bad:
        what = "stand for no label" if label_values else "are not whole numbers in 0..255"
        message = f"{reader.n_bad} voxels {what}, such as {reader.shown}"
        raise BadMaskError("bad_mask_values", message)
    shaped = labels.reshape(image.info.shape, order="F")
    return ReadLabels(shaped, reader.n_rounded, reader.deviation)


def check_pair(volume: ImageInfo, mask: ImageInfo) -> geometry.Turn | None:
    """Compare the grid of a mask with its volume's before the mask is read.

    Returns
    -------
    (3, 2) float64 or None
        How the mask's grid lies on its volume's, where it is the volume's turned over.

    Raises
    ------
    BadMaskError
        When the shapes differ, also after turning, or the mask's affine is unusable.
    """
    is_same, turn = mask.shape == volume.shape, None
    if not (is_same and geometry.is_same(mask.affine, volume.affine)):
        turn = geometry.find_turn(volume.affine, mask.affine, mask.shape)
    if turn is not None and geometry.turned_shape(turn, mask.shape) != volume.shape:
        turn = None
    if turn is None and not is_same:
        raise BadMaskError(
            "shape_mismatch",
            f"the mask has the shape {mask.shape}, its scan {volume.shape}",
        )
    if not geometry.is_usable(mask.affine):
        raise BadMaskError("bad_affine", geometry.UNUSABLE)
    return turn


def check_affine(
    volume: ImageInfo, mask: ImageInfo, sample_id: str, file: str, why: str = ""
) -> list[Issue]:
    """Return ``affine_repaired`` where a mask that keeps its order takes its volume's affine.

    Parameters
    ----------
    volume, mask : ImageInfo
        Their own headers, of one shape.
    sample_id, file : str
        For the issue.
    why : str
        Why it keeps its order, where it might have been turned.
    """
    if geometry.is_same(mask.affine, volume.affine):
        return []
    norm = geometry.difference_norm(mask.affine, volume.affine)
    codes = _other_axis_codes(volume, mask)
    return [
        make_issue(
            "affine_repaired",
            f"the mask's affine differs from its scan's by {norm:.6g}{codes}{why}",
            sample=sample_id,
            file=file,
            action="the scan's affine was taken",
            severity="warning" if codes else "info",
        )
    ]


def mask_turned(volume: ImageInfo, mask: ImageInfo, sample_id: str, file: str, why: str) -> Issue:
    """Return the issue of a mask whose voxels were turned; parameters as of `check_affine`."""
    return make_issue(
        "mask_turned",
        f"the mask's grid is its scan's turned over{_other_axis_codes(volume, mask)}{why}",
        sample=sample_id,
        file=file,
        action="its voxels were put in the scan's order",
    )


def _other_axis_codes(volume: ImageInfo, mask: ImageInfo) -> str:
    """Return such as ``, axis codes RAS instead of LAS``; nothing where they are the same."""
    ours, theirs = geometry.axis_codes(volume.affine), geometry.axis_codes(mask.affine)
    return "" if ours == theirs else f", axis codes {theirs} instead of {ours}"


class FittedMask(NamedTuple):
    """An edited mask on its volume's grid.

    Parameters
    ----------
    labels : (x, y, z) uint8, Fortran-ordered
        In the order of the volume's voxels.
    is_as_written : bool
        Whether the file has the type and header with which masks are written, so that it can stay
        as it is.
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
    has_type = mask.stored_dtype == np.uint8 and not mask.is_scaled
    return FittedMask(turned, has_type and _has_header_of(volume, mask))


def _has_header_of(volume: ImageInfo, mask: ImageInfo) -> bool:
    """Return whether every reader puts a mask on its volume, whichever form it goes by."""
    forms = ((mask.affine, volume.affine), (mask.other_affine, volume.other_affine))
    return (
        (mask.n_axes, mask.unit, mask.form) == (volume.n_axes, volume.unit, volume.form)
        and all(a is not None and b is not None and geometry.is_same(a, b) for a, b in forms)
        and np.allclose(mask.pixdim_mm, volume.pixdim_mm, rtol=1e-4)
    )
