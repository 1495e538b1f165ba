"""The slow, obvious oracle: section 4 of the specification, word for word.

Every function here is one definition, written with numpy and `scipy.ndimage` as plainly as
possible and without a thought for speed. The kernels and stages are compared with it for exact
equality, so nothing in this file may be derived from them.

Arrays are (x, y, z) as stored, a slice is fixed z (axis 2), spacing is in mm, and "small" always
means strictly below the threshold. Products are float64 and evaluated from left to right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.uint8]
Bits = NDArray[np.bool_]

EXCEL_CELL_LIMIT = 32_767
"""The most characters an Excel cell holds."""


@dataclass(frozen=True)
class Component:
    """A 26-connected component of one label.

    Parameters
    ----------
    label : int
        The label all its voxels have.
    n_voxels : int
        How many voxels it has.
    centroid_sums : tuple of int
        The sums of its voxels' 0-based x, y and z indexes.
    first_voxel : int
        The flat index, in C order, of its first voxel in C order.
    """

    label: int
    n_voxels: int
    centroid_sums: tuple[int, int, int]
    first_voxel: int


@dataclass(frozen=True)
class Region:
    """A small component as the worksheets report it.

    Parameters
    ----------
    x, y, z : int
        The 0-based centroid, rounded half to even.
    n_voxels : int
        How many voxels it has.
    volume_mm3 : float
        ``n_voxels * spx * spy * spz``.
    """

    x: int
    y: int
    z: int
    n_voxels: int
    volume_mm3: float


def components(mask: Mask) -> list[Component]:
    """Find the 26-connected components of equal label, background included.

    Parameters
    ----------
    mask : (nx, ny, nz) uint8 array
        Multi-label mask; any of the axes may be empty.

    Returns
    -------
    list of Component
        Sorted by the first voxel in C order.
    """
    found: list[Component] = []
    if mask.size == 0:
        return found
    for label in np.unique(mask):
        numbered, n_components = ndimage.label(mask == label, structure=np.ones((3, 3, 3)))
        for number in range(1, n_components + 1):
            voxels = np.argwhere(numbered == number)  # in C order
            x, y, z = (int(index) for index in voxels[0])
            sums = [int(total) for total in voxels.sum(axis=0, dtype=np.int64)]
            found.append(
                Component(
                    label=int(label),
                    n_voxels=len(voxels),
                    centroid_sums=(sums[0], sums[1], sums[2]),
                    first_voxel=(x * mask.shape[1] + y) * mask.shape[2] + z,
                )
            )
    return sorted(found, key=lambda component: component.first_voxel)


def small_regions(
    mask: Mask,
    spacing_mm: Sequence[float],
    threshold_mm3: float,
    labels: Iterable[int],
) -> dict[int, list[Region]]:
    """Find each label's components whose volume is strictly below a threshold.

    Parameters
    ----------
    mask : (nx, ny, nz) uint8 array
        Multi-label mask.
    spacing_mm : sequence of 3 floats
        ``spx, spy, spz`` in mm.
    threshold_mm3 : float
        A component of exactly this volume is not small.
    labels : iterable of int
        The labels of the label map, background included. Others are not reported.

    Returns
    -------
    dict of int to list of Region
        An entry a label, empty when it has no small region; regions in the order of their first
        voxel in C order.
    """
    spx, spy, spz = (float(spacing) for spacing in spacing_mm)
    found: dict[int, list[Region]] = {int(label): [] for label in labels}
    for component in components(mask):
        volume_mm3 = component.n_voxels * spx * spy * spz
        if component.label in found and volume_mm3 < threshold_mm3:
            # round() of an exact fraction rounds half to even.
            x, y, z = (
                round(Fraction(total, component.n_voxels)) for total in component.centroid_sums
            )
            found[component.label].append(Region(x, y, z, component.n_voxels, volume_mm3))
    return found


def region_cell(regions: Sequence[Region], limit: int = EXCEL_CELL_LIMIT) -> str:
    """Write one label's small regions as the text of a cell of the worksheet `Manifest`.

    Parameters
    ----------
    regions : sequence of Region
        In the order they are to be written.
    limit : int
        The most characters the text may have.

    Returns
    -------
    str
        ``(x,y,z,mm3); (x,y,z,mm3)``, empty without regions. A text that would pass the limit
        keeps as many whole entries as fit and ends ``… (N more; see Regions)``.
    """
    entries = [f"({r.x},{r.y},{r.z},{r.volume_mm3:.2f})" for r in regions]
    text = "; ".join(entries)
    n_kept = len(entries)
    while len(text) > limit:
        n_kept -= 1
        ending = f"… ({len(entries) - n_kept} more; see Regions)"
        text = "; ".join([*entries[:n_kept], ending])
    return text


def small_components(
    binary: Bits, spacing_xy_mm: Sequence[float], area_threshold_mm2: float
) -> Bits:
    """Mark the pixels of a binary slice's small 8-connected components.

    Parameters
    ----------
    binary : (nx, ny) bool array
        One slice of a binary mask, or of its complement.
    spacing_xy_mm : sequence of 2 floats
        ``spx, spy`` in mm.
    area_threshold_mm2 : float
        A component of exactly this area is not small.

    Returns
    -------
    (nx, ny) bool array
        True in the components with ``n_pixels * spx * spy < area_threshold_mm2``.
    """
    spx, spy = (float(spacing) for spacing in spacing_xy_mm)
    small = np.zeros(binary.shape, dtype=bool)
    numbered, n_components = ndimage.label(binary, structure=np.ones((3, 3)))
    for number in range(1, n_components + 1):
        component = numbered == number
        n_pixels = int(component.sum())
        if n_pixels * spx * spy < area_threshold_mm2:
            small |= component
    return small


def optimize(
    binary: Bits,
    spacing_xy_mm: Sequence[float],
    area_threshold_mm2: float,
    kernel_size: Sequence[int],
) -> Bits:
    """Apply the tutorial's ``Optimize`` to one slice of one label's binary mask.

    Parameters
    ----------
    binary : (nx, ny) bool array
        One slice of a binary mask.
    spacing_xy_mm : sequence of 2 floats
        ``spx, spy`` in mm.
    area_threshold_mm2 : float
        Components below it are small.
    kernel_size : sequence of 2 ints
        ``kx, ky`` in pixels.

    Returns
    -------
    (nx, ny) bool array
        The opening in small components, the closing in small components of the complement, the
        mask itself elsewhere.
    """
    kx, ky = (int(size) for size in kernel_size)
    structure = np.ones((kx, ky), dtype=bool)
    opened = ndimage.binary_opening(binary, structure=structure)  # border_value is 0 in both
    closed = ndimage.binary_closing(binary, structure=structure)
    islands = small_components(binary, spacing_xy_mm, area_threshold_mm2)
    holes = small_components(~binary, spacing_xy_mm, area_threshold_mm2)
    rest = ~(islands | holes)
    return (rest & binary) | (islands & opened) | (holes & closed)


def vote(
    processed: dict[int, Bits],
    candidates: Sequence[int],
    x: int,
    y: int,
    filter_halfedge: int,
) -> int:
    """Choose the candidate with most voxels in the box around a voxel, the lowest of equals.

    Parameters
    ----------
    processed : dict of int to (nx, ny) bool array
        Each label's processed mask.
    candidates : sequence of int
        The labels to choose from.
    x, y : int
        The voxel.
    filter_halfedge : int
        The box has ``2 * filter_halfedge + 1`` voxels a side, clipped at the slice's border.

    Returns
    -------
    int
        The label chosen; 0 when no candidate has a voxel in the box.
    """
    box = (
        slice(max(x - filter_halfedge, 0), x + filter_halfedge + 1),
        slice(max(y - filter_halfedge, 0), y + filter_halfedge + 1),
    )
    winner, most = 0, 0
    for label in sorted(candidates):
        n_votes = int(processed[label][box].sum())
        if n_votes > most:
            winner, most = label, n_votes
    return winner


def denoise_slice(
    mask: Mask,
    spacing_xy_mm: Sequence[float],
    area_threshold_mm2: float,
    kernel_size: Sequence[int],
    filter_halfedge: int,
    labels: Sequence[int],
) -> Mask:
    """Denoise one slice of a multi-label mask.

    Parameters
    ----------
    mask : (nx, ny) uint8 array
        The slice. All its labels must be among `labels`.
    spacing_xy_mm, area_threshold_mm2, kernel_size
        See `optimize`.
    filter_halfedge : int
        See `vote`.
    labels : sequence of int
        The labels of the label map.

    Returns
    -------
    (nx, ny) uint8 array
        A new slice.
    """
    processed = {
        label: optimize(mask == label, spacing_xy_mm, area_threshold_mm2, kernel_size)
        for label in labels
    }
    result = np.zeros(mask.shape, dtype=np.uint8)
    for x, y in np.ndindex(mask.shape):
        labels_set = [label for label in labels if processed[label][x, y]]
        if len(labels_set) == 1:
            result[x, y] = labels_set[0]
        elif len(labels_set) == 0:
            result[x, y] = vote(processed, labels, x, y, filter_halfedge)
        else:
            result[x, y] = vote(processed, labels_set, x, y, filter_halfedge)
    return result


def denoise(
    mask: Mask,
    spacing_mm: Sequence[float],
    area_threshold_mm2: float,
    kernel_size: Sequence[int],
    filter_halfedge: int,
    labels: Iterable[int],
) -> Mask:
    """Denoise a multi-label mask slice by slice, as the tutorial's formulas say.

    Parameters
    ----------
    mask : (nx, ny, nz) uint8 array
        Multi-label mask. All its labels must be among `labels`.
    spacing_mm : sequence of at least 2 floats
        ``spx, spy`` in mm; ``spz`` plays no part.
    area_threshold_mm2 : float
        Components of a slice strictly below it are small.
    kernel_size : sequence of 2 ints
        ``kx, ky`` in pixels: opening and closing use a structure of ones of this shape.
    filter_halfedge : int
        Votes are counted in boxes of ``2 * filter_halfedge + 1`` voxels a side.
    labels : iterable of int
        The labels of the label map.

    Returns
    -------
    (nx, ny, nz) uint8 array
        A new mask.
    """
    labels = [int(label) for label in labels]
    unknown = set(np.unique(mask).tolist()) - set(labels)
    if unknown:
        raise ValueError(f"the label map lacks {sorted(unknown)}: such a mask is never denoised")
    how = (tuple(spacing_mm[:2]), area_threshold_mm2, tuple(kernel_size), filter_halfedge)
    asked = (mask.shape, mask.tobytes(), *how, tuple(labels))
    if asked in _DENOISED:
        return _DENOISED[asked].copy()
    result = np.zeros(mask.shape, dtype=np.uint8)
    if mask.size == 0:
        return result
    for z in range(mask.shape[2]):
        result[:, :, z] = denoise_slice(
            mask[:, :, z], spacing_mm[:2], area_threshold_mm2, kernel_size, filter_halfedge, labels
        )
    _DENOISED[asked] = result.copy()
    return result


# What was asked before, by the same files of another archive.
_DENOISED: dict[tuple[object, ...], Mask] = {}


def undo_labels(before: Mask, after: Mask, labels: Iterable[int]) -> Mask:
    """Undo what denoising did to some labels.

    Parameters
    ----------
    before, after : (nx, ny, nz) uint8 array
        The mask before and after denoising.
    labels : iterable of int
        The excluded labels.

    Returns
    -------
    (nx, ny, nz) uint8 array
        A new mask: the label before where it or the label after is excluded, else the label after.
    """
    excluded = set(labels)
    result = after.copy()
    for voxel in np.ndindex(before.shape):
        if int(before[voxel]) in excluded or int(after[voxel]) in excluded:
            result[voxel] = before[voxel]
    return result


def label_changes(before: Mask, after: Mask) -> list[tuple[int, int, int]]:
    """Count the voxels that changed.

    Parameters
    ----------
    before, after : uint8 array
        The mask before and after denoising.

    Returns
    -------
    list of (int, int, int)
        Label before, another label after, number of voxels; in this order, none of zero.
    """
    return [
        (old, new, n_voxels)
        for old in np.unique(before).tolist()
        for new in np.unique(after).tolist()
        if old != new and (n_voxels := int(((before == old) & (after == new)).sum()))
    ]


def split_prostate_uterus(mask: Mask, sex: str) -> Mask:
    """Turn label 15 into 16 where the sex is F.

    Parameters
    ----------
    mask : uint8 array
        Multi-label mask.
    sex : str
        ``F``, ``M``, or anything else for unknown.

    Returns
    -------
    uint8 array
        A new mask; equal to the old one unless the sex is ``F``.
    """
    result = mask.copy()
    if sex == "F":
        result[mask == 15] = 16
    return result


def binary_mask(mask: Mask, label: int) -> Mask:
    """Make the binary mask of one label.

    Parameters
    ----------
    mask : uint8 array
        Multi-label mask.
    label : int
        The label.

    Returns
    -------
    uint8 array
        1 where the mask has the label, 0 elsewhere.
    """
    return np.asarray(mask == label, dtype=np.uint8)


def scaled_float32(raw: NDArray[np.generic], slope: float, inter: float) -> NDArray[np.float32]:
    """Scale stored values in float64 and cast the result to float32.

    Parameters
    ----------
    raw : array of integers or floats
        The values as stored in the file.
    slope, inter : float
        The file's ``scl_slope`` and ``scl_inter``.

    Returns
    -------
    float32 array
        ``float32(float64(raw) * slope + inter)``.
    """
    with np.errstate(all="ignore"):
        return (raw.astype(np.float64) * float(slope) + float(inter)).astype(np.float32)


def valid_mask_values(values: NDArray[np.generic]) -> bool:
    """Tell whether values can be a mask: all finite whole numbers within 0..255.

    Parameters
    ----------
    values : array of integers or floats
        The values, after scaling.

    Returns
    -------
    bool
        True also when there are no values.
    """
    return all(
        np.isfinite(value) and value == np.floor(value) and 0 <= value <= 255
        for value in np.ravel(values)
    )


def merge_masks(
    binary: dict[int, Bits], order: Sequence[int]
) -> tuple[Mask, list[tuple[int, int, int]]]:
    """Merge binary masks of labels, and count the voxels that each two of them share.

    Parameters
    ----------
    binary : dict of int to bool array
        Label -> its mask; all of one shape, at least one.
    order : sequence of int
        The labels; of those that cover a voxel it gets the last one.

    Returns
    -------
    uint8 array
        The merged mask; 0 where there is no label.
    list of (int, int, int)
        The lower label, the higher one, number of voxels; in this order, none of zero.
    """
    result = np.zeros(next(iter(binary.values())).shape, dtype=np.uint8)
    shared = Counter[tuple[int, int]]()
    for voxel in np.ndindex(result.shape):
        labels = {label for label, mask in binary.items() if mask[voxel]}
        if labels:
            result[voxel] = max(labels, key=list(order).index)
        shared.update((i, j) for i in labels for j in labels if i < j)
    return result, sorted((i, j, n) for (i, j), n in shared.items())
