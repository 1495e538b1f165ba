"""Denoising of a multi-label mask, slice by slice: small islands opened, small holes closed.

A component of the complement of a label is a union of components of the slice, and small only if
all of them are. So only pixels of small components can change, and no complement is ever labelled:
islands and holes are flooded from those pixels, opened or closed in a window around them, and then
the vote settles what is unclear.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from amos_dask.kernels.accelerate import ZERO, Bytes, Ints, flat_fortran, njit, njit_inline
from amos_dask.kernels.components import (
    N_VOXELS,
    Runs,
    Shape,
    Table,
    merge_table,
    new_runs,
    new_table,
    scan_slice,
)
from amos_dask.kernels.slice_filters import CLOSE, OPEN, Plane, Window, box_around, filter_label

_UNSEEN = -1  # not flooded yet for the current label


def denoise_slices(
    mask: Bytes,
    spacing_xy_mm: tuple[float, float],
    area_threshold_mm2: float,
    kernel_size: tuple[int, int],
    filter_halfedge: int,
) -> Bytes:
    """Open small islands, close small holes and settle what remains unclear by a vote.

    Every slice of fixed z is treated on its own. For each label, a component of its binary mask
    (8-connected) smaller than the threshold is replaced by what is there in the mask's opening,
    and a component of the complement likewise by the closing; all else stays. A pixel that then
    has not exactly one label takes the one with the most pixels, in the masks so processed, in
    the box of ``2 * filter_halfedge + 1`` pixels a side around it, clipped at the slice's
    border: among its own labels, or among all when it has none. Ties go to the lowest label,
    and a pixel whose box holds nothing becomes 0.

    Only pixels of small 8-connected components of the multi-label slice can change.

    Opening and closing are those of `scipy.ndimage` with ``border_value=0``. The formulas are the
    tutorial's (``Optimize`` and the vote of ``denoise``).

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Multi-label mask, not changed; copied unless it is in Fortran order, as NIfTI stores it.
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

    Examples
    --------
    >>> mask = np.ones((9, 9, 1), np.uint8)
    >>> mask[4, 4] = 2  # an island of 1 mm2
    >>> np.unique(denoise_slices(mask, (1.0, 1.0), 10.0, (3, 3), 3)).tolist()
    [1]
    >>> np.unique(denoise_slices(mask, (1.0, 1.0), 1.0, (3, 3), 3)).tolist()
    [1, 2]
    """
    kx, ky = kernel_size
    if kx < 1 or ky < 1:
        raise ValueError(f"kernel_size must be at least 1, got {kx} x {ky}")
    if filter_halfedge < 0:
        raise ValueError(f"filter_halfedge must not be negative, got {filter_halfedge}")
    source = flat_fortran(mask)
    target = np.array(source)
    if source.size:
        nx, ny, _ = mask.shape
        max_pixels = _largest_small_count(spacing_xy_mm, area_threshold_mm2, nx * ny)
        # Past the slice's size nothing changes any more; this keeps all sums within int64.
        kernel = min(int(kx), nx + 1), min(int(ky), ny + 1)
        rule = Rule(max_pixels, kernel, min(int(filter_halfedge), max(nx, ny)))
        _denoise_volume(source, target, mask.shape, rule, _new_workspace(nx, ny))
    return target.reshape(mask.shape, order="F")


def _largest_small_count(
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


class Rule(NamedTuple):
    """How to denoise, in pixels: the largest small component, the kernel, the box's half edge."""

    max_pixels: int
    kernel: tuple[int, int]
    halfedge: int


class Workspace(NamedTuple):
    """Room for any slice of a volume; what no slice needs is never touched and costs nothing.

    The pixels of small components have places: ``pixel[k]`` is the k-th in raster order, and
    ``place[p]`` the place of pixel p, -1 in a big component. ``seen[k]`` is the place from which
    it was flooded for the current label, and ``group`` the places that a flood gathered.
    ``result`` is a label's opening or closing, filled in windows.
    ``chosen[k * n_labels + i]`` is 1 where the processed mask of the i-th label holds the pixel.
    ``label`` are the labels that occur, ascending, and ``votes`` are counted for every label.
    """

    runs: Runs
    table: Table
    pixel: Ints
    place: Ints
    seen: Ints
    group: Ints
    result: Bytes
    scratch: Bytes
    chosen: Bytes
    label: Bytes
    votes: Ints


def _new_workspace(nx: int, ny: int) -> Workspace:
    n = nx * ny
    return Workspace(
        runs=new_runs(nx, ny),
        table=new_table(n),
        pixel=np.empty(n, np.int64),
        place=np.full(n, -1, np.int64),
        seen=np.empty(n, np.int64),
        group=np.empty(n, np.int64),
        result=np.empty(n, np.uint8),
        scratch=np.empty(n, np.uint8),
        chosen=np.empty(256 * n, np.uint8),
        label=np.empty(256, np.uint8),
        votes=np.empty(256, np.int64),
    )


@njit
def _denoise_volume(
    source: Bytes, target: Bytes, shape: Shape, rule: Rule, work: Workspace
) -> None:
    nx, ny, nz = shape
    for z in range(nz):
        pixels = slice(z * nx * ny, (z + 1) * nx * ny)
        plane = Plane(source[pixels], nx, ny)
        n = scan_slice(plane.values, ZERO, shape, work.runs, work.runs, work.table, ZERO)
        n_small = _find_small(plane, n, rule.max_pixels, work)
        if n_small > 0:
            n_labels = _find_labels(plane, work)
            for i in range(n_small * n_labels):
                work.chosen[i] = 0
            for i in range(n_labels):
                _process_label(OPEN, plane, i, n_labels, n_small, rule, work)
                _process_label(CLOSE, plane, i, n_labels, n_small, rule, work)
            _vote(plane, n_labels, n_small, rule.halfedge, work, target[pixels])
            for k in range(n_small):
                work.place[work.pixel[k]] = -1


# ---------------------------------------------------------------- small components


@njit_inline
def _find_small(plane: Plane, n_found: int, max_pixels: int, work: Workspace) -> int:
    """Give places to the pixels of small components; return their number."""
    start, _, component_id, row_begin, _ = work.runs
    rows, root = work.table
    merge_table(work.table, n_found)
    n = ZERO
    for y in range(plane.ny):
        for i in range(row_begin[y], row_begin[y + 1] - 1):
            if rows[root[component_id[i]], N_VOXELS] <= max_pixels:
                for p in range(y * plane.nx + start[i], y * plane.nx + start[i + 1]):
                    work.pixel[n] = p
                    work.place[p] = n
                    n += 1
    return n


@njit_inline
def _find_labels(plane: Plane, work: Workspace) -> int:
    """List the labels that occur in the slice; return their number."""
    for label in range(256):
        work.votes[label] = 0
    for i in range(work.runs.row_begin[plane.ny]):
        work.votes[work.runs.label[i]] = 1
    n = ZERO
    for label in range(256):
        if work.votes[label] != 0:
            work.label[n] = label
            n += 1
    return n


@njit
def _process_label(
    operation: np.uint8,
    plane: Plane,
    i: int,
    n_labels: int,
    n_small: int,
    rule: Rule,
    work: Workspace,
) -> None:
    """Open the islands or close the holes of the i-th label, and note what it then holds."""
    label = work.label[i]
    is_opening = operation == OPEN
    # An island smaller than the kernel holds none: its opening is empty.
    least = rule.kernel[0] * rule.kernel[1] if is_opening else ZERO + 1
    n_pixels_left = plane.nx * plane.ny
    for k in range(n_small):
        work.seen[k] = _UNSEEN
    for k in range(n_small):
        is_label = plane.values[work.pixel[k]] == label
        if is_label == is_opening and work.seen[k] == _UNSEEN:
            n = _flood(k, plane, label, is_label, work)
            if least <= n <= rule.max_pixels:
                n_pixels_left = _filter_around(
                    operation, plane, label, n, n_pixels_left, rule.kernel, work
                )
                for g in range(n):
                    place = work.group[g]
                    work.chosen[place * n_labels + i] = work.result[work.pixel[place]]


@njit_inline
def _flood(seed: int, plane: Plane, label: np.uint8, is_label: bool, work: Workspace) -> int:
    """Gather the component of a label, or of its complement, around a pixel.

    A flood that comes upon a big component ends and leaves its marks: a later one that meets them
    is in the same component and ends too, so that all floods for a label together take up every
    pixel at most once.

    Returns
    -------
    int
        How many pixels ``work.group`` holds; 0 when the flood came upon a big component.
    """
    work.seen[seed] = seed
    work.group[0] = seed
    n = ZERO + 1
    g = ZERO
    while g < n:
        n = _flood_on(work.pixel[work.group[g]], n, seed, plane, label, is_label, work)
        g += 1
    return n


@njit_inline
def _flood_on(
    p: int, n: int, seed: int, plane: Plane, label: np.uint8, is_label: bool, work: Workspace
) -> int:
    """Add the neighbours of pixel p to the n places of the group; return how many it now has."""
    x_begin, x_end, y_begin, y_end = box_around(p, plane, 1)
    for y in range(y_begin, y_end):
        for q in range(y * plane.nx + x_begin, y * plane.nx + x_end):
            if (plane.values[q] == label) == is_label:
                k = work.place[q]
                if k < 0 or _UNSEEN != work.seen[k] != seed:
                    return ZERO
                if work.seen[k] == _UNSEEN:
                    work.seen[k] = seed
                    work.group[n] = k
                    n += 1
    return n


@njit_inline
def _filter_around(
    operation: np.uint8,
    plane: Plane,
    label: np.uint8,
    n: int,
    n_pixels_left: int,
    kernel: tuple[int, int],
    work: Workspace,
) -> int:
    """Open or close a label wherever it matters to n pixels of ``work.group``.

    Windows may overlap. When those of a label together would be larger than the slice, that is
    filtered as a whole, once for all that follow.

    Returns
    -------
    int
        How many more pixels to filter in windows; 0 once the whole slice is.
    """
    if n_pixels_left == 0:
        return ZERO
    window = _window_around(n, plane, kernel, work)
    width, height = window.x_end - window.x_begin, window.y_end - window.y_begin
    n_pixels_left = max(n_pixels_left - width * height, ZERO)
    if n_pixels_left == 0:
        window = Window(ZERO, plane.nx, ZERO, plane.ny)
    filter_label(operation, plane, label, window, kernel, work.result, work.scratch)
    return n_pixels_left


@njit_inline
def _window_around(n: int, plane: Plane, kernel: tuple[int, int], work: Workspace) -> Window:
    """Return the smallest window outside which nothing matters to n pixels of ``work.group``."""
    margin_x, margin_y = kernel[0] - 1, kernel[1] - 1
    x_begin, x_end, y_begin, y_end = plane.nx, ZERO, plane.ny, ZERO
    for g in range(n):
        p = work.pixel[work.group[g]]
        y = p // plane.nx
        x = p - y * plane.nx
        x_begin, x_end = min(x_begin, x - margin_x), max(x_end, x + margin_x + 1)
        y_begin, y_end = min(y_begin, y - margin_y), max(y_end, y + margin_y + 1)
    return Window(
        max(x_begin, ZERO), min(x_end, plane.nx), max(y_begin, ZERO), min(y_end, plane.ny)
    )


# ---------------------------------------------------------------- the vote


@njit
def _vote(
    plane: Plane, n_labels: int, n_small: int, halfedge: int, work: Workspace, target: Bytes
) -> None:
    """Write the labels of the pixels of small components."""
    for k in range(n_small):
        p = work.pixel[k]
        n_chosen = 0
        for i in range(n_labels):
            if work.chosen[k * n_labels + i] != 0:
                n_chosen += 1
                target[p] = work.label[i]
        if n_chosen != 1:
            _count_votes(p, plane, n_labels, halfedge, work)
            target[p] = _find_winner(k, n_chosen == 0, n_labels, work)


@njit_inline
def _count_votes(p: int, plane: Plane, n_labels: int, halfedge: int, work: Workspace) -> None:
    """Count the pixels of each label's processed mask in the box around a pixel."""
    for i in range(n_labels):
        work.votes[work.label[i]] = 0
    x_begin, x_end, y_begin, y_end = box_around(p, plane, halfedge)
    for y in range(y_begin, y_end):
        for q in range(y * plane.nx + x_begin, y * plane.nx + x_end):
            k = work.place[q]
            if k < 0:  # a pixel of a big component has its own label only
                work.votes[plane.values[q]] += 1
            else:
                for i in range(n_labels):
                    work.votes[work.label[i]] += work.chosen[k * n_labels + i]


@njit_inline
def _find_winner(k: int, may_be_any: bool, n_labels: int, work: Workspace) -> int:
    """Return the lowest label of most votes, of those chosen at place k or of all; 0 without."""
    winner, most = ZERO, ZERO
    for i in range(n_labels):
        votes = work.votes[work.label[i]]
        if votes > most and (may_be_any or work.chosen[k * n_labels + i] != 0):
            winner, most = int(work.label[i]), int(votes)
    return winner
