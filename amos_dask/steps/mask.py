"""Mask: labels of any stored type become uint8 on their scan's geometry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.datasets import MaskGeometry
from amos_dask.errors import BadMaskError, number_are
from amos_dask.issues import Issue, make_issue
from amos_dask.kernels.voxelwise import scale_to_float32
from amos_dask.nifti import ImageInfo, ImageReader, LabelReader, Mask

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1
EDITED_VERSION = 1  # of masks that were edited by hand
# Deviations below are those of scaling and of floating-point arithmetic.
_EXPECTED_DEVIATION = 1e-3
# How far apart corners of one grid may lie, as a part of its diagonal.
_SAME_CORNERS = 2e-3
# What one order must be better by than the other, to be taken for the scan's values alone.
_LESS, _MORE = 0.95, 1.05
_Values = NDArray[np.float64]


class ReadLabels(NamedTuple):
    """A mask that was read."""

    labels: Mask  # Fortran-ordered
    n_rounded: int  # how many of its values were no whole numbers, but near
    deviation: float  # how far from one they were at most

    def check(self, sample_id: str, file: str) -> list[Issue]:
        """Return ``labels_rounded`` where values were."""
        if not self.n_rounded:
            return []
        message = (
            f"{number_are(self.n_rounded, 'value')} up to {self.deviation:.3g} off whole numbers"
        )
        issue = make_issue("labels_rounded", message, sample=sample_id, file=file, action="rounded")
        is_expected = self.deviation < _EXPECTED_DEVIATION
        return [replace(issue, severity="info") if is_expected else issue]


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
        what = "of no label" if label_values else "outside the whole numbers 0..255"
        message = f"{number_are(reader.n_bad, 'voxel')} {what}, such as {reader.shown}"
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
        message = f"the mask has the shape {mask.shape}, its scan {volume.shape}"
        raise BadMaskError("shape_mismatch", message)
    if not geometry.is_usable(mask.affine):
        raise BadMaskError("bad_affine", geometry.UNUSABLE)
    return turn


def check_affine(
    volume: ImageInfo, mask: ImageInfo, sample_id: str, file: str, why: str = ""
) -> list[Issue]:
    """Return ``affine_repaired`` where a mask that keeps its order takes its volume's affine.

    ``why`` says why it keeps its order, where it might have been turned.
    """
    if geometry.is_same(mask.affine, volume.affine):
        return []
    norm = geometry.difference_norm(mask.affine, volume.affine)
    codes = _other_axis_codes(volume, mask)
    message = f"the mask's affine differs from its scan's by {norm:.6g}{codes}{why}"
    action = "the scan's affine was taken"
    issue = make_issue("affine_repaired", message, sample=sample_id, file=file, action=action)
    return [replace(issue, severity="warning" if codes else "info")]


def mask_turned(volume: ImageInfo, mask: ImageInfo, sample_id: str, file: str, why: str) -> Issue:
    """Return the issue of a mask whose voxels were turned; parameters as of `check_affine`."""
    message = f"the mask's grid is its scan's turned over{_other_axis_codes(volume, mask)}{why}"
    action = "its voxels were put in the scan's order"
    return make_issue("mask_turned", message, sample=sample_id, file=file, action=action)


def _other_axis_codes(volume: ImageInfo, mask: ImageInfo) -> str:
    """Return such as ``, axis codes RAS instead of LAS``; nothing where they are the same."""
    ours, theirs = geometry.axis_codes(volume.affine), geometry.axis_codes(mask.affine)
    return "" if ours == theirs else f", axis codes {theirs} instead of {ours}"


class FittedMask(NamedTuple):
    """An edited mask on its volume's grid."""

    labels: Mask  # Fortran-ordered, in the order of the volume's voxels
    is_as_written: bool  # its type and header are those of our masks, so that the file can stay
    issues: tuple[Issue, ...] = ()  # what was found when it was read


def fit_to_volume(labels: Mask, mask: ImageInfo, volume: ImageInfo) -> FittedMask | None:
    """Return labels in the order of the volume's voxels, axes turned over by the affine.

    Parameters
    ----------
    labels : (x, y, z) uint8
        As stored.
    mask, volume : ImageInfo
        The mask's own header, and that of the written volume.

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


# ---------------------------------------------------------------- of a grid that is turned over


class Fit(NamedTuple):
    """How a mask lies on its scan."""

    variation: float  # sum of squares of the scan's values about the mean of their label
    step: float  # mean absolute difference of neighbours with different labels; NaN without any

    def is_better_than(self, other: Fit) -> bool:
        """Return whether this is the right order beyond doubt."""
        varies_less = self.variation <= _LESS * other.variation and self.variation < other.variation
        return varies_less and self.step >= _MORE * other.step


def choose_order(fits: tuple[Fit, Fit] | None, preferred: MaskGeometry) -> tuple[MaskGeometry, str]:
    """Choose the order in which a mask's voxels are taken.

    Parameters
    ----------
    fits : (Fit, Fit) or None
        Of the voxels as they are stored, and turned as the affine says; None where the scan
        cannot be read.
    preferred : {"stored", "world"}
        What the dataset's definition says, for where the scan does not tell.

    Returns
    -------
    order : {"stored", "world"}
        Whether to keep the voxels' order or to turn them.
    why : str
        The figures, to be added to a message.
    """
    rule = f"the dataset's mask_geometry is {preferred}"
    if fits is None:
        return preferred, f"; {rule}"
    stored, world = fits
    figures = (
        f"; turned, the scan's values vary {_compare(world.variation, stored.variation)} within "
        f"labels and step {_compare(world.step, stored.step)} between them"
    )
    if stored.is_better_than(world):
        return "stored", figures
    if world.is_better_than(stored):
        return "world", figures
    return preferred, f"{figures}, which does not decide; {rule}"


def _compare(one: float, other: float) -> str:
    if not (np.isfinite(one) and np.isfinite(other) and other > 0):
        return f"by {one:.3g} instead of {other:.3g}"
    change = one / other - 1
    return f"{abs(change):.1%} {'less' if change < 0 else 'more'}"


def measure_fits(volume: ImageReader, stored: Mask, world: Mask) -> tuple[Fit, Fit]:
    """Measure how a mask lies on its scan in two orders, slice by slice.

    Parameters
    ----------
    volume : ImageReader
        The scan, opened; it is read to its end.
    stored, world : (x, y, z) uint8
        The mask's voxels in the order stored, and turned; both of the scan's shape.

    Returns
    -------
    (Fit, Fit)
        Of the order stored, and of the turned one. Values that are not finite are left out.

    Raises
    ------
    UnreadableImageError
        When the scan is damaged.
    """
    sums = _Sums(stored), _Sums(world)
    before = None
    for z, values in enumerate(_slices(volume)):
        steps = [np.abs(np.diff(values, axis=axis)) for axis in (0, 1)]
        across = None if before is None else np.abs(values - before)
        for each in sums:
            each.add(z, values, steps, across)
        before = values
    return sums[0].fit(), sums[1].fit()


def _slices(volume: ImageReader) -> Iterator[_Values]:
    """Yield the scan's values slice by slice, (x, y) each; NaN where not finite."""
    info = volume.info
    n_pixels, n_filled = info.shape[0] * info.shape[1], 0
    pixels = np.empty(n_pixels, np.float32)
    for chunk in volume.chunks():
        while chunk.size:
            part = chunk[: n_pixels - n_filled]
            target = pixels[n_filled : n_filled + part.size]
            scale_to_float32(part, info.slope, info.inter, target)
            chunk, n_filled = chunk[part.size :], n_filled + part.size
            if n_filled == n_pixels:
                values = np.where(np.isfinite(pixels), pixels, np.nan).astype(np.float64)
                yield values.reshape(info.shape[:2], order="F")
                n_filled = 0


class _Sums:
    """What the fit of a mask is made of, summed up slice by slice."""

    def __init__(self, labels: Mask) -> None:
        self._labels = labels
        self._n, self._sum, self._squares = np.zeros((3, 256))
        self._n_steps, self._steps = 0, 0.0

    def add(self, z: int, values: _Values, steps: list[_Values], across: _Values | None) -> None:
        """Add a slice: its values, their steps along x and y, and those from the slice before."""
        labels = self._labels[:, :, z]
        is_finite = ~np.isnan(values)
        here, known = labels[is_finite], values[is_finite]
        self._n += np.bincount(here, minlength=256)
        self._sum += np.bincount(here, known, 256)
        self._squares += np.bincount(here, known * known, 256)
        for axis, along in enumerate(steps):
            self._add_steps(along, np.diff(labels, axis=axis) != 0)
        if across is not None:
            self._add_steps(across, labels != self._labels[:, :, z - 1])

    def _add_steps(self, steps: _Values, is_border: NDArray[np.bool_]) -> None:
        found = steps[is_border]
        found = found[~np.isnan(found)]
        self._n_steps += found.size
        self._steps += float(found.sum())

    def fit(self) -> Fit:
        """Return the fit of all slices."""
        there = self._n > 0
        within = self._squares[there] - self._sum[there] ** 2 / self._n[there]
        step = self._steps / self._n_steps if self._n_steps else float("nan")
        return Fit(max(0.0, float(within.sum())), step)
