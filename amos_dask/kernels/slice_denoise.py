"""Denoising of a multi-label mask, slice by slice: small islands opened, small holes closed.

A component of the complement of a label is a union of components of the slice, and small only if
all of them are. So only pixels of small components can change, and neither slice nor complement is
ever labelled: small components are flooded from short runs of one label along x, islands and holes
from their pixels; these are opened or closed where they lie, and the vote settles what is unclear.

An opening is all boxes of the kernel's size that fit into a label, a closing all that is outside
the boxes that fit between its pixels. Both are those of `scipy.ndimage` with ``border_value=0``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from amos_dask.kernels import ZERO, Bytes, Ints, Shape, njit, njit_inline
from amos_dask.kernels.voxelwise import flat_fortran, is_uniform


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

    Only pixels of small 8-connected components of the multi-label slice can change. The formulas
    are the tutorial's (``Optimize`` and the vote of ``denoise``).

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
        # From left to right, as the definition has it.
        areas_mm2 = np.arange(1, nx * ny + 1) * float(spacing_xy_mm[0]) * float(spacing_xy_mm[1])
        max_pixels = int(np.count_nonzero(areas_mm2 < area_threshold_mm2))
        # Past the slice's size nothing changes any more; this keeps all sums within int64.
        kernel = min(int(kx), nx + 1), min(int(ky), ny + 1)
        rule = Rule(max_pixels, kernel, min(int(filter_halfedge), max(nx, ny)))
        _denoise_volume(source, target, mask.shape, rule, _new_workspace(nx, ny))
    return target.reshape(mask.shape, order="F")


class Rule(NamedTuple):
    """How to denoise, in pixels: the largest small component, the kernel, the box's half edge."""

    max_pixels: int
    kernel: tuple[int, int]
    halfedge: int


class Plane(NamedTuple):
    """A multi-label slice, flat with x fastest, and its size: pixel (x, y) is ``y * nx + x``."""

    values: Bytes
    nx: int
    ny: int


class Workspace(NamedTuple):
    """Room for any slice of a volume; what no slice needs is never touched and costs nothing.

    The pixels of small components have places: ``pixel[k]`` is the k-th, and ``place[p]`` the
    place of pixel p, -1 in a big component. ``seen[p]`` is the number of the flood that took up
    pixel p last, and ``group`` the pixels that a flood gathered.
    ``in_box[p]`` is 1 where a box fits that holds pixel p, as far as it was looked for.
    ``chosen[k * n_labels + i]`` is 1 where the processed mask of the i-th label holds the pixel.
    ``label`` are the labels that occur, ascending, and ``votes`` are counted for every label.
    """

    pixel: Ints
    place: Ints
    seen: Ints
    group: Ints
    in_box: Bytes
    chosen: Bytes
    label: Bytes
    votes: Ints


def _new_workspace(nx: int, ny: int) -> Workspace:
    n = nx * ny
    return Workspace(
        pixel=np.empty(n, np.int64),
        place=np.full(n, -1, np.int64),
        seen=np.zeros(n, np.int64),
        group=np.empty(n, np.int64),
        in_box=np.empty(n, np.uint8),
        chosen=np.empty(256 * n, np.uint8),
        label=np.empty(256, np.uint8),
        votes=np.empty(256, np.int64),
    )


@njit
def _denoise_volume(
    source: Bytes, target: Bytes, shape: Shape, rule: Rule, work: Workspace
) -> None:
    nx, ny, nz = shape
    n_floods = ZERO  # so far; each pass numbers its floods by their pixels from there
    for z in range(nz):
        pixels = slice(z * nx * ny, (z + 1) * nx * ny)
        plane = Plane(source[pixels], nx, ny)
        n_small = _find_small(plane, n_floods, rule.max_pixels, work)
        n_floods += nx * ny
        if n_small > 0:
            n_labels = ZERO
            for label in range(256):
                if work.votes[label] != 0:
                    work.label[n_labels] = label
                    n_labels += 1
            for i in range(n_small * n_labels):
                work.chosen[i] = 0
            for i in range(n_labels):
                for is_opening in (True, False):
                    _process_label(is_opening, plane, n_floods, i, n_labels, n_small, rule, work)
                    n_floods += nx * ny
            _vote(plane, n_labels, n_small, rule.halfedge, work, target[pixels])
            for k in range(n_small):
                work.place[work.pixel[k]] = -1


# ---------------------------------------------------------------- small components


@njit_inline
def _find_small(plane: Plane, n_floods: int, max_pixels: int, work: Workspace) -> int:
    """Give places to the pixels of small components, and votes to the labels that occur.

    Each row of a small component is a short run: those are looked for.

    Returns
    -------
    int
        The number of places.
    """
    n = ZERO
    for label in range(256):
        work.votes[label] = 0
    for y in range(plane.ny):
        row = plane.values[y * plane.nx : (y + 1) * plane.nx]
        end = plane.nx if is_uniform(row) else ZERO
        begin = ZERO
        while begin < plane.nx:
            label = row[begin]
            while end < plane.nx and row[end] == label:
                end += 1
            work.votes[label] = 1
            p = y * plane.nx + begin
            # What goes on from the row before was decided there.
            begins = y == 0 or plane.values[p - plane.nx] != label
            if begins and end - begin <= max_pixels and work.seen[p] <= n_floods:
                n = _add_if_small(p, n, plane, n_floods, max_pixels, work)
            begin = end
    return n


@njit
def _add_if_small(
    p: int, n: int, plane: Plane, n_floods: int, max_pixels: int, work: Workspace
) -> int:
    """Give places from n on to the component around a pixel if it is small; return the next."""
    for g in range(_flood(p, plane, n_floods, plane.values[p], True, max_pixels, -1, work)):
        work.pixel[n] = work.group[g]
        work.place[work.group[g]] = n
        n += 1
    return n


@njit
def _process_label(
    is_opening: bool,
    plane: Plane,
    n_floods: int,
    i: int,
    n_labels: int,
    n_small: int,
    rule: Rule,
    work: Workspace,
) -> None:
    """Open the islands or close the holes of the i-th label, and note what it then holds."""
    label = work.label[i]
    for k in range(n_small):
        p = work.pixel[k]
        is_label = plane.values[p] == label
        if is_label == is_opening and work.seen[p] <= n_floods:
            n = _flood(p, plane, n_floods, label, is_label, rule.max_pixels, 0, work)
            if n > 0:
                _find_boxes(n, plane, label, is_label, rule.kernel, work)
            for g in range(n):
                q = work.group[g]
                work.chosen[work.place[q] * n_labels + i] = (work.in_box[q] != 0) == is_opening


@njit_inline
def _flood(
    seed: int,
    plane: Plane,
    n_floods: int,
    label: np.uint8,
    is_label: bool,
    max_pixels: int,
    least_place: int,
    work: Workspace,
) -> int:
    """Gather the component of a label, or of its complement, around a pixel.

    A flood that takes up too many pixels, or one in a place below the least, ends and leaves its
    marks: a later one of the same pass that meets them is in the same component and ends too, so
    that all floods of a pass together take up every pixel at most once.

    Returns
    -------
    int
        How many pixels ``work.group`` holds; 0 of a big component.
    """
    number = n_floods + 1 + seed
    work.seen[seed] = number
    work.group[0] = seed
    n, g = ZERO + 1, ZERO
    while g < n:
        x_begin, x_end, y_begin, y_end = _box_around(work.group[g], plane, 1)
        for y in range(y_begin, y_end):
            for q in range(y * plane.nx + x_begin, y * plane.nx + x_end):
                if (plane.values[q] == label) == is_label and work.seen[q] != number:
                    is_met = work.seen[q] > n_floods
                    if is_met or n == max_pixels or work.place[q] < least_place:
                        return ZERO
                    work.seen[q] = number
                    work.group[n] = q
                    n += 1
        g += 1
    return n


@njit_inline
def _box_around(p: int, plane: Plane, halfedge: int) -> tuple[int, int, int, int]:
    """Return where the box around a pixel begins and ends along x, and along y."""
    y = p // plane.nx
    x = p - y * plane.nx
    return (
        max(x - halfedge, 0),
        min(x + halfedge + 1, plane.nx),
        max(y - halfedge, 0),
        min(y + halfedge + 1, plane.ny),
    )


# ---------------------------------------------------------------- opening and closing


@njit_inline
def _find_boxes(
    n: int, plane: Plane, label: np.uint8, is_label: bool, kernel: tuple[int, int], work: Workspace
) -> None:
    """Find where boxes fit that hold any of the n pixels of ``work.group``."""
    x_begin, x_end, y_begin, y_end = plane.nx, ZERO, plane.ny, ZERO
    for g in range(n):
        p = work.group[g]
        work.in_box[p] = 0
        y = p // plane.nx
        x = p - y * plane.nx
        x_begin, x_end = min(x_begin, x), max(x_end, x + 1)
        y_begin, y_end = min(y_begin, y), max(y_end, y + 1)
    for y in range(y_begin - kernel[1] + 1, y_end):
        for x in range(x_begin - kernel[0] + 1, x_end):
            if _fits(x, y, plane, label, is_label, kernel):
                for v in range(max(y, y_begin), min(y + kernel[1], y_end)):
                    row = v * plane.nx
                    for p in range(row + max(x, x_begin), row + min(x + kernel[0], x_end)):
                        work.in_box[p] = 1


@njit_inline
def _fits(
    x: int, y: int, plane: Plane, label: np.uint8, is_label: bool, kernel: tuple[int, int]
) -> bool:
    """Return whether a box that begins at (x, y) holds pixels of the label only, or none of it.

    Outside the slice there is nothing: a box for opening has to lie in it, one for closing fits
    wherever its centre does not.
    """
    x_end, y_end = x + kernel[0], y + kernel[1]
    x_centre, y_centre = x + (kernel[0] - 1) // 2, y + (kernel[1] - 1) // 2
    if is_label:
        if min(x, y) < 0 or x_end > plane.nx or y_end > plane.ny:
            return False
    elif min(x_centre, y_centre) < 0 or x_centre >= plane.nx or y_centre >= plane.ny:
        return True
    for v in range(max(y, 0), min(y_end, plane.ny)):
        for p in range(v * plane.nx + max(x, 0), v * plane.nx + min(x_end, plane.nx)):
            if (plane.values[p] == label) != is_label:
                return False
    return True


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
    x_begin, x_end, y_begin, y_end = _box_around(p, plane, halfedge)
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
