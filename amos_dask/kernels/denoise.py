"""Denoising of a multi-label mask, slice by slice: small islands opened, small holes closed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import ZERO, njit, njit_inline
from amos_dask.kernels.holes import (
    Groups,
    Search,
    begin_search,
    find_holes,
    new_groups,
    new_search,
)
from amos_dask.kernels.layout import flat_fortran
from amos_dask.kernels.morphology import Box, Kernel, close_label, new_kernel, open_label
from amos_dask.kernels.runs import Runs, new_runs
from amos_dask.kernels.slices import (
    Contacts,
    Labels,
    SmallComponents,
    collect_small,
    find_contacts,
    find_labels,
    forget_small,
    has_small,
    label_plane,
    new_contacts,
    new_labels,
    new_small_components,
)
from amos_dask.kernels.voting import Ballot, clear_ballot, new_ballot, vote

IntArray = NDArray[np.int64]
BytePlane = NDArray[np.uint8]

OPEN, CLOSE = np.uint8(0), np.uint8(1)  # not plain numbers: one copy compiled for both


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
    target = np.array(source)
    if source.size:
        nx, ny, nz = mask.shape
        max_pixels = largest_small_count(spacing_xy_mm, area_threshold_mm2, nx * ny)
        # Past the slice's size nothing changes any more; this keeps all sums within int64.
        kernel = new_kernel(min(int(kx), nx + 1), min(int(ky), ny + 1))
        halfedge = min(int(filter_halfedge), max(nx, ny))
        work = _new_workspace(nx, ny)
        _denoise_volume(source, target, nx, ny, nz, max_pixels, kernel, halfedge, work)
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


class Workspace(NamedTuple):
    """Room for any plane of a volume; ``result`` and ``scratch`` are for one label's mask."""

    runs: Runs
    parent: IntArray
    n_pixels: IntArray
    labels: Labels
    small: SmallComponents
    contacts: Contacts
    search: Search
    groups: Groups
    ballot: Ballot
    result: BytePlane
    scratch: BytePlane


def _new_workspace(nx: int, ny: int) -> Workspace:
    n = nx * ny
    return Workspace(
        runs=new_runs(nx, ny),
        parent=np.empty(n, np.int64),
        n_pixels=np.empty(n, np.int64),
        labels=new_labels(),
        small=new_small_components(n),
        contacts=new_contacts(n),
        search=new_search(n),
        groups=new_groups(n),
        ballot=new_ballot(n),
        result=np.empty(n, np.uint8),
        scratch=np.empty(n, np.uint8),
    )


@njit
def _denoise_volume(
    source: BytePlane,
    target: BytePlane,
    nx: int,
    ny: int,
    nz: int,
    max_pixels: int,
    kernel: Kernel,
    halfedge: int,
    work: Workspace,
) -> None:
    n = nx * ny
    for z in range(nz):
        plane = source[z * n : (z + 1) * n]
        n_found = label_plane(plane, nx, ny, work.runs, work.parent, work.n_pixels)
        if has_small(work.parent, work.n_pixels, n_found, max_pixels):
            n_labels = find_labels(work.runs, ny, work.labels)
            n_small = collect_small(
                work.runs, ny, work.parent, work.n_pixels, n_found, max_pixels, work.labels,
                work.small,
            )  # fmt: skip
            n_small_pixels = work.small.pixels_begin[n_small]
            clear_ballot(work.ballot, n_small_pixels, n_labels)
            _fill_ballot(plane, nx, ny, max_pixels, kernel, n_small, n_labels, work)
            vote(
                plane, target[z * n : (z + 1) * n], nx, ny, halfedge, work.labels, n_labels,
                work.small, n_small_pixels, work.ballot,
            )  # fmt: skip
            forget_small(work.small, n_small)


@njit
def _fill_ballot(
    plane: BytePlane,
    nx: int,
    ny: int,
    max_pixels: int,
    kernel: Kernel,
    n_small: int,
    n_labels: int,
    work: Workspace,
) -> None:
    """Note which labels' processed masks hold the pixels of small components."""
    search = work.search
    find_contacts(plane, nx, ny, work.labels, work.small, n_small, work.contacts)
    begin_search(work.small, n_small, work.contacts, n_labels, search)
    for i in range(n_labels):
        n_groups = _find_roomy(i, kernel, work.small, search, work.groups)
        _transfer(OPEN, plane, nx, ny, i, n_labels, kernel, n_groups, work)
        n_groups = find_holes(i, max_pixels, work.small, work.contacts, search, work.groups)
        _transfer(CLOSE, plane, nx, ny, i, n_labels, kernel, n_groups, work)


@njit_inline
def _find_roomy(
    label_index: int, kernel: Kernel, small: SmallComponents, search: Search, groups: Groups
) -> int:
    """List a label's components in which a kernel may fit; the opening of the others is 0."""
    kx = kernel.x_before + 1 + kernel.x_after
    ky = kernel.y_before + 1 + kernel.y_after
    n = 0
    for k in range(search.label_begin[label_index], search.label_begin[label_index + 1]):
        c = search.by_label[k]
        wide = small.box[c, 1] - small.box[c, 0] >= kx
        high = small.box[c, 3] - small.box[c, 2] >= ky
        if wide and high and small.n_pixels[c] >= kx * ky:
            groups.member[n] = c
            n += 1
            groups.begin[n] = n
    return n


@njit
def _transfer(
    operation: np.uint8,
    plane: BytePlane,
    nx: int,
    ny: int,
    label_index: int,
    n_labels: int,
    kernel: Kernel,
    n_groups: int,
    work: Workspace,
) -> None:
    """Open or close a label around each group, and note the result at the group's pixels.

    Boxes may overlap; when together they would cost more than one box around all of them, as
    with a threshold or a kernel as large as the slice, there is just that one.
    """
    if n_groups == 0:
        return
    label = work.labels.value[label_index]
    begin = work.groups.begin
    separate = _separate_is_cheaper(n_groups, work.groups, work.small, kernel, nx, ny)
    for b in range(n_groups if separate else 1):
        end = begin[b + 1] if separate else begin[n_groups]
        box = _box_around(work.groups.member, begin[b], end, work.small)
        if operation == OPEN:
            valid = open_label(plane, nx, label, kernel, box, work.result, work.scratch)
        else:
            valid = close_label(plane, nx, ny, label, kernel, box, work.result, work.scratch)
        _note(valid, nx, begin[b], end, label_index, n_labels, work)


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
    separate = ZERO
    for g in range(n_groups):
        box = _box_around(groups.member, groups.begin[g], groups.begin[g + 1], small)
        separate += _cost(box, kernel, nx, ny)
    around_all = _box_around(groups.member, groups.begin[0], groups.begin[n_groups], small)
    return bool(separate <= _cost(around_all, kernel, nx, ny))


@njit_inline
def _cost(box: Box, kernel: Kernel, nx: int, ny: int) -> int:
    """Return the number of pixels of a box and all that its closing depends on."""
    x_reach = kernel.x_before + kernel.x_after
    y_reach = kernel.y_before + kernel.y_after
    width = min(box.x_end + x_reach, nx) - max(box.x_begin - x_reach, 0)
    return width * (min(box.y_end + y_reach, ny) - max(box.y_begin - y_reach, 0))


@njit_inline
def _note(
    valid: Box, nx: int, begin: int, end: int, label_index: int, n_labels: int, work: Workspace
) -> None:
    """Take over the result at the pixels of the members that lie in its box."""
    small = work.small
    for m in range(begin, end):
        c = work.groups.member[m]
        for j in range(small.pixels_begin[c], small.pixels_begin[c + 1]):
            k = small.pixels_of[j]
            p = small.pixel[k]
            y = p // nx
            x = p - y * nx
            if valid.x_begin <= x < valid.x_end and valid.y_begin <= y < valid.y_end:
                work.ballot.chosen[k * n_labels + label_index] = work.result[p]
