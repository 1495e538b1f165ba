"""A scan and its mask on another grid: orientation, spacing, cropping, intensities; arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from amos_dask import geometry
from amos_dask.geometry import Affine

Shape = tuple[int, ...]
Mask = NDArray[np.uint8]
Volume = NDArray[np.float32]
Box = tuple[slice, ...]
# Raised when other voxels come of the same settings.
RESULT_VERSION = 1
# In HU: what is denser is no air. Of MR, this share of the 99th percentile is.
_AIR_HU, _AIR_OF_MR = -500.0, 0.1
# Shares of two labels that differ by less are the same; the lower label is taken.
_SAME_SHARE = 1e-6
_SAME_RATIO = 1e-6  # of spacings


@dataclass(frozen=True)
class GridSettings:
    """What arrays are asked to be; None and empty leave them as they are."""

    orientation: str = ""  # axis codes, such as ``RAS``
    # Along the axes of that orientation, in mm; ``median`` of the chosen samples.
    spacing: tuple[float, float, float] | Literal["median"] | None = None
    interpolation: Literal["linear", "cubic"] = "linear"  # of volumes
    window: tuple[float, float] | None = None  # values that become 0 and 1
    percentiles: tuple[float, float] | None = None  # likewise, of all voxels of a scan
    crop: Literal["", "body", "labels"] = ""
    margin: int = 10  # voxels that stay around what is cropped to


def reoriented(array: NDArray[Any], affine: Affine, codes: str) -> tuple[NDArray[Any], Affine]:
    """Return an (x, y, z) array whose axes point as codes say, and its affine.

    Axes are swapped and flipped to the closest; nothing is interpolated. Without codes, nothing is
    done.

    Examples
    --------
    >>> array, affine = reoriented(np.arange(3).reshape(3, 1, 1), np.diag([-1.0, 1, 1, 1]), "RAS")
    >>> array.ravel().tolist(), affine[0].tolist()
    ([2, 1, 0], [1.0, 0.0, 0.0, -2.0])
    """
    turn = _find_turn(affine, codes)
    if not geometry.is_a_turn(turn):
        return array, affine
    return geometry.turned(turn, array), affine @ inv_ornt_aff(turn, array.shape)


def spacing_along(affine: Affine, codes: str) -> tuple[float, float, float]:
    """Return the spacing in mm along the axes that codes name; without them, as they are."""
    return geometry.spacing_mm(affine @ inv_ornt_aff(_find_turn(affine, codes), (1, 1, 1)))


def _find_turn(affine: Affine, codes: str) -> geometry.Turn:
    now = io_orientation(affine)
    turn: geometry.Turn = ornt_transform(now, axcodes2ornt(tuple(codes)) if codes else now)
    return turn


def respaced(shape: Shape, affine: Affine, spacing: Sequence[float]) -> tuple[Shape, Affine]:
    """Return shape and affine of a grid with another spacing, with the same first voxel's centre.

    Of n voxels become ``round((n - 1) * old / new + 1)``, so that the last centre is at most half a
    voxel off, as MONAI's ``Spacing`` has it.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along the axes.
    affine : (4, 4) float64
        Voxel index to RAS+ mm.
    spacing : (float, float, float)
        In mm, along the same axes.

    Examples
    --------
    >>> shape, affine = respaced((10, 10, 3), np.diag([1.0, 1, 5, 1]), (1, 2, 1))
    >>> shape, np.diag(affine).tolist()
    ((10, 6, 11), [1.0, 2.0, 1.0, 1.0])
    """
    ratios = np.asarray(spacing, np.float64) / geometry.voxel_sizes_mm(affine)
    n_voxels = np.round((np.asarray(shape) - 1) / ratios + 1).astype(int)
    return tuple(n_voxels.tolist()), affine @ np.diag([*ratios, 1.0])


def resampled(volume: Volume, ratios: Sequence[float], shape: Shape, order: int) -> Volume:
    """Return a volume at every ``ratios`` voxels of its own; beyond the last one it stays as there.

    Parameters
    ----------
    volume : (x, y, z) float32
        Values.
    ratios : (float, float, float)
        New spacing over old.
    shape : (int, int, int)
        Voxels of the new grid.
    order : int
        Of the spline: 1 linear, 3 cubic, which may go beyond the values that there are.
    """
    if _is_same_grid(ratios, shape, volume.shape):
        return volume
    return _interpolated(volume, ratios, (0.0, 0.0, 0.0), shape, order)


def _is_same_grid(ratios: Sequence[float], shape: Shape, before: Shape) -> bool:
    return shape == before and np.allclose(ratios, 1.0, rtol=0, atol=_SAME_RATIO)


def _interpolated(
    array: Volume, ratios: Sequence[float], offset: Sequence[float], shape: Shape, order: int
) -> Volume:
    """Return an array at ``ratios * index + offset``."""
    # scipy goes through arrays in C order, which that of the transposed array is: which is faster.
    found = ndimage.affine_transform(
        array.T,
        np.asarray(ratios)[::-1],
        np.asarray(offset)[::-1],
        output_shape=shape[::-1],
        output=np.float32,
        order=order,
        mode="nearest",
    )
    return np.asarray(found.T, np.float32)


def resampled_labels(mask: Mask, ratios: Sequence[float], shape: Shape) -> Mask:
    """Return a mask on another grid: each voxel gets the label with the largest share there.

    A label's share is the linear interpolation of where it is (1) and is not (0); of labels with
    the same share the lowest is taken.

    Parameters
    ----------
    mask : (x, y, z) uint8
        Labels.
    ratios, shape
        As for `resampled`.
    """
    if _is_same_grid(ratios, shape, mask.shape):
        return mask
    found = np.zeros(shape, np.uint8, order="F")
    best, total = (np.zeros(shape, np.float32, order="F") for _ in range(2))
    for label, box in enumerate(ndimage.find_objects(mask), start=1):
        if box is None:
            continue
        inside, outside = _neighbourhood(box, mask.shape, ratios, shape)
        is_label = (mask[inside] == label).astype(np.float32)
        offset = [o.start * r - i.start for o, r, i in zip(outside, ratios, inside, strict=True)]
        n_voxels = tuple(each.stop - each.start for each in outside)
        share = _interpolated(is_label, ratios, offset, n_voxels, order=1)
        total[outside] += share
        is_best = share > best[outside] + _SAME_SHARE
        found[outside][is_best], best[outside][is_best] = label, share[is_best]
    found[1 - total >= best - _SAME_SHARE] = 0
    return found


def _neighbourhood(
    box: Box, shape: Shape, ratios: Sequence[float], new_shape: Shape
) -> tuple[Box, Box]:
    """Return a box with a voxel more around it, and the voxels of the new grid that see it."""
    inside = tuple(
        slice(max(0, each.start - 1), min(n, each.stop + 1))
        for each, n in zip(box, shape, strict=True)
    )
    outside = tuple(
        slice(
            max(0, int(np.floor((each.start - 1) / ratio))),
            # What lies beyond the last voxel is as that.
            n_new if each.stop == n else min(n_new, int(np.ceil(each.stop / ratio)) + 1),
        )
        for each, n, ratio, n_new in zip(box, shape, ratios, new_shape, strict=True)
    )
    return inside, outside


def scaled(volume: Volume, low: float, high: float) -> Volume:
    """Return values with ``low`` as 0 and ``high`` as 1; what is beyond is cut off."""
    width = np.float32(high - low) if high > low else np.float32(1)
    found: Volume = np.clip((volume - np.float32(low)) / width, 0, 1)
    return found


def body_box(volume: Volume, modality: str) -> Box:
    """Return the box around the largest region that is no air; all, where there is none.

    Of CT, that is what has more than -500 HU; of others, a tenth of the 99th percentile of all
    voxels.
    """
    air = _AIR_HU if modality == "ct" else _AIR_OF_MR * float(np.percentile(volume, 99))
    regions, n_regions = ndimage.label(volume > air)
    if not n_regions:
        return tuple(slice(0, n) for n in volume.shape)
    largest = int(np.argmax(np.bincount(regions.ravel())[1:]))
    return tuple(ndimage.find_objects(regions)[largest])


def labels_box(mask: Mask) -> Box | None:
    """Return the box around all labels; None where there are none."""
    return next(iter(ndimage.find_objects((mask > 0).view(np.uint8))), None)


def with_margin(box: Box, margin: int, shape: Shape) -> Box:
    """Return a box with so many voxels more on every side, as far as there are any."""
    return tuple(
        slice(max(0, each.start - margin), min(n, each.stop + margin))
        for each, n in zip(box, shape, strict=True)
    )


def moved(affine: Affine, box: Box) -> Affine:
    """Return the affine of what was cropped to a box."""
    start = np.eye(4)
    start[:3, 3] = [each.start for each in box]
    return affine @ start
