"""Denoising of a multi-label mask, slice by slice: small islands opened, small holes closed."""

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit, njit_inline
from amos_dask.kernels.holes import Groups, find_holes, new_groups, new_search
from amos_dask.kernels.layout import flat_fortran
from amos_dask.kernels.morphology import Box, Kernel, close_label, new_kernel, open_label
from amos_dask.kernels.runs import new_runs
from amos_dask.kernels.slices import (
    Labels,
    SmallComponents,
    collect_small,
    find_contacts,
    find_labels,
    has_small,
    label_plane,
)
from amos_dask.kernels.voting import vote

IntArray = NDArray[np.int64]
BytePlane = NDArray[np.uint8]


def denoise_slices(
    mask: NDArray[np.uint8],
    spacing_xy_mm: tuple[float, float],
    area_threshold_mm2: float,
    kernel_size: tuple[int, int],
    filter_halfedge: int,
) -> NDArray[np.uint8]:
    """Open small islands, close small holes and settle what remains unclear by a vote.

    Every slice of fixed z is treated on its own. For each label, a component of its binary mask
    (8-connected) smaller than the threshold is replaced by what is there in the mask's opening,
    and a component of the complement likewise by the closing; all else stays. A pixel that then
    has not exactly one label takes the one with the most pixels, in the masks so processed, in
    the box of ``2 * filter_halfedge + 1`` pixels a side around it, clipped at the slice's
    border: among its own labels, or among all when it has none. Ties go to the lowest label,
    and a pixel whose box holds nothing becomes 0.

    Only pixels of small 8-connected components of the multi-label slice can change.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Multi-label volume, in Fortran order as NIfTI stores it; any other order is copied.
    spacing_xy_mm : (float, float)
        Size of a pixel along x and y.
    area_threshold_mm2 : float
        A component is small when ``n_pixels * spacing_x * spacing_y`` in float64 is below it.
    kernel_size : (int, int)
        Structuring element along x and y, at least 1, even sizes centred as scipy does.
    filter_halfedge : int
        Pixels on each side of the vote's box, at least 0.

    Returns
    -------
    uint8 (x, y, z)
        A new mask in Fortran order.

    Raises
    ------
    ValueError
        When ``mask`` is not a three-dimensional uint8 array, a kernel size is below 1 or
        ``filter_halfedge`` is negative.
    """
    kx, ky = kernel_size
    if kx < 1 or ky < 1:
        raise ValueError(f"kernel_size must be at least 1, got {kx} x {ky}")
    if filter_halfedge < 0:
        raise ValueError(f"filter_halfedge must not be negative, got {filter_halfedge}")
    source = flat_fortran(mask)
    target = np.empty(source.size, np.uint8)
    if source.size:
        nx, ny, nz = mask.shape
        max_pixels = largest_small_count(spacing_xy_mm, area_threshold_mm2, nx * ny)
        # Past the slice's size nothing changes any more; this keeps all sums within int64.
        kx, ky = min(int(kx), nx + 1), min(int(ky), ny + 1)
        halfedge = min(int(filter_halfedge), max(nx, ny))
        _denoise_volume(source, target, nx, ny, nz, max_pixels, kx, ky, halfedge)
    return target.reshape(mask.shape, order="F")


def largest_small_count(
    spacing_xy_mm: tuple[float, float], area_threshold_mm2: float, n_pixels_max: int
) -> int:
    """Return the largest number of pixels, up to ``n_pixels_max``, whose area is small.

    The area is ``n_pixels * spacing_x * spacing_y`` from left to right in float64, which never
    falls as ``n_pixels`` grows. 0 when even one pixel is not small.
    """
    spacing_x, spacing_y = float(spacing_xy_mm[0]), float(spacing_xy_mm[1])
    low, high = 0, n_pixels_max
    while low < high:
        middle = (low + high + 1) // 2
        if middle * spacing_x * spacing_y < area_threshold_mm2:
            low = middle
        else:
            high = middle - 1
    return low


@njit
def _denoise_volume(
    source: BytePlane,
    target: BytePlane,
    nx: int,
    ny: int,
    nz: int,
    max_pixels: int,
    kx: int,
    ky: int,
    halfedge: int,
) -> None:
    n = nx * ny
    runs = new_runs(nx, ny)
    parent = np.empty(n, np.int64)
    n_pixels = np.empty(n, np.int64)
    place = np.full(n, -1, np.int32)
    work = np.empty((2, n), np.uint8)
    for z in range(nz):
        plane = source[z * n : (z + 1) * n]
        denoised = target[z * n : (z + 1) * n]
        denoised[:] = plane
        n_components = label_plane(plane, nx, ny, runs, parent, n_pixels)
        if has_small(parent, n_pixels, n_components, max_pixels):
            labels = find_labels(runs, ny)
            small = collect_small(runs, ny, parent, n_pixels, n_components, max_pixels, labels)
            _denoise_plane(
                plane, denoised, nx, ny, max_pixels, kx, ky, halfedge, labels, small, place, work
            )


@njit
def _denoise_plane(
    plane: BytePlane,
    denoised: BytePlane,
    nx: int,
    ny: int,
    max_pixels: int,
    kx: int,
    ky: int,
    halfedge: int,
    labels: Labels,
    small: SmallComponents,
    place: NDArray[np.int32],
    work: NDArray[np.uint8],
) -> None:
    """Denoise a plane that has small components; ``place`` is all -1 before and after."""
    for k in range(small.pixel.size):
        place[small.pixel[k]] = k
    chosen = _choose(plane, nx, ny, max_pixels, kx, ky, labels, small, place, work)
    vote(plane, denoised, nx, ny, halfedge, small, place, labels, chosen)
    for k in range(small.pixel.size):
        place[small.pixel[k]] = -1


@njit
def _choose(
    plane: BytePlane,
    nx: int,
    ny: int,
    max_pixels: int,
    kx: int,
    ky: int,
    labels: Labels,
    small: SmallComponents,
    place: NDArray[np.int32],
    work: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Return for each small pixel k and label i whether the label's processed mask holds it."""
    chosen = np.zeros((small.pixel.size, labels.value.size), np.uint8)
    kernel = new_kernel(kx, ky)
    contacts = find_contacts(plane, nx, ny, small, place, labels)
    groups = new_groups(small.label_index.size)
    search = new_search(small, contacts, labels.value.size)
    for i in range(labels.value.size):
        label = np.int64(labels.value[i])
        members = search.by_label[search.label_begin[i] : search.label_begin[i + 1]]
        n_groups = _find_roomy(members, kx, ky, small, groups)
        _transfer(True, plane, nx, ny, label, i, kernel, n_groups, groups, small, chosen, work)
        n_groups = find_holes(i, max_pixels, small, contacts, search, groups)
        _transfer(False, plane, nx, ny, label, i, kernel, n_groups, groups, small, chosen, work)
    return chosen


@njit_inline
def _find_roomy(members: IntArray, kx: int, ky: int, small: SmallComponents, groups: Groups) -> int:
    """Keep the components in which a kernel may fit, each a group; the opening of others is 0."""
    n = 0
    for k in range(members.size):
        c = members[k]
        wide = small.box[c, 1] - small.box[c, 0] >= kx
        high = small.box[c, 3] - small.box[c, 2] >= ky
        if wide and high and small.n_pixels[c] >= kx * ky:
            groups.member[n] = c
            n += 1
            groups.begin[n] = n
    return n


@njit
def _transfer(
    opening: bool,
    plane: BytePlane,
    nx: int,
    ny: int,
    label: int,
    label_index: int,
    kernel: Kernel,
    n_groups: int,
    groups: Groups,
    small: SmallComponents,
    chosen: NDArray[np.uint8],
    work: NDArray[np.uint8],
) -> None:
    """Open or close a label around each group, and note the result at the group's pixels.

    Boxes may overlap; when together they would cost more than one box around all of them, as
    with a threshold or a kernel as large as the slice, there is just that one.
    """
    if n_groups == 0:
        return
    n_boxes = n_groups if _separate_is_cheaper(n_groups, groups, small, kernel, nx, ny) else 1
    for b in range(n_boxes):
        begin = groups.begin[b]
        end = groups.begin[b + 1] if n_boxes == n_groups else groups.begin[n_groups]
        box = _box_around(groups.member, begin, end, small)
        if opening:
            valid = open_label(plane, nx, label, kernel, box, work[0], work[1])
        else:
            valid = close_label(plane, nx, ny, label, kernel, box, work[0], work[1])
        _note(work[0], valid, nx, groups.member[begin:end], small, label_index, chosen)


@njit_inline
def _box_around(member: IntArray, begin: int, end: int, small: SmallComponents) -> Box:
    c = member[begin]
    x_begin, x_end = small.box[c, 0], small.box[c, 1]
    y_begin, y_end = small.box[c, 2], small.box[c, 3]
    for k in range(begin + 1, end):
        c = member[k]
        x_begin = min(x_begin, small.box[c, 0])
        x_end = max(x_end, small.box[c, 1])
        y_begin = min(y_begin, small.box[c, 2])
        y_end = max(y_end, small.box[c, 3])
    return Box(x_begin, x_end, y_begin, y_end)


@njit_inline
def _separate_is_cheaper(
    n_groups: int, groups: Groups, small: SmallComponents, kernel: Kernel, nx: int, ny: int
) -> bool:
    separate = 0
    for g in range(n_groups):
        box = _box_around(groups.member, groups.begin[g], groups.begin[g + 1], small)
        separate += _cost(box, kernel, nx, ny)
    around_all = _box_around(groups.member, 0, groups.begin[n_groups], small)
    return separate <= _cost(around_all, kernel, nx, ny)


@njit_inline
def _cost(box: Box, kernel: Kernel, nx: int, ny: int) -> int:
    """Return the number of pixels of a box and all that its closing depends on."""
    x_reach = kernel.x_before + kernel.x_after
    y_reach = kernel.y_before + kernel.y_after
    width = min(box.x_end + x_reach, nx) - max(box.x_begin - x_reach, 0)
    return width * (min(box.y_end + y_reach, ny) - max(box.y_begin - y_reach, 0))


@njit_inline
def _note(
    result: BytePlane,
    valid: Box,
    nx: int,
    members: IntArray,
    small: SmallComponents,
    label_index: int,
    chosen: NDArray[np.uint8],
) -> None:
    """Take over the result at the pixels of the members that lie in its box."""
    for m in range(members.size):
        c = members[m]
        for j in range(small.pixels_begin[c], small.pixels_begin[c + 1]):
            k = small.pixels_of[j]
            p = small.pixel[k]
            y = p // nx
            x = p - y * nx
            if valid.x_begin <= x < valid.x_end and valid.y_begin <= y < valid.y_end:
                chosen[k, label_index] = result[p]
