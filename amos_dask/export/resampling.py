"""Volumes and masks on the grid that an export wants: turned, resampled, cut out, scaled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.nifti import Mask
from amos_dask.params import ArraySettings

Volume = NDArray[np.float32]
Box = tuple[tuple[int, int], ...]  # first and last voxel along each axis, both in it

_ORDERS = {"linear": 1, "cubic": 3}
# A step so close to 1 moves no voxel of a grid by more than this share of one: it is 1.
_SAME_VOXEL_WITHIN = 1e-4
# Of a voxel: so close to half of one beyond the scan's last centre is half, whatever the last bits.
_TIE_WITHIN = 1e-6
# In Hounsfield units, what separates a body from the air around it.
_BODY_ABOVE_HU = -500.0


@dataclass(frozen=True)
class Grid:
    """How the voxels of an export lie in those of a scan.

    Voxel ``k`` along an axis lies at ``(start + k) * step`` of the scan's voxels after the turn:
    the first of an uncut grid where the scan's first is, as in MONAI's ``Spacing``.
    """

    turn: geometry.Turn  # of the scan's axes, before all else
    step: tuple[float, ...]  # voxels of the scan for one of the grid, along its axes
    start: tuple[int, ...]  # what was cut off before the first voxel
    shape: tuple[int, int, int]
    affine: geometry.Affine  # voxel index to RAS+ mm

    def cut(self, box: Box, margin_mm: float) -> Grid:
        """Return the part of an uncut grid that holds a box of the turned scan, and a margin."""
        (first, last), step = np.transpose(box), np.array(self.step)
        margin = margin_mm / (geometry.voxel_sizes_mm(self.affine) / step)
        start = np.maximum(0, np.floor((first - margin) / step)).astype(int)
        stop = np.minimum(self.shape, np.ceil((last + margin) / step) + 1).astype(int)
        nx, ny, nz = (stop - start).tolist()
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ start
        return replace(self, start=tuple(start.tolist()), shape=(nx, ny, nz), affine=affine)


def plan_grid(
    shape: Sequence[int],
    affine: geometry.Affine,
    orientation: str | None = None,
    spacing_mm: Sequence[float] | None = None,
) -> Grid:
    """Return the grid of a scan after a turn and with other voxel sizes.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels of the scan.
    affine : (4, 4) float64
        Its voxel index to RAS+ mm.
    orientation : str, optional
        Where axes are to point to, such as ``RAS``; by default where they do.
    spacing_mm : (float, float, float), optional
        Voxel size along the turned axes; by default as it is.

    Returns
    -------
    Grid
        Its first voxel is the scan's; its last one is the closest to the scan's last, and of two
        that are as close the one that makes their number even, as in MONAI's ``Spacing``.
    """
    target = affine if orientation is None else geometry.pointing_to(orientation)
    turn, turned = geometry.closest_turn(target, affine, tuple(shape))
    n_voxels = np.array(geometry.turned_shape(turn, tuple(shape)))
    step = np.ones(3)
    if spacing_mm is not None:
        step = np.asarray(spacing_mm) / geometry.voxel_sizes_mm(turned)
        step[np.abs(step - 1) * n_voxels <= _SAME_VOXEL_WITHIN] = 1
    n_after = (n_voxels - 1) / step + 1
    halves = np.round(2 * n_after) / 2
    is_tie = np.abs(n_after - halves) <= _TIE_WITHIN
    nx, ny, nz = (int(n) for n in np.round(np.where(is_tie, halves, n_after)))  # half to even
    scaled = turned * np.append(step, 1)
    return Grid(turn, tuple(step.tolist()), (0, 0, 0), (nx, ny, nz), scaled)


def resample_and_scale(
    turned: Volume, grid: Grid, settings: ArraySettings
) -> tuple[Volume, tuple[float, float] | None]:
    """Return a volume on a grid as settings want it, and the values that became 0 and 1."""
    made, window = resample_volume(turned, grid, settings.interpolation), settings.window
    if settings.percentiles is not None:  # of the scan as it is
        low, high = (float(v) for v in np.percentile(turned, settings.percentiles))
        window = low, high
    return (made if window is None else scale_to_window(made, *window)), window


def resample_volume(turned: Volume, grid: Grid, interpolation: str = "linear") -> Volume:
    """Return a volume on a grid; beyond its outer voxels values go on as there.

    Parameters
    ----------
    turned : (x, y, z) float32
        The scan's values after the grid's turn.
    grid : Grid
        Where values are wanted.
    interpolation : {"linear", "cubic"}
        Cubic splines may pass the scan's range near edges.

    Returns
    -------
    (x, y, z) float32, in Fortran order
    """
    if grid.step == (1.0, 1.0, 1.0):
        return turned[_slices(grid.start, grid.shape)]
    return _interpolate(turned, grid.step, grid.start, grid.shape, _ORDERS[interpolation])


def resample_mask(turned: Mask, grid: Grid) -> Mask:
    """Return a mask on a grid: at each voxel the label with the largest share.

    A label's share is its binary mask, interpolated linearly; the lowest of labels with equal
    shares is taken. One label is looked at at a time, and only where it is.

    Parameters
    ----------
    turned : (x, y, z) uint8
        The labels after the grid's turn.
    grid : Grid
        Where labels are wanted.

    Returns
    -------
    (x, y, z) uint8, in Fortran order
    """
    if grid.step == (1.0, 1.0, 1.0):
        return turned[_slices(grid.start, grid.shape)]
    labels = np.zeros(grid.shape, np.uint8, order="F")
    largest = np.zeros(grid.shape, np.float32, order="F")
    all_others = np.zeros(grid.shape, np.float32, order="F")  # shares of what is not background
    for label, box in _find_boxes(turned).items():
        first, last = np.transpose(box)
        begin = np.maximum(0, np.floor((first - 1) / grid.step).astype(int) - grid.start)
        stop = np.ceil((last + 1) / grid.step).astype(int) + 1 - grid.start
        shape = np.minimum(grid.shape, stop) - begin
        if shape.min() < 1:
            continue
        # With all voxels around it that are not the label's, or to the scan's end.
        near = np.maximum(0, first - 1)
        binary = (turned[_slices(near, last + 2 - near)] == label).view(np.uint8)
        share = _interpolate(binary, grid.step, grid.start + begin, shape, 1, near)
        place = _slices(begin, shape)
        is_larger = share > largest[place]
        labels[place][is_larger] = label
        largest[place][is_larger] = share[is_larger]
        all_others[place] += share
    labels[1 - all_others >= largest] = 0
    return labels


def _interpolate(
    voxels: NDArray[Any], step: Any, start: Any, shape: Any, order: Any, first: Any = (0, 0, 0)
) -> Volume:
    """Return values at ``(start + k) * step - first`` of voxels, as float32 in Fortran order."""
    from scipy import ndimage

    result = np.empty(shape, np.float32, order="F")
    scale: NDArray[Any] = np.array(step)
    with warnings.catch_warnings():  # older ones tell that this was otherwise before 0.18
        warnings.simplefilter("ignore", UserWarning)
        ndimage.affine_transform(
            voxels.T,  # which lies in memory as scipy walks through it
            scale[::-1],
            (scale * start - first)[::-1],
            output=result.T,
            output_shape=result.T.shape,
            order=order,
            mode="nearest",
        )
    return result


def _slices(start: Any, shape: Any) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))


def _find_boxes(mask: Mask) -> dict[int, Box]:
    """Return label -> its bounding box, of the labels above 0 that occur, in order."""
    from scipy import ndimage

    found: Any = ndimage.find_objects(mask.T)
    return {
        label: tuple((side.start, side.stop - 1) for side in reversed(sides))
        for label, sides in enumerate(found, 1)
        if sides is not None
    }


def find_box(crop: str | None, volume: Volume, modality: str, mask: Mask | None) -> Box | None:
    """Return the box of the ``body`` or the ``labels``, where a crop to one is wanted."""
    if crop == "body":
        return find_body_box(volume, modality)
    return find_label_box(mask) if crop == "labels" and mask is not None else None


def find_label_box(mask: NDArray[Any]) -> Box | None:
    """Return the bounding box of all labels above 0; None where there are none."""
    return _find_boxes((mask > 0).view(np.uint8)).get(1)


def find_body_box(volume: Volume, modality: str) -> Box | None:
    """Return the bounding box of the body: the largest connected region of what is bright.

    Bright is in CT what is above -500 HU, elsewhere what is above the mean. None where nothing is.
    """
    from scipy import ndimage

    above = _BODY_ABOVE_HU if modality == "ct" else float(volume.mean(dtype=np.float64))
    regions, n_regions = ndimage.label((volume > above).T)
    if not n_regions:
        return None
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return find_label_box(sizes.argmax() == regions.T)


def scale_to_window(volume: Volume, low: float, high: float) -> Volume:
    """Return values from ``low`` to ``high`` as 0 to 1; what is outside becomes 0 or 1."""
    scaled = np.clip(volume, np.float32(low), np.float32(high))
    scaled -= np.float32(low)
    scaled /= np.float32(high) - np.float32(low) or np.float32(1)  # of a scan of one value
    return scaled
