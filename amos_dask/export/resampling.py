"""Volumes and masks on the grid that an export wants: turned, resampled, cut out. Arrays only."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.nifti import Mask

Volume = NDArray[np.float32]
Box = tuple[tuple[int, int], ...]  # first and last voxel along each axis, both in it

ORDERS = {"linear": 1, "cubic": 3}
# A step so close to 1 moves no voxel of a grid by more than this share of one: it is 1.
_SAME_VOXEL_WITHIN = 1e-4
# A voxel that lies so close to half its size beyond the scan's last centre is left out.
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

    @property
    def is_resampled(self) -> bool:
        """Whether any voxel lies elsewhere than one of the scan."""
        return self.step != (1.0, 1.0, 1.0)

    def cut(self, box: Box, margin_mm: float) -> Grid:
        """Return the part of an uncut grid that holds a box of the turned scan, and a margin."""
        sizes = geometry.voxel_sizes_mm(self.affine) / self.step
        start, shape = [], []
        for (first, last), n, step, size in zip(box, self.shape, self.step, sizes, strict=True):
            begin = max(0, int(np.floor((first - margin_mm / size) / step)))
            end = min(n - 1, int(np.ceil((last + margin_mm / size) / step)))
            start.append(begin)
            shape.append(end + 1 - begin)
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ start
        cut_shape = (shape[0], shape[1], shape[2])
        return replace(self, start=tuple(start), shape=cut_shape, affine=affine)


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
        Its first voxel is the scan's; its last one is the closest to the scan's last, of two that
        are as close the one inside.
    """
    target = affine if orientation is None else geometry.pointing_to(orientation)
    turn, turned = geometry.closest_turn(target, affine, tuple(shape))
    n_voxels = np.array(geometry.turned_shape(turn, tuple(shape)))
    step = np.ones(3)
    if spacing_mm is not None:
        step = np.asarray(spacing_mm) / geometry.voxel_sizes_mm(turned)
        step[np.abs(step - 1) * n_voxels <= _SAME_VOXEL_WITHIN] = 1
    nx, ny, nz = (int(n) for n in np.ceil((n_voxels - 1) / step + 0.5 - _TIE_WITHIN))
    scaled = turned * np.append(step, 1)
    return Grid(turn, tuple(step.tolist()), (0, 0, 0), (nx, ny, nz), scaled)


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
    if not grid.is_resampled:
        return turned[_slices(grid.start, grid.shape)]
    return _interpolate(turned, grid.step, grid.start, grid.shape, ORDERS[interpolation])


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
    if not grid.is_resampled:
        return turned[_slices(grid.start, grid.shape)]
    labels = np.zeros(grid.shape, np.uint8, order="F")
    largest = np.zeros(grid.shape, np.float32, order="F")
    all_others = np.zeros(grid.shape, np.float32, order="F")  # shares of what is not background
    for label, box in find_boxes(turned).items():
        near = tuple(
            slice(max(0, first - 1), last + 2) for (first, last) in box
        )  # all voxels around it that are not the label's, or the scan's end
        begin, shape = _reach(box, turned.shape, grid)
        if min(shape) < 1:
            continue
        binary = (turned[near] == label).view(np.uint8)
        first = tuple(side.start for side in near)
        start = tuple(a + b for a, b in zip(grid.start, begin, strict=True))
        share = _interpolate(binary, grid.step, start, shape, 1, first)
        place = _slices(begin, shape)
        is_larger = share > largest[place]
        labels[place][is_larger] = label
        largest[place][is_larger] = share[is_larger]
        all_others[place] += share
    labels[1 - all_others >= largest] = 0
    return labels


def _reach(box: Box, n_voxels: Sequence[int], grid: Grid) -> tuple[tuple[int, ...], Any]:
    """Return first voxel and shape of the part of a grid in which a box may have a share."""
    begins, sizes = [], []
    axes = zip(box, n_voxels, grid.step, grid.start, grid.shape, strict=True)
    for (first, last), n, step, start, size in axes:
        begin = max(0, int(np.floor((first - 1) / step)) - start)
        end = size  # beyond the scan's last voxel its values go on
        if last + 1 < n:
            end = min(size, int(np.ceil((last + 1) / step)) + 1 - start)
        begins.append(begin)
        sizes.append(end - begin)
    return tuple(begins), tuple(sizes)


def _interpolate(
    voxels: NDArray[Any],
    step: Sequence[float],
    start: Sequence[int],
    shape: Sequence[int],
    order: Any,
    first: Sequence[int] = (0, 0, 0),
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


def _slices(start: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))


def find_boxes(mask: Mask) -> dict[int, Box]:
    """Return label -> its bounding box, of the labels above 0 that occur, in order."""
    from scipy import ndimage

    found: Any = ndimage.find_objects(mask.T)
    return {
        label: tuple((side.start, side.stop - 1) for side in reversed(sides))
        for label, sides in enumerate(found, 1)
        if sides is not None
    }


def find_label_box(mask: Mask) -> Box | None:
    """Return the bounding box of all labels above 0; None where there are none."""
    return find_boxes((mask > 0).view(np.uint8)).get(1)


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
    sides: Any = ndimage.find_objects(regions)[int(sizes.argmax()) - 1]
    return tuple((side.start, side.stop - 1) for side in reversed(sides))


def scale_to_window(volume: Volume, low: float, high: float) -> Volume:
    """Return values from ``low`` to ``high`` as 0 to 1; what is outside becomes 0 or 1."""
    scaled = np.clip(volume, np.float32(low), np.float32(high))
    scaled -= np.float32(low)
    scaled /= np.float32(high) - np.float32(low) or np.float32(1)  # of a scan of one value
    return scaled
